//! `/v1/failing_endpoints`: the endpoints of all merchants that fail.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    clock::UnixMs,
    endpoint::{DisabledReason, EndpointStatus},
    http::{
        Api,
        auth::Service,
        error::ApiError,
        public::statistics::{LastFailure, LastSuccess},
        query::{PageOf, Query, beside},
        routes::Routes,
        view::{self, IsFailingEndpoint, List},
    },
    id::{EndpointId, EndpointKind},
    merchant::MerchantId,
};

pub(super) fn router() -> Routes {
    Routes::new().route(routes!(list))
}

/// What is counted of each endpoint's backlog: a page has up to a hundred of them.
const OPEN_COUNTED_MAX: u32 = 1_000;

/// An endpoint that fails: its last attempt did, and all since then.
#[derive(Serialize, ToSchema)]
pub(super) struct FailingEndpoint {
    #[schema(inline)]
    object: IsFailingEndpoint,
    webhook_endpoint: EndpointId,
    merchant_id: MerchantId,
    /// Live data, as opposed to test data.
    livemode: bool,
    /// Where deliveries go.
    #[schema(max_length = 2048, examples("https://example.com/webhooks"))]
    url: String,
    status: EndpointStatus,
    /// Why it is disabled, where it was not its merchant.
    disabled_reason: Option<DisabledReason>,
    /// When the first attempt was made that failed after the last one that succeeded, in unix seconds.
    #[schema(examples(1_749_651_729))]
    failing_since: i64,
    /// The earliest instant at which another failure disables it, in unix seconds, while it is enabled.
    #[schema(examples(1_750_083_729))]
    disables_at: Option<i64>,
    last_success: Option<LastSuccess>,
    last_failure: Option<LastFailure>,
    /// Its deliveries that are pending, counted up to 1,000.
    #[schema(minimum = 0, maximum = 1000)]
    pending: u32,
    /// Its deliveries that are held, counted up to 1,000.
    #[schema(minimum = 0, maximum = 1000)]
    held: u32,
}

type FailingEndpointList = List<FailingEndpoint>;

/// List endpoints that fail
///
/// Of all merchants in both modes, those first that began to fail last.
#[utoipa::path(
    get, path = "/v1/failing_endpoints", operation_id = "listFailingEndpoints", tag = "Operation",
    params(PageOf<EndpointKind>),
    responses((status = 200, description = "A page of endpoints.", body = FailingEndpointList)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    _: Service,
    RawQuery(query): RawQuery,
) -> Result<Json<FailingEndpointList>, ApiError> {
    let mut query = Query::parse(query.as_deref());
    let page = query.page();
    query.finish()?;
    let store = &api.foundation.store;
    let found = beside("failing webhook endpoint", &page, store.list_failing(&page).await?)?;
    let mut open = HashMap::new();
    for one in &found.items {
        let id = one.endpoint.id;
        open.insert(id, store.count_open_deliveries(id, OPEN_COUNTED_MAX).await?);
    }
    let rules = api.config.failing_rules();
    Ok(Json(view::list("/v1/failing_endpoints", &found, |one| {
        let endpoint = &one.endpoint;
        let enabled = endpoint.status == EndpointStatus::Enabled;
        let disables_at = one.failing.disables_at(rules).filter(|_| enabled);
        let (pending, held) = open.get(&endpoint.id).copied().unwrap_or_default();
        FailingEndpoint {
            object: IsFailingEndpoint,
            webhook_endpoint: endpoint.id,
            merchant_id: endpoint.tenant.merchant_id.clone(),
            livemode: endpoint.tenant.livemode,
            url: endpoint.url.clone(),
            status: endpoint.status,
            disabled_reason: endpoint.disabled_reason,
            failing_since: one.failing.since.seconds(),
            disables_at: disables_at.map(UnixMs::seconds),
            last_success: LastSuccess::of(&one.latest),
            last_failure: LastFailure::of(&one.latest),
            pending,
            held,
        }
    })))
}
