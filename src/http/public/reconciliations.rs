//! `/v1/reconciliations`

use std::sync::Arc;

use axum::{Json, body::Body, extract::State, http::HeaderMap};
use serde_json::Value;

use crate::http::{Api, auth::Merchant, error::ApiError, fields::Fields, reconciliation, routes::Routes};

pub(super) fn router() -> Routes {
    Routes::new().post("/v1/reconciliations", reconcile)
}

async fn reconcile(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let bytes = reconciliation::read(&headers, body).await?;
    reconciliation::reconcile(&api, Fields::parse(&bytes)?, Some(tenant)).await
}
