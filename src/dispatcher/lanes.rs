//! Who may send now: a bounded lane for each endpoint under one global bound. Pure bookkeeping, no waiting.
//!
//! A lane starts narrow, widens with every answer and halves when its endpoint does not keep up, so that a slow or dead
//! endpoint holds few of the places that all share, and one that recovers is not overrun. All endpoints in trouble
//! together have half of the places, so that however many they are, the others go on.

use std::collections::{HashMap, VecDeque};

use crate::{delivery::LeasedDelivery, id::EndpointId};

/// How many attempts a lane that was idle makes at once.
const INITIAL_WIDTH: usize = 4;

/// Idle lanes whose width is remembered: a lane runs dry between two claims, and must not begin anew each time.
const IDLE_LANES_MAX: usize = 256;

/// Idle lanes of endpoints in trouble that are remembered, at about a hundred bytes each: between two attempts of their
/// ladders they must not pass for endpoints that answer.
const TROUBLED_LANES_MAX: usize = 16_384;

/// What an attempt said about its endpoint's ability to take more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// It answered.
    KeepsUp,
    /// It did not answer, or asked for less.
    FallsBehind,
    /// Nothing: it was not asked.
    Unknown,
}

/// What follows from an attempt for its lane.
#[derive(Debug)]
pub(super) struct Sent {
    /// Whether it is time to claim more for the endpoint.
    pub(super) claim: bool,
    /// What waits behind more than the endpoint takes, and goes back.
    pub(super) withdrawn: Vec<LeasedDelivery>,
}

/// The dispatcher's lanes and places.
#[derive(Clone, Copy, Debug, Default)]
pub struct LaneUse {
    /// Attempts begun and not yet recorded.
    pub in_flight: usize,
    /// How many there may be.
    pub in_flight_max: usize,
    /// Deliveries that wait in lanes.
    pub waiting: usize,
    /// Lanes with something in them and room for more.
    pub open: usize,
    /// Lanes that take nothing more just now.
    pub full: usize,
    /// Lanes whose endpoints did not keep up with their last attempt.
    pub troubled: usize,
}

#[derive(Debug)]
pub(super) struct Lanes {
    by_endpoint: HashMap<EndpointId, Lane>,
    /// Lanes that have something to send and may, in turn.
    ready: VecDeque<EndpointId>,
    /// Attempts begun and not yet recorded.
    in_flight: usize,
    /// Deliveries waiting in all lanes.
    waiting: usize,
    /// Deliveries waiting or under way in lanes whose endpoints do not answer.
    troubled: usize,
    /// The same of lanes that have had no answer yet.
    untried: usize,
    in_flight_max: usize,
    width_max: usize,
    /// Whether due work was left because there was no room in all.
    starved: bool,
    /// Of which kinds of endpoints due work was left because the places that they share were taken.
    crowded: Vec<Pace>,
    /// How often due work was looked for.
    looks: u64,
    /// With how many lanes the idle ones are forgotten next.
    forget_at: usize,
    /// How often an endpoint has changed. What was offered before a change may be leased as the endpoint was.
    changes: u64,
}

#[derive(Debug)]
struct Lane {
    waiting: VecDeque<LeasedDelivery>,
    sending: usize,
    width: usize,
    /// What the last attempt said.
    pace: Pace,
    /// Whether the lane stands in `ready`.
    ready: bool,
    /// At which look the database had more due work for it.
    backlog_at: Option<u64>,
}

impl Lane {
    /// How many deliveries may wait. It grows with the square: a quick endpoint answers many times while more are claimed
    /// and must not run dry, and one that never answers keeps few places from the others. None for one that has not
    /// answered yet: of a hundred that hang, they would be claimed only to go back.
    fn waiting_max(&self) -> usize {
        match self.pace {
            Pace::KeepsUp | Pace::FallsBehind => self.width * self.width / 2,
            Pace::Unknown => 0,
        }
    }

    fn room(&self) -> usize {
        (self.width + self.waiting_max()).saturating_sub(self.in_hand())
    }

    fn in_hand(&self) -> usize {
        self.sending + self.waiting.len()
    }

    fn may_send(&self) -> bool {
        self.sending < self.width && !self.waiting.is_empty()
    }
}

