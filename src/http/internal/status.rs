//! `/v1/status`: how the service does just now, as all its processes say.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    clock::UnixMs,
    http::{Api, auth::Service, error::ApiError, routes::Routes, view::IsServiceStatus},
    id::ProcessId,
    maintenance::Upkeep,
    pulse::{GONE_AFTER, Load, ProcessReport, ProcessRole, SHOWN_FOR},
    store::QueueDepth,
};

pub(super) fn router() -> Routes {
    Routes::new().route(routes!(status))
}

/// How the service does just now.
#[derive(Serialize, ToSchema)]
struct ServiceStatus {
    #[schema(inline)]
    object: IsServiceStatus,
    /// The version of the process that answers.
    version: &'static str,
    /// The service's time, in unix milliseconds.
    #[schema(examples(1_749_651_729_123_i64))]
    now_ms: i64,
    /// Null where the database does not say in time.
    queue: Option<Queue>,
    /// The longest-lived first.
    processes: Vec<Process>,
    upkeep: Vec<UpkeepPart>,
}

/// Open deliveries of all merchants, each number counted up to 10,000.
#[derive(Serialize, ToSchema)]
struct Queue {
    /// Due, leased, or due later.
    #[schema(minimum = 0)]
    pending: u64,
    /// Of the pending, leased to a process.
    #[schema(minimum = 0)]
    leased: u64,
    /// Of the pending, due and leased to nobody.
    #[schema(minimum = 0)]
    due: u64,
    /// Held, because their endpoints are disabled.
    #[schema(minimum = 0)]
    held: u64,
    /// Since when the oldest of the due ones is due, in unix seconds.
    #[schema(examples(1_749_651_729))]
    oldest_due_at: Option<i64>,
}

/// A process on the database, as it says of itself every ten seconds.
#[derive(Serialize, ToSchema)]
struct Process {
    id: ProcessId,
    role: ProcessRole,
    #[schema(examples("0.1.0"))]
    version: String,
    /// What its machine is called, or nothing.
    host: String,
    /// When it began, in unix seconds.
    #[schema(examples(1_749_651_729))]
    started: i64,
    /// When it was heard of last, in unix seconds.
    #[schema(examples(1_749_651_729))]
    seen: i64,
    /// Whether it was heard of in the last 35 seconds. One that was not is shown for an hour.
    alive: bool,
    load: Load,
}

/// A part of the upkeep.
#[derive(Serialize, ToSchema)]
struct UpkeepPart {
    /// `prune`, `expire` or `sweep`.
    #[schema(examples("sweep"))]
    part: &'static str,
    /// When any process last finished it, in unix seconds.
    #[schema(examples(1_749_651_729))]
    last_success: Option<i64>,
    /// How often it is done.
    #[schema(minimum = 1, examples(60))]
    every_seconds: u64,
}

impl From<QueueDepth> for Queue {
    fn from(depth: QueueDepth) -> Self {
        Self {
            pending: depth.pending,
            leased: depth.leased,
            due: depth.due,
            held: depth.held,
            oldest_due_at: depth.oldest_due_at.map(UnixMs::seconds),
        }
    }
}

/// Show the status of the service
///
/// What is open, which processes share the database and what they have in hand, and when the upkeep was last done. The queue
/// is looked at every five seconds at most.
#[utoipa::path(
    get, path = "/v1/status", operation_id = "getStatus", tag = "Operation",
    responses((status = 200, description = "The status.", body = ServiceStatus)),
)]
async fn status(State(api): State<Arc<Api>>, _: Service) -> Result<Json<ServiceStatus>, ApiError> {
    // On the test clock nothing happens by itself: whoever asks has just changed something.
    if api.test_clock.is_some() {
        api.pulse.beat().await?;
    }
    let (store, now) = (&api.foundation.store, api.foundation.clock.now());
    let queue = api.watch.look(&api).await.queue;
    let processes = store.processes(now.minus(SHOWN_FOR)).await?;
    let done = store.upkeep_done().await?;
    let upkeep = Upkeep::ALL.into_iter().map(|part| {
        let done = done.iter().find(|done| done.name == part.name());
        UpkeepPart {
            part: part.name(),
            last_success: done.and_then(|done| done.succeeded_at).map(UnixMs::seconds),
            every_seconds: part.every().as_secs(),
        }
    });
    Ok(Json(ServiceStatus {
        object: IsServiceStatus,
        version: env!("CARGO_PKG_VERSION"),
        now_ms: now.0,
        queue: queue.map(Queue::from),
        processes: processes.into_iter().map(|process| shown(process, now)).collect(),
        upkeep: upkeep.collect(),
    }))
}

fn shown(process: ProcessReport, now: UnixMs) -> Process {
    Process {
        id: process.id,
        role: process.role,
        version: process.version,
        host: process.host,
        started: process.started_at.seconds(),
        seen: process.seen_at.seconds(),
        alive: process.seen_at >= now.minus(GONE_AFTER),
        load: process.load,
    }
}
