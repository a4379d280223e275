//! Backfills: past events delivered to one endpoint, begun, watched and steered.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::endpoints;
use crate::{
    backfill::{
        Backfill, BackfillReason, BackfillStatus, NewBackfill, PER_SECOND_DEFAULT, PER_SECOND_MAX, Scope,
        Selection, count,
    },
    clock::UnixMs,
    endpoint::{EnabledEvents, Endpoint, EndpointStatus},
    http::{
        Api,
        auth::Merchant,
        error::ApiError,
        fields::{Fields, SmallBody},
        path::Path,
        query::{PageOf, Query, beside},
        routes::Routes,
        selection,
        shapes::{CreateBackfill, UpdateBackfill},
        view::{self, IsBackfill, List},
    },
    id::{BackfillId, BackfillKind, EndpointId},
    merchant::Tenant,
};

pub(super) fn router() -> Routes {
    Routes::new().route(routes!(create)).route(routes!(list)).route(routes!(retrieve)).route(routes!(steer))
}

const NAME: &str = "backfill";

/// How long events are counted before a backfill begins: of a range that has more, what was found by then.
const COUNT_MAX: Duration = Duration::from_secs(10);

/// What a body asks for.
struct Wanted {
    selection: Selection,
    per_second: u32,
    dry_run: bool,
}

fn wanted(bytes: &[u8], endpoint: &Endpoint) -> Result<Wanted, ApiError> {
    let mut fields = Fields::parse(bytes)?;
    let range = selection::range(&mut fields);
    let types = selection::types(&mut fields, "types", Some(endpoint.enabled_events.clone()));
    let scope = fields.required::<String>("only", "a string");
    let scope = scope.and_then(|scope| fields.check("only", scope.parse::<Scope>()));
    let per_second = fields.optional::<u32>("per_second", "a whole number").unwrap_or(PER_SECOND_DEFAULT);
    if !(1..=PER_SECOND_MAX).contains(&per_second) {
        fields.error("per_second", format!("must be from 1 to {PER_SECOND_MAX}"));
    }
    let dry_run = fields.optional::<bool>("dry_run", "true or false").unwrap_or(false);
    let selected = range.zip(types).zip(scope);
    let selection = selected.map(|(((created_from, created_to), types), scope)| Selection {
        tenant: endpoint.tenant.clone(),
        endpoint_id: endpoint.id,
        created_from,
        created_to,
        types,
        scope,
    });
    let selection = fields.finish(selection)?;
    Ok(Wanted { selection, per_second, dry_run })
}

/// Begin a backfill
///
/// Delivers past events to one endpoint, in a lane of its own beside the live ones: also those that came while the endpoint
/// was disabled, did not list their type, or was not there yet. With `dry_run` it only counts them, whatever the state of
/// the endpoint; otherwise a disabled endpoint is a 400, and so is one with a backfill that is not finished.
#[utoipa::path(
    post, path = "/v1/webhook_endpoints/{id}/backfills", operation_id = "createBackfill", tag = "Backfills",
    params(("id" = EndpointId, Path, description = "The endpoint.")),
    request_body = CreateBackfill,
    responses((status = 201, description = "The backfill; or, of a dry run, the counts.", body = BackfillBegun)),
)]
async fn create(
    State(api): State<Arc<Api>>,
    Merchant(tenant, by): Merchant,
    Path(id): Path<String>,
    SmallBody(bytes): SmallBody,
) -> Result<impl IntoResponse, ApiError> {
    let endpoint = endpoints::find(&api, &tenant, &id).await?;
    let Wanted { selection, per_second, dry_run } = wanted(&bytes, &endpoint)?;
    // Counting is asked for whatever the endpoint's state, to see what it missed.
    if !dry_run && endpoint.status == EndpointStatus::Disabled {
        return Err(endpoints::disabled(&id));
    }
    let store = api.foundation.store.as_ref();
    let counted = count(store, &selection, Some(Instant::now() + COUNT_MAX)).await?;
    let now = api.foundation.clock.now();
    let new = NewBackfill { id: api.foundation.ids.next(now), selection, per_second, counted };
    let backfill = if dry_run {
        BackfillView { id: None, status: None, ..view(&Backfill::begun(&new, now)) }
    } else {
        let begun = store.insert_backfill(&new, &by, now).await?;
        let begun = begun.ok_or_else(|| {
            ApiError::bad_request(format!(
                "The webhook endpoint {id} has a backfill that is not finished; wait for it, or cancel it."
            ))
        })?;
        api.backfills.may_go_on();
        view(&begun)
    };
    Ok((StatusCode::CREATED, Json(BackfillBegun { backfill, dry_run, matched_by_type: new.counted.by_type })))
}

