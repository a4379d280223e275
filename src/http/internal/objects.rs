//! What operators look at and hold, whosever it is: `/v1/objects/{id}` says whose it is and what, `/v1/all/…` shows it as its
//! merchant sees it. Of an event they see everything but its data: that is its merchant's and the publisher's.

use std::{str::FromStr, sync::Arc};

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Type, schema::Schema},
};
use utoipa_axum::routes;

use super::merchant_id;
use crate::{
    delivery::DeliveryStatus,
    endpoint::EndpointStatus,
    event::EventType,
    http::{
        Api,
        auth::{Merchant, Service},
        error::ApiError,
        fields::{Fields, SmallBody},
        path::Path,
        public::{deliveries, endpoints, events, statistics, timeline},
        query::{PageOf, Query, beside},
        routes::Routes,
        shapes::HoldWebhookEndpoint,
        view::{
            self, DeliveryList, DeliveryWithAttempts, IsEvent, IsFoundObject, WebhookEndpoint,
            WebhookEndpointList,
        },
    },
    id::{DeliveryId, DeliveryKind, EndpointId, EndpointKind, EventId},
    merchant::{MerchantId, Tenant},
    store::{DeliveryFilter, EndpointChange, ObjectId, ObjectKind, Owner},
};

pub(super) fn router() -> Routes {
    Routes::new()
        .route(routes!(find))
        .route(routes!(event))
        .route(routes!(event_deliveries))
        .route(routes!(event_timeline))
        .route(routes!(delivery))
        .route(routes!(delivery_timeline))
        .route(routes!(endpoints_of_merchant))
        .route(routes!(endpoint))
        .route(routes!(endpoint_health))
        .route(routes!(endpoint_deliveries))
        .route(routes!(hold))
        .route(routes!(release))
}

/// The longest reason, in characters.
const REASON_CHARS_MAX: usize = 200;

/// What a text is the id of, by its form. What is of no other is a merchant's.
fn object_id(text: &str) -> Option<ObjectId> {
    fn id<T: FromStr>(text: &str, object: fn(T) -> ObjectId) -> Option<ObjectId> {
        text.parse().ok().map(object)
    }
    id(text, ObjectId::Event)
        .or_else(|| id(text, ObjectId::Delivery))
        .or_else(|| id(text, ObjectId::Endpoint))
        .or_else(|| id(text, ObjectId::Backfill))
        .or_else(|| id(text, ObjectId::Key))
        .or_else(|| id(text, ObjectId::PortalSession))
        .or_else(|| id(text, ObjectId::Merchant))
}

/// The id of any object, or a merchant's.
struct AnyId;

impl PartialSchema for AnyId {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[A-Za-z0-9_-]{1,64}$"))
            .examples(["evt_01jxf6z2zre4rr3h5t8y5j0v6q"])
            .build()
            .into()
    }
}

impl ToSchema for AnyId {}

/// An object, and whose it is.
#[derive(Serialize, ToSchema)]
struct FoundObject {
    #[schema(examples("evt_01jxf6z2zre4rr3h5t8y5j0v6q"))]
    id: String,
    #[schema(inline)]
    object: IsFoundObject,
    kind: ObjectKind,
    /// Whose it is; null for an internal service's key.
    merchant_id: Option<MerchantId>,
    /// Live data, as opposed to test data; null for a merchant and for an internal service's key.
    livemode: Option<bool>,
}

/// An event, without its data.
#[derive(Serialize, ToSchema)]
struct EventOfMerchant {
    id: EventId,
    #[schema(inline)]
    object: IsEvent,
    merchant_id: MerchantId,
    /// Live data, as opposed to test data.
    livemode: bool,
    #[serde(rename = "type")]
    event_type: EventType,
    /// When it happened, as its publisher dates it, in unix seconds.
    #[schema(examples(1_749_651_729))]
    created: i64,
    /// When it was stored, in unix seconds.
    #[schema(examples(1_749_651_729))]
    accepted: i64,
    /// How large the body is that is sent.
    #[schema(minimum = 0, examples(512))]
    body_bytes: usize,
    /// How many of its deliveries are pending or held.
    #[schema(minimum = 0, examples(1))]
    pending_webhooks: i64,
}

