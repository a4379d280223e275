//! Ingest: `POST /v1/events` and `/v1/events/batch`.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::value::RawValue;
use utoipa_axum::routes;

use crate::{
    event::{Audience, EventType, NewEvent},
    http::{
        Api,
        auth::Service,
        error::{ApiError, IDEMPOTENCY_CONFLICT},
        fields::{Fields, read_json},
        query::SECONDS_MAX,
        routes::Routes,
        shapes::{self, PublishEvent, PublishEvents},
        view::{EventList, event_list},
    },
    ingest::IngestError,
    merchant::{MerchantId, Tenant},
    store::Accepted,
    trace::TRACEPARENT,
};

pub(super) fn router() -> Routes {
    Routes::new().route(routes!(publish)).route(routes!(publish_batch))
}

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Publish an event
///
/// A 201 is a promise: the event, its idempotency record and one delivery for each matching endpoint are on disk, in one
/// transaction. An answer can be lost after its commit, so give an idempotency key and publish again after any 5xx.
///
/// A key that was used before is answered with the original event and `Idempotent-Replayed: true`, for 24 hours; with other
/// content it is refused. `data` passes through byte for byte, 256 KiB with all else, if not configured otherwise.
#[utoipa::path(
    post, path = "/v1/events", operation_id = "publishEvent", tag = "Events",
    params((
        "Idempotency-Key" = Option<String>, Header, description = "The same as `idempotency_key`.",
        pattern = "^[!-~]([ -~]{0,253}[!-~])?$",
    )),
    request_body = PublishEvent,
    responses((
        status = 201, description = "The event is recorded.", body = shapes::Event,
        headers(("Idempotent-Replayed" = String, description = "`true`, if it had been before.")),
    )),
)]
async fn publish(
    State(api): State<Arc<Api>>,
    _: Service,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let bytes = read_json(&headers, body, api.config.limits.event_body_max).await?;
    let event = parse_event(&bytes, headers.get(IDEMPOTENCY_KEY))?;
    let accepted = accept(&api, &headers, vec![event]).await?;
    let accepted = accepted.first().ok_or_else(|| ApiError::internal("nothing was accepted"))?;
    Ok(created(Json(accepted.event.to_json()), accepted.replayed))
}

/// Reads the body of `POST /v1/events`, and the `Idempotency-Key` header beside it. `data` shares the memory of `body`.
pub fn parse_event(body: &Bytes, idempotency_header: Option<&HeaderValue>) -> Result<NewEvent, ApiError> {
    let mut fields = Fields::parse(body)?;
    let mut event = event(&mut fields, body);
    if let Some(header) = idempotency_header {
        let key = header.to_str().map_err(|_| "must be visible ASCII").and_then(idempotency_key);
        let key = fields.check("idempotency_key", key);
        if let Some(event) = &mut event {
            if event.idempotency_key.is_some() && event.idempotency_key != key {
                fields.error("idempotency_key", "is not the one of the Idempotency-Key header");
            }
            event.idempotency_key = key;
        }
    }
    fields.finish(event)
}

/// Publish events together
///
/// All or none: what is wrong is named by its place, such as `events[3].type`. An idempotency key goes with each event.
#[utoipa::path(
    post, path = "/v1/events/batch", operation_id = "publishEvents", tag = "Events",
    params((
        "Idempotency-Key" = Option<String>, Header,
        description = "Not taken: in a batch, each event has its own `idempotency_key`.",
    )),
    request_body = PublishEvents,
    responses((
        status = 201, description = "The events are recorded; they come in the order given.",
        body = EventList,
        headers(("Idempotent-Replayed" = String, description = "`true`, if all of them had been before.")),
    )),
)]
async fn publish_batch(
    State(api): State<Arc<Api>>,
    _: Service,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let limits = &api.config.limits;
    let bytes = read_json(&headers, body, limits.batch_body_max).await?;
    let mut fields = Fields::parse(&bytes)?;
    if headers.contains_key(IDEMPOTENCY_KEY) {
        fields.error("Idempotency-Key", "is not taken with a batch: each event has its own idempotency_key");
    }
    let mut events = Vec::new();
    let raw = fields.required_raw("events");
    let list = raw.and_then(|raw| fields.check("events", list_of(raw, limits.batch_events_max)));
    for (index, raw) in list.into_iter().flatten().enumerate() {
        let name = format!("events[{index}]");
        if raw.get().len() > limits.event_body_max {
            return Err(ApiError::too_large(format!(
                "{name} is larger than {} bytes.",
                limits.event_body_max
            )));
        }
        if let Some(mut inner) = fields.object(&name, raw) {
            events.extend(event(&mut inner, &bytes));
            fields.absorb(inner);
        }
    }
    let accepted =
        accept(&api, &headers, fields.finish(Some(events))?).await.map_err(|error| match error {
            IngestError::Conflict { index } => {
                ApiError::bad_field(format!("events[{index}].idempotency_key"), IDEMPOTENCY_CONFLICT)
            }
            error => error.into(),
        })?;
    let replayed = accepted.iter().all(|accepted| accepted.replayed);
    Ok(created(Json(event_list(accepted.iter().map(|accepted| &accepted.event), false)), replayed))
}

