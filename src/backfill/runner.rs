//! Has backfills go on: a step of each in turn, and a wait.
//!
//! Every worker looks for itself which backfills run, so any of them takes over from one that died; a step that two take at
//! the same time is made by one. The deliveries that a step makes are due, and the dispatcher finds them as it finds all
//! due work.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::Next;
use crate::{
    clock::{Clock, UnixMs},
    dispatcher::{DEAF_POLL, Dispatcher},
    id::BackfillId,
    store::{News, Result, Store},
};

/// How soon it is seen that deliveries in hand were answered: eight each time is more than the quickest backfill makes.
const ANSWERS_POLL: Duration = Duration::from_millis(50);

/// The same where nothing was answered for as many looks.
const PATIENCE: u32 = 20;
const PATIENT_POLL: Duration = Duration::from_millis(500);

/// After a failed look, so that a database that is away is not hammered.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

/// Backfills whose ids are read at once.
const BATCH: u32 = 100;

/// Steps of backfills; clones share it.
#[derive(Clone)]
pub struct Backfills(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Clock,
    dispatcher: Dispatcher,
    /// How often backfills are looked for without having been told of one, while this process hears the others.
    poll: Duration,
    /// What the other processes are to be told.
    news: mpsc::UnboundedSender<News>,
    /// Whether this process has backfills go on.
    runs: AtomicBool,
    /// Whether backfills may begin that this process does not hear of.
    deaf: AtomicBool,
    wake: Notify,
    /// One round at a time, the loop's or the test clock's. Holds how many deliveries were made in all.
    made: Mutex<u64>,
}

/// What a round over all backfills came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Deliveries made since the process began.
    pub made_in_all: u64,
    /// Deliveries made in this round.
    pub made: u64,
    /// Whether one can go on at once.
    pub more: bool,
    /// When one may go on.
    pub next_at: Option<UnixMs>,
    /// Whether one waits for answers.
    pub waits: bool,
}

impl Backfills {
    /// Backfills of `store`, which make nothing until [`Backfills::run`] or [`Backfills::round`].
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        dispatcher: Dispatcher,
        poll: Duration,
        news: mpsc::UnboundedSender<News>,
    ) -> Self {
        Self(Arc::new(Inner {
            // On a file, where nobody tells of what the command line begins, a look costs some microseconds.
            deaf: AtomicBool::new(!store.allows_many_workers()),
            store,
            clock,
            dispatcher,
            poll,
            news,
            runs: AtomicBool::new(false),
            wake: Notify::new(),
            made: Mutex::new(0),
        }))
    }

    /// A backfill was begun or may go on: whoever works sees to it.
    pub fn may_go_on(&self) {
        if self.0.runs.load(Ordering::SeqCst) {
            self.wake();
        } else {
            // Whoever passes it on outlives the handlers.
            let _ = self.0.news.send(News::Backfill);
        }
    }

    /// Looks for backfills that may go on.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Whether this process hears the others from now on. What they told while it did not is looked for.
    pub fn hears_others(&self, hears: bool) {
        self.0.deaf.store(!hears, Ordering::SeqCst);
        self.wake();
    }

    /// Has backfills go on until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        self.0.runs.store(true, Ordering::SeqCst);
        let mut unanswered = 0;
        while !stop.is_cancelled() {
            // While this looks, what begins wakes it again: `notify_one` leaves a permit for the wait.
            let began = Instant::now();
            let round = self.round().await;
            // At most half of the time on one connection, however many there are.
            let rest = began.elapsed();
            let (wait, next_at) = match round {
                Ok(Round { more: true, .. }) => (rest, None),
                Ok(round) if round.waits => {
                    unanswered = if round.made == 0 { unanswered + 1 } else { 0 };
                    let poll = if unanswered < PATIENCE { ANSWERS_POLL } else { PATIENT_POLL };
                    (poll.max(rest), round.next_at)
                }
                Ok(round) => (self.poll(), round.next_at),
                Err(error) => {
                    tracing::warn!(%error, "backfills wait for the database");
                    (PAUSE_AFTER_ERROR, None)
                }
            };
            let due = async {
                match next_at {
                    Some(at) => self.0.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.0.wake.notified() => {}
                // Running out of time is the poll.
                _ = tokio::time::timeout(wait, due) => {}
            }
        }
    }

    fn poll(&self) -> Duration {
        if self.0.deaf.load(Ordering::SeqCst) { DEAF_POLL } else { self.0.poll }
    }

    /// Has every backfill take one step.
    pub async fn round(&self) -> Result<Round> {
        let mut made_in_all = self.0.made.lock().await;
        let (mut round, mut after) = (Round::default(), None);
        loop {
            let ids = self.0.store.running_backfills(after, BATCH).await?;
            after = ids.last().copied().filter(|_| ids.len() == BATCH as usize);
            for id in ids {
                match self.step(id, &mut round).await {
                    Err(error) if error.passes() => return Err(error),
                    // One that cannot be read must not keep the others from going on.
                    Err(error) => tracing::error!(%error, backfill = %id, "a backfill cannot go on"),
                    Ok(made) => *made_in_all += u64::from(made),
                }
            }
            if after.is_none() {
                break;
            }
        }
        round.made_in_all = *made_in_all;
        Ok(round)
    }

    async fn step(&self, id: BackfillId, round: &mut Round) -> Result<u32> {
        let _busy = self.0.dispatcher.busy();
        let stepped = self.0.store.step_backfill(id, self.0.clock.now()).await?;
        if stepped.made > 0 {
            round.made += u64::from(stepped.made);
            self.0.dispatcher.made_due();
        }
        match stepped.next {
            Next::AtOnce => round.more = true,
            Next::At(at) => round.next_at = Some(round.next_at.map_or(at, |next| next.min(at))),
            Next::WhenAnswered => round.waits = true,
            Next::Never => {}
        }
        Ok(stepped.made)
    }
}