/// Whose object this is, or the answer that there is none.
async fn tenant_of<T: FromStr>(
    api: &Api,
    what: &str,
    id: &str,
    object: fn(T) -> ObjectId,
) -> Result<Tenant, ApiError> {
    let no_such = || ApiError::no_such(what, id);
    let object = object(id.parse().map_err(|_| no_such())?);
    match api.foundation.store.owner_of(&object).await? {
        Some(Owner::Tenant(tenant)) => Ok(tenant),
        Some(Owner::Merchant | Owner::Nobody) | None => Err(no_such()),
    }
}

async fn event_tenant(api: &Api, id: &str) -> Result<Tenant, ApiError> {
    tenant_of(api, "event", id, ObjectId::Event).await
}

async fn delivery_tenant(api: &Api, id: &str) -> Result<Tenant, ApiError> {
    tenant_of(api, "delivery", id, ObjectId::Delivery).await
}

async fn endpoint_tenant(api: &Api, id: &str) -> Result<Tenant, ApiError> {
    tenant_of(api, "webhook endpoint", id, ObjectId::Endpoint).await
}

/// Find an object
///
/// By any id: of an event, a delivery, a webhook endpoint, a backfill, an API key, a portal session, or a merchant.
#[utoipa::path(
    get, path = "/v1/objects/{id}", operation_id = "findObject", tag = "Operation",
    params(("id" = inline(AnyId), Path, description = "The object, or the merchant.")),
    responses((status = 200, description = "What it is, and whose.", body = FoundObject)),
)]
async fn find(
    State(api): State<Arc<Api>>,
    _: Service,
    Path(id): Path<String>,
) -> Result<Json<FoundObject>, ApiError> {
    let no_such = || ApiError::no_such("object", &id);
    let object = object_id(&id).ok_or_else(no_such)?;
    let owner = api.foundation.store.owner_of(&object).await?.ok_or_else(no_such)?;
    let (merchant_id, livemode) = match (owner, &object) {
        (Owner::Tenant(tenant), _) => (Some(tenant.merchant_id), Some(tenant.livemode)),
        (_, ObjectId::Merchant(merchant)) => (Some(merchant.clone()), None),
        (Owner::Merchant | Owner::Nobody, _) => (None, None),
    };
    Ok(Json(FoundObject { id, object: IsFoundObject, kind: object.kind(), merchant_id, livemode }))
}

/// Show any event
///
/// Whosever it is, without its data.
#[utoipa::path(
    get, path = "/v1/all/events/{id}", operation_id = "getAnyEvent", tag = "Operation",
    params(("id" = EventId, Path, description = "The event.")),
    responses((status = 200, description = "The event.", body = EventOfMerchant)),
)]
async fn event(
    State(api): State<Arc<Api>>,
    _: Service,
    Path(id): Path<String>,
) -> Result<Json<EventOfMerchant>, ApiError> {
    let tenant = event_tenant(&api, &id).await?;
    let event = events::find(&api, &tenant, &id).await?;
    let place = api.foundation.store.event_place(&tenant, event.id).await?;
    let place = place.ok_or_else(|| ApiError::no_such("event", &id))?;
    Ok(Json(EventOfMerchant {
        id: event.id,
        object: IsEvent,
        merchant_id: tenant.merchant_id,
        livemode: tenant.livemode,
        event_type: event.event_type,
        created: place.created_at.seconds(),
        accepted: event.id.made_at().seconds(),
        body_bytes: event.body.len(),
        pending_webhooks: event.pending_webhooks,
    }))
}

/// List the deliveries of any event
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/all/events/{id}/deliveries", operation_id = "listAnyEventDeliveries", tag = "Operation",
    params(("id" = EventId, Path, description = "The event."), PageOf<DeliveryKind>),
    responses((status = 200, description = "A page of deliveries.", body = DeliveryList)),
)]
async fn event_deliveries(
    State(api): State<Arc<Api>>,
    _: Service,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<DeliveryList>, ApiError> {
    let tenant = event_tenant(&api, &id).await?;
    let event = events::find(&api, &tenant, &id).await?;
    let (query, filter) = (Query::parse(query.as_deref()), DeliveryFilter::OfEvent(event.id));
    deliveries::list(&api, &tenant, query, filter, &format!("/v1/all/events/{id}/deliveries")).await
}

/// Tell what happened to any event
///
/// As its merchant is told.
#[utoipa::path(
    get, path = "/v1/all/events/{id}/timeline", operation_id = "getAnyEventTimeline", tag = "Operation",
    params(("id" = EventId, Path, description = "The event.")),
    responses((status = 200, description = "What happened.", body = timeline::Timeline)),
)]
async fn event_timeline(
    State(api): State<Arc<Api>>,
    Service(by): Service,
    Path(id): Path<String>,
) -> Result<Json<timeline::Timeline>, ApiError> {
    let tenant = event_tenant(&api, &id).await?;
    timeline::of_event(State(api), Merchant(tenant, by), Path(id)).await
}

