//! `/v1/events`, read only.

use std::{str::FromStr, sync::Arc};

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde_json::value::RawValue;

use crate::{
    clock::UnixMs,
    event::Event,
    http::{
        Api,
        auth::Merchant,
        error::ApiError,
        path::Path,
        query::{Query, beside},
        routes::Routes,
        view::EventList,
    },
    id::EventId,
    merchant::Tenant,
    store::{EventFilter, Page},
};

pub(super) fn router() -> Routes {
    Routes::new().get("/v1/events", list).get("/v1/events/{id}", retrieve)
}

const NAME: &str = "event";

/// The event, or the answer that there is none.
pub(super) async fn find(api: &Api, tenant: &Tenant, id: &str) -> Result<Event, ApiError> {
    let no_such = || ApiError::no_such(NAME, id);
    let parsed: EventId = id.parse().map_err(|_| no_such())?;
    api.foundation.store.event(tenant, parsed).await?.ok_or_else(no_such)
}

async fn list(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    RawQuery(query): RawQuery,
) -> Result<Json<EventList>, ApiError> {
    let EventListing { filter, page, with_counts } = parse_event_list(query.as_deref())?;
    let store = &api.foundation.store;
    let events = store.list_events(&tenant, &filter, &page).await?;
    let events = beside(NAME, &page, events)?;
    if !with_counts {
        return Ok(Json(EventList::new(events.items.iter().map(Event::to_json), events.has_more)));
    }
    let ids: Vec<EventId> = events.items.iter().map(|event| event.id).collect();
    let counts = store.delivery_counts(&ids).await?;
    let shown = events
        .items
        .iter()
        .map(|event| event.to_json_with_counts(&counts.get(&event.id).copied().unwrap_or_default()));
    Ok(Json(EventList::new(shown, events.has_more)))
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

async fn retrieve(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
) -> Result<Json<Box<RawValue>>, ApiError> {
    Ok(Json(find(&api, &tenant, &id).await?.to_json()))
}
