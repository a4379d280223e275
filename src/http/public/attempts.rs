//! `/v1/deliveries/:id/attempts/:number`: one attempt, with the request as it was sent and the headers of the response.

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

/// An attempt with the request that was sent, and the headers of the response.
#[derive(Serialize, ToSchema)]
struct WholeAttempt {
    #[serde(flatten)]
    attempt: view::Attempt,
    /// The headers of the response, in its order: 2 KiB of them, after which `…` stands in place of the rest, and no values of
    /// cookies. Null where there was no response, or where an earlier version recorded it.
    response_headers: Option<Vec<ResponseHeader>>,
    request: AttemptRequest,
}

/// A header of a response.
#[derive(Serialize, ToSchema)]
struct ResponseHeader {
    #[schema(examples("content-type"))]
    name: String,
    #[schema(examples("text/html"))]
    value: String,
}

/// A request to an endpoint, put together again.
#[derive(Serialize, ToSchema)]
struct AttemptRequest {
    /// Always `POST`.
    method: &'static str,
    /// Where the endpoint is now; null where it is no more.
    url: Option<String>,
    /// All that the service set, but for a `traceparent`.
    headers: BTreeMap<String, String>,
    /// The event, as every attempt sends it.
    body: String,
}

/// Show an attempt
///
/// With the headers of the response, and the request as it was sent. Nothing of that is kept but the body, from which with
/// the time and the secrets of then all else follows: of secrets that are gone there are no signatures.
#[utoipa::path(
    get, path = "/v1/deliveries/{id}/attempts/{number}", operation_id = "getAttempt", tag = "Deliveries",
    params(
        ("id" = DeliveryId, Path, description = "The delivery."),
        ("number" = u32, Path, description = "The number of the attempt, from 1.", minimum = 1),
    ),
    responses((status = 200, description = "The attempt.", body = WholeAttempt)),
)]
async fn retrieve(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path((id, number)): Path<(String, String)>,
) -> Result<Json<WholeAttempt>, ApiError> {
    let delivery = deliveries::find(&api, &tenant, &id).await?;
    let no_such = || ApiError::no_such("attempt", &number);
    // As it is written: neither `01` nor `+1` is the first one.
    let wanted =
        number.parse::<u32>().ok().filter(|wanted| wanted.to_string() == number).ok_or_else(no_such)?;
    let attempt = api.foundation.store.attempt(delivery.id, wanted).await?.ok_or_else(no_such)?;
    let request = request(&api, &tenant, &delivery, &attempt).await?;
    let shown =
        |(name, value): (&str, &str)| ResponseHeader { name: name.to_owned(), value: value.to_owned() };
    let response_headers =
        attempt.response_headers.as_ref().map(|headers| headers.pairs().map(shown).collect());
    Ok(Json(WholeAttempt { attempt: view::attempt(&attempt), response_headers, request }))
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
