//! What the tests share: the service, callers, and a receiver that does as it is told.

pub(crate) mod document;
pub(crate) mod engine;
pub(crate) mod metrics;
pub(crate) mod node;
pub(crate) mod outcome;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod printed;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod receiver;
pub(crate) mod stream;
pub(crate) mod tls;

use std::{marker::PhantomData, net::SocketAddr, path::Path, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use k_webhooks::{
    app::{App, Foundation, Role},
    audit::Author,
    config::Config,
    merchant::Tenant,
    transport::{Resolve, SystemResolver},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use engine::{Database, Engine};
use printed::WATCH;

/// A response, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The JSON of an answer that must have this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// The messages about one field of a refused request.
    #[track_caller]
    pub(crate) fn refuses(&self, field: &str) -> String {
        let body = self.expect(400);
        assert_eq!(body["error"]["type"], "invalid_request_error", "{body}");
        let messages = &body["error"]["details"]["fieldErrors"][field];
        assert!(messages.is_array(), "{field} is not named: {body}");
        messages.to_string()
    }
}

/// Calls one listener with one key, or as a page of the portal with one session.
#[derive(Clone)]
pub(crate) struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    key: String,
    /// What every request has besides.
    headers: Vec<(&'static str, String)>,
}

impl Caller {
    pub(crate) fn new(address: SocketAddr, key: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, base: format!("http://{address}"), key: key.to_owned(), headers: Vec::new() }
    }

    /// The same caller at another address.
    pub(crate) fn to(mut self, address: SocketAddr) -> Self {
        self.base = format!("http://{address}");
        self
    }

    /// The same caller, whose requests all have this header.
    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// A browser that opens the link of this portal session.
    pub(crate) async fn open_portal(address: SocketAddr, session: &Value) -> Self {
        let browser = Self::new(address, "").with_header("sec-fetch-site", "same-origin");
        let opened = browser.post("/portal/session", json!({ "token": token_of(session) })).await;
        assert_eq!(opened.status, 201, "{}", opened.text);
        browser.with_header("cookie", cookie_of(&opened)).with_header("k-webhooks-portal", id(session))
    }

    /// A browser in which this service key opens the console.
    pub(crate) async fn open_console(address: SocketAddr, key: &str) -> Self {
        let browser = Self::new(address, "").with_header("sec-fetch-site", "same-origin");
        let opened = browser.post("/console/session", json!({ "key": key })).await;
        let session = opened.expect(201);
        browser.with_header("cookie", cookie_of(&opened)).with_header("k-webhooks-console", id(&session))
    }

    /// A header that all its requests have.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| *known == name);
        found.map_or_else(|| panic!("no {name}"), |(_, value)| value)
    }

    /// The key it calls with.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.try_send(method, path, headers, body).await.expect("the service answers")
    }

    /// The answer, if the service lives long enough to give one.
    pub(crate) async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Option<Answer> {
        let mut response = self.begin(method, path, headers, body).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = if headers.get("content-type").is_some_and(|kind| kind == "text/event-stream") {
            // It has no end; its beginning is what there is.
            response.frame().await.and_then(|frame| frame.ok()?.into_data().ok()).unwrap_or_default()
        } else {
            response.into_body().collect().await.ok()?.to_bytes()
        };
        // Which a compressed script is not.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if status >= 400 {
            WATCH.note(&text);
        }
        let answer = Answer { status, headers, text };
        document::check(method, path, &answer);
        Some(answer)
    }

    /// The answer's head, with its body yet to be read.
    pub(crate) async fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Option<hyper::Response<Incoming>> {
        let mut request = hyper::Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !self.key.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.key));
        }
        let own = self.headers.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in own.chain(headers.iter().copied()) {
            request = request.header(name, value);
        }
        self.client.request(request.body(Full::new(body.into())).unwrap()).await.ok()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: impl ToString) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "").await
    }
}

/// The service in this process, on the test clock and a database of its own.
pub(crate) struct TestApp<E> {
    /// With the test key of merchant `m_1`.
    pub(crate) public: Caller,
    /// With a service key.
    pub(crate) internal: Caller,
    pub(crate) public_addr: SocketAddr,
    pub(crate) internal_addr: SocketAddr,
    pub(crate) foundation: Foundation,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
    pub(crate) database: Database,
    engine: PhantomData<E>,
}

