//! Portal sessions as both engines return them.

use sqlx::FromRow;

use super::{read, read_optional};
use crate::{
    clock::UnixMs,
    merchant::Tenant,
    portal::{PortalSession, Theme},
    store::{Result, StoreError},
};

#[derive(FromRow)]
pub(in crate::store) struct PortalSessionRow {
    id: String,
    merchant_id: String,
    livemode: bool,
    access: String,
    accent: Option<String>,
    appearance: String,
    created_at: i64,
    opened_at: Option<i64>,
    expires_at: i64,
}

impl TryFrom<PortalSessionRow> for PortalSession {
    type Error = StoreError;

    fn try_from(row: PortalSessionRow) -> Result<Self> {
        const TABLE: &str = "portal_sessions";
        let id = row.id.as_str();
        Ok(Self {
            id: read(id, TABLE, "id", id)?,
            tenant: Tenant {
                merchant_id: read(&row.merchant_id, TABLE, "merchant_id", id)?,
                livemode: row.livemode,
            },
            access: read(&row.access, TABLE, "access", id)?,
            theme: Theme {
                accent: read_optional(row.accent.as_deref(), TABLE, "accent", id)?,
                appearance: read(&row.appearance, TABLE, "appearance", id)?,
            },
            created_at: UnixMs(row.created_at),
            opened_at: row.opened_at.map(UnixMs),
            expires_at: UnixMs(row.expires_at),
        })
    }
}
