//! Rows of backfills.

use sqlx::FromRow;

use super::{read, read_enabled_events, read_number, read_optional};
use crate::{
    backfill::{Backfill, Selection},
    clock::UnixMs,
    merchant::Tenant,
    store::{Result, StoreError},
};

#[derive(FromRow)]
pub(in crate::store) struct BackfillRow {
    id: String,
    merchant_id: String,
    livemode: bool,
    webhook_endpoint_id: String,
    created_from: i64,
    created_to: i64,
    types: String,
    scope: String,
    per_second: i32,
    status: String,
    status_reason: Option<String>,
    matched: i64,
    counted_all: bool,
    sent: i64,
    created_at: i64,
    updated_at: i64,
    finished_at: Option<i64>,
}

const BACKFILLS: &str = "backfills";

impl TryFrom<BackfillRow> for Backfill {
    type Error = StoreError;

    fn try_from(row: BackfillRow) -> Result<Self> {
        let id = row.id.as_str();
        Ok(Self {
            id: read(id, BACKFILLS, "id", id)?,
            selection: Selection {
                tenant: Tenant {
                    merchant_id: read(&row.merchant_id, BACKFILLS, "merchant_id", id)?,
                    livemode: row.livemode,
                },
                endpoint_id: read(&row.webhook_endpoint_id, BACKFILLS, "webhook_endpoint_id", id)?,
                created_from: UnixMs(row.created_from),
                created_to: UnixMs(row.created_to),
                types: read_enabled_events(&row.types, id)?,
                scope: read(&row.scope, BACKFILLS, "scope", id)?,
            },
            per_second: read_number(row.per_second, BACKFILLS, "per_second", id)?,
            status: read(&row.status, BACKFILLS, "status", id)?,
            reason: read_optional(row.status_reason.as_deref(), BACKFILLS, "status_reason", id)?,
            matched: read_number(row.matched, BACKFILLS, "matched", id)?,
            counted_all: row.counted_all,
            sent: read_number(row.sent, BACKFILLS, "sent", id)?,
            created_at: UnixMs(row.created_at),
            updated_at: UnixMs(row.updated_at),
            finished_at: row.finished_at.map(UnixMs),
        })
    }
}
