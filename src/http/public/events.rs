//! `/v1/events`, read only.

use std::sync::Arc;

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
    let (filter, page) = parse_event_list(query.as_deref())?;
    let events = api.foundation.store.list_events(&tenant, &filter, &page).await?;
    let events = beside(NAME, &page, events)?;
    Ok(Json(EventList::new(events.items.iter(), events.has_more)))
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

async fn retrieve(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
) -> Result<Json<Box<RawValue>>, ApiError> {
    Ok(Json(find(&api, &tenant, &id).await?.to_json()))
}
