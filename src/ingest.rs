//! Group commit of accepted events: all requests that arrive while one commit is under way share the next.
//!
//! There is no timer: a lone request commits at once. An answer is given only after the commit, so a 2xx is a promise;
//! the deliveries are then handed straight to the dispatcher, with their leases, and not read back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::{
    clock::Clock,
    dispatcher::Dispatcher,
    event::NewEvent,
    metrics::{Commit, Metrics},
    store::{Accepted, IdempotencyConflict, Store, StoreError},
};

/// How long an idempotency key is remembered.
pub const IDEMPOTENCY_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// Events in one transaction. A batch request goes in whole, so a transaction can hold as many more.
const EVENTS_PER_COMMIT: usize = 512;

/// Bytes of payloads in one transaction, so that a slow disk takes it within the statement's timeout. A request goes in
/// whole, so a transaction can hold as many more.
const BYTES_PER_COMMIT: usize = 8 << 20;

/// Hands events to the ingest loop; clones share it.
#[derive(Clone, Debug)]
pub struct Ingest {
    requests: mpsc::Sender<Request>,
    /// One permit for each KiB of payload that may wait.
    waiting: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Why events were not accepted. Nothing of the request was stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IngestError {
    /// An idempotency key was used before for other content.
    #[error("the idempotency key was used before for other content")]
    Conflict {
        /// Which event of the request.
        index: usize,
    },
    /// More requests wait than may.
    #[error("too many requests wait to be stored")]
    Overloaded,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Answer = Result<Vec<Accepted>, IngestError>;

#[derive(Debug)]
struct Request {
    events: Vec<NewEvent>,
    bytes: usize,
    caller: Caller,
}

/// Who waits for the answer.
#[derive(Debug)]
struct Caller {
    answer: oneshot::Sender<Answer>,
    /// Its share of what may wait.
    _waiting: OwnedSemaphorePermit,
}

impl Caller {
    /// Answers. A caller that has gone away changes nothing: what was stored stays stored.
    fn answer(self, answer: Answer) {
        drop(self.answer.send(answer));
    }
}

/// The loop that commits. It ends when every [`Ingest`] is gone.
pub struct Batcher {
    requests: mpsc::Receiver<Request>,
    store: Arc<dyn Store>,
    clock: Clock,
    dispatcher: Dispatcher,
    metrics: Arc<Metrics>,
}

impl Ingest {
    /// The handle and the loop behind it. At most `queue_max` requests with `queue_bytes_max` bytes of payloads wait.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        dispatcher: Dispatcher,
        queue_max: usize,
        queue_bytes_max: usize,
        metrics: Arc<Metrics>,
    ) -> (Self, Batcher) {
        let (sender, requests) = mpsc::channel(queue_max);
        let waiting =
            Arc::new(Semaphore::new(kibibytes(queue_bytes_max).try_into().unwrap_or(usize::MAX >> 3)));
        let ingest = Self { requests: sender, waiting, metrics: Arc::clone(&metrics) };
        (ingest, Batcher { requests, store, clock, dispatcher, metrics })
    }

    /// Accepts events, all or none, and answers when they are on disk.
    pub async fn accept(&self, events: Vec<NewEvent>) -> Answer {
        let in_hand_at = Instant::now();
        let (answer, answered) = oneshot::channel();
        let bytes = events.iter().map(|event| event.data.len()).sum();
        let waiting = Arc::clone(&self.waiting).try_acquire_many_owned(kibibytes(bytes));
        let waiting = waiting.map_err(|_| IngestError::Overloaded)?;
        let request = Request { events, bytes, caller: Caller { answer, _waiting: waiting } };
        self.requests.try_send(request).map_err(|_| IngestError::Overloaded)?;
        let accepted = answered.await.unwrap_or(Err(IngestError::Overloaded))?;
        self.metrics.accept_duration.observe(in_hand_at.elapsed());
        Ok(accepted)
    }

    /// How many requests wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.requests.max_capacity() - self.requests.capacity()
    }
}

/// Begun ones included.
fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

impl Batcher {
    /// Commits requests for as long as there can be any.
    pub async fn run(mut self) {
        while let Some(first) = self.requests.recv().await {
            let (mut events, mut bytes) = (first.events.len(), first.bytes);
            let mut requests = vec![first];
            while events < EVENTS_PER_COMMIT
                && bytes < BYTES_PER_COMMIT
                && let Ok(request) = self.requests.try_recv()
            {
                events += request.events.len();
                bytes += request.bytes;
                requests.push(request);
            }
            self.commit(requests).await;
        }
    }

    async fn commit(&mut self, requests: Vec<Request>) {
        let (groups, callers): (Vec<_>, Vec<_>) =
            requests.into_iter().map(|request| (request.events, request.caller)).unzip();
        // The test clock must not move between a commit and the hand-over of what was leased in it.
        let _busy = self.dispatcher.busy();
        match self.accept(&groups).await {
            Ok(outcomes) => {
                for (outcome, caller) in outcomes.into_iter().zip(callers) {
                    caller.answer(concluded(outcome));
                }
            }
            // A request that the database refuses must not fail those that happened to wait beside it.
            Err(StoreError::Refused(_) | StoreError::Inconsistent { .. }) if groups.len() > 1 => {
                for (group, caller) in groups.into_iter().zip(callers) {
                    let outcomes = self.accept(&[group]).await;
                    caller.answer(match outcomes {
                        Ok(mut outcomes) => concluded(outcomes.pop().unwrap_or(Ok(Vec::new()))),
                        Err(error) => Err(error.into()),
                    });
                }
            }
            Err(error) => {
                for caller in callers {
                    caller.answer(Err(error.clone().into()));
                }
                // Those that waited meanwhile are not made to wait for the same again.
                while let Ok(request) = self.requests.try_recv() {
                    request.caller.answer(Err(error.clone().into()));
                }
            }
        }
    }

    /// Has the groups stored and hands over the deliveries that were leased.
    async fn accept(
        &self,
        groups: &[Vec<NewEvent>],
    ) -> Result<Vec<Result<Vec<Accepted>, IdempotencyConflict>>, StoreError> {
        let now = self.clock.now();
        let offer = self.dispatcher.offer(now);
        let leases = offer.as_ref().map(|offer| &offer.leases);
        let begun_at = Instant::now();
        let outcomes = self.store.accept(groups, leases, now.plus(IDEMPOTENCY_RETENTION), now).await;
        let mut outcomes = outcomes.inspect_err(|_| self.metrics.commit_failed(Commit::Accept))?;
        self.metrics.committed(Commit::Accept, groups.iter().map(Vec::len).sum(), begun_at.elapsed());
        let (mut leased, mut left_due) = (Vec::new(), Vec::new());
        for accepted in outcomes.iter_mut().flatten().flatten() {
            self.metrics.accepted(accepted);
            leased.append(&mut accepted.leased);
            left_due.append(&mut accepted.left_due);
        }
        if let Some(offer) = &offer {
            self.dispatcher.take(leased, offer);
        }
        self.dispatcher.left_due(&left_due);
        self.dispatcher.feed().accepted(groups.iter().flatten().map(|event| &event.tenant));
        Ok(outcomes)
    }
}

fn concluded(outcome: Result<Vec<Accepted>, IdempotencyConflict>) -> Answer {
    outcome.map_err(|IdempotencyConflict { index }| IngestError::Conflict { index })
}
