//! The public API: what merchants call, with their secret keys.

mod attempts;
mod backfills;
pub(super) mod deliveries;
pub(super) mod endpoints;
pub(super) mod events;
mod portal;
mod reconciliations;
pub(super) mod statistics;
mod stream;
pub(super) mod timeline;

use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use utoipa::openapi::OpenApi;

use super::{Api, Route, documentation, health, routes::Routes};
use crate::metrics::Listener;
pub use events::{EventListing, parse_event_list};

/// The public listener.
pub fn router(api: Arc<Api>) -> Router {
    let routes = all();
    let document = documentation::rendered(&routes, Listener::Public);
    health::finish(routes.merge(documentation::pages(document)), api, Listener::Public)
}

/// The public listener of a process without an API.
pub fn worker_router(api: Arc<Api>) -> Router {
    health::finish(health::checks(), api, Listener::Public)
}

/// All routes of the public listener.
#[must_use]
pub fn routes() -> Vec<Route> {
    all().merge(documentation::pages(Bytes::new())).into_table()
}

/// What the API is, as OpenAPI has it.
#[must_use]
pub fn document() -> OpenApi {
    documentation::document(&all(), Listener::Public)
}

fn all() -> Routes {
    health::checks()
        .merge(endpoints::router())
        .merge(events::router())
        .merge(stream::router())
        .merge(deliveries::router())
        .merge(attempts::router())
        .merge(backfills::router())
        .merge(timeline::router())
        .merge(reconciliations::router())
        .merge(portal::router())
        .merge(statistics::router())
}
