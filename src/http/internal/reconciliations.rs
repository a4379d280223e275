//! `/v1/merchants/:merchant/reconciliations`

use std::sync::Arc;

use axum::{Json, body::Body, extract::State, http::HeaderMap};
use serde_json::Value;

use super::merchant_id;
use crate::{
    http::{Api, auth::Service, error::ApiError, fields::Fields, path::Path, reconciliation, routes::Routes},
    merchant::Tenant,
};

pub(super) fn router() -> Routes {
    Routes::new().post("/v1/merchants/{merchant}/reconciliations", reconcile)
}

async fn reconcile(
    State(api): State<Arc<Api>>,
    _: Service,
    Path(merchant): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let merchant_id = merchant_id(&merchant)?;
    let bytes = reconciliation::read(&headers, body).await?;
    let mut fields = Fields::parse(&bytes)?;
    let livemode = fields.required::<bool>("livemode", "true or false");
    let tenant = livemode.map(|livemode| Tenant { merchant_id, livemode });
    reconciliation::reconcile(&api, fields, tenant).await
}
