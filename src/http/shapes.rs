//! What requests and responses look like where no value of the service has that shape: bodies, whose members `Fields` reads
//! one by one so that every bad one is named at once, and events, whose bytes pass through. Only the documents speak of them.
#![expect(dead_code, reason = "a schema is made of the type, never of a value")]

use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, OneOfBuilder, RefOr, Type, schema::Schema},
};

use super::view::IsEvent;
use crate::{
    backfill::Scope,
    endpoint::{EnabledEvents, EndpointStatus},
    event::EventType,
    id::{EndpointId, EventId},
    merchant::MerchantId,
    portal::{Appearance, PortalAccess},
};

/// What happened to a charge, a refund, a payout or a dispute.
#[derive(ToSchema)]
pub(super) struct Event {
    id: EventId,
    #[schema(inline)]
    object: IsEvent,
    /// The version of the form that events have.
    #[schema(examples("v1"))]
    api_version: String,
    /// When it happened, in unix seconds.
    #[schema(minimum = 0, examples(1_749_651_729))]
    created: i64,
    /// Live data, as opposed to test data.
    livemode: bool,
    r#type: EventType,
    data: EventData,
    /// How many of its deliveries are pending or held.
    #[schema(minimum = 0, examples(1))]
    pending_webhooks: i64,
    /// How its deliveries stand, where a list is asked for it.
    #[schema(nullable = false)]
    delivery_counts: Option<EventDeliveryCounts>,
}

/// How many deliveries there are in each state.
#[derive(ToSchema)]
pub(super) struct EventDeliveryCounts {
    /// Waiting for an attempt, the first or another.
    #[schema(minimum = 0)]
    pending: i64,
    /// Those of the pending that were attempted before.
    #[schema(minimum = 0)]
    retrying: i64,
    /// Held, because their endpoint is disabled.
    #[schema(minimum = 0)]
    held: i64,
    #[schema(minimum = 0)]
    succeeded: i64,
    #[schema(minimum = 0)]
    abandoned: i64,
}

/// A portal session to make.
#[derive(ToSchema)]
#[schema(example = json!({ "merchant_id": "m_1", "livemode": false, "access": "read_only", "expires_in": "30m" }))]
pub(super) struct CreatePortalSession {
    merchant_id: MerchantId,
    /// Live data, as opposed to test data.
    livemode: bool,
    /// All that a secret key may do, if not given.
    #[schema(nullable = false)]
    access: Option<PortalAccess>,
    #[schema(nullable = false, inline)]
    expires_in: Option<SessionLife>,
    #[schema(nullable = false)]
    theme: Option<WantedTheme>,
}

/// Why an endpoint is to be held.
#[derive(ToSchema)]
#[schema(example = json!({ "reason": "It answers every delivery with 30 seconds of silence." }))]
pub(super) struct HoldWebhookEndpoint {
    /// In words, for the audit log.
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
}

/// How the portal shall look.
#[derive(ToSchema)]
pub(super) struct WantedTheme {
    /// The one colour that is the platform's.
    #[schema(nullable = false, pattern = "^#[0-9A-Fa-f]{6}$")]
    accent: Option<String>,
    #[schema(nullable = false)]
    appearance: Option<Appearance>,
}

struct SessionLife;

impl PartialSchema for SessionLife {
    fn schema() -> RefOr<Schema> {
        let seconds = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .description(Some("Seconds."))
            .minimum(Some(60))
            .maximum(Some(86_400));
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Such as `1h`, `30m`."))
            .pattern(Some("^([1-9]|1[0-9]|2[0-4])h$|^[1-9][0-9]?m$"));
        let either = OneOfBuilder::new().item(text).item(seconds);
        Schema::OneOf(either.description(Some("From a minute to 24 hours; an hour, if not given.")).build())
            .into()
    }
}

impl ToSchema for SessionLife {}

/// What the event is about, byte for byte as it was published.
#[derive(ToSchema)]
pub(super) struct EventData {
    object: EventObject,
    /// What of the object changed, as it was before.
    #[schema(nullable = false)]
    previous_attributes: Option<Map<String, Value>>,
}

/// A charge, a refund, a payout or a dispute, as it was then. All but these two is the publisher's; the payloads below say
/// what there usually is.
#[derive(ToSchema)]
pub(super) struct EventObject {
    /// Its id.
    #[schema(min_length = 1, examples("7ab6a2d8-7ff3-4b2c-9e35-5df0e7d5cd3f"))]
    id: String,
    /// What it is, as the type of the event says: `charge`, `refund`, `payout` or `dispute`.
    #[schema(examples("charge"))]
    object: String,
}