/// Show any delivery
///
/// With every attempt at it.
#[utoipa::path(
    get, path = "/v1/all/deliveries/{id}", operation_id = "getAnyDelivery", tag = "Operation",
    params(("id" = DeliveryId, Path, description = "The delivery.")),
    responses((status = 200, description = "The delivery.", body = DeliveryWithAttempts)),
)]
async fn delivery(
    State(api): State<Arc<Api>>,
    Service(by): Service,
    Path(id): Path<String>,
) -> Result<Json<DeliveryWithAttempts>, ApiError> {
    let tenant = delivery_tenant(&api, &id).await?;
    deliveries::retrieve(State(api), Merchant(tenant, by), Path(id)).await
}

/// Tell what happened to any delivery
///
/// As its merchant is told.
#[utoipa::path(
    get, path = "/v1/all/deliveries/{id}/timeline", operation_id = "getAnyDeliveryTimeline", tag = "Operation",
    params(("id" = DeliveryId, Path, description = "The delivery.")),
    responses((status = 200, description = "What happened.", body = timeline::Timeline)),
)]
async fn delivery_timeline(
    State(api): State<Arc<Api>>,
    Service(by): Service,
    Path(id): Path<String>,
) -> Result<Json<timeline::Timeline>, ApiError> {
    let tenant = delivery_tenant(&api, &id).await?;
    timeline::of_delivery(State(api), Merchant(tenant, by), Path(id)).await
}

/// List a merchant's endpoints
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/merchants/{merchant}/webhook_endpoints", operation_id = "listMerchantWebhookEndpoints",
    tag = "Operation",
    params(
        ("merchant" = MerchantId, Path, description = "The merchant."),
        ("livemode" = Option<bool>, Query, description = "Those of live data; of test data, if not given."),
        PageOf<EndpointKind>,
    ),
    responses((status = 200, description = "A page of endpoints.", body = WebhookEndpointList)),
)]
async fn endpoints_of_merchant(
    State(api): State<Arc<Api>>,
    _: Service,
    Path(merchant): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<WebhookEndpointList>, ApiError> {
    let merchant_id = merchant_id(&merchant)?;
    let mut query = Query::parse(query.as_deref());
    let page = query.page();
    let livemode = query.optional("livemode").unwrap_or(false);
    query.finish()?;
    let tenant = Tenant { merchant_id, livemode };
    let found =
        beside("webhook endpoint", &page, api.foundation.store.list_endpoints(&tenant, &page).await?)?;
    Ok(Json(view::list(&format!("/v1/merchants/{merchant}/webhook_endpoints"), &found, view::endpoint)))
}

/// Show any endpoint
///
/// Never with its secret.
#[utoipa::path(
    get, path = "/v1/all/webhook_endpoints/{id}", operation_id = "getAnyWebhookEndpoint", tag = "Operation",
    params(("id" = EndpointId, Path, description = "The endpoint.")),
    responses((status = 200, description = "The endpoint.", body = WebhookEndpoint)),
)]
async fn endpoint(
    State(api): State<Arc<Api>>,
    Service(by): Service,
    Path(id): Path<String>,
) -> Result<Json<WebhookEndpoint>, ApiError> {
    let tenant = endpoint_tenant(&api, &id).await?;
    endpoints::retrieve(State(api), Merchant(tenant, by), Path(id)).await
}

/// Show how any endpoint fares
///
/// As its merchant sees it.
#[utoipa::path(
    get, path = "/v1/all/webhook_endpoints/{id}/health", operation_id = "getAnyWebhookEndpointHealth",
    tag = "Operation",
    params(("id" = EndpointId, Path, description = "The endpoint.")),
    responses((status = 200, description = "How it fares.", body = statistics::WebhookEndpointHealth)),
)]
async fn endpoint_health(
    State(api): State<Arc<Api>>,
    Service(by): Service,
    Path(id): Path<String>,
) -> Result<Json<statistics::WebhookEndpointHealth>, ApiError> {
    let tenant = endpoint_tenant(&api, &id).await?;
    statistics::health(State(api), Merchant(tenant, by), Path(id)).await
}

