//! Whether the process lives, and whether it can do its work.

use std::{sync::Arc, time::Duration};

use axum::{Json, Router, extract::State, middleware, routing::get};
use serde_json::{Value, json};

use super::{Api, error};

/// How long the database may take to answer.
const PING_DEADLINE: Duration = Duration::from_secs(2);

/// The health checks alone, as a process without an API serves them.
pub fn router(api: Arc<Api>) -> Router {
    finish(routes(), api)
}

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

/// What every router has: unknown routes answered in the envelope, and request ids.
pub(super) fn finish(router: Router<Arc<Api>>, api: Arc<Api>) -> Router {
    let (ids, clock) = (Arc::clone(&api.foundation.ids), api.foundation.clock.clone());
    router
        .fallback(async |request: axum::extract::Request| {
            error::ApiError::no_such_route(request.method(), request.uri().path())
        })
        .with_state(api)
        .layer(middleware::from_fn(move |request, next| {
            let (ids, clock) = (Arc::clone(&ids), clock.clone());
            async move { error::render(&ids, &clock, request, next).await }
        }))
}

async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn readyz(State(api): State<Arc<Api>>) -> Result<Json<Value>, error::ApiError> {
    if api.draining.is_cancelled() {
        return Err(error::ApiError::unavailable("draining"));
    }
    match tokio::time::timeout(PING_DEADLINE, api.foundation.store.ping()).await {
        Ok(answer) => answer?,
        Err(_) => return Err(error::ApiError::unavailable("the database does not answer")),
    }
    Ok(Json(json!({ "status": "ok" })))
}
