//! The operations whose text serves both engines. Each engine includes this file and brings its own `Database`, its ways
//! to [`read`](Engine) and write, and in `batches` the statements over many rows, which the engines spell differently.
//!
//! It is one text compiled twice, and not one generic function: what sqlx asks of a generic database, a bound for every
//! type that is bound or read, would have to be repeated on every function here.

pub(super) mod accept;
mod audit;
mod backfills;
mod console;
mod deliveries;
mod depth;
mod encryption;
mod endpoints;
mod failing;
mod history;
mod keys;
mod lists;
mod operational;
mod portal;
mod queue;
mod statistics;
mod stretch;

use async_trait::async_trait;
use sqlx::{
    FromRow,
    query::{Query, QueryAs},
};

use lists::Reach;

use super::{Database, Engine, Write, batches};
use crate::{
    audit::{AuditEntry, Author},
    clock::UnixMs,
    delivery::{Attempt, AttemptResult, Delivery},
    endpoint::{Endpoint, SealedSecret},
    event::{Event, NewEvent},
    failing::{Failing, FailingRules},
    id::{AuditEntryId, DeliveryId, EndpointId, EventId, KeyId, LeaseToken, SecretId},
    kill_point::reached,
    merchant::Tenant,
    statistics::{Bucket, Latest, Length, StatisticsFilter},
    store::{
        Accepted, ApiKey, AuditFilter, Claimed, DeliveryFilter, EndpointChange, EventFilter,
        IdempotencyConflict, LeaseOffer, Listen, NewApiKey, NewDelivery, NewEndpoint, NewSecret, News, Page,
        Paged, PoolUse, QueueDepth, Recording, Resealed, Result, Settled, Store, StoreError,
        rows::{AttemptRow, DeliveryRow, EndpointRow, EventRow, FailingRow, read},
        sql,
    },
};

/// Binds each argument in order.
macro_rules! query {
    ($text:expr $(, $argument:expr)* $(,)?) => { sqlx::query::<Database>($text)$(.bind($argument))* };
}
macro_rules! query_as {
    ($row:ty, $text:expr $(, $argument:expr)* $(,)?) => { sqlx::query_as::<Database, $row>($text)$(.bind($argument))* };
}
macro_rules! query_scalar {
    ($value:ty, $text:expr $(, $argument:expr)* $(,)?) => {
        sqlx::query_scalar::<Database, $value>($text)$(.bind($argument))*
    };
}
use {query, query_as, query_scalar};

/// How many rows a statement changed; limits keep it far below what the type holds.
fn affected(result: &<Database as sqlx::Database>::QueryResult) -> u32 {
    u32::try_from(result.rows_affected()).unwrap_or(u32::MAX)
}

type Row = <Database as sqlx::Database>::Row;
type Arguments = <Database as sqlx::Database>::Arguments;

impl Engine {
    /// The row of a query that finds at most one.
    async fn find<'q, R, T>(
        &self,
        query: impl Fn() -> QueryAs<'q, Database, R, Arguments> + Send + Sync,
    ) -> Result<Option<T>>
    where
        R: for<'r> FromRow<'r, Row> + Send + Unpin,
        T: TryFrom<R, Error = StoreError>,
    {
        let find = || async { Ok(query().fetch_optional(&mut *self.read().await?).await?) };
        self.run(find).await?.map(TryInto::try_into).transpose()
    }

    /// A transaction of one statement; answers how many rows it changed.
    async fn change<'q>(
        &self,
        query: impl Fn() -> Query<'q, Database, Arguments> + Send + Sync,
    ) -> Result<u32> {
        let change = || async {
            let mut write = self.write().await?;
            let changed = affected(&query().execute(&mut *write).await?);
            write.commit().await?;
            Ok(changed)
        };
        self.run(change).await
    }
}

#[async_trait]
impl Store for Engine {
    fn allows_many_workers(&self) -> bool {
        Self::ALLOWS_MANY_WORKERS
    }

    async fn ping(&self) -> Result<()> {
        self.run(|| async {
            query!("SELECT 1").execute(&mut *self.read().await?).await?;
            Ok(())
        })
        .await
    }

    fn pools(&self) -> Vec<PoolUse> {
        Engine::pools(self)
    }

    async fn close(&self) {
        Engine::close(self).await;
    }

    async fn setting_or_insert(&self, name: &str, value: &str) -> Result<String> {
        self.run(|| async {
            let mut write = self.write().await?;
            query!(sql::INSERT_SETTING, name, value).execute(&mut *write).await?;
            let kept = query_scalar!(String, sql::SETTING, name).fetch_one(&mut *write).await?;
            write.commit().await?;
            Ok(kept)
        })
        .await
    }

