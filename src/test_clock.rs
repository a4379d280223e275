//! The test clock as users drive it: `advance` walks through every due time on the way and settles each.

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;

use crate::{
    backfill::Backfills,
    clock::{Clock, UnixMs},
    dispatcher::Dispatcher,
    maintenance::Maintenance,
    pulse::Pulse,
    statistics::Statistics,
    store::{Result, Store},
};

/// Where the store keeps the test clock's time, so that a restart does not go back in time.
const SETTING: &str = "test_clock_now_ms";

/// Moves the service's clock; clones share it.
#[derive(Clone)]
pub struct TestClock {
    clock: Clock,
    store: Arc<dyn Store>,
    dispatcher: Dispatcher,
    backfills: Backfills,
    maintenance: Arc<Maintenance>,
    statistics: Arc<Statistics>,
    pulse: Arc<Pulse>,
    /// How many attempts have been told of; held by the advance under way.
    told: Arc<Mutex<u64>>,
}

/// What an advance came to.
#[derive(Clone, Copy, Debug)]
pub struct Advanced {
    /// The time it is now.
    pub now: UnixMs,
    /// How many attempts were made and recorded since the advance before: on the way, and those of events that were
    /// accepted in between, which are attempted at once.
    pub attempts: u64,
}

impl TestClock {
    /// The clock to run the service on: it stands where it last stood, or at `started_at`.
    pub async fn resume(store: &dyn Store, started_at: UnixMs) -> Result<Clock> {
        let stood =
            store.setting(SETTING).await?.and_then(|text| text.parse().ok()).map_or(started_at, UnixMs);
        Ok(Clock::manual(stood.max(started_at)))
    }

    /// Drives `clock`, which must be the manual clock of everything given here.
    #[must_use]
    pub fn new(
        clock: Clock,
        store: Arc<dyn Store>,
        dispatcher: Dispatcher,
        backfills: Backfills,
        maintenance: Arc<Maintenance>,
        statistics: Arc<Statistics>,
        pulse: Arc<Pulse>,
    ) -> Self {
        let told = Arc::new(Mutex::new(0));
        Self { clock, store, dispatcher, backfills, maintenance, statistics, pulse, told }
    }

    /// The time it is.
    #[must_use]
    pub fn now(&self) -> UnixMs {
        self.clock.now()
    }

    /// Moves on by `by`, stopping at every due time, and returns when all that fell due has been attempted and recorded.
    pub async fn advance(&self, by: Duration) -> Result<Advanced> {
        let mut told = self.told.lock().await;
        let until = self.clock.now().plus(by);
        let mut made_in_all = None;
        loop {
            let due = self.dispatcher.finish_due().await?;
            let round = self.backfills.round().await?;
            // What a backfill made, here or in the loop beside this one, is due at this instant too.
            if made_in_all.replace(round.made_in_all) != Some(round.made_in_all) || round.more {
                continue;
            }
            let next = [due, round.next_at].into_iter().flatten().min();
            let now = self.clock.now();
            if now >= until {
                break;
            }
            let to = next.map_or(until, |due| due.clamp(now, until));
            self.store.put_setting(SETTING, &to.to_string()).await?;
            self.clock.set(to);
        }
        self.statistics.write().await?;
        self.pulse.beat().await?;
        self.maintenance.run_all().await?;
        // The upkeep tells operators of what was abandoned.
        self.dispatcher.finish_due().await?;
        let attempts = self.dispatcher.attempts_recorded() - *told;
        *told += attempts;
        Ok(Advanced { now: self.clock.now(), attempts })
    }
}
