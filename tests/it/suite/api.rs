//! Webhook endpoints, conventions and errors, as a merchant sees them.

use serde_json::{Value, json};

use super::{TestApp, database};
use crate::support::{
    Caller, charge, id,
    process::Process,
    receiver::{Act, Receiver},
};

const ENDPOINTS: &str = "/v1/webhook_endpoints";

#[tokio::test]
async fn an_endpoint_is_registered_shown_listed_changed_and_deleted() {
    let app = TestApp::start().await;
    let body = json!({ "url": "https://example.com/hooks", "enabled_events": ["charge.succeeded", "charge.succeeded"] });
    let made = app.public.post(ENDPOINTS, body).await.expect(201);
    assert!(made["signing_secret"].as_str().unwrap().starts_with("whsec_"));
    let mut expected = json!({
        "id": made["id"], "object": "webhook_endpoint", "url": "https://example.com/hooks",
        "enabled_events": ["charge.succeeded"], "description": null, "status": "enabled", "disabled_reason": null,
        "livemode": false, "created": made["created"], "updated": made["created"],
    });
    let path = format!("{ENDPOINTS}/{}", id(&made));
    assert_eq!(app.public.get(&path).await.expect(200), expected);
    let list = app.public.get(ENDPOINTS).await.expect(200);
    assert_eq!(list, json!({ "object": "list", "url": ENDPOINTS, "data": [expected], "has_more": false }));

    let change = json!({ "description": "ours", "enabled_events": ["*"], "status": "disabled" });
    let changed = app.public.patch(&path, change).await.expect(200);
    expected["description"] = "ours".into();
    expected["enabled_events"] = json!(["*"]);
    expected["status"] = "disabled".into();
    assert_eq!(changed, expected);
    assert_eq!(
        app.public.patch(&path, json!({ "description": null })).await.expect(200)["description"],
        Value::Null
    );

    let deleted = app.public.delete(&path).await.expect(200);
    assert_eq!(deleted, json!({ "id": made["id"], "object": "webhook_endpoint", "deleted": true }));
    app.public.get(&path).await.expect(404);
    app.public.delete(&path).await.expect(404);
    app.stop().await;
}

#[tokio::test]
async fn every_bad_field_of_an_endpoint_is_named_and_nothing_is_stored() {
    let app = TestApp::start().await;
    let long = "x".repeat(201);
    let many = vec!["charge.failed"; 51];
    for (body, field) in [
        (json!({}), "url"),
        (json!({ "url": 1 }), "url"),
        (json!({ "url": null }), "url"),
        (json!({ "url": "ftp://example.com" }), "url"),
        (json!({ "url": "https://user@example.com/" }), "url"),
        (json!({ "url": "http://10.0.0.5/" }), "url"),
        (json!({ "url": format!("https://example.com/{}", "x".repeat(2048)) }), "url"),
        (json!({ "url": "https://example.com", "enabled_events": [] }), "enabled_events"),
        (json!({ "url": "https://example.com", "enabled_events": many }), "enabled_events"),
        (json!({ "url": "https://example.com", "enabled_events": "charge.failed" }), "enabled_events"),
        (
            json!({ "url": "https://example.com", "enabled_events": ["charge.failed", "x"] }),
            "enabled_events[1]",
        ),
        (json!({ "url": "https://example.com", "description": long }), "description"),
        (json!({ "url": "https://example.com", "description": 1 }), "description"),
        (json!({ "url": "https://example.com", "description": "a\0b" }), "description"),
        (json!({ "url": "https://example.com/a\0b" }), "url"),
        (json!({ "url": "https://example.com", "status": "disabled" }), "status"),
        (json!({ "url": "https://example.com", "urls": 1 }), "urls"),
    ] {
        app.public.post(ENDPOINTS, body).await.refuses(field);
    }
    let both = app.public.post(ENDPOINTS, json!({ "url": "x", "colour": 1 })).await;
    both.refuses("url");
    both.refuses("colour");
    assert_eq!(app.public.get(ENDPOINTS).await.expect(200)["data"], json!([]));

    let endpoint = app.endpoint("https://example.com").await;
    let path = format!("{ENDPOINTS}/{}", id(&endpoint));
    app.public.patch(&path, json!({ "status": "paused" })).await.refuses("status");
    app.public.patch(&path, json!({ "url": "x", "description": "new" })).await.refuses("url");
    assert_eq!(app.public.get(&path).await.expect(200)["description"], Value::Null);
    app.public
        .post(&format!("{path}/rotate_secret"), json!({ "expire_previous_in": "8d" }))
        .await
        .refuses("expire_previous_in");
    app.public.post(&format!("{path}/test"), json!({ "type": "x" })).await.refuses("type");
    app.public.post(&format!("{path}/test"), json!({})).await.refuses("type");
    app.stop().await;
}

