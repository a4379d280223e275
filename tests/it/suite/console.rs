//! The console's sessions, and what operators see and do over all merchants. That every route asks for a key or a session is
//! in the matrix of tenancy.

use k_webhooks::audit::Author;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::TestApp;
use crate::support::{
    Caller, charge, cookie_of, id,
    receiver::{Act, Receiver},
};

const SESSION: &str = "/console/session";

async fn service_key(app: &TestApp, name: &str) -> (String, String) {
    let issued = app.foundation.key_issuer(Author::service()).issue_service_key(name).await.unwrap();
    (issued.key.id.to_string(), issued.secret.expose_secret().to_owned())
}

fn browser(app: &TestApp) -> Caller {
    Caller::new(app.internal_addr, "").with_header("sec-fetch-site", "same-origin")
}

/// The entries of the audit log about an object, as `(action, kind of actor, its name)`.
async fn entries(app: &TestApp, object: &str) -> Vec<(Value, Value, Value)> {
    let list = app.internal.get(&format!("/v1/audit_entries?object_id={object}")).await.expect(200);
    let entries = list["data"].as_array().unwrap().iter();
    let entry = |entry: &Value| {
        (entry["action"].clone(), entry["actor"]["kind"].clone(), entry["actor"]["name"].clone())
    };
    entries.map(entry).collect()
}

#[tokio::test]
async fn a_service_key_opens_a_session_that_calls_the_api_in_its_name() {
    let app = TestApp::start().await;
    let (_, key) = service_key(&app, "ops").await;
    let opened = browser(&app).post(SESSION, json!({ "key": format!(" {key}\n") })).await;
    let session = opened.expect(201);
    assert_eq!((&session["object"], &session["service"]), (&json!("console_session"), &json!("ops")));
    assert_eq!(session["expires_at"].as_i64().unwrap() - session["created"].as_i64().unwrap(), 4 * 3600);
    assert!(!opened.text.contains("ccookie_") && !opened.text.contains(&key));
    let cookie = opened.header("set-cookie").unwrap();
    assert!(cookie.starts_with("k-webhooks-console=ccookie_"), "{cookie}");
    assert!(cookie.ends_with("; Path=/; HttpOnly; Max-Age=14400; SameSite=Strict"), "{cookie}");

    let page = browser(&app)
        .with_header("cookie", cookie_of(&opened))
        .with_header("k-webhooks-console", id(&session));
    assert_eq!(page.get(SESSION).await.expect(200)["id"], session["id"]);
    let made = page.post("/v1/merchants/m_1/api_keys", "").await.expect(201);
    let by = |action: &str, kind: &str| (json!(action), json!(kind), json!("ops"));
    assert_eq!(entries(&app, id(&made)).await, [by("api_key.created", "console_session")]);
    page.delete(SESSION).await.expect(200);
    page.get("/v1/status").await.expect(401);
    let ended = [by("console_session.ended", "console_session"), by("console_session.opened", "service_key")];
    assert_eq!(entries(&app, id(&session)).await, ended);
    app.stop().await;
}

#[tokio::test]
async fn only_a_service_key_opens_the_console() {
    let app = TestApp::with(&[("internal.bootstrap_key", "bootstrap-key-of-the-console")]).await;
    let (ended, of_ended) = service_key(&app, "ended").await;
    app.internal.delete(&format!("/v1/api_keys/{ended}")).await.expect(200);
    for key in ["", "svc_unknown", app.public.key(), &of_ended, "bootstrap-key-of-the-consol"] {
        browser(&app).post(SESSION, json!({ "key": key })).await.expect(401);
    }
    assert!(browser(&app).post(SESSION, "{}").await.refuses("key").contains("is required"));
    let page = Caller::open_console(app.internal_addr, "bootstrap-key-of-the-console").await;
    assert_eq!(page.get(SESSION).await.expect(200)["service"], Value::Null);
    page.get("/v1/status").await.expect(200);
    // It opens nothing else than what a service key does.
    page.to(app.public_addr).get("/v1/webhook_endpoints").await.expect(401);
    app.stop().await;
}

