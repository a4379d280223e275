//! What a backfill is: past events, delivered to one endpoint on request, at a pace and beside its live events.
//!
//! It is a row with a place among the tenant's events, in the order of their dates. A step looks at the next events after
//! that place, makes deliveries of those that match and moves the place, in one transaction: whatever ends the process, no
//! event is passed over and none is taken twice. What it makes are deliveries like all others.
//!
//! ```text
//!   running ◄────► paused        by the merchant; paused also by the service, where the endpoint is disabled
//!      │  └──────────┴─────► canceled     by the merchant, or with the endpoint
//!      └───────────────────► completed    every event was looked at
//! ```

mod runner;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    clock::UnixMs,
    endpoint::EnabledEvents,
    id::{BackfillId, EndpointId},
    merchant::Tenant,
    store::{self, Store},
    words::words,
};

pub use runner::Backfills;

/// Deliveries a second, at most and unless said otherwise.
pub const PER_SECOND_MAX: u32 = 100;
/// See [`PER_SECOND_MAX`].
pub const PER_SECOND_DEFAULT: u32 = 10;

/// Deliveries of one backfill that are due or under way at a time. They are all that a live event of the same endpoint can
/// find before it, and fewer than a new lane takes from its endpoint's first answer on, so that there is room beside them.
pub const IN_HAND_MAX: u32 = 8;

/// Deliveries of one backfill that are open at a time, those that wait for another attempt included: where an endpoint
/// fails, the backfill waits for it and does not heap up retries.
pub const OPEN_MAX: u32 = 256;

words! {
    /// Where a backfill stands.
    BackfillStatus {
        /// It makes deliveries.
        Running "running",
        /// It waits until it is set to run again.
        Paused "paused",
        /// Every event was looked at. Its last deliveries may be open.
        Completed "completed",
        /// It makes no more deliveries.
        Canceled "canceled",
    }
}

impl BackfillStatus {
    /// Whether nothing further happens.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Canceled)
    }
}

words! {
    /// Why the service itself paused or canceled a backfill.
    BackfillReason {
        /// Paused: its endpoint was disabled.
        EndpointDisabled "endpoint_disabled",
        /// Canceled: its endpoint was deleted.
        EndpointDeleted "endpoint_deleted",
    }
}

words! {
    /// Which of the events are sent.
    Scope {
        /// Those of which the endpoint has no delivery that succeeded or is still open.
        Undelivered "undelivered",
        /// All of them.
        All "all",
    }
}

/// Which events are sent to which endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Whose they are.
    pub tenant: Tenant,
    /// Where they go.
    pub endpoint_id: EndpointId,
    /// Dated at this instant or later, as the publisher dates them.
    pub created_from: UnixMs,
    /// Dated at this instant or before.
    pub created_to: UnixMs,
    /// Of these types, whatever the endpoint lists.
    pub types: EnabledEvents,
    /// All of them, or what is missing.
    pub scope: Scope,
}

/// A backfill to begin.
#[derive(Clone, Debug)]
pub struct NewBackfill {
    /// Its id.
    pub id: BackfillId,
    /// What it sends.
    pub selection: Selection,
    /// Deliveries a second.
    pub per_second: u32,
    /// What was found for it.
    pub counted: Counted,
}

/// A backfill as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backfill {
    /// Its id.
    pub id: BackfillId,
    /// What it sends.
    pub selection: Selection,
    /// Deliveries a second, at most.
    pub per_second: u32,
    /// Where it stands.
    pub status: BackfillStatus,
    /// Why, where the service decided it.
    pub reason: Option<BackfillReason>,
    /// Events found when it was made.
    pub matched: u64,
    /// Whether all events were looked at for that; otherwise there may be more.
    pub counted_all: bool,
    /// Deliveries made so far.
    pub sent: u64,
    /// When it was made.
    pub created_at: UnixMs,
    /// When it last made a delivery or changed its state.
    pub updated_at: UnixMs,
    /// When it was completed or canceled.
    pub finished_at: Option<UnixMs>,
}

