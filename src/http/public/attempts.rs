//! `/v1/deliveries/:id/attempts/:number`: one attempt, with the request as it was sent.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Map, Value, json};

use super::deliveries;
use crate::{
    attempt::{Sent, headers, open},
    delivery::{Attempt, Delivery},
    http::{Api, auth::Merchant, error::ApiError, path::Path, routes::Routes, view},
    merchant::Tenant,
};

pub(super) fn router() -> Routes {
    Routes::new().get("/v1/deliveries/{id}/attempts/{number}", retrieve)
}

async fn retrieve(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path((id, number)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let delivery = deliveries::find(&api, &tenant, &id).await?;
    let attempts = api.foundation.store.attempts(delivery.id).await?;
    let attempt = attempts.iter().find(|attempt| attempt.number.to_string() == number);
    let attempt = attempt.ok_or_else(|| ApiError::no_such("attempt", &number))?;
    let mut shown = view::attempt(attempt);
    shown["request"] = request(&api, &tenant, &delivery, attempt).await?;
    Ok(Json(shown))
}

/// The request of an attempt, put together again: nothing of it is kept but the body, from which with the time and the
/// secrets of then all else follows. The endpoint's address is that of now; of secrets that are gone there are no signatures.
async fn request(
    api: &Api,
    tenant: &Tenant,
    delivery: &Delivery,
    attempt: &Attempt,
) -> Result<Value, ApiError> {
    let (store, vault) = (&api.foundation.store, &api.foundation.vault);
    let event = store.event(tenant, delivery.event_id).await?;
    let event = event.ok_or_else(|| ApiError::no_such("event", delivery.event_id))?;
    let endpoint = store.endpoint(tenant, delivery.endpoint_id).await?;
    let sealed = store.signing_secrets_at(delivery.endpoint_id, attempt.started_at).await?;
    let secrets: Result<Vec<_>, _> = sealed.iter().map(|secret| open(vault, secret)).collect();
    let secrets = secrets.map_err(ApiError::internal)?;
    let sent = Sent {
        event_id: delivery.event_id,
        event_type: delivery.event_type,
        delivery_id: delivery.id,
        number: attempt.number,
        body: &event.body,
    };
    let headers = headers(&sent, &secrets, attempt.started_at).map_err(ApiError::internal)?;
    let headers = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), Value::from(value))
    });
    Ok(json!({
        "method": "POST",
        "url": endpoint.map(|endpoint| endpoint.url),
        "headers": headers.collect::<Map<_, _>>(),
        "body": String::from_utf8_lossy(&event.body),
    }))
}
