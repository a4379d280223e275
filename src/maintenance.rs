//! What keeps the database small and tidy: pruning, expiring, sweeping. Every run is bounded and can be repeated.
//!
//! tokio-cron-scheduler only says when. Its runs of one schedule may overlap, so each begins with a `try_lock`; of several
//! processes on one database, one takes the turn.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::{
    clock::Clock,
    delivery::AbandonedReason,
    dispatcher::Dispatcher,
    metrics::Metrics,
    operational::{OperationalType, Told},
    pulse::{SHOWN_FOR, TallyLength},
    statistics::Length,
    store::{Result, Store},
};

/// What one transaction removes or changes at most.
const BATCH_MAX: u32 = 500;

/// What one removes or changes at least, and with how many a run begins: each has a sync of the disk to itself.
const BATCH_MIN: u32 = 4;

/// How long a transaction may take, so that no request notices the wait. One that takes longer is followed by one of half
/// the size: an event is removed with all its deliveries, which may be many.
const BATCH_TIME: Duration = Duration::from_millis(3);

/// How long a run repeats its batches; what is left waits for the next run.
const RUN_MAX: Duration = Duration::from_secs(45);

/// What retention is behind by at most before it hurries.
const LATE: Duration = Duration::from_secs(60 * 60);

/// After a batch, and before the next, the upkeep rests so many times as long as the batch took: requests and deliveries
/// have nine tenths of the database's time, or three quarters while it hurries. The disk is what they share: on SQLite, p99
/// from publish to receipt is twice the quiet one at the first pace, and up to four times at the second.
#[derive(Clone, Copy)]
enum Pace {
    Gentle = 9,
    Hurried = 3,
}

/// How long a turn is kept from other processes while it lasts. Should one outlast it, two processes do the same for a
/// while, which is wasteful and does no harm.
const TURN: Duration = Duration::from_secs(120);

/// A part of the upkeep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Removes events, backfills, entries of the audit log and statistics past their retention, and endpoints deleted
    /// before; makes statistics coarser as they age.
    Prune,
    /// Removes idempotency records, signing secrets, API keys, sessions and processes that have ended.
    Expire,
    /// Brings deliveries in line with their endpoints, abandons held ones whose window has closed, and tells operators of
    /// all that were abandoned.
    Sweep,
}

impl Upkeep {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Prune, Self::Expire, Self::Sweep];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prune => "prune",
            Self::Expire => "expire",
            Self::Sweep => "sweep",
        }
    }

    /// Half of the time between two runs: after one process has had a turn, no other takes one of the same round.
    fn rest(self) -> Duration {
        match self {
            Self::Expire => Duration::from_secs(5 * 60),
            Self::Prune | Self::Sweep => Duration::from_secs(30),
        }
    }

    /// How often it runs.
    #[must_use]
    pub fn every(self) -> Duration {
        2 * self.rest()
    }

    /// When it runs: second, minute, hour, day of month, month, day of week.
    fn schedule(self) -> &'static str {
        match self {
            // Often, so that what a busy hour brought is gone an hour later too.
            Self::Prune => "0 * * * * *",
            Self::Expire => "0 */10 * * * *",
            Self::Sweep => "30 * * * * *",
        }
    }
}

/// Runs the upkeep.
pub struct Maintenance {
    store: Arc<dyn Store>,
    clock: Clock,
    dispatcher: Dispatcher,
    retention: Duration,
    window: Duration,
    told: Told,
    metrics: Arc<Metrics>,
    running: [Mutex<()>; Upkeep::ALL.len()],
}

