//! `/v1/webhook_endpoints`

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde_json::Value;
use utoipa_axum::routes;

use crate::{
    audit::Author,
    endpoint::{DESCRIPTION_CHARS_MAX, EnabledEvents, Endpoint, EndpointStatus},
    endpoint_url::EndpointUrl,
    event::{Audience, EventType, NewEvent},
    http::{
        Api,
        auth::Merchant,
        error::ApiError,
        fields::{Fields, SmallBody},
        path::Path,
        query::{PageOf, Query, beside},
        routes::Routes,
        selection,
        shapes::{self, CreateWebhookEndpoint, RotateSecret, SendTestEvent, UpdateWebhookEndpoint},
        view::{
            self, DeletedWebhookEndpoint, IsWebhookEndpoint, WebhookEndpoint, WebhookEndpointList,
            WebhookEndpointWithSecret,
        },
    },
    id::{EndpointId, EndpointKind, SecretId},
    merchant::Tenant,
    samples::Samples,
    signature::{self, SigningSecret},
    store::{EndpointChange, NewEndpoint, NewSecret},
};

pub(super) fn router() -> Routes {
    Routes::new()
        .route(routes!(create))
        .route(routes!(list))
        .route(routes!(retrieve))
        .route(routes!(update))
        .route(routes!(delete))
        .route(routes!(rotate_secret))
        .route(routes!(test))
}

const NAME: &str = "webhook endpoint";

/// How long earlier secrets sign beside a new one, at most and unless said otherwise.
const OVERLAP_MAX: Duration = Duration::from_secs(7 * 86_400);
const OVERLAP_DEFAULT: Duration = Duration::from_secs(86_400);

/// The endpoint, or the answer that there is none.
pub(in crate::http) async fn find(api: &Api, tenant: &Tenant, id: &str) -> Result<Endpoint, ApiError> {
    let no_such = || ApiError::no_such(NAME, id);
    let parsed: EndpointId = id.parse().map_err(|_| no_such())?;
    api.foundation.store.endpoint(tenant, parsed).await?.ok_or_else(no_such)
}

/// The endpoint, if it can be sent to.
pub(in crate::http) async fn find_enabled(
    api: &Api,
    tenant: &Tenant,
    id: &str,
) -> Result<Endpoint, ApiError> {
    let endpoint = find(api, tenant, id).await?;
    if endpoint.status == EndpointStatus::Disabled { Err(disabled(id)) } else { Ok(endpoint) }
}

pub(in crate::http) fn disabled(id: &str) -> ApiError {
    ApiError::bad_request(format!("The webhook endpoint {id} is disabled; enable it first."))
}

/// What a body says of an endpoint.
fn change(fields: &mut Fields<'_>, api: &Api) -> EndpointChange {
    let url = fields.optional::<String>("url", "a string");
    let url = url.and_then(|url| fields.check("url", EndpointUrl::parse(&url, &api.url_rules)));
    let enabled_events = selection::types(fields, "enabled_events", None);
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
    let secret = signature::new_secret(&foundation.entropy);
    let id: SecretId = foundation.ids.next(foundation.clock.now());
    let sealed = foundation.vault.seal(&id.to_string(), secret.expose().as_bytes());
    (secret, NewSecret { id, sealed })
}

/// The endpoint with its secret, for the only time.
fn with_secret(endpoint: &Endpoint, secret: &SigningSecret) -> Json<WebhookEndpointWithSecret> {
    let signing_secret = secret.expose().to_owned();
    Json(WebhookEndpointWithSecret { endpoint: view::endpoint(endpoint), signing_secret })
}

/// Register an endpoint
///
/// The answer has `signing_secret`, for the only time: keep it. Events that are published from now on are delivered to the
/// endpoint, if it wants their type.
#[utoipa::path(
    post, path = "/v1/webhook_endpoints", operation_id = "createWebhookEndpoint", tag = "Webhook endpoints",
    request_body = CreateWebhookEndpoint,
    responses((status = 201, description = "The endpoint, with its secret.", body = WebhookEndpointWithSecret)),
)]
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

/// List endpoints
///
/// All of the merchant's in the mode of the key, newest first.
#[utoipa::path(
    get, path = "/v1/webhook_endpoints", operation_id = "listWebhookEndpoints", tag = "Webhook endpoints",
    params(PageOf<EndpointKind>),
    responses((status = 200, description = "A page of endpoints.", body = WebhookEndpointList)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    RawQuery(query): RawQuery,
) -> Result<Json<WebhookEndpointList>, ApiError> {
    let mut query = Query::parse(query.as_deref());
    let page = query.page();
    query.finish()?;
    let endpoints = api.foundation.store.list_endpoints(&tenant, &page).await?;
    let endpoints = beside(NAME, &page, endpoints)?;
    Ok(Json(view::list("/v1/webhook_endpoints", &endpoints, view::endpoint)))
}

