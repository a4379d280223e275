//! `/v1/test_clock`, where the service runs on one.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{
    http::{
        Api,
        auth::Service,
        error::ApiError,
        fields::{Fields, SmallBody},
        routes::Routes,
    },
    test_clock::TestClock,
};

pub(super) fn router() -> Routes {
    Routes::new().get("/v1/test_clock", retrieve).post("/v1/test_clock/advance", advance)
}

const ADVANCE_MAX: Duration = Duration::from_secs(366 * 86_400);

fn clock(api: &Api) -> Result<&TestClock, ApiError> {
    api.test_clock.as_ref().ok_or_else(|| ApiError::no_such("test clock", "test_clock.enabled is false"))
}

async fn retrieve(State(api): State<Arc<Api>>, _: Service) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "now_ms": clock(&api)?.now().0 })))
}

async fn advance(
    State(api): State<Arc<Api>>,
    _: Service,
    SmallBody(bytes): SmallBody,
) -> Result<Json<Value>, ApiError> {
    let mut fields = Fields::parse(&bytes)?;
    let by = fields.required::<String>("by", "a string").and_then(|text| {
        let duration = humantime::parse_duration(&text).ok();
        let fits = duration.filter(|by| !by.is_zero() && *by <= ADVANCE_MAX);
        fields.check("by", fits.ok_or("must be a duration of more than 0 and at most 366d, such as 1m"))
    });
    let advanced = clock(&api)?.advance(fields.finish(by)?).await?;
    Ok(Json(json!({ "now_ms": advanced.now.0, "attempts": advanced.attempts })))
}
