//! Reconciliation: of a range of a merchant's events, how many there are and how each stands, so that the counts add up, and
//! which differ from what a receiver says that it has processed.
//!
//! Every event stands in exactly one way. It is looked at in the order of dates, page by page, and what the pages say of
//! their events adds up to what is true of the range.

use std::collections::BTreeSet;

use crate::{
    clock::UnixMs,
    delivery::DeliveryStatus,
    endpoint::EnabledEvents,
    event::{EventPlace, EventType},
    id::{EndpointId, EventId},
    merchant::Tenant,
    store::{self, Store},
    words::words,
};

/// Looks of one page, at 500 events each: less than a second's work.
const LOOKS_MAX: usize = 40;

/// Ids that one statement looks up.
const IDS_LOOKED_UP: usize = 1000;

words! {
    /// How an event stands, over all endpoints or for one.
    Outcome {
        /// Every endpoint that has a delivery of it has answered one with a 2xx.
        Succeeded "succeeded",
        /// An endpoint has not, and a delivery to it is due, under way, or waits for another attempt.
        Pending "pending",
        /// An endpoint has not, and a delivery to it waits for it to be enabled.
        Held "held",
        /// An endpoint has not, and all deliveries to it were given up.
        Abandoned "abandoned",
        /// There is no delivery.
        NoDelivery "no_delivery",
    }
}

/// Deliveries of an event to one endpoint that are in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deliveries {
    /// Where they go.
    pub endpoint_id: EndpointId,
    /// The state.
    pub status: DeliveryStatus,
    /// How many.
    pub count: u64,
}

impl Outcome {
    /// Those that a single delivery can be in, which are its states.
    pub const OF_DELIVERIES: [Self; 4] = [Self::Succeeded, Self::Pending, Self::Held, Self::Abandoned];

    /// How an event with these deliveries stands. One that arrived counts, whatever became of others to the same endpoint;
    /// and of several endpoints the one counts that is furthest from its end.
    #[must_use]
    pub fn of(deliveries: &[Deliveries]) -> Self {
        let has = |endpoint, status| {
            deliveries.iter().any(|other| other.endpoint_id == endpoint && other.status == status)
        };
        let missing = |status| {
            deliveries
                .iter()
                .any(|one| one.status == status && !has(one.endpoint_id, DeliveryStatus::Succeeded))
        };
        if deliveries.is_empty() {
            Self::NoDelivery
        } else if missing(DeliveryStatus::Pending) {
            Self::Pending
        } else if missing(DeliveryStatus::Held) {
            Self::Held
        } else if missing(DeliveryStatus::Abandoned) {
            Self::Abandoned
        } else {
            Self::Succeeded
        }
    }
}

/// Which events are reconciled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Whose they are.
    pub tenant: Tenant,
    /// As this endpoint has them; otherwise as all do.
    pub endpoint_id: Option<EndpointId>,
    /// Dated at this instant or later.
    pub created_from: UnixMs,
    /// Dated at this instant or before.
    pub created_to: UnixMs,
    /// Of these types.
    pub types: EnabledEvents,
}

impl Scope {
    /// Whether an event of the tenant's is one of them. `only` is the endpoint that it is for alone, where it is a test.
    #[must_use]
    pub fn covers(&self, created_at: UnixMs, event_type: EventType, only: Option<EndpointId>) -> bool {
        (self.created_from..=self.created_to).contains(&created_at)
            && self.types.matches(event_type)
            && (self.endpoint_id.is_none() || only.is_none() || only == self.endpoint_id)
    }
}

/// An event and its deliveries, as they are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventState {
    /// Which event.
    pub place: EventPlace,
    /// Its type.
    pub event_type: EventType,
    /// Its deliveries, to all endpoints or to the one in question.
    pub deliveries: Vec<Deliveries>,
}

