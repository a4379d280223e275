//! The public API: what merchants call, with their secret keys.

mod deliveries;
mod endpoints;
mod events;

use std::sync::Arc;

use axum::Router;

use super::{Api, health};

/// All routes of the public listener.
pub fn router(api: Arc<Api>) -> Router {
    let routes =
        health::routes().merge(endpoints::router()).merge(events::router()).merge(deliveries::router());
    health::finish(routes, api)
}
