//! Portal sessions: how they begin and end, and what they open to whom. That no session reaches another merchant's objects
//! is in the matrix of tenancy.

use serde_json::{Value, json};

use super::{TestApp, database};
use crate::support::{
    Caller, charge, cookie_of, id,
    process::Process,
    receiver::{Act, Receiver},
    token_of,
};

const SESSIONS: &str = "/v1/portal_sessions";
const ENDPOINTS: &str = "/v1/webhook_endpoints";

fn browser(app: &TestApp) -> Caller {
    Caller::new(app.public_addr, "").with_header("sec-fetch-site", "same-origin")
}

#[tokio::test]
async fn a_link_opens_its_session_once_and_the_session_calls_the_api_as_its_merchant() {
    let app = TestApp::start().await;
    let endpoint = app.endpoint("https://example.com/").await;
    let wanted = json!({
        "merchant_id": "m_1", "livemode": false, "expires_in": "2h", "access": "full",
        "theme": { "accent": "#0A7CFF", "appearance": "dark" },
    });
    let made = app.internal.post(SESSIONS, wanted).await.expect(201);
    let expected = json!({
        "id": made["id"], "object": "portal_session", "merchant_id": "m_1", "livemode": false, "access": "full",
        "theme": { "accent": "#0a7cff", "appearance": "dark" }, "created": made["created"], "opened": null,
        "expires_at": made["created"].as_i64().unwrap() + 7200, "url": made["url"],
    });
    assert_eq!(made, expected);
    let link = made["url"].as_str().unwrap();
    assert!(link.starts_with(&format!("http://{}/portal#plink_", app.public_addr)), "{link}");

    let (browser, token) = (browser(&app), json!({ "token": token_of(&made) }));
    let opened = browser.post("/portal/session", &token).await;
    let shown = opened.expect(201);
    assert_eq!((&shown["id"], &shown["theme"]), (&made["id"], &made["theme"]));
    assert!(shown["opened"].is_i64() && shown["now_ms"].is_i64() && !opened.text.contains("pcookie_"));
    let cookie = opened.header("set-cookie").unwrap();
    assert!(cookie.starts_with("k-webhooks-portal=pcookie_"), "{cookie}");
    assert!(cookie.ends_with("; Path=/; HttpOnly; Max-Age=7200; SameSite=Lax"), "{cookie}");
    browser.post("/portal/session", &token).await.expect(401);

    let page = browser.with_header("cookie", cookie_of(&opened)).with_header("k-webhooks-portal", id(&made));
    assert_eq!(page.get("/portal/session").await.expect(200)["id"], made["id"]);
    assert_eq!(id(&page.get(ENDPOINTS).await.expect(200)["data"][0]), id(&endpoint));
    let made_there = page.post(ENDPOINTS, json!({ "url": "https://example.com/" })).await.expect(201);
    app.public.get(&format!("{ENDPOINTS}/{}", id(&made_there))).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn what_a_session_is_to_be_is_checked_field_by_field() {
    let app = TestApp::start().await;
    let bad = json!({
        "merchant_id": "a b", "livemode": 1, "expires_in": "25h", "access": "write",
        "theme": { "accent": "blue", "appearance": "sepia", "font": "serif" }, "url": "x",
    });
    let answer = app.internal.post(SESSIONS, bad).await;
    for field in [
        "merchant_id",
        "livemode",
        "expires_in",
        "access",
        "theme.accent",
        "theme.appearance",
        "theme.font",
        "url",
    ] {
        answer.refuses(field);
    }
    assert!(app.internal.post(SESSIONS, "{}").await.refuses("merchant_id").contains("is required"));
    for life in [json!(59), json!("0"), json!(-1), json!(86_401), json!(true)] {
        let wanted = json!({ "merchant_id": "m_1", "livemode": true, "expires_in": life });
        app.internal.post(SESSIONS, wanted).await.refuses("expires_in");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_session_ends_by_the_clock_by_revocation_and_when_its_user_leaves_and_is_then_removed() {
    let app = TestApp::start().await;
    let late = app.portal_session("m_1", "full").await;
    app.advance("10m").await;
    browser(&app).post("/portal/session", json!({ "token": token_of(&late) })).await.expect(401);

    let open = async || {
        let session = app.portal_session("m_1", "full").await;
        (Caller::open_portal(app.public_addr, &session).await, session)
    };
    let ((by_clock, _), (revoked, session), (left, _)) = (open().await, open().await, open().await);
    for page in [&by_clock, &revoked, &left] {
        page.get(ENDPOINTS).await.expect(200);
    }
    let path = format!("{SESSIONS}/{}", id(&session));
    app.internal.delete(&path).await.expect(200);
    app.internal.delete(&path).await.expect(404);
    let end = left.delete("/portal/session").await;
    let forgotten: Vec<_> = end.headers.get_all("set-cookie").iter().collect();
    assert!(
        forgotten.len() == 2 && forgotten.iter().all(|cookie| cookie.to_str().unwrap().contains("Max-Age=0"))
    );
    revoked.get(ENDPOINTS).await.expect(401);
    left.get(ENDPOINTS).await.expect(401);
    by_clock.get(ENDPOINTS).await.expect(200);
    let listed = app.internal.get(&format!("{SESSIONS}?merchant_id=m_1")).await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 2, "{listed}");
    assert!(!listed.to_string().contains("plink_"));

    app.advance("1h").await;
    by_clock.get(ENDPOINTS).await.expect(401);
    assert_eq!(app.internal.get(SESSIONS).await.expect(200)["data"], json!([]));
    app.foundation.store.expire_portal_sessions(100, app.foundation.clock.now()).await.unwrap();
    assert_eq!(app.database.rows("SELECT count(*) FROM portal_sessions").await, [["0"]]);
    app.stop().await;
}

#[tokio::test]
async fn what_another_site_has_a_browser_ask_for_is_refused() {
    let app = TestApp::start().await;
    let session = app.portal_session("m_1", "full").await;
    let other = app.portal_session("m_1", "full").await;
    let page = Caller::open_portal(app.public_addr, &session).await;
    let cookie = page.header("cookie").to_owned();
    let own = format!("http://{}", app.public_addr);
    let endpoint = json!({ "url": "https://example.com/" }).to_string();
    let named = ("k-webhooks-portal", id(&session));
    let json = ("content-type", "application/json");
    let anyone = Caller::new(app.public_addr, "").with_header("cookie", &cookie);
    for (status, method, headers) in [
        // The cookie alone is nothing, whoever sends it.
        (401, "GET", vec![]),
        (401, "POST", vec![json, ("sec-fetch-site", "same-origin")]),
        // A page of one session does not act for another.
        (401, "GET", vec![("k-webhooks-portal", id(&other))]),
        (403, "POST", vec![json, named]),
        (403, "POST", vec![json, named, ("sec-fetch-site", "cross-site")]),
        (403, "POST", vec![json, named, ("sec-fetch-site", "same-site")]),
        (403, "POST", vec![json, named, ("sec-fetch-site", "none")]),
        (403, "POST", vec![json, named, ("origin", "https://attacker.example")]),
        (403, "POST", vec![json, named, ("origin", "null")]),
        (403, "GET", vec![named, ("sec-fetch-site", "cross-site")]),
        (403, "POST", vec![json, named, ("sec-fetch-site", "cross-site"), ("origin", &own)]),
        (200, "GET", vec![named]),
        (201, "POST", vec![json, named, ("origin", &own)]),
        (201, "POST", vec![json, named, ("sec-fetch-site", "same-origin")]),
    ] {
        let answer = anyone.send(method, ENDPOINTS, &headers, endpoint.clone()).await;
        assert_eq!(answer.status, status, "{method} {headers:?}: {}", answer.text);
    }
    // Nor is a link opened by another site's page, which would put its reader into a session of the attacker's.
    let token = json!({ "token": token_of(&other) });
    let attacker = Caller::new(app.public_addr, "").with_header("origin", "https://attacker.example");
    attacker.post("/portal/session", &token).await.expect(403);
    browser(&app).post("/portal/session", &token).await.expect(201);
    app.stop().await;
}

#[tokio::test]
async fn what_happens_to_a_session_and_what_is_changed_by_it_is_in_the_audit_log() {
    let app = TestApp::start().await;
    let session = app.portal_session("m_1", "full").await;
    let page = Caller::open_portal(app.public_addr, &session).await;
    let endpoint = page.post(ENDPOINTS, json!({ "url": "https://example.com/" })).await.expect(201);
    page.delete("/portal/session").await.expect(200);
    let path = format!("/v1/audit_entries?actor_id={}", id(&session));
    let by_session = app.internal.get(&path).await.expect(200);
    let told: Vec<(&Value, &Value)> = by_session["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            assert_eq!(
                entry["actor"],
                json!({ "kind": "portal_session", "id": session["id"], "name": null })
            );
            assert!(entry["request_id"].is_string() && entry["merchant_id"] == "m_1");
            (&entry["action"], &entry["object_id"])
        })
        .collect();
    let action = |name: &str| json!(name);
    let expected = [
        (&action("portal_session.revoked"), &session["id"]),
        (&action("webhook_endpoint.created"), &endpoint["id"]),
        (&action("portal_session.opened"), &session["id"]),
    ];
    assert_eq!(told, expected);
    let made = app.internal.get("/v1/audit_entries?action=portal_session.created").await.expect(200);
    assert_eq!(made["data"][0]["actor"]["kind"], "service_key");
    assert_eq!(made["data"][0]["changes"]["access"], json!({ "old": null, "new": "full" }));
    app.stop().await;
}

