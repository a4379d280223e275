//! The timeline of an event and of a delivery: complete, in order, and in words that are true.

use serde_json::{Value, json};

use super::TestApp;
use crate::support::{
    charge, id,
    receiver::{Act, Receiver},
};

const ENDPOINTS: &str = "/v1/webhook_endpoints";

/// The entries of a timeline, in order.
async fn timeline(app: &TestApp, of: &str, object: &Value) -> Vec<Value> {
    let shown = app.public.get(&format!("/v1/{of}/{}/timeline", id(object))).await.expect(200);
    assert_eq!(shown["object"], "timeline");
    let entries = shown["data"].as_array().unwrap().clone();
    let times: Vec<i64> = entries.iter().map(|entry| entry["at_ms"].as_i64().unwrap_or(i64::MAX)).collect();
    assert!(times.is_sorted(), "{entries:?}");
    entries
}

fn kinds(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["kind"].as_str().unwrap()).collect()
}

#[track_caller]
fn says(entry: &Value, field: &str, words: &str) {
    assert!(entry[field].as_str().is_some_and(|text| text.contains(words)), "{words:?} is not in {entry}");
}

#[tokio::test]
async fn a_timeline_tells_who_matched_each_attempt_with_a_hint_and_what_comes_next() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(500)).await;
    let only = |types: Value| json!({ "url": receiver.url(), "enabled_events": types });
    let wants = app.public.post(ENDPOINTS, only(json!(["charge.succeeded"]))).await.expect(201);
    let other = app.public.post(ENDPOINTS, only(json!(["payout.paid"]))).await.expect(201);
    let event = app.publish(charge()).await;
    app.advance("1s").await;
    let later = app.endpoint("https://example.com/").await;

    let entries = timeline(&app, "events", &event).await;
    assert_eq!(
        kinds(&entries),
        [
            "event.recorded",
            "endpoint.not_matched",
            "endpoint.not_matched",
            "endpoint.matched",
            "attempt.failed",
            "delivery.pending"
        ]
    );
    assert_eq!(entries[1]["webhook_endpoint"], other["id"]);
    says(&entries[1], "summary", "does not list charge.succeeded (as it is set now)");
    assert_eq!(entries[2]["webhook_endpoint"], later["id"]);
    says(&entries[2], "summary", "registered later");
    says(&entries[2], "hint", "backfill");
    assert_eq!(entries[3]["webhook_endpoint"], wants["id"]);
    says(&entries[3], "summary", "it lists charge.succeeded");
    says(&entries[4], "summary", "http_status: ");
    says(&entries[4], "hint", "The receiver failed");
    says(&entries[5], "summary", "Attempt 2 is due on 20");

    receiver.now(Act::status(200));
    app.advance("1m").await;
    let delivery = app.delivery_of(&event).await;
    let entries = timeline(&app, "deliveries", &delivery).await;
    assert_eq!(
        kinds(&entries),
        ["event.recorded", "endpoint.matched", "attempt.failed", "attempt.succeeded", "delivery.succeeded"]
    );
    assert_eq!(entries[3]["attempt"], delivery["attempts"][1]["id"]);
    assert!(entries.iter().skip(1).all(|entry| entry["delivery"] == delivery["id"]));
    app.stop().await;
}

#[tokio::test]
async fn a_timeline_says_why_nothing_more_is_attempted() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(500)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let path = format!("{ENDPOINTS}/{}", id(&endpoint));
    let tried = app.publish(charge()).await;
    app.advance("73h").await;
    let entries = timeline(&app, "events", &tried).await;
    assert_eq!(entries.iter().filter(|entry| entry["kind"] == "attempt.failed").count(), 9);
    says(entries.last().unwrap(), "summary", "after its window had closed");
    says(entries.last().unwrap(), "hint", "retry");

    app.public.patch(&path, json!({ "status": "disabled" })).await.expect(200);
    let held = app.publish(charge()).await;
    let entries = timeline(&app, "events", &held).await;
    assert_eq!(kinds(&entries), ["event.recorded", "endpoint.matched", "delivery.held"]);
    app.public.delete(&path).await.expect(200);
    let entries = timeline(&app, "events", &held).await;
    says(&entries[1], "summary", "deleted since");
    says(&entries[2], "summary", "its endpoint was deleted");
    app.stop().await;
}

#[tokio::test]
async fn a_timeline_tells_a_test_a_resend_and_a_backfill_apart_and_is_the_merchants_alone() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let old = app.publish(charge()).await;
    app.advance("1s").await;
    let (endpoint, other) = (app.endpoint(&receiver.url()).await, app.endpoint(&receiver.url()).await);
    let path = format!("{ENDPOINTS}/{}", id(&endpoint));
    let body = json!({ "created_gte": 0, "created_lte": 253_402_300_799_i64, "only": "undelivered" });
    let backfill = app.public.post(&format!("{path}/backfills"), body).await.expect(201);
    app.advance("1s").await;
    let resend = json!({ "webhook_endpoint": id(&endpoint) });
    app.public.post(&format!("/v1/events/{}/resend", id(&old)), resend).await.expect(201);
    app.advance("1s").await;
    let entries = timeline(&app, "events", &old).await;
    let made: Vec<_> = entries.iter().filter(|entry| entry["kind"] == "delivery.created").collect();
    assert_eq!(made.len(), 2);
    says(made[0], "summary", id(&backfill));
    says(made[1], "summary", "resend");

    let test = app.public.post(&format!("{path}/test"), json!({ "type": "payout.paid" })).await.expect(201);
    app.advance("1s").await;
    let entries = timeline(&app, "events", &test).await;
    assert_eq!(entries[1]["webhook_endpoint"], other["id"]);
    says(&entries[1], "summary", "is a test for");
    says(&entries[2], "summary", "a test for it alone");

    let stranger = app.merchant("m_2", false).await;
    stranger.get(&format!("/v1/events/{}/timeline", id(&old))).await.expect(404);
    let delivery = made[0]["delivery"].as_str().unwrap();
    stranger.get(&format!("/v1/deliveries/{delivery}/timeline")).await.expect(404);
    app.stop().await;
}
