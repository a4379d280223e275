//! The internal API: what publishing services and operators call, with service keys.

mod audit;
mod events;
mod keys;
mod test_clock;

use std::sync::Arc;

use axum::Router;

use super::{Api, Route, health, routes::Routes};
pub use events::parse_event;

/// The internal listener.
pub fn router(api: Arc<Api>) -> Router {
    let on_test_clock = api.test_clock.is_some();
    health::finish(all(on_test_clock), api)
}

/// All routes of the internal listener, those of the test clock included.
#[must_use]
pub fn routes() -> Vec<Route> {
    all(true).into_table()
}

fn all(on_test_clock: bool) -> Routes {
    let routes = health::checks().merge(events::router()).merge(keys::router()).merge(audit::router());
    if on_test_clock { routes.merge(test_clock::router()) } else { routes }
}
