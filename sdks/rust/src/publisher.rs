//! Publishing events, for internal services.
//!
//! ```no_run
//! # async fn publish(charge: serde_json::Value) -> Result<(), Box<dyn std::error::Error>> {
//! use k_payments_webhooks::{EventType, publisher::{NewEvent, Publisher}};
//!
//! let publisher = Publisher::new("http://k-webhooks.internal:8081", "svc_…")?;
//! let event = NewEvent::new("m_1", true, EventType::ChargeSucceeded, &charge)?;
//! publisher.publish(&event).await?; // it is stored
//! # Ok(())
//! # }
//! ```
//!
//! Requests that fail with 429 or a 5xx, or get no answer, are repeated with pauses. That is safe because every [`NewEvent`]
//! has an idempotency key, made with it: publishing the same one again within 24 hours publishes nothing.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, crypto::aws_lc_rs};
use rustls_platform_verifier::BuilderVerifierExt as _;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::{sleep, timeout};

use crate::EventType;

/// How many events the service takes in one batch.
pub const EVENTS_MAX: usize = 1000;

/// How large a batch may be, in bytes.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How often a request is repeated.
const RETRIES: u32 = 5;

/// From a request to the end of its answer.
const DEADLINE: Duration = Duration::from_secs(40);

/// The longest pause between two tries, and what of `Retry-After` is heeded.
const PAUSE_MAX: Duration = Duration::from_secs(30);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// More than a batch of events comes back as, each with a little more than was sent.
const ANSWER_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;

/// An event to publish. Keep it until it is published: it holds its idempotency key.
#[derive(Clone, Debug, Serialize)]
pub struct NewEvent {
    merchant_id: String,
    livemode: bool,
    #[serde(rename = "type")]
    event_type: EventType,
    data: Data,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<i64>,
    idempotency_key: String,
}

#[derive(Clone, Debug, Serialize)]
struct Data {
    object: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_attributes: Option<Box<RawValue>>,
}

impl NewEvent {
    /// An event about this charge, refund, payout or dispute: `id`, `object`, and whatever else.
    pub fn new(
        merchant_id: impl Into<String>,
        livemode: bool,
        event_type: EventType,
        object: &impl Serialize,
    ) -> Result<Self, serde_json::Error> {
        let data = Data { object: to_raw_value(object)?, previous_attributes: None };
        let (merchant_id, idempotency_key) = (merchant_id.into(), random_key());
        Ok(Self { merchant_id, livemode, event_type, data, created: None, idempotency_key })
    }

    /// What changed, with the values of before.
    pub fn previous_attributes(mut self, previous: &impl Serialize) -> Result<Self, serde_json::Error> {
        self.data.previous_attributes = Some(to_raw_value(previous)?);
        Ok(self)
    }

    /// When it happened, in unix seconds; when it is accepted, if nothing is said.
    #[must_use]
    pub fn created(self, seconds: i64) -> Self {
        Self { created: Some(seconds), ..self }
    }

    /// A key of the caller's own, such as the id of what happened.
    #[must_use]
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        Self { idempotency_key: key.into(), ..self }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "keys that differ are all that is wanted, and the caller can give its own"
)]
fn random_key() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    hex::encode(bytes)
}

