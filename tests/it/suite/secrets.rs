//! Secrets: how many of them live, and that none is printed.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use k_webhooks::signature::{SigningSecret, verify};
use serde_json::{Value, json};

use super::{TestApp, database};
use crate::support::{
    Caller, charge, id,
    process::Process,
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

/// What it prints is checked as the process is dropped.
#[tokio::test]
async fn a_process_that_logs_all_it_can_prints_no_secret() {
    let database = database().await;
    let receiver = Receiver::start(Act::status(500)).await;
    let mut command = database.serve();
    command.env("K_WEBHOOKS__LOG__FILTER", "trace");
    let mut process = Process::start(command).await;
    let (internal, merchant) = (process.internal(), process.merchant().await);
    let endpoint = merchant.post("/v1/webhook_endpoints", json!({ "url": receiver.url() })).await.expect(201);
    let path = format!("/v1/webhook_endpoints/{}", id(&endpoint));
    merchant.post(&format!("{path}/rotate_secret"), "{}").await.expect(200);
    let keys = "/v1/merchants/m_1/api_keys";
    let key = internal.post(keys, "{}").await.expect(201);
    internal.post(&format!("{keys}/{}/rotate", id(&key)), "").await.expect(201);
    internal.delete(&format!("{keys}/{}", id(&key))).await.expect(200);
    internal.post("/v1/events", charge()).await.expect(201);
    receiver.until(1).await;
    process.until_logged("attempt failed").await;
    // By HTTP/2 too, whose crates have words of their own.
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let request = Request::get(format!("http://{}/v1/events", process.public))
        .header("authorization", format!("Bearer {}", merchant.key()));
    let answer = client.request(request.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    // Keys at the wrong door, mistyped, and bodies that do not parse around a secret.
    let mistyped = &merchant.key()[..merchant.key().len() - 1];
    Caller::new(process.internal, merchant.key()).get(keys).await.expect(401);
    Caller::new(process.public, mistyped).get("/v1/events").await.expect(401);
    let broken =
        format!("{{\"url\": \"https://example.com\", \"signing_secret\": {}, }}", endpoint["signing_secret"]);
    merchant.post("/v1/webhook_endpoints", broken).await.expect(400);
    let own = json!({ "url": "https://example.com", "signing_secret": endpoint["signing_secret"] });
    merchant.post("/v1/webhook_endpoints", own).await.refuses("signing_secret");
    merchant.delete(&path).await.expect(200);
    process.terminate();
    assert_eq!(process.child.wait().await.unwrap().code(), Some(0));
    // All of it has been read.
    assert!(process.count_logged("stopped").await == 1);
}
