//! Backfills: what they send, at which pace, how they are steered, and that neither a kill nor another process has one skip
//! or repeat.

mod steps;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k_webhooks::{backfill::OPEN_MAX, kill_point};
use serde_json::{Value, json};

use super::{TestApp, database};
use crate::support::{
    Answer, Caller, charge, id,
    process::Process,
    receiver::{Act, Receiver},
};

const ENDPOINTS: &str = "/v1/webhook_endpoints";

/// Every event of the present and the near future.
fn range() -> Value {
    json!({ "created_gte": 0, "created_lte": 253_402_300_799_i64, "only": "undelivered" })
}

/// The same with other members.
fn range_with(members: Value) -> Value {
    let (Value::Object(mut body), Value::Object(members)) = (range(), members) else { panic!("two objects") };
    body.extend(members);
    Value::Object(body)
}

async fn ask(caller: &Caller, endpoint: &Value, body: Value) -> Answer {
    caller.post(&format!("{ENDPOINTS}/{}/backfills", id(endpoint)), body).await
}

async fn backfill(app: &TestApp, endpoint: &Value, members: Value) -> Value {
    ask(&app.public, endpoint, range_with(members)).await.expect(201)
}

async fn shown(app: &TestApp, backfill: &Value) -> Value {
    app.public.get(&format!("/v1/backfills/{}", id(backfill))).await.expect(200)
}

async fn steer(app: &TestApp, backfill: &Value, status: &str) -> Answer {
    app.public.patch(&format!("/v1/backfills/{}", id(backfill)), json!({ "status": status })).await
}

/// Publishes so many events at once; answers their ids.
async fn publish(caller: &Caller, count: usize) -> Vec<String> {
    let events = json!({ "events": vec![charge(); count] });
    let list = caller.post("/v1/events/batch", events).await.expect(201);
    list["data"].as_array().unwrap().iter().map(|event| id(event).to_owned()).collect()
}

fn events_of(receiver: &Receiver) -> Vec<String> {
    receiver.received().iter().map(|request| request.header("k-payments-event-id").to_owned()).collect()
}

fn sorted(ids: &[String]) -> Vec<String> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn events_from_before_the_endpoint_existed_are_counted_and_then_sent_once_each() {
    let app = TestApp::start().await;
    let events = publish(&app.internal, 3).await;
    let mut refund = charge();
    (refund["type"], refund["data"]["object"]["object"]) = (json!("refund.created"), json!("refund"));
    let refund = id(&app.publish(refund).await).to_owned();
    let receiver = Receiver::start(Act::status(200)).await;
    let endpoint = app.endpoint(&receiver.url()).await;

    let counted = backfill(&app, &endpoint, json!({ "dry_run": true })).await;
    assert_eq!((&counted["matched"], &counted["id"]), (&json!(4), &Value::Null));
    assert_eq!(counted["matched_by_type"], json!({ "charge.succeeded": 3, "refund.created": 1 }));
    app.advance("1m").await;
    assert!(receiver.received().is_empty(), "a dry run sends nothing");

    let begun = backfill(&app, &endpoint, json!({ "types": ["charge.succeeded"] })).await;
    assert!(id(&begun).starts_with("bf_"));
    assert_eq!(
        (&begun["object"], &begun["status"], &begun["matched"], &begun["sent"]),
        (&json!("backfill"), &json!("running"), &json!(3), &json!(0))
    );
    app.advance("1m").await;
    assert_eq!(sorted(&events_of(&receiver)), sorted(&events));
    let done = shown(&app, &begun).await;
    assert_eq!((&done["status"], &done["sent"]), (&json!("completed"), &json!(3)));
    assert_eq!(done["deliveries"], json!({ "pending": 0, "held": 0, "succeeded": 3, "abandoned": 0 }));
    let path = format!("/v1/events/{}/deliveries", events[0]);
    assert_eq!(app.public.get(&path).await.expect(200)["data"][0]["backfill"], begun["id"]);

    let rest = backfill(&app, &endpoint, json!({})).await;
    assert_eq!(rest["matched"], 1, "what has arrived is not sent again");
    app.advance("1m").await;
    assert_eq!(events_of(&receiver).last(), Some(&refund));
    let list = app.public.get(&format!("{ENDPOINTS}/{}/backfills", id(&endpoint))).await.expect(200);
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(id).collect();
    assert_eq!(ids, [id(&rest), id(&begun)]);
    app.stop().await;
}

