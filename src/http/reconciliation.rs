//! Reconciliations: what became of a range of events, and what a receiver lacks of them. Merchants ask for their own, and
//! operators for any merchant's.

use std::collections::BTreeSet;

use axum::{
    Json,
    body::{Body, Bytes},
    http::HeaderMap,
};
use serde_json::{Value, json};

use super::{
    Api,
    error::ApiError,
    fields::{Fields, read_json},
    public::endpoints,
    selection,
};
use crate::{
    endpoint::EnabledEvents,
    id::EventId,
    merchant::Tenant,
    reconciliation::{Counts, Difference, Outcome, Page, Processed, Scope, Strangers, page, strangers},
};

/// Ids that a receiver may post at once.
const PROCESSED_MAX: usize = 10_000;

/// The bytes that they need, and the rest of the body.
const BODY_MAX: usize = 512 * 1024;

/// Differences on one page.
const LIMIT_MAX: usize = 1_000;
const LIMIT_DEFAULT: usize = 100;

/// Collects a body.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    read_json(headers, body, BODY_MAX).await
}

/// The ids that a receiver has processed, with every bad one named.
fn processed(fields: &mut Fields<'_>) -> Option<BTreeSet<EventId>> {
    let ids = fields.optional::<Vec<String>>("processed", "a list of strings")?;
    if ids.len() > PROCESSED_MAX {
        fields.error("processed", format!("must have at most {PROCESSED_MAX} ids; ask for a shorter range"));
        return None;
    }
    let mut processed = BTreeSet::new();
    for (index, id) in ids.iter().enumerate() {
        processed.extend(fields.check(&format!("processed[{index}]"), id.parse::<EventId>()));
    }
    Some(processed)
}

/// Answers what a body asks for, of this tenant's events.
pub(super) async fn reconcile(
    api: &Api,
    mut fields: Fields<'_>,
    tenant: Option<Tenant>,
) -> Result<Json<Value>, ApiError> {
    let range = selection::range(&mut fields);
    let types = selection::types(&mut fields, "types", Some(EnabledEvents::All));
    let endpoint = fields.optional::<String>("webhook_endpoint", "a string");
    let processed = processed(&mut fields);
    let limit = fields.optional::<usize>("limit", "a whole number").unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        fields.error("limit", format!("must be from 1 to {LIMIT_MAX}"));
    }
    let after = fields.optional::<String>("starting_after", "a string");
    let after = after.and_then(|id| fields.check("starting_after", id.parse::<EventId>()));
    let asked = tenant.zip(range).zip(types);
    let ((tenant, (created_from, created_to)), types) = fields.finish(asked)?;

    let store = api.foundation.store.as_ref();
    let endpoint_id = match endpoint {
        Some(id) => Some(endpoints::find(api, &tenant, &id).await?.id),
        None => None,
    };
    let after = match after {
        Some(id) => {
            Some(store.event_place(&tenant, id).await?.ok_or_else(|| ApiError::no_such("event", id))?)
        }
        None => None,
    };
    let scope = Scope { tenant, endpoint_id, created_from, created_to, types };
    let strangers = match &processed {
        // Once: what is not of the range is of no page.
        Some(processed) if after.is_none() => strangers(store, &scope, processed).await?,
        _ => Strangers::default(),
    };
    let page = page(store, &scope, processed.as_ref(), limit, after).await?;
    Ok(Json(view(&scope, &page, &strangers)))
}

fn view(scope: &Scope, page: &Page, strangers: &Strangers) -> Value {
    let mut events = by_outcome(&page.events, Outcome::ALL);
    events["recorded"] = page.events.total().into();
    let mut deliveries = by_outcome(&page.deliveries, &Outcome::OF_DELIVERIES);
    deliveries["made"] = page.deliveries.total().into();
    let processed = page.processed.map(|Processed { known, lacking, never_sent }| {
        let Strangers { outside, unknown } = strangers;
        json!({
            "known": known,
            "lacking": lacking,
            "never_sent": never_sent,
            "outside": outside,
            "unknown": unknown,
        })
    });
    json!({
        "object": "reconciliation",
        "livemode": scope.tenant.livemode,
        "webhook_endpoint": scope.endpoint_id,
        "created_gte": scope.created_from.seconds(),
        "created_lte": scope.created_to.seconds(),
        "types": scope.types.names(),
        "events": events,
        "deliveries": deliveries,
        "processed": processed,
        "differences": page.differences.iter().map(difference).collect::<Vec<_>>(),
        "looked_up_to": page.looked_up_to.map(|place| place.id),
        "has_more": page.looked_up_to.is_some(),
    })
}

fn by_outcome(counts: &Counts, outcomes: &[Outcome]) -> Value {
    outcomes.iter().map(|outcome| (outcome.as_str().to_owned(), Value::from(counts.of(*outcome)))).collect()
}

fn difference(difference: &Difference) -> Value {
    json!({
        "event": difference.place.id,
        "event_type": difference.event_type.as_str(),
        "created": difference.place.created_at.seconds(),
        "outcome": difference.outcome.as_str(),
        "processed": difference.processed,
    })
}
