//! Endpoints: registering and changing them, and having their deliveries follow.

use serde_json::Value;

use super::{
    Database, Engine, Write, affected, audit::Note, batches, query, query_as, query_scalar, reached,
};
use crate::{
    audit::{Action, Author, Changes},
    backfill::{BackfillReason, BackfillStatus},
    clock::UnixMs,
    delivery::AbandonedReason,
    endpoint::{DisabledReason, Endpoint, EndpointStatus, LIVING_SECRETS_MAX},
    id::EndpointId,
    kill_point::KillPoint,
    merchant::Tenant,
    store::{
        EndpointChange, NewEndpoint, NewSecret, Result, Settled,
        rows::{EndpointRow, write_enabled_events},
        sql,
    },
};

impl Engine {
    pub(super) async fn register(
        &self,
        endpoint: &NewEndpoint,
        limit: usize,
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<Endpoint>> {
        let (merchant, livemode) = (endpoint.tenant.merchant_id.as_str(), endpoint.tenant.livemode);
        let mut write = self.write().await?;
        batches::lock_tenant(&mut write, &endpoint.tenant).await?;
        let count: i64 =
            query_scalar!(i64, sql::COUNT_ENDPOINTS, merchant, livemode).fetch_one(&mut *write).await?;
        if usize::try_from(count).unwrap_or(usize::MAX) >= limit {
            return Ok(None);
        }
        let id = endpoint.id.to_string();
        let row = query_as!(
            EndpointRow,
            sql::INSERT_ENDPOINT,
            &id,
            merchant,
            livemode,
            endpoint.url.as_str(),
            write_enabled_events(&endpoint.enabled_events),
            endpoint.description.as_deref(),
            now.0,
        );
        let kept: Endpoint = row.fetch_one(&mut *write).await?.try_into()?;
        insert_secret(&mut write, &id, &endpoint.secret, now).await?;
        let changes = changes(None, Some(&kept));
        let (tenant, action) = (Some(&endpoint.tenant), Action::EndpointCreated);
        self.note(&mut write, Note { tenant, action, object_id: &id, changes }, by, now).await?;
        write.commit().await?;
        Ok(Some(kept))
    }

    pub(super) async fn change_endpoint(
        &self,
        tenant: &Tenant,
        id: EndpointId,
        change: &EndpointChange,
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<Endpoint>> {
        let id = id.to_string();
        let mut write = self.write().await?;
        let Some(before) = locked(&mut write, tenant, &id).await? else { return Ok(None) };
        let row = query_as!(
            EndpointRow,
            sql::UPDATE_ENDPOINT,
            &id,
            tenant.merchant_id.as_str(),
            tenant.livemode,
            change.url.as_deref(),
            change.enabled_events.as_ref().map(write_enabled_events),
            change.description.is_some(),
            change.description.as_ref().and_then(Option::as_deref),
            change.status.map(EndpointStatus::as_str),
            now.0,
        );
        let after: Endpoint = row.fetch_one(&mut *write).await?.try_into()?;
        if before.status == EndpointStatus::Disabled && after.status == EndpointStatus::Enabled {
            // It gets another chance, and all the time for it.
            query!(sql::health::DELETE_FAILING, &id).execute(&mut *write).await?;
        }
        let changes = changes(Some(&before), Some(&after));
        if !changes.is_empty() {
            let (tenant, action) = (Some(tenant), Action::EndpointUpdated);
            self.note(&mut write, Note { tenant, action, object_id: &id, changes }, by, now).await?;
        }
        write.commit().await?;
        Ok(Some(after))
    }

    pub(super) async fn remove_endpoint(
        &self,
        tenant: &Tenant,
        id: EndpointId,
        by: &Author,
        now: UnixMs,
    ) -> Result<bool> {
        let (id, merchant) = (id.to_string(), tenant.merchant_id.as_str());
        let mut write = self.write().await?;
        let Some(before) = locked(&mut write, tenant, &id).await? else { return Ok(false) };
        query!(sql::DELETE_ENDPOINT, &id, merchant, tenant.livemode, now.0).execute(&mut *write).await?;
        query!(sql::DELETE_SECRETS, &id).execute(&mut *write).await?;
        let canceled = (BackfillStatus::Canceled, BackfillReason::EndpointDeleted);
        self.stop_backfill(&mut write, tenant, &id, canceled, by, now).await?;
        let (tenant, changes) = (Some(tenant), changes(Some(&before), None));
        let note = Note { tenant, action: Action::EndpointDeleted, object_id: &id, changes };
        self.note(&mut write, note, by, now).await?;
        write.commit().await?;
        Ok(true)
    }

    pub(super) async fn add_secret(
        &self,
        tenant: &Tenant,
        id: EndpointId,
        secret: &NewSecret,
        previous_end_at: UnixMs,
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<Endpoint>> {
        let (id, merchant) = (id.to_string(), tenant.merchant_id.as_str());
        let mut write = self.write().await?;
        let row = query_as!(EndpointRow, sql::TOUCH_ENDPOINT, &id, merchant, tenant.livemode, now.0);
        let Some(row) = row.fetch_optional(&mut *write).await? else { return Ok(None) };
        query!(sql::END_SECRETS, &id, previous_end_at.0).execute(&mut *write).await?;
        // Removed and not only ended: until the upkeep came by, what has ended would be read with every event.
        let earlier_max = i64::try_from(LIVING_SECRETS_MAX - 1).unwrap_or(i64::MAX);
        query!(sql::DELETE_ALL_SECRETS_BUT, &id, now.0, earlier_max).execute(&mut *write).await?;
        insert_secret(&mut write, &id, secret, now).await?;
        let changes = Changes::default().with("signing_secret", None::<&str>, secret.id.to_string()).with(
            "previous_expire_at",
            None::<i64>,
            previous_end_at.seconds(),
        );
        let note = Note { tenant: Some(tenant), action: Action::SecretRotated, object_id: &id, changes };
        self.note(&mut write, note, by, now).await?;
        write.commit().await?;
        Ok(Some(row.try_into()?))
    }

    pub(super) async fn purge_endpoints(&self, limit: u32) -> Result<u32> {
        let mut write = self.write().await?;
        for text in [sql::health::PURGE_FAILING, sql::health::PURGE_LATEST] {
            query!(text).execute(&mut *write).await?;
        }
        let purged = query!(sql::PURGE_DELETED_ENDPOINTS, i64::from(limit));
        let purged = affected(&purged.execute(&mut *write).await?);
        write.commit().await?;
        Ok(purged)
    }

    pub(super) async fn settle(
        &self,
        id: EndpointId,
        window_cut: UnixMs,
        limit: u32,
        now: UnixMs,
    ) -> Result<Settled> {
        let id = id.to_string();
        let mut write = self.write().await?;
        let state = batches::endpoint_state(&mut write, &id).await?;
        let Some((status, deleted_at)) = state else { return Ok(Settled::default()) };
        let most = i64::from(limit);
        let settled = match (status.as_str(), deleted_at) {
            (_, Some(_)) => {
                let held = query!(sql::ABANDON_HELD_DELETED, &id, most, now.0).execute(&mut *write).await?;
                let left = i64::from(limit - affected(&held));
                let pending =
                    query!(sql::ABANDON_PENDING_DELETED, &id, left, now.0).execute(&mut *write).await?;
                let changed = affected(&held) + affected(&pending);
                Settled { changed, abandoned: Some((AbandonedReason::EndpointDeleted, changed)) }
            }
            ("enabled", None) => {
                let late = query!(sql::ABANDON_HELD_OF_ENDPOINT, &id, most, window_cut.0, now.0);
                let late = affected(&late.execute(&mut *write).await?);
                let left = i64::from(limit - late);
                let free =
                    query!(sql::FREE_HELD, &id, left, now.0, window_cut.0).execute(&mut *write).await?;
                let abandoned = Some((AbandonedReason::EndpointDisabled, late));
                Settled { changed: late + affected(&free), abandoned }
            }
            _ => {
                let held = query!(sql::HOLD_PENDING, &id, most).execute(&mut *write).await?;
                Settled { changed: affected(&held), abandoned: None }
            }
        };
        write.commit().await?;
        reached(KillPoint::SettleAfterCommit);
        Ok(settled)
    }
}

/// The endpoint, which does not change until the transaction ends.
pub(super) async fn locked(write: &mut Write, tenant: &Tenant, id: &str) -> Result<Option<Endpoint>> {
    let row = || query_as!(EndpointRow, sql::ENDPOINT, id, tenant.merchant_id.as_str(), tenant.livemode);
    // Looked at first: nobody can lock what is another's.
    if row().fetch_optional(&mut **write).await?.is_none() {
        return Ok(None);
    }
    batches::lock_endpoints(write, &[id]).await?;
    row().fetch_optional(&mut **write).await?.map(TryInto::try_into).transpose()
}

/// A value of an endpoint, as the audit log shows it.
type Field = fn(&Endpoint) -> Value;

/// What differs between an endpoint before and after.
fn changes(before: Option<&Endpoint>, after: Option<&Endpoint>) -> Changes {
    let fields: [(&str, Field); 5] = [
        ("url", |endpoint| endpoint.url.as_str().into()),
        ("enabled_events", |endpoint| endpoint.enabled_events.names().into()),
        ("description", |endpoint| endpoint.description.as_deref().into()),
        ("status", |endpoint| endpoint.status.as_str().into()),
        ("disabled_reason", |endpoint| endpoint.disabled_reason.map(DisabledReason::as_str).into()),
    ];
    fields.into_iter().fold(Changes::default(), |changes, (name, field)| {
        changes.with(name, before.map(field), after.map(field))
    })
}

async fn insert_secret(write: &mut Write, endpoint: &str, secret: &NewSecret, now: UnixMs) -> Result<()> {
    let NewSecret { id, sealed } = secret;
    let (key_id, ciphertext) = (sealed.key_id.as_str(), sealed.ciphertext.as_slice());
    query!(sql::INSERT_SECRET, id.to_string(), endpoint, key_id, ciphertext, now.0)
        .execute(&mut **write)
        .await?;
    Ok(())
}
