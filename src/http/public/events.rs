//! `/v1/events`, read only.

use std::{str::FromStr, sync::Arc};

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
pub(in crate::http) async fn find(api: &Api, tenant: &Tenant, id: &str) -> Result<Event, ApiError> {
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
        ("expand" = Option<String>, Query, description = "`delivery_counts`: with how their deliveries stand.",
            pattern = "^delivery_counts$", example = json!("delivery_counts")),
        PageOf<EventKind>,
    ),
    responses((status = 200, description = "A page of events.", body = EventList)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    RawQuery(query): RawQuery,
) -> Result<Json<List<Box<RawValue>>>, ApiError> {
    let EventListing { filter, page, with_counts } = parse_event_list(query.as_deref())?;
    let store = &api.foundation.store;
    let events = store.list_events(&tenant, &filter, &page).await?;
    let events = beside(NAME, &page, events)?;
    if !with_counts {
        return Ok(Json(event_list(events.items.iter().map(Event::to_json), events.has_more)));
    }
    let ids: Vec<EventId> = events.items.iter().map(|event| event.id).collect();
    let counts = store.delivery_counts(&ids).await?;
    let shown = events
        .items
        .iter()
        .map(|event| event.to_json_with_counts(&counts.get(&event.id).copied().unwrap_or_default()));
    Ok(Json(event_list(shown, events.has_more)))
}

/// What is asked of `GET /v1/events`.
#[derive(Debug)]
pub struct EventListing {
    /// Which events.
    pub filter: EventFilter,
    /// Which part of them.
    pub page: Page<EventId>,
    /// Whether each is to tell how its deliveries stand.
    pub with_counts: bool,
}

/// What an event in a list can tell besides.
#[derive(Clone, Copy)]
struct DeliveryCountsWanted;

impl FromStr for DeliveryCountsWanted {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "delivery_counts" { Ok(Self) } else { Err("must be delivery_counts") }
    }
}

/// Reads the query of `GET /v1/events`.
pub fn parse_event_list(query: Option<&str>) -> Result<EventListing, ApiError> {
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
    let with_counts = query.optional::<DeliveryCountsWanted>("expand").is_some();
    let page = query.page();
    query.finish().map(|()| EventListing { filter, page, with_counts })
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
