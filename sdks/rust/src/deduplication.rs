//! Processing each event once, although it can be delivered more than once.
//!
//! An event counts as processed when its work has ended well, not when it came: if the work fails the next delivery runs it
//! again. Two deliveries at the same time do not both run it. Only a mark and effects that are committed together make this
//! hold through a crash, so in production use a database.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

/// Work under way.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Remembers which events were processed.
pub trait Deduplicator {
    /// What the work makes its changes with: the transaction of the mark, or nothing.
    type Context: Send;
    /// Why it cannot be known or remembered.
    type Error;

    /// Runs `work` unless the event was processed before; answers whether it ran. If it fails, the event stays unprocessed
    /// and the error comes back.
    fn process_once<W, E>(&self, event_id: &str, work: W) -> impl Future<Output = Result<bool, E>> + Send
    where
        W: for<'a> FnOnce(&'a mut Self::Context) -> BoxFuture<'a, Result<(), E>> + Send,
        E: From<Self::Error> + Send;
}

/// Remembers in this process: for tests, and where running twice after a restart does no harm.
#[derive(Debug)]
pub struct MemoryDeduplicator {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Who waits for the work on an event to end.
    running: HashMap<String, Vec<Waker>>,
    processed: HashSet<String>,
    /// The same, the oldest first.
    order: VecDeque<String>,
}

impl Default for MemoryDeduplicator {
    fn default() -> Self {
        Self::new(100_000)
    }
}

impl MemoryDeduplicator {
    /// Remembers so many events; the oldest are forgotten first.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for whoever processes the event. None if that has been done.
    async fn begin<'a>(&'a self, event_id: &'a str) -> Option<Running<'a>> {
        poll_fn(|context| {
            let mut state = self.state();
            if state.processed.contains(event_id) {
                return Poll::Ready(None);
            }
            if let Some(waiting) = state.running.get_mut(event_id) {
                waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            state.running.insert(event_id.to_owned(), Vec::new());
            Poll::Ready(Some(Running { of: self, event_id }))
        })
        .await
    }
}

/// Work on an event. However it ends, nobody is left waiting.
struct Running<'a> {
    of: &'a MemoryDeduplicator,
    event_id: &'a str,
}

impl Running<'_> {
    fn processed(&self) {
        let mut state = self.of.state();
        state.processed.insert(self.event_id.to_owned());
        state.order.push_back(self.event_id.to_owned());
        if state.order.len() > self.of.capacity
            && let Some(oldest) = state.order.pop_front()
        {
            state.processed.remove(&oldest);
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let waiting = self.of.state().running.remove(self.event_id);
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Deduplicator for MemoryDeduplicator {
    type Context = ();
    type Error = Infallible;

    async fn process_once<W, E>(&self, event_id: &str, work: W) -> Result<bool, E>
    where
        W: for<'a> FnOnce(&'a mut ()) -> BoxFuture<'a, Result<(), E>> + Send,
        E: From<Infallible> + Send,
    {
        let Some(running) = self.begin(event_id).await else { return Ok(false) };
        work(&mut ()).await?;
        running.processed();
        Ok(true)
    }
}