#[tokio::test]
async fn the_sessions_of_a_merchant_share_one_rate_limit_which_is_not_that_of_its_keys() {
    let app = TestApp::with(&[("limits.requests_per_second", "1")]).await;
    let mut pages = Vec::new();
    for merchant in ["m_1", "m_1", "m_2"] {
        let session = app.portal_session(merchant, "full").await;
        pages.push(Caller::open_portal(app.public_addr, &session).await);
    }
    let mut refused = 0;
    for page in [0, 1, 0, 1] {
        refused += u32::from(pages[page].get(ENDPOINTS).await.status == 429);
    }
    assert!(refused > 0, "twice in a second, for both together");
    pages[2].get(ENDPOINTS).await.expect(200);
    app.public.get(ENDPOINTS).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn the_page_runs_only_its_own_scripts_and_is_framed_only_by_the_sites_that_may() {
    let app = TestApp::start().await;
    let anyone = Caller::new(app.public_addr, "");
    let page = anyone.get("/portal/events/evt_1").await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(policy.ends_with("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(!page.text.contains("style=") && !page.text.contains("<style"), "{}", page.text);
    let mut files = 0;
    for name in page.text.split('"').filter(|text| text.starts_with("/portal/assets/")) {
        let plain = anyone.get(name).await;
        assert_eq!((plain.status, plain.header("content-encoding")), (200, None), "{name}");
        assert_eq!(plain.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert_eq!(plain.header("x-content-type-options"), Some("nosniff"));
        files += 1;
    }
    assert!(files >= 2, "{}", page.text);
    anyone.get("/portal/assets/other.js").await.expect(404);
    anyone.get("/portal/assets/..%2Findex.html").await.expect(404);
    app.stop().await;

    let origins = r#"["https://dashboard.example.com", "https://admin.example.com"]"#;
    let app = TestApp::with(&[("portal.origins", origins)]).await;
    let page = Caller::new(app.public_addr, "").get("/portal").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.ends_with("frame-ancestors https://dashboard.example.com https://admin.example.com"),
        "{policy}"
    );
    app.stop().await;
}

#[tokio::test]
async fn over_https_the_cookie_is_bound_to_the_host_and_in_a_frame_to_the_site_around_it() {
    let https = ("portal.url", "https://webhooks.example.com");
    let open = async |app: &TestApp, embedded: bool| {
        let session = app.portal_session("m_1", "full").await;
        assert!(session["url"].as_str().unwrap().starts_with("https://webhooks.example.com/portal#plink_"));
        let body = json!({ "token": token_of(&session), "embedded": embedded });
        browser(app).post("/portal/session", body).await
    };
    let app = TestApp::with(&[https]).await;
    let opened = open(&app, false).await;
    let cookie = opened.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-k-webhooks-portal=pcookie_"), "{cookie}");
    assert!(cookie.ends_with("; Path=/; HttpOnly; Max-Age=3600; SameSite=Lax; Secure"), "{cookie}");
    open(&app, true).await.refuses("embedded");
    app.stop().await;

    let app = TestApp::with(&[https, ("portal.origins", r#"["https://dashboard.example.com"]"#)]).await;
    let opened = open(&app, true).await;
    let cookie = opened.header("set-cookie").unwrap();
    assert!(cookie.ends_with("; HttpOnly; Max-Age=3600; SameSite=None; Partitioned; Secure"), "{cookie}");
    app.stop().await;
}

#[tokio::test]
async fn in_production_there_is_a_portal_where_the_service_is_told_its_address() {
    let database = database().await;
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let production = |url: &str| {
        let mut command = database.serve();
        command.env("K_WEBHOOKS__MODE", "production").env("K_WEBHOOKS__SECURITY__ENCRYPTION_KEY", key);
        command.env("K_WEBHOOKS__PORTAL__URL", url);
        command
    };
    let wanted = json!({ "merchant_id": "m_1", "livemode": true });
    let process = Process::start(production("")).await;
    let refused = process.internal().post(SESSIONS, &wanted).await.expect(400);
    assert!(refused["error"]["message"].as_str().unwrap().contains("portal.url"), "{refused}");
    process.kill().await;
    let process = Process::start(production("https://webhooks.example.com")).await;
    let made = process.internal().post(SESSIONS, &wanted).await.expect(201);
    assert!(made["url"].as_str().unwrap().starts_with("https://webhooks.example.com/portal#"));
    process.kill().await;

    let settings = [("K_WEBHOOKS__MODE", "production"), ("K_WEBHOOKS__SECURITY__ENCRYPTION_KEY", key)];
    let url = ("K_WEBHOOKS__PORTAL__URL", "https://webhooks.example.com");
    let portal = ["portal", "--merchant", "m_1", "--mode", "live", "--read-only"];
    let refused = database.run(&portal, &settings).await;
    assert_eq!(refused.stderr, b"k-webhooks: portal.url: production needs one\n");
    let link = database.run(&portal, &[&settings[..], &[url]].concat()).await;
    assert!(link.stdout.starts_with(b"https://webhooks.example.com/portal#plink_"), "{link:?}");
}

#[tokio::test]
async fn an_attempt_shows_its_request_as_the_receiver_got_it_whatever_secrets_came_later() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(503)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let rotate = format!("{ENDPOINTS}/{}/rotate_secret", id(&endpoint));
    app.public.post(&rotate, json!({ "expire_previous_in": "1h" })).await.expect(200);
    let event = app.publish(charge()).await;
    app.advance("1ms").await;
    app.public.post(&rotate, json!({ "expire_previous_in": "30s" })).await.expect(200);
    app.advance("1m").await;
    let delivery = app.delivery_of(&event).await;
    let path = format!("/v1/deliveries/{}/attempts", id(&delivery));
    let received = receiver.until(2).await;
    for (number, got) in [(1, &received[0]), (2, &received[1])] {
        let attempt = app.public.get(&format!("{path}/{number}")).await.expect(200);
        let request = &attempt["request"];
        assert_eq!((&attempt["number"], &attempt["response_status"]), (&json!(number), &json!(503)));
        assert_eq!((&request["method"], &request["url"]), (&json!("POST"), &json!(receiver.url())));
        assert_eq!(request["body"].as_str().unwrap().as_bytes(), got.body);
        for (name, value) in request["headers"].as_object().unwrap() {
            assert_eq!(value, got.header(name), "{name} of attempt {number}");
        }
    }
    let signatures = |index: usize| received[index].header("k-payments-signature").matches("v1=").count();
    assert_eq!((signatures(0), signatures(1)), (2, 1), "as many as lived then");
    for nowhere in ["0", "3", "x", "01", "-1"] {
        app.public.get(&format!("{path}/{nowhere}")).await.expect(404);
    }
    app.public.delete(&format!("{ENDPOINTS}/{}", id(&endpoint))).await.expect(200);
    let attempt = app.public.get(&format!("{path}/1")).await.expect(200);
    assert!(
        attempt["request"]["url"].is_null()
            && attempt["request"]["headers"]["k-payments-signature"].is_null()
    );
    app.stop().await;
}

#[tokio::test]
async fn an_attempt_shows_the_headers_of_its_response_and_no_cookie() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::with_header(500, "Set-Cookie: session=open-sesame; Secure")).await;
    app.endpoint(&receiver.url()).await;
    let headers_of = async |event: &Value| {
        app.advance("1ms").await;
        let delivery = app.delivery_of(event).await;
        assert!(delivery["attempts"][0].get("response_headers").is_none(), "lists do without");
        app.public.get(&format!("/v1/deliveries/{}/attempts/1", id(&delivery))).await.expect(200)["response_headers"].clone()
    };
    let answered = app.publish(charge()).await;
    let headers = headers_of(&answered).await;
    let value = |name: &str| {
        let header = headers.as_array().unwrap().iter().find(|header| header["name"] == name);
        header.map(|header| header["value"].clone())
    };
    assert_eq!(
        (value("set-cookie"), value("content-length")),
        (Some(json!("…")), Some(json!("0"))),
        "{headers}"
    );

    receiver.now(Act::Hang);
    let unanswered = app.publish(charge()).await;
    assert!(headers_of(&unanswered).await.is_null());
    // Of attempts that an earlier version recorded.
    app.database.execute("UPDATE attempts SET response_headers = NULL").await;
    assert!(headers_of(&answered).await.is_null());
    app.stop().await;
}

#[tokio::test]
async fn a_list_of_events_can_tell_how_their_deliveries_stand() {
    let app = TestApp::start().await;
    let (good, bad) = (Receiver::start(Act::status(200)).await, Receiver::start(Act::status(500)).await);
    let nobody = app.publish(charge()).await;
    app.endpoint(&good.url()).await;
    let failing = app.endpoint(&bad.url()).await;
    let first = app.publish(charge()).await;
    app.advance("1ms").await;
    let list = async || app.public.get("/v1/events?expand=delivery_counts").await.expect(200)["data"].clone();
    let counts = |pending: u32, retrying: u32, held: u32, succeeded: u32, abandoned: u32| json!({ "pending": pending, "retrying": retrying, "held": held, "succeeded": succeeded, "abandoned": abandoned });
    let told = list().await;
    assert_eq!((id(&told[0]), &told[0]["delivery_counts"]), (id(&first), &counts(1, 1, 0, 1, 0)));
    assert_eq!((id(&told[1]), &told[1]["delivery_counts"]), (id(&nobody), &counts(0, 0, 0, 0, 0)));
    let path = format!("{ENDPOINTS}/{}", id(&failing));
    app.public.patch(&path, json!({ "status": "disabled" })).await.expect(200);
    assert_eq!(list().await[0]["delivery_counts"], counts(0, 0, 1, 1, 0));
    app.public.delete(&path).await.expect(200);
    assert_eq!(list().await[0]["delivery_counts"], counts(0, 0, 0, 1, 1));
    assert!(app.public.get("/v1/events").await.expect(200)["data"][0]["delivery_counts"].is_null());
    app.public.get("/v1/events?expand=data").await.refuses("expand");
    app.stop().await;
}