pub(crate) fn config(database: &Database, settings: &[(&str, &str)]) -> Config {
    let mut flags = vec![
        ("database.url".to_owned(), database.url.clone()),
        ("database.max_connections".to_owned(), "4".to_owned()),
        ("server.listen".to_owned(), "127.0.0.1:0".to_owned()),
        ("internal.listen".to_owned(), "127.0.0.1:0".to_owned()),
        ("test_clock.enabled".to_owned(), "true".to_owned()),
        ("retry.jitter".to_owned(), "0.0".to_owned()),
        ("limits.requests_per_second".to_owned(), "10000".to_owned()),
        ("limits.failed_authentications_per_minute".to_owned(), "100000".to_owned()),
        ("delivery.timeout".to_owned(), "500ms".to_owned()),
        ("delivery.connect_timeout".to_owned(), "500ms".to_owned()),
    ];
    let bootstrap_keys = settings.iter().filter(|(key, _)| *key == "internal.bootstrap_key");
    bootstrap_keys.for_each(|(_, key)| WATCH.value(key));
    WATCH.password_of(&database.url);
    WATCH.logs();
    flags.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    Config::load(Some(Path::new("/dev/null")), [], &flags).unwrap()
}

impl<E: Engine> TestApp<E> {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::resolving(settings, Arc::new(SystemResolver::new())).await
    }

    /// The service with another way to resolve names.
    pub(crate) async fn resolving(settings: &[(&str, &str)], resolver: Arc<dyn Resolve>) -> Self {
        let database = E::database().await;
        let config = config(&database, settings);
        let app = App::build_with_resolver(config, Role::All, resolver).await.unwrap();
        let (public_addr, internal_addr) = (app.public_addr().unwrap(), app.internal_addr().unwrap());
        let foundation = app.foundation().clone();
        let service = foundation.key_issuer(Author::service()).issue_service_key("tests").await.unwrap();
        let merchant = merchant_key(&foundation, "m_1", false).await;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let running = tokio::spawn(app.run(async move { stopped.cancelled().await }));
        Self {
            public: Caller::new(public_addr, &merchant),
            internal: Caller::new(internal_addr, service.secret.expose_secret()),
            public_addr,
            internal_addr,
            foundation,
            stop,
            running,
            database,
            engine: PhantomData,
        }
    }

    /// A caller with a key of another merchant or mode.
    pub(crate) async fn merchant(&self, merchant: &str, livemode: bool) -> Caller {
        Caller::new(self.public_addr, &merchant_key(&self.foundation, merchant, livemode).await)
    }

    /// Makes a portal session of a merchant's test data, with its link.
    pub(crate) async fn portal_session(&self, merchant: &str, access: &str) -> Value {
        let wanted = json!({ "merchant_id": merchant, "livemode": false, "access": access });
        self.internal.post("/v1/portal_sessions", wanted).await.expect(201)
    }

    /// Registers an endpoint and answers its JSON, secret included.
    pub(crate) async fn endpoint(&self, url: &str) -> Value {
        self.public.post("/v1/webhook_endpoints", json!({ "url": url })).await.expect(201)
    }

    pub(crate) async fn publish(&self, event: Value) -> Value {
        self.internal.post("/v1/events", event).await.expect(201)
    }

    /// Moves the clock on; answers how many attempts were made.
    pub(crate) async fn advance(&self, by: &str) -> u64 {
        let answer = self.internal.post("/v1/test_clock/advance", json!({ "by": by })).await;
        answer.expect(200)["attempts"].as_u64().unwrap()
    }

    /// The only delivery of an event, with its attempts.
    pub(crate) async fn delivery_of(&self, event: &Value) -> Value {
        let list = self.public.get(&format!("/v1/events/{}/deliveries", id(event))).await.expect(200);
        assert_eq!(list["data"].as_array().unwrap().len(), 1, "{list}");
        self.public.get(&format!("/v1/deliveries/{}", id(&list["data"][0]))).await.expect(200)
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.running).await.unwrap().unwrap();
    }
}

/// Stopped or not, it must not have printed a secret.
impl<E> Drop for TestApp<E> {
    fn drop(&mut self) {
        WATCH.check();
    }
}

async fn merchant_key(foundation: &Foundation, merchant: &str, livemode: bool) -> String {
    let tenant = Tenant { merchant_id: merchant.parse().unwrap(), livemode };
    let issued = foundation.key_issuer(Author::service()).issue_merchant_key(tenant).await.unwrap();
    issued.secret.expose_secret().to_owned()
}

/// The token in the link of a new portal session.
pub(crate) fn token_of(session: &Value) -> &str {
    session["url"].as_str().unwrap().split_once('#').unwrap().1
}

/// The name and the value of the cookie that an answer sets.
pub(crate) fn cookie_of(answer: &Answer) -> &str {
    answer.header("set-cookie").unwrap().split(';').next().unwrap()
}

pub(crate) fn id(object: &Value) -> &str {
    object["id"].as_str().unwrap_or_else(|| panic!("no id: {object}"))
}

/// A charge that succeeded, for the test data of merchant `m_1`.
pub(crate) fn charge() -> Value {
    json!({
        "merchant_id": "m_1", "livemode": false, "type": "charge.succeeded",
        "data": { "object": { "id": "ch_1", "object": "charge", "amount": 4999 } },
    })
}
