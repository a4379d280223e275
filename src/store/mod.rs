//! Everything that is kept: [`Store`] names each operation and says what it means.
//!
//! One method is one transaction. The trait is the specification; an engine is one implementation of it,
//! and one conformance suite runs every operation on every engine. `now` is always an argument: no engine
//! asks its database for the time.
//!
//! A list is None where its page lies beside something that is not of that list, be it another tenant's or nowhere.

mod backfills;
mod console;
mod error;
mod history;
mod inspect;
mod operational;
mod pages;
mod pool;
mod portal;
mod postgres;
mod rows;
mod sql;
mod sqlite;
mod types;

use async_trait::async_trait;

pub use backfills::{BackfillStore, Matching};
pub use console::{
    ConsoleStore, FailingEndpoint, NewConsoleSession, ObjectId, ObjectKind, Owner, UpkeepDone,
};
pub use error::StoreError;
pub use history::HistoryStore;
pub use inspect::Inspection;
pub use operational::{AbandonedDelivery, AbandonedFilter, OperationalStore};
pub use portal::{NewPortalSession, PortalStore};
pub use postgres::{PostgresOptions, PostgresStore};
pub use sqlite::SqliteStore;
pub use types::{
    Accepted, ApiKey, AuditFilter, Claimed, DeliveryFilter, EndpointChange, EventFilter, IdempotencyConflict,
    KeyOwner, LeaseOffer, NewApiKey, NewDelivery, NewEndpoint, NewSecret, News, Page, Paged, Places, PoolUse,
    Position, QueueDepth, Recorded, Recording, Resealed, Room, Settled,
};

use crate::{
    audit::{AuditEntry, Author},
    clock::UnixMs,
    delivery::{Attempt, AttemptResult, Delivery},
    endpoint::{Endpoint, SealedSecret},
    event::{Event, NewEvent},
    failing::{Failing, FailingRules},
    id::{AuditEntryId, DeliveryId, EndpointId, EventId, KeyId, LeaseToken, SecretId},
    merchant::Tenant,
    statistics::{Bucket, Latest, Length, StatisticsFilter},
};

