//! How endpoints fare: their health, and statistics that add up over time, endpoints and processes.

use std::{collections::BTreeSet, time::Duration};

use k_webhooks::{
    clock::UnixMs,
    delivery::Verdict,
    id::EndpointId,
    statistics::{Bucket, Counts, Latest, LatestFailure, Length, StatisticsFilter},
    transport::FailureCode,
};
use serde_json::{Value, json};

use super::{
    TestApp, database,
    store::{NOW, fixture, tenant},
};
use crate::support::{
    charge, id,
    process::Process,
    receiver::{Act, Receiver},
};

async fn health(app: &TestApp, endpoint: &Value) -> Value {
    app.public.get(&format!("/v1/webhook_endpoints/{}/health", id(endpoint))).await.expect(200)
}

#[tokio::test]
async fn the_health_of_an_endpoint_says_what_came_of_its_attempts_and_what_waits() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let fresh = health(&app, &endpoint).await;
    assert_eq!(fresh["object"], "webhook_endpoint_health");
    for name in ["failing_since", "disables_at", "last_success", "last_failure"] {
        assert_eq!(fresh[name], Value::Null, "{name}");
    }
    assert_eq!(
        (&fresh["last_day"]["success_rate"], &fresh["last_day"]["latency_ms"]),
        (&Value::Null, &Value::Null)
    );
    let mut succeeded = Value::Null;
    for _ in 0..3 {
        succeeded = app.publish(charge()).await;
        app.advance("1s").await;
    }
    receiver.now(Act::status(503));
    let failed = app.publish(charge()).await;
    app.publish(charge()).await;
    app.advance("6m").await;

    let shown = health(&app, &endpoint).await;
    let (last_success, failed) = (app.delivery_of(&succeeded).await, app.delivery_of(&failed).await);
    assert_eq!(shown["last_success"]["at"], last_success["attempts"][0]["started"]);
    assert_eq!(shown["failing_since"], failed["attempts"][0]["started"]);
    let since = shown["failing_since"].as_i64().unwrap();
    assert_eq!(shown["disables_at"], since + 120 * 3600);
    let last_failure = &failed["attempts"][2];
    assert_eq!(
        shown["last_failure"],
        json!({ "at": last_failure["started"], "code": "http_status", "message": last_failure["failure_message"] })
    );
    assert_eq!((&shown["pending"], &shown["held"]), (&json!(2), &json!(0)));
    for range in ["last_hour", "last_day", "last_7_days", "last_30_days"] {
        let counts = &shown[range];
        assert_eq!((&counts["attempts"]["succeeded"], &counts["attempts"]["failed"]), (&json!(3), &json!(6)));
        assert_eq!(counts["attempts"]["failures"]["http_status"], 6);
        assert_eq!(counts["attempts"]["failures"]["timeout"], 0);
        assert_eq!(counts["deliveries"], json!({ "succeeded": 3, "abandoned": 0 }));
        assert_eq!(counts["success_rate"], 0.3333);
        let latency = |name: &str| counts["latency_ms"][name].as_i64().unwrap();
        assert!(latency("p50") <= latency("p95") && latency("p95") <= latency("p99"), "{counts}");
    }
    app.public
        .patch(&format!("/v1/webhook_endpoints/{}", id(&endpoint)), json!({ "status": "disabled" }))
        .await
        .expect(200);
    app.advance("73h").await;
    let later = health(&app, &endpoint).await;
    assert_eq!((&later["status"], &later["pending"]), (&json!("disabled"), &json!(0)));
    assert_eq!(later["last_hour"]["attempts"]["succeeded"], 0);
    assert_eq!(later["last_day"]["attempts"]["succeeded"], 0);
    assert_eq!(later["last_7_days"]["attempts"]["succeeded"], 3);
    app.stop().await;
}

#[tokio::test]
async fn statistics_add_up_over_time_and_endpoints_and_are_the_tenants_alone() {
    let app = TestApp::start().await;
    let (good, bad) = (Receiver::start(Act::status(200)).await, Receiver::start(Act::status(500)).await);
    let (good, bad) = (app.endpoint(&good.url()).await, app.endpoint(&bad.url()).await);
    for _ in 0..4 {
        app.publish(charge()).await;
        app.advance("40m").await;
    }
    let all = app.public.get("/v1/statistics").await.expect(200);
    assert_eq!((&all["object"], &all["webhook_endpoint"]), (&json!("statistics"), &Value::Null));
    assert_eq!((&all["bucket_seconds"], all["data"].as_array().unwrap().len()), (&json!(3600), 25));
    // At 0, 1, 6 and 36 minutes; the first two also at 156.
    assert_eq!(all["total"]["attempts"]["failed"], 4 * 4 + 1);
    assert_eq!(all["total"]["attempts"]["succeeded"], 4);
    let sum: i64 = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bucket| bucket["attempts"]["failed"].as_i64().unwrap())
        .sum();
    assert_eq!(sum, 17);
    let of = |endpoint: &Value| {
        let list = all["webhook_endpoints"].as_array().unwrap();
        list.iter().find(|counts| counts["webhook_endpoint"] == endpoint["id"]).unwrap().clone()
    };
    assert_eq!((&of(&good)["success_rate"], &of(&bad)["success_rate"]), (&json!(1.0), &json!(0.0)));
    let path = format!("/v1/statistics?webhook_endpoint={}", id(&good));
    let one = app.public.get(&path).await.expect(200);
    assert_eq!(one["total"]["attempts"]["failed"], 0);
    assert_eq!(one["total"]["deliveries"]["succeeded"], 4);
    let now = all["to"].as_i64().unwrap();
    let last = app.public.get(&format!("/v1/statistics?from={}", now - 3600)).await.expect(200);
    assert_eq!((&last["bucket_seconds"], &last["total"]["attempts"]["succeeded"]), (&json!(300), &json!(1)));
    for (merchant, livemode) in [("m_1", true), ("m_2", false)] {
        let other = app.merchant(merchant, livemode).await;
        let none = other.get("/v1/statistics").await.expect(200);
        assert_eq!(none["total"]["attempts"]["succeeded"], 0);
        assert_eq!(none["webhook_endpoints"], json!([]));
    }
    for (query, field) in [
        ("from=-1".to_owned(), "from"),
        ("to=soon".to_owned(), "to"),
        (format!("from={now}&to={now}"), "from"),
        (format!("from={}&to={now}", now - 31 * 86_400), "from"),
        ("webhook_endpoint=we_1".to_owned(), "webhook_endpoint"),
        ("bucket=1".to_owned(), "bucket"),
    ] {
        app.public.get(&format!("/v1/statistics?{query}")).await.refuses(field);
    }
    app.stop().await;
}

