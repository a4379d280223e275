//! Whether the process lives, and whether it can do its work.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, middleware};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Api, error::ApiError, outermost::Outermost, routes::Routes};
use crate::{
    metrics::{Listener, Refusal},
    store::Store,
    words::constants,
};

/// How long the database may take to answer.
const PING_DEADLINE: Duration = Duration::from_secs(2);

/// How long its answer holds.
const PING_INTERVAL: Duration = Duration::from_millis(500);

pub(super) fn checks() -> Routes {
    Routes::new().route(routes!(healthz)).route(routes!(readyz))
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

constants! {
    IsOk "ok",
}

/// That all is well.
#[derive(Serialize, ToSchema)]
struct Health {
    #[schema(inline)]
    status: IsOk,
}

/// Whether the process lives
#[utoipa::path(
    get, path = "/healthz", operation_id = "checkLiveness", tag = "Health", security(()),
    responses((status = 200, description = "It lives.", body = Health)),
)]
async fn healthz() -> Json<Health> {
    Json(Health { status: IsOk })
}

/// Whether the service can do its work
///
/// The database answers, and the process is not about to end. Otherwise it is a 503.
#[utoipa::path(
    get, path = "/readyz", operation_id = "checkReadiness", tag = "Health", security(()),
    responses((status = 200, description = "It can.", body = Health)),
)]
async fn readyz(State(api): State<Arc<Api>>) -> Result<Json<Health>, ApiError> {
    if api.draining.is_cancelled() {
        return Err(ApiError::unavailable("draining").because(Refusal::Draining));
    }
    api.readiness.check(api.foundation.store.as_ref()).await?;
    Ok(Json(Health { status: IsOk }))
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
