//! What operations of the store cost beside much data, and beside little: the same operations on the same endpoints.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Bytes;
use k_webhooks::{
    clock::UnixMs,
    delivery::Verdict,
    entropy::Entropy,
    event::{Audience, EventType, NewEvent},
    failing::FailingRules,
    id::{EndpointId, IdSource},
    merchant::Tenant,
    operational::Told,
    store::{LeaseOffer, Room, Store},
};

use crate::{
    Engine,
    load::{histogram, quantiles, record},
    outcome::answered,
    report,
    storage::Storage,
};

const FINISHED: usize = 10_000_000;
const DUE: usize = 1_000_000;

/// Due beside little data: enough for every claim that is measured.
const DUE_AT_LEAST: usize = 40_000;

const WARM_UP: usize = 5;
const ROUNDS: usize = 60;
const EVENTS: usize = 64;
const CLAIMED: usize = 256;

/// When the first round begins; each takes a millisecond on this clock, so that leases end one after the other.
const BEGIN: UnixMs = UnixMs(1_800_000_000_000);

/// What is measured: accepting touches the end of each endpoint's list, so it is done for many of them and for few.
const OPERATIONS: [&str; 4] =
    ["accept, each of another merchant", "accept, all of one merchant", "claim", "record"];

type Measured = [hdrhistogram::Histogram<u64>; OPERATIONS.len()];

/// Compares the two.
pub(crate) async fn measure(engine: Engine) {
    report(&format!(
        "\n# {engine:?}: accept {EVENTS} events with 10 deliveries each, claim and record {CLAIMED} deliveries"
    ));
    let little = costs(engine, 0, DUE_AT_LEAST).await;
    let much = costs(engine, FINISHED, DUE).await;
    for ((name, little), much) in OPERATIONS.iter().zip(little).zip(much) {
        #[expect(clippy::cast_precision_loss, reason = "microseconds")]
        let ratio = much.value_at_quantile(0.5) as f64 / little.value_at_quantile(0.5) as f64;
        report(&format!(
            "{name}: {} beside {FINISHED} finished and {DUE} due deliveries, {} beside {DUE_AT_LEAST} due = {ratio:.2} at p50",
            quantiles(&much),
            quantiles(&little)
        ));
    }
}

async fn costs(engine: Engine, finished: usize, due: usize) -> Measured {
    let storage = Storage::new(engine).await;
    // Opening brings the tables up to date.
    storage.open().await.close().await;
    let started = Instant::now();
    storage.fill(finished, due, UnixMs(0)).await;
    if finished > 0 {
        let gib = storage.bytes().await >> 30;
        report(&format!("(filled in {:.0} s, {gib} GiB)", started.elapsed().as_secs_f64()));
    }
    let costs = Costs { store: storage.open().await, ids: IdSource::new(Entropy::os()) };
    // Once to warm up.
    costs.measure(0..WARM_UP).await;
    let measured = costs.measure(WARM_UP..WARM_UP + ROUNDS).await;
    costs.store.close().await;
    measured
}

struct Costs {
    store: Arc<dyn Store>,
    ids: IdSource,
}

impl Costs {
    async fn measure(&self, rounds: Range<usize>) -> Measured {
        let [mut of_many, mut of_one, mut claim, mut store] = std::array::from_fn(|_| histogram());
        let mut after: Option<EndpointId> = None;
        for round in rounds {
            let now = BEGIN.plus(Duration::from_millis(round.try_into().expect("few")));
            record(&mut of_many, self.accept(|number| event(round * EVENTS + number), now).await);
            record(&mut of_one, self.accept(|_| event(round), now).await);

            let offer = self.offer(CLAIMED, now);
            let began = Instant::now();
            let claimed = self.store.claim(&offer, after, now).await.expect("it claims");
            record(&mut claim, began.elapsed());
            assert_eq!(claimed.deliveries.len(), CLAIMED);
            after = claimed.looked_up_to;

            let results: Vec<_> = claimed
                .deliveries
                .iter()
                .map(|delivery| answered(delivery, Verdict::Succeeded, &self.ids, now))
                .collect();
            let began = Instant::now();
            let recorded = self
                .store
                .record(&results, FailingRules { disable_after: None, told: Told::NOTHING }, now)
                .await
                .expect("it records");
            record(&mut store, began.elapsed());
            assert!(
                recorded.outcomes.iter().all(|recorded| *recorded == k_webhooks::store::Recorded::Written)
            );
        }
        [of_many, of_one, claim, store]
    }

    /// How long it takes to accept these events, each a request of its own.
    async fn accept(&self, event: impl Fn(usize) -> NewEvent, now: UnixMs) -> Duration {
        let groups: Vec<_> = (0..EVENTS).map(|number| vec![event(number)]).collect();
        let offer = self.offer(usize::MAX >> 1, now);
        let began = Instant::now();
        let accepted = self.store.accept(&groups, Some(&offer), now, now).await.expect("it accepts");
        let took = began.elapsed();
        assert!(accepted.iter().flatten().flatten().all(|accepted| accepted.leased.len() == 10));
        took
    }

    fn offer(&self, total: usize, now: UnixMs) -> LeaseOffer {
        let until = now.plus(Duration::from_secs(60));
        LeaseOffer { token: self.ids.next(now), until, room: Room::new(total, Arc::new(total)) }
    }
}

/// An event of one of the hundred merchants.
fn event(number: usize) -> NewEvent {
    NewEvent {
        tenant: Tenant {
            merchant_id: format!("m_{}", number % 100).parse().expect("an id"),
            livemode: false,
        },
        event_type: EventType::ChargeSucceeded,
        created: None,
        data: Bytes::from_static(
            br#"{"object":{"id":"ch_1","object":"charge","amount":4999,"currency":"USD"}}"#,
        ),
        idempotency_key: None,
        audience: Audience::Matching,
        trace: None,
    }
}
