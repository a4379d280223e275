//! `/v1/merchants/:merchant/reconciliations`

use std::sync::Arc;

use axum::{Json, body::Body, extract::State, http::HeaderMap};
use utoipa_axum::routes;

use super::merchant_id;
use crate::{
    http::{
        Api,
        auth::Service,
        error::ApiError,
        fields::Fields,
        path::Path,
        reconciliation::{self, Reconciliation},
        routes::Routes,
        shapes::ReconcileMerchant,
    },
    merchant::{MerchantId, Tenant},
};

pub(super) fn router() -> Routes {
    Routes::new().route(routes!(reconcile))
}

/// Reconcile a range of a merchant's events
///
/// As the merchant can on the public listener.
#[utoipa::path(
    post, path = "/v1/merchants/{merchant}/reconciliations", operation_id = "reconcileMerchantEvents", tag = "Events",
    params(("merchant" = MerchantId, Path, description = "The merchant.")),
    request_body = ReconcileMerchant,
    responses(
        (status = 200, description = "How the events stand.", body = Reconciliation),
        (status = 404, description = "There is no such endpoint, or no such event to start after."),
    ),
)]
async fn reconcile(
    State(api): State<Arc<Api>>,
    _: Service,
    Path(merchant): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Reconciliation>, ApiError> {
    let merchant_id = merchant_id(&merchant)?;
    let bytes = reconciliation::read(&headers, body).await?;
    let mut fields = Fields::parse(&bytes)?;
    let livemode = fields.required::<bool>("livemode", "true or false");
    let tenant = livemode.map(|livemode| Tenant { merchant_id, livemode });
    reconciliation::reconcile(&api, fields, tenant).await
}
