//! The internal API: what publishing services and operators call, with service keys.

mod audit;
mod events;
mod keys;
mod portal_sessions;
mod test_clock;

use std::sync::Arc;

use axum::Router;

use super::{Api, Route, health, metrics, routes::Routes};
use crate::metrics::Listener;
pub use events::parse_event;

/// The internal listener.
pub fn router(api: Arc<Api>) -> Router {
    let on_test_clock = api.test_clock.is_some();
    health::finish(all(on_test_clock), api, Listener::Internal)
}

/// The internal listener of a process without an API: it says how it does.
pub fn worker_router(api: Arc<Api>) -> Router {
    health::finish(watched(), api, Listener::Internal)
}

/// All routes of the internal listener, those of the test clock included.
#[must_use]
pub fn routes() -> Vec<Route> {
    all(true).into_table()
}

fn all(on_test_clock: bool) -> Routes {
    let routes = watched()
        .merge(events::router())
        .merge(keys::router())
        .merge(portal_sessions::router())
        .merge(audit::router());
    if on_test_clock { routes.merge(test_clock::router()) } else { routes }
}

fn watched() -> Routes {
    health::checks().merge(metrics::router())
}
