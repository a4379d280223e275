//! What each process says of itself: every few seconds that it lives and what it has in hand, and what it has counted, so that
//! whoever operates the service sees all processes and how things went, whichever of them is asked.
//!
//! Nothing is decided by it. What a process had not said when it was killed is lost.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

pub use crate::metrics::Tally;
use crate::{
    app::{Foundation, Role},
    clock::{Clock, UnixMs},
    dispatcher::Dispatcher,
    id::ProcessId,
    ingest::Ingest,
    metrics::Metrics,
    statistics::Length,
    store::{Store, StoreError},
    words::words,
};

/// How often it says so.
const BEAT: Duration = Duration::from_secs(10);

/// After so long without a word a process is taken for gone: two of them may be late.
pub const GONE_AFTER: Duration = Duration::from_secs(35);

/// For how long a process is still shown that is gone without having said so.
pub const SHOWN_FOR: Duration = Duration::from_secs(3600);

words! {
    /// What a process does.
    ProcessRole {
        /// It answers requests and delivers.
        All "all",
        /// It answers requests.
        Api "api",
        /// It delivers.
        Worker "worker",
    }
}

impl From<Role> for ProcessRole {
    fn from(role: Role) -> Self {
        match role {
            Role::All => Self::All,
            Role::Api => Self::Api,
            Role::Worker => Self::Worker,
        }
    }
}

/// How long the buckets are in which processes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TallyLength {
    /// Kept for two days.
    FiveMinutes,
    /// Kept for as long as events are.
    Hour,
}

impl TallyLength {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::FiveMinutes, Self::Hour];

    /// For how long the short ones are kept.
    pub const SHORT_KEPT: Duration = Duration::from_secs(2 * 86_400);

    /// The longest range that is shown in short ones: in two hundred of them.
    const SHORT_SHOWN: Duration = Duration::from_secs(200 * 300);

    /// As statistics of endpoints have them.
    #[must_use]
    pub fn length(self) -> Length {
        match self {
            Self::FiveMinutes => Length::FiveMinutes,
            Self::Hour => Length::Hour,
        }
    }

    /// In which buckets a range is shown.
    #[must_use]
    pub fn showing(from: UnixMs, to: UnixMs, now: UnixMs) -> Self {
        let short = to.since(from) <= Self::SHORT_SHOWN && from >= now.minus(Self::SHORT_KEPT);
        if short { Self::FiveMinutes } else { Self::Hour }
    }
}

/// What a process has in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Load {
    /// Attempts begun and not yet recorded.
    pub in_flight: usize,
    /// How many there may be.
    pub in_flight_max: usize,
    /// Deliveries that it has leased and that wait for their turn.
    pub waiting: usize,
    /// Endpoints with deliveries in hand.
    pub lanes: usize,
    /// Of these, those that did not answer their last attempt or asked for less.
    pub lanes_troubled: usize,
    /// Requests that wait to be stored.
    pub accept_queue: usize,
    /// Live streams that are followed.
    pub streams: usize,
}

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessReport {
    /// Which it is.
    pub id: ProcessId,
    /// What it does.
    pub role: ProcessRole,
    /// Which version it is of.
    pub version: String,
    /// What its machine is called, or nothing.
    pub host: String,
    /// When it began.
    pub started_at: UnixMs,
    /// When it said so.
    pub seen_at: UnixMs,
    /// What it has in hand.
    pub load: Load,
}

/// A bucket under way: when it began, and what had been counted before.
#[derive(Clone, Debug, Default)]
struct Begun {
    starts_at: Option<UnixMs>,
    before: Tally,
}

/// What had been counted at the last beat, and the buckets under way.
#[derive(Default)]
struct Counted {
    last: Tally,
    begun: [Begun; TallyLength::ALL.len()],
}

impl Counted {
    /// What there is to write of this, at this instant: of buckets that have ended, the last of them; of those under way, what
    /// has changed.
    fn step(&mut self, tally: Tally, now: UnixMs) -> Vec<(TallyLength, UnixMs, Tally)> {
        let changed = tally != self.last;
        let mut rows = Vec::new();
        for (length, begun) in TallyLength::ALL.into_iter().zip(&mut self.begun) {
            let starts_at = length.length().floor(now);
            if begun.starts_at != Some(starts_at) {
                // What came since the last beat is counted to the bucket of this one.
                *begun = Begun { starts_at: Some(starts_at), before: self.last.clone() };
            }
            let counted = tally.since(&begun.before);
            if changed && !counted.is_empty() {
                rows.push((length, starts_at, counted));
            }
        }
        self.last = tally;
        rows
    }
}