/// What a look over some events found.
#[derive(Clone, Debug, Default)]
pub struct EventStates {
    /// The events of the scope among them, in the order of their dates.
    pub events: Vec<EventState>,
    /// After which event the next look begins; none where all were looked at.
    pub looked_up_to: Option<EventPlace>,
}

/// How many are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Outcome::ALL.len()]);

impl Counts {
    fn add(&mut self, outcome: Outcome, count: u64) {
        self.0[outcome as usize] += count;
    }

    /// How many are in this state.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// How many there are in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// An event that somebody may want to look into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which event.
    pub place: EventPlace,
    /// Its type.
    pub event_type: EventType,
    /// How it stands.
    pub outcome: Outcome,
    /// Whether the receiver has processed it, where it said which it has.
    pub processed: Option<bool>,
}

/// What a receiver's list comes to beside the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Processed {
    /// Events that it has processed.
    pub known: u64,
    /// Events that it was sent, or is being sent, and has not processed.
    pub lacking: u64,
    /// Events that it has not processed and has no delivery of.
    pub never_sent: u64,
}

/// A page of a reconciliation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Events by how they stand.
    pub events: Counts,
    /// Their deliveries by state.
    pub deliveries: Counts,
    /// Beside what the receiver has processed, where it said so.
    pub processed: Option<Processed>,
    /// Every event that has not arrived everywhere, or that the receiver has not processed.
    pub differences: Vec<Difference>,
    /// After which event the next page begins; none where this is the last.
    pub looked_up_to: Option<EventPlace>,
}

impl Page {
    fn begin(processed: Option<&BTreeSet<EventId>>) -> Self {
        Self { processed: processed.map(|_| Processed::default()), ..Self::default() }
    }

    fn add(&mut self, event: &EventState, processed: Option<&BTreeSet<EventId>>) {
        let outcome = Outcome::of(&event.deliveries);
        self.events.add(outcome, 1);
        for Deliveries { status, count, .. } in &event.deliveries {
            let outcome = match status {
                DeliveryStatus::Pending => Outcome::Pending,
                DeliveryStatus::Held => Outcome::Held,
                DeliveryStatus::Succeeded => Outcome::Succeeded,
                DeliveryStatus::Abandoned => Outcome::Abandoned,
            };
            self.deliveries.add(outcome, *count);
        }
        let processed = processed.map(|processed| processed.contains(&event.place.id));
        if let (Some(counts), Some(processed)) = (&mut self.processed, processed) {
            match (processed, outcome) {
                (true, _) => counts.known += 1,
                (false, Outcome::NoDelivery) => counts.never_sent += 1,
                (false, _) => counts.lacking += 1,
            }
        }
        if outcome != Outcome::Succeeded || processed == Some(false) {
            let EventState { place, event_type, .. } = *event;
            self.differences.push(Difference { place, event_type, outcome, processed });
        }
    }
}

/// The next page, with at most `limit` differences, behind `after`.
pub async fn page(
    store: &dyn Store,
    scope: &Scope,
    processed: Option<&BTreeSet<EventId>>,
    limit: usize,
    mut after: Option<EventPlace>,
) -> store::Result<Page> {
    let mut page = Page::begin(processed);
    for _ in 0..LOOKS_MAX {
        let found = store.event_states(scope, after).await?;
        for event in &found.events {
            page.add(event, processed);
            if page.differences.len() == limit {
                page.looked_up_to = Some(event.place);
                return Ok(page);
            }
        }
        after = found.looked_up_to;
        if after.is_none() {
            break;
        }
    }
    page.looked_up_to = after;
    Ok(page)
}

/// Ids that a receiver has processed and that are not among the events of the scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strangers {
    /// Events of the merchant's that the scope leaves out.
    pub outside: Vec<EventId>,
    /// No events of the merchant's, or none any more.
    pub unknown: Vec<EventId>,
}