/// Has events accepted, in a span of the caller's trace.
async fn accept(
    api: &Api,
    headers: &HeaderMap,
    mut events: Vec<NewEvent>,
) -> Result<Vec<Accepted>, IngestError> {
    let caller = headers.get(TRACEPARENT).and_then(|parent| parent.to_str().ok()?.parse().ok());
    let span = api.tracer.accepting(caller);
    for event in &mut events {
        event.trace = span.context();
    }
    let outcome = api.ingest.accept(events).await;
    api.tracer.accepted(&span, &outcome);
    outcome
}

fn list_of(raw: &RawValue, max: usize) -> Result<Vec<&RawValue>, String> {
    let list: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| "must be a list")?;
    if (1..=max).contains(&list.len()) { Ok(list) } else { Err(format!("must have 1 to {max} events")) }
}

fn created(body: impl IntoResponse, replayed: bool) -> Response {
    let mut response = (StatusCode::CREATED, body).into_response();
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

fn idempotency_key(key: &str) -> Result<String, &'static str> {
    let fits = (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.chars().count());
    if fits && !key.chars().any(char::is_control) {
        Ok(key.to_owned())
    } else {
        Err("must be 1 to 255 printable characters")
    }
}

/// Reads an event. `data` shares the memory of `body`, of which it is a part.
fn event(fields: &mut Fields<'_>, body: &Bytes) -> Option<NewEvent> {
    let merchant = fields.required::<String>("merchant_id", "a string");
    let merchant = merchant.and_then(|text| fields.check("merchant_id", text.parse::<MerchantId>()));
    let livemode = fields.required::<bool>("livemode", "true or false");
    let event_type = fields.required::<String>("type", "a string");
    let event_type = event_type.and_then(|text| fields.check("type", text.parse::<EventType>()));
    let created = fields.optional::<i64>("created", "whole unix seconds");
    if created.is_some_and(|created| !(0..=SECONDS_MAX).contains(&created)) {
        fields.error("created", format!("must be from 0 to {SECONDS_MAX}"));
    }
    let key = fields.optional::<String>("idempotency_key", "a string");
    let key = key.and_then(|key| fields.check("idempotency_key", idempotency_key(&key)));
    let data = fields.required_raw("data");
    if let Some(raw) = data {
        check_data(fields, raw, event_type);
    }
    Some(NewEvent {
        tenant: Tenant { merchant_id: merchant?, livemode: livemode? },
        event_type: event_type?,
        created,
        data: body.slice_ref(data?.get().as_bytes()),
        idempotency_key: key,
        audience: Audience::Matching,
        trace: None,
    })
}

/// What of `data` is not the publisher's alone.
fn check_data<'a>(fields: &mut Fields<'a>, raw: &'a RawValue, event_type: Option<EventType>) {
    let Some(mut data) = fields.object("data", raw) else { return };
    if let Some(raw) = data.required_raw("object")
        && let Some(mut object) = data.object("object", raw)
    {
        if object.required::<String>("id", "a string").is_some_and(|id| id.is_empty()) {
            object.error("id", "must not be empty");
        }
        let resource = object.required::<String>("object", "a string");
        if let (Some(resource), Some(event_type)) = (resource, event_type)
            && resource != event_type.resource()
        {
            object.error("object", format!("must be {}, as the type says", event_type.resource()));
        }
        data.absorb(object.open());
    }
    if let Some(raw) = data.raw("previous_attributes") {
        data.object("previous_attributes", raw);
    }
    fields.absorb(data);
}
