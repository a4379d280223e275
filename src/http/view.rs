//! The JSON of the objects that the APIs show. The same types are the schemas of the documents.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, value::RawValue};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ArrayBuilder, ObjectBuilder, Ref, RefOr, Type, schema::Schema},
};

use super::shapes;
use crate::{
    audit::{self, Action, ActorKind},
    clock::UnixMs,
    delivery::{self, AbandonedReason, DeliveryStatus},
    endpoint::{DisabledReason, EnabledEvents, Endpoint, EndpointStatus},
    event::EventType,
    id::{
        AttemptId, AuditEntryId, BackfillId, DeliveryId, EndpointId, EventId, KeyId, PortalSessionId,
        RequestId,
    },
    merchant::MerchantId,
    portal::{self, Appearance, PortalAccess},
    store::{self, KeyOwner, Paged},
    transport::FailureCode,
    words::constants,
};

constants! {
    pub(super) IsApiKey "api_key",
    pub(super) IsAttempt "attempt",
    pub(super) IsAuditEntry "audit_entry",
    pub(super) IsBackfill "backfill",
    pub(super) IsConsoleSession "console_session",
    pub(super) IsDelivery "delivery",
    pub(super) IsEvent "event",
    pub(super) IsFailingEndpoint "failing_endpoint",
    pub(super) IsFoundObject "found_object",
    pub(super) IsList "list",
    pub(super) IsPortalSession "portal_session",
    pub(super) IsReconciliation "reconciliation",
    pub(super) IsServiceStatus "service_status",
    pub(super) IsStatistics "statistics",
    pub(super) IsThroughput "throughput",
    pub(super) IsTimeline "timeline",
    pub(super) IsWebhookEndpoint "webhook_endpoint",
    pub(super) IsWebhookEndpointHealth "webhook_endpoint_health",
}

fn seconds(at: Option<UnixMs>) -> Option<i64> {
    at.map(UnixMs::seconds)
}

/// An address that a merchant registered, and the events it wants.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookEndpoint {
    id: EndpointId,
    #[schema(inline)]
    object: IsWebhookEndpoint,
    /// Where deliveries go.
    #[schema(max_length = 2048, examples("https://example.com/webhooks"))]
    url: String,
    enabled_events: EnabledEvents,
    /// The merchant's note.
    #[schema(max_length = 200, examples("Orders"))]
    description: Option<String>,
    status: EndpointStatus,
    /// Why it is disabled, where it was not its merchant.
    disabled_reason: Option<DisabledReason>,
    /// Live data, as opposed to test data.
    livemode: bool,
    /// When it was registered, in unix seconds.
    #[schema(examples(1_749_651_729))]
    created: i64,
    /// When it was last changed, in unix seconds.
    #[schema(examples(1_749_651_729))]
    updated: i64,
}

pub(super) fn endpoint(endpoint: &Endpoint) -> WebhookEndpoint {
    WebhookEndpoint {
        id: endpoint.id,
        object: IsWebhookEndpoint,
        url: endpoint.url.clone(),
        enabled_events: endpoint.enabled_events.clone(),
        description: endpoint.description.clone(),
        status: endpoint.status,
        disabled_reason: endpoint.disabled_reason,
        livemode: endpoint.tenant.livemode,
        created: endpoint.created_at.seconds(),
        updated: endpoint.updated_at.seconds(),
    }
}

/// An endpoint with its signing secret, which is shown this once.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookEndpointWithSecret {
    #[serde(flatten)]
    pub(super) endpoint: WebhookEndpoint,
    /// What its deliveries are signed with: all of the text is the key of the HMAC.
    #[schema(pattern = "^whsec_[A-Za-z0-9+/]{43}=$")]
    pub(super) signing_secret: String,
}

/// An endpoint that is no more.
#[derive(Serialize, ToSchema)]
pub(super) struct DeletedWebhookEndpoint {
    pub(super) id: EndpointId,
    #[schema(inline)]
    pub(super) object: IsWebhookEndpoint,
    /// Always true.
    pub(super) deleted: bool,
}