/// A part of a stream.
#[derive(ToSchema)]
pub(super) struct StreamPart {
    /// What it is about: `event` or `delivery`.
    #[schema(nullable = false, examples("event"))]
    event: Option<String>,
    /// The event's id, to come again with.
    #[schema(nullable = false)]
    id: Option<EventId>,
    /// The event as an endpoint gets it, or the delivery as the API shows it: JSON.
    #[schema(nullable = false)]
    data: Option<String>,
    /// After how many milliseconds to come again, where the stream ends.
    #[schema(nullable = false, minimum = 0, examples(1000))]
    retry: Option<u32>,
}

/// An endpoint to register.
#[derive(ToSchema)]
#[schema(example = json!({
    "url": "https://example.com/webhooks", "enabled_events": ["charge.succeeded", "refund.created"],
}))]
pub(super) struct CreateWebhookEndpoint {
    /// Where deliveries shall go: https, a host with a public address, no user info.
    #[schema(format = "uri", max_length = 2048)]
    url: String,
    #[schema(nullable = false)]
    enabled_events: Option<EnabledEvents>,
    /// A note.
    #[schema(max_length = 200, pattern = "^[^\\u0000]*$")]
    description: Option<String>,
}

/// What of an endpoint shall change; what is not named stays.
#[derive(ToSchema)]
#[schema(example = json!({ "enabled_events": ["*"], "description": "Orders" }))]
pub(super) struct UpdateWebhookEndpoint {
    /// Where deliveries shall go: https, a host with a public address, no user info.
    #[schema(nullable = false, format = "uri", max_length = 2048)]
    url: Option<String>,
    #[schema(nullable = false)]
    enabled_events: Option<EnabledEvents>,
    /// A note; null clears it.
    #[schema(max_length = 200, pattern = "^[^\\u0000]*$")]
    description: Option<String>,
    #[schema(nullable = false)]
    status: Option<EndpointStatus>,
}

/// How long the earlier signing secrets shall sign beside the new one.
#[derive(ToSchema)]
#[schema(example = json!({ "expire_previous_in": "1h" }))]
pub(super) struct RotateSecret {
    #[schema(nullable = false, inline)]
    expire_previous_in: Option<Overlap>,
}

struct Overlap;

impl PartialSchema for Overlap {
    fn schema() -> RefOr<Schema> {
        let seconds = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .description(Some("Seconds."))
            .minimum(Some(0))
            .maximum(Some(604_800));
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Such as `24h`, `90m`, `7d`."))
            .pattern(Some("^(0|[0-7]d|([0-9]{1,2}|1[0-5][0-9]|16[0-8])h|[0-9]{1,4}m|[0-9]{1,5}s)$"));
        let either = OneOfBuilder::new().item(text).item(seconds);
        Schema::OneOf(either.description(Some("From 0 to 7 days; a day, if not given.")).build()).into()
    }
}

impl ToSchema for Overlap {}

/// What a test event shall be.
#[derive(ToSchema)]
#[schema(example = json!({ "type": "payout.paid" }))]
pub(super) struct SendTestEvent {
    r#type: EventType,
}

/// Where an event shall go once more.
#[derive(ToSchema)]
#[schema(example = json!({ "webhook_endpoint": "we_01jxf6z2zre4rr3h5t8y5j0v6q" }))]
pub(super) struct ResendEvent {
    webhook_endpoint: EndpointId,
}

/// Which events shall be sent.
#[derive(ToSchema)]
#[schema(example = json!({ "created_gte": 1_749_565_329, "created_lte": 1_749_651_729, "only": "undelivered" }))]
pub(super) struct CreateBackfill {
    /// From which instant on, in unix seconds, as their publishers date them.
    #[schema(minimum = 0, maximum = 253_402_300_799_i64)]
    created_gte: i64,
    /// Up to which instant, in unix seconds; not before the first.
    #[schema(minimum = 0, maximum = 253_402_300_799_i64)]
    created_lte: i64,
    /// Of which types; those of the endpoint, if not given.
    #[schema(nullable = false)]
    types: Option<EnabledEvents>,
    only: Scope,
    /// How many deliveries shall be made in a second, at most; 10, if not given.
    #[schema(nullable = false, minimum = 1, maximum = 100)]
    per_second: Option<u32>,
    /// Whether the events shall only be counted.
    #[schema(nullable = false)]
    dry_run: Option<bool>,
}

/// How a backfill shall go on.
#[derive(ToSchema)]
#[schema(example = json!({ "status": "paused" }))]
pub(super) struct UpdateBackfill {
    #[schema(inline)]
    status: Steered,
}

struct Steered;

impl PartialSchema for Steered {
    fn schema() -> RefOr<Schema> {
        let words = ["running", "paused", "canceled"];
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build().into()
    }
}

