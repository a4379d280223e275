//! What a client may ask for, and what every answer says to browsers.

use serde_json::json;

use super::TestApp;
use crate::support::{
    Caller, charge,
    receiver::{Act, Receiver},
};

const ENDPOINTS: &str = "/v1/webhook_endpoints";

#[tokio::test]
async fn every_answer_tells_browsers_to_run_frame_and_keep_nothing() {
    let app = TestApp::with(&[("server.hsts_max_age", "365d")]).await;
    let made = app.public.post(ENDPOINTS, json!({"url": "http://127.0.0.1:3000/"})).await;
    made.expect(201);
    for answer in [
        made,
        app.public.get(ENDPOINTS).await,
        app.public.get("/v1/nowhere").await,
        app.public.get("/healthz").await,
        app.internal.get("/v1/merchants/m_1/api_keys").await,
        app.internal.post("/v1/events", "{").await,
        Caller::new(app.public_addr, "").get(ENDPOINTS).await,
    ] {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("strict-transport-security", "max-age=31536000"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}: {}", answer.text);
        }
        assert!(answer.header("request-id").unwrap().starts_with("req_"));
    }
    app.stop().await;
}

#[tokio::test]
async fn another_sites_page_gets_nothing_and_a_cookie_opens_nothing() {
    let app = TestApp::start().await;
    let origin = ("origin", "https://attacker.example");
    let preflight = [origin, ("access-control-request-method", "POST")];
    let answer = app.public.send("OPTIONS", ENDPOINTS, &preflight, "").await;
    assert_eq!(answer.status, 405);
    let asked = app.public.send("GET", ENDPOINTS, &[origin], "").await;
    for answer in [answer, asked] {
        assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control-")));
    }
    let anonymous = Caller::new(app.public_addr, "");
    let cookie = [("cookie", "session=abc; authorization=Bearer abc")];
    anonymous.send("GET", ENDPOINTS, &cookie, "").await.expect(401);
    app.stop().await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_in_the_envelope() {
    let app = TestApp::with(&[("limits.head_bytes_max", "8KiB")]).await;
    let long = "x".repeat(8 * 1024);
    let uri = app.public.get(&format!("{ENDPOINTS}?{long}")).await.expect(414);
    assert_eq!(uri["error"]["type"], "invalid_request_error");
    let headers = app.public.send("GET", ENDPOINTS, &[("x-long", &long)], "").await.expect(431);
    assert_eq!(headers["error"]["message"], "The request's headers are larger than 8192 bytes.");
    app.public.get(ENDPOINTS).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn json_bombs_and_misspellings_cost_no_more_than_they_are_worth() {
    let app = TestApp::start().await;
    let deep = format!(r#"{{"url":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
    let refused = app.public.post(ENDPOINTS, deep).await.expect(400);
    assert_eq!(refused["error"]["message"], "The body is nested more than 64 levels at line 1 column 71.");
    let many: Vec<String> = (0..5_000).map(|number| format!(r#""f{number}":1"#)).collect();
    let refused = app.public.post(ENDPOINTS, format!("{{{}}}", many.join(","))).await;
    assert_eq!(refused.expect(400)["error"]["details"]["fieldErrors"].as_object().unwrap().len(), 50);
    let types = json!({"url": "http://127.0.0.1:3000/", "enabled_events": ["x".repeat(60_000)]});
    let refused = app.public.post(ENDPOINTS, types).await;
    assert_eq!(refused.refuses("enabled_events[0]"), r#"["is not an event type"]"#);
    assert!(refused.text.len() < 1_000);
    app.stop().await;
}

#[tokio::test]
async fn who_guesses_keys_is_held_off_and_who_has_one_is_not() {
    let app = TestApp::with(&[("limits.failed_authentications_per_minute", "3")]).await;
    app.public.get(ENDPOINTS).await.expect(200);
    let guesser = Caller::new(app.public_addr, "sk_test_guessed");
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(guesser.get(ENDPOINTS).await);
    }
    assert_eq!(answers[0].status, 401);
    let held_off = answers.last().unwrap();
    assert_eq!(held_off.expect(429)["error"]["type"], "rate_limit_error");
    assert!(held_off.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    app.public.get(ENDPOINTS).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn a_delivery_cannot_be_retried_without_end() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(500)).await;
    app.endpoint(&receiver.url()).await;
    let event = app.publish(charge()).await;
    app.advance("1s").await;
    app.database.execute("UPDATE deliveries SET attempt_count = 1000").await;
    let delivery = app.delivery_of(&event).await;
    let path = format!("/v1/deliveries/{}/retry", delivery["id"].as_str().unwrap());
    let refused = app.public.post(&path, "").await.expect(400);
    assert!(refused["error"]["message"].as_str().unwrap().contains("1000 times"), "{refused}");
    app.stop().await;
}