/// List the backfills of an endpoint
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/webhook_endpoints/{id}/backfills", operation_id = "listWebhookEndpointBackfills",
    tag = "Backfills",
    params(("id" = EndpointId, Path, description = "The endpoint."), PageOf<BackfillKind>),
    responses((status = 200, description = "A page of backfills.", body = BackfillList)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<BackfillList>, ApiError> {
    let endpoint = endpoints::find(&api, &tenant, &id).await?;
    let mut query = Query::parse(query.as_deref());
    let page = query.page();
    query.finish()?;
    let backfills = api.foundation.store.list_backfills(&tenant, endpoint.id, &page).await?;
    let backfills = beside(NAME, &page, backfills)?;
    Ok(Json(view::list(&format!("/v1/webhook_endpoints/{id}/backfills"), &backfills, view)))
}

async fn find(api: &Api, tenant: &Tenant, id: &str) -> Result<Backfill, ApiError> {
    let no_such = || ApiError::no_such(NAME, id);
    let parsed: BackfillId = id.parse().map_err(|_| no_such())?;
    api.foundation.store.backfill(tenant, parsed).await?.ok_or_else(no_such)
}

/// The backfill, with how its deliveries stand.
async fn with_tally(api: &Api, backfill: &Backfill) -> Result<Json<BackfillWithDeliveries>, ApiError> {
    let tally = api.foundation.store.backfill_tally(backfill.id).await?;
    let deliveries = BackfillDeliveries {
        pending: tally.pending,
        held: tally.held,
        succeeded: tally.succeeded(backfill.sent),
        abandoned: tally.abandoned,
    };
    Ok(Json(BackfillWithDeliveries { backfill: view(backfill), deliveries }))
}

/// Show a backfill
///
/// With how its deliveries stand.
#[utoipa::path(
    get, path = "/v1/backfills/{id}", operation_id = "getBackfill", tag = "Backfills",
    params(("id" = BackfillId, Path, description = "The backfill.")),
    responses((status = 200, description = "The backfill.", body = BackfillWithDeliveries)),
)]
async fn retrieve(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
) -> Result<Json<BackfillWithDeliveries>, ApiError> {
    with_tally(&api, &find(&api, &tenant, &id).await?).await
}

/// Pause, continue or cancel a backfill
///
/// One that is completed or canceled stays so: that is a 400.
#[utoipa::path(
    patch, path = "/v1/backfills/{id}", operation_id = "updateBackfill", tag = "Backfills",
    params(("id" = BackfillId, Path, description = "The backfill.")),
    request_body = UpdateBackfill,
    responses((status = 200, description = "The backfill as it is now.", body = BackfillWithDeliveries)),
)]
async fn steer(
    State(api): State<Arc<Api>>,
    Merchant(tenant, by): Merchant,
    Path(id): Path<String>,
    SmallBody(bytes): SmallBody,
) -> Result<Json<BackfillWithDeliveries>, ApiError> {
    find(&api, &tenant, &id).await?;
    let mut fields = Fields::parse(&bytes)?;
    let to = fields.required::<String>("status", "a string").and_then(|word| {
        let to = word.parse().ok().filter(|to| *to != BackfillStatus::Completed);
        fields.check("status", to.ok_or("must be one of running, paused, canceled"))
    });
    let to = fields.finish(to)?;
    loop {
        let backfill = find(&api, &tenant, &id).await?;
        if backfill.status == to {
            return with_tally(&api, &backfill).await;
        }
        if backfill.status.is_final() {
            let status = backfill.status.as_str();
            return Err(ApiError::bad_field("status", format!("is {status}, which is the end of it")));
        }
        if to == BackfillStatus::Running {
            let endpoint = backfill.selection.endpoint_id.to_string();
            endpoints::find_enabled(&api, &tenant, &endpoint).await.map_err(ApiError::into_bad_request)?;
        }
        let (store, now) = (&api.foundation.store, api.foundation.clock.now());
        // Where it changed in between, its new state decides.
        if let Some(steered) = store.steer_backfill(backfill.id, backfill.status, to, &by, now).await? {
            if to == BackfillStatus::Running {
                api.backfills.may_go_on();
            }
            return with_tally(&api, &steered).await;
        }
    }
}