impl Maintenance {
    /// Upkeep of `store`: events are kept for `retention`, deliveries are held no longer than `window`, and of what is
    /// abandoned those events are made that are `told`.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        dispatcher: Dispatcher,
        retention: Duration,
        window: Duration,
        told: Told,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            store,
            clock,
            dispatcher,
            retention,
            window,
            told,
            metrics,
            running: [const { Mutex::const_new(()) }; Upkeep::ALL.len()],
        }
    }

    /// Does all of it now; waits for a run that is under way.
    pub async fn run_all(&self) -> Result<()> {
        for upkeep in Upkeep::ALL {
            let _running = self.running[upkeep as usize].lock().await;
            self.run(upkeep).await?;
        }
        Ok(())
    }

    /// Starts the schedules; the answer ends them when shut down.
    pub async fn start(self: Arc<Self>) -> std::result::Result<JobScheduler, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        for upkeep in Upkeep::ALL {
            let maintenance = Arc::clone(&self);
            let run = move |_, _| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
                let maintenance = Arc::clone(&maintenance);
                Box::pin(async move { maintenance.run_unless_running(upkeep).await })
            };
            scheduler.add(Job::new_async(upkeep.schedule(), run)?).await?;
        }
        scheduler.start().await?;
        Ok(scheduler)
    }

    async fn run_unless_running(&self, upkeep: Upkeep) {
        let Ok(_running) = self.running[upkeep as usize].try_lock() else { return };
        match self.take_turn(upkeep).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(?upkeep, rows, "upkeep"),
            Err(error) => {
                self.metrics.upkeep_failed(upkeep);
                tracing::warn!(?upkeep, %error, "upkeep waits for its next run");
            }
        }
    }

    /// One run, unless another process has the turn.
    async fn take_turn(&self, upkeep: Upkeep) -> Result<u64> {
        let now = self.clock.now();
        if !self.store.take_upkeep_turn(upkeep.name(), now.plus(TURN), now).await? {
            return Ok(0);
        }
        let rows = self.run(upkeep).await?;
        self.store.end_upkeep_turn(upkeep.name(), now.plus(upkeep.rest()), self.clock.now()).await?;
        Ok(rows)
    }

    /// One run; answers how many rows it removed or changed.
    async fn run(&self, upkeep: Upkeep) -> Result<u64> {
        let rows = self.rows_of(upkeep).await?;
        self.metrics.upkept(upkeep, rows, self.clock.now());
        Ok(rows)
    }

    async fn rows_of(&self, upkeep: Upkeep) -> Result<u64> {
        let (store, now) = (&self.store, self.clock.now());
        let until = Instant::now() + RUN_MAX;
        match upkeep {
            Upkeep::Prune => {
                let before = now.minus(self.retention);
                let late = before.minus(LATE);
                let mut rows =
                    in_batches(Pace::Hurried, until, |limit| store.prune_events(late, limit)).await?;
                rows += in_batches(Pace::Gentle, until, |limit| store.prune_events(before, limit)).await?;
                let audit = |limit| store.prune_audit_entries(before, limit);
                rows += in_batches(Pace::Gentle, until, audit).await?;
                rows += in_batches(Pace::Gentle, until, |limit| store.prune_backfills(before, limit)).await?;
                rows += in_batches(Pace::Gentle, until, |limit| store.purge_deleted_endpoints(limit)).await?;
                for length in Length::ALL {
                    let Some((_, age)) = length.rolled_up() else { continue };
                    let before = now.minus(age);
                    let roll_up = |limit| store.roll_up_statistics(length, before, limit);
                    rows += in_batches(Pace::Gentle, until, roll_up).await?;
                }
                // The bucket is kept that retention ends in.
                let before = Length::Day.floor(before);
                let statistics = |limit| store.prune_statistics(before, limit);
                rows += in_batches(Pace::Gentle, until, statistics).await?;
                let kept = [now.minus(TallyLength::SHORT_KEPT), before];
                for (length, before) in TallyLength::ALL.into_iter().zip(kept) {
                    let tallies = |limit| store.prune_tallies(length, before, limit);
                    rows += in_batches(Pace::Gentle, until, tallies).await?;
                }
                Ok(rows)
            }
            Upkeep::Expire => {
                let keys = |limit| store.expire_idempotency_keys(limit, now);
                let secrets = |limit| store.expire_secrets(limit, now);
                let sessions = |limit| store.expire_portal_sessions(limit, now);
                let mut rows = in_batches(Pace::Hurried, until, keys).await?;
                let console = |limit| store.expire_console_sessions(limit, now);
                rows += in_batches(Pace::Hurried, until, secrets).await?;
                rows += in_batches(Pace::Hurried, until, sessions).await?;
                rows += in_batches(Pace::Hurried, until, console).await?;
                Ok(rows + u64::from(store.expire_processes(now.minus(SHOWN_FOR)).await?))
            }
            Upkeep::Sweep => {
                let window_cut = now.minus(self.window);
                let mut rows = 0;
                for endpoint in store.unsettled_endpoints(BATCH_MAX).await? {
                    let settle = async |limit| {
                        let settled = store.settle_endpoint(endpoint, window_cut, limit, now).await?;
                        self.metrics.settled(settled);
                        Ok(settled.changed)
                    };
                    rows += in_batches(Pace::Hurried, until, settle).await?;
                    self.dispatcher.endpoint_changed(endpoint).await;
                }
                let abandon = |limit| store.abandon_held(window_cut, limit, now);
                let late = in_batches(Pace::Hurried, until, abandon).await?;
                self.metrics.abandoned(AbandonedReason::EndpointDisabled, late);
                if self.told.contains(OperationalType::DeliveryAbandoned)
                    && store.tell_of_abandoned(now).await? > 0
                {
                    self.dispatcher.made_due();
                }
                Ok(rows + late)
            }
        }
    }
}

/// Repeats a bounded operation until it finds less to do than it might, or the run has lasted long enough.
async fn in_batches<F: Future<Output = Result<u32>>>(
    pace: Pace,
    until: Instant,
    mut batch: impl FnMut(u32) -> F,
) -> Result<u64> {
    let (mut rows, mut limit) = (0, BATCH_MIN);
    loop {
        let started = Instant::now();
        let done = batch(limit).await?;
        let took = started.elapsed();
        rows += u64::from(done);
        if done < limit || Instant::now() >= until {
            return Ok(rows);
        }
        limit = if took > BATCH_TIME { (limit / 2).max(BATCH_MIN) } else { (limit * 2).min(BATCH_MAX) };
        tokio::time::sleep(took * pace as u32).await;
    }
}
