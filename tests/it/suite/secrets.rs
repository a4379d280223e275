//! Signing secrets: how many live.

use std::time::Duration;

use k_webhooks::signature::{SigningSecret, verify};
use serde_json::{Value, json};

use super::TestApp;
use crate::support::{
    charge, id,
    receiver::{Act, Receiver},
};

fn secret(object: &Value) -> SigningSecret {
    SigningSecret::parse(object["signing_secret"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn an_endpoint_whose_secret_is_rotated_a_hundred_times_signs_with_the_newest_five() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(Act::status(200)).await;
    let endpoint = app.endpoint(&receiver.url()).await;
    let path = format!("/v1/webhook_endpoints/{}/rotate_secret", id(&endpoint));
    let mut secrets = vec![secret(&endpoint)];
    for _ in 0..100 {
        let rotated = app.public.post(&path, json!({ "expire_previous_in": "7d" })).await.expect(200);
        secrets.push(secret(&rotated));
    }
    app.publish(charge()).await;
    let request = &receiver.until(1).await[0];
    let signature = request.header("k-payments-signature");
    let fits = |secret: &SigningSecret| {
        verify(signature, &request.body, secret, i64::MAX, Duration::from_secs(u64::MAX)).is_ok()
    };
    let (old, newest) = secrets.split_at(secrets.len() - 5);
    assert!(newest.iter().all(fits), "the newest five sign");
    assert!(!old.iter().any(fits), "and no other");
    assert_eq!(signature.matches("v1=").count(), 5);
    let kept = app.database.rows("SELECT count(*) FROM signing_secrets").await;
    assert_eq!(kept, [["5"]], "the others are not kept until the upkeep comes by");

    // A rotation shortens lives and never lengthens them.
    app.public.post(&path, json!({ "expire_previous_in": "1h" })).await.expect(200);
    app.public.post(&path, json!({ "expire_previous_in": "7d" })).await.expect(200);
    app.advance("1h").await;
    app.publish(charge()).await;
    let signature = receiver.until(2).await[1].header("k-payments-signature").to_owned();
    assert_eq!(signature.matches("v1=").count(), 2);
    app.stop().await;
}
