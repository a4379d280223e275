//! Stores outcomes: all that gathered while one commit was under way go into the next.

use std::{
    collections::BTreeSet,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::Dispatcher;
use crate::{
    delivery::{AbandonedReason, AttemptResult, Verdict},
    id::{DeliveryId, LeaseToken},
    metrics::Commit,
    store::{Recorded, Recording},
};

/// What became of a delivery in hand.
pub(super) enum Note {
    /// It was attempted.
    Attempted(Box<AttemptResult>),
    /// It left the lane unsent, and its lease goes back.
    Unsent(DeliveryId, LeaseToken),
    /// It had its turn and was not attempted to the end, and its lease goes back.
    Unattempted(DeliveryId, LeaseToken),
}

/// Outcomes in one transaction.
const BATCH_MAX: usize = 256;

/// Between tries to store outcomes while the database is away.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The part of the dispatcher that writes.
pub struct Recorder {
    dispatcher: Dispatcher,
    notes: mpsc::UnboundedReceiver<Note>,
}

impl Recorder {
    pub(super) fn new(dispatcher: Dispatcher, notes: mpsc::UnboundedReceiver<Note>) -> Self {
        Self { dispatcher, notes }
    }

    /// Stores outcomes for as long as the process lives.
    pub async fn run(mut self) {
        let mut notes = Vec::with_capacity(BATCH_MAX);
        while self.notes.recv_many(&mut notes, BATCH_MAX).await > 0 {
            self.store(&mut notes).await;
        }
    }

    async fn store(&self, notes: &mut Vec<Note>) {
        let count = notes.len();
        let (mut results, mut unsent, mut begun) = (Vec::with_capacity(count), Vec::new(), 0);
        for note in notes.drain(..) {
            match note {
                Note::Attempted(result) => {
                    begun += 1;
                    results.push(*result);
                }
                Note::Unsent(id, lease) => unsent.push((id, lease)),
                Note::Unattempted(id, lease) => {
                    begun += 1;
                    unsent.push((id, lease));
                }
            }
        }
        if !results.is_empty() {
            self.record(&results).await;
        }
        let released = !unsent.is_empty();
        if released {
            self.release(&unsent).await;
        }
        let claim = self.dispatcher.lanes().recorded(begun);
        self.dispatcher.send_ready();
        if claim || released {
            self.dispatcher.wake();
        }
        self.dispatcher.0.activity.end(count);
    }

    async fn release(&self, unsent: &[(DeliveryId, LeaseToken)]) {
        let (store, metrics) = (&self.dispatcher.0.store, &self.dispatcher.0.metrics);
        loop {
            let begun_at = Instant::now();
            let released = store.release(unsent).await;
            match released.inspect_err(|_| metrics.commit_failed(Commit::Release)) {
                Ok(()) => return metrics.committed(Commit::Release, unsent.len(), begun_at.elapsed()),
                Err(error) if error.passes() => tokio::time::sleep(RETRY_PAUSE).await,
                Err(error) => {
                    tracing::error!(%error, "leases cannot be given back; they lapse");
                    return;
                }
            }
        }
    }

    /// Tries until the database answers: an outcome that was seen is not forgotten while the process lives.
    async fn record(&self, results: &[AttemptResult]) {
        let inner = &self.dispatcher.0;
        let mut told = false;
        loop {
            let begun_at = Instant::now();
            let recorded = inner.store.record(results, inner.limits.failing, inner.clock.now()).await;
            match recorded.inspect_err(|_| inner.metrics.commit_failed(Commit::Record)) {
                Ok(recorded) => {
                    inner.metrics.committed(Commit::Record, results.len(), begun_at.elapsed());
                    self.recorded(results, recorded);
                    inner.feed.recorded(results.iter());
                    return;
                }
                Err(error) if error.passes() => {
                    if !told {
                        tracing::warn!(%error, outcomes = results.len(), "outcomes wait for the database");
                        told = true;
                    }
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(error) if results.len() == 1 => {
                    let delivery = results[0].delivery_id;
                    tracing::error!(%error, %delivery, "an outcome cannot be stored; the delivery is tried again");
                    return;
                }
                // One outcome that cannot be stored must not take the others with it.
                Err(_) => {
                    for result in results {
                        Box::pin(self.record(std::slice::from_ref(result))).await;
                    }
                    return;
                }
            }
        }
    }

    fn recorded(&self, results: &[AttemptResult], recording: Recording) {
        let inner = &self.dispatcher.0;
        let Recording { outcomes, disabled, told } = recording;
        for (endpoint, reason) in &disabled {
            tracing::warn!(%endpoint, reason = reason.as_str(), "the endpoint is disabled");
        }
        let mut disabled: BTreeSet<_> = disabled.into_keys().collect();
        let results = || results.iter().zip(&outcomes);
        let written = results().filter(|(_, recorded)| **recorded != Recorded::LeaseLost);
        inner.statistics.count(written.map(|(result, recorded)| (result, *recorded == Recorded::Written)));
        for (result, recorded) in results() {
            let (delivery, attempt) = (result.delivery_id, result.attempt.number);
            match recorded {
                Recorded::LeaseLost => {
                    inner.metrics.leases_lost.inc();
                    tracing::warn!(%delivery, attempt, "an outcome came after its lease was lost");
                }
                Recorded::Written | Recorded::Overtaken => {
                    inner.attempts_recorded.fetch_add(1, Ordering::SeqCst);
                    inner.metrics.attempted(result, *recorded == Recorded::Written);
                    match &result.attempt.failure_code {
                        None => tracing::debug!(%delivery, attempt, "delivered"),
                        Some(code) => {
                            tracing::info!(%delivery, attempt, failure = code.as_str(), "attempt failed");
                        }
                    }
                    match result.verdict {
                        Verdict::RetryAt(at) => self.dispatcher.due_at(at),
                        // Also where an answer to the commit was lost, so that this is not the first try.
                        Verdict::Abandon(AbandonedReason::Gone) => drop(disabled.insert(result.endpoint_id)),
                        Verdict::Abandon(_) | Verdict::Succeeded => {}
                    }
                }
            }
        }
        for endpoint in disabled {
            self.dispatcher.follow_disabled_endpoint(endpoint);
        }
        if told {
            self.dispatcher.made_due();
        }
    }
}