impl ToSchema for Steered {}

/// A range to reconcile, with what stands before it. Flattened into it, a type of its own would leave a schema that cannot
/// be closed.
macro_rules! reconcile {
    ($(#[$attribute:meta])* $name:ident { $($(#[$member_attribute:meta])* $member:ident: $type:ty,)* }) => {
        #[derive(ToSchema)]
        $(#[$attribute])*
        pub(super) struct $name {
            $($(#[$member_attribute])* $member: $type,)*
            /// From which instant on, in unix seconds, as their publishers date them.
            #[schema(minimum = 0, maximum = 253_402_300_799_i64)]
            created_gte: i64,
            /// Up to which instant, in unix seconds; not before the first.
            #[schema(minimum = 0, maximum = 253_402_300_799_i64)]
            created_lte: i64,
            /// Of which types; all, if not given.
            #[schema(nullable = false)]
            types: Option<EnabledEvents>,
            /// As this endpoint has them; otherwise as all do.
            #[schema(nullable = false)]
            webhook_endpoint: Option<EndpointId>,
            /// The events that the receiver has processed.
            #[schema(nullable = false, max_items = 10_000)]
            processed: Option<Vec<EventId>>,
            /// How many differences a page has at most; 100, if not given.
            #[schema(nullable = false, minimum = 1, maximum = 1000)]
            limit: Option<u32>,
            /// What follows this event in the order of dates.
            #[schema(nullable = false)]
            starting_after: Option<EventId>,
        }
    };
}

reconcile! {
    /// Which events shall be reconciled.
    #[schema(example = json!({ "created_gte": 1_749_565_329, "created_lte": 1_749_651_729 }))]
    Reconcile {}
}

reconcile! {
    /// Which of a merchant's events shall be reconciled.
    #[schema(example = json!({ "livemode": false, "created_gte": 1_749_565_329, "created_lte": 1_749_651_729 }))]
    ReconcileMerchant {
        /// Live data, as opposed to test data.
        livemode: bool,
    }
}

/// An event to publish.
#[derive(ToSchema)]
#[schema(example = json!({
    "merchant_id": "m_1", "livemode": false, "type": "charge.succeeded",
    "data": { "object": { "id": "7ab6a2d8-7ff3-4b2c-9e35-5df0e7d5cd3f", "object": "charge", "amount": 4999 } },
    "idempotency_key": "order-1024-charged",
}))]
pub(super) struct PublishEvent {
    merchant_id: MerchantId,
    /// Live data, as opposed to test data.
    livemode: bool,
    r#type: EventType,
    data: EventData,
    /// When it happened, in unix seconds; now, if not given.
    #[schema(nullable = false, minimum = 0, maximum = 253_402_300_799_i64)]
    created: Option<i64>,
    /// What makes a repeated request recognisable, for 24 hours; of the merchant and the mode alone.
    #[schema(nullable = false, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]{1,255}$")]
    idempotency_key: Option<String>,
}

/// Events to publish: all of them, or none.
#[derive(ToSchema)]
#[schema(example = json!({ "events": [
    {
        "merchant_id": "m_1", "livemode": false, "type": "payout.created",
        "data": { "object": { "id": "po_9f2c", "object": "payout", "amount": 15_431 } },
    },
    {
        "merchant_id": "m_1", "livemode": false, "type": "refund.updated",
        "data": {
            "object": { "id": "re_9f2c", "object": "refund", "status": "succeeded" },
            "previous_attributes": { "status": "pending" },
        },
    },
] }))]
pub(super) struct PublishEvents {
    /// As many as `limits.batch_events_max` says: 1000, if not configured otherwise.
    #[schema(min_items = 1)]
    events: Vec<PublishEvent>,
}

/// A key to make.
#[derive(ToSchema)]
#[schema(example = json!({ "livemode": false }))]
pub(super) struct CreateApiKey {
    /// Whether it shall open live data, or test data; test data, if not given.
    #[schema(nullable = false)]
    livemode: Option<bool>,
}

/// How far the clock shall move.
#[derive(ToSchema)]
#[schema(example = json!({ "by": "1h" }))]
pub(super) struct AdvanceTestClock {
    /// Such as `90s`, `1m`, `72h`; at most 366 days.
    #[schema(
        pattern = "^([1-9][0-9]{0,5}s|[1-9][0-9]{0,4}m|[1-9][0-9]{0,2}h|([1-9][0-9]?|[12][0-9]{2}|3[0-5][0-9]|36[0-6])d)$"
    )]
    by: String,
}

/// A value as it was, and as it is.
#[derive(ToSchema)]
pub(super) struct Change {
    /// As it was.
    old: Value,
    /// As it is.
    new: Value,
}