/// A number from 0 to 1.
#[expect(clippy::disallowed_methods, reason = "it spreads callers out, and decides nothing")]
fn chance() -> f64 {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

/// An event as it was stored.
#[derive(Clone, Debug, Deserialize)]
pub struct Published {
    /// Its id.
    pub id: String,
    /// When it happened, in unix seconds.
    pub created: i64,
    /// How many deliveries are under way.
    pub pending_webhooks: u64,
}

/// A request that was refused, or that failed as often as it was tried.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}{}", shown(field_errors))]
pub struct PublishError {
    /// The API's type, such as `invalid_request_error`; `connection_error` where no answer came.
    pub kind: String,
    /// What it says.
    pub message: String,
    /// The status, if there was an answer.
    pub status: Option<u16>,
    /// What is wrong with each field.
    pub field_errors: BTreeMap<String, Vec<String>>,
    /// The answer's id, by which the service's log knows it.
    pub request_id: Option<String>,
    /// How long to wait before trying again.
    pub retry_after: Option<Duration>,
}

fn shown(field_errors: &BTreeMap<String, Vec<String>>) -> String {
    let shown = |(name, errors): (&String, &Vec<String>)| format!(" {name}: {}.", errors.join("; "));
    field_errors.iter().map(shown).collect::<Vec<_>>().concat()
}

impl PublishError {
    fn connection(error: impl fmt::Display) -> Self {
        Self {
            kind: "connection_error".to_owned(),
            message: format!("No answer could be read: {error}"),
            status: None,
            field_errors: BTreeMap::new(),
            request_id: None,
            retry_after: None,
        }
    }

    fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let read: Option<Envelope> = serde_json::from_slice(body).ok();
        let read = read.map_or_else(|| Refusal::of_another(status), |envelope| envelope.error);
        Self {
            kind: read.kind,
            message: read.message,
            status: Some(status.as_u16()),
            field_errors: read.details.field_errors,
            request_id: text("request-id").map(str::to_owned),
            retry_after: text("retry-after").and_then(|wait| wait.parse().ok()).map(Duration::from_secs),
        }
    }

    /// Whether the same request may do better later.
    fn passes(&self) -> bool {
        self.status.is_none_or(|status| status == 429 || status >= 500)
    }
}

#[derive(Deserialize)]
struct Envelope {
    error: Refusal,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "type")]
    kind: String,
    message: String,
    #[serde(default)]
    details: Details,
}

impl Refusal {
    /// What something between here and the service answered.
    fn of_another(status: StatusCode) -> Self {
        let kind = if status.is_server_error() { "internal_error" } else { "invalid_request_error" };
        let message = format!("The answer was {}, without an error of the API.", status.as_u16());
        Self { kind: kind.to_owned(), message, details: Details::default() }
    }
}

#[derive(Default, Deserialize)]
struct Details {
    #[serde(rename = "fieldErrors", default)]
    field_errors: BTreeMap<String, Vec<String>>,
}

/// Where the internal API cannot be.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Not a URL to which a path can be added, or not a key.
    #[error("must be a URL such as http://k-webhooks.internal:8081, and a service key")]
    NotAnAddress,
    /// The system's root certificates cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The internal API, with a service key. Clones share their connections.
#[derive(Clone)]
pub struct Publisher {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    authorization: HeaderValue,
    pause: Pause,
}

/// How long to wait before the second try; it doubles with each. For tests, which do not want to wait.
type Pause = Arc<dyn Fn(u32, Option<Duration>) -> Duration + Send + Sync>;

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Calls the internal listener at this address.
    pub fn new(base_url: &str, service_key: &str) -> Result<Self, SetupError> {
        let base = base_url.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|_| SetupError::NotAnAddress)?;
        let authorization = HeaderValue::try_from(format!("Bearer {service_key}"));
        let mut authorization = authorization.map_err(|_| SetupError::NotAnAddress)?;
        authorization.set_sensitive(true);
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(SetupError::NotAnAddress);
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_platform_verifier()?
            .with_no_client_auth();
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self { client, base, authorization, pause: Arc::new(|tries, wait| pause(tries, wait, chance())) })
    }

    /// Another way to wait between tries: told how many there were and what `Retry-After` said.
    #[must_use]
    pub fn pausing(self, pause: impl Fn(u32, Option<Duration>) -> Duration + Send + Sync + 'static) -> Self {
        Self { pause: Arc::new(pause), ..self }
    }

    /// Publishes one event. When this returns it is stored.
    pub async fn publish(&self, event: &NewEvent) -> Result<Published, PublishError> {
        self.post("/v1/events", encode(event)?).await
    }

    /// Publishes events, in as few requests as the limits allow, and returns them in the order given.
    ///
    /// Each request is all or nothing, the whole is not: after an error, publish the same events again, and those that are
    /// stored already come back as they are.
    pub async fn publish_batch(&self, events: &[NewEvent]) -> Result<Vec<Published>, PublishError> {
        #[derive(Deserialize)]
        struct List {
            data: Vec<Published>,
        }
        let mut published = Vec::with_capacity(events.len());
        for body in batches(events)? {
            let list: List = self.post("/v1/events/batch", body).await?;
            published.extend(list.data);
        }
        Ok(published)
    }

    async fn post<T: for<'de> Deserialize<'de>>(&self, path: &str, body: Bytes) -> Result<T, PublishError> {
        let mut tries = 1;
        loop {
            let answer = timeout(DEADLINE, self.try_post(path, body.clone())).await;
            match answer.unwrap_or_else(|late| Err(PublishError::connection(late))) {
                Err(error) if error.passes() && tries <= RETRIES => {
                    sleep((self.pause)(tries, error.retry_after)).await;
                    tries += 1;
                }
                outcome => return serde_json::from_slice(&outcome?).map_err(PublishError::connection),
            }
        }
    }

    async fn try_post(&self, path: &str, body: Bytes) -> Result<Bytes, PublishError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(PublishError::connection)?;
        let (head, body) = self.client.request(request).await.map_err(PublishError::connection)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(PublishError::connection)?.to_bytes();
        if head.status.is_success() {
            Ok(body)
        } else {
            Err(PublishError::refused(head.status, &head.headers, &body))
        }
    }
}

