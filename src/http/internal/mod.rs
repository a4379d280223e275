//! The internal API: what publishing services and operators call, with service keys.

mod abandoned;
mod audit;
mod console;
mod events;
mod failing;
mod keys;
mod objects;
mod portal_sessions;
mod reconciliations;
mod status;
mod test_clock;
mod throughput;

use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use utoipa::openapi::OpenApi;

use super::{Api, ApiError, Route, documentation, health, metrics, routes::Routes};
use crate::{merchant::MerchantId, metrics::Listener};
pub use events::parse_event;

/// The internal listener.
pub fn router(api: Arc<Api>) -> Router {
    let mut routes = all(api.test_clock.is_some());
    if api.config.console.enabled {
        routes = routes.merge(console::router());
    }
    let document = documentation::rendered(&routes, Listener::Internal);
    health::finish(routes.merge(documentation::pages(document)), api, Listener::Internal)
}

/// The internal listener of a process without an API: it says how it does.
pub fn worker_router(api: Arc<Api>) -> Router {
    health::finish(watched(), api, Listener::Internal)
}

/// All routes of the internal listener, those of the test clock and of the console included.
#[must_use]
pub fn routes() -> Vec<Route> {
    all(true).merge(console::router()).merge(documentation::pages(Bytes::new())).into_table()
}

/// What the API is, as OpenAPI has it; with the test clock.
#[must_use]
pub fn document() -> OpenApi {
    documentation::document(&all(true), Listener::Internal)
}

/// The merchant that a path names.
fn merchant_id(text: &str) -> Result<MerchantId, ApiError> {
    text.parse().map_err(|error| ApiError::bad_field("merchant", error))
}

fn all(on_test_clock: bool) -> Routes {
    let routes = watched()
        .merge(events::router())
        .merge(keys::router())
        .merge(portal_sessions::router())
        .merge(audit::router())
        .merge(abandoned::router())
        .merge(reconciliations::router())
        .merge(status::router())
        .merge(throughput::router())
        .merge(failing::router())
        .merge(objects::router());
    if on_test_clock { routes.merge(test_clock::router()) } else { routes }
}

fn watched() -> Routes {
    health::checks().merge(metrics::router())
}
