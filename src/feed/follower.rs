//! How far a stream has come in a tenant's events, and which it has yet to tell.
//!
//! Ids sort by the time at which they were made. Of one process they are committed in that order; of several, one may be made
//! before another and committed after it. So a follower also looks back, as far as a commit can take and clocks can differ,
//! for what has turned up behind it, and remembers what it has told there.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    clock::UnixMs,
    event::Event,
    id::EventId,
    merchant::Tenant,
    store::{EventFilter, Page, Position, Result, Store},
};

/// Events of one look. One may be as large as `limits.event_body_max`, and a look is in memory for each stream.
const LOOK: u32 = 20;

/// Ids of one look back.
const LOOK_BACK: u32 = 1000;

/// Follows one tenant's events.
#[derive(Debug)]
pub struct Follower {
    tenant: Tenant,
    /// The event behind which it began.
    place: Option<EventId>,
    /// The greatest id that was looked at.
    reached: EventId,
    /// How far behind it others may yet turn up.
    overlap: Duration,
    /// Those behind `reached` that need not be told, as far back as others may turn up.
    told: BTreeSet<EventId>,
}

/// What a look found.
#[derive(Debug)]
pub struct Looked {
    /// Events that were not told yet, oldest first.
    pub events: Vec<Event>,
    /// Whether there may be more already.
    pub more: bool,
}

impl Follower {
    /// Follows what is accepted from now on.
    pub async fn from_now(store: &dyn Store, tenant: Tenant, overlap: Duration, now: UnixMs) -> Result<Self> {
        let newest = Page { limit: 1, position: Position::First };
        let newest = store.list_events(&tenant, &EventFilter::default(), &newest).await?;
        let place = newest.and_then(|page| page.items.into_iter().next()).map(|event| event.id);
        let reached = place.unwrap_or_else(|| EventId::lowest_at(UnixMs(0)));
        let mut follower = Self { tenant, place, reached, overlap, told: BTreeSet::new() };
        follower.told = follower.behind(store, now).await?.into_iter().collect();
        Ok(follower)
    }

    /// Follows from behind this event. Those from shortly before it come again, because which of them were told is not known;
    /// not where `overlap` is zero.
    #[must_use]
    pub fn from_event(tenant: Tenant, event: EventId, overlap: Duration) -> Self {
        let reached =
            if overlap.is_zero() { event } else { EventId::lowest_at(event.made_at().minus(overlap)) };
        Self { tenant, place: Some(event), reached, overlap, told: BTreeSet::from([event]) }
    }

    /// The event behind which it began, where there was one.
    #[must_use]
    pub fn place(&self) -> Option<EventId> {
        self.place
    }

    /// The next events.
    pub async fn look(&mut self, store: &dyn Store) -> Result<Looked> {
        let mut events = store.events_after(&self.tenant, self.reached, LOOK).await?;
        let more = events.len() == LOOK as usize;
        self.reached = events.last().map_or(self.reached, |last| last.id);
        if !self.overlap.is_zero() {
            events.retain(|event| self.told.insert(event.id));
        }
        Ok(Looked { events, more })
    }

    /// Events that have turned up behind.
    pub async fn look_back(&mut self, store: &dyn Store, now: UnixMs) -> Result<Vec<Event>> {
        self.told = self.told.split_off(&self.cut(now).min(self.reached));
        let mut turned_up = self.behind(store, now).await?;
        turned_up.retain(|id| !self.told.contains(id));
        let mut events = Vec::new();
        for id in &turned_up {
            events.extend(store.event(&self.tenant, *id).await?);
        }
        // Only now: after an error they turn up again.
        self.told.extend(turned_up);
        Ok(events)
    }

    /// Nothing turns up behind this.
    fn cut(&self, now: UnixMs) -> EventId {
        EventId::lowest_at(now.minus(self.overlap))
    }

    /// What there is from where others may turn up to where this has come.
    async fn behind(&self, store: &dyn Store, now: UnixMs) -> Result<Vec<EventId>> {
        let (mut after, mut behind) = (self.cut(now), Vec::new());
        if self.overlap.is_zero() {
            return Ok(behind);
        }
        loop {
            let ids = store.event_ids_between(&self.tenant, after, self.reached, LOOK_BACK).await?;
            let full = ids.len() == LOOK_BACK as usize;
            after = ids.last().copied().unwrap_or(after);
            behind.extend(ids);
            if !full {
                return Ok(behind);
            }
        }
    }
}
