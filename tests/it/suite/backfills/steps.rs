//! Single steps of backfills, on a store without a service.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use k_webhooks::{
    audit::Author,
    backfill::{BackfillStatus, Counted, IN_HAND_MAX, NewBackfill, Next, Scope, Selection, count},
    clock::UnixMs,
    endpoint::EnabledEvents,
    entropy::Entropy,
    event::{Audience, EventType, NewEvent},
    id::{EndpointId, IdSource},
    merchant::Tenant,
    store::{DeliveryFilter, LeaseOffer, NewEndpoint, NewSecret, Page, Position, Room, Store},
    vault::Sealed,
};

use super::super::database;

const NOW: UnixMs = UnixMs(1_749_651_729_000);

/// A store without a service, so that steps are taken by the test alone.
struct Steps {
    store: Arc<dyn Store>,
    ids: Arc<IdSource>,
    tenant: Tenant,
    endpoint: EndpointId,
    _database: crate::support::engine::Database,
}

impl Steps {
    /// An endpoint, and so many events from before it.
    async fn after(events: usize) -> Self {
        let database = database().await;
        let ids = Arc::new(IdSource::new(Entropy::os()));
        let store = database.open(Arc::clone(&ids)).await;
        let tenant = Tenant { merchant_id: "m_1".parse().unwrap(), livemode: false };
        let endpoint = ids.next(NOW);
        let steps = Self { store, ids, tenant, endpoint, _database: database };
        steps.accept(events).await;
        let sealed = Sealed { key_id: "k".to_owned(), ciphertext: vec![1] };
        let new = NewEndpoint {
            id: endpoint,
            tenant: steps.tenant.clone(),
            url: "https://example.com/".to_owned(),
            enabled_events: EnabledEvents::All,
            description: None,
            secret: NewSecret { id: steps.ids.next(NOW), sealed },
        };
        steps.store.insert_endpoint(&new, 16, &Author::service(), NOW).await.unwrap().unwrap();
        steps
    }

    async fn accept(&self, count: usize) -> Vec<String> {
        let event = NewEvent {
            tenant: self.tenant.clone(),
            event_type: EventType::ChargeSucceeded,
            created: None,
            data: Bytes::from_static(br#"{"object":{"id":"ch_1","object":"charge"}}"#),
            idempotency_key: None,
            audience: Audience::Matching,
            trace: None,
        };
        let ends_at = NOW.plus(Duration::from_secs(60));
        let accepted = self.store.accept(&[vec![event; count]], None, ends_at, NOW).await.unwrap();
        accepted.into_iter().flat_map(Result::unwrap).map(|one| one.event.id.to_string()).collect()
    }

    fn new_backfill(&self, per_second: u32) -> NewBackfill {
        let selection = Selection {
            tenant: self.tenant.clone(),
            endpoint_id: self.endpoint,
            created_from: UnixMs(0),
            created_to: NOW,
            types: EnabledEvents::All,
            scope: Scope::Undelivered,
        };
        NewBackfill { id: self.ids.next(NOW), selection, per_second, counted: Counted::default() }
    }

    async fn delivered_events(&self) -> Vec<String> {
        let filter = DeliveryFilter::OfEndpoint(self.endpoint, None);
        let page = Page { limit: 100, position: Position::First };
        let list = self.store.list_deliveries(&self.tenant, &filter, &page).await.unwrap();
        list.unwrap().items.iter().map(|delivery| delivery.event_id.to_string()).collect()
    }
}

#[tokio::test]
async fn a_live_event_finds_at_most_a_handful_of_a_backfill_before_it() {
    let steps = Steps::after(50).await;
    let new = steps.new_backfill(100);
    steps.store.insert_backfill(&new, &Author::service(), NOW).await.unwrap().unwrap();
    let first = steps.store.step_backfill(new.id, NOW).await.unwrap();
    assert_eq!((first.made, first.next), (IN_HAND_MAX, Next::AtOnce));
    let second = steps.store.step_backfill(new.id, NOW).await.unwrap();
    assert_eq!((second.made, second.next), (0, Next::WhenAnswered));
    let live = steps.accept(1).await;
    let room = Room::new(100, Arc::new(100_usize));
    let offer = LeaseOffer { token: steps.ids.next(NOW), until: NOW.plus(Duration::from_secs(60)), room };
    let claimed = steps.store.claim(&offer, None, NOW).await.unwrap().deliveries;
    let ids: Vec<_> = claimed.iter().map(|delivery| delivery.event_id.to_string()).collect();
    assert_eq!(ids.len(), IN_HAND_MAX as usize + 1);
    assert!(ids.contains(&live[0]));
    // Under way they are still in hand.
    assert_eq!(steps.store.step_backfill(new.id, NOW).await.unwrap().next, Next::WhenAnswered);
}

#[tokio::test]
async fn of_processes_that_step_a_backfill_at_the_same_time_one_makes_the_deliveries() {
    let steps = Steps::after(50).await;
    let new = steps.new_backfill(100);
    steps.store.insert_backfill(&new, &Author::service(), NOW).await.unwrap().unwrap();
    let mut together = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (store, backfill) = (Arc::clone(&steps.store), new.id);
        together.spawn(async move { store.step_backfill(backfill, NOW).await.unwrap().made });
    }
    let made: u32 = together.join_all().await.into_iter().sum();
    let events = steps.delivered_events().await;
    assert_eq!((made, events.len()), (IN_HAND_MAX, IN_HAND_MAX as usize));
    assert_eq!(events.iter().collect::<BTreeSet<_>>().len(), events.len());
    let stored = steps.store.backfill(&steps.tenant, new.id).await.unwrap().unwrap();
    assert_eq!(stored.sent, u64::from(made));
}

#[tokio::test]
async fn a_second_backfill_of_an_endpoint_is_not_begun_before_the_first_is_finished() {
    let steps = Steps::after(1).await;
    let (first, second) = (steps.new_backfill(10), steps.new_backfill(10));
    steps.store.insert_backfill(&first, &Author::service(), NOW).await.unwrap().unwrap();
    assert_eq!(steps.store.insert_backfill(&second, &Author::service(), NOW).await.unwrap(), None);
    assert_eq!(steps.store.step_backfill(first.id, NOW).await.unwrap().next, Next::Never);
    assert!(steps.store.insert_backfill(&second, &Author::service(), NOW).await.unwrap().is_some());
}

#[tokio::test]
async fn more_events_than_one_look_takes_are_all_counted_and_looked_at_unless_the_time_to_count_is_up() {
    let steps = Steps::after(4_500).await;
    let new = steps.new_backfill(100);
    let store = steps.store.as_ref();
    let counted = count(store, &new.selection, None).await.unwrap();
    assert_eq!((counted.total(), counted.all), (4_500, true));
    let counted = count(store, &new.selection, Some(Instant::now())).await.unwrap();
    assert_eq!((counted.total(), counted.all), (2_000, false));

    // None match, so that one step passes over all of them.
    let types = EnabledEvents::parse(&["payout.paid".to_owned()]).unwrap();
    let new = NewBackfill { selection: Selection { types, ..new.selection }, counted, ..new };
    let begun = store.insert_backfill(&new, &Author::service(), NOW).await.unwrap().unwrap();
    assert_eq!((begun.matched, begun.counted_all), (2_000, false));
    let stepped = store.step_backfill(new.id, NOW).await.unwrap();
    assert_eq!((stepped.made, stepped.next), (0, Next::Never));
    let done = store.backfill(&steps.tenant, new.id).await.unwrap().unwrap();
    assert_eq!(done.status, BackfillStatus::Completed);
}