/// Past events on their way to one endpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = Backfill)]
struct BackfillView {
    /// Null for a dry run.
    id: Option<BackfillId>,
    #[schema(inline)]
    object: IsBackfill,
    webhook_endpoint: EndpointId,
    /// Live data, as opposed to test data.
    livemode: bool,
    /// Where it stands; null for a dry run.
    status: Option<BackfillStatus>,
    /// Why the service itself paused or canceled it, where it did.
    status_reason: Option<BackfillReason>,
    /// From which instant on events are sent, in unix seconds, as their publishers date them.
    #[schema(examples(1_749_565_329))]
    created_gte: i64,
    /// Up to which instant, in unix seconds.
    #[schema(examples(1_749_651_729))]
    created_lte: i64,
    types: EnabledEvents,
    only: Scope,
    /// Deliveries that are made in a second, at most.
    #[schema(minimum = 1, examples(10))]
    per_second: u32,
    /// Events that were found when it was made.
    #[schema(minimum = 0, examples(42))]
    matched: u64,
    /// Whether all events were looked at for that; otherwise there may be more.
    counted_all: bool,
    /// Deliveries made so far.
    #[schema(minimum = 0, examples(17))]
    sent: u64,
    /// When it was made, in unix seconds.
    #[schema(examples(1_749_651_729))]
    created: i64,
    /// When it last made a delivery or changed its state, in unix seconds.
    #[schema(examples(1_749_651_731))]
    updated: i64,
    /// When it was completed or canceled, in unix seconds.
    #[schema(examples(1_749_651_733))]
    finished: Option<i64>,
}

type BackfillList = List<BackfillView>;

/// A backfill that was begun, or what one would send.
#[derive(Serialize, ToSchema)]
struct BackfillBegun {
    #[serde(flatten)]
    backfill: BackfillView,
    /// Whether the events were only counted.
    dry_run: bool,
    /// How many events were found of each type.
    #[schema(value_type = BTreeMap<String, u64>)]
    matched_by_type: BTreeMap<&'static str, u64>,
}

/// A backfill with how its deliveries stand.
#[derive(Serialize, ToSchema)]
struct BackfillWithDeliveries {
    #[serde(flatten)]
    backfill: BackfillView,
    deliveries: BackfillDeliveries,
}

/// How many of the deliveries of a backfill stand so.
#[derive(Serialize, ToSchema)]
struct BackfillDeliveries {
    /// Due, under way, or waiting for another attempt.
    #[schema(minimum = 0)]
    pending: u64,
    /// Waiting for their endpoint to be enabled.
    #[schema(minimum = 0)]
    held: u64,
    /// Answered with a 2xx.
    #[schema(minimum = 0)]
    succeeded: u64,
    /// Given up.
    #[schema(minimum = 0)]
    abandoned: u64,
}

fn view(backfill: &Backfill) -> BackfillView {
    let Selection { tenant, endpoint_id, created_from, created_to, types, scope } = &backfill.selection;
    BackfillView {
        id: Some(backfill.id),
        object: IsBackfill,
        webhook_endpoint: *endpoint_id,
        livemode: tenant.livemode,
        status: Some(backfill.status),
        status_reason: backfill.reason,
        created_gte: created_from.seconds(),
        created_lte: created_to.seconds(),
        types: types.clone(),
        only: *scope,
        per_second: backfill.per_second,
        matched: backfill.matched,
        counted_all: backfill.counted_all,
        sent: backfill.sent,
        created: backfill.created_at.seconds(),
        updated: backfill.updated_at.seconds(),
        finished: backfill.finished_at.map(UnixMs::seconds),
    }
}
