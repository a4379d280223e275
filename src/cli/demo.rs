//! `demo`: a live tour on embedded storage, with a receiver that verifies and one that fails.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use axum::{Router, body::Bytes as BodyBytes, http::HeaderMap, http::StatusCode, routing::post};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::say;
use crate::{
    app::{App, Role},
    audit::Author,
    config::Config,
    event::EventType,
    http,
    merchant::Tenant,
    samples::Samples,
    signature::{SigningSecret, TOLERANCE, verify},
};

/// What the receiver saw: the type of the event, and what verifying it came to.
type Seen = Arc<Mutex<Vec<(String, Result<(), &'static str>)>>>;

pub(super) async fn demo() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("k-webhooks-demo-{}", std::process::id()));
    let outcome = tour(&folder).await;
    std::fs::remove_dir_all(&folder).ok();
    outcome
}

async fn tour(folder: &std::path::Path) -> Result<()> {
    let set = |key: &str, value: String| (key.to_owned(), value);
    let config = Config::load(
        Some(std::path::Path::new("/dev/null")),
        [],
        &[
            set("database.url", format!("sqlite://{}/demo.db", folder.display())),
            set("server.listen", "127.0.0.1:0".to_owned()),
            set("internal.listen", "127.0.0.1:0".to_owned()),
            set("test_clock.enabled", "true".to_owned()),
            set("retry.jitter", "0.0".to_owned()),
        ],
    )?;
    let app = App::build(config, Role::All).await?;
    let (entropy, now) = (app.foundation().entropy.clone(), app.foundation().clock.now().seconds());
    let issuer = app.foundation().key_issuer(Author::service());
    let tenant = Tenant { merchant_id: "m_demo".parse().map_err(anyhow::Error::msg)?, livemode: false };
    let merchant = issuer.issue_merchant_key(tenant).await?;
    let service = issuer.issue_service_key("demo").await?;
    let public = Caller::new(app.public_addr()?, merchant.secret.expose_secret());
    let internal = Caller::new(app.internal_addr()?, service.secret.expose_secret());
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let running = tokio::spawn(app.run(async move { stopped.cancelled().await }));
    say(&format!("The service runs on one file: {}/demo.db", folder.display()));

    // The secret is known only once the endpoint is registered, so the receiver gets it then.
    let (secret, seen) = (Arc::new(Mutex::new(None)), Seen::default());
    let verifying = receive(verifying_receiver(Arc::clone(&secret), Arc::clone(&seen)), &stop).await?;
    let failing = receive(Router::new().fallback(async || StatusCode::INTERNAL_SERVER_ERROR), &stop).await?;
    let endpoint = json!({ "url": format!("http://{verifying}/hooks"), "description": "verifies" });
    let good = public.call("POST", "/v1/webhook_endpoints", Some(endpoint)).await?;
    let shown = good["signing_secret"].as_str().context("no signing secret")?;
    *secret.lock().unwrap_or_else(PoisonError::into_inner) = Some(SigningSecret::parse(shown)?);
    let endpoint = json!({ "url": format!("http://{failing}/"), "enabled_events": ["charge.succeeded"] });
    let bad = public.call("POST", "/v1/webhook_endpoints", Some(endpoint)).await?;
    say(&format!("Two endpoints: {} verifies signatures, {} answers 500.", good["id"], bad["id"]));

    let samples = Samples::new(entropy.bytes(), now);
    let mut first = Value::Null;
    for event_type in EventType::ALL {
        let event = json!({
            "merchant_id": "m_demo", "livemode": false, "type": event_type.as_str(),
            "data": samples.data(*event_type),
        });
        let event = internal.call("POST", "/v1/events", Some(event)).await?;
        if first.is_null() {
            first = event;
        }
    }
    say(&format!("Published one event of each of the {} types.", EventType::ALL.len()));
    internal.call("POST", "/v1/test_clock/advance", Some(json!({ "by": "1s" }))).await?;
    let received = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    for (event_type, verified) in &received {
        say(&format!("  received {event_type:<18} signature {}", verified.err().unwrap_or("valid")));
    }
    ensure!(received.len() == EventType::ALL.len(), "{} events were received", received.len());
    ensure!(received.iter().all(|(_, verified)| verified.is_ok()), "a signature did not verify");

    let started = Instant::now();
    internal.call("POST", "/v1/test_clock/advance", Some(json!({ "by": "72h" }))).await?;
    say(&format!(
        "Moved the clock on by 72 hours in {} ms. The failing endpoint's delivery:",
        started.elapsed().as_millis()
    ));
    let path = format!("/v1/webhook_endpoints/{}/deliveries", bad["id"].as_str().unwrap_or_default());
    let deliveries = public.call("GET", &path, None).await?;
    let path = format!("/v1/deliveries/{}", deliveries["data"][0]["id"].as_str().unwrap_or_default());
    let delivery = public.call("GET", &path, None).await?;
    let attempts = delivery["attempts"].as_array().context("no attempts")?;
    let start =
        attempts.first().and_then(|attempt| attempt["started"].as_i64()).context("no first attempt")?;
    for attempt in attempts {
        let after =
            Duration::from_secs((attempt["started"].as_i64().unwrap_or(start) - start).unsigned_abs());
        let after = humantime::format_duration(after).to_string();
        say(&format!(
            "  attempt {} after {after:<10} {}",
            attempt["number"],
            attempt["failure_message"].as_str().unwrap_or("ok")
        ));
    }
    say(&format!("  then {} ({})", delivery["status"], delivery["abandoned_reason"]));
    ensure!(
        attempts.len() == 9 && delivery["abandoned_reason"] == "window_closed",
        "the ladder is not as it should be"
    );

    stop.cancel();
    running.await??;
    say("Stopped. `k-webhooks serve` runs it for real.");
    Ok(())
}

fn verifying_receiver(secret: Arc<Mutex<Option<SigningSecret>>>, seen: Seen) -> Router {
    let receive = async move |headers: HeaderMap, body: BodyBytes| {
        let header = |name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let signature = header("k-payments-signature");
        let signed_at =
            signature.trim_start_matches("t=").split(',').next().and_then(|t| t.parse().ok()).unwrap_or(0);
        let secret = secret.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let verified = secret.ok_or("no secret yet").and_then(|secret| {
            // The service runs on its test clock, so its time is the one to compare with.
            verify(&signature, &body, &secret, signed_at, TOLERANCE)
                .map_err(crate::signature::VerifyError::code)
        });
        seen.lock().unwrap_or_else(PoisonError::into_inner).push((header("k-payments-event-type"), verified));
        StatusCode::NO_CONTENT
    };
    Router::new().route("/hooks", post(receive))
}

async fn receive(router: Router, stop: &CancellationToken) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(http::serve(listener, router, stop.clone(), http::Serving::default()));
    Ok(address)
}

/// Calls one of the listeners with a key.
struct Caller {
    client: Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>,
    base: String,
    authorization: String,
}

impl Caller {
    fn new(address: SocketAddr, key: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, base: format!("http://{address}"), authorization: format!("Bearer {key}") }
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let request = hyper::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", &self.authorization)
            .header("content-type", "application/json")
            .body(Full::from(body.map(|body| body.to_string()).unwrap_or_default()))?;
        let response = self.client.request(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{method} {path}: {status}: {}", String::from_utf8_lossy(&bytes));
        Ok(serde_json::from_slice(&bytes)?)
    }
}