/// The result of a store operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The service's memory.
#[async_trait]
pub trait Store:
    BackfillStore + ConsoleStore + HistoryStore + OperationalStore + PortalStore + Send + Sync + 'static
{
    /// Whether several processes may deliver from the database at a time.
    fn allows_many_workers(&self) -> bool;

    /// Answers when the database can be read by this process.
    async fn ping(&self) -> Result<()>;

    /// Connections to the database, always in the same order.
    fn pools(&self) -> Vec<PoolUse>;

    /// Ends every use of the database; later calls fail.
    async fn close(&self);

    /// Keeps `value` under `name` unless there is one already; answers the one that is kept.
    async fn setting_or_insert(&self, name: &str, value: &str) -> Result<String>;

    /// Replaces what is kept under `name`.
    async fn put_setting(&self, name: &str, value: &str) -> Result<()>;

    /// What is kept under `name`.
    async fn setting(&self, name: &str) -> Result<Option<String>>;

    /// Replaces what is kept under `name` if it is `before`; answers whether it was. `entry` goes into the audit log, in the
    /// place of itself with earlier changes.
    async fn replace_setting(
        &self,
        name: &str,
        before: &str,
        after: &str,
        entry: &AuditEntry,
    ) -> Result<bool>;

    // --- encryption keys ---

    /// The ids of all keys with which signing secrets are sealed.
    async fn sealing_keys(&self) -> Result<Vec<String>>;

    /// At most `limit` signing secrets that live and are sealed with this key, by id, behind `after`.
    async fn secrets_sealed_with(
        &self,
        key_id: &str,
        after: Option<SecretId>,
        limit: u32,
        now: UnixMs,
    ) -> Result<Vec<SealedSecret>>;

    /// Replaces the seals of these secrets, as far as they are still as they were read; answers how many. `entry`, whose
    /// changes are to be how many these and the `earlier` ones are, goes into the audit log in the place of itself.
    async fn reseal_secrets(&self, secrets: &[Resealed], entry: &AuditEntry, earlier: u64) -> Result<u32>;

    // --- the audit log: each change below, and that of an endpoint that is gone, leaves an entry in its transaction ---

    /// The entries, newest first.
    async fn list_audit_entries(
        &self,
        filter: &AuditFilter,
        page: &Page<AuditEntryId>,
    ) -> Result<Option<Paged<AuditEntry>>>;

    // --- API keys ---

    /// Keeps a new key.
    async fn insert_api_key(&self, key: &NewApiKey, by: &Author, now: UnixMs) -> Result<ApiKey>;

    /// The key with this hash, unless it has expired.
    async fn find_api_key(&self, secret_hash: &[u8; 32], now: UnixMs) -> Result<Option<ApiKey>>;

    /// Keys that have not expired: of one merchant in both modes, or all, newest first.
    async fn list_api_keys(
        &self,
        merchant: Option<&str>,
        page: &Page<KeyId>,
        now: UnixMs,
    ) -> Result<Option<Paged<ApiKey>>>;

    /// Whether the merchant's living key is for live data. None where the merchant has no such key.
    async fn api_key_mode(&self, merchant: &str, id: KeyId, now: UnixMs) -> Result<Option<bool>>;

    /// Keeps `replacement` and ends the merchant's key `old` at `old_ends_at`, or sooner where it ends sooner.
    /// None where the merchant has no such living key.
    async fn rotate_api_key(
        &self,
        merchant: &str,
        old: KeyId,
        replacement: &NewApiKey,
        old_ends_at: UnixMs,
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<ApiKey>>;

    /// Ends a key at once: one of the merchant's, or any. Answers whether there was one.
    async fn revoke_api_key(
        &self,
        merchant: Option<&str>,
        id: KeyId,
        by: &Author,
        now: UnixMs,
    ) -> Result<bool>;

    // --- webhook endpoints ---

    /// Registers an endpoint with its first secret. None where the tenant has `limit` endpoints already.
    async fn insert_endpoint(
        &self,
        endpoint: &NewEndpoint,
        limit: usize,
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<Endpoint>>;

    /// The endpoint, unless it was deleted.
    async fn endpoint(&self, tenant: &Tenant, id: EndpointId) -> Result<Option<Endpoint>>;

    /// The tenant's endpoints, newest first. A page may lie beside one that was deleted.
    async fn list_endpoints(
        &self,
        tenant: &Tenant,
        page: &Page<EndpointId>,
    ) -> Result<Option<Paged<Endpoint>>>;

    /// Changes an endpoint. Its deliveries follow by [`Store::settle_endpoint`].
    async fn update_endpoint(
        &self,
        tenant: &Tenant,
        id: EndpointId,
        change: &EndpointChange,
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<Endpoint>>;

    /// Deletes an endpoint and its secrets; answers whether there was one. Its deliveries follow by
    /// [`Store::settle_endpoint`].
    async fn delete_endpoint(
        &self,
        tenant: &Tenant,
        id: EndpointId,
        by: &Author,
        now: UnixMs,
    ) -> Result<bool>;

    /// Adds a secret and ends the earlier ones at `previous_end_at`, or sooner where they end sooner. More than
    /// [`LIVING_SECRETS_MAX`](crate::endpoint::LIVING_SECRETS_MAX) do not live: the oldest end at once.
    async fn rotate_secret(
        &self,
        tenant: &Tenant,
        id: EndpointId,
        secret: &NewSecret,
        previous_end_at: UnixMs,
        by: &Author,
        now: UnixMs,
    ) -> Result<Option<Endpoint>>;

    /// Brings at most `limit` deliveries in line with their endpoint's state: disabled, the pending become
    /// held; enabled, the held become due at once if their window began after `window_cut`, else abandoned
    /// (`endpoint_disabled`); deleted, all open ones are abandoned (`endpoint_deleted`).
    /// Answers how many it changed and abandoned: fewer than `limit` means that all are in line.
    async fn settle_endpoint(
        &self,
        id: EndpointId,
        window_cut: UnixMs,
        limit: u32,
        now: UnixMs,
    ) -> Result<Settled>;

    /// At most `limit` endpoints that have deliveries out of line with their state.
    async fn unsettled_endpoints(&self, limit: u32) -> Result<Vec<EndpointId>>;

    // --- events ---

    /// Accepts groups of events, each group whole or not at all: the events, their idempotency records
    /// (remembered until `idempotency_ends_at`) and a delivery for each matching endpoint. Deliveries to enabled
    /// endpoints are due at once, and leased as far as `offer` has room; those to disabled endpoints are held.
    /// A remembered idempotency key with the same content yields the event it was first used for.
    async fn accept(
        &self,
        groups: &[Vec<NewEvent>],
        offer: Option<&LeaseOffer>,
        idempotency_ends_at: UnixMs,
        now: UnixMs,
    ) -> Result<Vec<std::result::Result<Vec<Accepted>, IdempotencyConflict>>>;

    /// The event.
    async fn event(&self, tenant: &Tenant, id: EventId) -> Result<Option<Event>>;

    /// The tenant's events, newest first. A page may lie beside one that does not pass the filter.
    async fn list_events(
        &self,
        tenant: &Tenant,
        filter: &EventFilter,
        page: &Page<EventId>,
    ) -> Result<Option<Paged<Event>>>;

    /// At most `limit` of the tenant's events with ids greater than `after`, oldest first. There need be none with that id.
    async fn events_after(&self, tenant: &Tenant, after: EventId, limit: u32) -> Result<Vec<Event>>;

    /// At most `limit` ids of the tenant's events, oldest first: greater than `after`, and none greater than `up_to`.
    async fn event_ids_between(
        &self,
        tenant: &Tenant,
        after: EventId,
        up_to: EventId,
        limit: u32,
    ) -> Result<Vec<EventId>>;

    // --- deliveries ---

    /// The delivery.
    async fn delivery(&self, tenant: &Tenant, id: DeliveryId) -> Result<Option<Delivery>>;

    /// The tenant's deliveries of one event or one endpoint, newest first. A page may lie beside one that is in another
    /// state.
    async fn list_deliveries(
        &self,
        tenant: &Tenant,
        filter: &DeliveryFilter,
        page: &Page<DeliveryId>,
    ) -> Result<Option<Paged<Delivery>>>;

    /// The attempts of a delivery, first to last.
    async fn attempts(&self, delivery: DeliveryId) -> Result<Vec<Attempt>>;

    /// Makes the delivery due now on a new ladder, whatever its state. An attempt under way keeps its lease and,
    /// should it fail, is followed by the first attempt of the new ladder. None where there is none such.
    async fn retry_delivery(&self, tenant: &Tenant, id: DeliveryId, now: UnixMs) -> Result<Option<Delivery>>;

    /// Makes a new delivery of an event, due now. None where the event is gone, the endpoint is gone or off, or one of them
    /// is not the tenant's.
    async fn insert_delivery(&self, delivery: &NewDelivery, now: UnixMs) -> Result<Option<Delivery>>;

    // --- the queue ---

    /// Leases due deliveries to this process as far as `offer` has room, fairly: an endpoint's backlog costs the
    /// others neither time nor room. Lost leases are due when they end. `after` is where the claim before this one
    /// ended its look ([`Claimed::looked_up_to`]).
    async fn claim(&self, offer: &LeaseOffer, after: Option<EndpointId>, now: UnixMs) -> Result<Claimed>;

    /// Records attempts and what follows from them. Where the lease was lost meanwhile, nothing is written. An attempt
    /// that was recorded before counts as written. An endpoint fails from its first failure after its last success until
    /// the next one, in the order in which outcomes are recorded; a 410, and failing for longer than may be, disable it.
    /// What operators are told of it becomes events of theirs in the same transaction.
    async fn record(&self, results: &[AttemptResult], rules: FailingRules, now: UnixMs) -> Result<Recording>;

    /// How much is open. Costs the same however much there is.
    async fn queue_depth(&self, now: UnixMs) -> Result<QueueDepth>;

    /// Gives leases back, so that the deliveries are due again at once.
    async fn release(&self, leases: &[(DeliveryId, LeaseToken)]) -> Result<()>;

    /// Makes this process the worker of the database, where there may be only one, and frees the leases of
    /// the worker before it. Answers how many were freed.
    async fn become_worker(&self) -> Result<u64>;

    // --- how endpoints fare ---

    /// How an endpoint fails, if it does.
    async fn failing(&self, endpoint: EndpointId) -> Result<Option<Failing>>;

    /// What was seen last of an endpoint.
    async fn latest_outcomes(&self, endpoint: EndpointId) -> Result<Latest>;

    /// How many deliveries of an endpoint are pending, and how many held, of each counted up to `limit`.
    async fn count_open_deliveries(&self, endpoint: EndpointId, limit: u32) -> Result<(u32, u32)>;

    /// Adds to the statistics what was counted, in buckets of the shortest length, and keeps what was seen last. Endpoints
    /// that are gone are left out.
    async fn add_statistics(&self, buckets: &[Bucket], latest: &[(EndpointId, Latest)]) -> Result<()>;

    /// The sums of what was counted, by endpoint and in buckets of this length, those with anything in them.
    async fn statistics(&self, filter: &StatisticsFilter, length: Length) -> Result<Vec<Bucket>>;

    // --- processes that share the database ---

    /// Tells the other processes, in no transaction. A hint, which may be lost.
    async fn announce(&self, news: &[News]) -> Result<()>;

    /// Begins to hear what processes announce. None where they cannot be heard.
    async fn listen(&self) -> Result<Option<Box<dyn Listen>>>;

    /// Takes the turn at a part of the upkeep until `until`, unless another process has it. Answers whether it did.
    async fn take_upkeep_turn(&self, name: &str, until: UnixMs, now: UnixMs) -> Result<bool>;

    /// Ends the turn, whose part was done at `now`; the next can be taken at `free_at`.
    async fn end_upkeep_turn(&self, name: &str, free_at: UnixMs, now: UnixMs) -> Result<()>;

    // --- maintenance: each removes or changes at most `limit` rows and answers how many ---

    /// Removes events accepted before `before` that have no open delivery, with their deliveries and attempts.
    async fn prune_events(&self, before: UnixMs, limit: u32) -> Result<u32>;

    /// Removes entries of the audit log made before `before`.
    async fn prune_audit_entries(&self, before: UnixMs, limit: u32) -> Result<u32>;

    /// Makes buckets of this length that begin before `before` parts of longer ones.
    async fn roll_up_statistics(&self, length: Length, before: UnixMs, limit: u32) -> Result<u32>;

    /// Removes statistics of before `before`.
    async fn prune_statistics(&self, before: UnixMs, limit: u32) -> Result<u32>;

    /// Removes idempotency records that have ended.
    async fn expire_idempotency_keys(&self, limit: u32, now: UnixMs) -> Result<u32>;

    /// Removes signing secrets and API keys that have ended.
    async fn expire_secrets(&self, limit: u32, now: UnixMs) -> Result<u32>;

    /// Abandons held deliveries (`endpoint_disabled`) whose window began before `window_cut`.
    async fn abandon_held(&self, window_cut: UnixMs, limit: u32, now: UnixMs) -> Result<u32>;

    /// Removes deleted endpoints that no delivery refers to any more.
    async fn purge_deleted_endpoints(&self, limit: u32) -> Result<u32>;
}

/// Hears what processes on the database announce, this one included.
#[async_trait]
pub trait Listen: Send {
    /// The next news. After an error nothing more is heard, and some may have been missed.
    async fn next(&mut self) -> Result<News>;
}