#[tokio::test]
async fn a_session_ends_with_its_key_and_with_its_time_and_is_then_removed() {
    let app = TestApp::start().await;
    let ((key, secret), (_, other)) = (service_key(&app, "ops").await, service_key(&app, "other").await);
    let page = Caller::open_console(app.internal_addr, &secret).await;
    let later = Caller::open_console(app.internal_addr, &other).await;
    page.get("/v1/status").await.expect(200);
    // A page may revoke the key that opened it.
    page.delete(&format!("/v1/api_keys/{key}")).await.expect(200);
    page.get("/v1/status").await.expect(401);
    app.advance("239m").await;
    later.get("/v1/status").await.expect(200);
    app.advance("1m").await;
    later.get("/v1/status").await.expect(401);
    app.foundation.store.expire_console_sessions(100, app.foundation.clock.now()).await.unwrap();
    assert_eq!(app.database.rows("SELECT count(*) FROM console_sessions").await, [["0"]]);
    app.stop().await;
}

#[tokio::test]
async fn what_another_site_has_an_operators_browser_ask_for_is_refused() {
    let app = TestApp::start().await;
    let (_, key) = service_key(&app, "ops").await;
    let (page, other) = (
        Caller::open_console(app.internal_addr, &key).await,
        Caller::open_console(app.internal_addr, &key).await,
    );
    let own = format!("http://{}", app.internal_addr);
    let (named, site, json) = (
        ("k-webhooks-console", page.header("k-webhooks-console").to_owned()),
        ("sec-fetch-site", "cross-site"),
        ("content-type", "application/json"),
    );
    let named = (named.0, named.1.as_str());
    let anyone = Caller::new(app.internal_addr, "").with_header("cookie", page.header("cookie"));
    for (status, method, headers) in [
        (401, "GET", vec![]),
        (401, "GET", vec![("k-webhooks-console", other.header("k-webhooks-console"))]),
        (403, "GET", vec![named, site]),
        (403, "POST", vec![json, named]),
        (403, "POST", vec![json, named, site]),
        (403, "POST", vec![json, named, ("origin", "https://attacker.example")]),
        (403, "POST", vec![json, named, site, ("origin", &own)]),
        (200, "GET", vec![named]),
        (201, "POST", vec![json, named, ("origin", &own)]),
    ] {
        let path = if method == "GET" { "/v1/status" } else { "/v1/merchants/m_1/api_keys" };
        assert_eq!(anyone.send(method, path, &headers, "").await.status, status, "{method} {headers:?}");
    }
    for headers in [vec![json], vec![json, site], vec![json, ("origin", "http://attacker.example")]] {
        let body = json!({ "key": key }).to_string();
        let answer = Caller::new(app.internal_addr, "").send("POST", SESSION, &headers, body).await;
        assert_eq!(answer.status, 403, "{headers:?}");
    }
    // Behind a proxy that speaks https, the cookie is for https alone.
    let secure = [json, ("sec-fetch-site", "same-origin"), ("origin", "https://console.example")];
    let opened = Caller::new(app.internal_addr, "")
        .send("POST", SESSION, &secure, serde_json::to_string(&json!({ "key": key })).unwrap())
        .await;
    let cookie = opened.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-k-webhooks-console=ccookie_"), "{cookie}");
    assert!(cookie.ends_with("; SameSite=Strict; Secure"), "{cookie}");
    app.stop().await;
}

#[tokio::test]
async fn the_page_runs_only_its_own_scripts_is_framed_by_nobody_and_can_be_switched_off() {
    let app = TestApp::start().await;
    let anyone = Caller::new(app.internal_addr, "");
    for path in ["/console", "/console/failing", "/console/events/evt_1"] {
        let page = anyone.get(path).await;
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
        assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
        assert_eq!(
            (page.header("cache-control"), page.header("x-frame-options")),
            (Some("no-store"), Some("DENY"))
        );
        let script = page.text.split("src=\"").nth(1).unwrap().split('"').next().unwrap();
        assert!(script.starts_with("/console/assets/"), "{script}");
        assert!(anyone.get(script).await.header("cache-control").unwrap().contains("immutable"));
    }
    Caller::new(app.public_addr, "").get("/console").await.expect(404);
    app.stop().await;
    let without = TestApp::with(&[("console.enabled", "false")]).await;
    let anyone = Caller::new(without.internal_addr, "");
    anyone.get("/console").await.expect(404);
    anyone.post(SESSION, json!({ "key": "svc_1" })).await.expect(404);
    without.stop().await;
}

