//! What operators read at `/metrics`, and that it moves as it should.

use std::sync::Arc;

use k_webhooks::{clock::UnixMs, http, store::QueueDepth};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{TestApp, database};
use crate::support::{
    Caller, charge, id,
    metrics::{Scrape, promtool},
    process::Process,
    receiver::{Act, Receiver},
};

const ENDPOINTS: &str = "/v1/webhook_endpoints";
const ATTEMPTS: &str = "k_webhooks_attempts_total";
const FINISHED: &str = "k_webhooks_deliveries_finished_total";
const QUEUE: &str = "k_webhooks_queue_deliveries";
const REFUSED: &str = "k_webhooks_requests_refused_total";

async fn scrape(app: &TestApp) -> Scrape {
    Scrape::of(app.internal_addr).await
}

#[tokio::test]
async fn the_numbers_move_as_events_are_published_delivered_and_given_up() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    app.endpoint(&receiver.url()).await;
    let before = scrape(&app).await;
    assert_eq!(before.count("k_webhooks_events_accepted_total", &[("type", "charge.succeeded")]), 0);
    assert_eq!(before.count(ATTEMPTS, &[("outcome", "succeeded")]), 0);

    let mut event = charge();
    event["idempotency_key"] = "once".into();
    app.publish(event.clone()).await;
    app.publish(event).await;
    app.advance("1s").await;
    let delivered = scrape(&app).await;
    for (name, labels, value) in [
        ("k_webhooks_events_accepted_total", &[("type", "charge.succeeded")][..], 1),
        ("k_webhooks_events_accepted_total", &[("type", "payout.paid")], 0),
        ("k_webhooks_events_replayed_total", &[], 1),
        ("k_webhooks_accept_duration_seconds_count", &[], 2),
        ("k_webhooks_commit_items_count", &[("operation", "accept")], 2),
        ("k_webhooks_commit_items_sum", &[("operation", "accept")], 2),
        ("k_webhooks_commit_items_count", &[("operation", "record")], 1),
        ("k_webhooks_commit_duration_seconds_count", &[("operation", "record")], 1),
        (ATTEMPTS, &[("outcome", "succeeded")], 1),
        (FINISHED, &[("outcome", "succeeded")], 1),
        ("k_webhooks_attempt_duration_seconds_count", &[("outcome", "succeeded")], 1),
        ("k_webhooks_first_attempt_delay_seconds_count", &[], 1),
        ("k_webhooks_delivery_latency_seconds_count", &[], 1),
        ("k_webhooks_attempts_in_flight", &[], 0),
        ("k_webhooks_attempts_in_flight_max", &[], 1024),
        ("k_webhooks_lane_deliveries", &[], 0),
        ("k_webhooks_lanes_troubled", &[], 0),
        ("k_webhooks_database_up", &[], 1),
        (QUEUE, &[("state", "pending")], 0),
        ("k_webhooks_queue_oldest_due_age_seconds", &[], 0),
    ] {
        assert_eq!(delivered.count(name, labels), value, "{name} {labels:?}");
    }

    receiver.now(Act::status(500));
    app.publish(charge()).await;
    app.advance("1s").await;
    let failed = scrape(&app).await;
    assert_eq!(failed.count(ATTEMPTS, &[("outcome", "http_status")]), 1);
    assert_eq!(failed.count(QUEUE, &[("state", "pending")]), 1);
    assert_eq!(failed.count(QUEUE, &[("state", "due")]), 0, "its second attempt is due in a minute");
    assert_eq!(failed.count(FINISHED, &[("outcome", "succeeded")]), 1);

    receiver.now(Act::Hang);
    app.advance("1m").await;
    let hanging = scrape(&app).await;
    assert_eq!(hanging.count(ATTEMPTS, &[("outcome", "timeout")]), 1);
    assert_eq!(hanging.count("k_webhooks_lanes_troubled", &[]), 1);

    receiver.now(Act::status(500));
    app.advance("72h").await;
    let given_up = scrape(&app).await;
    assert_eq!(given_up.count(ATTEMPTS, &[("outcome", "http_status")]), 8);
    assert_eq!(given_up.count(FINISHED, &[("outcome", "window_closed")]), 1);
    assert_eq!(given_up.count("k_webhooks_first_attempt_delay_seconds_count", &[]), 2);
    assert_eq!(given_up.count("k_webhooks_delivery_latency_seconds_count", &[]), 1);
    assert_eq!(given_up.count(QUEUE, &[("state", "pending")]), 0);
    let now = app.internal.get("/v1/test_clock").await.expect(200)["now_ms"].as_f64().unwrap();
    for part in ["prune", "expire", "sweep"] {
        let last = given_up.value("k_webhooks_upkeep_last_success_timestamp_seconds", &[("part", part)]);
        assert!((last * 1000.0 - now).abs() < 1.0, "{part}");
    }
    app.stop().await;
}

