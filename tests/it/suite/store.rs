//! The conformance suite: every operation on every fixture. A second engine is one more line in `engines`.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::database;
use crate::support::{engine::Database, outcome::answered};
use bytes::Bytes;
use k_webhooks::{
    audit::Author,
    clock::UnixMs,
    delivery::{AbandonedReason, AttemptResult, DeliveryStatus, LeasedDelivery, Verdict},
    endpoint::{EnabledEvents, EndpointStatus},
    entropy::Entropy,
    event::{Audience, EventType, NewEvent},
    failing::FailingRules,
    id::{EndpointId, IdSource},
    merchant::Tenant,
    operational::Told,
    store::{
        DeliveryFilter, EndpointChange, EventFilter, LeaseOffer, NewEndpoint, NewSecret, Page, Places,
        Position, Recorded, Room, Store,
    },
    vault::Sealed,
};

pub(super) const NOW: UnixMs = UnixMs(1_749_651_729_000);
pub(super) const RULES: FailingRules =
    FailingRules { disable_after: Some(Duration::from_secs(120 * 3600)), told: Told::NOTHING };
const DAY: Duration = Duration::from_secs(86_400);

pub(super) struct Fixture {
    pub(super) store: Arc<dyn Store>,
    pub(super) ids: Arc<IdSource>,
    pub(super) database: Database,
}

pub(super) async fn fixture() -> Fixture {
    let database = database().await;
    let ids = Arc::new(IdSource::new(Entropy::os()));
    Fixture { store: database.open(Arc::clone(&ids)).await, ids, database }
}

/// Room for some endpoints only.
struct PlacesOf(HashMap<EndpointId, usize>);

impl Places for PlacesOf {
    fn free(&self, endpoint: EndpointId) -> usize {
        self.0.get(&endpoint).copied().unwrap_or_default()
    }
}

pub(super) fn tenant() -> Tenant {
    Tenant { merchant_id: "m_1".parse().unwrap(), livemode: false }
}

