//! `/v1/events`, read only.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde_json::value::RawValue;
use utoipa_axum::routes;

use crate::{
    clock::UnixMs,
    delivery::DeliveryStatus,
    event::{Event, EventType},
    http::{
        Api,
        auth::Merchant,
        error::ApiError,
        path::Path,
        query::{PageOf, Query, beside},
        routes::Routes,
        shapes,
        view::{EventList, List, event_list},
    },
    id::{EventId, EventKind},
    merchant::Tenant,
    store::{EventFilter, Page},
};

pub(super) fn router() -> Routes {
    Routes::new().route(routes!(list)).route(routes!(retrieve))
}

const NAME: &str = "event";

/// The event, or the answer that there is none.
pub(super) async fn find(api: &Api, tenant: &Tenant, id: &str) -> Result<Event, ApiError> {
    let no_such = || ApiError::no_such(NAME, id);
    let parsed: EventId = id.parse().map_err(|_| no_such())?;
    api.foundation.store.event(tenant, parsed).await?.ok_or_else(no_such)
}

/// List events
///
/// All of the merchant's in the mode of the key, newest first, also those that no endpoint wanted.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "listEvents", tag = "Events",
    params(
        ("type" = Option<EventType>, Query, description = "Of this type."),
        ("created_gte" = Option<i64>, Query, description = "Recorded at this instant or later, in unix seconds."),
        ("created_lte" = Option<i64>, Query, description = "Recorded at this instant or earlier, in unix seconds."),
        ("delivery_status" = Option<DeliveryStatus>, Query, description = "With at least one delivery in this state."),
        PageOf<EventKind>,
    ),
    responses((status = 200, description = "A page of events.", body = EventList)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    RawQuery(query): RawQuery,
) -> Result<Json<List<Box<RawValue>>>, ApiError> {
    let (filter, page) = parse_event_list(query.as_deref())?;
    let events = api.foundation.store.list_events(&tenant, &filter, &page).await?;
    let events = beside(NAME, &page, events)?;
    Ok(Json(event_list(events.items.iter(), events.has_more)))
}

/// Reads the query of `GET /v1/events`.
pub fn parse_event_list(query: Option<&str>) -> Result<(EventFilter, Page<EventId>), ApiError> {
    let mut query = Query::parse(query);
    let instant = |seconds: Option<i64>, rest: i64| {
        seconds.map(|at| UnixMs(at.saturating_mul(1000).saturating_add(rest)))
    };
    let filter = EventFilter {
        event_type: query.optional("type"),
        created_from: instant(query.optional("created_gte"), 0),
        created_to: instant(query.optional("created_lte"), 999),
        delivery_status: query.optional("delivery_status"),
    };
    let page = query.page();
    query.finish().map(|()| (filter, page))
}

/// Show an event
#[utoipa::path(
    get, path = "/v1/events/{id}", operation_id = "getEvent", tag = "Events",
    params(("id" = EventId, Path, description = "The event.")),
    responses((status = 200, description = "The event.", body = shapes::Event)),
)]
async fn retrieve(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
) -> Result<Json<Box<RawValue>>, ApiError> {
    Ok(Json(find(&api, &tenant, &id).await?.to_json()))
}
