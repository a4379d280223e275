//! The public API: what merchants call, with their secret keys.

mod attempts;
mod backfills;
mod deliveries;
mod endpoints;
mod events;
mod portal;
mod stream;
mod timeline;

use std::sync::Arc;

use axum::Router;

use super::{Api, Route, health, routes::Routes};
use crate::metrics::Listener;
pub use events::{EventListing, parse_event_list};

/// The public listener.
pub fn router(api: Arc<Api>) -> Router {
    health::finish(all(), api, Listener::Public)
}

/// The public listener of a process without an API.
pub fn worker_router(api: Arc<Api>) -> Router {
    health::finish(health::checks(), api, Listener::Public)
}

/// All routes of the public listener.
#[must_use]
pub fn routes() -> Vec<Route> {
    all().into_table()
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
        .merge(portal::router())
}
