//! Deliveries: signing, outcomes, the ladder, and what merchants can do about them.

use std::{sync::Arc, time::Duration};

use k_webhooks::signature::{SigningSecret, VerifyError, verify};
use serde_json::{Value, json};

use super::TestApp;
use crate::support::{
    charge, id,
    receiver::{Act, Receiver},
    tls,
};

const ENDPOINTS: &str = "/v1/webhook_endpoints";
const TOLERANCE: Duration = Duration::from_secs(300);

async fn now_seconds(app: &TestApp) -> i64 {
    app.internal.get("/v1/test_clock").await.expect(200)["now_ms"].as_i64().unwrap() / 1000
}

fn secret(endpoint: &Value) -> SigningSecret {
    SigningSecret::parse(endpoint["signing_secret"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_delivery_carries_the_event_signed_in_both_ways() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let event = app.publish(charge()).await;
    let request = receiver.until(1).await.remove(0);
    app.advance("1s").await;

    let now = now_seconds(&app).await;
    let signature = request.header("k-payments-signature");
    assert_eq!(verify(signature, &request.body, &secret(&endpoint), now, TOLERANCE), Ok(()));
    let mut headers = http::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, request.header(name).parse().unwrap());
    }
    let library = standardwebhooks::Webhook::new(secret(&endpoint).expose()).unwrap();
    library.verify(&request.body, &headers).unwrap();

    assert!(request.head.starts_with("POST /hooks HTTP/1.1\r\n"), "{}", request.head);
    let delivery = app.delivery_of(&event).await;
    for (name, value) in [
        ("content-type", "application/json"),
        ("user-agent", "K-Payments-Webhooks/1.0"),
        ("k-payments-event-id", id(&event)),
        ("k-payments-event-type", "charge.succeeded"),
        ("k-payments-delivery-id", id(&delivery)),
        ("k-payments-attempt", "1"),
    ] {
        assert_eq!(request.header(name), value);
    }
    let mut sent: Value = serde_json::from_slice(&request.body).unwrap();
    sent["pending_webhooks"] = json!(1);
    assert_eq!(sent, event);
    assert_eq!(
        (&delivery["status"], &delivery["attempts"][0]["response_status"]),
        (&json!("succeeded"), &json!(200))
    );
    assert_eq!(delivery["attempts"][0]["response_body"], "ok");
    assert_eq!(delivery["attempts"][0]["address"], receiver.address.to_string());
    assert_eq!(
        app.public.get(&format!("/v1/events/{}", id(&event))).await.expect(200)["pending_webhooks"],
        0
    );
    app.stop().await;
}

#[tokio::test]
async fn the_ladder_is_walked_to_the_end_of_the_window_each_attempt_signed_anew() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(500)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let event = app.publish(charge()).await;
    assert_eq!(app.advance("59s").await, 1);
    assert_eq!(app.delivery_of(&event).await["status"], "pending");
    assert_eq!(app.advance("1s").await, 1);
    assert_eq!(app.advance("72h").await, 7);

    let delivery = app.delivery_of(&event).await;
    assert_eq!(
        (&delivery["status"], &delivery["abandoned_reason"]),
        (&json!("abandoned"), &json!("window_closed"))
    );
    assert_eq!(delivery["next_attempt_at"], Value::Null);
    let attempts = delivery["attempts"].as_array().unwrap();
    let start = attempts[0]["started"].as_i64().unwrap();
    let minutes: Vec<i64> =
        attempts.iter().map(|attempt| (attempt["started"].as_i64().unwrap() - start) / 60).collect();
    assert_eq!(minutes, [0, 1, 6, 36, 156, 516, 1236, 2676, 4116]);
    assert!(attempts.iter().all(|attempt| attempt["failure_code"] == "http_status"));

    let requests = receiver.received();
    assert_eq!(requests.len(), 9);
    for (request, attempt) in requests.iter().zip(attempts) {
        let started = attempt["started"].as_i64().unwrap();
        assert!(request.header("k-payments-signature").starts_with(&format!("t={started},")));
        assert_eq!(request.header("k-payments-attempt"), attempt["number"].to_string());
        assert_eq!(request.body, requests[0].body, "every attempt sends the same bytes");
        let signature = request.header("k-payments-signature");
        assert_eq!(verify(signature, &request.body, &secret(&endpoint), started, TOLERANCE), Ok(()));
    }
    assert_eq!(receiver.connections(), 1, "connections are reused");
    assert_eq!(app.advance("72h").await, 0, "nothing is attempted after the end");
    app.stop().await;
}