/// Show an endpoint
///
/// Never with its secret.
#[utoipa::path(
    get, path = "/v1/webhook_endpoints/{id}", operation_id = "getWebhookEndpoint", tag = "Webhook endpoints",
    params(("id" = EndpointId, Path, description = "The endpoint.")),
    responses((status = 200, description = "The endpoint.", body = WebhookEndpoint)),
)]
pub(in crate::http) async fn retrieve(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
) -> Result<Json<WebhookEndpoint>, ApiError> {
    Ok(Json(view::endpoint(&find(&api, &tenant, &id).await?)))
}

/// Change an endpoint
///
/// What the body does not name stays. While an endpoint is disabled its deliveries are held. Once it is enabled again,
/// those inside their window are due at once and the others are abandoned (`endpoint_disabled`).
#[utoipa::path(
    patch, path = "/v1/webhook_endpoints/{id}", operation_id = "updateWebhookEndpoint", tag = "Webhook endpoints",
    params(("id" = EndpointId, Path, description = "The endpoint.")),
    request_body = Option<UpdateWebhookEndpoint>,
    responses((status = 200, description = "The endpoint as it is now.", body = WebhookEndpoint)),
)]
async fn update(
    State(api): State<Arc<Api>>,
    Merchant(tenant, by): Merchant,
    Path(id): Path<String>,
    SmallBody(bytes): SmallBody,
) -> Result<Json<WebhookEndpoint>, ApiError> {
    let endpoint = find(&api, &tenant, &id).await?;
    let mut fields = Fields::parse(&bytes)?;
    let mut change = change(&mut fields, &api);
    let status = fields.optional::<String>("status", "a string");
    change.status = status.and_then(|status| fields.check("status", status.parse()));
    let change = fields.finish(Some(change))?;
    Ok(Json(change_to(&api, &endpoint, &change, &by).await?))
}

/// Changes the endpoint, and has its deliveries follow.
pub(in crate::http) async fn change_to(
    api: &Api,
    endpoint: &Endpoint,
    change: &EndpointChange,
    by: &Author,
) -> Result<WebhookEndpoint, ApiError> {
    let (store, now) = (&api.foundation.store, api.foundation.clock.now());
    let updated = store.update_endpoint(&endpoint.tenant, endpoint.id, change, by, now).await?;
    let updated = updated.ok_or_else(|| ApiError::no_such(NAME, endpoint.id))?;
    api.dispatcher.follow_endpoint(endpoint.id).await;
    Ok(view::endpoint(&updated))
}

/// Delete an endpoint
///
/// Its open deliveries are abandoned (`endpoint_deleted`).
#[utoipa::path(
    delete, path = "/v1/webhook_endpoints/{id}", operation_id = "deleteWebhookEndpoint", tag = "Webhook endpoints",
    params(("id" = EndpointId, Path, description = "The endpoint.")),
    responses((status = 200, description = "It is deleted.", body = DeletedWebhookEndpoint)),
)]
async fn delete(
    State(api): State<Arc<Api>>,
    Merchant(tenant, by): Merchant,
    Path(id): Path<String>,
) -> Result<Json<DeletedWebhookEndpoint>, ApiError> {
    let endpoint = find(&api, &tenant, &id).await?;
    let now = api.foundation.clock.now();
    if !api.foundation.store.delete_endpoint(&tenant, endpoint.id, &by, now).await? {
        return Err(ApiError::no_such(NAME, &id));
    }
    api.dispatcher.follow_endpoint(endpoint.id).await;
    Ok(Json(DeletedWebhookEndpoint { id: endpoint.id, object: IsWebhookEndpoint, deleted: true }))
}

/// Rotate the signing secret
///
/// The answer has the new `signing_secret`, for the only time. Until the earlier ones expire every delivery is signed with
/// each of them, at most with five: the oldest end at once.
#[utoipa::path(
    post, path = "/v1/webhook_endpoints/{id}/rotate_secret", operation_id = "rotateWebhookEndpointSecret",
    tag = "Webhook endpoints",
    params(("id" = EndpointId, Path, description = "The endpoint.")),
    request_body = Option<RotateSecret>,
    responses((status = 200, description = "The endpoint, with its new secret.", body = WebhookEndpointWithSecret)),
)]
async fn rotate_secret(
    State(api): State<Arc<Api>>,
    Merchant(tenant, by): Merchant,
    Path(id): Path<String>,
    SmallBody(bytes): SmallBody,
) -> Result<Json<WebhookEndpointWithSecret>, ApiError> {
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

/// Send a test event
///
/// Records a sample of this type and delivers it to this endpoint alone, whatever types it wants. A disabled endpoint is a
/// 400.
#[utoipa::path(
    post, path = "/v1/webhook_endpoints/{id}/test", operation_id = "sendTestEvent", tag = "Webhook endpoints",
    params(("id" = EndpointId, Path, description = "The endpoint.")),
    request_body = SendTestEvent,
    responses((status = 201, description = "The event.", body = shapes::Event)),
)]
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
