//! The worker: takes leased deliveries into lanes, has them attempted, and records what came of it.
//!
//! Work arrives in two ways. Deliveries of events that were just accepted are handed over with their leases, and
//! [`Dispatcher::step`] claims all else that is due: retries, lost leases, and what did not fit a lane. Both meet in the
//! lanes. Nothing is held while an attempt is on the network but its lease and its place in the lane.

mod activity;
mod lanes;
mod limits;
mod recorder;

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    attempt::Attempter,
    clock::{Clock, UnixMs},
    delivery::{AttemptResult, LeasedDelivery},
    feed::Feed,
    id::{EndpointId, IdSource},
    kill_point::{KillPoint, reached},
    metrics::{Commit, Metrics},
    statistics::Statistics,
    store::{LeaseOffer, News, Places, Result, Room, Store},
    transport::FailureCode,
};

use activity::Activity;
pub use activity::Busy;
pub use lanes::LaneUse;
use lanes::{Lanes, Pace};
pub use limits::Limits;
use recorder::Note;
pub use recorder::Recorder;

/// How often due work is looked for where other processes may make some and cannot be heard.
pub(crate) const DEAF_POLL: Duration = Duration::from_secs(1);

/// The worker's handle; clones share it.
#[derive(Clone)]
pub struct Dispatcher(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    statistics: Arc<Statistics>,
    clock: Clock,
    ids: Arc<IdSource>,
    attempter: Attempter,
    limits: Limits,
    lanes: Arc<Mutex<Lanes>>,
    wake: Notify,
    /// When the loop looks again by itself.
    waits_until: AtomicI64,
    /// One claim at a time: the loop's, or the test clock's. Holds after which endpoint the last one ended its look.
    claiming: tokio::sync::Mutex<Option<EndpointId>>,
    activity: Activity,
    notes: mpsc::UnboundedSender<Note>,
    /// What the other processes are to be told.
    news: mpsc::UnboundedSender<News>,
    feed: Feed,
    /// Whether other processes may make work and this one does not hear of it.
    deaf: AtomicBool,
    /// Ends attempts under way when the grace has passed.
    cut_short: CancellationToken,
    /// Whether this process takes deliveries: not before it runs, nor while it drains.
    taking: AtomicBool,
    attempts_recorded: AtomicU64,
    metrics: Arc<Metrics>,
    /// Where attempts run: not where outcomes are stored, whose turn must not wait behind theirs.
    runtime: Handle,
    sending: TaskTracker,
}

/// What this process can take now.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The leases.
    pub leases: LeaseOffer,
    /// Which changes of endpoints had been seen.
    changes: u64,
}

/// What a step found.
#[derive(Debug)]
pub struct Step {
    /// How many deliveries it claimed.
    pub claimed: usize,
    /// When the next delivery becomes due.
    pub next_due_at: Option<UnixMs>,
    /// Whether more is due that would fit.
    pub more: bool,
}

/// Deliveries that follow their endpoint in one transaction.
const SETTLE_BATCH: u32 = 5_000;

/// After a failed claim, so that a database that is away is not hammered.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

/// What asks for a look comes in crowds: a hundred dead endpoints time out together, and a claim for each of them would
/// keep the database from everything else for a quarter of a second.
const GATHER: Duration = Duration::from_millis(10);

/// Longer than a claim takes.
const PAUSE_WHILE_OTHERS_CLAIM: Duration = Duration::from_millis(100);