fn event(key: Option<&str>) -> NewEvent {
    NewEvent {
        tenant: tenant(),
        event_type: EventType::ChargeSucceeded,
        created: None,
        data: Bytes::from_static(br#"{"object":{"id":"ch_1","object":"charge"}}"#),
        idempotency_key: key.map(str::to_owned),
        audience: Audience::Matching,
        trace: None,
    }
}

impl Fixture {
    pub(super) async fn endpoint(&self) -> EndpointId {
        let sealed = Sealed { key_id: "k".to_owned(), ciphertext: vec![1] };
        let new = NewEndpoint {
            id: self.ids.next(NOW),
            tenant: tenant(),
            url: "https://example.com/".to_owned(),
            enabled_events: EnabledEvents::All,
            description: None,
            secret: NewSecret { id: self.ids.next(NOW), sealed },
        };
        self.store.insert_endpoint(&new, 1000, &Author::service(), NOW).await.unwrap().unwrap().id
    }

    fn offer(&self, now: UnixMs, total: usize, each: usize) -> LeaseOffer {
        let room = Room::new(total, Arc::new(each));
        LeaseOffer { token: self.ids.next(now), until: now.plus(Duration::from_secs(60)), room }
    }

    fn offer_of(&self, total: usize, places: PlacesOf) -> LeaseOffer {
        let room = Room::new(total, Arc::new(places));
        LeaseOffer { token: self.ids.next(NOW), until: NOW.plus(Duration::from_secs(60)), room }
    }

    pub(super) async fn accept(&self, count: usize) {
        let groups: Vec<_> = (0..count).map(|_| vec![event(None)]).collect();
        for outcome in self.store.accept(&groups, None, NOW.plus(DAY), NOW).await.unwrap() {
            outcome.unwrap();
        }
    }

    pub(super) async fn claim(&self, now: UnixMs, total: usize, each: usize) -> Vec<LeasedDelivery> {
        self.store.claim(&self.offer(now, total, each), None, now).await.unwrap().deliveries
    }

    pub(super) fn result(&self, delivery: &LeasedDelivery, verdict: Verdict) -> AttemptResult {
        answered(delivery, verdict, &self.ids, NOW)
    }

    async fn statuses(&self, endpoint: EndpointId) -> Vec<(DeliveryStatus, Option<AbandonedReason>)> {
        let page = Page { limit: 100, position: Position::First };
        let filter = DeliveryFilter::OfEndpoint(endpoint, None);
        let list = self.store.list_deliveries(&tenant(), &filter, &page).await.unwrap().unwrap();
        list.items.iter().map(|delivery| (delivery.status, delivery.abandoned_reason)).collect()
    }
}

#[tokio::test]
async fn claims_are_fair_and_leases_are_exclusive_until_they_end() {
    let fixture = fixture().await;
    let (one, two) = (fixture.endpoint().await, fixture.endpoint().await);
    fixture.accept(10).await;
    let first = fixture.claim(NOW, 100, 3).await;
    for endpoint in [one, two] {
        let share = first.iter().filter(|delivery| delivery.destination.endpoint_id == endpoint).count();
        assert_eq!(share, 3, "each endpoint gets its share");
    }
    assert_eq!(fixture.claim(NOW, 5, 100).await.len(), 5, "the total bounds a claim");
    assert_eq!(fixture.claim(NOW, 100, 100).await.len(), 9, "what is leased is not claimed again");
    assert!(fixture.claim(NOW, 100, 100).await.is_empty());
    let later = NOW.plus(Duration::from_secs(60));
    assert_eq!(fixture.claim(later, 100, 100).await.len(), 20, "ended leases are due again");
}

#[tokio::test]
async fn an_outcome_is_recorded_once_and_only_under_its_lease() {
    let fixture = fixture().await;
    let endpoint = fixture.endpoint().await;
    fixture.accept(1).await;
    let old = fixture.claim(NOW, 1, 1).await.remove(0);
    let later = NOW.plus(Duration::from_secs(60));
    let new = fixture.claim(later, 1, 1).await.remove(0);
    let late = fixture.result(&old, Verdict::Succeeded);
    let late = fixture.store.record(&[late], RULES, later).await.unwrap();
    assert_eq!(late.outcomes, [Recorded::LeaseLost]);
    let retry_at = later.plus(DAY);
    let failed = fixture.result(&new, Verdict::RetryAt(retry_at));
    let written = fixture.store.record(std::slice::from_ref(&failed), RULES, later).await.unwrap();
    assert_eq!(written.outcomes, [Recorded::Written]);
    let repeated = fixture.store.record(&[failed], RULES, later).await.unwrap();
    assert_eq!(repeated.outcomes, [Recorded::Written], "what is stored already counts as written");
    let claimed = fixture.store.claim(&fixture.offer(later, 1, 1), None, later).await.unwrap();
    assert_eq!((claimed.deliveries.len(), claimed.next_due_at), (0, Some(retry_at)));
    let again = fixture.claim(retry_at, 1, 1).await.remove(0);
    assert_eq!((again.attempt_count, again.ladder_failures), (1, 1));
    fixture.store.record(&[fixture.result(&again, Verdict::Succeeded)], RULES, retry_at).await.unwrap();
    assert_eq!(fixture.statuses(endpoint).await, [(DeliveryStatus::Succeeded, None)]);
    let attempts = fixture.store.attempts(new.id).await.unwrap();
    assert_eq!(attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(attempts[0].response_body.as_deref(), Some(b"\0\xff".as_slice()));
}

#[tokio::test]
async fn a_released_lease_is_due_at_once_and_a_late_release_frees_nobody_elses() {
    let fixture = fixture().await;
    fixture.endpoint().await;
    fixture.accept(2).await;
    let leased = fixture.claim(NOW, 2, 2).await;
    fixture.store.release(&[(leased[0].id, leased[0].lease)]).await.unwrap();
    let again = fixture.claim(NOW, 2, 2).await;
    assert_eq!(again.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), [leased[0].id]);
    fixture.store.release(&[(again[0].id, leased[0].lease)]).await.unwrap();
    assert!(fixture.claim(NOW, 2, 2).await.is_empty(), "a lease given back late frees nobody else's");
}

#[tokio::test]
async fn settling_follows_the_endpoint_in_bounded_steps() {
    let fixture = fixture().await;
    let endpoint = fixture.endpoint().await;
    fixture.accept(5).await;
    let change = |status| EndpointChange { status: Some(status), ..EndpointChange::default() };
    let disabled = change(EndpointStatus::Disabled);
    fixture
        .store
        .update_endpoint(&tenant(), endpoint, &disabled, &Author::service(), NOW)
        .await
        .unwrap()
        .unwrap();
    assert!(fixture.claim(NOW, 100, 100).await.is_empty(), "a disabled endpoint is not claimed");
    assert_eq!(fixture.store.unsettled_endpoints(10).await.unwrap(), [endpoint]);
    let cut = NOW.minus(DAY);
    assert_eq!(fixture.store.settle_endpoint(endpoint, cut, 3, NOW).await.unwrap().changed, 3);
    assert_eq!(fixture.store.settle_endpoint(endpoint, cut, 3, NOW).await.unwrap().changed, 2);
    assert_eq!(fixture.store.settle_endpoint(endpoint, cut, 3, NOW).await.unwrap().changed, 0);
    assert!(fixture.statuses(endpoint).await.iter().all(|(status, _)| *status == DeliveryStatus::Held));
    let enabled = change(EndpointStatus::Enabled);
    fixture
        .store
        .update_endpoint(&tenant(), endpoint, &enabled, &Author::service(), NOW)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(fixture.store.settle_endpoint(endpoint, cut, 100, NOW).await.unwrap().changed, 5);
    assert_eq!(fixture.claim(NOW, 100, 100).await.len(), 5);
    assert!(fixture.store.delete_endpoint(&tenant(), endpoint, &Author::service(), NOW).await.unwrap());
    assert_eq!(fixture.store.settle_endpoint(endpoint, cut, 100, NOW).await.unwrap().changed, 5);
    let expected = (DeliveryStatus::Abandoned, Some(AbandonedReason::EndpointDeleted));
    assert!(fixture.statuses(endpoint).await.iter().all(|found| *found == expected));
    assert!(fixture.store.unsettled_endpoints(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn groups_are_accepted_whole_or_not_at_all() {
    let fixture = fixture().await;
    let other = NewEvent { created: Some(1), ..event(Some("a")) };
    let groups = [vec![event(Some("a"))], vec![event(None), other], vec![event(Some("a"))]];
    let outcomes = fixture.store.accept(&groups, None, NOW.plus(DAY), NOW).await.unwrap();
    assert_eq!(outcomes[1].as_ref().unwrap_err().index, 1);
    let (first, replay) = (&outcomes[0].as_ref().unwrap()[0], &outcomes[2].as_ref().unwrap()[0]);
    assert!(!first.replayed && replay.replayed);
    assert_eq!((first.event.id, &first.event.body), (replay.event.id, &replay.event.body));
    let page = Page { limit: 100, position: Position::First };
    let events = fixture.store.list_events(&tenant(), &EventFilter::default(), &page).await.unwrap().unwrap();
    assert_eq!(events.items.len(), 1);
}

#[tokio::test]
async fn pruning_removes_what_is_old_and_closed_in_bounded_steps() {
    let fixture = fixture().await;
    let endpoint = fixture.endpoint().await;
    fixture.accept(4).await;
    let leased = fixture.claim(NOW, 3, 3).await;
    let results: Vec<_> =
        leased.iter().map(|delivery| fixture.result(delivery, Verdict::Succeeded)).collect();
    fixture.store.record(&results, RULES, NOW).await.unwrap();
    let later = NOW.plus(DAY);
    assert_eq!(fixture.store.prune_events(NOW, 10).await.unwrap(), 0, "nothing is older");
    assert_eq!(fixture.store.prune_events(later, 2).await.unwrap(), 2);
    assert_eq!(fixture.store.prune_events(later, 2).await.unwrap(), 1);
    assert_eq!(fixture.store.prune_events(later, 2).await.unwrap(), 0, "an open delivery keeps its event");
    assert_eq!(fixture.statuses(endpoint).await, [(DeliveryStatus::Pending, None)]);
    assert!(fixture.store.attempts(leased[0].id).await.unwrap().is_empty());
    assert_eq!(fixture.store.expire_idempotency_keys(10, later).await.unwrap(), 0);
    assert!(fixture.store.delete_endpoint(&tenant(), endpoint, &Author::service(), NOW).await.unwrap());
    assert_eq!(fixture.store.purge_deleted_endpoints(10).await.unwrap(), 0, "a delivery still refers to it");
    fixture.store.settle_endpoint(endpoint, NOW, 10, NOW).await.unwrap();
    fixture.store.prune_events(later, 10).await.unwrap();
    assert_eq!(fixture.store.purge_deleted_endpoints(10).await.unwrap(), 1);
}

#[tokio::test]
async fn one_process_at_a_time_has_a_turn_at_the_upkeep() {
    let store = fixture().await.store;
    let (until, rest) = (NOW.plus(Duration::from_secs(120)), NOW.plus(Duration::from_secs(30)));
    assert!(store.take_upkeep_turn("sweep", until, NOW).await.unwrap());
    assert!(!store.take_upkeep_turn("sweep", until, NOW).await.unwrap(), "it is taken");
    assert!(store.take_upkeep_turn("prune", until, NOW).await.unwrap(), "another part is not");
    store.end_upkeep_turn("sweep", rest, NOW).await.unwrap();
    assert!(!store.take_upkeep_turn("sweep", until, NOW).await.unwrap(), "not twice in one round");
    assert!(store.take_upkeep_turn("sweep", until, rest).await.unwrap());
    let later = until.plus(Duration::from_secs(120));
    assert!(store.take_upkeep_turn("prune", later, until).await.unwrap(), "a turn that was never ended");
}

#[tokio::test]
async fn an_endpoint_that_is_switched_off_while_events_are_accepted_leaves_none_of_them_due() {
    let fixture = fixture().await;
    let endpoint = fixture.endpoint().await;
    for status in [EndpointStatus::Disabled, EndpointStatus::Enabled].repeat(10) {
        let change = EndpointChange { status: Some(status), ..EndpointChange::default() };
        let switch = async {
            fixture
                .store
                .update_endpoint(&tenant(), endpoint, &change, &Author::service(), NOW)
                .await
                .unwrap()
                .unwrap();
            fixture.store.settle_endpoint(endpoint, NOW.minus(DAY), 1000, NOW).await.unwrap();
        };
        let claim = fixture.claim(NOW, 1, 1);
        tokio::join!(fixture.accept(5), switch, fixture.accept(5), claim);
        assert!(fixture.store.unsettled_endpoints(10).await.unwrap().is_empty(), "{status:?}");
    }
    assert_eq!(fixture.statuses(endpoint).await.len(), 100);
}

#[tokio::test]
async fn a_database_that_a_later_version_has_migrated_is_still_served() {
    let fixture = fixture().await;
    fixture.store.close().await;
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 SELECT 9999, 'of a later version', success, checksum, 0 FROM _sqlx_migrations LIMIT 1";
    fixture.database.execute(later).await;
    let again = fixture.database.open(Arc::clone(&fixture.ids)).await;
    assert!(again.list_endpoints(&tenant(), &Page { limit: 1, position: Position::First }).await.is_ok());
}

#[tokio::test]
async fn endpoints_with_long_backlogs_and_little_room_hide_no_other() {
    let fixture = fixture().await;
    let mut endpoints = Vec::new();
    for _ in 0..12 {
        endpoints.push(fixture.endpoint().await);
    }
    fixture.accept(20).await;
    let places = endpoints.iter().map(|endpoint| (*endpoint, if *endpoint == endpoints[0] { 10 } else { 1 }));
    let offer = fixture.offer_of(60, PlacesOf(places.collect()));
    let claimed = fixture.store.claim(&offer, None, NOW).await.unwrap();
    let of = |endpoint: &EndpointId| {
        claimed.deliveries.iter().filter(|delivery| delivery.destination.endpoint_id == *endpoint).count()
    };
    assert_eq!(of(&endpoints[0]), 10);
    assert!(endpoints[1..].iter().all(|endpoint| of(endpoint) == 1));
    assert_eq!(claimed.left_due.len(), 12, "each has more, and that is known");
}

#[tokio::test]
async fn where_more_is_due_than_one_look_covers_endpoints_are_looked_at_in_turn() {
    let fixture = fixture().await;
    let mut endpoints = Vec::new();
    for _ in 0..300 {
        endpoints.push(fixture.endpoint().await);
    }
    fixture.accept(2).await;
    // Room for none but the last, which are behind the first look.
    let offer =
        fixture.offer_of(1000, PlacesOf(endpoints[280..].iter().map(|endpoint| (*endpoint, 1)).collect()));
    let claimed = fixture.store.claim(&offer, None, NOW).await.unwrap();
    let first: HashSet<_> =
        claimed.deliveries.iter().map(|delivery| delivery.destination.endpoint_id).collect();
    assert_eq!(first, endpoints[280..].iter().copied().collect());
    assert!(
        claimed.left_due.len() >= 280 && !claimed.unseen,
        "all were looked at: {}",
        claimed.left_due.len()
    );
    // Room for none but the first, and the look begins behind them.
    let offer =
        fixture.offer_of(1000, PlacesOf(endpoints[..3].iter().map(|endpoint| (*endpoint, 1)).collect()));
    let claimed = fixture.store.claim(&offer, Some(endpoints[100]), NOW).await.unwrap();
    assert_eq!(claimed.deliveries.len(), 3);
    assert!(!claimed.unseen, "it went once round");
    // All of it, claim by claim, each where the one before ended.
    let (mut rest, mut after, mut unseen) = (0, None, 0);
    loop {
        let claimed = fixture.store.claim(&fixture.offer(NOW, 1000, 1000), after, NOW).await.unwrap();
        assert!(claimed.deliveries.len() <= 512, "a claim is bounded");
        rest += claimed.deliveries.len();
        after = claimed.looked_up_to;
        unseen += usize::from(claimed.unseen);
        if claimed.deliveries.is_empty() {
            break;
        }
    }
    assert_eq!(rest, 600 - 20 - 3);
    assert!(unseen > 0, "one look does not cover them");
}

#[tokio::test]
async fn a_small_share_of_a_backlog_is_claimed_at_once_so_that_processes_take_turns() {
    let fixture = fixture().await;
    fixture.endpoint().await;
    fixture.accept(700).await;
    let claimed = fixture.store.claim(&fixture.offer(NOW, 1000, 1000), None, NOW).await.unwrap();
    assert_eq!((claimed.deliveries.len(), claimed.left_due.len()), (512, 1));
}

#[tokio::test]
async fn outcomes_are_recorded_together_whether_or_not_something_happened_to_their_deliveries_meanwhile() {
    let fixture = fixture().await;
    let endpoint = fixture.endpoint().await;
    fixture.accept(3).await;
    let leased = fixture.claim(NOW, 3, 3).await;
    let later = NOW.plus(Duration::from_secs(1));
    fixture.store.retry_delivery(&tenant(), leased[1].id, later).await.unwrap().unwrap();
    fixture.store.release(&[(leased[2].id, leased[2].lease)]).await.unwrap();
    let retry_at = later.plus(DAY);
    let results: Vec<_> =
        leased.iter().map(|delivery| fixture.result(delivery, Verdict::RetryAt(retry_at))).collect();
    let recorded = fixture.store.record(&results, RULES, later).await.unwrap();
    assert_eq!(recorded.outcomes, [Recorded::Written, Recorded::Written, Recorded::LeaseLost]);
    let mut next = Vec::new();
    for delivery in &leased {
        let delivery = fixture.store.delivery(&tenant(), delivery.id).await.unwrap().unwrap();
        next.push((delivery.next_attempt_at, delivery.attempt_count));
    }
    assert_eq!(next, [(Some(retry_at), 1), (Some(later), 1), (Some(NOW), 0)]);
    assert_eq!(fixture.statuses(endpoint).await, [(DeliveryStatus::Pending, None); 3]);
    let again = fixture.store.record(&results[..2], RULES, later).await.unwrap();
    assert_eq!(
        again.outcomes,
        [Recorded::Written, Recorded::Written],
        "a commit whose answer was lost counts"
    );
}