/// One event on its way to one endpoint.
#[derive(Serialize, ToSchema)]
pub(super) struct Delivery {
    id: DeliveryId,
    #[schema(inline)]
    object: IsDelivery,
    event: EventId,
    event_type: EventType,
    webhook_endpoint: EndpointId,
    /// Live data, as opposed to test data.
    livemode: bool,
    status: DeliveryStatus,
    /// Why it was given up, where it was.
    abandoned_reason: Option<AbandonedReason>,
    /// Attempts made so far, over all ladders.
    #[schema(minimum = 0, examples(1))]
    attempt_count: u32,
    /// When the next attempt is due, in unix seconds, while it is pending.
    #[schema(examples(1_749_651_789))]
    next_attempt_at: Option<i64>,
    /// When it was made, in unix seconds.
    #[schema(examples(1_749_651_729))]
    created: i64,
    /// The backfill that made it, if one did.
    backfill: Option<BackfillId>,
}

pub(super) fn delivery(delivery: &delivery::Delivery) -> Delivery {
    Delivery {
        id: delivery.id,
        object: IsDelivery,
        event: delivery.event_id,
        event_type: delivery.event_type,
        webhook_endpoint: delivery.endpoint_id,
        livemode: delivery.livemode,
        status: delivery.status,
        abandoned_reason: delivery.abandoned_reason,
        attempt_count: delivery.attempt_count,
        next_attempt_at: seconds(delivery.next_attempt_at),
        created: delivery.created_at.seconds(),
        backfill: delivery.backfill_id,
    }
}

/// A delivery with every attempt at it.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveryWithAttempts {
    #[serde(flatten)]
    delivery: Delivery,
    /// The first one first.
    attempts: Vec<Attempt>,
}

pub(crate) fn delivery_with_attempts(
    delivery: &delivery::Delivery,
    attempts: &[delivery::Attempt],
) -> DeliveryWithAttempts {
    let attempts = attempts.iter().map(attempt).collect();
    DeliveryWithAttempts { delivery: self::delivery(delivery), attempts }
}

/// One HTTP request to an endpoint, as recorded.
#[derive(Serialize, ToSchema)]
pub(super) struct Attempt {
    id: AttemptId,
    #[schema(inline)]
    object: IsAttempt,
    /// 1 for the first of the delivery, and so on over all ladders.
    #[schema(minimum = 1, examples(1))]
    number: u32,
    /// When it started, in unix seconds.
    #[schema(examples(1_749_651_729))]
    started: i64,
    /// How long it took, from connect to the last byte read.
    #[schema(minimum = 0, examples(87))]
    duration_ms: i64,
    /// The status of the response, where there was one.
    #[schema(minimum = 100, maximum = 999, examples(500))]
    response_status: Option<u16>,
    /// What failed; null for a success.
    failure_code: Option<FailureCode>,
    /// What failed, in words.
    #[schema(examples("the endpoint answered 500"))]
    failure_message: Option<String>,
    /// The beginning of the body of the response.
    response_body: Option<String>,
    /// The address that was called, with its port.
    #[schema(examples("192.0.2.7:443"))]
    address: Option<String>,
}

pub(super) fn attempt(attempt: &delivery::Attempt) -> Attempt {
    let text = |body: &bytes::Bytes| String::from_utf8_lossy(body).into_owned();
    Attempt {
        id: attempt.id,
        object: IsAttempt,
        number: attempt.number,
        started: attempt.started_at.seconds(),
        duration_ms: attempt.duration_ms,
        response_status: attempt.response_status,
        failure_code: attempt.failure_code,
        failure_message: attempt.failure_message.clone(),
        response_body: attempt.response_body.as_ref().map(text),
        address: attempt.address.clone(),
    }
}

/// A delivery that was given up.
#[derive(Serialize, ToSchema)]
pub(super) struct AbandonedDelivery {
    #[serde(flatten)]
    delivery: Delivery,
    merchant_id: MerchantId,
    /// When it was given up, in unix seconds; null where that was before it was kept.
    #[schema(examples(1_749_910_929))]
    abandoned_at: Option<i64>,
    /// Its place in the order in which deliveries were given up.
    #[schema(minimum = 1, examples(1024))]
    position: i64,
}

pub(super) fn abandoned_delivery(abandoned: &store::AbandonedDelivery) -> AbandonedDelivery {
    AbandonedDelivery {
        delivery: delivery(&abandoned.delivery),
        merchant_id: abandoned.merchant_id.clone(),
        abandoned_at: seconds(abandoned.abandoned_at),
        position: abandoned.position,
    }
}