#[tokio::test]
async fn an_object_of_any_merchant_is_found_by_its_id_and_shown_without_the_events_data() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(500)).await;
    let other = app.merchant("m_2", true).await;
    let endpoint = other.post("/v1/webhook_endpoints", json!({ "url": receiver.url() })).await.expect(201);
    let mut event = charge();
    (event["merchant_id"], event["livemode"]) = (json!("m_2"), json!(true));
    event["data"]["object"]["description"] = json!("a secret of the payer");
    let event = app.publish(event).await;
    app.advance("1ms").await;
    let deliveries = app.internal.get(&format!("/v1/all/events/{}/deliveries", id(&event))).await.expect(200);
    let delivery = &deliveries["data"][0];
    let key = app.internal.post("/v1/merchants/m_3/api_keys", "").await.expect(201);
    let session = app.portal_session("m_1", "full").await;
    let (service, _) = service_key(&app, "ops").await;
    for (object, kind, merchant, livemode) in [
        (id(&event), "event", json!("m_2"), json!(true)),
        (id(delivery), "delivery", json!("m_2"), json!(true)),
        (id(&endpoint), "webhook_endpoint", json!("m_2"), json!(true)),
        (id(&key), "api_key", json!("m_3"), json!(false)),
        (&service, "api_key", Value::Null, Value::Null),
        (id(&session), "portal_session", json!("m_1"), json!(false)),
        ("m_3", "merchant", json!("m_3"), Value::Null),
        ("m_2", "merchant", json!("m_2"), Value::Null),
    ] {
        let found = app.internal.get(&format!("/v1/objects/{object}")).await.expect(200);
        let expected = json!({
            "id": object, "object": "found_object", "kind": kind, "merchant_id": merchant, "livemode": livemode,
        });
        assert_eq!(found, expected);
    }
    for nowhere in ["m_4", "evt_01h455vb4pex5vsknk084sn02q", "no%20id"] {
        app.internal.get(&format!("/v1/objects/{nowhere}")).await.expect(404);
    }

    let shown = app.internal.get(&format!("/v1/all/events/{}", id(&event))).await.expect(200);
    assert_eq!((&shown["merchant_id"], &shown["type"]), (&json!("m_2"), &json!("charge.succeeded")));
    assert_eq!(shown["pending_webhooks"], 1);
    assert!(shown["body_bytes"].as_i64().unwrap() > 100 && shown.get("data").is_none(), "{shown}");
    let told = app.internal.get(&format!("/v1/all/events/{}/timeline", id(&event))).await.expect(200);
    assert!(told["data"].as_array().unwrap().iter().any(|entry| entry["kind"] == "attempt.failed"), "{told}");
    let path = format!("/v1/all/deliveries/{}", id(delivery));
    let attempted = app.internal.get(&path).await.expect(200);
    assert_eq!(attempted["attempts"][0]["failure_message"], "the endpoint answered 500");
    app.internal.get(&format!("{path}/timeline")).await.expect(200);
    let path = format!("/v1/all/webhook_endpoints/{}", id(&endpoint));
    assert_eq!(app.internal.get(&path).await.expect(200)["url"], receiver.url());
    assert_eq!(app.internal.get(&format!("{path}/health")).await.expect(200)["pending"], 1);
    for (status, count) in [("pending", 1), ("succeeded", 0)] {
        let list = app.internal.get(&format!("{path}/deliveries?status={status}")).await.expect(200);
        assert_eq!(list["data"].as_array().unwrap().len(), count, "{list}");
    }
    for (livemode, count) in [("true", 1), ("false", 0)] {
        let path = format!("/v1/merchants/m_2/webhook_endpoints?livemode={livemode}");
        assert_eq!(app.internal.get(&path).await.expect(200)["data"].as_array().unwrap().len(), count);
    }
    app.stop().await;
}

