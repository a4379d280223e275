//! What goes into the store and comes out of it, besides the domain's own types.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use super::sql;
use crate::{
    audit::{Action, ActorId, ActorKind},
    clock::UnixMs,
    delivery::{AbandonedReason, DeliveryStatus, LeasedDelivery},
    endpoint::{DisabledReason, EnabledEvents, EndpointStatus},
    event::{Event, EventType},
    id::{EndpointId, EventId, KeyId, LeaseToken, SecretId},
    merchant::{MerchantId, Tenant},
    vault::Sealed,
};

/// Whose key an API key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOwner {
    /// A merchant, in one mode.
    Merchant(Tenant),
    /// An internal service, by name.
    Service(String),
}

/// A key to keep. The secret itself is never stored.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub owner: KeyOwner,
    /// The keyed hash of the secret key.
    pub secret_hash: [u8; 32],
    /// The last four characters of the secret key.
    pub last4: String,
    /// The publishable key beside it, for a merchant's.
    pub publishable_key: Option<String>,
}

/// A key as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub owner: KeyOwner,
    /// The last four characters of the secret key.
    pub last4: String,
    /// The publishable key beside it.
    pub publishable_key: Option<String>,
    /// When it was made.
    pub created_at: UnixMs,
    /// When it ends, if it does.
    pub expires_at: Option<UnixMs>,
}

/// A sealed signing secret to keep.
#[derive(Clone, Debug)]
pub struct NewSecret {
    /// Its id, to which the seal is bound.
    pub id: SecretId,
    /// The encrypted secret.
    pub sealed: Sealed,
}

/// A signing secret to seal anew.
#[derive(Clone, Debug)]
pub struct Resealed {
    /// Its id, to which the seal is bound.
    pub id: SecretId,
    /// As it was read: where it is otherwise by now, it stays.
    pub before: Sealed,
    /// As it is to be.
    pub after: Sealed,
}

/// An endpoint to register.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Its address.
    pub url: String,
    /// The events it wants.
    pub enabled_events: EnabledEvents,
    /// The merchant's note.
    pub description: Option<String>,
    /// Its first signing secret.
    pub secret: NewSecret,
}

/// What to change of an endpoint; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointChange {
    /// A new address.
    pub url: Option<String>,
    /// Other events.
    pub enabled_events: Option<EnabledEvents>,
    /// Another note, or none.
    pub description: Option<Option<String>>,
    /// On or off.
    pub status: Option<EndpointStatus>,
}

/// Which part of a list, newest first.
#[derive(Clone, Debug)]
pub struct Page<I> {
    /// At most so many.
    pub limit: u32,
    /// From where.
    pub position: Position<I>,
}

/// Where a page lies.
#[derive(Clone, Debug)]
pub enum Position<I> {
    /// At the newest.
    First,
    /// Older than this one (`starting_after`).
    After(I),
    /// Newer than this one (`ending_before`), the nearest to it.
    Before(I),
}

impl<I> Page<I> {
    /// The item beside which the page lies, if it is not the first page.
    #[must_use]
    pub fn cursor(&self) -> Option<&I> {
        match &self.position {
            Position::First => None,
            Position::After(id) | Position::Before(id) => Some(id),
        }
    }
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Paged<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// Whether there are more in the direction that was asked for.
    pub has_more: bool,
}

/// Which events to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of this type.
    pub event_type: Option<EventType>,
    /// Created at this instant or later.
    pub created_from: Option<UnixMs>,
    /// Created at this instant or before.
    pub created_to: Option<UnixMs>,
    /// With at least one delivery in this state.
    pub delivery_status: Option<DeliveryStatus>,
}

/// Which deliveries to list.
#[derive(Clone, Copy, Debug)]
pub enum DeliveryFilter {
    /// All of an event.
    OfEvent(EventId),
    /// Those of an endpoint, perhaps in one state only.
    OfEndpoint(EndpointId, Option<DeliveryStatus>),
}

/// Which entries of the audit log to list.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// About this merchant's objects.
    pub merchant_id: Option<MerchantId>,
    /// About objects of live data, or of test data.
    pub livemode: Option<bool>,
    /// About this object.
    pub object_id: Option<String>,
    /// Of this action.
    pub action: Option<Action>,
    /// By this kind of actor.
    pub actor_kind: Option<ActorKind>,
    /// By this API key or portal session.
    pub actor_id: Option<ActorId>,
}

/// A delivery to make outside of accepting.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// Whose it is.
    pub tenant: Tenant,
    /// The event to carry.
    pub event_id: EventId,
    /// Where to.
    pub endpoint_id: EndpointId,
}

/// Leases on offer: for deliveries that are due as they are made, so that they need not be claimed, and for claims.
#[derive(Clone, Debug)]
pub struct LeaseOffer {
    /// The token they get.
    pub token: LeaseToken,
    /// When they end.
    pub until: UnixMs,
    /// How many this process can take.
    pub room: Room,
}