#[tokio::test]
async fn each_way_to_fail_has_its_code() {
    let app = TestApp::start().await;
    let raw = |text: &str| Act::RawThenClose(text.to_owned());
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200));
    for (act, code) in [
        (Act::status(404), "http_status"),
        (Act::status(500), "http_status"),
        (Act::with_header(302, "location: http://127.0.0.1:1/"), "redirect"),
        (Act::Hang, "timeout"),
        (Act::Drip, "timeout"),
        (Act::Close, "connection"),
        (Act::Reset, "connection"),
        (raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"), "connection"),
        (raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), "protocol"),
        (raw("SMTP hello\r\n\r\n"), "protocol"),
        (raw(&many_headers), "protocol"),
    ] {
        let receiver = Receiver::start(act.clone()).await;
        let endpoint = app.endpoint(&receiver.url()).await;
        let event = app.publish(charge()).await;
        app.advance("1s").await;
        let delivery = app.delivery_of(&event).await;
        let attempt = &delivery["attempts"][0];
        assert_eq!(attempt["failure_code"], code, "{act:?}: {attempt}");
        assert!(attempt["failure_message"].as_str().is_some_and(|message| message.len() > 10), "{attempt}");
        assert_eq!(delivery["status"], "pending");
        app.public.delete(&format!("{ENDPOINTS}/{}", id(&endpoint))).await.expect(200);
    }
    app.stop().await;
}

#[tokio::test]
async fn unreachable_and_untrusted_endpoints_fail_as_connection_and_tls() {
    let app = TestApp::start().await;
    let (untrusted, _) = tls::receiver("127.0.0.1").await;
    // Nothing listens there any more.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (url, code) in [(format!("http://{closed}/"), "connection"), (format!("https://{untrusted}/"), "tls")]
    {
        let endpoint = app.endpoint(&url).await;
        let event = app.publish(charge()).await;
        app.advance("1s").await;
        let delivery = app.delivery_of(&event).await;
        assert_eq!(delivery["attempts"][0]["failure_code"], code, "{url}: {delivery}");
        app.public.delete(&format!("{ENDPOINTS}/{}", id(&endpoint))).await.expect(200);
    }
    app.stop().await;
}

/// Resolves every name to the same addresses.
struct Fixed(Vec<std::net::IpAddr>);

#[async_trait::async_trait]
impl k_webhooks::transport::Resolve for Fixed {
    async fn resolve(&self, _: &str) -> Result<Vec<std::net::IpAddr>, String> {
        Ok(self.0.clone())
    }
}

#[tokio::test]
async fn a_name_with_one_forbidden_address_is_refused_and_told_why() {
    let addresses = ["127.0.0.1", "10.0.0.5"].map(|address| address.parse().unwrap());
    let app = TestApp::resolving(&[], Arc::new(Fixed(addresses.to_vec()))).await;
    let receiver = Receiver::start(Act::status(200)).await;
    app.endpoint(&format!("http://hooks.example.com:{}/", receiver.address.port())).await;
    let event = app.publish(charge()).await;
    app.advance("1s").await;
    let attempt = app.delivery_of(&event).await["attempts"][0].clone();
    assert_eq!(attempt["failure_code"], "address_forbidden");
    let message = attempt["failure_message"].as_str().unwrap();
    assert!(message.contains("hooks.example.com resolved to 10.0.0.5"), "{message}");
    assert_eq!(receiver.connections(), 0);
    app.stop().await;
}

#[tokio::test]
async fn the_services_own_listeners_are_neither_registered_nor_called() {
    let app = TestApp::resolving(&[], Arc::new(Fixed(vec!["127.0.0.1".parse().unwrap()]))).await;
    for own in [app.public_addr, app.internal_addr] {
        for host in ["127.0.0.1".to_owned(), "localhost".to_owned(), "2130706433".to_owned()] {
            let body = json!({ "url": format!("http://{host}:{}/v1/events", own.port()) });
            let message = app.public.post(ENDPOINTS, body).await.refuses("url");
            assert!(message.contains("the service itself"), "{message}");
        }
        let endpoint = app.endpoint(&format!("http://hooks.example.com:{}/v1/events", own.port())).await;
        let event = app.publish(charge()).await;
        app.advance("1s").await;
        let attempt = app.delivery_of(&event).await["attempts"][0].clone();
        assert_eq!(attempt["failure_code"], "address_forbidden", "{attempt}");
        assert_eq!(
            attempt["failure_message"],
            "hooks.example.com resolved to 127.0.0.1, which is the service itself"
        );
        assert_eq!(attempt["response_body"], serde_json::Value::Null, "{attempt}");
        app.public.delete(&format!("{ENDPOINTS}/{}", id(&endpoint))).await.expect(200);
    }
    app.stop().await;
}

