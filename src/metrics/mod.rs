//! What operators watch: counters, gauges and histograms, which the internal listener tells.
//!
//! One [`Metrics`] is made with the service and handed to whoever decides what is counted. Counting is an atomic addition:
//! every series exists from the start, so nothing is locked, looked up or allocated. What is a state and no event (the
//! queue, the lanes, connections) is looked at when somebody asks, and shown by [`Metrics::show`].
//!
//! Labels are words of this program. Never a merchant or an endpoint: there is no end of them, and whoever reads metrics
//! need not know them.

mod exposition;
mod histogram;
mod http;
mod process;
mod series;
mod state;
mod tally;

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::Gauge, info::Info},
    registry::{Metric, Registry},
};

pub use exposition::{OPEN_METRICS, PLAIN};
pub use histogram::Histogram;
pub use http::{Connections, Listener, Listening, Refusal, Requests};
pub use series::Series;
pub use state::State;
pub use tally::Tally;

use crate::{
    clock::UnixMs,
    delivery::{AbandonedReason, AttemptResult, Verdict},
    event::EventType,
    http::Route,
    maintenance::Upkeep,
    store::{Accepted, PoolUse, Settled},
    transport::FailureCode,
    words::words,
};
use state::States;

words! {
    /// What is committed in groups.
    Commit {
        /// Events, with their deliveries.
        Accept "accept",
        /// Deliveries, leased.
        Claim "claim",
        /// Outcomes of attempts.
        Record "record",
        /// Leases, given back.
        Release "release",
    }
}

words! {
    /// What became of a span.
    SpanEnd {
        /// The collector has it.
        Exported "exported",
        /// The collector did not take it.
        Failed "failed",
        /// Too many waited for the collector.
        Dropped "dropped",
    }
}

/// From a fast disk to a request's deadline, in microseconds.
const REQUEST_TIMES: &[u64] = &[
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
];

/// From a receiver next door to the end of the window, in microseconds.
const DELIVERY_TIMES: &[u64] = &[
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    15_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
    7_200_000_000,
    21_600_000_000,
    86_400_000_000,
    259_200_000_000,
];

/// In millionths of one.
const GROUP_SIZES: &[u64] = &[
    1_000_000,
    2_000_000,
    4_000_000,
    8_000_000,
    16_000_000,
    32_000_000,
    64_000_000,
    128_000_000,
    256_000_000,
    512_000_000,
    1_024_000_000,
];

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    events_accepted: Series<Counter>,
    events_replayed: Counter,
    /// From a request's events in hand to their commit.
    pub accept_duration: Histogram,
    attempts: Series<Counter>,
    attempt_duration: Series<Histogram>,
    deliveries_finished: Series<Counter>,
    first_attempt_delay: Histogram,
    delivery_latency: Histogram,
    /// Outcomes that came after their lease was lost.
    pub leases_lost: Counter,
    commit_items: Series<Histogram>,
    commit_duration: Series<Histogram>,
    commit_failures: Series<Counter>,
    upkeep_succeeded: Series<Gauge<f64, AtomicU64>>,
    upkeep_rows: Series<Counter>,
    upkeep_failures: Series<Counter>,
    spans: Series<Counter>,
    listeners: [Listening; Listener::ALL.len()],
    states: States,
}

/// Registers metrics under their whole names, as they are searched for.
struct Registrar(Registry);

impl Registrar {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }
}

impl Metrics {
    /// Nothing counted yet. The listeners answer these routes, the database is reached through these pools, and the process
    /// began at `started_at`.
    #[must_use]
    pub fn new(routes: [&[Route]; Listener::ALL.len()], pools: &[PoolUse], started_at: UnixMs) -> Self {
        let mut registrar = Registrar(Registry::default());
        let add = &mut registrar;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        add.0.register("k_webhooks_build", "The version that runs", build);
        let started: Gauge<f64, AtomicU64> = Gauge::default();
        started.set(state::seconds(started_at));
        add.0.register("process_start_time_seconds", "When the process began, in unix seconds", started);
        let listeners = http::register(add, routes);
        Self {
            events_accepted: add.add(
                "k_webhooks_events_accepted",
                "Events stored, by type",
                Series::of_words("type", EventType::ALL.iter().map(|event_type| event_type.as_str())),
            ),
            events_replayed: add.add(
                "k_webhooks_events_replayed",
                "Events answered with the one that their idempotency key was first used for",
                Counter::default(),
            ),
            accept_duration: add.add(
                "k_webhooks_accept_duration_seconds",
                "From the events of a request in hand to their commit, the wait for the commit before it included",
                Histogram::new(REQUEST_TIMES),
            ),
            attempts: add.add(
                "k_webhooks_attempts",
                "Attempts recorded, by what they came to: succeeded, or the failure code",
                Series::of_words("outcome", outcomes()),
            ),
            attempt_duration: add.add(
                "k_webhooks_attempt_duration_seconds",
                "From connect to the last byte of the response",
                Series::new(
                    ["succeeded", "failed"].map(|word| ([("outcome", word)], Histogram::new(DELIVERY_TIMES))),
                ),
            ),
            deliveries_finished: add.add(
                "k_webhooks_deliveries_finished",
                "Deliveries that came to an end: succeeded, or the reason why they were abandoned",
                Series::of_words("outcome", ends()),
            ),
            first_attempt_delay: add.add(
                "k_webhooks_first_attempt_delay_seconds",
                "From a delivery's making to the start of its first attempt",
                Histogram::new(DELIVERY_TIMES),
            ),
            delivery_latency: add.add(
                "k_webhooks_delivery_latency_seconds",
                "From a delivery's making to the end of its first successful attempt",
                Histogram::new(DELIVERY_TIMES),
            ),
            leases_lost: add.add(
                "k_webhooks_leases_lost",
                "Outcomes that were not recorded because another process had taken the delivery over",
                Counter::default(),
            ),
            commit_items: add.add(
                "k_webhooks_commit_items",
                "How many events, deliveries or outcomes shared a transaction",
                Series::new(commits().map(|word| ([("operation", word)], Histogram::new(GROUP_SIZES)))),
            ),
            commit_duration: add.add(
                "k_webhooks_commit_duration_seconds",
                "How long a transaction took, its wait for the database included",
                Series::new(commits().map(|word| ([("operation", word)], Histogram::new(REQUEST_TIMES)))),
            ),
            commit_failures: add.add(
                "k_webhooks_commit_failures",
                "Transactions that failed; all but accept are tried again",
                Series::of_words("operation", commits()),
            ),
            upkeep_succeeded: add.add(
                "k_webhooks_upkeep_last_success_timestamp_seconds",
                "When this process last finished a part of the upkeep, in unix seconds; 0 before its first",
                Series::of_words("part", parts()),
            ),
            upkeep_rows: add.add(
                "k_webhooks_upkeep_rows",
                "Rows that the upkeep removed or changed",
                Series::of_words("part", parts()),
            ),
            upkeep_failures: add.add(
                "k_webhooks_upkeep_failures",
                "Runs of the upkeep that failed",
                Series::of_words("part", parts()),
            ),
            spans: add.add(
                "k_webhooks_spans",
                "Spans of traces, by what became of them",
                Series::of_words("outcome", SpanEnd::ALL.iter().map(|end| end.as_str())),
            ),
            listeners,
            states: States::register(add, pools),
            registry: registrar.0,
        }
    }

