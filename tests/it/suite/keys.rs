//! API keys: modes, rotation, revocation.

use serde_json::{Value, json};

use super::TestApp;
use crate::support::{Caller, id};

const KEYS: &str = "/v1/merchants/m_1/api_keys";

#[tokio::test]
async fn a_key_is_shown_once_listed_by_its_end_rotated_and_revoked() {
    let app = TestApp::start().await;
    let made = app.internal.post(KEYS, json!({ "livemode": true })).await.expect(201);
    let secret = made["secret_key"].as_str().unwrap();
    assert!(
        secret.starts_with("sk_live_") && made["publishable_key"].as_str().unwrap().starts_with("pk_live_")
    );
    assert_eq!((&made["object"], &made["expires_at"]), (&json!("api_key"), &Value::Null));
    let works = async |secret: &str| Caller::new(app.public_addr, secret).get("/v1/events").await.status;
    assert_eq!(works(secret).await, 200);

    let list = app.internal.get(KEYS).await;
    assert!(!list.text.contains(secret), "{}", list.text);
    assert_eq!(list.expect(200)["data"][0]["last4"].as_str().unwrap(), &secret[secret.len() - 4..]);

    let rotated = app.internal.post(&format!("{KEYS}/{}/rotate", id(&made)), "").await.expect(201);
    let newer = rotated["secret_key"].as_str().unwrap();
    assert_eq!(rotated["livemode"], true);
    assert_eq!((works(secret).await, works(newer).await), (200, 200));
    app.advance("24h").await;
    assert_eq!((works(secret).await, works(newer).await), (401, 200));
    app.internal.delete(&format!("{KEYS}/{}", id(&made))).await.expect(404);

    app.internal.delete(&format!("{KEYS}/{}", id(&rotated))).await.expect(200);
    assert_eq!(works(newer).await, 401);
    app.internal.delete(&format!("{KEYS}/{}", id(&rotated))).await.expect(404);
    app.internal.post(&format!("{KEYS}/{}/rotate", id(&rotated)), "").await.expect(404);
    app.internal.post("/v1/merchants/m%20x/api_keys", "{}").await.refuses("merchant");
    app.internal.post(KEYS, json!({ "livemode": "yes" })).await.refuses("livemode");
    app.stop().await;
}

#[tokio::test]
async fn other_kinds_of_key_are_refused_with_a_hint() {
    let app = TestApp::start().await;
    let made = app.internal.post(KEYS, "{}").await.expect(201);
    let publishable = made["publishable_key"].as_str().unwrap();
    for address in [app.public_addr, app.internal_addr] {
        let path = if address == app.public_addr { "/v1/events" } else { KEYS };
        let refused = Caller::new(address, publishable).get(path).await;
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        let message = refused.expect(401)["error"]["message"].to_string();
        assert!(message.contains("secret key"), "{message}");
        for wrong in ["nonsense", "sk_test_0000", ""] {
            Caller::new(address, wrong).get(path).await.expect(401);
        }
    }
    app.stop().await;
}