#[tokio::test]
async fn what_an_endpoint_missed_while_it_was_off_for_too_long_or_had_not_subscribed_is_found() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let path = format!("{ENDPOINTS}/{}", id(&endpoint));
    app.public.patch(&path, json!({ "enabled_events": ["payout.paid"] })).await.expect(200);
    let unsubscribed = id(&app.publish(charge()).await).to_owned();
    app.public.patch(&path, json!({ "enabled_events": ["*"], "status": "disabled" })).await.expect(200);
    let held_too_long = id(&app.publish(charge()).await).to_owned();
    ask(&app.public, &endpoint, range()).await.expect(400);
    app.advance("73h").await;
    app.public.patch(&path, json!({ "status": "enabled" })).await.expect(200);
    app.advance("1m").await;
    assert!(receiver.received().is_empty());
    let begun = backfill(&app, &endpoint, json!({})).await;
    assert_eq!(begun["matched"], 2);
    app.advance("1m").await;
    assert_eq!(sorted(&events_of(&receiver)), [unsubscribed, held_too_long]);
    app.stop().await;
}

#[tokio::test]
async fn undelivered_passes_over_what_arrived_or_will_and_all_does_not() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    publish(&app.internal, 1).await;
    receiver.until(1).await;
    app.advance("1s").await;
    receiver.now(Act::status(500));
    publish(&app.internal, 1).await;
    app.advance("1s").await;
    receiver.now(Act::status(200));
    assert_eq!(backfill(&app, &endpoint, json!({ "dry_run": true })).await["matched"], 0);
    let all = backfill(&app, &endpoint, json!({ "only": "all" })).await;
    assert_eq!(all["matched"], 2);
    app.advance("1s").await;
    assert_eq!(shown(&app, &all).await["sent"], 2);
    assert_eq!(receiver.received().len(), 4);
    app.stop().await;
}

#[tokio::test]
async fn a_test_for_one_endpoint_is_no_event_for_another() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(500)).await;
    let (tested, other) = (app.endpoint(&receiver.url()).await, app.endpoint(&receiver.url()).await);
    let path = format!("{ENDPOINTS}/{}/test", id(&tested));
    app.public.post(&path, json!({ "type": "charge.succeeded" })).await.expect(201);
    app.advance("73h").await;
    assert_eq!(backfill(&app, &other, json!({ "dry_run": true })).await["matched"], 0);
    assert_eq!(backfill(&app, &tested, json!({ "dry_run": true })).await["matched"], 1);
    app.stop().await;
}

#[tokio::test]
async fn events_are_chosen_and_sent_in_order_by_the_dates_that_their_publisher_gave_them() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let mut dated = BTreeMap::new();
    for created in [1003, 1001, 999, 1002, 1000, 1001] {
        let mut event = charge();
        event["created"] = json!(created);
        dated.insert(id(&app.publish(event).await).to_owned(), created);
    }
    let endpoint = app.endpoint(&receiver.url()).await;
    let range = json!({ "created_gte": 1000, "created_lte": 1002, "per_second": 1 });
    assert_eq!(backfill(&app, &endpoint, range).await["matched"], 4);
    app.advance("5s").await;
    let dates: Vec<_> = events_of(&receiver).iter().map(|event| dated[event]).collect();
    assert_eq!(dates, [1000, 1001, 1001, 1002]);
    app.stop().await;
}