/// Half a second, doubled each time, up to half a minute; half of it by chance, so that callers spread out.
fn pause(tries: u32, retry_after: Option<Duration>, chance: f64) -> Duration {
    let pause =
        Duration::from_millis(500).saturating_mul(1 << tries.saturating_sub(1).min(10)).min(PAUSE_MAX);
    pause.mul_f64(0.5 + chance / 2.0).max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX))
}

fn encode(event: &NewEvent) -> Result<Bytes, PublishError> {
    serde_json::to_vec(event).map(Bytes::from).map_err(PublishError::connection)
}

/// The bodies of as few batches as the limits allow.
fn batches(events: &[NewEvent]) -> Result<Vec<Bytes>, PublishError> {
    const OPENING: &[u8] = b"{\"events\":[";
    const CLOSING: &[u8] = b"]}";
    let (mut bodies, mut body, mut count) = (Vec::new(), Vec::new(), 0);
    for event in events {
        let encoded = encode(event)?;
        let size = body.len() + 1 + encoded.len() + CLOSING.len();
        if count == EVENTS_MAX || (count > 0 && size > BATCH_BYTES_MAX) {
            body.extend_from_slice(CLOSING);
            bodies.push(std::mem::take(&mut body).into());
            count = 0;
        }
        body.extend_from_slice(if count == 0 { OPENING } else { b"," });
        body.extend_from_slice(&encoded);
        count += 1;
    }
    if count > 0 {
        body.extend_from_slice(CLOSING);
        bodies.push(body.into());
    }
    Ok(bodies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_half_a_minute_and_is_no_shorter_than_the_service_asks() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(1, None, 1.0), second / 2);
        assert_eq!(pause(2, None, 1.0), second);
        assert_eq!(pause(2, None, 0.0), second / 2, "half of it is by chance");
        assert_eq!(pause(30, None, 1.0), PAUSE_MAX);
        assert_eq!(pause(1, Some(7 * second), 1.0), 7 * second);
        assert_eq!(pause(1, Some(3600 * second), 1.0), RETRY_AFTER_MAX);
    }

    #[test]
    fn batches_are_as_few_as_the_limits_allow() {
        let event = |bytes: usize| {
            let object = serde_json::json!({ "id": "ch_1", "object": "charge", "note": "x".repeat(bytes) });
            NewEvent::new("m_1", false, EventType::ChargeSucceeded, &object).unwrap()
        };
        assert!(batches(&[]).unwrap().is_empty());
        let many = batches(&vec![event(1); EVENTS_MAX + 1]).unwrap();
        let count = |body: &Bytes| {
            serde_json::from_slice::<serde_json::Value>(body).unwrap()["events"].as_array().unwrap().len()
        };
        assert_eq!(many.iter().map(count).collect::<Vec<_>>(), [EVENTS_MAX, 1]);
        let large = batches(&vec![event(6 << 20); 3]).unwrap();
        assert_eq!(large.iter().map(count).collect::<Vec<_>>(), [2, 1]);
        assert!(large.iter().all(|body| body.len() <= BATCH_BYTES_MAX));
    }
}