#[tokio::test]
async fn what_a_disabled_endpoint_holds_is_counted_as_held_until_it_is_given_up() {
    let app = TestApp::start().await;
    let endpoint = app.endpoint("https://example.com/hooks").await;
    let path = format!("{ENDPOINTS}/{}", id(&endpoint));
    app.public.patch(&path, json!({ "status": "disabled" })).await.expect(200);
    for _ in 0..3 {
        app.publish(charge()).await;
    }
    let held = scrape(&app).await;
    assert_eq!(held.count(QUEUE, &[("state", "held")]), 3);
    assert_eq!(held.count(QUEUE, &[("state", "pending")]), 0);
    app.advance("73h").await;
    let late = scrape(&app).await;
    assert_eq!(late.count(FINISHED, &[("outcome", "endpoint_disabled")]), 3);
    assert_eq!(late.count(QUEUE, &[("state", "held")]), 0);
    app.publish(charge()).await;
    app.public.delete(&path).await.expect(200);
    app.advance("1s").await;
    assert_eq!(scrape(&app).await.count(FINISHED, &[("outcome", "endpoint_deleted")]), 1);
    app.stop().await;
}

#[tokio::test]
async fn a_delivery_whose_endpoint_is_deleted_during_its_attempt_ends_once() {
    let app = TestApp::with(&[("delivery.timeout", "30s")]).await;
    let permits = Arc::new(Semaphore::new(0));
    let receiver = Receiver::start(Act::permitted(200, &permits)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    app.publish(charge()).await;
    receiver.until(1).await;
    app.public.delete(&format!("{ENDPOINTS}/{}", id(&endpoint))).await.expect(200);
    permits.add_permits(1);
    app.advance("1s").await;
    let scrape = scrape(&app).await;
    assert_eq!(scrape.count(ATTEMPTS, &[("outcome", "succeeded")]), 1);
    assert_eq!(scrape.count(FINISHED, &[("outcome", "endpoint_deleted")]), 1);
    assert_eq!(scrape.count(FINISHED, &[("outcome", "succeeded")]), 0);
    assert_eq!(scrape.count("k_webhooks_delivery_latency_seconds_count", &[]), 0);
    let statistics = app.public.get("/v1/statistics").await.expect(200);
    assert_eq!(statistics["total"]["deliveries"], json!({ "succeeded": 0, "abandoned": 0 }));
    assert_eq!(statistics["total"]["attempts"]["succeeded"], 1, "{statistics}");
    app.stop().await;
}

#[tokio::test]
async fn the_queue_is_counted_as_far_as_its_bound_and_says_since_when_the_oldest_is_due() {
    let app = TestApp::start().await;
    let store = &app.foundation.store;
    assert_eq!(store.queue_depth(UnixMs(1_000)).await.unwrap(), QueueDepth::default());
    app.database
        .execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10050) \
             INSERT INTO deliveries (id, merchant_id, livemode, event_id, webhook_endpoint_id, status, attempt_count, \
             ladder_failures, window_started_at, next_attempt_at, claimable_at, created_at) \
             SELECT 'dlv_' || i, 'm_1', false, 'evt_1', 'we_1', 'pending', 0, 0, 0, 1000000000000000 + i, \
             1000000000000000 + i, 0 FROM n",
        )
        .await;
    app.database
        .execute("UPDATE deliveries SET lease_token = 'x' WHERE claimable_at > 1000000000010040")
        .await;
    let depth = async |now: i64| store.queue_depth(UnixMs(now)).await.unwrap();
    let far = QueueDepth { pending: QueueDepth::COUNTED_MAX, leased: 10, ..QueueDepth::default() };
    assert_eq!(depth(1_000).await, far);
    let oldest_due_at = Some(UnixMs(1_000_000_000_000_001));
    assert_eq!(depth(1_000_000_000_000_007).await, QueueDepth { due: 7, oldest_due_at, ..far });
    let all_due = QueueDepth { due: QueueDepth::COUNTED_MAX, oldest_due_at, ..far };
    assert_eq!(depth(1_000_000_000_020_000).await, all_due);
    app.database.execute("DELETE FROM deliveries WHERE claimable_at <= 1000000000010000").await;
    assert_eq!(
        depth(1_000).await,
        QueueDepth { pending: 50, leased: 10, ..QueueDepth::default() },
        "the leased ones too"
    );
    app.database.execute("DELETE FROM deliveries").await;
    app.stop().await;
}

#[tokio::test]
async fn no_label_names_a_merchant_or_an_endpoint() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let event = app.publish(charge()).await;
    app.public.get(&format!("/v1/events/{}", id(&event))).await.expect(200);
    app.advance("1s").await;
    let scrape = scrape(&app).await;
    let labels = scrape.labels();
    let allowed = [
        "le",
        "listener",
        "method",
        "operation",
        "outcome",
        "part",
        "pool",
        "reason",
        "route",
        "state",
        "status",
        "type",
        "version",
    ];
    assert_eq!(labels.keys().map(String::as_str).collect::<Vec<_>>(), allowed);
    let mut routes: Vec<&str> = http::public::routes().iter().map(|route| route.path).collect();
    routes.extend(http::internal::routes().iter().map(|route| route.path));
    routes.push("none");
    assert!(labels["route"].iter().all(|route| routes.contains(&route.as_str())), "{:?}", labels["route"]);
    for secret in ["m_1", id(&endpoint), id(&event), &receiver.address.to_string()] {
        assert!(!scrape.text.contains(secret), "{secret}");
    }
    app.stop().await;
}