impl Backfill {
    /// How a backfill stands as it begins.
    #[must_use]
    pub fn begun(new: &NewBackfill, now: UnixMs) -> Self {
        Self {
            id: new.id,
            selection: new.selection.clone(),
            per_second: new.per_second,
            status: BackfillStatus::Running,
            reason: None,
            matched: new.counted.total(),
            counted_all: new.counted.all,
            sent: 0,
            created_at: now,
            updated_at: now,
            finished_at: None,
        }
    }
}

/// How many deliveries of a backfill have not arrived. All others have: they are as many as a backfill makes, and are not
/// counted one by one whenever somebody looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Due, under way, or waiting for another attempt.
    pub pending: u64,
    /// Waiting for their endpoint to be enabled.
    pub held: u64,
    /// Given up.
    pub abandoned: u64,
}

impl Tally {
    /// How many of the `sent` deliveries were answered with a 2xx.
    #[must_use]
    pub fn succeeded(self, sent: u64) -> u64 {
        sent.saturating_sub(self.pending + self.held + self.abandoned)
    }
}

/// What a count over events came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many match, by type.
    pub by_type: BTreeMap<&'static str, u64>,
    /// Whether all events were looked at.
    pub all: bool,
}

impl Counted {
    /// How many match in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_type.values().sum()
    }
}

/// Counts what the selection matches, some thousands of events at a time, and stops at `until` where there are too many for
/// one who waits.
pub async fn count(
    store: &dyn Store,
    selection: &Selection,
    until: Option<Instant>,
) -> store::Result<Counted> {
    let (mut counted, mut after) = (Counted::default(), None);
    loop {
        let found = store.count_matching(selection, after).await?;
        for (event_type, count) in found.by_type {
            *counted.by_type.entry(event_type.as_str()).or_default() += count;
        }
        after = found.looked_up_to;
        counted.all = after.is_none();
        if counted.all || until.is_some_and(|until| Instant::now() >= until) {
            return Ok(counted);
        }
    }
}

/// When the next step of a backfill can do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Now.
    AtOnce,
    /// At this instant.
    At(UnixMs),
    /// Once some of its deliveries are answered.
    WhenAnswered,
    /// Not before somebody has it run again.
    Never,
}

/// What a step of a backfill did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// Deliveries made.
    pub made: u32,
    /// When there is more to do.
    pub next: Next,
}

/// How many deliveries were made in the present second: all of a second's may be made at its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// When that second began.
    pub second_began_at: UnixMs,
    /// Made in it.
    pub made: u32,
}

impl Pace {
    const SECOND: Duration = Duration::from_secs(1);

    /// The pace at `now`, which may lie in a later second. A clock that was set back begins a second too.
    #[must_use]
    pub fn at(self, now: UnixMs) -> Self {
        if now >= self.next_second() || now < self.second_began_at {
            Self { second_began_at: now, made: 0 }
        } else {
            self
        }
    }

    /// When the next second begins.
    #[must_use]
    pub fn next_second(self) -> UnixMs {
        self.second_began_at.plus(Self::SECOND)
    }

    /// How many of `per_second` are left in this second.
    #[must_use]
    pub fn left(self, per_second: u32) -> u32 {
        per_second.saturating_sub(self.made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_so_many_deliveries_and_what_was_not_made_is_not_saved_up() {
        let pace = Pace { second_began_at: UnixMs(10_000), made: 3 };
        assert_eq!(pace.at(UnixMs(10_999)).left(10), 7);
        assert_eq!(pace.at(UnixMs(10_999)).left(2), 0);
        assert_eq!(pace.at(UnixMs(11_000)), Pace { second_began_at: UnixMs(11_000), made: 0 });
        assert_eq!(pace.at(UnixMs(99_000)).left(10), 10);
        assert_eq!(pace.at(UnixMs(9_000)).next_second(), UnixMs(10_000));
    }
}
