//! Has backfills go on: a step of each in turn, and a wait.
//!
//! Every worker looks for itself which backfills run, so any of them takes over from one that died; a step that two take at
//! the same time is made by one. The deliveries that a step makes are due, and the dispatcher finds them as it finds all
//! due work.

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::Next;
use crate::{
    clock::{Clock, UnixMs},
    dispatcher::Dispatcher,
    id::BackfillId,
    store::{Result, Store},
};

/// How often backfills are looked for that were begun or set to run again, here or by another process.
const POLL: Duration = Duration::from_millis(500);

/// How soon it is seen that deliveries in hand were answered: eight each time is more than the quickest backfill makes.
const ANSWERS_POLL: Duration = Duration::from_millis(50);

/// The same where nothing was answered for as many looks.
const PATIENCE: u32 = 20;

/// Backfills whose ids are read at once.
const BATCH: u32 = 100;

/// Steps of backfills; clones share it.
#[derive(Clone)]
pub struct Backfills(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Clock,
    dispatcher: Dispatcher,
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
    /// When a backfill may go on.
    pub next_at: Option<UnixMs>,
    /// Whether one waits for answers.
    pub waits: bool,
}

impl Backfills {
    /// Backfills of `store`, which make nothing until [`Backfills::run`] or [`Backfills::round`].
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock, dispatcher: Dispatcher) -> Self {
        Self(Arc::new(Inner { store, clock, dispatcher, made: Mutex::new(0) }))
    }

    /// Has backfills go on until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut unanswered = 0;
        while !stop.is_cancelled() {
            let (wait, next_at) = match self.round().await {
                Ok(round) => {
                    unanswered = if round.waits && round.made == 0 { unanswered + 1 } else { 0 };
                    let wait = if round.waits && unanswered < PATIENCE { ANSWERS_POLL } else { POLL };
                    (wait, round.next_at)
                }
                Err(error) => {
                    tracing::warn!(%error, "backfills wait for the database");
                    (POLL, None)
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
                // Running out of time is the poll.
                _ = tokio::time::timeout(wait, due) => {}
            }
        }
    }

    /// Has every backfill make what it may now.
    pub async fn round(&self) -> Result<Round> {
        let mut made_in_all = self.0.made.lock().await;
        let (before, mut round, mut after) = (*made_in_all, Round::default(), None);
        loop {
            let ids = self.0.store.running_backfills(after, BATCH).await?;
            after = ids.last().copied().filter(|_| ids.len() == BATCH as usize);
            for id in ids {
                match self.go_on(id, &mut made_in_all, &mut round).await {
                    Err(error) if error.passes() => return Err(error),
                    // One that cannot be read must not keep the others from going on.
                    Err(error) => tracing::error!(%error, backfill = %id, "a backfill cannot go on"),
                    Ok(()) => {}
                }
            }
            if after.is_none() {
                break;
            }
        }
        (round.made_in_all, round.made) = (*made_in_all, *made_in_all - before);
        Ok(round)
    }

    async fn go_on(&self, id: BackfillId, made: &mut u64, round: &mut Round) -> Result<()> {
        loop {
            let stepped = {
                let _busy = self.0.dispatcher.busy();
                self.0.store.step_backfill(id, self.0.clock.now()).await?
            };
            if stepped.made > 0 {
                *made += u64::from(stepped.made);
                self.0.dispatcher.made_due();
            }
            match stepped.next {
                // The others have their turn first.
                Next::AtOnce if stepped.made > 0 => round.waits = true,
                Next::AtOnce => continue,
                Next::At(at) => round.next_at = Some(round.next_at.map_or(at, |next| next.min(at))),
                Next::WhenAnswered => round.waits = true,
                Next::Never => {}
            }
            return Ok(());
        }
    }
}
