//! Reconciliations: counts that add up, every difference by its id, and what a receiver lacks.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::TestApp;
use crate::support::{
    Answer, Caller, charge, id,
    receiver::{Act, Receiver},
};

const PATH: &str = "/v1/reconciliations";
const ENDPOINTS: &str = "/v1/webhook_endpoints";

/// Every event of the present and the near future, with other members.
fn range_with(members: Value) -> Value {
    let mut body = json!({ "created_gte": 0, "created_lte": 253_402_300_799_i64 });
    let Value::Object(members) = members else { panic!("an object") };
    body.as_object_mut().unwrap().extend(members);
    body
}

async fn ask(caller: &Caller, members: Value) -> Answer {
    caller.post(PATH, range_with(members)).await
}

fn payout() -> Value {
    let mut event = charge();
    (event["type"], event["data"]["object"]["object"]) = (json!("payout.paid"), json!("payout"));
    event
}

/// Which events differ, and how each stands.
fn differences(page: &Value) -> Vec<(&str, &str, &Value)> {
    let differences = page["differences"].as_array().unwrap().iter();
    differences
        .map(|one| (one["event"].as_str().unwrap(), one["outcome"].as_str().unwrap(), &one["processed"]))
        .collect()
}

/// A merchant with one event of each outcome.
struct Outcomes {
    app: TestApp,
    receiver: Receiver,
    endpoint: Value,
    no_delivery: Value,
    abandoned: Value,
    succeeded: Value,
    pending: Value,
    held: Value,
}

impl Outcomes {
    async fn build() -> Self {
        let app = TestApp::start().await;
        let no_delivery = app.publish(charge()).await;
        let receiver = Receiver::start(Act::status(500)).await;
        let endpoint = json!({ "url": receiver.url(), "enabled_events": ["charge.succeeded"] });
        let endpoint = app.public.post(ENDPOINTS, endpoint).await.expect(201);
        let off = json!({ "url": receiver.url(), "enabled_events": ["payout.paid"] });
        let off = app.public.post(ENDPOINTS, off).await.expect(201);
        let path = format!("{ENDPOINTS}/{}", id(&off));
        app.public.patch(&path, json!({ "status": "disabled" })).await.expect(200);
        let abandoned = app.publish(charge()).await;
        app.advance("73h").await;
        receiver.now(Act::status(200));
        let succeeded = app.publish(charge()).await;
        app.advance("1s").await;
        receiver.now(Act::status(500));
        let (pending, held) = (app.publish(charge()).await, app.publish(payout()).await);
        app.advance("1s").await;
        Self { app, receiver, endpoint, no_delivery, abandoned, succeeded, pending, held }
    }
}

#[tokio::test]
async fn the_counts_of_a_range_add_up_and_every_event_that_has_not_arrived_is_named() {
    let of = Outcomes::build().await;
    let all = ask(&of.app.public, json!({})).await.expect(200);
    let events = json!({
        "recorded": 5, "succeeded": 1, "pending": 1, "held": 1, "abandoned": 1, "no_delivery": 1,
    });
    assert_eq!((&all["object"], &all["events"]), (&json!("reconciliation"), &events));
    let deliveries = json!({ "made": 4, "succeeded": 1, "pending": 1, "held": 1, "abandoned": 1 });
    assert_eq!(all["deliveries"], deliveries);
    assert_eq!(
        differences(&all),
        [
            (id(&of.no_delivery), "no_delivery", &Value::Null),
            (id(&of.abandoned), "abandoned", &Value::Null),
            (id(&of.pending), "pending", &Value::Null),
            (id(&of.held), "held", &Value::Null),
        ]
    );
    assert_eq!((&all["has_more"], &all["looked_up_to"]), (&json!(false), &Value::Null));

    let one = ask(&of.app.public, json!({ "webhook_endpoint": id(&of.endpoint) })).await.expect(200);
    assert_eq!((&one["events"]["recorded"], &one["events"]["no_delivery"]), (&json!(5), &json!(2)));
    assert_eq!(one["deliveries"]["made"], 3);
    let payouts = ask(&of.app.public, json!({ "types": ["payout.paid"] })).await.expect(200);
    assert_eq!((&payouts["events"]["recorded"], &payouts["events"]["held"]), (&json!(1), &json!(1)));
    let earlier = of.abandoned["created"].as_i64().unwrap();
    let earlier = json!({ "created_lte": earlier });
    assert_eq!(ask(&of.app.public, earlier).await.expect(200)["events"]["recorded"], 2);

    // Operators ask for any merchant, and a merchant of no events has none.
    let path = "/v1/merchants/m_1/reconciliations";
    let seen = of.app.internal.post(path, range_with(json!({ "livemode": false }))).await.expect(200);
    assert_eq!(seen, all);
    let live = of.app.internal.post(path, range_with(json!({ "livemode": true }))).await.expect(200);
    assert_eq!((&live["events"]["recorded"], &live["livemode"]), (&json!(0), &json!(true)));
    of.app.internal.post(path, range_with(json!({}))).await.refuses("livemode");
    of.app.stop().await;
}