#[tokio::test]
async fn endpoints_of_all_merchants_that_fail_are_listed_from_the_last_that_began() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(503)).await;
    assert_eq!(app.internal.get("/v1/failing_endpoints").await.expect(200)["data"], json!([]));
    let mut endpoints = Vec::new();
    for merchant in ["m_1", "m_2", "m_3"] {
        let caller = app.merchant(merchant, false).await;
        let url = json!({ "url": receiver.url() });
        endpoints.push(caller.post("/v1/webhook_endpoints", url).await.expect(201));
        let mut event = charge();
        event["merchant_id"] = json!(merchant);
        app.publish(event).await;
        app.advance("10s").await;
    }
    let list = async |query: &str| {
        let list = app.internal.get(&format!("/v1/failing_endpoints?{query}")).await.expect(200);
        let ids: Vec<String> = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["webhook_endpoint"].as_str().unwrap().to_owned())
            .collect();
        (ids, list["has_more"].as_bool().unwrap())
    };
    let ids: Vec<String> = endpoints.iter().rev().map(|endpoint| id(endpoint).to_owned()).collect();
    assert_eq!(list("").await, (ids.clone(), false));
    assert_eq!(list("limit=2").await, (ids[..2].to_vec(), true));
    assert_eq!(list(&format!("starting_after={}", ids[1])).await, (ids[2..].to_vec(), false));
    assert_eq!(list(&format!("ending_before={}&limit=1", ids[2])).await, (ids[1..2].to_vec(), true));

    let first = app.internal.get("/v1/failing_endpoints?limit=1").await.expect(200)["data"][0].clone();
    assert_eq!((&first["merchant_id"], &first["livemode"]), (&json!("m_3"), &json!(false)));
    assert_eq!(first["last_failure"]["message"], "the endpoint answered 503");
    assert_eq!(
        (&first["pending"], &first["held"], &first["status"]),
        (&json!(1), &json!(0), &json!("enabled"))
    );
    let (since, disables) =
        (first["failing_since"].as_i64().unwrap(), first["disables_at"].as_i64().unwrap());
    assert_eq!(disables - since, 120 * 3600);

    receiver.now(Act::status(200));
    app.advance("1m").await;
    assert_eq!(list("").await, (Vec::new(), false));
    app.internal.get(&format!("/v1/failing_endpoints?starting_after={}", ids[0])).await.expect(404);
    app.stop().await;
}

#[tokio::test]
async fn an_operator_holds_an_endpoint_for_a_reason_and_releases_it() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(500)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let event = app.publish(charge()).await;
    app.advance("1ms").await;
    let (_, key) = service_key(&app, "ops").await;
    let page = Caller::open_console(app.internal_addr, &key).await;
    let path = format!("/v1/all/webhook_endpoints/{}", id(&endpoint));
    for reason in [json!(""), json!(" "), json!("x".repeat(201)), json!(7), json!("a\u{0}b")] {
        page.post(&format!("{path}/hold"), json!({ "reason": reason })).await.refuses("reason");
    }
    let reason = json!({ "reason": "It answers with 500, and its merchant sleeps." });
    let held = page.post(&format!("{path}/hold"), &reason).await.expect(200);
    assert_eq!((&held["status"], &held["disabled_reason"]), (&json!("disabled"), &json!("operator")));
    page.post(&format!("{path}/hold"), &reason).await.expect(400);
    assert_eq!(app.delivery_of(&event).await["status"], "held");
    let seen = app.public.get(&format!("/v1/webhook_endpoints/{}", id(&endpoint))).await.expect(200);
    assert_eq!(seen["disabled_reason"], "operator");

    receiver.now(Act::status(200));
    let released = page.post(&format!("{path}/release"), "").await.expect(200);
    assert_eq!((&released["status"], &released["disabled_reason"]), (&json!("enabled"), &Value::Null));
    app.advance("1ms").await;
    assert_eq!(app.delivery_of(&event).await["status"], "succeeded");
    let by = |action: &str, kind: &str, name: Value| (json!(action), json!(kind), name);
    let done = entries(&app, id(&endpoint)).await;
    assert_eq!(
        done[..2],
        [
            by("webhook_endpoint.updated", "console_session", json!("ops")),
            by("webhook_endpoint.disabled", "console_session", json!("ops")),
        ]
    );
    let list =
        app.internal.get(&format!("/v1/audit_entries?object_id={}&merchant_id=m_1", id(&endpoint))).await;
    let why = &list.expect(200)["data"][1]["changes"]["reason"];
    assert_eq!(why["new"], reason["reason"]);
    let list =
        app.internal.get(&format!("/v1/audit_entries?object_id={}&merchant_id=m_2", id(&endpoint))).await;
    assert_eq!(list.expect(200)["data"], json!([]));
    app.stop().await;
}