/// What a merchant's server or an internal service authenticates with.
#[derive(Serialize, ToSchema)]
pub(super) struct ApiKey {
    id: KeyId,
    #[schema(inline)]
    object: IsApiKey,
    /// Whose it is; null for a service's.
    merchant_id: Option<MerchantId>,
    /// Whether it opens live data, or test data; null for a service's.
    livemode: Option<bool>,
    /// What the internal service is called whose key it is; null for a merchant's.
    #[schema(examples("billing"))]
    service: Option<String>,
    /// The last four characters of the secret key.
    #[schema(min_length = 4, max_length = 4, examples("3xk7"))]
    last4: String,
    /// The publishable key beside it, which opens nothing here.
    publishable_key: Option<String>,
    /// When it was made, in unix seconds.
    #[schema(examples(1_749_651_729))]
    created: i64,
    /// When it ends, in unix seconds, if it does.
    #[schema(examples(1_749_738_129))]
    expires_at: Option<i64>,
}

pub(super) fn api_key(key: &store::ApiKey) -> ApiKey {
    let (merchant_id, livemode, service) = match &key.owner {
        KeyOwner::Merchant(tenant) => (Some(tenant.merchant_id.clone()), Some(tenant.livemode), None),
        KeyOwner::Service(name) => (None, None, Some(name.clone())),
    };
    ApiKey {
        id: key.id,
        object: IsApiKey,
        merchant_id,
        livemode,
        service,
        last4: key.last4.clone(),
        publishable_key: key.publishable_key.clone(),
        created: key.created_at.seconds(),
        expires_at: seconds(key.expires_at),
    }
}

/// A key with the text to authenticate with, which is shown this once.
#[derive(Serialize, ToSchema)]
pub(super) struct ApiKeyWithSecret {
    #[serde(flatten)]
    pub(super) key: ApiKey,
    /// What stands behind `Bearer`.
    #[schema(pattern = "^sk_(test|live)_")]
    pub(super) secret_key: String,
}

/// A key that has ended.
#[derive(Serialize, ToSchema)]
pub(super) struct DeletedApiKey {
    pub(super) id: KeyId,
    #[schema(inline)]
    pub(super) object: IsApiKey,
    /// Always true.
    pub(super) deleted: bool,
}

/// Who did what to an endpoint or a key.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditEntry {
    id: AuditEntryId,
    #[schema(inline)]
    object: IsAuditEntry,
    /// When it was done, in unix seconds.
    #[schema(examples(1_749_651_729))]
    created: i64,
    /// The merchant whose object it is; null for what is no merchant's.
    merchant_id: Option<MerchantId>,
    /// Whether the object belongs to live data; null for what is no merchant's.
    livemode: Option<bool>,
    actor: Actor,
    action: Action,
    /// The object that was changed.
    #[schema(examples("we_01jxf6z2zre4rr3h5t8y5j0v6q"))]
    object_id: String,
    /// What changed, by name; never secrets.
    #[schema(value_type = std::collections::BTreeMap<String, shapes::Change>)]
    changes: Value,
    /// The request by which it was done, if it was by one.
    request_id: Option<RequestId>,
}

/// Who acts.
#[derive(Serialize, ToSchema)]
pub(super) struct Actor {
    kind: ActorKind,
    /// The API key or the session that was used.
    #[schema(examples("key_01jxf6z2zre4rr3h5t8y5j0v6q"))]
    id: Option<String>,
    /// What the internal service, or at the command line the user, is called.
    #[schema(examples("billing"))]
    name: Option<String>,
}

/// A merchant's browser in the portal, in place of a key.
#[derive(Serialize, ToSchema)]
pub(super) struct PortalSession {
    id: PortalSessionId,
    #[schema(inline)]
    object: IsPortalSession,
    merchant_id: MerchantId,
    /// Live data, as opposed to test data.
    livemode: bool,
    access: PortalAccess,
    theme: Theme,
    /// When it was made, in unix seconds.
    #[schema(examples(1_749_651_729))]
    created: i64,
    /// When its link was opened, in unix seconds, if it was.
    #[schema(examples(1_749_651_741))]
    opened: Option<i64>,
    /// When it ends, in unix seconds.
    #[schema(examples(1_749_655_329))]
    expires_at: i64,
}

/// How the portal looks.
#[derive(Serialize, ToSchema)]
struct Theme {
    /// The one colour that is the platform's.
    #[schema(pattern = "^#[0-9a-f]{6}$", examples("#3457d5"))]
    accent: Option<String>,
    appearance: Appearance,
}

