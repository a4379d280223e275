//! Rows of the audit log.

use sqlx::FromRow;

use super::{read, read_optional};
use crate::{
    audit::{Actor, AuditEntry, Author, Changes},
    clock::UnixMs,
    store::{Result, StoreError},
};

#[derive(FromRow)]
pub(in crate::store) struct AuditRow {
    id: String,
    created_at: i64,
    merchant_id: Option<String>,
    livemode: Option<bool>,
    actor_kind: String,
    actor_id: Option<String>,
    actor_name: Option<String>,
    action: String,
    object_id: String,
    changes: String,
    request_id: Option<String>,
}

impl TryFrom<AuditRow> for AuditEntry {
    type Error = StoreError;

    fn try_from(row: AuditRow) -> Result<Self> {
        const TABLE: &str = "audit_entries";
        let id = row.id.as_str();
        let inconsistent = || StoreError::Inconsistent { table: TABLE, column: "changes", id: id.to_owned() };
        Ok(Self {
            id: read(id, TABLE, "id", id)?,
            created_at: UnixMs(row.created_at),
            merchant_id: read_optional(row.merchant_id.as_deref(), TABLE, "merchant_id", id)?,
            livemode: row.livemode,
            by: Author {
                actor: Actor {
                    kind: read(&row.actor_kind, TABLE, "actor_kind", id)?,
                    id: read_optional(row.actor_id.as_deref(), TABLE, "actor_id", id)?,
                    name: row.actor_name,
                },
                request_id: read_optional(row.request_id.as_deref(), TABLE, "request_id", id)?,
            },
            action: read(&row.action, TABLE, "action", id)?,
            changes: Changes::from_json(&row.changes).ok_or_else(inconsistent)?,
            object_id: row.object_id,
        })
    }
}