#[tokio::test]
async fn each_second_of_the_services_clock_has_its_number_of_deliveries_and_live_events_do_not_wait() {
    let app = TestApp::start().await;
    let old = publish(&app.internal, 25).await;
    let receiver = Receiver::start(Act::status(200)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let begun = backfill(&app, &endpoint, json!({ "per_second": 10 })).await;
    app.advance("1s").await;
    assert_eq!((receiver.received().len(), &shown(&app, &begun).await["sent"]), (20, &json!(20)));
    // The clock stands still, and so does the backfill.
    let live = publish(&app.internal, 30).await;
    receiver.until(50).await;
    assert_eq!(sorted(&events_of(&receiver)[20..]), sorted(&live));
    app.advance("1s").await;
    assert_eq!(receiver.received().len(), 55);
    assert_eq!(shown(&app, &begun).await["status"], "completed");
    let received: BTreeSet<_> = events_of(&receiver).into_iter().collect();
    assert_eq!(received, old.into_iter().chain(live).collect(), "once each");
    app.stop().await;
}

#[tokio::test]
async fn a_backfill_waits_for_an_endpoint_that_fails_and_does_not_heap_up_retries() {
    let app = TestApp::start().await;
    let events = publish(&app.internal, 300).await;
    let receiver = Receiver::start(Act::status(500)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let begun = backfill(&app, &endpoint, json!({ "per_second": 100 })).await;
    app.advance("20s").await;
    assert_eq!(shown(&app, &begun).await["deliveries"]["pending"], OPEN_MAX);
    receiver.now(Act::status(200));
    app.advance("10m").await;
    let done = shown(&app, &begun).await;
    assert_eq!((&done["status"], &done["deliveries"]["succeeded"]), (&json!("completed"), &json!(300)));
    let received: BTreeSet<_> = events_of(&receiver).into_iter().collect();
    assert_eq!(received, events.into_iter().collect());
    app.stop().await;
}

#[tokio::test]
async fn a_backfill_is_paused_resumed_and_canceled_and_its_end_is_the_end() {
    let app = TestApp::start().await;
    publish(&app.internal, 10).await;
    let receiver = Receiver::start(Act::status(200)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let begun = backfill(&app, &endpoint, json!({ "per_second": 1 })).await;
    let second = ask(&app.public, &endpoint, range()).await.expect(400);
    assert!(second["error"]["message"].as_str().unwrap().contains("not finished"), "{second}");

    app.advance("1s").await;
    assert_eq!(steer(&app, &begun, "paused").await.expect(200)["status"], "paused");
    assert_eq!(steer(&app, &begun, "paused").await.expect(200)["status"], "paused", "it is said twice");
    app.advance("1m").await;
    assert_eq!(receiver.received().len(), 2);
    assert_eq!(steer(&app, &begun, "running").await.expect(200)["status"], "running");
    app.advance("1s").await;
    let so_far = receiver.received().len();
    assert!((3..=4).contains(&so_far), "a pause saves no seconds up: {so_far}");
    let canceled = steer(&app, &begun, "canceled").await.expect(200);
    assert_eq!((&canceled["status"], canceled["finished"].is_i64()), (&json!("canceled"), true));
    app.advance("1m").await;
    assert_eq!(receiver.received().len(), so_far);

    for status in ["running", "paused"] {
        assert!(steer(&app, &begun, status).await.refuses("status").contains("is canceled"));
    }
    for status in ["completed", "done", ""] {
        let message = steer(&app, &begun, status).await.refuses("status");
        assert!(message.contains("running, paused, canceled"), "{message}");
    }
    let rest = backfill(&app, &endpoint, json!({})).await;
    assert_eq!(rest["matched"], 10 - so_far);
    app.advance("10s").await;
    assert!(steer(&app, &rest, "canceled").await.refuses("status").contains("is completed"));
    assert_eq!(receiver.received().len(), 10);
    app.stop().await;
}

#[tokio::test]
async fn a_backfill_follows_its_endpoint_paused_when_it_is_disabled_and_canceled_when_it_is_deleted() {
    let app = TestApp::start().await;
    publish(&app.internal, 10).await;
    let receiver = Receiver::start(Act::status(200)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let path = format!("{ENDPOINTS}/{}", id(&endpoint));
    let begun = backfill(&app, &endpoint, json!({ "per_second": 1 })).await;
    app.advance("1s").await;
    app.public.patch(&path, json!({ "status": "disabled" })).await.expect(200);
    app.advance("1m").await;
    let paused = shown(&app, &begun).await;
    assert_eq!(
        (&paused["status"], &paused["status_reason"]),
        (&json!("paused"), &json!("endpoint_disabled"))
    );
    steer(&app, &begun, "running").await.expect(400);
    app.public.patch(&path, json!({ "status": "enabled" })).await.expect(200);
    assert_eq!(steer(&app, &begun, "running").await.expect(200)["status_reason"], Value::Null);
    app.advance("1s").await;
    app.public.delete(&path).await.expect(200);
    let canceled = shown(&app, &begun).await;
    assert_eq!(
        (&canceled["status"], &canceled["status_reason"]),
        (&json!("canceled"), &json!("endpoint_deleted"))
    );
    ask(&app.public, &endpoint, range()).await.expect(404);
    app.advance("31d").await;
    app.public.get(&format!("/v1/backfills/{}", id(&begun))).await.expect(404);
    app.stop().await;
}

#[tokio::test]
async fn every_bad_field_of_a_backfill_is_named_and_nothing_begins() {
    let app = TestApp::start().await;
    let endpoint = app.endpoint("https://example.com/").await;
    let refused = ask(&app.public, &endpoint, json!({})).await;
    for field in ["created_gte", "created_lte", "only"] {
        assert!(refused.refuses(field).contains("is required"));
    }
    for (field, value) in [
        ("created_gte", json!("yesterday")),
        ("created_gte", json!(-1)),
        ("created_gte", json!(1_749_651_729_000_i64)),
        ("types", json!([])),
        ("types[1]", json!(["charge.failed", "charge.faild"])),
        ("only", json!("missed")),
        ("per_second", json!(0)),
        ("per_second", json!(101)),
        ("dry_run", json!("yes")),
        ("rate", json!(1)),
    ] {
        let name = field.split('[').next().unwrap();
        ask(&app.public, &endpoint, range_with(json!({ name: value }))).await.refuses(field);
    }
    let turned = json!({ "created_gte": 2, "created_lte": 1 });
    ask(&app.public, &endpoint, range_with(turned)).await.refuses("created_lte");
    let list = app.public.get(&format!("{ENDPOINTS}/{}/backfills", id(&endpoint))).await.expect(200);
    assert_eq!(list["data"], json!([]));
    app.stop().await;
}

#[tokio::test]
async fn a_backfill_is_its_merchants_and_its_modes_alone() {
    let app = TestApp::start().await;
    publish(&app.internal, 3).await;
    let endpoint = app.endpoint("https://example.com/").await;
    let begun = backfill(&app, &endpoint, json!({ "per_second": 1 })).await;
    for (merchant, livemode) in [("m_2", false), ("m_1", true)] {
        let other = app.merchant(merchant, livemode).await;
        ask(&other, &endpoint, range()).await.expect(404);
        let path = format!("/v1/backfills/{}", id(&begun));
        other.get(&path).await.expect(404);
        other.patch(&path, json!({ "status": "canceled" })).await.expect(404);
        other.get(&format!("{ENDPOINTS}/{}/backfills", id(&endpoint))).await.expect(404);
        let own = other.post(ENDPOINTS, json!({ "url": "https://example.com/" })).await.expect(201);
        let counted = ask(&other, &own, range_with(json!({ "dry_run": true }))).await.expect(201);
        assert_eq!(counted["matched"], 0);
    }
    app.stop().await;
}

/// How often each event came to the endpoint in a delivery of its own.
async fn deliveries(caller: &Caller, endpoint: &Value) -> BTreeMap<String, usize> {
    let path = format!("{ENDPOINTS}/{}/deliveries?limit=100", id(endpoint));
    let list = caller.get(&path).await.expect(200);
    let mut deliveries = BTreeMap::new();
    for delivery in list["data"].as_array().unwrap() {
        *deliveries.entry(delivery["event"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    deliveries
}

#[tokio::test]
async fn a_process_killed_in_a_step_neither_skips_an_event_nor_makes_a_delivery_twice() {
    let receiver = Receiver::start(Act::status(200)).await;
    for point in ["backfill_before_commit", "backfill_after_commit"] {
        let database = database().await;
        let mut command = database.serve();
        command.env(kill_point::VARIABLE, format!("{point}:3"));
        let mut process = Process::start(command).await;
        let events = publish(&process.internal(), 60).await;
        let merchant = process.merchant().await;
        let endpoint = merchant.post(ENDPOINTS, json!({ "url": receiver.url() })).await.expect(201);
        let body = range_with(json!({ "per_second": 100 }));
        let begun = ask(&merchant, &endpoint, body).await.expect(201);
        assert!(!process.child.wait().await.unwrap().success(), "{point}");

        let next = Process::start(database.serve()).await;
        let merchant = next.merchant().await;
        let path = format!("/v1/backfills/{}", id(&begun));
        let mut polls = tokio::time::interval(Duration::from_millis(20));
        let done = loop {
            polls.tick().await;
            let shown = merchant.get(&path).await.expect(200);
            if shown["deliveries"]["succeeded"] == 60 && shown["status"] == "completed" {
                break shown;
            }
        };
        assert_eq!((&done["sent"], &done["matched"]), (&json!(60), &json!(60)), "{point}");
        let expected: BTreeMap<_, _> = events.into_iter().map(|event| (event, 1)).collect();
        assert_eq!(deliveries(&merchant, &endpoint).await, expected, "{point}");
        next.kill().await;
    }
}

#[tokio::test]
async fn who_begins_and_steers_a_backfill_is_in_the_audit_log() {
    let app = TestApp::start().await;
    publish(&app.internal, 3).await;
    let endpoint = app.endpoint("https://example.com/").await;
    backfill(&app, &endpoint, json!({ "dry_run": true })).await;
    let begun = backfill(&app, &endpoint, json!({ "per_second": 1 })).await;
    steer(&app, &begun, "paused").await.expect(200);
    steer(&app, &begun, "paused").await.expect(200);
    steer(&app, &begun, "running").await.expect(200);
    let path = format!("{ENDPOINTS}/{}", id(&endpoint));
    app.public.patch(&path, json!({ "status": "disabled" })).await.expect(200);
    app.advance("1m").await;
    app.public.delete(&path).await.expect(200);

    let list = app.internal.get(&format!("/v1/audit_entries?object_id={}", id(&begun))).await.expect(200);
    let entries: Vec<_> = list["data"].as_array().unwrap().iter().rev().collect();
    assert!(entries.iter().all(|entry| entry["merchant_id"] == "m_1" && entry["livemode"] == false));
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry["action"].as_str().unwrap(), entry["actor"]["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("backfill.created", "merchant_key"),
            ("backfill.updated", "merchant_key"),
            ("backfill.updated", "merchant_key"),
            ("backfill.updated", "service"),
            ("backfill.updated", "merchant_key"),
        ]
    );
    assert_eq!(entries[0]["changes"]["per_second"], json!({ "old": null, "new": 1 }));
    assert_eq!(entries[1]["changes"], json!({ "status": { "old": "running", "new": "paused" } }));
    assert_eq!(entries[3]["changes"]["status_reason"]["new"], "endpoint_disabled");
    assert_eq!(entries[4]["changes"]["status"], json!({ "old": "paused", "new": "canceled" }));
    assert!(entries[1]["request_id"].is_string() && entries[3]["request_id"].is_null());
    app.stop().await;
}

#[tokio::test]
async fn an_operator_begins_a_backfill_on_the_command_line_and_sees_it_to_its_end() {
    let database = database().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let process = Process::start(database.serve()).await;
    let events = publish(&process.internal(), 25).await;
    let endpoint =
        process.merchant().await.post(ENDPOINTS, json!({ "url": receiver.url() })).await.expect(201);
    let run = async |rest: &[&str]| {
        let mut command = database.command(&["backfill", "--merchant", "m_1", "--mode", "test"]);
        let output = command.args(rest).stdout(std::process::Stdio::piped()).output().await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (said, String::from_utf8(output.stderr).unwrap())
    };
    let range =
        ["--endpoint", id(&endpoint), "--from", "2025-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z"];
    let (said, failed) = run(&[&range[..], &["--dry-run"]].concat()).await;
    assert_eq!(said, "25 events to send.\n", "{failed}");
    let (said, failed) = run(&[&range[..], &["--per-second", "100"]].concat()).await;
    assert!(said.contains("25 of 25 completed") && said.contains("bf_"), "{said}{failed}");
    receiver.until(25).await;
    assert_eq!(sorted(&events_of(&receiver)), sorted(&events));
    let (_, failed) = run(&[&range[..2], &["--from", "2", "--to", "1"]].concat()).await;
    assert_eq!(failed, "k-webhooks: --to must not be before --from\n");
    process.kill().await;
}

#[tokio::test]
async fn a_backfill_that_has_ended_is_kept_as_long_as_events_and_one_that_has_not_stays() {
    let app = TestApp::with(&[("retention.events", "7d")]).await;
    let endpoint = app.endpoint("https://example.com/").await;
    let done = backfill(&app, &endpoint, json!({})).await;
    app.advance("1d").await;
    assert_eq!(shown(&app, &done).await["status"], "completed");
    publish(&app.internal, 3).await;
    let paused = backfill(&app, &endpoint, json!({ "only": "all", "per_second": 1 })).await;
    steer(&app, &paused, "paused").await.expect(200);
    app.advance("5d").await;
    shown(&app, &done).await;
    app.advance("2d").await;
    app.public.get(&format!("/v1/backfills/{}", id(&done))).await.expect(404);
    app.advance("30d").await;
    assert_eq!(shown(&app, &paused).await["status"], "paused");
    // Its events are gone by now, and it passes over them.
    steer(&app, &paused, "running").await.expect(200);
    app.advance("1m").await;
    assert_eq!(shown(&app, &paused).await["status"], "completed");
    app.stop().await;
}
