//! Whether the process lives, and whether it can do its work.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, middleware};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Api, error::ApiError, outermost::Outermost, routes::Routes};
use crate::{
    metrics::{Listener, Refusal},
    store::Store,
};

/// How long the database may take to answer.
const PING_DEADLINE: Duration = Duration::from_secs(2);

/// How long its answer holds.
const PING_INTERVAL: Duration = Duration::from_millis(500);

pub(super) fn checks() -> Routes {
    Routes::new().get("/healthz", healthz).get("/readyz", readyz)
}

/// What every router has: unknown routes answered in the envelope, request ids, limits and headers.
pub(super) fn finish(routes: Routes, api: Arc<Api>, listener: Listener) -> Router {
    let outermost = Arc::new(Outermost::of(&api, listener));
    routes
        .into_router()
        .fallback(async |request: axum::extract::Request| {
            ApiError::no_such_route(request.method(), request.uri().path())
        })
        .with_state(api)
        .layer(middleware::from_fn(move |request, next| {
            let outermost = Arc::clone(&outermost);
            async move { outermost.handle(request, next).await }
        }))
}

async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn readyz(State(api): State<Arc<Api>>) -> Result<Json<Value>, ApiError> {
    if api.draining.is_cancelled() {
        return Err(ApiError::unavailable("draining").because(Refusal::Draining));
    }
    api.readiness.check(api.foundation.store.as_ref()).await?;
    Ok(Json(json!({ "status": "ok" })))
}

/// Whether the database answered when it was last asked. Anybody may ask for it, so the database is not asked each time.
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Result<(), ApiError>)>>);

impl Readiness {
    async fn check(&self, store: &dyn Store) -> Result<(), ApiError> {
        let mut last = self.0.lock().await;
        if let Some((at, answer)) = last.as_ref()
            && at.elapsed() < PING_INTERVAL
        {
            return answer.clone();
        }
        let answer = match tokio::time::timeout(PING_DEADLINE, store.ping()).await {
            Ok(answer) => answer.map_err(ApiError::from),
            Err(_) => Err(ApiError::unavailable("the database does not answer").because(Refusal::Database)),
        };
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}
