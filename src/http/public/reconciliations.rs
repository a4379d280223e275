//! `/v1/reconciliations`

use std::sync::Arc;

use axum::{Json, body::Body, extract::State, http::HeaderMap};
use utoipa_axum::routes;

use crate::http::{
    Api,
    auth::Merchant,
    error::ApiError,
    fields::Fields,
    reconciliation::{self, Reconciliation},
    routes::Routes,
    shapes::Reconcile,
};

pub(super) fn router() -> Routes {
    Routes::new().route(routes!(reconcile))
}

/// Reconcile a range of events
///
/// How many events of the range stand how, in counts that add up, and which of them somebody may want to look into. With
/// `processed`, the events that a receiver has processed, also what it lacks of the others; a backfill then sends it.
///
/// Where `has_more` is true the answer tells of the range up to `looked_up_to`: ask again with that as `starting_after`.
#[utoipa::path(
    post, path = "/v1/reconciliations", operation_id = "reconcileEvents", tag = "Events",
    request_body = Reconcile,
    responses(
        (status = 200, description = "How the events stand.", body = Reconciliation),
        (status = 404, description = "There is no such endpoint, or no such event to start after."),
    ),
)]
async fn reconcile(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Reconciliation>, ApiError> {
    let bytes = reconciliation::read(&headers, body).await?;
    reconciliation::reconcile(&api, Fields::parse(&bytes)?, Some(tenant)).await
}
