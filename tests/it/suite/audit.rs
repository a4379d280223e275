//! The audit log: who did what to endpoints and keys.

use serde_json::{Value, json};

use super::{TestApp, database};
use crate::support::{
    Answer, Caller, charge, id,
    process::{BOOTSTRAP_KEY, Process},
    receiver::{Act, Receiver},
};

const ENDPOINTS: &str = "/v1/webhook_endpoints";
const KEYS: &str = "/v1/merchants/m_1/api_keys";

async fn entries(internal: &Caller, query: &str) -> Vec<Value> {
    let list = internal.get(&format!("/v1/audit_entries?limit=100&{query}")).await.expect(200);
    list["data"].as_array().unwrap().clone()
}

/// Every change, and the entry it left.
struct Log<'a> {
    internal: &'a Caller,
    seen: usize,
}

impl Log<'_> {
    /// The one entry that the request left.
    async fn entry_of(&mut self, answer: &Answer) -> Value {
        assert!(answer.status < 300, "{}", answer.text);
        let all = entries(self.internal, "").await;
        assert_eq!(all.len(), self.seen + 1, "one entry for one change: {all:?}");
        self.seen += 1;
        assert_eq!(all[0]["request_id"].as_str(), answer.header("request-id"));
        let (body, text) = (answer.json(), Value::from(all.clone()).to_string());
        for secret in [&body["signing_secret"], &body["secret_key"]] {
            assert!(secret.as_str().is_none_or(|secret| !text.contains(secret)), "{text}");
        }
        all[0].clone()
    }

    /// The request left none.
    async fn none_of(&mut self, answer: &Answer) {
        let all = entries(self.internal, "").await;
        assert_eq!(all.len(), self.seen, "{}: {all:?}", answer.text);
    }
}

#[tokio::test]
async fn every_change_leaves_one_entry_with_its_actor_and_what_is_refused_or_changes_nothing_leaves_none() {
    let app = TestApp::start().await;
    let mut log = Log { internal: &app.internal, seen: entries(&app.internal, "").await.len() };
    let merchant_key =
        entries(&app.internal, "action=api_key.created&merchant_id=m_1").await[0]["object_id"].clone();
    let service_key =
        entries(&app.internal, "action=api_key.created").await.last().unwrap()["object_id"].clone();
    let merchant = json!({ "kind": "merchant_key", "id": merchant_key, "name": null });
    let service = json!({ "kind": "service_key", "id": service_key, "name": "tests" });

    let made = app.public.post(ENDPOINTS, json!({ "url": "https://example.com/" })).await;
    let entry = log.entry_of(&made).await;
    let endpoint = made.json();
    assert!(entry["id"].as_str().unwrap().starts_with("aud_"));
    let mut expected = json!({
        "id": entry["id"], "object": "audit_entry", "created": endpoint["created"], "merchant_id": "m_1",
        "livemode": false, "actor": merchant, "action": "webhook_endpoint.created", "object_id": id(&endpoint),
        "changes": {
            "url": { "old": null, "new": "https://example.com/" },
            "enabled_events": { "old": null, "new": ["*"] },
            "status": { "old": null, "new": "enabled" },
        },
        "request_id": entry["request_id"],
    });
    assert_eq!(entry, expected);

    let path = format!("{ENDPOINTS}/{}", id(&endpoint));
    let change = json!({ "description": "ours", "url": "https://example.com/", "status": "disabled" });
    let entry = log.entry_of(&app.public.patch(&path, change.clone()).await).await;
    assert_eq!((&entry["action"], &entry["actor"]), (&json!("webhook_endpoint.updated"), &merchant));
    let changes = json!({
        "description": { "old": null, "new": "ours" }, "status": { "old": "enabled", "new": "disabled" },
    });
    assert_eq!(entry["changes"], changes);
    log.none_of(&app.public.patch(&path, change.clone()).await).await;
    log.none_of(&app.public.patch(&path, json!({ "status": "paused" })).await).await;

    let entry = log.entry_of(&app.public.post(&format!("{path}/rotate_secret"), "{}").await).await;
    assert_eq!((&entry["action"], &entry["actor"]), (&json!("webhook_endpoint.secret_rotated"), &merchant));
    let refused = json!({ "expire_previous_in": "8d" });
    log.none_of(&app.public.post(&format!("{path}/rotate_secret"), refused).await).await;
    let stranger = app.merchant("m_2", false).await;
    log.seen += 1;
    log.none_of(&stranger.delete(&path).await).await;
    log.none_of(&stranger.patch(&path, json!({ "description": "x" })).await).await;

    let entry = log.entry_of(&app.public.delete(&path).await).await;
    assert_eq!((&entry["action"], &entry["actor"]), (&json!("webhook_endpoint.deleted"), &merchant));
    log.none_of(&app.public.delete(&path).await).await;
    log.none_of(&app.public.post(ENDPOINTS, json!({ "url": "x" })).await).await;

    let made = app.internal.post(KEYS, json!({ "livemode": true })).await;
    let entry = log.entry_of(&made).await;
    expected = json!({
        "id": entry["id"], "object": "audit_entry", "created": made.json()["created"], "merchant_id": "m_1",
        "livemode": true, "actor": service, "action": "api_key.created", "object_id": id(&made.json()),
        "changes": entry["changes"], "request_id": entry["request_id"],
    });
    assert_eq!(entry, expected);
    let rotated = app.internal.post(&format!("{KEYS}/{}/rotate", id(&made.json())), "").await;
    let entry = log.entry_of(&rotated).await;
    assert_eq!((&entry["action"], &entry["actor"]), (&json!("api_key.rotated"), &service));
    assert_eq!(entry["object_id"], made.json()["id"]);
    assert_eq!(entry["changes"]["replaced_by"], json!({ "old": null, "new": rotated.json()["id"] }));
    let key = format!("{KEYS}/{}", id(&rotated.json()));
    let entry = log.entry_of(&app.internal.delete(&key).await).await;
    assert_eq!((&entry["action"], &entry["livemode"]), (&json!("api_key.revoked"), &json!(true)));
    log.none_of(&app.internal.delete(&key).await).await;
    log.none_of(&app.internal.post(&format!("{key}/rotate"), "").await).await;
    log.none_of(&app.internal.post(KEYS, json!({ "livemode": 1 })).await).await;

    for (query, count) in [
        (format!("object_id={}", id(&endpoint)), 4),
        ("merchant_id=m_2".to_owned(), 1),
        ("merchant_id=m_1&livemode=true".to_owned(), 3),
        ("merchant_id=m_1&livemode=true&action=api_key.rotated".to_owned(), 1),
        (format!("actor_kind=merchant_key&actor_id={}", merchant_key.as_str().unwrap()), 4),
        ("actor_kind=bootstrap_key".to_owned(), 0),
    ] {
        assert_eq!(entries(&app.internal, &query).await.len(), count, "{query}");
    }
    let first = app.internal.get("/v1/audit_entries?limit=2").await.expect(200);
    assert_eq!(first["has_more"], true);
    let next = format!("/v1/audit_entries?limit=2&starting_after={}", id(&first["data"][1]));
    assert_ne!(app.internal.get(&next).await.expect(200)["data"][0]["id"], first["data"][1]["id"]);
    for bad in ["action", "actor_kind", "actor_id", "livemode", "starting_after", "colour"] {
        app.internal.get(&format!("/v1/audit_entries?{bad}=x")).await.refuses(bad);
    }
    app.public.get("/v1/audit_entries").await.expect(404);
    app.stop().await;
}

