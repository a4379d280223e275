use std::{sync::Arc, time::Duration};

use super::*;
use crate::{clock::UnixMs, endpoint::Destination, entropy::Entropy, event::EventType, id::IdSource};

struct Fixture {
    ids: IdSource,
    lanes: Lanes,
}

impl Fixture {
    fn new(in_flight_max: usize, width_max: usize) -> Self {
        Self { ids: IdSource::new(Entropy::os()), lanes: Lanes::new(in_flight_max, width_max) }
    }

    fn endpoint(&self) -> EndpointId {
        self.ids.next(UnixMs(0))
    }

    /// Offers so many deliveries; answers how many were taken.
    fn offer(&mut self, endpoint_id: EndpointId, count: usize) -> usize {
        let destination = Arc::new(Destination::new(endpoint_id, String::new(), Vec::new()));
        let deliveries = (0..count).map(|_| LeasedDelivery {
            id: self.ids.next(UnixMs(0)),
            lease: self.ids.next(UnixMs(0)),
            leased_until: UnixMs(0).plus(Duration::from_secs(60)),
            event_id: self.ids.next(UnixMs(0)),
            event_type: EventType::ChargeSucceeded.into(),
            body: bytes::Bytes::new(),
            destination: Arc::clone(&destination),
            attempt_count: 0,
            ladder_failures: 0,
            trace: None,
            window_started_at: UnixMs(0),
        });
        deliveries.filter_map(|delivery| self.lanes.offer(delivery).ok()).count()
    }

    /// Has so many endpoints answer an attempt each.
    fn answering(&mut self, count: usize) -> Vec<EndpointId> {
        let endpoints: Vec<_> = (0..count).map(|_| self.endpoint()).collect();
        for endpoint in &endpoints {
            self.attempted(*endpoint, Pace::KeepsUp);
        }
        endpoints
    }

    fn attempted(&mut self, endpoint: EndpointId, pace: Pace) {
        assert_eq!(self.offer(endpoint, 1), 1);
        assert_eq!(self.start(), [endpoint]);
        self.lanes.sent(endpoint, pace);
        self.lanes.recorded(1);
    }

    /// Starts all that may be sent; answers to which endpoints.
    fn start(&mut self) -> Vec<EndpointId> {
        std::iter::from_fn(|| self.lanes.start()).map(|delivery| delivery.destination.endpoint_id).collect()
    }
}

#[test]
fn a_lane_starts_narrow_widens_with_answers_and_halves_when_its_endpoint_falls_behind() {
    let mut fixture = Fixture::new(100, 8);
    let endpoint = fixture.endpoint();
    assert_eq!(
        fixture.offer(endpoint, 100),
        4,
        "what does not fit is given back, and nothing waits for an unknown one"
    );
    assert_eq!(fixture.start().len(), 4);
    fixture.lanes.sent(endpoint, Pace::KeepsUp);
    assert_eq!(fixture.offer(endpoint, 100), 14, "five under way, and twelve that wait");
    assert_eq!(fixture.start().len(), 2, "one place freed and one more");
    let sent = fixture.lanes.sent(endpoint, Pace::FallsBehind);
    assert_eq!(sent.withdrawn.len(), 10, "of twelve that wait behind two");
    assert!(fixture.start().is_empty(), "four are still under way, and two are allowed");
    for _ in 0..4 {
        fixture.lanes.sent(endpoint, Pace::FallsBehind);
    }
    assert_eq!(fixture.start().len(), 1, "one is always allowed");
    fixture.lanes.sent(endpoint, Pace::Unknown);
    assert_eq!(fixture.offer(endpoint, 5), 1, "what was not sent says nothing of the endpoint");
}

#[test]
fn a_look_that_was_put_off_for_want_of_room_is_asked_for_once_there_is_some() {
    let mut fixture = Fixture::new(4, 4);
    let endpoints = fixture.answering(2);
    for endpoint in &endpoints {
        fixture.offer(*endpoint, 4);
    }
    assert_eq!((fixture.lanes.room(), fixture.start().len()), (0, 4));
    fixture.lanes.starve();
    for endpoint in endpoints.iter().cycle().take(4) {
        fixture.lanes.sent(*endpoint, Pace::KeepsUp);
    }
    assert!(!fixture.lanes.recorded(3), "a few places are not worth a look");
    assert!(fixture.lanes.recorded(1));
}

