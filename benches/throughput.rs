//! How many events a second the service accepts durably and delivers, with publishers, service and receiver on one
//! machine. The service is the real program, as a process of its own, on embedded storage.
//!
//! `make bench`, or `cargo bench --bench throughput -- EVENTS PUBLISHERS`.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, http::StatusCode};
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;

const KEY: &str = "bootstrap-key-of-the-benchmark";

#[expect(clippy::cast_precision_loss, reason = "microseconds as milliseconds")]
#[tokio::main]
async fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let (events, publishers) =
        (numbers.first().copied().unwrap_or(50_000), numbers.get(1).copied().unwrap_or(64));
    let folder = tempfile::tempdir_in(".").expect("a folder on the disk that is measured");
    let mut service = Command::new(env!("CARGO_BIN_EXE_k-webhooks"))
        .args(["serve", "--config", "/dev/null", "--set", "log.format=json"])
        .current_dir(folder.path())
        .env("K_WEBHOOKS__SERVER__LISTEN", "127.0.0.1:0")
        .env("K_WEBHOOKS__INTERNAL__LISTEN", "127.0.0.1:0")
        .env("K_WEBHOOKS__INTERNAL__BOOTSTRAP_KEY", KEY)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let (public, internal) = listening(&mut service);
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let call = async |address: &str, path: &str, key: &str, body: Value| -> Value {
        let request = hyper::Request::post(format!("http://{address}{path}"))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))
            .expect("a request");
        let response = client.request(request).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::CREATED);
        serde_json::from_slice(&response.into_body().collect().await.expect("a body").to_bytes())
            .expect("JSON")
    };

    let (received, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a receiver");
    let url = format!("http://{}/", listener.local_addr().expect("its address"));
    let count = {
        let (received, all) = (Arc::clone(&received), Arc::clone(&all));
        move || {
            if received.fetch_add(1, Ordering::SeqCst) + 1 == events {
                all.notify_one();
            }
            std::future::ready(StatusCode::NO_CONTENT)
        }
    };
    let stop = CancellationToken::new();
    tokio::spawn(k_webhooks::http::serve(listener, Router::new().fallback(count), stop, Duration::ZERO));
    let key = call(&internal, "/v1/merchants/m_1/api_keys", KEY, json!({})).await;
    let key = key["secret_key"].as_str().expect("a key");
    call(&public, "/v1/webhook_endpoints", key, json!({ "url": url })).await;

    let body = Bytes::from(
        json!({
            "merchant_id": "m_1", "livemode": false, "type": "charge.succeeded",
            "data": { "object": { "id": "ch_1", "object": "charge", "amount": 4999, "currency": "USD", "status": "succeeded" } },
        })
        .to_string(),
    );
    let left = Arc::new(AtomicUsize::new(events));
    let started = Instant::now();
    let mut publishing = tokio::task::JoinSet::new();
    for _ in 0..publishers {
        let (client, body, left, uri) =
            (client.clone(), body.clone(), Arc::clone(&left), format!("http://{internal}/v1/events"));
        publishing.spawn(async move {
            let mut latencies = Histogram::<u64>::new(3).expect("a histogram");
            while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                let sent = Instant::now();
                let request = hyper::Request::post(&uri)
                    .header("authorization", format!("Bearer {KEY}"))
                    .header("content-type", "application/json")
                    .body(Full::from(body.clone()))
                    .expect("a request");
                let response = client.request(request).await.expect("an answer");
                assert_eq!(response.status(), StatusCode::CREATED);
                response.into_body().collect().await.expect("a body");
                latencies
                    .record(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX))
                    .expect("in range");
            }
            latencies
        });
    }
    let mut latencies = Histogram::<u64>::new(3).expect("a histogram");
    while let Some(published) = publishing.join_next().await {
        latencies.add(published.expect("a publisher")).expect("in range");
    }
    let accepted = started.elapsed();
    all.notified().await;
    let delivered = started.elapsed();
    let rate =
        |elapsed: Duration| f64::from(u32::try_from(events).unwrap_or(u32::MAX)) / elapsed.as_secs_f64();
    report(&format!("{events} events, {publishers} publishers of single events, one endpoint"));
    report(&format!("accepted   {:>8.0} events/s", rate(accepted)));
    report(&format!(
        "delivered  {:>8.0} events/s (publish of the first to receipt of the last)",
        rate(delivered)
    ));
    let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    report(&format!(
        "accept latency p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms",
        ms(0.5),
        ms(0.99),
        ms(0.999)
    ));
    service.kill().expect("the program is ended");
    service.wait().expect("the program ends");
}

#[expect(clippy::print_stdout, reason = "a benchmark reports on standard output")]
fn report(line: &str) {
    println!("{line}");
}

/// Waits until the program says where it listens.
fn listening(service: &mut std::process::Child) -> (String, String) {
    let mut lines = BufReader::new(service.stderr.take().expect("its log")).lines();
    let addresses = loop {
        let line = lines.next().expect("the program listens").expect("its log is text");
        let log: Value = serde_json::from_str(&line).expect("its log is JSON");
        if log["fields"]["message"] == "listening" {
            let address = |name: &str| log["fields"][name].as_str().expect("an address").to_owned();
            break (address("public"), address("internal"));
        }
    };
    std::thread::spawn(move || lines.for_each(drop));
    addresses
}
