//! Backfills: past events delivered to one endpoint, begun, watched and steered.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde_json::{Value, json};

use super::endpoints;
use crate::{
    backfill::{
        Backfill, BackfillReason, BackfillStatus, NewBackfill, PER_SECOND_DEFAULT, PER_SECOND_MAX, Scope,
        Selection, count,
    },
    clock::UnixMs,
    endpoint::{Endpoint, EndpointStatus},
    http::{
        Api,
        auth::Merchant,
        error::ApiError,
        fields::{Fields, SmallBody},
        path::Path,
        query::{Query, beside},
        routes::Routes,
        selection, view,
    },
    id::BackfillId,
    merchant::Tenant,
};

pub(super) fn router() -> Routes {
    Routes::new()
        .post("/v1/webhook_endpoints/{id}/backfills", create)
        .get("/v1/webhook_endpoints/{id}/backfills", list)
        .get("/v1/backfills/{id}", retrieve)
        .patch("/v1/backfills/{id}", steer)
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
    let mut shown = if dry_run {
        let mut shown = view(&Backfill::begun(&new, now));
        (shown["id"], shown["status"]) = (Value::Null, Value::Null);
        shown
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
    shown["dry_run"] = dry_run.into();
    shown["matched_by_type"] = json!(new.counted.by_type);
    Ok((StatusCode::CREATED, Json(shown)))
}

async fn list(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
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
async fn with_tally(api: &Api, backfill: &Backfill) -> Result<Json<Value>, ApiError> {
    let tally = api.foundation.store.backfill_tally(backfill.id).await?;
    let mut shown = view(backfill);
    shown["deliveries"] = json!({
        "pending": tally.pending,
        "held": tally.held,
        "succeeded": tally.succeeded(backfill.sent),
        "abandoned": tally.abandoned,
    });
    Ok(Json(shown))
}

async fn retrieve(
    State(api): State<Arc<Api>>,
    Merchant(tenant, _): Merchant,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    with_tally(&api, &find(&api, &tenant, &id).await?).await
}

async fn steer(
    State(api): State<Arc<Api>>,
    Merchant(tenant, by): Merchant,
    Path(id): Path<String>,
    SmallBody(bytes): SmallBody,
) -> Result<Json<Value>, ApiError> {
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

fn view(backfill: &Backfill) -> Value {
    let Selection { tenant, endpoint_id, created_from, created_to, types, scope } = &backfill.selection;
    json!({
        "id": backfill.id,
        "object": "backfill",
        "webhook_endpoint": endpoint_id,
        "livemode": tenant.livemode,
        "status": backfill.status.as_str(),
        "status_reason": backfill.reason.map(BackfillReason::as_str),
        "created_gte": created_from.seconds(),
        "created_lte": created_to.seconds(),
        "types": types.names(),
        "only": scope.as_str(),
        "per_second": backfill.per_second,
        "matched": backfill.matched,
        "counted_all": backfill.counted_all,
        "sent": backfill.sent,
        "created": backfill.created_at.seconds(),
        "updated": backfill.updated_at.seconds(),
        "finished": backfill.finished_at.map(UnixMs::seconds),
    })
}
