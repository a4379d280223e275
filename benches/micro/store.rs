//! A store under measurement, and the round that its deliveries go: accept, claim, record.
//! What depends on the shape of offers, leases and outcomes is in this file alone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use k_webhooks::{
    audit::Author,
    clock::UnixMs,
    delivery::Verdict,
    endpoint::EnabledEvents,
    entropy::Entropy,
    event::{Audience, EventType, NewEvent},
    failing::FailingRules,
    id::IdSource,
    merchant::Tenant,
    operational::Told,
    store::{LeaseOffer, NewEndpoint, NewSecret, PostgresStore, Recorded, Room, SqliteStore, Store},
    vault::Sealed,
};
use tempfile::TempDir;

use crate::{Case, outcome::answered, postgres, runtime};

/// Events of one round, each to one endpoint.
pub(crate) const EVENTS: usize = 64;

/// Endpoints that a round's events go to in turn, each of a merchant of its own.
const ENDPOINTS: usize = 8;

/// It stands still: what is accepted is due at once, and nothing else depends on the time.
const NOW: UnixMs = UnixMs(1_749_651_729_000);

const DAY: Duration = Duration::from_secs(86_400);

/// An event's data; written out here, so that what is counted does not change with the samples of the service.
const DATA: &[u8] = br#"{"object":{"amount":4999,"amount_refunded":0,"created":1749651729,"currency":"USD","description":"Order #1024","id":"ch_sample","metadata":{"order_id":"1024"},"object":"charge","status":"succeeded"}}"#;

/// A part of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Accept,
    Claim,
    Record,
}

impl Step {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Claim => "claim",
            Self::Record => "record",
        }
    }
}

/// A new database with its endpoints.
pub(crate) struct Fixture {
    store: Arc<dyn Store>,
    ids: Arc<IdSource>,
    /// One group of events, which every round accepts anew.
    group: [Vec<NewEvent>; 1],
    _folder: Option<TempDir>,
}

impl Fixture {
    pub(crate) async fn sqlite() -> Self {
        // Not in the system's folder for temporary files, which may be in memory.
        let folder = tempfile::tempdir_in(".").expect("a folder on the disk that is measured");
        let url = format!("sqlite://{}/k.db", folder.path().display());
        let ids = Arc::new(IdSource::new(Entropy::os()));
        let store = SqliteStore::open(&url, Arc::clone(&ids)).await.expect("a database");
        Self::over(Arc::new(store), ids, Some(folder)).await
    }

    pub(crate) async fn postgres(url: &str) -> Self {
        let ids = Arc::new(IdSource::new(Entropy::os()));
        let store = PostgresStore::open(url, postgres::OPTIONS, Arc::clone(&ids)).await.expect("a database");
        Self::over(Arc::new(store), ids, None).await
    }

    async fn over(store: Arc<dyn Store>, ids: Arc<IdSource>, folder: Option<TempDir>) -> Self {
        for number in 0..ENDPOINTS {
            let sealed = Sealed { key_id: "k".to_owned(), ciphertext: vec![0; 90] };
            let endpoint = NewEndpoint {
                id: ids.next(NOW),
                tenant: tenant(number),
                url: "https://example.com/webhooks".to_owned(),
                enabled_events: EnabledEvents::All,
                description: None,
                secret: NewSecret { id: ids.next(NOW), sealed },
            };
            store
                .insert_endpoint(&endpoint, 16, &Author::service(), NOW)
                .await
                .expect("it answers")
                .expect("an endpoint");
        }
        let group = [(0..EVENTS).map(event).collect()];
        Self { store, ids, group, _folder: folder }
    }

    /// Accepts the events, claims their deliveries and records that all succeeded; answers how long one step of it took.
    pub(crate) async fn round(&self, measured: Step) -> Duration {
        let mut took = Duration::ZERO;
        let mut lap = |step, started: Instant| {
            if step == measured {
                took = started.elapsed();
            }
        };
        let started = Instant::now();
        let outcomes = self.store.accept(&self.group, None, NOW.plus(DAY), NOW).await.expect("it answers");
        lap(Step::Accept, started);
        assert_eq!(outcomes[0].as_ref().expect("no conflict").len(), EVENTS);

        let offer = self.offer();
        let started = Instant::now();
        let claimed = self.store.claim(&offer, None, NOW).await.expect("it answers").deliveries;
        lap(Step::Claim, started);
        assert_eq!(claimed.len(), EVENTS);

        let results: Vec<_> =
            claimed.iter().map(|delivery| answered(delivery, Verdict::Succeeded, &self.ids, NOW)).collect();
        let started = Instant::now();
        let recorded = self
            .store
            .record(&results, FailingRules { disable_after: None, told: Told::NOTHING }, NOW)
            .await
            .expect("it answers");
        lap(Step::Record, started);
        assert_eq!(recorded.outcomes, [Recorded::Written; EVENTS]);
        took
    }

    /// Leases for more than a round's deliveries.
    fn offer(&self) -> LeaseOffer {
        let room = Room::new(1024, Arc::new(64));
        LeaseOffer { token: self.ids.next(NOW), until: NOW.plus(DAY), room }
    }
}

fn tenant(number: usize) -> Tenant {
    let merchant_id = format!("m_{}", number % ENDPOINTS).parse().expect("a merchant");
    Tenant { merchant_id, livemode: false }
}

fn event(number: usize) -> NewEvent {
    NewEvent {
        tenant: tenant(number),
        event_type: EventType::ChargeSucceeded,
        created: None,
        data: Bytes::from_static(DATA),
        idempotency_key: None,
        audience: Audience::Matching,
        trace: None,
    }
}

/// Whole rounds on a new file, to count their instructions.
pub(crate) fn rounds_on_sqlite() -> Case {
    let run = |rounds| {
        runtime().block_on(async {
            let fixture = Fixture::sqlite().await;
            for _ in 0..rounds {
                fixture.round(Step::Record).await;
            }
        });
    };
    Case { name: "accept, claim and record 64 on SQLite", times: 25, run: Box::new(run) }
}
