//! What operations of the store cost beside much data, and beside little: the same operations on the same endpoints.

use std::{
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

const ROUNDS: usize = 60;
const EVENTS: usize = 64;
const CLAIMED: usize = 256;

const NOW: UnixMs = UnixMs(1_800_000_000_000);

/// Compares the two.
pub(crate) async fn measure(engine: Engine) {
    report(&format!(
        "\n# {engine:?}: accept {EVENTS} events with 10 deliveries each, claim and record {CLAIMED} deliveries"
    ));
    let little = costs(engine, 0, DUE_AT_LEAST).await;
    let much = costs(engine, FINISHED, DUE).await;
    for ((name, little), much) in ["accept", "claim", "record"].iter().zip(little).zip(much) {
        #[expect(clippy::cast_precision_loss, reason = "microseconds")]
        let ratio = much.value_at_quantile(0.5) as f64 / little.value_at_quantile(0.5) as f64;
        report(&format!(
            "{name}: {} beside {FINISHED} finished and {DUE} due deliveries, {} beside {DUE_AT_LEAST} due = {ratio:.2} at p50",
            quantiles(&much),
            quantiles(&little)
        ));
    }
}

async fn costs(engine: Engine, finished: usize, due: usize) -> [hdrhistogram::Histogram<u64>; 3] {
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
    costs.measure(5).await;
    let measured = costs.measure(ROUNDS).await;
    costs.store.close().await;
    measured
}

struct Costs {
    store: Arc<dyn Store>,
    ids: IdSource,
}

impl Costs {
    async fn measure(&self, rounds: usize) -> [hdrhistogram::Histogram<u64>; 3] {
        let [mut accept, mut claim, mut store] = [histogram(), histogram(), histogram()];
        let mut after: Option<EndpointId> = None;
        for round in 0..rounds {
            let groups: Vec<_> = (0..EVENTS).map(|number| vec![event(round * EVENTS + number)]).collect();
            let offer = self.offer(usize::MAX >> 1);
            let began = Instant::now();
            let accepted = self.store.accept(&groups, Some(&offer), NOW, NOW).await.expect("it accepts");
            record(&mut accept, began.elapsed());
            assert!(accepted.iter().flatten().flatten().all(|accepted| accepted.leased.len() == 10));

            let offer = self.offer(CLAIMED);
            let began = Instant::now();
            let claimed = self.store.claim(&offer, after, NOW).await.expect("it claims");
            record(&mut claim, began.elapsed());
            assert_eq!(claimed.deliveries.len(), CLAIMED);
            after = claimed.looked_up_to;

            let results: Vec<_> = claimed
                .deliveries
                .iter()
                .map(|delivery| answered(delivery, Verdict::Succeeded, &self.ids, NOW))
                .collect();
            let began = Instant::now();
            let recorded = self
                .store
                .record(&results, FailingRules { disable_after: None, told: Told::NOTHING }, NOW)
                .await
                .expect("it records");
            record(&mut store, began.elapsed());
            assert!(
                recorded.outcomes.iter().all(|recorded| *recorded == k_webhooks::store::Recorded::Written)
            );
        }
        [accept, claim, store]
    }

    fn offer(&self, total: usize) -> LeaseOffer {
        let until = NOW.plus(Duration::from_secs(60));
        LeaseOffer { token: self.ids.next(NOW), until, room: Room::new(total, Arc::new(total)) }
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
