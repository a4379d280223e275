//! `/v1/audit_entries`

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde_json::Value;

use crate::{
    http::{
        Api,
        auth::Service,
        error::ApiError,
        query::{Query, beside},
        routes::Routes,
        view,
    },
    store::AuditFilter,
};

pub(super) fn router() -> Routes {
    Routes::new().get("/v1/audit_entries", list)
}

async fn list(
    State(api): State<Arc<Api>>,
    _: Service,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let mut query = Query::parse(query.as_deref());
    let page = query.page();
    let filter = AuditFilter {
        merchant_id: query.optional("merchant_id"),
        livemode: query.optional("livemode"),
        object_id: query.optional("object_id"),
        action: query.optional("action"),
        actor_kind: query.optional("actor_kind"),
        actor_id: query.optional("actor_id"),
    };
    query.finish()?;
    let entries = api.foundation.store.list_audit_entries(&filter, &page).await?;
    let entries = beside("audit entry", &page, entries)?;
    Ok(Json(view::list("/v1/audit_entries", &entries, view::audit_entry)))
}
