//! The publishing client against a service that does as it is told.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Response, Uri},
};
use k_payments_webhooks::{
    EventType,
    publisher::{NewEvent, Publisher, SetupError},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Answers by its script, and keeps what it was asked.
#[derive(Clone, Default)]
struct Service {
    script: Arc<Mutex<VecDeque<(u16, Value)>>>,
    asked: Arc<Mutex<Vec<(String, HeaderMap, Value)>>>,
}

async fn answer(State(service): State<Service>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let body = serde_json::from_slice(&body).unwrap();
    service.asked.lock().unwrap().push((uri.path().to_owned(), headers, body));
    let (status, body) = service.script.lock().unwrap().pop_front().expect("the script goes on");
    let mut answer = Response::builder().status(status).header("request-id", "req_1");
    if status == 429 {
        answer = answer.header("retry-after", "7");
    }
    answer.body(Body::from(body.to_string())).unwrap()
}

/// A publisher that does not wait, the service that it calls, and how long it would have waited.
async fn publisher(
    script: impl IntoIterator<Item = (u16, Value)>,
) -> (Publisher, Service, Arc<Mutex<Vec<Option<Duration>>>>) {
    let service = Service::default();
    service.script.lock().unwrap().extend(script);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(service.clone());
    tokio::spawn(axum_serve(listener, router));
    let waits = Arc::new(Mutex::new(Vec::new()));
    let publisher = Publisher::new(&format!("http://{address}/"), "svc_1").unwrap().pausing({
        let waits = Arc::clone(&waits);
        move |_, retry_after| {
            waits.lock().unwrap().push(retry_after);
            Duration::ZERO
        }
    });
    (publisher, service, waits)
}

async fn axum_serve(listener: TcpListener, router: Router) {
    use hyper_util::{
        rt::{TokioExecutor, TokioIo},
        server::conn::auto,
        service::TowerToHyperService,
    };
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn event() -> NewEvent {
    let charge = json!({ "id": "ch_1", "object": "charge", "amount": 4999 });
    NewEvent::new("m_1", false, EventType::ChargeSucceeded, &charge).unwrap()
}

fn stored(id: &str) -> Value {
    json!({ "id": id, "created": 1_749_651_729, "pending_webhooks": 1 })
}

#[tokio::test]
async fn an_event_is_published_with_a_key_of_its_own_which_every_repetition_has() {
    let refused = json!({ "error": { "type": "internal_error", "message": "Try again." } });
    let limited = json!({ "error": { "type": "rate_limit_error", "message": "Slowly." } });
    let script = [(503, refused), (429, limited), (502, json!("a proxy")), (201, stored("evt_1"))];
    let (publisher, service, waits) = publisher(script).await;
    let published = publisher.publish(&event().created(7)).await.unwrap();
    assert_eq!((published.id.as_str(), published.pending_webhooks), ("evt_1", 1));
    let asked = service.asked.lock().unwrap();
    let (path, headers, body) = &asked[0];
    assert_eq!((path.as_str(), &headers["authorization"]), ("/v1/events", &"Bearer svc_1".parse().unwrap()));
    assert_eq!(body["data"]["object"]["amount"], 4999);
    assert_eq!((&body["type"], &body["created"]), (&json!("charge.succeeded"), &json!(7)));
    assert_eq!(body["idempotency_key"].as_str().unwrap().len(), 32);
    assert!(asked.iter().all(|(_, _, again)| again == body) && asked.len() == 4);
    assert_eq!(*waits.lock().unwrap(), [None, Some(Duration::from_secs(7)), None]);
    assert_ne!(serde_json::to_value(event()).unwrap(), serde_json::to_value(event()).unwrap());
}

#[tokio::test]
async fn what_is_refused_is_not_repeated_and_names_every_bad_field() {
    let error = json!({ "error": { "type": "invalid_request_error", "message": "Validation failed.",
        "details": { "fieldErrors": { "type": ["is not an event type"] } } } });
    let (publisher, service, _) = publisher([(400, error)]).await;
    let refused = publisher.publish(&event()).await.unwrap_err();
    assert_eq!(refused.to_string(), "Validation failed. type: is not an event type.");
    assert_eq!((refused.status, refused.kind.as_str()), (Some(400), "invalid_request_error"));
    assert_eq!(refused.request_id.as_deref(), Some("req_1"));
    assert_eq!(service.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_a_connection_error_after_the_last_try() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let publisher =
        Publisher::new(&format!("http://{address}"), "svc_1").unwrap().pausing(|_, _| Duration::ZERO);
    let error = publisher.publish(&event()).await.unwrap_err();
    assert_eq!((error.status, error.kind.as_str()), (None, "connection_error"));
    for bad in ["", "k-webhooks.internal", "ftp://host"] {
        assert!(matches!(Publisher::new(bad, "svc_1"), Err(SetupError::NotAnAddress)), "{bad}");
    }
    assert!(!format!("{publisher:?}").contains("svc_1"));
}

#[tokio::test]
async fn a_batch_comes_back_in_the_order_given() {
    let list = json!({ "object": "list", "data": [stored("evt_1"), stored("evt_2")] });
    let (publisher, service, _) = publisher([(201, list)]).await;
    let published = publisher.publish_batch(&[event(), event().idempotency_key("mine")]).await.unwrap();
    assert_eq!(published.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["evt_1", "evt_2"]);
    let asked = service.asked.lock().unwrap();
    assert_eq!(
        (asked[0].0.as_str(), &asked[0].2["events"][1]["idempotency_key"]),
        ("/v1/events/batch", &json!("mine"))
    );
}