pub(super) fn portal_session(session: &portal::PortalSession) -> PortalSession {
    PortalSession {
        id: session.id,
        object: IsPortalSession,
        merchant_id: session.tenant.merchant_id.clone(),
        livemode: session.tenant.livemode,
        access: session.access,
        theme: Theme {
            accent: session.theme.accent.map(|accent| accent.to_string()),
            appearance: session.theme.appearance,
        },
        created: session.created_at.seconds(),
        opened: seconds(session.opened_at),
        expires_at: session.expires_at.seconds(),
    }
}

/// A session with the link that opens it, which is shown this once.
#[derive(Serialize, ToSchema)]
pub(super) struct PortalSessionWithLink {
    #[serde(flatten)]
    pub(super) session: PortalSession,
    /// Opens the session in one browser, within ten minutes.
    #[schema(format = "uri", examples("https://webhooks.example.com/portal#…"))]
    pub(super) url: String,
}

/// A session as its page sees it.
#[derive(Serialize)]
pub(super) struct OpenedPortalSession {
    #[serde(flatten)]
    pub(super) session: PortalSession,
    /// The service's time, by which the page counts, in unix milliseconds.
    pub(super) now_ms: i64,
}

/// A session that has ended.
#[derive(Serialize, ToSchema)]
pub(super) struct DeletedPortalSession {
    pub(super) id: PortalSessionId,
    #[schema(inline)]
    pub(super) object: IsPortalSession,
    /// Always true.
    pub(super) deleted: bool,
}

pub(super) fn audit_entry(entry: &audit::AuditEntry) -> AuditEntry {
    let actor = &entry.by.actor;
    AuditEntry {
        id: entry.id,
        object: IsAuditEntry,
        created: entry.created_at.seconds(),
        merchant_id: entry.merchant_id.clone(),
        livemode: entry.livemode,
        actor: Actor { kind: actor.kind, id: actor.id.map(|id| id.to_string()), name: actor.name.clone() },
        action: entry.action,
        object_id: entry.object_id.clone(),
        changes: entry.changes.clone().into_json(),
        request_id: entry.by.request_id,
    }
}

/// A page of a list.
#[derive(Serialize)]
pub(super) struct List<T> {
    object: IsList,
    url: String,
    data: Vec<T>,
    has_more: bool,
}

// Without a generic argument in it, utoipa takes the name of the schema from the type.
pub(super) type WebhookEndpointList = List<WebhookEndpoint>;
pub(super) type EventList = List<shapes::Event>;
pub(super) type DeliveryList = List<Delivery>;
pub(super) type AbandonedDeliveryList = List<AbandonedDelivery>;
pub(super) type ApiKeyList = List<ApiKey>;
pub(super) type AuditEntryList = List<AuditEntry>;
pub(super) type PortalSessionList = List<PortalSession>;

pub(super) fn list<T, V>(url: &str, page: &Paged<T>, view: impl Fn(&T) -> V) -> List<V> {
    let data = page.items.iter().map(view).collect();
    List { object: IsList, url: url.to_owned(), data, has_more: page.has_more }
}

/// A list of events; their `data` passes through byte for byte.
pub(super) fn event_list(events: impl Iterator<Item = Box<RawValue>>, has_more: bool) -> List<Box<RawValue>> {
    List { object: IsList, url: "/v1/events".to_owned(), data: events.collect(), has_more }
}

// Written out, because a derived one repeats the schema of what is in the list instead of naming it.
impl<T: ToSchema> PartialSchema for List<T> {
    fn schema() -> RefOr<Schema> {
        let url =
            ObjectBuilder::new().schema_type(Type::String).description(Some("The path that was asked."));
        let more = "Whether there are more beyond this page, in the direction that was asked for.";
        let more = ObjectBuilder::new().schema_type(Type::Boolean).description(Some(more));
        let list = ObjectBuilder::new()
            .description(Some("A page of a list."))
            .property("object", IsList::schema())
            .property("url", url)
            .property("data", ArrayBuilder::new().items(Ref::from_schema_name(T::name())))
            .property("has_more", more);
        ["object", "url", "data", "has_more"].into_iter().fold(list, ObjectBuilder::required).build().into()
    }
}

impl<T: ToSchema> ToSchema for List<T> {
    fn name() -> Cow<'static, str> {
        format!("{}List", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}