#[tokio::test]
async fn a_receiver_that_says_what_it_processed_is_told_what_it_lacks_and_a_backfill_sends_it() {
    let of = Outcomes::build().await;
    let mut theirs = charge();
    theirs["merchant_id"] = json!("m_2");
    let theirs = of.app.publish(theirs).await;
    let mut old = charge();
    old["created"] = json!(1000);
    let old = of.app.publish(old).await;
    let nowhere = "evt_01h455vb4pex5vsknk084sn02q";
    // An answer was lost on its way, so the service abandoned what had arrived.
    let list = [id(&of.abandoned), nowhere, id(&theirs), id(&old), id(&of.abandoned)];
    let since = of.no_delivery["created"].clone();
    let body = |processed: &[&str]| json!({ "webhook_endpoint": id(&of.endpoint), "created_gte": since, "processed": processed });
    let told = ask(&of.app.public, body(&list)).await.expect(200);
    let unknown: BTreeSet<&str> =
        told["processed"]["unknown"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(unknown, BTreeSet::from([nowhere, id(&theirs)]));
    assert_eq!(told["processed"]["outside"], json!([id(&old)]));
    let (known, lacking, never) = ("known", "lacking", "never_sent");
    let counts = [known, lacking, never].map(|name| told["processed"][name].as_u64().unwrap());
    assert_eq!(counts, [1, 2, 2]);
    assert_eq!(told["events"]["recorded"], counts.iter().sum::<u64>());
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(
        differences(&told),
        [
            (id(&of.no_delivery), "no_delivery", &no),
            (id(&of.abandoned), "abandoned", &yes),
            // The receiver answered 2xx and lost it.
            (id(&of.succeeded), "succeeded", &no),
            (id(&of.pending), "pending", &no),
            (id(&of.held), "no_delivery", &no),
        ]
    );

    of.receiver.now(Act::status(200));
    let path = format!("{ENDPOINTS}/{}/backfills", id(&of.endpoint));
    let backfill = json!({ "created_gte": since, "created_lte": 253_402_300_799_i64, "only": "all" });
    assert_eq!(of.app.public.post(&path, backfill).await.expect(201)["matched"], 4);
    of.app.advance("1h").await;
    let received = of.receiver.received();
    let processed: BTreeSet<&str> =
        received.iter().map(|request| request.header("k-payments-event-id")).collect();
    let processed: Vec<&str> = processed.into_iter().filter(|event| *event != id(&old)).collect();
    let told = ask(&of.app.public, body(&processed)).await.expect(200);
    assert_eq!((&told["processed"][known], &told["processed"][lacking]), (&json!(4), &json!(0)));
    assert_eq!(told["processed"]["unknown"], json!([]));
    assert_eq!(differences(&told), [(id(&of.held), "no_delivery", &no)]);
    of.app.stop().await;
}

#[tokio::test]
async fn pages_have_so_many_differences_and_what_they_say_adds_up() {
    let app = TestApp::start().await;
    let mut events = Vec::new();
    for _ in 0..2 {
        let batch = json!({ "events": vec![charge(); 350] });
        let batch = app.internal.post("/v1/events/batch", batch).await.expect(201);
        events.extend(batch["data"].as_array().unwrap().iter().map(|event| id(event).to_owned()));
    }
    let processed: Vec<&String> = events.iter().step_by(7).collect();
    let (mut recorded, mut known, mut seen, mut pages) = (0, 0, Vec::new(), 0);
    let mut body = json!({ "limit": 300, "processed": processed });
    loop {
        let page = ask(&app.public, body.clone()).await.expect(200);
        recorded += page["events"]["recorded"].as_u64().unwrap();
        known += page["processed"]["known"].as_u64().unwrap();
        seen.extend(differences(&page).into_iter().map(|(event, _, _)| event.to_owned()));
        pages += 1;
        if page["has_more"] == false {
            break;
        }
        body["starting_after"] = page["looked_up_to"].clone();
    }
    assert_eq!((recorded, known, pages), (700, 100, 3));
    events.sort_unstable();
    assert_eq!(seen, events, "each once, in order");
    app.stop().await;
}

#[tokio::test]
async fn every_bad_field_of_a_reconciliation_is_named() {
    let app = TestApp::start().await;
    let empty = app.public.post(PATH, "{}").await;
    for field in ["created_gte", "created_lte"] {
        assert!(empty.refuses(field).contains("is required"));
    }
    let id = "evt_01h455vb4pex5vsknk084sn02q";
    for (field, members) in [
        ("created_gte", json!({ "created_gte": -1 })),
        ("created_lte", json!({ "created_gte": 2, "created_lte": 1 })),
        ("types[0]", json!({ "types": ["charge.faild"] })),
        ("processed", json!({ "processed": id })),
        ("processed[1]", json!({ "processed": [id, "we_1"] })),
        ("processed", json!({ "processed": vec![id; 10_001] })),
        ("limit", json!({ "limit": 0 })),
        ("limit", json!({ "limit": 1001 })),
        ("starting_after", json!({ "starting_after": "evt_1" })),
        ("webhook_endpoint", json!({ "webhook_endpoint": 1 })),
        ("since", json!({ "since": 1 })),
    ] {
        ask(&app.public, members).await.refuses(field);
    }
    ask(&app.public, json!({ "processed": vec![id; 10_000] })).await.expect(200);
    app.stop().await;
}