#[tokio::test]
async fn statistics_become_coarser_with_age_without_losing_any_and_end_with_retention() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    app.endpoint(&receiver.url()).await;
    for _ in 0..6 {
        app.publish(charge()).await;
        app.advance("10m").await;
    }
    let lengths = async || {
        let rows = app.database.rows("SELECT length_ms, succeeded FROM statistics").await;
        let sum: u32 = rows.iter().map(|row| row[1].parse::<u32>().unwrap()).sum();
        let lengths: BTreeSet<String> = rows.iter().map(|row| row[0].clone()).collect();
        (lengths.into_iter().collect::<Vec<_>>(), rows.len(), sum)
    };
    assert_eq!(lengths().await, (vec!["300000".to_owned()], 6, 6));
    app.advance("27h").await;
    let (hours, rows, sum) = lengths().await;
    assert_eq!((hours, sum), (vec!["3600000".to_owned()], 6));
    assert!(rows <= 2, "{rows}");
    app.advance("230h").await;
    let (days, rows, sum) = lengths().await;
    assert_eq!((days, sum), (vec!["86400000".to_owned()], 6));
    assert!(rows <= 2, "{rows}");
    let endpoints = app.public.get("/v1/webhook_endpoints").await.expect(200);
    assert_eq!(health(&app, &endpoints["data"][0]).await["last_30_days"]["attempts"]["succeeded"], 6);
    app.advance("500h").await;
    assert_eq!(lengths().await, (Vec::new(), 0, 0));
    app.stop().await;
}

#[tokio::test]
async fn what_processes_count_adds_up_and_the_latest_outcome_stays() {
    let fixture = fixture().await;
    let other = fixture.database.open(std::sync::Arc::clone(&fixture.ids)).await;
    let endpoints = [fixture.endpoint().await, fixture.endpoint().await];
    fixture.accept(1).await;
    let leased = fixture.claim(NOW, 1, 1).await.remove(0);
    let one = Counts::of(&fixture.result(&leased, Verdict::Succeeded), true);
    let begins = Length::FiveMinutes.floor(NOW);
    let bucket = |endpoint_id: EndpointId| Bucket { endpoint_id, starts_at: begins, counts: one };
    let gone = bucket(fixture.ids.next(NOW));
    let seen = |minutes: i64| Latest {
        success_at: Some(UnixMs(NOW.0 + minutes)),
        failure: Some(LatestFailure {
            at: UnixMs(NOW.0 - minutes),
            code: FailureCode::Dns,
            message: minutes.to_string(),
        }),
    };
    for round in 0..10 {
        let (forth, back) =
            (endpoints.map(bucket), [bucket(endpoints[1]), gone.clone(), bucket(endpoints[0])]);
        let (early, late) = ([(endpoints[0], seen(round))], [(endpoints[0], seen(round + 5))]);
        let (first, second) =
            tokio::join!(fixture.store.add_statistics(&forth, &early), other.add_statistics(&back, &late));
        first.unwrap();
        second.unwrap();
    }
    let filter = StatisticsFilter {
        tenant: tenant(),
        endpoint_id: None,
        from: begins,
        to: begins.plus(Duration::from_secs(1)),
    };
    let sums = fixture.store.statistics(&filter, Length::FiveMinutes).await.unwrap();
    assert_eq!(sums.iter().map(|bucket| bucket.endpoint_id).collect::<Vec<_>>(), endpoints);
    for bucket in sums {
        assert_eq!((bucket.starts_at, bucket.counts.succeeded()), (begins, 20));
        assert_eq!(bucket.counts.deliveries_succeeded(), 20);
    }
    let latest = fixture.store.latest_outcomes(endpoints[0]).await.unwrap();
    assert_eq!(latest.success_at, Some(UnixMs(NOW.0 + 14)));
    let failure = latest.failure.unwrap();
    assert_eq!((failure.at, failure.message.as_str()), (NOW, "0"));
    assert_eq!(fixture.store.latest_outcomes(endpoints[1]).await.unwrap(), Latest::default());
}

#[tokio::test]
async fn a_process_that_stops_writes_what_it_has_counted() {
    let database = database().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let mut command = database.serve();
    command.env("K_WEBHOOKS__LOG__FILTER", "info,k_webhooks=debug");
    let mut process = Process::start(command).await;
    process.publish_to(&receiver).await;
    process.until_logged("delivered").await;
    process.terminate();
    assert_eq!(process.child.wait().await.unwrap().code(), Some(0));
    let counted = "SELECT succeeded, deliveries_succeeded FROM statistics";
    assert_eq!(database.rows(counted).await, [["1", "1"]]);
}
