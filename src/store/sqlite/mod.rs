//! The embedded engine: one SQLite file, one writer whose commits are shared by many, a pool of readers.
//!
//! A commit is on disk when it returns (`synchronous = FULL`). Writes take the write lock as they begin
//! (`BEGIN IMMEDIATE`), so none fails half-way because another was first. Batches are single statements over a
//! `VALUES` list; sqlx builds their text from constants and placeholders only.

mod accept;
mod connect;
mod queue;

use std::{fs::File, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use sqlx::{Sqlite, SqlitePool, Transaction, sqlite::SqliteQueryResult};
use tokio::sync::Mutex;

use super::{
    Accepted, ApiKey, Claimed, DeliveryFilter, EndpointChange, EventFilter, IdempotencyConflict, KeyOwner,
    LeaseOffer, NewApiKey, NewDelivery, NewEndpoint, NewSecret, Page, Paged, Recorded, Result, Store,
    rows::{ApiKeyRow, AttemptRow, Bounds, DeliveryRow, EndpointRow, EventRow, read, write_enabled_events},
    sql,
};
use crate::{
    clock::UnixMs,
    delivery::{Attempt, AttemptResult, Delivery},
    endpoint::Endpoint,
    event::{Event, NewEvent},
    id::{DeliveryId, EndpointId, EventId, IdSource, KeyId, LeaseToken},
    merchant::Tenant,
};

/// The store on a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    ids: Arc<IdSource>,
    path: PathBuf,
    worker_lock: Mutex<Option<File>>,
}

