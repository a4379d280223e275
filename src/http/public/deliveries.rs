//! Deliveries: of an event, of an endpoint, one with its attempts; retry and resend.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
    response::IntoResponse,
};
use utoipa_axum::routes;

use super::{endpoints, events};
use crate::{
    delivery::{Delivery, DeliveryStatus},
    http::{
        Api,
        auth::Merchant,
        error::ApiError,
        fields::{Fields, SmallBody},
        path::Path,
        query::{PageOf, Query, beside},
        routes::Routes,
        shapes::ResendEvent,
        view::{self, DeliveryList, DeliveryWithAttempts},
    },
    id::{DeliveryId, DeliveryKind, EndpointId, EventId},
    merchant::Tenant,
    store::{DeliveryFilter, NewDelivery},
};

pub(super) fn router() -> Routes {
    Routes::new()
        .route(routes!(list_of_event))
        .route(routes!(list_of_endpoint))
        .route(routes!(retrieve))
        .route(routes!(retry))
        .route(routes!(resend))
}

const NAME: &str = "delivery";

/// A delivery is shown with all its attempts, so there is an end to what can be asked for.
const ATTEMPTS_MAX: u32 = 1000;

/// The delivery, or the answer that there is none.
pub(super) async fn find(api: &Api, tenant: &Tenant, id: &str) -> Result<Delivery, ApiError> {
    let no_such = || ApiError::no_such(NAME, id);
    let parsed: DeliveryId = id.parse().map_err(|_| no_such())?;
    api.foundation.store.delivery(tenant, parsed).await?.ok_or_else(no_such)
}

/// List the deliveries of an event
///
/// One for each endpoint that wanted it, and one for each time it was resent; newest first.
#[utoipa::path(
    get, path = "/v1/events/{id}/deliveries", operation_id = "listEventDeliveries", tag = "Deliveries",
    params(("id" = EventId, Path, description = "The event."), PageOf<DeliveryKind>),
    responses((status = 200, description = "A page of deliveries.", body = DeliveryList)),
)]
async fn list_of_event(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<DeliveryList>, ApiError> {
    let event = events::find(&api, &tenant, &id).await?;
    let query = Query::parse(query.as_deref());
    list(&api, &tenant, query, DeliveryFilter::OfEvent(event.id), &format!("/v1/events/{id}/deliveries"))
        .await
}

/// List the deliveries to an endpoint
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/webhook_endpoints/{id}/deliveries", operation_id = "listWebhookEndpointDeliveries",
    tag = "Deliveries",
    params(
        ("id" = EndpointId, Path, description = "The endpoint."),
        ("status" = Option<DeliveryStatus>, Query, description = "In this state."),
        PageOf<DeliveryKind>,
    ),
    responses((status = 200, description = "A page of deliveries.", body = DeliveryList)),
)]
async fn list_of_endpoint(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<DeliveryList>, ApiError> {
    let endpoint = endpoints::find(&api, &tenant, &id).await?;
    let mut query = Query::parse(query.as_deref());
    let filter = DeliveryFilter::OfEndpoint(endpoint.id, query.optional("status"));
    list(&api, &tenant, query, filter, &format!("/v1/webhook_endpoints/{id}/deliveries")).await
}

pub(in crate::http) async fn list(
    api: &Api,
    tenant: &Tenant,
    mut query: Query,
    filter: DeliveryFilter,
    url: &str,
) -> Result<Json<DeliveryList>, ApiError> {
    let page = query.page();
    query.finish()?;
    let deliveries = api.foundation.store.list_deliveries(tenant, &filter, &page).await?;
    let deliveries = beside(NAME, &page, deliveries)?;
    Ok(Json(view::list(url, &deliveries, view::delivery)))
}

/// Show a delivery
///
/// With every attempt at it.
#[utoipa::path(
    get, path = "/v1/deliveries/{id}", operation_id = "getDelivery", tag = "Deliveries",
    params(("id" = DeliveryId, Path, description = "The delivery.")),
    responses((status = 200, description = "The delivery.", body = DeliveryWithAttempts)),
)]
pub(in crate::http) async fn retrieve(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
) -> Result<Json<DeliveryWithAttempts>, ApiError> {
    let delivery = find(&api, &tenant, &id).await?;
    let attempts = api.foundation.store.attempts(delivery.id).await?;
    Ok(Json(view::delivery_with_attempts(&delivery, &attempts)))
}

/// Retry a delivery
///
/// Due now, on a new ladder, in whatever state it is. A disabled endpoint is a 400; so are 1000 attempts: resend the event
/// then.
#[utoipa::path(
    post, path = "/v1/deliveries/{id}/retry", operation_id = "retryDelivery", tag = "Deliveries",
    params(("id" = DeliveryId, Path, description = "The delivery.")),
    responses((status = 200, description = "The delivery as it is now.", body = view::Delivery)),
)]
async fn retry(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
    SmallBody(bytes): SmallBody,
) -> Result<Json<view::Delivery>, ApiError> {
    let delivery = find(&api, &tenant, &id).await?;
    Fields::parse(&bytes)?.finish(Some(()))?;
    let endpoint = delivery.endpoint_id.to_string();
    endpoints::find_enabled(&api, &tenant, &endpoint).await.map_err(ApiError::into_bad_request)?;
    if delivery.attempt_count >= ATTEMPTS_MAX {
        return Err(ApiError::bad_request(format!(
            "The delivery {id} has been attempted {ATTEMPTS_MAX} times, which is the limit; resend its event instead."
        )));
    }
    let retried =
        api.foundation.store.retry_delivery(&tenant, delivery.id, api.foundation.clock.now()).await?;
    api.dispatcher.made_due();
    Ok(Json(view::delivery(&retried.ok_or_else(|| ApiError::no_such(NAME, &id))?)))
}

/// Resend an event
///
/// A new delivery of the same event, with the same id and the same bytes, to one endpoint, whatever types it wants. A
/// disabled endpoint is a 400.
#[utoipa::path(
    post, path = "/v1/events/{id}/resend", operation_id = "resendEvent", tag = "Deliveries",
    params(("id" = EventId, Path, description = "The event.")),
    request_body = ResendEvent,
    responses((status = 201, description = "The new delivery.", body = view::Delivery)),
)]
async fn resend(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
    SmallBody(bytes): SmallBody,
) -> Result<impl IntoResponse, ApiError> {
    let event = events::find(&api, &tenant, &id).await?;
    let mut fields = Fields::parse(&bytes)?;
    let endpoint = fields.required::<String>("webhook_endpoint", "a string");
    let endpoint = endpoints::find_enabled(&api, &tenant, &fields.finish(endpoint)?).await?;
    let new = NewDelivery { tenant, event_id: event.id, endpoint_id: endpoint.id };
    let delivery = api.foundation.store.insert_delivery(&new, api.foundation.clock.now()).await?;
    let delivery = delivery.ok_or_else(|| {
        ApiError::bad_request("The event or its endpoint has just been removed or disabled.")
    })?;
    api.dispatcher.made_due();
    Ok((StatusCode::CREATED, Json(view::delivery(&delivery))))
}