/// How much due work a process can take, in all and for each endpoint.
#[derive(Clone)]
pub struct Room {
    total: usize,
    places: Arc<dyn Places>,
    /// What is left of the places of endpoints that some were taken of.
    left: HashMap<EndpointId, usize>,
}

/// How much due work a process can take for one endpoint. It is asked when it matters, so that an offer costs the same
/// however many endpoints there are.
pub trait Places: Send + Sync {
    /// Places that are free for this endpoint just now.
    fn free(&self, endpoint: EndpointId) -> usize;
}

/// The same for every endpoint.
impl Places for usize {
    fn free(&self, _: EndpointId) -> usize {
        *self
    }
}

impl Room {
    /// Room for so many in all, and for each endpoint as `places` says.
    #[must_use]
    pub fn new(total: usize, places: Arc<dyn Places>) -> Self {
        Self { total, places, left: HashMap::new() }
    }

    /// How much is left in all.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// How much fits for this endpoint, were it alone.
    #[must_use]
    pub fn of(&self, endpoint: EndpointId) -> usize {
        let left = self.left.get(&endpoint).copied();
        left.unwrap_or_else(|| self.places.free(endpoint)).min(self.total)
    }

    /// Takes a place for this endpoint, where there is one.
    pub fn take(&mut self, endpoint: EndpointId) -> bool {
        let left = self.left.entry(endpoint).or_insert_with(|| self.places.free(endpoint));
        if self.total == 0 || *left == 0 {
            return false;
        }
        self.total -= 1;
        *left -= 1;
        true
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Room").field("total", &self.total).finish_non_exhaustive()
    }
}

/// What came of accepting one event.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The event: the new one or, for a replay, the original.
    pub event: Event,
    /// Whether the idempotency key had been used for it before.
    pub replayed: bool,
    /// Its deliveries that were leased to this process.
    pub leased: Vec<LeasedDelivery>,
    /// Endpoints with deliveries that are due but not leased.
    pub left_due: Vec<EndpointId>,
}

/// An idempotency key was used before for other content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyConflict {
    /// Which event of the group.
    pub index: usize,
}

/// What was leased.
#[derive(Clone, Debug, Default)]
pub struct Claimed {
    /// The deliveries, oldest due time first for each endpoint.
    pub deliveries: Vec<LeasedDelivery>,
    /// When the next delivery becomes due, of those that were not due yet.
    pub next_due_at: Option<UnixMs>,
    /// Endpoints with due work that was left for want of room. An endpoint whose last due delivery just fitted may be
    /// among them.
    pub left_due: Vec<EndpointId>,
    /// Whether more was due than one look covers, so that there may be endpoints with due work that were not looked at.
    pub unseen: bool,
    /// After which endpoint, in the order of ids, those come; none where they begin with the first.
    pub looked_up_to: Option<EndpointId>,
}

/// What came of recording an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was written, and its delivery stands as it says.
    Written,
    /// It was written, and would have ended its delivery, which had ended by then or begun anew.
    Overtaken,
    /// The lease had been lost, so it was not.
    LeaseLost,
}

/// What came of recording attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// What became of each, in the order given.
    pub outcomes: Vec<Recorded>,
    /// The endpoints that were disabled by it.
    pub disabled: BTreeMap<EndpointId, DisabledReason>,
    /// Whether operators are told of an endpoint, so that a delivery to them is due.
    pub told: bool,
}

/// What came of having deliveries follow their endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// How many were changed.
    pub changed: u32,
    /// How many of these were abandoned, and why.
    pub abandoned: Option<(AbandonedReason, u32)>,
}

/// What a process tells the others on its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum News {
    /// There is due work that it does not do itself.
    Due,
    /// A backfill may go on that it does not see to itself.
    Backfill,
    /// An endpoint has changed, so what was leased for it before is out of date.
    EndpointChanged(EndpointId),
}

/// Open deliveries in the database, each number as far as [`QueueDepth::COUNTED_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Pending, be they due, leased, or due later.
    pub pending: u64,
    /// Of these, leased to a process.
    pub leased: u64,
    /// Of the pending, due and leased to nobody.
    pub due: u64,
    /// Held, because their endpoint is disabled.
    pub held: u64,
    /// Since when the oldest of the due ones is due.
    pub oldest_due_at: Option<UnixMs>,
}

impl QueueDepth {
    /// How far is counted: a number that large means that many or more. What is looked at for it takes milliseconds,
    /// however large the backlog.
    pub const COUNTED_MAX: u64 = sql::COUNTED_MAX;
}

/// Connections to the database, of one kind.
#[derive(Clone, Copy, Debug)]
pub struct PoolUse {
    /// What they are for.
    pub pool: &'static str,
    /// How many there may be.
    pub limit: usize,
    /// How many there are.
    pub open: usize,
    /// How many of these nobody uses.
    pub idle: usize,
    /// How many operations wait for one.
    pub waiting: usize,
}
