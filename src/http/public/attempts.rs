//! `/v1/deliveries/:id/attempts/:number`: one attempt, with the request as it was sent.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::deliveries;
use crate::{
    attempt::open,
    delivery::{Attempt, Delivery},
    headers::Envelope,
    http::{Api, auth::Merchant, error::ApiError, path::Path, routes::Routes, view},
    id::DeliveryId,
    merchant::Tenant,
};

pub(super) fn router() -> Routes {
    Routes::new().route(routes!(retrieve))
}

/// An attempt with the request that was sent.
#[derive(Serialize, ToSchema)]
struct AttemptWithRequest {
    #[serde(flatten)]
    attempt: view::Attempt,
    request: AttemptRequest,
}

/// A request to an endpoint, put together again.
#[derive(Serialize, ToSchema)]
struct AttemptRequest {
    /// Always `POST`.
    method: &'static str,
    /// Where the endpoint is now; null where it is no more.
    url: Option<String>,
    /// All that the service set.
    headers: BTreeMap<String, String>,
    /// The event, as every attempt sends it.
    body: String,
}

/// Show an attempt
///
/// With the request as it was sent. Nothing of that is kept but the body, from which with the time and the secrets of then
/// all else follows: of secrets that are gone there are no signatures.
#[utoipa::path(
    get, path = "/v1/deliveries/{id}/attempts/{number}", operation_id = "getAttempt", tag = "Deliveries",
    params(
        ("id" = DeliveryId, Path, description = "The delivery."),
        ("number" = u32, Path, description = "The number of the attempt, from 1.", minimum = 1),
    ),
    responses((status = 200, description = "The attempt.", body = AttemptWithRequest)),
)]
async fn retrieve(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path((id, number)): Path<(String, String)>,
) -> Result<Json<AttemptWithRequest>, ApiError> {
    let delivery = deliveries::find(&api, &tenant, &id).await?;
    let attempts = api.foundation.store.attempts(delivery.id).await?;
    let attempt = attempts.iter().find(|attempt| attempt.number.to_string() == number);
    let attempt = attempt.ok_or_else(|| ApiError::no_such("attempt", &number))?;
    let request = request(&api, &tenant, &delivery, attempt).await?;
    Ok(Json(AttemptWithRequest { attempt: view::attempt(attempt), request }))
}

/// The request of an attempt, put together again: nothing of it is kept but the body, from which with the time and the
/// secrets of then all else follows. The endpoint's address is that of now; of secrets that are gone there are no signatures.
async fn request(
    api: &Api,
    tenant: &Tenant,
    delivery: &Delivery,
    attempt: &Attempt,
) -> Result<AttemptRequest, ApiError> {
    let (store, vault) = (&api.foundation.store, &api.foundation.vault);
    let event = store.event(tenant, delivery.event_id).await?;
    let event = event.ok_or_else(|| ApiError::no_such("event", delivery.event_id))?;
    let endpoint = store.endpoint(tenant, delivery.endpoint_id).await?;
    let sealed = store.signing_secrets_at(delivery.endpoint_id, attempt.started_at).await?;
    let secrets: Result<Vec<_>, _> = sealed.iter().map(|secret| open(vault, secret)).collect();
    let secrets = secrets.map_err(ApiError::internal)?;
    let envelope = Envelope {
        event_id: &delivery.event_id.to_string(),
        event_type: delivery.event_type.as_str(),
        delivery_id: &delivery.id.to_string(),
        attempt: attempt.number,
    };
    let (secrets, at) = (secrets.iter().collect::<Vec<_>>(), attempt.started_at.seconds());
    let headers = envelope.headers(&secrets, at, &event.body).map_err(ApiError::internal)?;
    let headers = headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Ok(AttemptRequest {
        method: "POST",
        url: endpoint.map(|endpoint| endpoint.url),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&event.body).into_owned(),
    })
}
