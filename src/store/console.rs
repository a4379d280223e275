//! What is kept for those who operate the service: their sessions in the console, the processes that share the database, and
//! looks over all merchants. One method is one transaction here too.

use async_trait::async_trait;

use super::{Page, Paged};
use crate::{
    audit::Author,
    clock::UnixMs,
    console::ConsoleSession,
    endpoint::Endpoint,
    failing::Failing,
    id::{BackfillId, ConsoleSessionId, DeliveryId, EndpointId, EventId, KeyId, PortalSessionId, ProcessId},
    merchant::{MerchantId, Tenant},
    pulse::{ProcessReport, Tally, TallyLength},
    statistics::Latest,
    words::words,
};

/// A console session to keep. Neither its key nor its cookie is ever stored.
#[derive(Clone, Debug)]
pub struct NewConsoleSession {
    /// Its id.
    pub id: ConsoleSessionId,
    /// What the key's service is called; none for the bootstrap key.
    pub service: Option<String>,
    /// The keyed hash of the key that opens it.
    pub key_hash: [u8; 32],
    /// The keyed hash of its cookie.
    pub cookie_hash: [u8; 32],
    /// When it ends.
    pub expires_at: UnixMs,
}

/// Something that has an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectId {
    /// An event.
    Event(EventId),
    /// A delivery.
    Delivery(DeliveryId),
    /// An endpoint that was not deleted.
    Endpoint(EndpointId),
    /// A backfill.
    Backfill(BackfillId),
    /// An API key.
    Key(KeyId),
    /// A portal session.
    PortalSession(PortalSessionId),
    /// A merchant, which has or had endpoints, keys or events.
    Merchant(MerchantId),
}

words! {
    /// What kind of object it is.
    ObjectKind {
        /// A merchant.
        Merchant "merchant",
        /// An event.
        Event "event",
        /// A delivery.
        Delivery "delivery",
        /// A webhook endpoint.
        WebhookEndpoint "webhook_endpoint",
        /// A backfill.
        Backfill "backfill",
        /// An API key.
        ApiKey "api_key",
        /// A portal session.
        PortalSession "portal_session",
    }
}

impl ObjectId {
    /// What kind of object has it.
    #[must_use]
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Event(_) => ObjectKind::Event,
            Self::Delivery(_) => ObjectKind::Delivery,
            Self::Endpoint(_) => ObjectKind::WebhookEndpoint,
            Self::Backfill(_) => ObjectKind::Backfill,
            Self::Key(_) => ObjectKind::ApiKey,
            Self::PortalSession(_) => ObjectKind::PortalSession,
            Self::Merchant(_) => ObjectKind::Merchant,
        }
    }
}

/// Whose something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A merchant's, in one mode.
    Tenant(Tenant),
    /// A merchant itself, in both modes.
    Merchant,
    /// No merchant's.
    Nobody,
}

/// An endpoint that fails.
#[derive(Clone, Debug)]
pub struct FailingEndpoint {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// How it fails.
    pub failing: Failing,
    /// What was seen last of it.
    pub latest: Latest,
}

/// When a part of the upkeep was last done, by any process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpkeepDone {
    /// The part.
    pub name: String,
    /// When; none where it never was.
    pub succeeded_at: Option<UnixMs>,
}

/// The service's memory of its operators and its processes.
#[async_trait]
pub trait ConsoleStore: Send + Sync {
    /// Keeps a new session.
    async fn insert_console_session(
        &self,
        session: &NewConsoleSession,
        by: &Author,
        now: UnixMs,
    ) -> super::Result<ConsoleSession>;

    /// The session whose cookie has this hash, unless it has ended or the key has that opened it. The bootstrap key, which is
    /// in no table, lives while it has the hash that it had then.
    async fn find_console_session(
        &self,
        cookie_hash: &[u8; 32],
        bootstrap_hash: Option<&[u8; 32]>,
        now: UnixMs,
    ) -> super::Result<Option<ConsoleSession>>;

    /// Ends a session at once; answers whether there was one.
    async fn end_console_session(
        &self,
        id: ConsoleSessionId,
        by: &Author,
        now: UnixMs,
    ) -> super::Result<bool>;

    /// Whose this is. None where there is none such that is a merchant's or a service's.
    async fn owner_of(&self, object: &ObjectId) -> super::Result<Option<Owner>>;

    /// The endpoints of all merchants that fail, those first that began to fail last. A page lies beside one that still fails.
    async fn list_failing(&self, page: &Page<EndpointId>) -> super::Result<Option<Paged<FailingEndpoint>>>;

    /// Holds an endpoint in the name of those who operate the service, for this reason. Its deliveries follow by
    /// [`Store::settle_endpoint`](super::Store::settle_endpoint). None where there is none such, or it is off already.
    async fn hold_endpoint(
        &self,
        tenant: &Tenant,
        id: EndpointId,
        reason: &str,
        by: &Author,
        now: UnixMs,
    ) -> super::Result<Option<Endpoint>>;

    /// Keeps what a process says of itself, and what it has counted in the buckets under way, in the place of what it said
    /// and counted before.
    async fn report(
        &self,
        report: &ProcessReport,
        counted: &[(TallyLength, UnixMs, Tally)],
    ) -> super::Result<()>;

    /// Forgets a process that ends; what it counted stays.
    async fn forget_process(&self, id: ProcessId) -> super::Result<()>;

    /// The processes that were seen after `seen_after`, at most 1,000, the longest-lived first.
    async fn processes(&self, seen_after: UnixMs) -> super::Result<Vec<ProcessReport>>;

    /// What all processes counted in buckets of this length that begin from `from` to before `to`, by their beginnings.
    async fn tallies(
        &self,
        length: TallyLength,
        from: UnixMs,
        to: UnixMs,
    ) -> super::Result<Vec<(UnixMs, Tally)>>;

    /// When each part of the upkeep that was ever begun was last done.
    async fn upkeep_done(&self) -> super::Result<Vec<UpkeepDone>>;

    /// Removes at most `limit` console sessions that have ended; answers how many.
    async fn expire_console_sessions(&self, limit: u32, now: UnixMs) -> super::Result<u32>;

    /// Removes processes that were not seen after `seen_before`; answers how many.
    async fn expire_processes(&self, seen_before: UnixMs) -> super::Result<u32>;

    /// Removes at most `limit` buckets of this length that begin before `before`; answers how many.
    async fn prune_tallies(&self, length: TallyLength, before: UnixMs, limit: u32) -> super::Result<u32>;
}