#[tokio::test]
async fn requests_are_counted_by_the_template_of_their_route() {
    let app = TestApp::start().await;
    app.public.get("/v1/events/evt_x").await.expect(404);
    app.public.send("HEAD", "/v1/events", &[], "").await;
    app.public.get("/v1/events").await.expect(200);
    app.public.get("/v1/m_1/secret").await.expect(404);
    app.public.send("PUT", "/v1/events", &[], "").await.expect(405);
    let scrape = scrape(&app).await;
    let count = |route: &str, method: &str, status: &str| {
        let labels = [("listener", "public"), ("route", route), ("method", method), ("status", status)];
        scrape.count("k_webhooks_http_requests_total", &labels)
    };
    assert_eq!(count("/v1/events/{id}", "GET", "4xx"), 1);
    assert_eq!(count("/v1/events", "GET", "2xx"), 2);
    assert_eq!(count("none", "none", "4xx"), 2);
    let answered = [("listener", "public")];
    assert_eq!(scrape.count("k_webhooks_http_request_duration_seconds_count", &answered), 5);
    assert!(scrape.count("k_webhooks_connections", &[("listener", "internal")]) >= 1);
    app.stop().await;
}

#[tokio::test]
async fn what_is_told_to_come_back_later_is_counted_by_reason() {
    let limits = [("limits.requests_per_second", "1"), ("limits.failed_authentications_per_minute", "1")];
    let app = TestApp::with(&limits).await;
    // A key that works is let in from the address of who guesses.
    app.publish(charge()).await;
    for _ in 0..3 {
        app.public.get(ENDPOINTS).await;
    }
    let guesser = Caller::new(app.public_addr, "sk_test_guessed");
    for _ in 0..3 {
        guesser.get(ENDPOINTS).await;
    }
    let limited = scrape(&app).await;
    let refused = |scrape: &Scrape, listener: &str, reason: &str| {
        scrape.count(REFUSED, &[("listener", listener), ("reason", reason)])
    };
    assert_eq!(refused(&limited, "public", "key_rate"), 1);
    assert_eq!(refused(&limited, "public", "failed_authentications"), 1);
    assert_eq!(refused(&limited, "internal", "database"), 0);

    app.foundation.store.close().await;
    app.internal.post("/v1/events", charge()).await.expect(503);
    let away = scrape(&app).await;
    assert_eq!(refused(&away, "internal", "database"), 1);
    assert_eq!(away.count("k_webhooks_database_up", &[]), 0);
    assert!(away.value(QUEUE, &[("state", "due")]).is_nan(), "what is not known is not a number");
    app.stop().await;
}

#[tokio::test]
async fn who_scrapes_often_does_not_load_the_database() {
    let app = TestApp::with(&[("test_clock.enabled", "false")]).await;
    let endpoint = app.endpoint("https://example.com/hooks").await;
    let path = format!("{ENDPOINTS}/{}", id(&endpoint));
    app.public.patch(&path, json!({ "status": "disabled" })).await.expect(200);
    assert_eq!(scrape(&app).await.count(QUEUE, &[("state", "held")]), 0);
    app.publish(charge()).await;
    let again = scrape(&app).await;
    assert_eq!(again.count("k_webhooks_events_accepted_total", &[("type", "charge.succeeded")]), 1);
    assert_eq!(again.count(QUEUE, &[("state", "held")]), 0, "what was seen holds for some seconds");
    app.stop().await;
}

#[tokio::test]
async fn metrics_are_told_without_a_key_in_two_formats_and_on_the_internal_listener_alone() {
    let app = TestApp::start().await;
    app.public.get("/metrics").await.expect(404);
    let plain = scrape(&app).await;
    assert_eq!(promtool(&["check", "metrics"], &plain.text), "");
    let accept =
        ("accept", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2");
    let open = Caller::new(app.internal_addr, "").send("GET", "/metrics", &[accept], "").await;
    assert_eq!(
        open.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(open.text.ends_with("\n# EOF\n"));
    assert!(open.text.contains("# TYPE k_webhooks_attempts counter\n"), "{}", open.text);
    app.stop().await;
}

#[tokio::test]
async fn a_process_without_an_api_tells_its_metrics_too() {
    let database = database().await;
    let mut serve = database.serve();
    serve.args(["--role", "worker"]);
    let process = Process::start(serve).await;
    let scrape = Scrape::of(process.internal).await;
    assert_eq!(scrape.count("k_webhooks_database_up", &[]), 1);
    assert!(scrape.value("process_open_fds", &[]) > 3.0);
    assert!(scrape.value("process_resident_memory_bytes", &[]) > 1e6);
    assert!(scrape.value("process_start_time_seconds", &[]) > 1.7e9);
    assert_eq!(scrape.count("k_webhooks_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1);
    process.kill().await;
}