    /// An event was accepted.
    pub fn accepted(&self, accepted: &Accepted) {
        if accepted.replayed {
            self.events_replayed.inc();
        } else {
            self.events_accepted[accepted.event.event_type as usize].inc();
        }
    }

    /// An attempt was recorded, which `decides` how its delivery stands.
    pub fn attempted(&self, result: &AttemptResult, decides: bool) {
        let attempt = &result.attempt;
        let failed = attempt.failure_code.is_some();
        let duration = Duration::from_millis(attempt.duration_ms.unsigned_abs());
        self.attempts[attempt.failure_code.map_or(0, |code| code as usize + 1)].inc();
        self.attempt_duration[usize::from(failed)].observe(duration);
        let made_at = result.delivery_id.made_at();
        let delay = attempt.started_at.since(made_at);
        if attempt.number == 1 {
            self.first_attempt_delay.observe(delay);
        }
        match result.verdict {
            _ if !decides => {}
            Verdict::Succeeded => {
                self.deliveries_finished[0].inc();
                self.delivery_latency.observe(delay + duration);
            }
            Verdict::Abandon(reason) => drop(self.deliveries_finished[reason as usize + 1].inc()),
            Verdict::RetryAt(_) => {}
        }
    }

    /// Deliveries followed their endpoint.
    pub fn settled(&self, settled: Settled) {
        if let Some((reason, count)) = settled.abandoned {
            self.abandoned(reason, count.into());
        }
    }

    /// Deliveries were abandoned, by no attempt.
    pub fn abandoned(&self, reason: AbandonedReason, count: u64) {
        self.deliveries_finished[reason as usize + 1].inc_by(count);
    }

    /// A transaction of so many took so long.
    pub fn committed(&self, commit: Commit, items: usize, took: Duration) {
        self.commit_items[commit as usize].observe_count(items);
        self.commit_duration[commit as usize].observe(took);
    }

    /// A transaction failed.
    pub fn commit_failed(&self, commit: Commit) {
        self.commit_failures[commit as usize].inc();
    }

    /// A part of the upkeep is done, and changed so many rows.
    pub fn upkept(&self, part: Upkeep, rows: u64, now: UnixMs) {
        self.upkeep_succeeded[part as usize].set(state::seconds(now));
        self.upkeep_rows[part as usize].inc_by(rows);
    }

    /// A part of the upkeep failed.
    pub fn upkeep_failed(&self, part: Upkeep) {
        self.upkeep_failures[part as usize].inc();
    }

    /// So many spans came to this end.
    pub fn spans_ended(&self, end: SpanEnd, count: usize) {
        self.spans[end as usize].inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// What a listener counts.
    #[must_use]
    pub fn listener(&self, listener: Listener) -> &Listening {
        &self.listeners[listener as usize]
    }

    /// Shows how things stand, until it is told otherwise.
    pub fn show(&self, state: &State) {
        self.states.show(state);
    }

    /// All of it as text, in `OpenMetrics` or in the format before it.
    pub fn text(&self, open_metrics: bool) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(if open_metrics { text } else { exposition::plain(&text) })
    }
}

/// What an attempt can come to, a success first.
fn outcomes() -> impl Iterator<Item = &'static str> {
    ["succeeded"].into_iter().chain(FailureCode::ALL.iter().map(|code| code.as_str()))
}

/// How a delivery can end, a success first.
fn ends() -> impl Iterator<Item = &'static str> {
    ["succeeded"].into_iter().chain(AbandonedReason::ALL.iter().map(|reason| reason.as_str()))
}

fn commits() -> impl Iterator<Item = &'static str> {
    Commit::ALL.iter().map(|commit| commit.as_str())
}

fn parts() -> impl Iterator<Item = &'static str> {
    Upkeep::ALL.iter().map(|part| part.name())
}
