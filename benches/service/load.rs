//! Publishing over HTTP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    body::Bytes,
    http::{Response, StatusCode},
};
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::task::JoinSet;

/// A bare HTTP client.
#[derive(Clone)]
pub(crate) struct Client(legacy::Client<HttpConnector, Full<Bytes>>);

impl Client {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(legacy::Client::builder(TokioExecutor::new()).build(connector))
    }

    /// Sends a body and reads the answer, which must be a success.
    pub(crate) async fn send(&self, uri: &str, key: &str, body: Bytes) -> Bytes {
        let response = self.try_send(uri, key, body).await;
        let status = response.status();
        let body = response.into_body();
        assert!(matches!(status, StatusCode::CREATED | StatusCode::NO_CONTENT), "{status}: {body:?}");
        body
    }

    /// Sends a body and reads the answer, whatever it is.
    pub(crate) async fn try_send(&self, uri: &str, key: &str, body: Bytes) -> Response<Bytes> {
        let request = hyper::Request::post(uri)
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Full::from(body))
            .expect("a request");
        let response = self.0.request(request).await.expect("an answer");
        let (head, body) = response.into_parts();
        Response::from_parts(head, body.collect().await.expect("a body").to_bytes())
    }

    pub(crate) async fn post(&self, address: &str, path: &str, key: &str, body: &Value) -> Value {
        let answer = self.send(&format!("http://{address}{path}"), key, body.to_string().into()).await;
        serde_json::from_slice(&answer).expect("JSON")
    }
}

/// An event as JSON, told apart by its number.
pub(crate) fn event(merchant: &str, number: usize) -> String {
    format!(
        r#"{{"merchant_id":"{merchant}","livemode":false,"type":"charge.succeeded","data":{{"object":{{"id":"ch_{number}","object":"charge","amount":4999,"currency":"USD","status":"succeeded","description":"Order #1024"}}}}}}"#
    )
}

/// Sends `count` bodies by `publishers` clients, each as soon as its last was answered; answers how long each took.
pub(crate) async fn closed_loop(
    uri: &str,
    key: &'static str,
    publishers: usize,
    count: usize,
    body: impl Fn(usize) -> String + Send + Sync + 'static,
) -> (Duration, Histogram<u64>) {
    let (next, body, client) = (Arc::new(AtomicUsize::new(0)), Arc::new(body), Client::new());
    let started = Instant::now();
    let mut publishing = JoinSet::new();
    for _ in 0..publishers {
        let (client, next, body, uri) =
            (client.clone(), Arc::clone(&next), Arc::clone(&body), uri.to_owned());
        publishing.spawn(async move {
            let mut latencies = histogram();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return latencies;
                }
                let sent = Instant::now();
                client.send(&uri, key, body(number).into()).await;
                record(&mut latencies, sent.elapsed());
            }
        });
    }
    let mut latencies = histogram();
    while let Some(published) = publishing.join_next().await {
        latencies.add(published.expect("a publisher")).expect("in range");
    }
    (started.elapsed(), latencies)
}

/// Begins `count` requests at a fixed rate, whether earlier ones are answered or not, and waits for all. `begun` is told
/// when each was to begin: latency counts from there, so that a service that stalls cannot hide it.
pub(crate) async fn open_loop(
    uri: &str,
    key: &'static str,
    per_second: u32,
    count: usize,
    body: impl Fn(usize) -> String,
    begun: impl Fn(Instant),
) {
    let client = Client::new();
    let mut due = Instant::now();
    let mut under_way = JoinSet::new();
    for number in 0..count {
        tokio::time::sleep_until(due.into()).await;
        begun(due);
        let (client, uri, body) = (client.clone(), uri.to_owned(), body(number));
        under_way.spawn(async move { client.send(&uri, key, body.into()).await });
        due += Duration::from_secs(1) / per_second;
    }
    under_way.join_all().await;
}

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("a histogram")
}

pub(crate) fn record(latencies: &mut Histogram<u64>, took: Duration) {
    latencies.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)).expect("in range");
}

/// `p50 / p99 / p99.9` in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "microseconds as milliseconds")]
pub(crate) fn quantiles(latencies: &Histogram<u64>) -> String {
    let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    format!("{:.1} / {:.1} / {:.1} ms", ms(0.5), ms(0.99), ms(0.999))
}
