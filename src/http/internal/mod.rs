//! The internal API: what publishing services and operators call, with service keys.

mod events;
mod keys;
mod test_clock;

use std::sync::Arc;

use axum::Router;

use super::{Api, health};
pub use events::parse_event;

/// All routes of the internal listener.
pub fn router(api: Arc<Api>) -> Router {
    let mut routes = health::routes().merge(events::router()).merge(keys::router());
    if api.test_clock.is_some() {
        routes = routes.merge(test_clock::router());
    }
    health::finish(routes, api)
}