    async fn put_setting(&self, name: &str, value: &str) -> Result<()> {
        self.change(|| query!(sql::PUT_SETTING, name, value)).await.map(drop)
    }

    async fn setting(&self, name: &str) -> Result<Option<String>> {
        self.run(|| async {
            let mut connection = self.read().await?;
            Ok(query_scalar!(String, sql::SETTING, name).fetch_optional(&mut *connection).await?)
        })
        .await
    }

    async fn replace_setting(
        &self,
        name: &str,
        before: &str,
        after: &str,
        entry: &AuditEntry,
    ) -> Result<bool> {
        self.run(|| async {
            let mut write = self.write().await?;
            let replaced = query!(sql::REPLACE_SETTING, name, before, after).execute(&mut *write).await?;
            if affected(&replaced) == 0 {
                return Ok(false);
            }
            audit::put(&mut write, entry).await?;
            write.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn sealing_keys(&self) -> Result<Vec<String>> {
        self.run(|| self.keys_that_seal()).await
    }

    async fn secrets_sealed_with(
        &self,
        key_id: &str,
        after: Option<SecretId>,
        limit: u32,
        now: UnixMs,
    ) -> Result<Vec<SealedSecret>> {
        self.run(|| self.secrets_of_key(key_id, after, limit, now)).await
    }

    async fn reseal_secrets(&self, secrets: &[Resealed], entry: &AuditEntry, earlier: u64) -> Result<u32> {
        self.run(|| self.reseal(secrets, entry, earlier)).await
    }

    async fn list_audit_entries(
        &self,
        filter: &AuditFilter,
        page: &Page<AuditEntryId>,
    ) -> Result<Option<Paged<AuditEntry>>> {
        self.entries(filter, page).await
    }

    async fn insert_api_key(&self, key: &NewApiKey, by: &Author, now: UnixMs) -> Result<ApiKey> {
        self.run(|| self.keep_key(key, by, now)).await
    }

    async fn find_api_key(&self, secret_hash: &[u8; 32], now: UnixMs) -> Result<Option<ApiKey>> {
        self.run(|| self.key_with_hash(secret_hash, now)).await
    }

    async fn list_api_keys(
        &self,
        merchant: Option<&str>,
        page: &Page<KeyId>,
        now: UnixMs,
    ) -> Result<Option<Paged<ApiKey>>> {
        self.keys_page(merchant, page, now).await
    }

    async fn api_key_mode(&self, merchant: &str, id: KeyId, now: UnixMs) -> Result<Option<bool>> {
        self.run(|| async {
            let mode = query_scalar!(bool, sql::API_KEY_MODE, id.to_string(), merchant, now.0);
            Ok(mode.fetch_optional(&mut *self.read().await?).await?)
        })
        .await
    }

    async fn rotate_api_key(
        &self,
        merchant: &str,
        old: KeyId,
        replacement: &NewApiKey,
        old_ends_at: UnixMs,
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<ApiKey>> {
        self.run(|| self.replace_key(merchant, old, replacement, old_ends_at, by, now)).await
    }

    async fn revoke_api_key(
        &self,
        merchant: Option<&str>,
        id: KeyId,
        by: &Author,
        now: UnixMs,
    ) -> Result<bool> {
        self.run(|| self.end_key(merchant, id, by, now)).await
    }

    async fn insert_endpoint(
        &self,
        endpoint: &NewEndpoint,
        limit: usize,
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<Endpoint>> {
        self.run(|| self.register(endpoint, limit, by, now)).await
    }

    async fn endpoint(&self, tenant: &Tenant, id: EndpointId) -> Result<Option<Endpoint>> {
        let (merchant, livemode) = (tenant.merchant_id.as_str(), tenant.livemode);
        self.find(|| query_as!(EndpointRow, sql::ENDPOINT, id.to_string(), merchant, livemode)).await
    }

    async fn list_endpoints(
        &self,
        tenant: &Tenant,
        page: &Page<EndpointId>,
    ) -> Result<Option<Paged<Endpoint>>> {
        let (merchant, livemode) = (tenant.merchant_id.as_str(), tenant.livemode);
        let cursor = |id| query!(sql::ENDPOINT_CURSOR, id, merchant, livemode);
        self.list(Reach::Page, page, cursor, |bounds| {
            let text = sql::LIST_ENDPOINTS.text(bounds.newest_first);
            query_as!(EndpointRow, text, bounds.cursor.clone(), bounds.rows, merchant, livemode)
        })
        .await
    }

    async fn update_endpoint(
        &self,
        tenant: &Tenant,
        id: EndpointId,
        change: &EndpointChange,
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<Endpoint>> {
        self.run(|| self.change_endpoint(tenant, id, change, by, now)).await
    }

    async fn delete_endpoint(
        &self,
        tenant: &Tenant,
        id: EndpointId,
        by: &Author,
        now: UnixMs,
    ) -> Result<bool> {
        self.run(|| self.remove_endpoint(tenant, id, by, now)).await
    }

    async fn rotate_secret(
        &self,
        tenant: &Tenant,
        id: EndpointId,
        secret: &NewSecret,
        previous_end_at: UnixMs,
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<Endpoint>> {
        self.run(|| self.add_secret(tenant, id, secret, previous_end_at, by, now)).await
    }

    async fn settle_endpoint(
        &self,
        id: EndpointId,
        window_cut: UnixMs,
        limit: u32,
        now: UnixMs,
    ) -> Result<Settled> {
        self.run(|| self.settle(id, window_cut, limit, now)).await
    }

    async fn unsettled_endpoints(&self, limit: u32) -> Result<Vec<EndpointId>> {
        self.run(|| async {
            let ids = query_scalar!(String, sql::UNSETTLED_ENDPOINTS, i64::from(limit));
            let ids = ids.fetch_all(&mut *self.read().await?).await?;
            ids.iter().map(|id| read(id, "webhook_endpoints", "id", id)).collect()
        })
        .await
    }

    async fn accept(
        &self,
        groups: &[Vec<NewEvent>],
        offer: Option<&LeaseOffer>,
        idempotency_ends_at: UnixMs,
        now: UnixMs,
    ) -> Result<Vec<std::result::Result<Vec<Accepted>, IdempotencyConflict>>> {
        self.run(|| self.accept_groups(groups, offer, idempotency_ends_at, now)).await
    }

    async fn event(&self, tenant: &Tenant, id: EventId) -> Result<Option<Event>> {
        let (merchant, livemode) = (tenant.merchant_id.as_str(), tenant.livemode);
        self.find(|| query_as!(EventRow, sql::EVENT, id.to_string(), merchant, livemode)).await
    }

    async fn list_events(
        &self,
        tenant: &Tenant,
        filter: &EventFilter,
        page: &Page<EventId>,
    ) -> Result<Option<Paged<Event>>> {
        self.events_page(tenant, filter, page).await
    }

    async fn events_after(&self, tenant: &Tenant, after: EventId, limit: u32) -> Result<Vec<Event>> {
        self.run(|| self.following_events(tenant, after, limit)).await
    }

    async fn event_ids_between(
        &self,
        tenant: &Tenant,
        after: EventId,
        up_to: EventId,
        limit: u32,
    ) -> Result<Vec<EventId>> {
        self.run(|| self.ids_between(tenant, after, up_to, limit)).await
    }

    async fn delivery(&self, tenant: &Tenant, id: DeliveryId) -> Result<Option<Delivery>> {
        let (merchant, livemode) = (tenant.merchant_id.as_str(), tenant.livemode);
        self.find(|| query_as!(DeliveryRow, sql::DELIVERY, id.to_string(), merchant, livemode)).await
    }

    async fn list_deliveries(
        &self,
        tenant: &Tenant,
        filter: &DeliveryFilter,
        page: &Page<DeliveryId>,
    ) -> Result<Option<Paged<Delivery>>> {
        self.deliveries_page(tenant, filter, page).await
    }

    async fn attempts(&self, delivery: DeliveryId) -> Result<Vec<Attempt>> {
        self.run(|| async {
            let rows = query_as!(AttemptRow, sql::ATTEMPTS, delivery.to_string());
            let rows = rows.fetch_all(&mut *self.read().await?).await?;
            rows.into_iter().map(TryInto::try_into).collect()
        })
        .await
    }

    async fn retry_delivery(&self, tenant: &Tenant, id: DeliveryId, now: UnixMs) -> Result<Option<Delivery>> {
        self.run(|| self.begin_anew(tenant, id, now)).await
    }

    async fn insert_delivery(&self, delivery: &NewDelivery, now: UnixMs) -> Result<Option<Delivery>> {
        self.run(|| self.make_delivery(delivery, now)).await
    }

    async fn claim(&self, offer: &LeaseOffer, after: Option<EndpointId>, now: UnixMs) -> Result<Claimed> {
        self.run(|| Box::pin(self.claim_due(offer, after, now))).await
    }

    async fn record(&self, results: &[AttemptResult], rules: FailingRules, now: UnixMs) -> Result<Recording> {
        self.run(|| self.record_attempts(results, rules, now)).await
    }

    async fn failing(&self, endpoint: EndpointId) -> Result<Option<Failing>> {
        self.find(|| query_as!(FailingRow, sql::health::FAILING, endpoint.to_string())).await
    }

    async fn latest_outcomes(&self, endpoint: EndpointId) -> Result<Latest> {
        self.run(|| self.latest(endpoint)).await
    }

    async fn count_open_deliveries(&self, endpoint: EndpointId, limit: u32) -> Result<(u32, u32)> {
        self.run(|| self.count_open(endpoint, limit)).await
    }

    async fn add_statistics(&self, buckets: &[Bucket], latest: &[(EndpointId, Latest)]) -> Result<()> {
        self.run(|| self.add_to_statistics(buckets, latest)).await
    }

    async fn statistics(&self, filter: &StatisticsFilter, length: Length) -> Result<Vec<Bucket>> {
        self.run(|| self.sum_statistics(filter, length)).await
    }

    async fn roll_up_statistics(&self, length: Length, before: UnixMs, limit: u32) -> Result<u32> {
        self.run(|| self.roll_up(length, before, limit)).await
    }

    async fn prune_statistics(&self, before: UnixMs, limit: u32) -> Result<u32> {
        self.run(|| self.prune_old_statistics(before, limit)).await
    }

    async fn queue_depth(&self, now: UnixMs) -> Result<QueueDepth> {
        self.run(|| self.open_deliveries(now)).await
    }

    async fn release(&self, leases: &[(DeliveryId, LeaseToken)]) -> Result<()> {
        self.run(|| async {
            let mut write = self.write().await?;
            batches::release(&mut write, leases).await?;
            write.commit().await
        })
        .await
    }

    async fn become_worker(&self) -> Result<u64> {
        Engine::become_worker(self).await
    }

    async fn announce(&self, news: &[News]) -> Result<()> {
        self.run(|| Engine::announce(self, news)).await
    }

    async fn listen(&self) -> Result<Option<Box<dyn Listen>>> {
        Engine::listen(self).await
    }

    async fn take_upkeep_turn(&self, name: &str, until: UnixMs, now: UnixMs) -> Result<bool> {
        Ok(self.change(|| query!(sql::TAKE_UPKEEP_TURN, name, until.0, now.0)).await? == 1)
    }

    async fn end_upkeep_turn(&self, name: &str, free_at: UnixMs, now: UnixMs) -> Result<()> {
        self.change(|| query!(sql::END_UPKEEP_TURN, name, free_at.0, now.0)).await.map(drop)
    }

    async fn prune_events(&self, before: UnixMs, limit: u32) -> Result<u32> {
        self.run(|| self.prune(before, limit)).await
    }

    async fn prune_audit_entries(&self, before: UnixMs, limit: u32) -> Result<u32> {
        let cut = AuditEntryId::lowest_at(before).to_string();
        self.change(|| query!(sql::PRUNE_AUDIT_ENTRIES, cut.as_str(), i64::from(limit))).await
    }

    async fn expire_idempotency_keys(&self, limit: u32, now: UnixMs) -> Result<u32> {
        self.change(|| query!(sql::EXPIRE_IDEMPOTENCY_KEYS, now.0, i64::from(limit))).await
    }

    async fn expire_secrets(&self, limit: u32, now: UnixMs) -> Result<u32> {
        self.run(|| async {
            let mut write = self.write().await?;
            let secrets = query!(sql::EXPIRE_SIGNING_SECRETS, now.0, i64::from(limit));
            let secrets = affected(&secrets.execute(&mut *write).await?);
            let keys = query!(sql::EXPIRE_API_KEYS, now.0, i64::from(limit - secrets));
            let keys = affected(&keys.execute(&mut *write).await?);
            write.commit().await?;
            Ok(secrets + keys)
        })
        .await
    }

    async fn abandon_held(&self, window_cut: UnixMs, limit: u32, now: UnixMs) -> Result<u32> {
        self.change(|| query!(sql::ABANDON_HELD, window_cut.0, i64::from(limit), now.0)).await
    }

    async fn purge_deleted_endpoints(&self, limit: u32) -> Result<u32> {
        self.run(|| self.purge_endpoints(limit)).await
    }
}
