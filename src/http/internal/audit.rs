//! `/v1/audit_entries`

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
};
use utoipa_axum::routes;

use crate::{
    audit::{Action, ActorKind},
    http::{
        Api,
        auth::Service,
        error::ApiError,
        query::{PageOf, Query, beside},
        routes::Routes,
        view::{self, AuditEntryList},
    },
    id::AuditEntryKind,
    merchant::MerchantId,
    store::AuditFilter,
};

pub(super) fn router() -> Routes {
    Routes::new().route(routes!(list))
}

/// List audit entries
///
/// Who did what to endpoints and keys, newest first. Every change leaves one entry, in its own transaction; what is refused,
/// fails or changes nothing leaves none.
#[utoipa::path(
    get, path = "/v1/audit_entries", operation_id = "listAuditEntries", tag = "Audit log",
    params(
        ("merchant_id" = Option<MerchantId>, Query, description = "About this merchant's objects."),
        ("livemode" = Option<bool>, Query, description = "About objects of live data, or of test data."),
        ("object_id" = Option<String>, Query, description = "About this object."),
        ("action" = Option<Action>, Query, description = "Of this action."),
        ("actor_kind" = Option<ActorKind>, Query, description = "By this kind of actor."),
        ("actor_id" = Option<String>, Query, description = "By this API key or session.",
            example = json!("key_01jxf6z2zre4rr3h5t8y5j0v6q")),
        PageOf<AuditEntryKind>,
    ),
    responses((status = 200, description = "A page of entries.", body = AuditEntryList)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    _: Service,
    RawQuery(query): RawQuery,
) -> Result<Json<AuditEntryList>, ApiError> {
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