#[tokio::test]
async fn a_merchant_has_so_many_endpoints_and_no_more() {
    let app = TestApp::with(&[("limits.endpoints_per_merchant", "2")]).await;
    for _ in 0..2 {
        app.endpoint("https://example.com").await;
    }
    let refused = app.public.post(ENDPOINTS, json!({ "url": "https://example.com" })).await.expect(400);
    assert!(refused["error"]["message"].as_str().unwrap().contains('2'), "{refused}");
    app.merchant("m_1", true)
        .await
        .post(ENDPOINTS, json!({ "url": "https://example.com" }))
        .await
        .expect(201);
    app.stop().await;
}

#[tokio::test]
async fn every_error_comes_in_the_envelope_with_a_request_id() {
    let app = TestApp::start().await;
    let json_type = [("content-type", "application/json")];
    let large = format!("{{\"url\":\"{}\"}}", "x".repeat(70_000));
    for (answer, status, kind) in [
        (app.public.get("/v1/nothing").await, 404, "not_found"),
        (app.public.send("PUT", ENDPOINTS, &[], "").await, 405, "invalid_request_error"),
        (
            app.public.send("POST", ENDPOINTS, &[("content-type", "text/plain")], "{}").await,
            415,
            "invalid_request_error",
        ),
        (app.public.send("POST", ENDPOINTS, &json_type, large).await, 413, "invalid_request_error"),
        (
            app.public.send("POST", ENDPOINTS, &json_type, "{\n  \"url\": }").await,
            400,
            "invalid_request_error",
        ),
        (app.public.send("POST", ENDPOINTS, &json_type, "[]").await, 400, "invalid_request_error"),
        (app.public.get(&format!("{ENDPOINTS}/we_x")).await, 404, "not_found"),
        (Caller::new(app.public_addr, "").get(ENDPOINTS).await, 401, "authentication_error"),
    ] {
        let body = answer.expect(status);
        assert_eq!(body["error"]["type"], kind, "{body}");
        assert_eq!(body["error"]["request_id"].as_str(), answer.header("request-id"));
        assert!(answer.header("request-id").unwrap().starts_with("req_"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    let malformed = app.public.send("POST", ENDPOINTS, &json_type, "{\n  \"url\": }").await.text;
    assert!(malformed.contains("line 2 column 10"), "{malformed}");
    assert!(app.public.send("PUT", ENDPOINTS, &[], "").await.header("allow").unwrap().contains("POST"));
    assert!(app.public.get(ENDPOINTS).await.header("request-id").is_some());
    app.public.get(&format!("{ENDPOINTS}?limit=0&offset=1")).await.refuses("limit");
    app.public.get(&format!("{ENDPOINTS}?limit=0&offset=1")).await.refuses("offset");

    let problem = app.public.send("GET", "/v1/nothing", &[("accept", "application/problem+json")], "").await;
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
    let body = problem.expect(404);
    assert_eq!((&body["status"], &body["instance"]), (&json!(404), &json!("/v1/nothing")));
    assert!(body["request_id"].is_string() && body["title"].is_string() && body["detail"].is_string());
    app.stop().await;
}

#[tokio::test]
async fn a_page_of_large_events_ends_early_and_the_next_one_goes_on_from_there() {
    let app = TestApp::start().await;
    let (size, count) = (250 * 1024, 20);
    let mut ids = Vec::new();
    for _ in 0..count {
        let mut event = charge();
        event["data"]["object"]["description"] = "x".repeat(size).into();
        ids.insert(0, id(&app.publish(event).await).to_owned());
    }
    let page = async |query: &str| {
        let answer = app.public.get(&format!("/v1/events?limit=100{query}")).await;
        assert!(answer.text.len() < 4 * 1024 * 1024 + 2 * size, "{} bytes", answer.text.len());
        let list = answer.expect(200);
        let found: Vec<String> =
            list["data"].as_array().unwrap().iter().map(|event| id(event).to_owned()).collect();
        (found, list["has_more"].as_bool().unwrap())
    };
    let (first, more) = page("").await;
    assert!(more && first.len() < count && first == ids[..first.len()]);
    let (rest, more) = page(&format!("&starting_after={}", first[first.len() - 1])).await;
    assert_eq!((rest, more), (ids[first.len()..].to_vec(), false));
    let (nearest, more) = page(&format!("&ending_before={}", ids[count - 1])).await;
    assert!(more && nearest == ids[count - 1 - nearest.len()..count - 1], "those beside the cursor");
    app.stop().await;
}

#[tokio::test]
async fn what_fails_inside_is_logged_under_the_request_id_of_its_answer_and_told_nowhere_else() {
    let database = database().await;
    let process = Process::start(database.serve()).await;
    let merchant = process.merchant().await;
    merchant.post(ENDPOINTS, json!({ "url": "https://example.com" })).await.expect(201);
    database.execute("UPDATE webhook_endpoints SET status = 'damaged'").await;
    let failed = merchant.get(ENDPOINTS).await;
    let body = failed.expect(500);
    assert_eq!(body["error"]["request_id"].as_str(), failed.header("request-id"));
    assert!(!failed.text.contains("webhook_endpoints"), "{body}");
    let logged = process.logged("request failed").await;
    let fields = &logged["fields"];
    assert_eq!(fields["request_id"], body["error"]["request_id"], "{logged}");
    assert_eq!((&fields["path"], &fields["status"]), (&json!(ENDPOINTS), &json!(500)));
    assert!(fields["cause"].as_str().unwrap().contains("webhook_endpoints.status"), "{logged}");
    process.kill().await;
}

#[tokio::test]
async fn lists_page_both_ways_newest_first() {
    let app = TestApp::start().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, id(&app.publish(charge()).await).to_owned());
    }
    let page = async |query: &str| {
        let list = app.public.get(&format!("/v1/events?{query}")).await.expect(200);
        let found: Vec<String> =
            list["data"].as_array().unwrap().iter().map(|event| id(event).to_owned()).collect();
        (found, list["has_more"].as_bool().unwrap())
    };
    assert_eq!(page("limit=2").await, (ids[0..2].to_vec(), true));
    assert_eq!(page(&format!("limit=2&starting_after={}", ids[1])).await, (ids[2..4].to_vec(), true));
    assert_eq!(page(&format!("limit=2&starting_after={}", ids[3])).await, (ids[4..].to_vec(), false));
    assert_eq!(page(&format!("limit=2&ending_before={}", ids[3])).await, (ids[1..3].to_vec(), true));
    assert_eq!(page(&format!("limit=2&ending_before={}", ids[1])).await, (ids[0..1].to_vec(), false));
    assert_eq!(page("type=charge.failed").await, (vec![], false));
    assert_eq!(page("type=charge.succeeded&created_gte=0").await.0.len(), 5);
    assert_eq!(page("created_lte=5").await.0.len(), 0);
    assert_eq!(page("delivery_status=pending").await.0.len(), 0);
    app.public.get("/v1/events?type=x").await.refuses("type");
    app.public.get("/v1/events?delivery_status=x").await.refuses("delivery_status");
    app.stop().await;
}

#[tokio::test]
async fn a_rate_limited_key_is_told_when_to_come_back_and_others_are_not_held_up() {
    let app = TestApp::with(&[("limits.requests_per_second", "1")]).await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(app.public.get(ENDPOINTS).await);
    }
    let limited = answers
        .iter()
        .find(|answer| answer.status == 429)
        .expect("four requests are more than a burst of two");
    assert_eq!(limited.json()["error"]["type"], "rate_limit_error");
    assert!(limited.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    app.merchant("m_2", false).await.get(ENDPOINTS).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn health_is_told_on_both_listeners_without_a_key() {
    let app = TestApp::start().await;
    for address in [app.public_addr, app.internal_addr] {
        for path in ["/healthz", "/readyz"] {
            Caller::new(address, "").get(path).await.expect(200);
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn a_test_event_goes_to_its_endpoint_alone_whatever_types_it_wants() {
    let app = TestApp::start().await;
    let (wanted, other) = (Receiver::start(Act::status(200)).await, Receiver::start(Act::status(200)).await);
    let endpoint = app
        .public
        .post(ENDPOINTS, json!({ "url": wanted.url(), "enabled_events": ["payout.paid"] }))
        .await
        .expect(201);
    app.endpoint(&other.url()).await;
    let path = format!("{ENDPOINTS}/{}", id(&endpoint));
    let event =
        app.public.post(&format!("{path}/test"), json!({ "type": "charge.refunded" })).await.expect(201);
    assert_eq!(
        (event["type"].as_str(), event["pending_webhooks"].as_u64()),
        (Some("charge.refunded"), Some(1))
    );
    assert_eq!(wanted.until(1).await[0].header("k-payments-event-type"), "charge.refunded");
    app.advance("1s").await;
    assert!(other.received().is_empty());
    app.public.patch(&path, json!({ "status": "disabled" })).await.expect(200);
    app.public.post(&format!("{path}/test"), json!({ "type": "charge.refunded" })).await.expect(400);
    app.stop().await;
}