#[tokio::test]
async fn ports_outside_the_rule_are_refused_at_registration() {
    let app = TestApp::start().await;
    let message =
        app.public.post(ENDPOINTS, json!({ "url": "https://example.com:25/" })).await.refuses("url");
    assert!(
        message.contains("must not use port 25; those that are called: 80, 443, 1024-65535"),
        "{message}"
    );
    app.stop().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let ports = format!("[\"{}\"]", receiver.address.port());
    let app = TestApp::with(&[("security.ports", &ports)]).await;
    app.endpoint(&receiver.url()).await;
    app.publish(charge()).await;
    receiver.until(1).await;
    app.public.post(ENDPOINTS, json!({ "url": "https://example.com/" })).await.refuses("url");
    app.stop().await;
}

#[tokio::test]
async fn a_certificate_of_a_trusted_root_is_accepted_for_its_name_and_no_other() {
    let ((right, root), (wrong, other_root)) =
        (tls::receiver("127.0.0.1").await, tls::receiver("example.com").await);
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, root + &other_root).unwrap();
    let app = TestApp::with(&[("security.extra_root_certificates", roots.to_str().unwrap())]).await;
    for (address, status) in [(right, "succeeded"), (wrong, "pending")] {
        let endpoint = app.endpoint(&format!("https://{address}/")).await;
        let event = app.publish(charge()).await;
        app.advance("1s").await;
        let delivery = app.delivery_of(&event).await;
        assert_eq!(delivery["status"], status, "{delivery}");
        if status == "pending" {
            assert_eq!(delivery["attempts"][0]["failure_code"], "tls", "{delivery}");
        }
        app.public.delete(&format!("{ENDPOINTS}/{}", id(&endpoint))).await.expect(200);
    }
    app.stop().await;
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_cap_and_still_a_success() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::Endless).await;
    app.endpoint(&receiver.url()).await;
    let event = app.publish(charge()).await;
    app.advance("1s").await;
    let delivery = app.delivery_of(&event).await;
    assert_eq!(delivery["status"], "succeeded");
    assert_eq!(delivery["attempts"][0]["response_body"].as_str().unwrap().len(), 4096);
    app.stop().await;
}

#[tokio::test]
async fn gone_abandons_the_delivery_disables_the_endpoint_and_holds_the_rest() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(500)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let waiting = app.publish(charge()).await;
    app.advance("1s").await;
    receiver.now(Act::status(410));
    let gone = app.publish(charge()).await;
    app.advance("1s").await;
    let delivery = app.delivery_of(&gone).await;
    assert_eq!((&delivery["status"], &delivery["abandoned_reason"]), (&json!("abandoned"), &json!("gone")));
    let shown = app.public.get(&format!("{ENDPOINTS}/{}", id(&endpoint))).await.expect(200);
    assert_eq!((&shown["status"], &shown["disabled_reason"]), (&json!("disabled"), &json!("gone")));
    assert_eq!(app.delivery_of(&waiting).await["status"], "held");
    app.stop().await;
}

#[tokio::test]
async fn retry_after_lengthens_the_delay() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::with_header(503, "retry-after: 3600")).await;
    app.endpoint(&receiver.url()).await;
    let event = app.publish(charge()).await;
    app.advance("59m").await;
    let delivery = app.delivery_of(&event).await;
    assert_eq!(delivery["attempt_count"], 1);
    let started = delivery["attempts"][0]["started"].as_i64().unwrap();
    assert_eq!(delivery["next_attempt_at"].as_i64().unwrap(), started + 3600);
    assert_eq!(app.advance("1m").await, 1);
    app.stop().await;
}

#[tokio::test]
async fn a_disabled_endpoint_holds_deliveries_and_an_enabled_one_gets_those_still_in_the_window() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let path = format!("{ENDPOINTS}/{}", id(&endpoint));
    app.public.patch(&path, json!({ "status": "disabled" })).await.expect(200);
    let late = app.publish(charge()).await;
    app.advance("48h").await;
    let in_time = app.publish(charge()).await;
    assert_eq!(app.delivery_of(&late).await["status"], "held");
    let held = app.public.get(&format!("{path}/deliveries?status=held")).await.expect(200);
    assert_eq!(held["data"].as_array().unwrap().len(), 2);
    app.advance("30h").await;
    app.public.patch(&path, json!({ "status": "enabled" })).await.expect(200);
    app.advance("1s").await;
    assert_eq!(app.delivery_of(&in_time).await["status"], "succeeded");
    let late = app.delivery_of(&late).await;
    assert_eq!(
        (&late["status"], &late["abandoned_reason"]),
        (&json!("abandoned"), &json!("endpoint_disabled"))
    );
    assert_eq!(receiver.received().len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn deleting_an_endpoint_abandons_its_pending_deliveries() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(500)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let event = app.publish(charge()).await;
    app.advance("1s").await;
    app.public.delete(&format!("{ENDPOINTS}/{}", id(&endpoint))).await.expect(200);
    let delivery = app.delivery_of(&event).await;
    assert_eq!(
        (&delivery["status"], &delivery["abandoned_reason"]),
        (&json!("abandoned"), &json!("endpoint_deleted"))
    );
    assert_eq!(app.advance("72h").await, 0);
    app.public.post(&format!("/v1/deliveries/{}/retry", id(&delivery)), "").await.expect(400);
    app.stop().await;
}