/// Says what this process has to say.
pub struct Pulse {
    store: Arc<dyn Store>,
    clock: Clock,
    dispatcher: Dispatcher,
    ingest: Ingest,
    metrics: Arc<Metrics>,
    id: ProcessId,
    role: ProcessRole,
    host: String,
    started_at: UnixMs,
    counted: Mutex<Counted>,
    /// One says so at a time, so that no later word is followed by an earlier one.
    beating: tokio::sync::Mutex<()>,
}

impl Pulse {
    /// The pulse of a process that begins now.
    #[must_use]
    pub fn new(
        foundation: &Foundation,
        dispatcher: Dispatcher,
        ingest: Ingest,
        metrics: Arc<Metrics>,
        role: ProcessRole,
    ) -> Arc<Self> {
        let started_at = foundation.clock.now();
        Arc::new(Self {
            store: Arc::clone(&foundation.store),
            clock: foundation.clock.clone(),
            dispatcher,
            ingest,
            metrics,
            id: foundation.ids.next(started_at),
            role,
            host: host(),
            started_at,
            counted: Mutex::default(),
            beating: tokio::sync::Mutex::default(),
        })
    }

    fn load(&self) -> Load {
        let lanes = self.dispatcher.lane_use();
        Load {
            in_flight: lanes.in_flight,
            in_flight_max: lanes.in_flight_max,
            waiting: lanes.waiting,
            lanes: lanes.open + lanes.full,
            lanes_troubled: lanes.troubled,
            accept_queue: self.ingest.waiting(),
            streams: self.dispatcher.feed().streams(),
        }
    }

    /// Says it once. What could not be written of a bucket is written with the next change in it.
    pub async fn beat(&self) -> Result<(), StoreError> {
        let _beating = self.beating.lock().await;
        let now = self.clock.now();
        let report = ProcessReport {
            id: self.id,
            role: self.role,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.host.clone(),
            started_at: self.started_at,
            seen_at: now,
            load: self.load(),
        };
        let rows = {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            counted.step(self.metrics.tally(), now)
        };
        self.store.report(&report, &rows).await
    }

    /// Says it every few seconds until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut told = false;
        loop {
            match self.beat().await {
                Ok(()) => told = false,
                Err(error) if !told => {
                    tracing::warn!(%error, "the other processes do not hear of this one");
                    told = true;
                }
                Err(_) => {}
            }
            if stop.run_until_cancelled(tokio::time::sleep(BEAT)).await.is_none() {
                return;
            }
        }
    }

    /// Says what is left to say, and that the process ends.
    pub async fn end(&self) -> Result<(), StoreError> {
        self.beat().await?;
        self.store.forget_process(self.id).await
    }
}

/// What this machine is called, as far as that is known.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().chars().filter(|character| !character.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn tally(accepted: u64) -> Tally {
        serde_json::from_value(serde_json::json!({ "accepted": accepted })).unwrap()
    }

    /// What is written of each bucket: its length in minutes, its beginning, and how many events it has.
    fn step(counted: &mut Counted, accepted: u64, minute: i64) -> Vec<(i64, i64, u64)> {
        let rows = counted.step(tally(accepted), UnixMs(minute * MINUTE));
        rows.iter()
            .map(|(length, at, counts)| (length.length().ms() / MINUTE, at.0 / MINUTE, counts.accepted))
            .collect()
    }

    #[test]
    fn each_bucket_has_what_came_in_it_and_nothing_is_written_where_nothing_came() {
        let mut counted = Counted::default();
        assert_eq!(step(&mut counted, 0, 60), []);
        assert_eq!(step(&mut counted, 3, 61), [(5, 60, 3), (60, 60, 3)]);
        assert_eq!(step(&mut counted, 3, 62), []);
        assert_eq!(step(&mut counted, 5, 64), [(5, 60, 5), (60, 60, 5)]);
        assert_eq!(step(&mut counted, 5, 66), []);
        assert_eq!(step(&mut counted, 9, 69), [(5, 65, 4), (60, 60, 9)]);
        assert_eq!(step(&mut counted, 10, 121), [(5, 120, 1), (60, 120, 1)]);
    }

    #[test]
    fn a_range_is_shown_in_short_buckets_while_they_are_kept_and_few() {
        let (now, hour) = (UnixMs(1_749_651_729_000), Duration::from_secs(3600));
        for (hours, length) in
            [(1, TallyLength::FiveMinutes), (16, TallyLength::FiveMinutes), (17, TallyLength::Hour)]
        {
            assert_eq!(TallyLength::showing(now.minus(hour * hours), now, now), length, "{hours} hours");
        }
        assert_eq!(TallyLength::showing(now.minus(hour * 60), now.minus(hour * 59), now), TallyLength::Hour);
    }
}