impl Lanes {
    pub(super) fn new(in_flight_max: usize, width_max: usize) -> Self {
        Self {
            by_endpoint: HashMap::new(),
            ready: VecDeque::new(),
            in_flight: 0,
            waiting: 0,
            troubled: 0,
            untried: 0,
            in_flight_max,
            width_max,
            starved: false,
            crowded: Vec::new(),
            looks: 0,
            forget_at: IDLE_LANES_MAX,
            changes: 0,
        }
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    fn fresh_width(&self) -> usize {
        INITIAL_WIDTH.min(self.width_max)
    }

    /// What they hold. Looks at every lane, so it is for whoever asks now and then.
    pub(super) fn in_use(&self) -> LaneUse {
        let mut lanes = LaneUse {
            in_flight: self.in_flight,
            in_flight_max: self.in_flight_max,
            waiting: self.waiting,
            ..LaneUse::default()
        };
        for lane in self.by_endpoint.values() {
            lanes.open += usize::from(lane.in_hand() > 0 && lane.room() > 0);
            lanes.full += usize::from(lane.room() == 0);
            lanes.troubled += usize::from(lane.pace == Pace::FallsBehind);
        }
        lanes
    }

    /// What can be taken now in all: as many may wait as may be sent, so that memory has a bound.
    pub(super) fn room(&self) -> usize {
        (2 * self.in_flight_max).saturating_sub(self.in_flight + self.waiting)
    }

    /// What can be taken now for one endpoint. Endpoints in trouble share half of the places that attempts have, and with
    /// those that have not answered yet three quarters, as after a start, when nothing is known of any.
    pub(super) fn free(&self, id: EndpointId) -> usize {
        let (room, pace) = self.lane_room(id);
        room.min(self.free_of(pace))
    }

    /// What an endpoint's lane has room for, and of which kind it is.
    fn lane_room(&self, id: EndpointId) -> (usize, Pace) {
        match self.by_endpoint.get(&id) {
            Some(lane) => (lane.room(), lane.pace),
            None => (self.fresh_width(), Pace::Unknown),
        }
    }

    /// What is left of the places that endpoints of this kind share.
    fn free_of(&self, pace: Pace) -> usize {
        let half = (self.in_flight_max / 2).max(1);
        let three_quarters = (self.in_flight_max * 3 / 4).max(1);
        match pace {
            Pace::KeepsUp => usize::MAX,
            Pace::FallsBehind => half.saturating_sub(self.troubled),
            Pace::Unknown => three_quarters.saturating_sub(self.troubled + self.untried),
        }
    }

    /// Due work of an endpoint was left. Where its own lane would have had room, nothing that happens in that lane asks
    /// for it again.
    fn left(&mut self, id: EndpointId) {
        let (room, pace) = self.lane_room(id);
        if room > 0 && self.free_of(pace) == 0 && !self.crowded.contains(&pace) {
            self.crowded.push(pace);
        }
        let looks = self.looks;
        if let Some(lane) = self.by_endpoint.get_mut(&id) {
            lane.backlog_at = Some(looks);
        }
    }

    /// Whether shared places that were all taken, and wanted, are free again in a number that is worth a look.
    fn eased(&self) -> bool {
        self.crowded.iter().any(|pace| self.free_of(*pace) > self.in_flight_max / 8)
    }

    fn lane(&mut self, id: EndpointId) -> &mut Lane {
        let width = self.fresh_width();
        self.by_endpoint.entry(id).or_insert_with(|| Lane {
            waiting: VecDeque::new(),
            sending: 0,
            width,
            pace: Pace::Unknown,
            ready: false,
            backlog_at: None,
        })
    }

    /// How many deliveries are in hand of endpoints of this kind, where they share places.
    fn sharing(&mut self, pace: Pace) -> Option<&mut usize> {
        match pace {
            Pace::KeepsUp => None,
            Pace::FallsBehind => Some(&mut self.troubled),
            Pace::Unknown => Some(&mut self.untried),
        }
    }

    fn taken_in_hand(&mut self, pace: Pace, deliveries: usize) {
        if let Some(sharing) = self.sharing(pace) {
            *sharing += deliveries;
        }
    }

    fn out_of_hand(&mut self, pace: Pace, deliveries: usize) {
        if let Some(sharing) = self.sharing(pace) {
            *sharing -= deliveries;
        }
    }

    /// Puts a delivery into its lane; gives it back where the lane is full.
    #[expect(clippy::result_large_err, reason = "what is given back is moved on, not kept")]
    pub(super) fn offer(&mut self, delivery: LeasedDelivery) -> Result<(), LeasedDelivery> {
        let id = delivery.destination.endpoint_id;
        let full = self.free(id) == 0;
        let lane = self.lane(id);
        if full {
            self.left(id);
            return Err(delivery);
        }
        lane.waiting.push_back(delivery);
        let pace = lane.pace;
        self.waiting += 1;
        self.taken_in_hand(pace, 1);
        self.make_ready(id);
        Ok(())
    }

    fn make_ready(&mut self, id: EndpointId) {
        if let Some(lane) = self.by_endpoint.get_mut(&id)
            && lane.may_send()
            && !lane.ready
        {
            lane.ready = true;
            self.ready.push_back(id);
        }
    }

    /// The next delivery to send, lane by lane in turn; the caller sends it.
    pub(super) fn start(&mut self) -> Option<LeasedDelivery> {
        while self.in_flight < self.in_flight_max {
            let id = self.ready.pop_front()?;
            let Some(lane) = self.by_endpoint.get_mut(&id) else { continue };
            lane.ready = false;
            if !lane.may_send() {
                continue;
            }
            let delivery = lane.waiting.pop_front()?;
            lane.sending += 1;
            self.waiting -= 1;
            self.in_flight += 1;
            self.make_ready(id);
            return Some(delivery);
        }
        None
    }

    /// An attempt has been answered or has failed: its lane has a place again, and perhaps fewer for what waits.
    pub(super) fn sent(&mut self, id: EndpointId, pace: Pace) -> Sent {
        let (width_max, looks) = (self.width_max, self.looks);
        let Some(lane) = self.by_endpoint.get_mut(&id) else {
            return Sent { claim: false, withdrawn: Vec::new() };
        };
        let before = (lane.pace, lane.in_hand());
        lane.sending -= 1;
        lane.width = match pace {
            Pace::KeepsUp => (lane.width + 1).min(width_max),
            Pace::FallsBehind => (lane.width / 2).max(1),
            Pace::Unknown => lane.width,
        };
        if pace != Pace::Unknown {
            lane.pace = pace;
        }
        let waiting_max = lane.waiting_max();
        // What the lane could send stays: it may wait for a place among all.
        let withdrawn: Vec<_> =
            lane.waiting.drain(lane.waiting.len().min(waiting_max.max(lane.width))..).collect();
        if !withdrawn.is_empty() {
            lane.backlog_at = Some(looks);
        }
        let claim = lane.backlog_at == Some(looks) && lane.room() * 2 > waiting_max;
        let after = (lane.pace, lane.in_hand());
        self.out_of_hand(before.0, before.1);
        self.taken_in_hand(after.0, after.1);
        self.waiting -= withdrawn.len();
        self.make_ready(id);
        Sent { claim: claim || self.eased(), withdrawn }
    }

    /// The outcomes of so many attempts are stored. Answers whether it is time to claim more.
    pub(super) fn recorded(&mut self, attempts: usize) -> bool {
        self.in_flight -= attempts;
        self.starved && self.room() >= self.in_flight_max
    }

    /// There may be due work, and no room in all to look for it.
    pub(super) fn starve(&mut self) {
        self.starved = true;
    }

    /// The database has due work of these endpoints that was left for want of room. Answers whether there is room for
    /// any of them now.
    pub(super) fn left_due(&mut self, endpoints: &[EndpointId]) -> bool {
        self.starved |= self.room() == 0;
        for id in endpoints {
            self.left(*id);
        }
        self.room() > 0 && endpoints.iter().any(|id| self.free(*id) > 0)
    }

    /// A claim looks at all due work: what was noted before is no longer news.
    pub(super) fn claiming(&mut self) {
        self.starved = false;
        self.crowded.clear();
        self.looks += 1;
        if self.by_endpoint.len() > self.forget_at {
            self.forget_idle();
        }
    }

    fn forget_idle(&mut self) {
        let (mut answering, mut troubled) = (0, 0);
        self.by_endpoint.retain(|_, lane| {
            let (idle, most) = match lane.pace {
                Pace::FallsBehind => (&mut troubled, TROUBLED_LANES_MAX),
                Pace::KeepsUp | Pace::Unknown => (&mut answering, IDLE_LANES_MAX),
            };
            *idle += usize::from(lane.in_hand() == 0);
            lane.in_hand() > 0 || *idle <= most
        });
        // Not before there are twice as many, so that it costs each lane little.
        self.forget_at = (2 * self.by_endpoint.len()).max(IDLE_LANES_MAX);
    }

    /// Takes out what waits for one endpoint, because it has changed.
    pub(super) fn withdraw(&mut self, id: EndpointId) -> Vec<LeasedDelivery> {
        self.changes += 1;
        let Some(lane) = self.by_endpoint.get_mut(&id) else { return Vec::new() };
        let withdrawn: Vec<_> = lane.waiting.drain(..).collect();
        let (pace, idle) = (lane.pace, lane.sending == 0);
        self.waiting -= withdrawn.len();
        self.out_of_hand(pace, withdrawn.len());
        if idle {
            self.by_endpoint.remove(&id);
        }
        withdrawn
    }

    /// Takes out all that waits.
    pub(super) fn withdraw_all(&mut self) -> Vec<LeasedDelivery> {
        self.changes += 1;
        let ids: Vec<_> = self.by_endpoint.keys().copied().collect();
        ids.into_iter().flat_map(|id| self.withdraw(id)).collect()
    }
}

#[cfg(test)]
mod tests;
