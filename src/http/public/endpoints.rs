//! `/v1/webhook_endpoints`

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde_json::Value;

use crate::{
    endpoint::{DESCRIPTION_CHARS_MAX, EnabledEvents, Endpoint, EndpointStatus},
    endpoint_url::EndpointUrl,
    event::{Audience, EventType, NewEvent},
    http::{
        Api,
        auth::Merchant,
        error::ApiError,
        fields::{Fields, SmallBody},
        path::Path,
        query::{Query, beside},
        routes::Routes,
        view,
    },
    id::{EndpointId, SecretId},
    merchant::Tenant,
    samples::Samples,
    signature::SigningSecret,
    store::{EndpointChange, NewEndpoint, NewSecret},
};

pub(super) fn router() -> Routes {
    Routes::new()
        .get("/v1/webhook_endpoints", list)
        .post("/v1/webhook_endpoints", create)
        .get("/v1/webhook_endpoints/{id}", retrieve)
        .patch("/v1/webhook_endpoints/{id}", update)
        .delete("/v1/webhook_endpoints/{id}", delete)
        .post("/v1/webhook_endpoints/{id}/rotate_secret", rotate_secret)
        .post("/v1/webhook_endpoints/{id}/test", test)
}

const NAME: &str = "webhook endpoint";

/// How long earlier secrets sign beside a new one, at most and unless said otherwise.
const OVERLAP_MAX: Duration = Duration::from_secs(7 * 86_400);
const OVERLAP_DEFAULT: Duration = Duration::from_secs(86_400);

/// The endpoint, or the answer that there is none.
pub(super) async fn find(api: &Api, tenant: &Tenant, id: &str) -> Result<Endpoint, ApiError> {
    let no_such = || ApiError::no_such(NAME, id);
    let parsed: EndpointId = id.parse().map_err(|_| no_such())?;
    api.foundation.store.endpoint(tenant, parsed).await?.ok_or_else(no_such)
}

/// The endpoint, if it can be sent to.
pub(super) async fn find_enabled(api: &Api, tenant: &Tenant, id: &str) -> Result<Endpoint, ApiError> {
    let endpoint = find(api, tenant, id).await?;
    if endpoint.status == EndpointStatus::Disabled { Err(disabled(id)) } else { Ok(endpoint) }
}

pub(super) fn disabled(id: &str) -> ApiError {
    ApiError::bad_request(format!("The webhook endpoint {id} is disabled; enable it first."))
}

/// A list of event types, with every bad one named.
pub(super) fn event_types(fields: &mut Fields<'_>, field: &str, names: &[String]) -> Option<EnabledEvents> {
    match EnabledEvents::parse(names) {
        Ok(events) => Some(events),
        Err(errors) => {
            for (index, message) in errors {
                let name = index.map_or_else(|| field.to_owned(), |index| format!("{field}[{index}]"));
                fields.error(&name, message);
            }
            None
        }
    }
}

/// What a body says of an endpoint.
fn change(fields: &mut Fields<'_>, api: &Api) -> EndpointChange {
    let url = fields.optional::<String>("url", "a string");
    let url = url.and_then(|url| fields.check("url", EndpointUrl::parse(&url, &api.url_rules)));
    let names = fields.optional::<Vec<String>>("enabled_events", "a list of strings");
    let enabled_events = names.and_then(|names| event_types(fields, "enabled_events", &names));
    let description = fields.optional::<Option<String>>("description", "a string or null");
    if let Some(text) = description.as_ref().and_then(Option::as_deref) {
        if text.chars().count() > DESCRIPTION_CHARS_MAX {
            fields.error("description", format!("must be at most {DESCRIPTION_CHARS_MAX} characters"));
        }
        // Which PostgreSQL has in no text.
        if text.contains('\0') {
            fields.error("description", "must not contain the character U+0000");
        }
    }
    EndpointChange { url: url.map(|url| url.as_str().to_owned()), enabled_events, description, status: None }
}

/// A new signing secret, sealed for the store.
fn new_secret(api: &Api) -> (SigningSecret, NewSecret) {
    let foundation = &api.foundation;
    let secret = SigningSecret::generate(&foundation.entropy);
    let id: SecretId = foundation.ids.next(foundation.clock.now());
    let sealed = foundation.vault.seal(&id.to_string(), secret.expose().as_bytes());
    (secret, NewSecret { id, sealed })
}

/// The endpoint with its secret, for the only time.
fn with_secret(endpoint: &Endpoint, secret: &SigningSecret) -> Json<Value> {
    let mut shown = view::endpoint(endpoint);
    shown["signing_secret"] = secret.expose().into();
    Json(shown)
}

async fn create(
    State(api): State<Arc<Api>>,
    Merchant(tenant, by): Merchant,
    SmallBody(bytes): SmallBody,
) -> Result<impl IntoResponse, ApiError> {
    let mut fields = Fields::parse(&bytes)?;
    let had_url = fields.has("url");
    let change = change(&mut fields, &api);
    if !had_url {
        fields.error("url", "is required");
    }
    let url = fields.finish(change.url)?;
    let (secret, sealed) = new_secret(&api);
    let now = api.foundation.clock.now();
    let new = NewEndpoint {
        id: api.foundation.ids.next(now),
        tenant,
        url,
        enabled_events: change.enabled_events.unwrap_or(EnabledEvents::All),
        description: change.description.flatten(),
        secret: sealed,
    };
    let limit = api.config.limits.endpoints_per_merchant;
    let endpoint = api.foundation.store.insert_endpoint(&new, limit, &by, now).await?;
    let too_many =
        || ApiError::bad_request(format!("There are {limit} webhook endpoints already, which is the limit."));
    Ok((StatusCode::CREATED, with_secret(&endpoint.ok_or_else(too_many)?, &secret)))
}