/// List the deliveries to any endpoint
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/all/webhook_endpoints/{id}/deliveries", operation_id = "listAnyWebhookEndpointDeliveries",
    tag = "Operation",
    params(
        ("id" = EndpointId, Path, description = "The endpoint."),
        ("status" = Option<DeliveryStatus>, Query, description = "In this state."),
        PageOf<DeliveryKind>,
    ),
    responses((status = 200, description = "A page of deliveries.", body = DeliveryList)),
)]
async fn endpoint_deliveries(
    State(api): State<Arc<Api>>,
    _: Service,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<DeliveryList>, ApiError> {
    let tenant = endpoint_tenant(&api, &id).await?;
    let endpoint = endpoints::find(&api, &tenant, &id).await?;
    let mut query = Query::parse(query.as_deref());
    let filter = DeliveryFilter::OfEndpoint(endpoint.id, query.optional("status"));
    deliveries::list(&api, &tenant, query, filter, &format!("/v1/all/webhook_endpoints/{id}/deliveries"))
        .await
}

/// Hold an endpoint
///
/// Disables it (`disabled_reason: "operator"`), so that its deliveries are held. The reason goes into the audit log. Its
/// merchant sees that it is held, and can enable it again.
#[utoipa::path(
    post, path = "/v1/all/webhook_endpoints/{id}/hold", operation_id = "holdWebhookEndpoint", tag = "Operation",
    params(("id" = EndpointId, Path, description = "The endpoint.")),
    request_body = HoldWebhookEndpoint,
    responses((status = 200, description = "The endpoint as it is now.", body = WebhookEndpoint)),
)]
async fn hold(
    State(api): State<Arc<Api>>,
    Service(by): Service,
    Path(id): Path<String>,
    SmallBody(bytes): SmallBody,
) -> Result<Json<WebhookEndpoint>, ApiError> {
    let tenant = endpoint_tenant(&api, &id).await?;
    let endpoint = endpoints::find_enabled(&api, &tenant, &id).await?;
    let mut fields = Fields::parse(&bytes)?;
    let reason = fields.required::<String>("reason", "a string");
    let reason = reason.and_then(|text| fields.check("reason", reason_of(&text)));
    let reason = fields.finish(reason)?;
    let now = api.foundation.clock.now();
    let held = api.foundation.store.hold_endpoint(&tenant, endpoint.id, &reason, &by, now).await?;
    let held = held.ok_or_else(|| endpoints::disabled(&id))?;
    api.dispatcher.follow_endpoint(endpoint.id).await;
    Ok(Json(view::endpoint(&held)))
}

/// A reason in words.
fn reason_of(text: &str) -> Result<String, String> {
    let text = text.trim();
    let fits = (1..=REASON_CHARS_MAX).contains(&text.chars().count()) && !text.contains('\0');
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("must be 1 to {REASON_CHARS_MAX} characters, without U+0000"))
}

/// Release an endpoint
///
/// Enables it, whyever it was disabled, as its merchant could: what is held and inside its window is due at once.
#[utoipa::path(
    post, path = "/v1/all/webhook_endpoints/{id}/release", operation_id = "releaseWebhookEndpoint", tag = "Operation",
    params(("id" = EndpointId, Path, description = "The endpoint.")),
    responses((status = 200, description = "The endpoint as it is now.", body = WebhookEndpoint)),
)]
async fn release(
    State(api): State<Arc<Api>>,
    Service(by): Service,
    Path(id): Path<String>,
    SmallBody(bytes): SmallBody,
) -> Result<Json<WebhookEndpoint>, ApiError> {
    let tenant = endpoint_tenant(&api, &id).await?;
    Fields::parse(&bytes)?.finish(Some(()))?;
    let endpoint = endpoints::find(&api, &tenant, &id).await?;
    let enabled = EndpointChange { status: Some(EndpointStatus::Enabled), ..EndpointChange::default() };
    Ok(Json(endpoints::change_to(&api, &endpoint, &enabled, &by).await?))
}
