//! `/v1/test_clock`, where the service runs on one.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    http::{
        Api,
        auth::Service,
        error::ApiError,
        fields::{Fields, SmallBody},
        routes::Routes,
        shapes::AdvanceTestClock,
    },
    test_clock::TestClock,
};

pub(super) fn router() -> Routes {
    Routes::new().route(routes!(retrieve)).route(routes!(advance))
}

const ADVANCE_MAX: Duration = Duration::from_secs(366 * 86_400);

fn clock(api: &Api) -> Result<&TestClock, ApiError> {
    api.test_clock.as_ref().ok_or_else(|| ApiError::no_such("test clock", "test_clock.enabled is false"))
}

/// The service's time.
#[derive(Serialize, ToSchema)]
struct Time {
    /// In unix milliseconds.
    #[schema(examples(1_749_651_729_000_i64))]
    now_ms: i64,
}

/// The service's time after the clock was moved.
#[derive(Serialize, ToSchema)]
struct Advanced {
    /// In unix milliseconds.
    #[schema(examples(1_749_655_329_000_i64))]
    now_ms: i64,
    /// Attempts since the advance before.
    #[schema(minimum = 0, examples(3))]
    attempts: u64,
}

/// Show the test clock
///
/// Only where the service runs on it (`test_clock.enabled`).
#[utoipa::path(
    get, path = "/v1/test_clock", operation_id = "getTestClock", tag = "Test clock",
    responses((status = 200, description = "The service's time.", body = Time)),
)]
async fn retrieve(State(api): State<Arc<Api>>, _: Service) -> Result<Json<Time>, ApiError> {
    Ok(Json(Time { now_ms: clock(&api)?.now().0 }))
}

/// Advance the test clock
///
/// Moves the service's time on, stopping at every due time on the way; answers when all that fell due has been attempted and
/// recorded.
#[utoipa::path(
    post, path = "/v1/test_clock/advance", operation_id = "advanceTestClock", tag = "Test clock",
    request_body = AdvanceTestClock,
    responses((status = 200, description = "The service's time then.", body = Advanced)),
)]
async fn advance(
    State(api): State<Arc<Api>>,
    _: Service,
    SmallBody(bytes): SmallBody,
) -> Result<Json<Advanced>, ApiError> {
    let mut fields = Fields::parse(&bytes)?;
    let by = fields.required::<String>("by", "a string").and_then(|text| {
        let duration = humantime::parse_duration(&text).ok();
        let fits = duration.filter(|by| !by.is_zero() && *by <= ADVANCE_MAX);
        fields.check("by", fits.ok_or("must be a duration of more than 0 and at most 366d, such as 1m"))
    });
    let advanced = clock(&api)?.advance(fields.finish(by)?).await?;
    Ok(Json(Advanced { now_ms: advanced.now.0, attempts: advanced.attempts }))
}