impl Dispatcher {
    /// A dispatcher that takes nothing until [`Dispatcher::run`], and makes its attempts on this runtime.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "its parts, each named where it is put together")]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        ids: Arc<IdSource>,
        attempter: Attempter,
        limits: Limits,
        news: mpsc::UnboundedSender<News>,
        metrics: Arc<Metrics>,
        statistics: Arc<Statistics>,
    ) -> (Self, Recorder) {
        // Not bounded here: as many notes exist as deliveries are in hand, which the lanes bound.
        let (notes, received) = mpsc::unbounded_channel();
        let dispatcher = Self(Arc::new(Inner {
            store,
            statistics,
            clock,
            ids,
            attempter,
            limits,
            lanes: Arc::new(Mutex::new(Lanes::new(limits.in_flight, limits.in_flight_per_endpoint))),
            wake: Notify::new(),
            waits_until: AtomicI64::new(i64::MAX),
            claiming: tokio::sync::Mutex::new(None),
            activity: Activity::default(),
            notes,
            news,
            feed: Feed::default(),
            deaf: AtomicBool::new(false),
            cut_short: CancellationToken::new(),
            taking: AtomicBool::new(false),
            attempts_recorded: AtomicU64::new(0),
            metrics,
            runtime: Handle::current(),
            sending: TaskTracker::new(),
        }));
        (dispatcher.clone(), Recorder::new(dispatcher, received))
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        locked(&self.0.lanes)
    }

    /// Claims and sends until `stop`: a step, then a wait for news or for the next due time.
    pub async fn run(&self, stop: CancellationToken) {
        self.0.taking.store(true, Ordering::SeqCst);
        while !stop.is_cancelled() {
            // While this looks, any new due time wakes it again: `notify_one` leaves a permit for the wait.
            self.0.waits_until.store(i64::MAX, Ordering::SeqCst);
            let wait = match self.step().await {
                Ok(step) if step.more && step.claimed > 0 => continue,
                // There is room, and what is due is in another process's hands just now.
                Ok(step) if step.more => Wait::Briefly(PAUSE_WHILE_OTHERS_CLAIM),
                Ok(step) => {
                    self.0.waits_until.store(step.next_due_at.map_or(i64::MAX, |at| at.0), Ordering::SeqCst);
                    Wait::ForDue(step.next_due_at)
                }
                Err(error) => {
                    tracing::warn!(%error, "due deliveries cannot be claimed");
                    Wait::Briefly(PAUSE_AFTER_ERROR)
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.0.wake.notified() => tokio::time::sleep(GATHER).await,
                () = self.wait(wait) => {}
            }
        }
    }

    async fn wait(&self, wait: Wait) {
        let due = async {
            match wait {
                Wait::ForDue(Some(at)) => self.0.clock.sleep_until(at).await,
                Wait::ForDue(None) => std::future::pending().await,
                Wait::Briefly(pause) => tokio::time::sleep(pause).await,
            }
        };
        let poll = if self.0.deaf.load(Ordering::SeqCst) { DEAF_POLL } else { self.0.limits.poll };
        // Running out of time is the poll.
        drop(tokio::time::timeout(poll, due).await);
    }

    /// Claims what is due and fits, and has it sent.
    pub async fn step(&self) -> Result<Step> {
        let mut looked_up_to = self.0.claiming.lock().await;
        let _busy = self.0.activity.busy();
        let now = self.0.clock.now();
        let offer = {
            let mut lanes = self.lanes();
            let offer = self.offer_of(&lanes, now);
            // Under one lock with the look at the room: a place that is freed in between would wake nobody.
            if offer.leases.room.total() == 0 || !self.is_taking() {
                lanes.starve();
                return Ok(Step { claimed: 0, next_due_at: None, more: false });
            }
            lanes.claiming();
            offer
        };
        let (metrics, begun_at) = (&self.0.metrics, Instant::now());
        let claimed = self.0.store.claim(&offer.leases, *looked_up_to, now).await;
        let claimed = claimed.inspect_err(|_| metrics.commit_failed(Commit::Claim))?;
        *looked_up_to = claimed.looked_up_to;
        let count = claimed.deliveries.len();
        if count > 0 {
            metrics.committed(Commit::Claim, count, begun_at.elapsed());
        }
        self.take(claimed.deliveries, &offer);
        let more = self.lanes().left_due(&claimed.left_due) || claimed.unseen;
        Ok(Step { claimed: count, next_due_at: claimed.next_due_at, more })
    }

    /// Sends all that is due now and waits until it is recorded. Answers when the next delivery becomes due.
    pub async fn finish_due(&self) -> Result<Option<UnixMs>> {
        loop {
            self.0.activity.idle().await;
            let step = self.step().await?;
            if step.claimed == 0 && !step.more {
                return Ok(step.next_due_at);
            }
        }
    }

    /// Leases for deliveries that are due as they are made, as far as there is room; none while nothing is taken.
    #[must_use]
    pub fn offer(&self, now: UnixMs) -> Option<Offer> {
        self.is_taking().then(|| self.offer_of(&self.lanes(), now))
    }

    fn offer_of(&self, lanes: &Lanes, now: UnixMs) -> Offer {
        let until = now.plus(self.0.limits.lease());
        let room = Room::new(lanes.room(), Arc::clone(&self.0.lanes) as Arc<dyn Places>);
        let leases = LeaseOffer { token: self.0.ids.next(now), until, room };
        Offer { leases, changes: lanes.changes() }
    }

    /// Keeps the test clock from moving on while the guard lives.
    #[must_use]
    pub fn busy(&self) -> Busy<'_> {
        self.0.activity.busy()
    }

    /// Takes over deliveries that were leased by this offer. Where an endpoint has changed since, it might be one of
    /// theirs: they go back, to be claimed as it is now.
    pub fn take(&self, deliveries: Vec<LeasedDelivery>, offer: &Offer) {
        if deliveries.is_empty() {
            return;
        }
        self.0.activity.begin(deliveries.len());
        let mut not_taken = Vec::new();
        {
            let mut lanes = self.lanes();
            let current = self.is_taking() && lanes.changes() == offer.changes;
            for delivery in deliveries {
                let taken = if current { lanes.offer(delivery) } else { Err(delivery) };
                not_taken.extend(taken.err());
            }
        }
        self.give_back(not_taken);
        self.send_ready();
    }

    /// Notes that these endpoints have due work in the database, and looks for what fits.
    pub fn left_due(&self, endpoints: &[EndpointId]) {
        if endpoints.is_empty() {
            return;
        }
        let has_room = self.lanes().left_due(endpoints);
        if self.is_taking() && has_room {
            self.wake();
        } else {
            self.tell(News::Due);
        }
    }

    /// A delivery will be due at this instant.
    fn due_at(&self, at: UnixMs) {
        if at.0 < self.0.waits_until.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Due work may exist: looks for it.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Due work was made: whoever works looks for it.
    pub fn made_due(&self) {
        if self.is_taking() {
            self.wake();
        } else {
            self.tell(News::Due);
        }
    }

    fn tell(&self, news: News) {
        // Whoever passes it on outlives the dispatcher, but for the last moments of the process.
        let _ = self.0.news.send(news);
    }

    /// What tells the streams that are open in this process.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.0.feed
    }

    /// Whether this process hears the others from now on. What was leased while it did not may be out of date.
    pub fn hears_others(&self, hears: bool) {
        if self.0.deaf.swap(!hears, Ordering::SeqCst) && hears {
            let withdrawn = self.lanes().withdraw_all();
            self.give_back(withdrawn);
        }
        self.wake();
    }

    /// What waits for this endpoint was leased with an address and secrets that may be out of date: it goes back, to be
    /// claimed as the endpoint is now.
    pub fn withdraw(&self, id: EndpointId) {
        let withdrawn = self.lanes().withdraw(id);
        self.give_back(withdrawn);
        self.wake();
    }

    /// The same here and in the other processes, which are told before this returns.
    pub async fn endpoint_changed(&self, id: EndpointId) {
        self.withdraw(id);
        if let Err(error) = self.0.store.announce(&[News::EndpointChanged(id)]).await {
            tracing::debug!(%error, "the other processes are told of a changed endpoint later");
            self.tell(News::EndpointChanged(id));
        }
    }

    /// Has an endpoint's deliveries follow a change of it, some thousands in a transaction, and looks for what became
    /// due. The change itself is stored: what a fault leaves undone here, the sweep finishes.
    pub async fn follow_endpoint(&self, id: EndpointId) {
        self.endpoint_changed(id).await;
        loop {
            let now = self.0.clock.now();
            let window_cut = now.minus(self.0.limits.window);
            match self.0.store.settle_endpoint(id, window_cut, SETTLE_BATCH, now).await {
                Ok(settled) => {
                    self.0.metrics.settled(settled);
                    if settled.changed < SETTLE_BATCH {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, endpoint = %id, "its deliveries follow their endpoint with the next sweep");
                    break;
                }
            }
        }
        self.made_due();
    }

    /// The same, for an endpoint that was disabled by an outcome, without holding up what is to be recorded next.
    fn follow_disabled_endpoint(&self, id: EndpointId) {
        let dispatcher = self.clone();
        self.0.activity.begin(1);
        let follow = async move {
            dispatcher.follow_endpoint(id).await;
            dispatcher.0.activity.end(1);
        };
        self.0.sending.spawn_on(follow, &self.0.runtime);
    }

    /// What the lanes hold just now.
    #[must_use]
    pub fn lane_use(&self) -> LaneUse {
        self.lanes().in_use()
    }

    /// Whether this process need not look for work that others make.
    #[must_use]
    pub fn is_hearing(&self) -> bool {
        !self.0.deaf.load(Ordering::SeqCst)
    }

    /// How many attempts this process has recorded.
    #[must_use]
    pub fn attempts_recorded(&self) -> u64 {
        self.0.attempts_recorded.load(Ordering::SeqCst)
    }

    /// Takes nothing more, gives back what waits, and returns when what is under way is recorded.
    pub async fn drain(&self) {
        self.0.taking.store(false, Ordering::SeqCst);
        let withdrawn = self.lanes().withdraw_all();
        self.give_back(withdrawn);
        self.0.activity.idle().await;
    }

    /// Ends the attempts that are under way, unrecorded, and gives their leases back.
    pub async fn cut_short(&self) {
        self.0.cut_short.cancel();
        self.drain().await;
    }

    fn is_taking(&self) -> bool {
        self.0.taking.load(Ordering::SeqCst)
    }

    fn give_back(&self, deliveries: Vec<LeasedDelivery>) {
        for delivery in deliveries {
            self.note(Note::Unsent(delivery.id, delivery.lease));
        }
    }

    fn note(&self, note: Note) {
        // The recorder outlives every delivery in hand; where it is gone, the process is ending and the lease lapses.
        let _ = self.0.notes.send(note);
    }

    fn send_ready(&self) {
        let ready: Vec<_> = {
            let mut lanes = self.lanes();
            std::iter::from_fn(|| lanes.start()).collect()
        };
        for delivery in ready {
            let dispatcher = self.clone();
            self.0.sending.spawn_on(async move { dispatcher.send(delivery).await }, &self.0.runtime);
        }
    }

    async fn send(&self, delivery: LeasedDelivery) {
        let (id, lease, endpoint) = (delivery.id, delivery.lease, delivery.destination.endpoint_id);
        let begins_by = delivery.leased_until.minus(self.0.limits.lease_to_begin());
        let (note, pace) = if self.0.clock.now() > begins_by {
            (Note::Unattempted(id, lease), Pace::Unknown)
        } else {
            reached(KillPoint::BeforeSend);
            // A panic costs this attempt and nothing else.
            let attempt = AssertUnwindSafe(self.0.attempter.attempt(&delivery)).catch_unwind();
            tokio::select! {
                attempted = attempt => {
                    let result = attempted.unwrap_or_else(|_| self.0.attempter.panicked(&delivery));
                    reached(KillPoint::AfterSend);
                    let pace = pace(&result);
                    (Note::Attempted(Box::new(result)), pace)
                }
                () = self.0.cut_short.cancelled() => (Note::Unattempted(id, lease), Pace::Unknown),
            }
        };
        let sent = self.lanes().sent(endpoint, pace);
        self.note(note);
        self.give_back(sent.withdrawn);
        self.send_ready();
        if sent.claim {
            self.wake();
        }
    }
}

/// What this process can take for an endpoint.
impl Places for Mutex<Lanes> {
    fn free(&self, endpoint: EndpointId) -> usize {
        locked(self).free(endpoint)
    }
}

fn locked(lanes: &Mutex<Lanes>) -> MutexGuard<'_, Lanes> {
    lanes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the endpoint can take more.
fn pace(result: &AttemptResult) -> Pace {
    use FailureCode::{Connection, Dns, Timeout, Tls};
    let unreached = matches!(result.attempt.failure_code, Some(Timeout | Connection | Dns | Tls));
    let refused = matches!(result.attempt.response_status, Some(429 | 503));
    if unreached || refused { Pace::FallsBehind } else { Pace::KeepsUp }
}

enum Wait {
    ForDue(Option<UnixMs>),
    Briefly(Duration),
}
