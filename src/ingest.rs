//! Group commit of accepted events: all requests that arrive while one commit is under way share the next.
//!
//! There is no timer: a lone request commits at once. An answer is given only after the commit, so a 2xx is a promise;
//! the deliveries are then handed straight to the dispatcher, with their leases, and not read back.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use crate::{
    clock::Clock,
    dispatcher::Dispatcher,
    event::NewEvent,
    store::{Accepted, IdempotencyConflict, Store, StoreError},
};

/// How long an idempotency key is remembered.
pub const IDEMPOTENCY_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// Events in one transaction. A batch request goes in whole, so a transaction can hold as many more.
const EVENTS_PER_COMMIT: usize = 512;

/// Hands events to the ingest loop; clones share it.
#[derive(Clone, Debug)]
pub struct Ingest {
    requests: mpsc::Sender<Request>,
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

struct Request {
    events: Vec<NewEvent>,
    answer: oneshot::Sender<Answer>,
}

/// The loop that commits. It ends when every [`Ingest`] is gone.
pub struct Batcher {
    requests: mpsc::Receiver<Request>,
    store: Arc<dyn Store>,
    clock: Clock,
    dispatcher: Dispatcher,
}

impl Ingest {
    /// The handle and the loop behind it. At most `queue_max` requests wait.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        dispatcher: Dispatcher,
        queue_max: usize,
    ) -> (Self, Batcher) {
        let (sender, requests) = mpsc::channel(queue_max);
        (Self { requests: sender }, Batcher { requests, store, clock, dispatcher })
    }

    /// Accepts events, all or none, and answers when they are on disk.
    pub async fn accept(&self, events: Vec<NewEvent>) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(Request { events, answer }).map_err(|_| IngestError::Overloaded)?;
        answered.await.unwrap_or(Err(IngestError::Overloaded))
    }
}

impl Batcher {
    /// Commits requests for as long as there can be any.
    pub async fn run(mut self) {
        while let Some(first) = self.requests.recv().await {
            let mut events = first.events.len();
            let mut requests = vec![first];
            while events < EVENTS_PER_COMMIT
                && let Ok(request) = self.requests.try_recv()
            {
                events += request.events.len();
                requests.push(request);
            }
            self.commit(requests).await;
        }
    }

    async fn commit(&mut self, requests: Vec<Request>) {
        let (groups, answers): (Vec<_>, Vec<_>) =
            requests.into_iter().map(|request| (request.events, request.answer)).unzip();
        // The test clock must not move between a commit and the hand-over of what was leased in it.
        let _busy = self.dispatcher.busy();
        match self.accept(&groups).await {
            Ok(outcomes) => {
                for (outcome, answer) in outcomes.into_iter().zip(answers) {
                    self.conclude(outcome, answer);
                }
            }
            // A request that the database refuses must not fail those that happened to wait beside it.
            Err(StoreError::Refused(_) | StoreError::Inconsistent { .. }) if groups.len() > 1 => {
                for (group, answer) in groups.into_iter().zip(answers) {
                    match self.accept(&[group]).await {
                        Ok(mut outcomes) => self.conclude(outcomes.pop().unwrap_or(Ok(Vec::new())), answer),
                        Err(error) => drop(answer.send(Err(error.into()))),
                    }
                }
            }
            Err(error) => {
                for answer in answers {
                    drop(answer.send(Err(error.clone().into())));
                }
                // Those that waited meanwhile are not made to wait for the same again.
                while let Ok(request) = self.requests.try_recv() {
                    drop(request.answer.send(Err(error.clone().into())));
                }
            }
        }
    }

    async fn accept(
        &self,
        groups: &[Vec<NewEvent>],
    ) -> Result<Vec<Result<Vec<Accepted>, IdempotencyConflict>>, StoreError> {
        let now = self.clock.now();
        let offer = self.dispatcher.offer(now);
        self.store.accept(groups, offer.as_ref(), now.plus(IDEMPOTENCY_RETENTION), now).await
    }

    /// Hands over the deliveries, then answers. A caller that has gone away changes nothing: its events are stored.
    fn conclude(&self, outcome: Result<Vec<Accepted>, IdempotencyConflict>, answer: oneshot::Sender<Answer>) {
        let outcome = outcome.map(|mut accepted| {
            for accepted in &mut accepted {
                self.dispatcher.take(std::mem::take(&mut accepted.leased));
                self.dispatcher.left_due(&accepted.left_due);
            }
            accepted
        });
        drop(answer.send(outcome.map_err(|IdempotencyConflict { index }| IngestError::Conflict { index })));
    }
}
