//! Entries of the audit log, each in the transaction of its change.

use super::{Database, Engine, Reach, Write, query, query_as};
use crate::{
    audit::{Action, ActorKind, AuditEntry, Author, Changes},
    clock::UnixMs,
    id::AuditEntryId,
    merchant::{MerchantId, Tenant},
    store::{AuditFilter, Page, Paged, Result, rows::audit::AuditRow, sql},
};

/// What was done.
pub(super) struct Note<'a> {
    pub(super) tenant: Option<&'a Tenant>,
    pub(super) action: Action,
    pub(super) object_id: &'a str,
    pub(super) changes: Changes,
}

impl Engine {
    pub(super) async fn note(
        &self,
        write: &mut Write,
        note: Note<'_>,
        by: &Author,
        now: UnixMs,
    ) -> Result<()> {
        // The operators' endpoint is no merchant's.
        let tenant = note.tenant.filter(|tenant| !tenant.is_operators());
        let entry = AuditEntry {
            id: self.ids.next(now),
            created_at: now,
            merchant_id: tenant.map(|tenant| tenant.merchant_id.clone()),
            livemode: tenant.map(|tenant| tenant.livemode),
            by: by.clone(),
            action: note.action,
            object_id: note.object_id.to_owned(),
            changes: note.changes,
        };
        put(write, &entry).await
    }

    pub(super) async fn entries(
        &self,
        filter: &AuditFilter,
        page: &Page<AuditEntryId>,
    ) -> Result<Option<Paged<AuditEntry>>> {
        let merchant = || filter.merchant_id.as_ref().map(|merchant| merchant.as_str().to_owned());
        let (list, by_merchant) = match (&filter.object_id, &filter.merchant_id) {
            (Some(_), _) => (&sql::LIST_AUDIT_ENTRIES_OF_OBJECT, true),
            (None, Some(_)) => (&sql::LIST_AUDIT_ENTRIES_OF_MERCHANT, true),
            (None, None) => (&sql::LIST_AUDIT_ENTRIES, false),
        };
        let cursor = |id| query!(sql::AUDIT_ENTRY_CURSOR, id, merchant());
        self.list(Reach::Everything, page, cursor, |bounds| {
            let rows = query_as!(
                AuditRow,
                list.text(bounds.newest_first),
                bounds.cursor.clone(),
                bounds.rows,
                filter.livemode,
                filter.object_id.as_deref(),
                filter.action.map(Action::as_str),
                filter.actor_kind.map(ActorKind::as_str),
                filter.actor_id.map(|id| id.to_string()),
            );
            if by_merchant { rows.bind(merchant()) } else { rows }
        })
        .await
    }
}

/// Adds the entry, or replaces its changes.
pub(super) async fn put(write: &mut Write, entry: &AuditEntry) -> Result<()> {
    let actor = &entry.by.actor;
    let put = query!(
        sql::PUT_AUDIT_ENTRY,
        entry.id.to_string(),
        entry.created_at.0,
        entry.merchant_id.as_ref().map(MerchantId::as_str),
        entry.livemode,
        actor.kind.as_str(),
        actor.id.map(|id| id.to_string()),
        actor.name.as_deref(),
        entry.action.as_str(),
        entry.object_id.as_str(),
        entry.changes.clone().into_json().to_string(),
        entry.by.request_id.map(|id| id.to_string()),
    );
    put.execute(&mut **write).await?;
    Ok(())
}