#[tokio::test]
async fn a_rotated_secret_signs_beside_the_old_one_until_that_ends() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let path = format!("{ENDPOINTS}/{}/rotate_secret", id(&endpoint));
    let rotated = app.public.post(&path, json!({ "expire_previous_in": "1h" })).await.expect(200);
    let (old, new) = (secret(&endpoint), secret(&rotated));
    app.publish(charge()).await;
    let both = receiver.until(1).await.remove(0);
    let now = now_seconds(&app).await;
    let check = |request: &crate::support::receiver::Received, secret: &SigningSecret, now| {
        verify(request.header("k-payments-signature"), &request.body, secret, now, TOLERANCE)
    };
    assert_eq!((check(&both, &old, now), check(&both, &new, now)), (Ok(()), Ok(())));
    assert_eq!(both.header("webhook-signature").split(' ').count(), 2);
    app.advance("1h").await;
    app.publish(charge()).await;
    let one = receiver.until(2).await.remove(1);
    let now = now_seconds(&app).await;
    assert_eq!(check(&one, &new, now), Ok(()));
    assert_eq!(check(&one, &old, now), Err(VerifyError::NoMatchingSignature));
    app.public.post(&path, json!({ "expire_previous_in": 0 })).await.expect(200);
    app.publish(charge()).await;
    let newest = receiver.until(3).await.remove(2);
    assert_eq!(check(&newest, &new, now), Err(VerifyError::NoMatchingSignature));
    app.stop().await;
}

#[tokio::test]
async fn a_retry_starts_a_new_ladder_and_a_resend_a_new_delivery_of_the_same_bytes() {
    // Two ladders without a success are longer than an endpoint may fail.
    let app = TestApp::with(&[("endpoint.disable_after_failing", "never")]).await;
    let receiver = Receiver::start(Act::status(500)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let event = app.publish(charge()).await;
    app.advance("73h").await;
    let abandoned = app.delivery_of(&event).await;
    assert_eq!(abandoned["attempt_count"], 9);
    let path = format!("/v1/deliveries/{}", id(&abandoned));
    let retried = app.public.post(&format!("{path}/retry"), "").await.expect(200);
    assert_eq!((&retried["status"], &retried["abandoned_reason"]), (&json!("pending"), &Value::Null));
    app.advance("72h").await;
    assert_eq!(app.public.get(&path).await.expect(200)["attempt_count"], 18);

    receiver.now(Act::status(200));
    let resend = json!({ "webhook_endpoint": id(&endpoint) });
    let resent = app.public.post(&format!("/v1/events/{}/resend", id(&event)), resend).await.expect(201);
    assert_ne!(resent["id"], abandoned["id"]);
    app.advance("1s").await;
    let requests = receiver.received();
    assert_eq!(requests.last().unwrap().body, requests[0].body);
    assert_eq!(requests.last().unwrap().header("k-payments-attempt"), "1");
    let list = app.public.get(&format!("/v1/events/{}/deliveries", id(&event))).await.expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    app.public.post(&format!("/v1/events/{}/resend", id(&event)), "{}").await.refuses("webhook_endpoint");
    app.stop().await;
}

#[tokio::test]
async fn a_hanging_endpoint_does_not_delay_another() {
    let app = TestApp::with(&[("delivery.timeout", "30s"), ("delivery.max_in_flight", "16")]).await;
    let (hanging, quick) = (Receiver::start(Act::Hang).await, Receiver::start(Act::status(200)).await);
    app.endpoint(&hanging.url()).await;
    app.endpoint(&quick.url()).await;
    for _ in 0..50 {
        app.publish(charge()).await;
    }
    // The hanging endpoint holds its places for 30 seconds; the other gets all it is due meanwhile.
    quick.until(50).await;
    assert!(hanging.received().len() <= 4, "a lane starts narrow");
}