/// Which of these are not events of the scope, in the order of ids.
pub async fn strangers(
    store: &dyn Store,
    scope: &Scope,
    processed: &BTreeSet<EventId>,
) -> store::Result<Strangers> {
    let ids: Vec<EventId> = processed.iter().copied().collect();
    let mut strangers = Strangers::default();
    for ids in ids.chunks(IDS_LOOKED_UP) {
        let known = store.events_among(scope, ids).await?;
        for id in ids {
            match known.get(id) {
                None => strangers.unknown.push(*id),
                Some(false) => strangers.outside.push(*id),
                Some(true) => {}
            }
        }
    }
    Ok(strangers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{entropy::Entropy, id::IdSource};

    use DeliveryStatus::{Abandoned, Held, Pending, Succeeded};

    fn deliveries(states: &[(usize, DeliveryStatus)]) -> Vec<Deliveries> {
        let ids = IdSource::new(Entropy::os());
        let endpoints: Vec<EndpointId> = (0..4).map(|_| ids.next(UnixMs(0))).collect();
        let of = |(endpoint, status): &(usize, DeliveryStatus)| Deliveries {
            endpoint_id: endpoints[*endpoint],
            status: *status,
            count: 1,
        };
        states.iter().map(of).collect()
    }

    #[test]
    fn an_event_stands_as_the_endpoint_does_that_is_furthest_from_its_end() {
        for (states, outcome) in [
            (&[][..], Outcome::NoDelivery),
            (&[(0, Succeeded)], Outcome::Succeeded),
            (&[(0, Abandoned), (0, Succeeded)], Outcome::Succeeded),
            (&[(0, Succeeded), (0, Pending)], Outcome::Succeeded),
            (&[(0, Succeeded), (1, Abandoned)], Outcome::Abandoned),
            (&[(0, Abandoned), (0, Pending)], Outcome::Pending),
            (&[(0, Abandoned), (1, Held)], Outcome::Held),
            (&[(0, Held), (1, Pending), (2, Succeeded)], Outcome::Pending),
        ] {
            assert_eq!(Outcome::of(&deliveries(states)), outcome, "{states:?}");
        }
    }

    fn status() -> impl Strategy<Value = DeliveryStatus> {
        prop_oneof![Just(Pending), Just(Held), Just(Succeeded), Just(Abandoned)]
    }

    proptest! {
        #[test]
        fn counts_add_up_whatever_the_events(
            events in prop::collection::vec((prop::collection::vec((0..4_usize, status()), 0..6), any::<bool>()), 0..50),
        ) {
            let ids = IdSource::new(Entropy::os());
            let events: Vec<(EventState, bool)> = events
                .into_iter()
                .map(|(states, processed)| {
                    let place = EventPlace { created_at: UnixMs(0), id: ids.next(UnixMs(0)) };
                    let (event_type, deliveries) = (EventType::ChargeSucceeded, deliveries(&states));
                    (EventState { place, event_type, deliveries }, processed)
                })
                .collect();
            let list: BTreeSet<EventId> =
                events.iter().filter(|(_, processed)| *processed).map(|(event, _)| event.place.id).collect();
            let mut page = Page::begin(Some(&list));
            for (event, _) in &events {
                page.add(event, Some(&list));
            }
            let processed = page.processed.unwrap();
            prop_assert_eq!(page.events.total(), events.len() as u64);
            prop_assert_eq!(processed.known + processed.lacking + processed.never_sent, events.len() as u64);
            prop_assert_eq!(processed.known, list.len() as u64);
            let made: usize = events.iter().map(|(event, _)| event.deliveries.len()).sum();
            prop_assert_eq!(page.deliveries.total(), made as u64);
            let plain = events.len() - page.differences.len();
            let arrived = page.differences.iter().filter(|one| one.outcome == Outcome::Succeeded).count();
            prop_assert_eq!(page.events.of(Outcome::Succeeded), (plain + arrived) as u64);
        }
    }
}