async fn list(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let mut query = Query::parse(query.as_deref());
    let page = query.page();
    query.finish()?;
    let endpoints = api.foundation.store.list_endpoints(&tenant, &page).await?;
    let endpoints = beside(NAME, &page, endpoints)?;
    Ok(Json(view::list("/v1/webhook_endpoints", &endpoints, view::endpoint)))
}

async fn retrieve(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(view::endpoint(&find(&api, &tenant, &id).await?)))
}

async fn update(
    State(api): State<Arc<Api>>,
    Merchant(tenant, by): Merchant,
    Path(id): Path<String>,
    SmallBody(bytes): SmallBody,
) -> Result<Json<Value>, ApiError> {
    let endpoint = find(&api, &tenant, &id).await?;
    let mut fields = Fields::parse(&bytes)?;
    let mut change = change(&mut fields, &api);
    let status = fields.optional::<String>("status", "a string");
    change.status = status.and_then(|status| fields.check("status", status.parse()));
    let change = fields.finish(Some(change))?;
    let now = api.foundation.clock.now();
    let updated = api.foundation.store.update_endpoint(&tenant, endpoint.id, &change, &by, now).await?;
    let updated = updated.ok_or_else(|| ApiError::no_such(NAME, &id))?;
    api.dispatcher.follow_endpoint(endpoint.id).await;
    Ok(Json(view::endpoint(&updated)))
}

async fn delete(
    State(api): State<Arc<Api>>,
    Merchant(tenant, by): Merchant,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let endpoint = find(&api, &tenant, &id).await?;
    let now = api.foundation.clock.now();
    if !api.foundation.store.delete_endpoint(&tenant, endpoint.id, &by, now).await? {
        return Err(ApiError::no_such(NAME, &id));
    }
    api.dispatcher.follow_endpoint(endpoint.id).await;
    Ok(Json(serde_json::json!({ "id": endpoint.id, "object": "webhook_endpoint", "deleted": true })))
}

async fn rotate_secret(
    State(api): State<Arc<Api>>,
    Merchant(tenant, by): Merchant,
    Path(id): Path<String>,
    SmallBody(bytes): SmallBody,
) -> Result<Json<Value>, ApiError> {
    let endpoint = find(&api, &tenant, &id).await?;
    let mut fields = Fields::parse(&bytes)?;
    let overlap = match fields.optional::<Value>("expire_previous_in", "a duration") {
        None => Some(OVERLAP_DEFAULT),
        Some(value) => fields.check("expire_previous_in", overlap(&value)),
    };
    let overlap = fields.finish(overlap)?;
    let (secret, sealed) = new_secret(&api);
    let now = api.foundation.clock.now();
    let ends = now.plus(overlap);
    let rotated = api.foundation.store.rotate_secret(&tenant, endpoint.id, &sealed, ends, &by, now).await?;
    let rotated = rotated.ok_or_else(|| ApiError::no_such(NAME, &id))?;
    // Its deliveries stay as they are, and are signed with the new secret.
    api.dispatcher.endpoint_changed(endpoint.id).await;
    Ok(with_secret(&rotated, &secret))
}

/// A duration such as `24h`, or whole seconds.
fn overlap(value: &Value) -> Result<Duration, &'static str> {
    let duration = match value {
        Value::Number(seconds) => seconds.as_u64().map(Duration::from_secs),
        Value::String(text) if text == "0" => Some(Duration::ZERO),
        Value::String(text) => humantime::parse_duration(text).ok(),
        _ => None,
    };
    duration.filter(|duration| *duration <= OVERLAP_MAX).ok_or("must be a duration from 0 to 7d, such as 24h")
}

async fn test(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
    SmallBody(bytes): SmallBody,
) -> Result<impl IntoResponse, ApiError> {
    let endpoint = find_enabled(&api, &tenant, &id).await?;
    let mut fields = Fields::parse(&bytes)?;
    let event_type = fields.required::<String>("type", "a string");
    let event_type = event_type.and_then(|name| fields.check("type", name.parse::<EventType>()));
    let event_type = fields.finish(event_type)?;
    let samples = Samples::new(api.foundation.entropy.bytes(), api.foundation.clock.now().seconds());
    let event = NewEvent {
        tenant,
        event_type,
        created: None,
        data: samples.data(event_type).to_bytes(),
        idempotency_key: None,
        audience: Audience::Only(endpoint.id),
        trace: None,
    };
    let accepted = api.ingest.accept(vec![event]).await?;
    let accepted = accepted.first().ok_or_else(|| ApiError::internal("nothing was accepted"))?;
    Ok((StatusCode::CREATED, Json(accepted.event.to_json())))
}