#[test]
fn lanes_take_turns_under_the_global_bound() {
    let mut fixture = Fixture::new(4, 32);
    let endpoints = fixture.answering(2);
    let (one, two) = (endpoints[0], endpoints[1]);
    fixture.offer(one, 3);
    fixture.offer(two, 3);
    assert_eq!(fixture.start(), [one, two, one, two]);
    fixture.lanes.sent(one, Pace::KeepsUp);
    assert!(fixture.start().is_empty(), "its outcome is not recorded yet");
    fixture.lanes.recorded(1);
    assert_eq!(fixture.start(), [one]);
}

#[test]
fn a_lane_with_a_backlog_asks_for_more_when_it_has_room_and_idle_ones_are_forgotten_when_they_are_many() {
    let mut fixture = Fixture::new(100, 4);
    let endpoint = fixture.endpoint();
    fixture.offer(endpoint, 13);
    let (mut asked, mut under_way) = (0, fixture.start().len());
    while under_way > 0 {
        asked += usize::from(fixture.lanes.sent(endpoint, Pace::KeepsUp).claim);
        fixture.lanes.recorded(1);
        under_way += fixture.start().len();
        under_way -= 1;
    }
    assert!(asked > 0, "the one given back is asked for");
    fixture.lanes.claiming();
    assert_eq!(fixture.lanes.by_endpoint.len(), 1, "how wide it was is remembered");
    for _ in 0..IDLE_LANES_MAX {
        fixture.answering(1);
    }
    fixture.lanes.claiming();
    assert_eq!(fixture.lanes.by_endpoint.len(), IDLE_LANES_MAX, "but not for any number of endpoints");
    assert_eq!((fixture.lanes.room(), fixture.lanes.untried), (200, 0));
}

#[test]
fn endpoints_in_trouble_share_half_of_the_places_and_are_remembered_while_they_are_idle() {
    let mut fixture = Fixture::new(100, 8);
    let dead: Vec<_> = (0..=IDLE_LANES_MAX).map(|_| fixture.endpoint()).collect();
    for endpoint in dead.iter().chain(&dead) {
        fixture.attempted(*endpoint, Pace::FallsBehind);
    }
    fixture.lanes.claiming();
    let taken: usize = dead.iter().map(|endpoint| fixture.offer(*endpoint, 10)).sum();
    assert_eq!((taken, fixture.start().len()), (50, 50), "one each, and half of the places in all");
    let fresh: Vec<_> = (0..7).map(|_| fixture.endpoint()).collect();
    let taken: Vec<_> = fresh.iter().map(|endpoint| fixture.offer(*endpoint, 100)).collect();
    assert_eq!(taken, [4, 4, 4, 4, 4, 4, 1], "a quarter is left to those that answer");
    fixture.start();
    fixture.lanes.sent(fresh[0], Pace::KeepsUp);
    assert_eq!(fixture.offer(fresh[0], 100), 14, "all that its lane has room for");
    fixture.lanes.sent(dead[0], Pace::KeepsUp);
    assert_eq!(fixture.lanes.troubled, 49);
    assert_eq!(fixture.offer(dead[1], 1), 0, "one attempt at a time");
    assert_eq!(fixture.offer(dead[60], 1), 1, "a place that one of them leaves goes to another");
}

#[test]
fn an_endpoint_that_was_left_because_shared_places_were_taken_is_asked_for_when_some_are_free() {
    let mut fixture = Fixture::new(32, 8);
    let hanging: Vec<_> = (0..6).map(|_| fixture.endpoint()).collect();
    for endpoint in &hanging {
        assert_eq!(fixture.offer(*endpoint, 4), 4);
    }
    fixture.start();
    let fresh = fixture.endpoint();
    fixture.lanes.claiming();
    assert!(!fixture.lanes.left_due(&[fresh]), "the six have all that untried endpoints share");
    assert_eq!(fixture.lanes.free(fresh), 0);
    let asked: Vec<_> =
        hanging.iter().map(|endpoint| fixture.lanes.sent(*endpoint, Pace::FallsBehind).claim).collect();
    assert_eq!(asked, [false, false, false, false, true, true], "a place or two are not worth a look");
    assert_eq!(fixture.lanes.free(fresh), 4);
    fixture.lanes.claiming();
    assert!(!fixture.lanes.sent(hanging[1], Pace::Unknown).claim, "nothing was left since");
}
