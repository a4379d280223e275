//! Reconciliations: what became of a range of events, and what a receiver lacks of them. Merchants ask for their own, and
//! operators for any merchant's.

use std::collections::BTreeSet;

use axum::{
    Json,
    body::{Body, Bytes},
    http::HeaderMap,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    error::ApiError,
    fields::{Fields, read_json},
    public::endpoints,
    selection,
    view::IsReconciliation,
};
use crate::{
    endpoint::EnabledEvents,
    event::EventType,
    id::{EndpointId, EventId},
    merchant::Tenant,
    reconciliation::{Difference, Outcome, Page, Processed, Scope, Strangers, page, strangers},
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
) -> Result<Json<Reconciliation>, ApiError> {
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
    Ok(Json(view(&scope, &page, strangers)))
}

/// How the events of a range stand.
#[derive(Serialize, ToSchema)]
pub(super) struct Reconciliation {
    #[schema(inline)]
    object: IsReconciliation,
    /// Live data, as opposed to test data.
    livemode: bool,
    /// The endpoint that it is about; null for all together.
    webhook_endpoint: Option<EndpointId>,
    /// From which instant on, in unix seconds.
    #[schema(examples(1_749_565_329))]
    created_gte: i64,
    /// Up to which instant, in unix seconds.
    #[schema(examples(1_749_651_729))]
    created_lte: i64,
    types: EnabledEvents,
    events: EventCounts,
    deliveries: DeliveryCounts,
    /// What the receiver's list comes to, where there was one.
    processed: Option<ProcessedCounts>,
    /// Events that somebody may want to look into.
    differences: Vec<DifferenceView>,
    /// The last event that was looked at, where there are more.
    looked_up_to: Option<EventId>,
    /// Whether there are events of the range that were not looked at.
    has_more: bool,
}

/// How many events stand so; the others add up to `recorded`.
#[derive(Serialize, ToSchema)]
struct EventCounts {
    /// All of them.
    recorded: u64,
    /// Every endpoint that has a delivery of it has answered one with a 2xx.
    succeeded: u64,
    /// An endpoint has not, and a delivery to it is due, under way, or waits for another attempt.
    pending: u64,
    /// An endpoint has not, and a delivery to it waits for it to be enabled.
    held: u64,
    /// An endpoint has not, and all deliveries to it were given up.
    abandoned: u64,
    /// There is no delivery.
    no_delivery: u64,
}

/// How many deliveries stand so; the others add up to `made`.
#[derive(Serialize, ToSchema)]
struct DeliveryCounts {
    /// All of them.
    made: u64,
    /// Answered with a 2xx.
    succeeded: u64,
    /// Due, under way, or waiting for another attempt.
    pending: u64,
    /// Waiting for their endpoint to be enabled.
    held: u64,
    /// Given up.
    abandoned: u64,
}

/// What a receiver's list comes to.
#[derive(Serialize, ToSchema)]
struct ProcessedCounts {
    /// How many events it has processed.
    known: u64,
    /// How many it was sent, or is being sent, and has not processed.
    lacking: u64,
    /// How many it has not processed and has no delivery of.
    never_sent: u64,
    /// Events of the merchant's that are not of the range or of its types; on the first page.
    outside: Vec<EventId>,
    /// No events of the merchant's, or none any more; on the first page.
    unknown: Vec<EventId>,
}

/// An event that somebody may want to look into.
#[derive(Serialize, ToSchema)]
#[schema(as = Difference)]
struct DifferenceView {
    event: EventId,
    event_type: EventType,
    /// When it happened, in unix seconds.
    #[schema(examples(1_749_651_729))]
    created: i64,
    outcome: Outcome,
    /// Whether the receiver has processed it, where it said which it has.
    processed: Option<bool>,
}

fn view(scope: &Scope, page: &Page, strangers: Strangers) -> Reconciliation {
    let (events, deliveries) = (&page.events, &page.deliveries);
    Reconciliation {
        object: IsReconciliation,
        livemode: scope.tenant.livemode,
        webhook_endpoint: scope.endpoint_id,
        created_gte: scope.created_from.seconds(),
        created_lte: scope.created_to.seconds(),
        types: scope.types.clone(),
        events: EventCounts {
            recorded: events.total(),
            succeeded: events.of(Outcome::Succeeded),
            pending: events.of(Outcome::Pending),
            held: events.of(Outcome::Held),
            abandoned: events.of(Outcome::Abandoned),
            no_delivery: events.of(Outcome::NoDelivery),
        },
        deliveries: DeliveryCounts {
            made: deliveries.total(),
            succeeded: deliveries.of(Outcome::Succeeded),
            pending: deliveries.of(Outcome::Pending),
            held: deliveries.of(Outcome::Held),
            abandoned: deliveries.of(Outcome::Abandoned),
        },
        processed: page.processed.map(|Processed { known, lacking, never_sent }| ProcessedCounts {
            known,
            lacking,
            never_sent,
            outside: strangers.outside,
            unknown: strangers.unknown,
        }),
        differences: page.differences.iter().map(difference).collect(),
        looked_up_to: page.looked_up_to.map(|place| place.id),
        has_more: page.looked_up_to.is_some(),
    }
}

fn difference(difference: &Difference) -> DifferenceView {
    DifferenceView {
        event: difference.place.id,
        event_type: difference.event_type,
        created: difference.place.created_at.seconds(),
        outcome: difference.outcome,
        processed: difference.processed,
    }
}