impl SqliteStore {
    /// Begins a write. Dropped before its commit, it is rolled back.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// Binds each argument in order.
macro_rules! query {
    ($text:expr $(, $argument:expr)* $(,)?) => { sqlx::query($text)$(.bind($argument))* };
}
macro_rules! query_as {
    ($row:ty, $text:expr $(, $argument:expr)* $(,)?) => { sqlx::query_as::<Sqlite, $row>($text)$(.bind($argument))* };
}
macro_rules! query_scalar {
    ($value:ty, $text:expr $(, $argument:expr)* $(,)?) => {
        sqlx::query_scalar::<Sqlite, $value>($text)$(.bind($argument))*
    };
}
use {query, query_as};

/// How many rows a statement changed; limits keep it far below what the type holds.
fn affected(result: &SqliteQueryResult) -> u32 {
    u32::try_from(result.rows_affected()).unwrap_or(u32::MAX)
}

async fn insert_api_key(
    write: &mut Transaction<'static, Sqlite>,
    key: &NewApiKey,
    now: UnixMs,
) -> Result<ApiKey> {
    let (merchant, livemode, service) = match &key.owner {
        KeyOwner::Merchant(tenant) => (Some(tenant.merchant_id.as_str()), Some(tenant.livemode), None),
        KeyOwner::Service(name) => (None, None, Some(name.as_str())),
    };
    let row = query_as!(
        ApiKeyRow,
        sql::INSERT_API_KEY,
        key.id.to_string(),
        merchant,
        livemode,
        service,
        key.publishable_key.as_deref(),
        key.secret_hash.as_slice(),
        key.last4.as_str(),
        now.0,
    );
    row.fetch_one(&mut **write).await?.try_into()
}

async fn insert_secret(
    write: &mut Transaction<'static, Sqlite>,
    endpoint: &str,
    secret: &NewSecret,
    now: UnixMs,
) -> Result<()> {
    let NewSecret { id, sealed } = secret;
    let (key_id, ciphertext) = (sealed.key_id.as_str(), sealed.ciphertext.as_slice());
    query!(sql::INSERT_SECRET, id.to_string(), endpoint, key_id, ciphertext, now.0)
        .execute(&mut **write)
        .await?;
    Ok(())
}

#[async_trait]
impl Store for SqliteStore {
    async fn ping(&self) -> Result<()> {
        query!("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn setting_or_insert(&self, name: &str, value: &str) -> Result<String> {
        let mut write = self.write().await?;
        query!(sql::INSERT_SETTING, name, value).execute(&mut *write).await?;
        let kept = query_scalar!(String, sql::SETTING, name).fetch_one(&mut *write).await?;
        write.commit().await?;
        Ok(kept)
    }

    async fn put_setting(&self, name: &str, value: &str) -> Result<()> {
        query!(sql::PUT_SETTING, name, value).execute(&self.writer).await?;
        Ok(())
    }

    async fn setting(&self, name: &str) -> Result<Option<String>> {
        Ok(query_scalar!(String, sql::SETTING, name).fetch_optional(&self.readers).await?)
    }

    async fn insert_api_key(&self, key: &NewApiKey, now: UnixMs) -> Result<ApiKey> {
        let mut write = self.write().await?;
        let kept = insert_api_key(&mut write, key, now).await?;
        write.commit().await?;
        Ok(kept)
    }

    async fn find_api_key(&self, secret_hash: &[u8; 32], now: UnixMs) -> Result<Option<ApiKey>> {
        let row = query_as!(ApiKeyRow, sql::FIND_API_KEY, secret_hash.as_slice(), now.0);
        row.fetch_optional(&self.readers).await?.map(TryInto::try_into).transpose()
    }

    async fn list_api_keys(
        &self,
        merchant: Option<&str>,
        page: &Page<KeyId>,
        now: UnixMs,
    ) -> Result<Paged<ApiKey>> {
        let bounds = Bounds::of(page);
        let list = if merchant.is_some() { &sql::LIST_API_KEYS_OF_MERCHANT } else { &sql::LIST_API_KEYS };
        let mut rows =
            query_as!(ApiKeyRow, list.text(bounds.newest_first), &bounds.cursor, bounds.rows, now.0);
        if let Some(merchant) = merchant {
            rows = rows.bind(merchant);
        }
        bounds.page(rows.fetch_all(&self.readers).await?)
    }

    async fn api_key_mode(&self, merchant: &str, id: KeyId, now: UnixMs) -> Result<Option<bool>> {
        let mode = query_scalar!(bool, sql::API_KEY_MODE, id.to_string(), merchant, now.0);
        Ok(mode.fetch_optional(&self.readers).await?)
    }

    async fn rotate_api_key(
        &self,
        merchant: &str,
        old: KeyId,
        replacement: &NewApiKey,
        old_ends_at: UnixMs,
        now: UnixMs,
    ) -> Result<Option<ApiKey>> {
        let mut write = self.write().await?;
        let ended = query!(sql::END_API_KEY, old.to_string(), merchant, old_ends_at.0, now.0)
            .execute(&mut *write)
            .await?;
        if affected(&ended) == 0 {
            return Ok(None);
        }
        let kept = insert_api_key(&mut write, replacement, now).await?;
        write.commit().await?;
        Ok(Some(kept))
    }

    async fn revoke_api_key(&self, merchant: Option<&str>, id: KeyId) -> Result<bool> {
        let result = query!(sql::REVOKE_API_KEY, id.to_string(), merchant).execute(&self.writer).await?;
        Ok(affected(&result) == 1)
    }

    async fn insert_endpoint(
        &self,
        endpoint: &NewEndpoint,
        limit: usize,
        now: UnixMs,
    ) -> Result<Option<Endpoint>> {
        let (merchant, livemode) = (endpoint.tenant.merchant_id.as_str(), endpoint.tenant.livemode);
        let mut write = self.write().await?;
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
        let kept = row.fetch_one(&mut *write).await?.try_into()?;
        insert_secret(&mut write, &id, &endpoint.secret, now).await?;
        write.commit().await?;
        Ok(Some(kept))
    }

    async fn endpoint(&self, tenant: &Tenant, id: EndpointId) -> Result<Option<Endpoint>> {
        let row = query_as!(
            EndpointRow,
            sql::ENDPOINT,
            id.to_string(),
            tenant.merchant_id.as_str(),
            tenant.livemode
        );
        row.fetch_optional(&self.readers).await?.map(TryInto::try_into).transpose()
    }

    async fn list_endpoints(&self, tenant: &Tenant, page: &Page<EndpointId>) -> Result<Paged<Endpoint>> {
        let bounds = Bounds::of(page);
        let rows = query_as!(
            EndpointRow,
            sql::LIST_ENDPOINTS.text(bounds.newest_first),
            &bounds.cursor,
            bounds.rows,
            tenant.merchant_id.as_str(),
            tenant.livemode,
        );
        bounds.page(rows.fetch_all(&self.readers).await?)
    }

    async fn update_endpoint(
        &self,
        tenant: &Tenant,
        id: EndpointId,
        change: &EndpointChange,
        now: UnixMs,
    ) -> Result<Option<Endpoint>> {
        let row = query_as!(
            EndpointRow,
            sql::UPDATE_ENDPOINT,
            id.to_string(),
            tenant.merchant_id.as_str(),
            tenant.livemode,
            change.url.as_deref(),
            change.enabled_events.as_ref().map(write_enabled_events),
            change.description.is_some(),
            change.description.as_ref().and_then(Option::as_deref),
            change.status.map(crate::endpoint::EndpointStatus::as_str),
            now.0,
        );
        row.fetch_optional(&self.writer).await?.map(TryInto::try_into).transpose()
    }

    async fn delete_endpoint(&self, tenant: &Tenant, id: EndpointId, now: UnixMs) -> Result<bool> {
        let (id, merchant) = (id.to_string(), tenant.merchant_id.as_str());
        let mut write = self.write().await?;
        let deleted =
            query!(sql::DELETE_ENDPOINT, &id, merchant, tenant.livemode, now.0).execute(&mut *write).await?;
        if affected(&deleted) == 0 {
            return Ok(false);
        }
        query!(sql::DELETE_SECRETS, &id).execute(&mut *write).await?;
        write.commit().await?;
        Ok(true)
    }

    async fn rotate_secret(
        &self,
        tenant: &Tenant,
        id: EndpointId,
        secret: &NewSecret,
        previous_end_at: UnixMs,
        now: UnixMs,
    ) -> Result<Option<Endpoint>> {
        let (id, merchant) = (id.to_string(), tenant.merchant_id.as_str());
        let mut write = self.write().await?;
        let row = query_as!(EndpointRow, sql::TOUCH_ENDPOINT, &id, merchant, tenant.livemode, now.0);
        let Some(row) = row.fetch_optional(&mut *write).await? else { return Ok(None) };
        query!(sql::END_SECRETS, &id, previous_end_at.0).execute(&mut *write).await?;
        insert_secret(&mut write, &id, secret, now).await?;
        write.commit().await?;
        Ok(Some(row.try_into()?))
    }

    async fn settle_endpoint(
        &self,
        id: EndpointId,
        window_cut: UnixMs,
        limit: u32,
        now: UnixMs,
    ) -> Result<u32> {
        let id = id.to_string();
        let mut write = self.write().await?;
        let state =
            query_as!((String, Option<i64>), sql::SETTLE_STATE, &id).fetch_optional(&mut *write).await?;
        let Some((status, deleted_at)) = state else { return Ok(0) };
        let changed = match (status.as_str(), deleted_at) {
            (_, Some(_)) => {
                let held = query!(sql::ABANDON_HELD_DELETED, &id, limit).execute(&mut *write).await?;
                let left = limit - affected(&held);
                let pending = query!(sql::ABANDON_PENDING_DELETED, &id, left).execute(&mut *write).await?;
                affected(&held) + affected(&pending)
            }
            ("enabled", None) => {
                let late = query!(sql::ABANDON_HELD_OF_ENDPOINT, &id, limit, window_cut.0)
                    .execute(&mut *write)
                    .await?;
                let left = limit - affected(&late);
                let free =
                    query!(sql::FREE_HELD, &id, left, now.0, window_cut.0).execute(&mut *write).await?;
                affected(&late) + affected(&free)
            }
            _ => affected(&query!(sql::HOLD_PENDING, &id, limit).execute(&mut *write).await?),
        };
        write.commit().await?;
        Ok(changed)
    }

    async fn unsettled_endpoints(&self, limit: u32) -> Result<Vec<EndpointId>> {
        let ids = query_scalar!(String, sql::UNSETTLED_ENDPOINTS, limit).fetch_all(&self.readers).await?;
        ids.iter().map(|id| read(id, "webhook_endpoints", "id", id)).collect()
    }

    async fn accept(
        &self,
        groups: &[Vec<NewEvent>],
        offer: Option<&LeaseOffer>,
        idempotency_ends_at: UnixMs,
        now: UnixMs,
    ) -> Result<Vec<std::result::Result<Vec<Accepted>, IdempotencyConflict>>> {
        self.accept_groups(groups, offer, idempotency_ends_at, now).await
    }

    async fn event(&self, tenant: &Tenant, id: EventId) -> Result<Option<Event>> {
        let row =
            query_as!(EventRow, sql::EVENT, id.to_string(), tenant.merchant_id.as_str(), tenant.livemode);
        row.fetch_optional(&self.readers).await?.map(TryInto::try_into).transpose()
    }

    async fn list_events(
        &self,
        tenant: &Tenant,
        filter: &EventFilter,
        page: &Page<EventId>,
    ) -> Result<Paged<Event>> {
        let bounds = Bounds::of(page);
        let rows = query_as!(
            EventRow,
            sql::LIST_EVENTS.text(bounds.newest_first),
            &bounds.cursor,
            bounds.rows,
            tenant.merchant_id.as_str(),
            tenant.livemode,
            filter.event_type.map(crate::event::EventType::as_str),
            filter.created_from.map(|at| at.0),
            filter.created_to.map(|at| at.0),
            filter.delivery_status.map(crate::delivery::DeliveryStatus::as_str),
        );
        bounds.page(rows.fetch_all(&self.readers).await?)
    }

    async fn delivery(&self, tenant: &Tenant, id: DeliveryId) -> Result<Option<Delivery>> {
        let row = query_as!(
            DeliveryRow,
            sql::DELIVERY,
            id.to_string(),
            tenant.merchant_id.as_str(),
            tenant.livemode
        );
        row.fetch_optional(&self.readers).await?.map(TryInto::try_into).transpose()
    }

    async fn list_deliveries(
        &self,
        tenant: &Tenant,
        filter: &DeliveryFilter,
        page: &Page<DeliveryId>,
    ) -> Result<Paged<Delivery>> {
        let bounds = Bounds::of(page);
        let (list, parent, status) = match filter {
            DeliveryFilter::OfEvent(id) => (&sql::LIST_DELIVERIES_OF_EVENT, id.to_string(), None),
            DeliveryFilter::OfEndpoint(id, status) => {
                (&sql::LIST_DELIVERIES_OF_ENDPOINT, id.to_string(), *status)
            }
        };
        let rows = query_as!(
            DeliveryRow,
            list.text(bounds.newest_first),
            &bounds.cursor,
            bounds.rows,
            tenant.merchant_id.as_str(),
            tenant.livemode,
            parent,
            status.map(crate::delivery::DeliveryStatus::as_str),
        );
        bounds.page(rows.fetch_all(&self.readers).await?)
    }

    async fn attempts(&self, delivery: DeliveryId) -> Result<Vec<Attempt>> {
        let rows =
            query_as!(AttemptRow, sql::ATTEMPTS, delivery.to_string()).fetch_all(&self.readers).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    async fn retry_delivery(&self, tenant: &Tenant, id: DeliveryId, now: UnixMs) -> Result<Option<Delivery>> {
        let (id, merchant) = (id.to_string(), tenant.merchant_id.as_str());
        let mut write = self.write().await?;
        query!(sql::RETRY_DELIVERY, &id, merchant, tenant.livemode, now.0).execute(&mut *write).await?;
        let row = query_as!(DeliveryRow, sql::DELIVERY, &id, merchant, tenant.livemode);
        let row = row.fetch_optional(&mut *write).await?;
        write.commit().await?;
        row.map(TryInto::try_into).transpose()
    }

    async fn insert_delivery(&self, delivery: &NewDelivery, now: UnixMs) -> Result<Delivery> {
        let id: DeliveryId = self.ids.next(now);
        let (merchant, livemode) = (delivery.tenant.merchant_id.as_str(), delivery.tenant.livemode);
        let (event, endpoint) = (delivery.event_id.to_string(), delivery.endpoint_id.to_string());
        let mut write = self.write().await?;
        query!(sql::INSERT_DELIVERY, id.to_string(), merchant, livemode, event, endpoint, now.0)
            .execute(&mut *write)
            .await?;
        let row = query_as!(DeliveryRow, sql::DELIVERY, id.to_string(), merchant, livemode);
        let row = row.fetch_one(&mut *write).await?;
        write.commit().await?;
        row.try_into()
    }

    async fn claim(&self, offer: &LeaseOffer, now: UnixMs) -> Result<Claimed> {
        self.claim_due(offer, now).await
    }

    async fn record(&self, results: &[AttemptResult], now: UnixMs) -> Result<Vec<Recorded>> {
        self.record_attempts(results, now).await
    }

    async fn release(&self, leases: &[(DeliveryId, LeaseToken)]) -> Result<()> {
        let mut write = self.write().await?;
        for (id, lease) in leases {
            query!(sql::RELEASE, id.to_string(), lease.to_string()).execute(&mut *write).await?;
        }
        Ok(write.commit().await?)
    }

    async fn become_worker(&self) -> Result<u64> {
        self.lock_as_worker().await?;
        Ok(query!(sql::RELEASE_ALL).execute(&self.writer).await?.rows_affected())
    }

    async fn prune_events(&self, before: UnixMs, limit: u32) -> Result<u32> {
        self.prune(before, limit).await
    }

    async fn expire_idempotency_keys(&self, limit: u32, now: UnixMs) -> Result<u32> {
        Ok(affected(&query!(sql::EXPIRE_IDEMPOTENCY_KEYS, now.0, limit).execute(&self.writer).await?))
    }

    async fn expire_secrets(&self, limit: u32, now: UnixMs) -> Result<u32> {
        let mut write = self.write().await?;
        let secrets = query!(sql::EXPIRE_SIGNING_SECRETS, now.0, limit).execute(&mut *write).await?;
        let left = limit - affected(&secrets);
        let keys = query!(sql::EXPIRE_API_KEYS, now.0, left).execute(&mut *write).await?;
        write.commit().await?;
        Ok(affected(&secrets) + affected(&keys))
    }

    async fn abandon_held(&self, window_cut: UnixMs, limit: u32) -> Result<u32> {
        Ok(affected(&query!(sql::ABANDON_HELD, window_cut.0, limit).execute(&self.writer).await?))
    }

    async fn purge_deleted_endpoints(&self, limit: u32) -> Result<u32> {
        Ok(affected(&query!(sql::PURGE_DELETED_ENDPOINTS, limit).execute(&self.writer).await?))
    }
}
