//! How things stand, as it was last seen.

use std::{path::Path, sync::atomic::AtomicU64, time::Duration};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use super::{Registrar, Series, process::ProcessUse};
use crate::{
    clock::UnixMs,
    dispatcher::LaneUse,
    store::{PoolUse, QueueDepth},
};

type Float = Gauge<f64, AtomicU64>;

/// How things stand.
#[derive(Clone, Debug)]
pub struct State {
    /// The time it is.
    pub now: UnixMs,
    /// The queue; none where the database did not answer.
    pub queue: Option<QueueDepth>,
    /// Connections to the database.
    pub pools: Vec<PoolUse>,
    /// The lanes.
    pub lanes: LaneUse,
    /// Whether work that other processes make is told to this one, where there can be others.
    pub hears_others: bool,
    /// Requests that wait to be stored.
    pub accept_queue: usize,
    /// Streams that merchants follow.
    pub streams: usize,
}

/// The gauges that show it.
#[derive(Debug)]
pub(super) struct States {
    database_up: Gauge,
    queue: Series<Float>,
    oldest_due_age: Float,
    connections_idle_and_busy: Series<Gauge, 2>,
    connections_max: Series<Gauge>,
    waiting_for_connection: Series<Gauge>,
    in_flight: Gauge,
    in_flight_max: Gauge,
    waiting_in_lanes: Gauge,
    lanes: Series<Gauge>,
    lanes_troubled: Gauge,
    hears_others: Gauge,
    accept_queue: Gauge,
    streams: Gauge,
    process: Process,
}

/// The gauges of the operating system's figures.
#[derive(Debug)]
struct Process {
    cpu: Counter<f64, AtomicU64>,
    resident: Float,
    open_files: Float,
    open_files_max: Float,
}

impl States {
    pub(super) fn register(add: &mut Registrar, pools: &[PoolUse]) -> Self {
        let names = || pools.iter().map(|pool| pool.pool);
        let idle_and_busy =
            names().flat_map(|pool| ["idle", "busy"].map(|state| [("pool", pool), ("state", state)]));
        Self {
            database_up: add.add(
                "k_webhooks_database_up",
                "1 if the database answered when it was last looked at, else 0",
                Gauge::default(),
            ),
            queue: add.add(
                "k_webhooks_queue_deliveries",
                "Open deliveries in the database, counted up to 10000; the same in all processes on it. Due ones are pending too",
                Series::of_words("state", ["pending", "due", "held"]),
            ),
            oldest_due_age: add.add(
                "k_webhooks_queue_oldest_due_age_seconds",
                "For how long the oldest due delivery has been due and leased to nobody; 0 where none is",
                Float::default(),
            ),
            connections_idle_and_busy: add.add(
                "k_webhooks_database_connections",
                "Connections to the database",
                Series::new(idle_and_busy.map(|labels| (labels, Gauge::default()))),
            ),
            connections_max: add.add(
                "k_webhooks_database_connections_max",
                "How many connections to the database there may be",
                Series::of_words("pool", names()),
            ),
            waiting_for_connection: add.add(
                "k_webhooks_database_connections_awaited",
                "Operations that wait for a connection to the database",
                Series::of_words("pool", names()),
            ),
            in_flight: add.add(
                "k_webhooks_attempts_in_flight",
                "Attempts begun and not yet recorded",
                Gauge::default(),
            ),
            in_flight_max: add.add(
                "k_webhooks_attempts_in_flight_max",
                "How many attempts there may be at once",
                Gauge::default(),
            ),
            waiting_in_lanes: add.add(
                "k_webhooks_lane_deliveries",
                "Deliveries leased by this process that wait for their turn",
                Gauge::default(),
            ),
            lanes: add.add(
                "k_webhooks_lanes",
                "Endpoints with deliveries in hand, by whether they can take more",
                Series::of_words("state", ["open", "full"]),
            ),
            lanes_troubled: add.add(
                "k_webhooks_lanes_troubled",
                "Endpoints that did not answer their last attempt or asked for less",
                Gauge::default(),
            ),
            hears_others: add.add(
                "k_webhooks_hears_other_processes",
                "1 if the process is told of work that others make, or there are no others; else 0, and it looks every second",
                Gauge::default(),
            ),
            accept_queue: add.add(
                "k_webhooks_accept_queue_requests",
                "Requests that wait for the commit under way",
                Gauge::default(),
            ),
            streams: add.add("k_webhooks_streams", "Live streams that merchants follow", Gauge::default()),
            process: Process {
                cpu: add.add("process_cpu_seconds", "Time of processors used", Counter::default()),
                resident: add.add("process_resident_memory_bytes", "Memory in use", Float::default()),
                open_files: add.add("process_open_fds", "Open file descriptors", Float::default()),
                open_files_max: add.add(
                    "process_max_fds",
                    "How many file descriptors there may be",
                    Float::default(),
                ),
            },
        }
    }

    pub(super) fn show(&self, state: &State) {
        self.database_up.set(state.queue.is_some().into());
        let depth = |part: fn(QueueDepth) -> u64| state.queue.map(part);
        self.queue[0].set(known(depth(|queue| queue.pending)));
        self.queue[1].set(known(depth(|queue| queue.due)));
        self.queue[2].set(known(depth(|queue| queue.held)));
        let age = |queue: QueueDepth| queue.oldest_due_at.map_or(Duration::ZERO, |at| state.now.since(at));
        self.oldest_due_age.set(state.queue.map_or(f64::NAN, |queue| age(queue).as_secs_f64()));
        for (place, pool) in state.pools.iter().enumerate() {
            self.connections_idle_and_busy[2 * place].set(whole(pool.idle));
            self.connections_idle_and_busy[2 * place + 1].set(whole(pool.open.saturating_sub(pool.idle)));
            self.connections_max[place].set(whole(pool.limit));
            self.waiting_for_connection[place].set(whole(pool.waiting));
        }
        let lanes = &state.lanes;
        self.in_flight.set(whole(lanes.in_flight));
        self.in_flight_max.set(whole(lanes.in_flight_max));
        self.waiting_in_lanes.set(whole(lanes.waiting));
        self.lanes[0].set(whole(lanes.open));
        self.lanes[1].set(whole(lanes.full));
        self.lanes_troubled.set(whole(lanes.troubled));
        self.hears_others.set(state.hears_others.into());
        self.accept_queue.set(whole(state.accept_queue));
        self.streams.set(whole(state.streams));
        self.process.show(ProcessUse::read(Path::new("/proc/self")));
    }
}

impl Process {
    fn show(&self, used: ProcessUse) {
        // As it grows: a counter cannot be set.
        self.cpu.inc_by(used.cpu_seconds.map_or(0.0, |seconds| (seconds - self.cpu.get()).max(0.0)));
        self.resident.set(used.resident_bytes.unwrap_or(f64::NAN));
        self.open_files.set(used.open_files.unwrap_or(f64::NAN));
        self.open_files_max.set(used.open_files_max.unwrap_or(f64::NAN));
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What is not known is not a number.
#[expect(clippy::cast_precision_loss, reason = "counted no further than a float can")]
fn known(count: Option<u64>) -> f64 {
    count.map_or(f64::NAN, |count| count as f64)
}

/// An instant in unix seconds.
#[expect(clippy::cast_precision_loss, reason = "what a scrape tells is a float")]
pub(super) fn seconds(at: UnixMs) -> f64 {
    at.0 as f64 / 1000.0
}
