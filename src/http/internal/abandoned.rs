//! `/v1/abandoned_deliveries`: all that was given up, in order, for who polls.

use std::{str::FromStr, sync::Arc};

use axum::{
    Json,
    extract::{RawQuery, State},
};
use utoipa_axum::routes;

use crate::{
    http::{
        Api,
        auth::Service,
        error::ApiError,
        query::{Limit, Query},
        routes::Routes,
        view::{self, AbandonedDeliveryList},
    },
    merchant::MerchantId,
    store::AbandonedFilter,
};

pub(super) fn router() -> Routes {
    Routes::new().route(routes!(list))
}

/// A place in the order in which deliveries were abandoned.
struct Position(i64);

impl FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let position = text.parse().ok().filter(|position| *position >= 0);
        position.map(Self).ok_or("must be the position of a delivery in this list, or 0")
    }
}

/// List abandoned deliveries
///
/// What was given up, in the order in which it was, the oldest first. Ask again with the last `position` as
/// `starting_after`: nothing is listed later before a position that was listed once, so who polls misses nothing. A delivery
/// that is retried leaves the list; given up again, it comes again, at another position.
#[utoipa::path(
    get, path = "/v1/abandoned_deliveries", operation_id = "listAbandonedDeliveries", tag = "Deliveries",
    params(
        Limit,
        ("starting_after" = Option<i64>, Query, description = "What follows this position.", minimum = 0),
        ("merchant_id" = Option<MerchantId>, Query, description = "Of this merchant."),
        ("livemode" = Option<bool>, Query, description = "Of live data, or of test data."),
    ),
    responses((status = 200, description = "A page of deliveries.", body = AbandonedDeliveryList)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    _: Service,
    RawQuery(query): RawQuery,
) -> Result<Json<AbandonedDeliveryList>, ApiError> {
    let mut query = Query::parse(query.as_deref());
    let limit = query.limit();
    let Position(after) = query.optional("starting_after").unwrap_or(Position(0));
    let filter =
        AbandonedFilter { merchant_id: query.optional("merchant_id"), livemode: query.optional("livemode") };
    query.finish()?;
    let page = api.foundation.store.list_abandoned_deliveries(&filter, after, limit).await?;
    Ok(Json(view::list("/v1/abandoned_deliveries", &page, view::abandoned_delivery)))
}
