//! What is followed while it happens: a tenant's events as they are accepted, and deliveries as they are recorded.
//!
//! [`Feed`] tells the streams that are open of what this process does. These are hints: what a stream shows it reads from the
//! database ([`Follower`]), where it looks by itself from time to time too, so that what another process accepted comes as
//! well. While no stream is open, telling costs one look at a number.

mod follower;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{broadcast, watch};

use crate::{
    delivery::AttemptResult,
    id::{DeliveryId, EndpointId},
    merchant::Tenant,
};

pub use follower::{Follower, Looked};

/// Recorded deliveries that a stream may be behind; of more it is not told.
const RECORDED_MAX: usize = 1024;

/// Tells open streams of what happens in this process; clones share it.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    open: AtomicUsize,
    tenants: Mutex<HashMap<Tenant, Streams>>,
    recorded: broadcast::Sender<RecordedDelivery>,
}

/// The streams of one tenant.
struct Streams {
    open: usize,
    accepted: watch::Sender<()>,
}

/// An attempt was recorded for this delivery, to this endpoint: whose it is, the store knows.
pub type RecordedDelivery = (DeliveryId, EndpointId);

impl Default for Feed {
    fn default() -> Self {
        Self(Arc::new(Inner {
            open: AtomicUsize::new(0),
            tenants: Mutex::default(),
            recorded: broadcast::Sender::new(RECORDED_MAX),
        }))
    }
}

impl Feed {
    fn tenants(&self) -> MutexGuard<'_, HashMap<Tenant, Streams>> {
        self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place among the tenant's streams, unless it has `max` of them. Take it before the first look: what is accepted
    /// after that look is told.
    #[must_use]
    pub fn open(&self, tenant: &Tenant, max: usize) -> Option<Seat> {
        let mut tenants = self.tenants();
        let open_already = tenants.get(tenant).map_or(0, |streams| streams.open);
        if open_already >= max {
            return None;
        }
        let streams = tenants
            .entry(tenant.clone())
            .or_insert_with(|| Streams { open: 0, accepted: watch::Sender::new(()) });
        streams.open += 1;
        self.0.open.fetch_add(1, Ordering::SeqCst);
        Some(Seat { feed: self.clone(), tenant: tenant.clone(), accepted: streams.accepted.subscribe() })
    }

    /// How many streams are open in this process.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
    }

    /// Events of these tenants are on disk.
    pub fn accepted<'a>(&self, tenants: impl Iterator<Item = &'a Tenant>) {
        if self.streams() > 0 {
            let streams = self.tenants();
            tenants.filter_map(|tenant| streams.get(tenant)).for_each(|of| of.accepted.send_replace(()));
        }
    }

    /// Another process has done something: perhaps it has accepted events.
    pub fn others_may_have_accepted(&self) {
        if self.streams() > 0 {
            self.tenants().values().for_each(|of| of.accepted.send_replace(()));
        }
    }

    /// These attempts are on disk.
    pub fn recorded<'a>(&self, results: impl Iterator<Item = &'a AttemptResult>) {
        if self.0.recorded.receiver_count() > 0 {
            results.for_each(|result| drop(self.0.recorded.send((result.delivery_id, result.endpoint_id))));
        }
    }
}

/// A stream's place, until it is dropped.
pub struct Seat {
    feed: Feed,
    tenant: Tenant,
    accepted: watch::Receiver<()>,
}

impl Seat {
    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Returns when events may have been accepted since the last time. Safe to drop at any time.
    pub async fn accepted(&mut self) {
        // The sender lives while the seat is counted.
        let _ = self.accepted.changed().await;
    }

    /// What is recorded from now on, of every tenant.
    #[must_use]
    pub fn recorded(&self) -> broadcast::Receiver<RecordedDelivery> {
        self.feed.0.recorded.subscribe()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut tenants = self.feed.tenants();
        match tenants.get_mut(&self.tenant) {
            Some(streams) if streams.open > 1 => streams.open -= 1,
            _ => drop(tenants.remove(&self.tenant)),
        }
        self.feed.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn tenant(merchant: &str) -> Tenant {
        Tenant { merchant_id: merchant.parse().unwrap(), livemode: false }
    }

    #[test]
    fn a_tenant_has_so_many_streams_and_one_that_ends_makes_room() {
        let (feed, ours) = (Feed::default(), tenant("m_1"));
        let seats = [feed.open(&ours, 2).unwrap(), feed.open(&ours, 2).unwrap()];
        assert!(feed.open(&ours, 2).is_none());
        assert!(feed.open(&tenant("m_2"), 2).is_some(), "another's are another's");
        assert!(feed.open(&Tenant { livemode: true, ..ours.clone() }, 2).is_some());
        drop(seats);
        assert!(feed.open(&ours, 1).is_some());
        assert!(feed.streams() == 0 && feed.tenants().is_empty(), "nothing is kept of what has ended");
    }

    #[test]
    fn a_stream_is_told_of_its_own_tenants_events_and_once_however_many_they_were() {
        let feed = Feed::default();
        let (mut ours, mut theirs) =
            (feed.open(&tenant("m_1"), 1).unwrap(), feed.open(&tenant("m_2"), 1).unwrap());
        let told = |seat: &mut Seat| seat.accepted().now_or_never().is_some();
        assert!(!told(&mut ours));
        feed.accepted([tenant("m_1"), tenant("m_1"), tenant("m_3")].iter());
        assert!(told(&mut ours) && !told(&mut ours) && !told(&mut theirs));
        feed.others_may_have_accepted();
        assert!(told(&mut ours) && told(&mut theirs));
    }
}
