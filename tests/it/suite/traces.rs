//! Traces: from the publisher's span to each attempt, as a collector gets them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::TestApp;
use crate::support::{
    charge, id,
    metrics::Scrape,
    receiver::{Act, Received, Receiver},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const JSON: (&str, &str) = ("content-type", "application/json");

/// A collector: what the service sends to it, decoded.
struct Collector(Receiver);

impl Collector {
    async fn start() -> Self {
        Self(Receiver::start(Act::status(200)).await)
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// All spans, once there are so many.
    async fn spans(&self, count: usize) -> Vec<Value> {
        let mut requests = 0;
        loop {
            requests += 1;
            let received = self.0.until(requests).await;
            let spans: Vec<Value> = received.iter().flat_map(decode).collect();
            if spans.len() >= count {
                return spans;
            }
        }
    }
}

/// The spans of one request, as OTLP over HTTP has them in JSON.
fn decode(request: &Received) -> Vec<Value> {
    assert!(request.head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("content-type"), "application/json");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let resource = &body["resourceSpans"][0];
    assert_eq!(attribute(&resource["resource"], "service.name"), "k-webhooks");
    resource["scopeSpans"][0]["spans"].as_array().unwrap().clone()
}

fn attribute<'a>(object: &'a Value, key: &str) -> &'a str {
    let attributes = object["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    let value = &found.unwrap_or_else(|| panic!("no {key}: {object}"))["value"];
    value["stringValue"].as_str().or(value["intValue"].as_str()).unwrap()
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

async fn publish(app: &TestApp, traceparent: &str) -> Value {
    let headers = [JSON, ("traceparent", traceparent)];
    app.internal.send("POST", "/v1/events", &headers, charge().to_string()).await.expect(201)
}

#[tokio::test]
async fn each_attempt_is_a_span_that_links_to_the_one_that_accepted_its_event() {
    let collector = Collector::start().await;
    let app = TestApp::with(&[("tracing.otlp_endpoint", &collector.endpoint())]).await;
    let receiver =
        Receiver::start(Act::Rotate(Arc::default(), vec![Act::status(503), Act::status(200)])).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let event = publish(&app, &traceparent("01")).await;
    app.advance("1m").await;
    let spans = collector.spans(3).await;

    let accept = spans.iter().find(|span| span["name"] == "accept").unwrap();
    assert_eq!((accept["traceId"].as_str(), accept["parentSpanId"].as_str()), (Some(TRACE), Some(CALLER)));
    assert_eq!(accept["kind"], 2);
    assert_eq!(attribute(accept, "k_webhooks.event.id"), id(&event));

    let delivery = app.delivery_of(&event).await;
    let attempts: Vec<&Value> = spans.iter().filter(|span| span["name"] == "attempt").collect();
    assert_eq!(attempts.len(), 2);
    for (attempt, (status, code)) in attempts.iter().zip([("503", Some("http_status")), ("200", None)]) {
        let link = json!([{ "traceId": TRACE, "spanId": accept["spanId"] }]);
        assert_eq!(attempt["links"], link, "{attempt}");
        assert_ne!(attempt["traceId"], TRACE, "a trace of its own: it may be made days later");
        assert!(attempt.get("parentSpanId").is_none() && attempt["kind"] == 3);
        assert_eq!(attribute(attempt, "k_webhooks.delivery.id"), id(&delivery));
        assert_eq!(attribute(attempt, "k_webhooks.endpoint.id"), id(&endpoint));
        assert_eq!(attribute(attempt, "http.response.status_code"), status);
        match code {
            Some(code) => {
                assert_eq!(attribute(attempt, "error.type"), code);
                assert_eq!(attempt["status"]["code"], 2);
            }
            None => assert_eq!(attempt["status"], json!({})),
        }
        let nanoseconds = |name: &str| attempt[name].as_str().unwrap().parse::<i128>().unwrap();
        assert!(nanoseconds("startTimeUnixNano") <= nanoseconds("endTimeUnixNano"));
    }
    assert_ne!(attempts[0]["traceId"], attempts[1]["traceId"]);
    for request in receiver.received() {
        assert!(!request.head.contains("traceparent"), "receivers are told of no trace: {}", request.head);
    }
    let exported = Scrape::of(app.internal_addr).await;
    assert_eq!(exported.count("k_webhooks_spans_total", &[("outcome", "failed")]), 0);
    app.stop().await;
}

#[tokio::test]
async fn an_event_that_comes_without_a_trace_begins_one_and_a_caller_that_records_none_gets_none() {
    let collector = Collector::start().await;
    let app = TestApp::with(&[("tracing.otlp_endpoint", &collector.endpoint())]).await;
    publish(&app, &traceparent("00")).await;
    publish(&app, "no traceparent at all").await;
    let batch = json!({ "events": [charge(), charge()] });
    app.internal.post("/v1/events/batch", batch).await.expect(201);
    let spans = collector.spans(2).await;
    assert_eq!(spans.len(), 2, "{spans:#?}");
    for span in &spans {
        assert!(span.get("parentSpanId").is_none() && span["traceId"] != TRACE, "{span}");
        assert_eq!(span["traceId"].as_str().unwrap().len(), 32);
    }
    assert_eq!(attribute(&spans[1], "k_webhooks.events"), "2");
    app.stop().await;
}

#[tokio::test]
async fn receivers_get_a_traceparent_where_the_operator_says_so() {
    let app = TestApp::with(&[("tracing.propagate", "true")]).await;
    let receiver = Receiver::start(Act::status(200)).await;
    app.endpoint(&receiver.url()).await;
    publish(&app, &traceparent("01")).await;
    assert_eq!(
        receiver.until(1).await[0].header("traceparent"),
        traceparent("01"),
        "without a collector, the caller's"
    );
    app.stop().await;

    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let settings = [("tracing.propagate", "true"), ("tracing.otlp_endpoint", endpoint.as_str())];
    let app = TestApp::with(&settings).await;
    app.endpoint(&receiver.url()).await;
    publish(&app, &traceparent("01")).await;
    let told = receiver.until(2).await[1].header("traceparent").to_owned();
    let spans = collector.spans(2).await;
    let attempt = spans.iter().find(|span| span["name"] == "attempt").unwrap();
    let (trace, span) = (attempt["traceId"].as_str().unwrap(), attempt["spanId"].as_str().unwrap());
    assert_eq!(told, format!("00-{trace}-{span}-01"));
    app.stop().await;
}

#[tokio::test]
async fn a_collector_that_is_away_holds_up_nothing_and_its_losses_are_counted() {
    let settings = [("tracing.otlp_endpoint", "http://127.0.0.1:9")];
    let app = TestApp::with(&settings).await;
    let receiver = Receiver::start(Act::status(200)).await;
    app.endpoint(&receiver.url()).await;
    let event = publish(&app, &traceparent("01")).await;
    app.advance("1s").await;
    assert_eq!(app.delivery_of(&event).await["status"], "succeeded");
    while Scrape::of(app.internal_addr).await.count("k_webhooks_spans_total", &[("outcome", "failed")]) < 2 {
        tokio::task::yield_now().await;
    }
    app.stop().await;
}