#[tokio::test]
async fn the_status_and_the_throughput_tell_what_is_open_what_was_done_and_by_whom() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    app.endpoint(&receiver.url()).await;
    for _ in 0..3 {
        app.publish(charge()).await;
    }
    app.advance("1ms").await;
    receiver.now(Act::status(500));
    app.publish(charge()).await;
    app.advance("10s").await;
    let status = app.internal.get("/v1/status").await.expect(200);
    let queue = json!({ "pending": 1, "leased": 0, "due": 0, "held": 0, "oldest_due_at": null });
    assert_eq!(status["queue"], queue);
    let processes = status["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 1, "{status}");
    assert_eq!((&processes[0]["role"], &processes[0]["alive"]), (&json!("all"), &json!(true)));
    assert_eq!(processes[0]["load"]["in_flight_max"], 1024);
    let parts: Vec<_> = status["upkeep"].as_array().unwrap().iter().map(|part| &part["part"]).collect();
    assert_eq!(parts, ["prune", "expire", "sweep"]);

    let done = app.internal.get("/v1/throughput").await.expect(200);
    let total = &done["total"];
    assert_eq!((&total["events_accepted"], &total["deliveries_succeeded"]), (&json!(4), &json!(3)));
    assert_eq!((&total["attempts_succeeded"], &total["attempts_failed"]), (&json!(3), &json!(1)));
    assert!(total["accept_ms"]["p99"].as_f64().unwrap() >= total["accept_ms"]["p50"].as_f64().unwrap());
    assert!(total["delivery_ms"]["p50"].is_f64(), "{total}");
    assert_eq!(done["bucket_seconds"], 3600);
    let buckets = done["data"].as_array().unwrap();
    assert!((24..=25).contains(&buckets.len()), "{}", buckets.len());
    let counted: i64 = buckets.iter().map(|bucket| bucket["events_accepted"].as_i64().unwrap()).sum();
    assert_eq!(counted, 4);
    let now = status["now_ms"].as_i64().unwrap() / 1000;
    let hour = format!("/v1/throughput?from={}&to={now}", now - 3600);
    let hour = app.internal.get(&hour).await.expect(200);
    assert_eq!((&hour["bucket_seconds"], &hour["total"]["events_accepted"]), (&json!(300), &json!(4)));
    assert!(app.internal.get("/v1/throughput?from=5&to=5").await.refuses("from").contains("before to"));
    app.stop().await;
}

#[tokio::test]
async fn all_keys_are_listed_and_any_is_revoked() {
    let app = TestApp::start().await;
    let (service, secret) = service_key(&app, "ops").await;
    let merchant = app.internal.post("/v1/merchants/m_2/api_keys", "").await.expect(201);
    let list = app.internal.get("/v1/api_keys?limit=2").await.expect(200);
    assert_eq!([id(&list["data"][0]), id(&list["data"][1])], [id(&merchant), service.as_str()]);
    assert_eq!((&list["data"][1]["service"], &list["data"][1]["merchant_id"]), (&json!("ops"), &Value::Null));
    assert_eq!(list["has_more"], true);
    for key in [id(&merchant), &service] {
        app.internal.delete(&format!("/v1/api_keys/{key}")).await.expect(200);
        app.internal.delete(&format!("/v1/api_keys/{key}")).await.expect(404);
    }
    Caller::new(app.internal_addr, &secret).get("/v1/status").await.expect(401);
    app.stop().await;
}