#[tokio::test]
async fn the_service_itself_is_named_for_an_endpoint_that_is_gone() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(410)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    for _ in 0..3 {
        app.publish(charge()).await;
    }
    app.advance("1m").await;
    let found = entries(&app.internal, &format!("object_id={}&actor_kind=service", id(&endpoint))).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (&found[0]["action"], &found[0]["merchant_id"]),
        (&json!("webhook_endpoint.disabled"), &json!("m_1"))
    );
    let changes = json!({
        "status": { "old": "enabled", "new": "disabled" }, "disabled_reason": { "old": null, "new": "gone" },
    });
    assert_eq!(found[0]["changes"], changes);
    app.stop().await;
}

#[tokio::test]
async fn entries_are_kept_for_29_days_and_gone_after_31() {
    let app = TestApp::start().await;
    app.endpoint("https://example.com/").await;
    app.advance("29d").await;
    assert_eq!(entries(&app.internal, "action=webhook_endpoint.created").await.len(), 1);
    app.advance("2d").await;
    assert_eq!(entries(&app.internal, "").await, [] as [Value; 0]);
    app.stop().await;
}

#[tokio::test]
async fn the_command_line_and_the_bootstrap_key_leave_entries_too() {
    let database = database().await;
    let user = [("USER", "ada")];
    let create = ["keys", "create", "--merchant", "m_1", "--mode", "live"];
    let made = database.run(&create, &user).await;
    assert!(made.status.success(), "{made:?}");
    let made = String::from_utf8(made.stdout).unwrap();
    let (key, secret) = made.lines().next().unwrap().split_once(' ').unwrap();
    assert!(database.run(&["keys", "create", "--service", "billing"], &user).await.status.success());
    assert!(database.run(&["keys", "revoke", key], &user).await.status.success());
    assert!(!database.run(&["keys", "revoke", key], &user).await.status.success());

    let process = Process::start(database.serve()).await;
    let internal = process.internal();
    let found = entries(&internal, "actor_kind=command_line").await;
    let actions: Vec<_> = found.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["api_key.revoked", "api_key.created", "api_key.created"]);
    assert_eq!((&found[0]["object_id"], &found[0]["livemode"]), (&json!(key), &json!(true)));
    assert_eq!(found[1]["changes"]["service"], json!({ "old": null, "new": "billing" }));
    for entry in &found {
        assert_eq!(entry["actor"], json!({ "kind": "command_line", "id": null, "name": "ada" }));
        assert!(!entry.to_string().contains(secret) && entry["request_id"].is_null());
    }
    internal.post(KEYS, "{}").await.expect(201);
    let found = entries(&internal, "actor_kind=bootstrap_key").await;
    assert_eq!(found.len(), 1);
    assert!(!found[0].to_string().contains(BOOTSTRAP_KEY));
    process.kill().await;
}

#[tokio::test]
async fn a_change_that_cannot_be_noted_does_not_happen() {
    let app = TestApp::start().await;
    let endpoint = app.endpoint("https://example.com/").await;
    app.database.execute("ALTER TABLE audit_entries RENAME TO hidden").await;
    let path = format!("{ENDPOINTS}/{}", id(&endpoint));
    app.public.patch(&path, json!({ "description": "x" })).await.expect(500);
    app.public.delete(&path).await.expect(500);
    app.public.post(&format!("{path}/rotate_secret"), "{}").await.expect(500);
    app.public.post(ENDPOINTS, json!({ "url": "https://example.com/" })).await.expect(500);
    app.internal.post(KEYS, "{}").await.expect(500);
    let list = app.public.get(ENDPOINTS).await.expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!(list["data"][0]["description"], Value::Null);
    app.database.execute("ALTER TABLE hidden RENAME TO audit_entries").await;
    assert_eq!(app.internal.get(KEYS).await.expect(200)["data"].as_array().unwrap().len(), 1);
    app.stop().await;
}
