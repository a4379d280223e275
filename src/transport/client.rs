//! The HTTP client: hyper with pooled connections, one deadline over everything, a cap while reading.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Extensions, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{CaptureConnection, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout_at;

use super::{
    AttemptRequest, CallRules, Exchange, Failure, Proxy, Resolve, Response, ResponseHeaders, Transport,
    check::{Checker, Found},
    connect::{Connector, PROGRESS, Phase, Progress},
    connection::{ConnectionLimits, ConnectionState, Connections},
    lookup::Lookups,
    tls::tls_config,
};
use crate::{endpoint_url::EndpointUrl, headers::USER_AGENT};

/// No connection is kept for longer while nothing is sent on it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Idle HTTP/2 connections are pinged, or a dead one would be used again.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// What a response's head may hold. Over HTTP/1 the first is a bound on the buffer, which may overshoot it twofold.
const HEAD_BYTES_MAX: u32 = 64 * 1024;
const HEADERS_MAX: usize = 100;

/// What an HTTP/2 peer may send ahead of what is read: little, for bodies are cut after a few kilobytes.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// How the transport is bounded.
#[derive(Debug)]
pub struct TransportSettings {
    /// One exchange, from resolving to the last byte of the response.
    pub timeout: Duration,
    /// One TCP connect.
    pub connect_timeout: Duration,
    /// Bytes of a response's body that are read.
    pub response_body_max: usize,
    /// What connects instead of this process, if anything.
    pub proxy: Option<Proxy>,
    /// What may be called.
    pub rules: Arc<CallRules>,
    /// Connections kept open to one host.
    pub idle_connections_per_host: usize,
    /// What bounds the connections to all hosts.
    pub connections: ConnectionLimits,
    /// A PEM file with roots that are trusted besides the system's.
    pub extra_root_certificates: Option<PathBuf>,
}

/// Why a transport cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The extra roots cannot be read.
    #[error("security.extra_root_certificates: cannot read {path}: {error}")]
    Roots {
        /// The file.
        path: PathBuf,
        /// Why.
        error: rustls::pki_types::pem::Error,
    },
    /// The file of extra roots has none, so that what it is for would not be trusted.
    #[error("security.extra_root_certificates: {path} has no certificate in it")]
    NoRoots {
        /// The file.
        path: PathBuf,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The transport on hyper.
pub struct HyperTransport {
    client: Client<HttpsConnector<Connector>, Full<Bytes>>,
    checker: Checker,
    timeout: Duration,
    response_body_max: usize,
}

impl HyperTransport {
    /// A transport that resolves names with `resolver`.
    pub fn new(settings: TransportSettings, resolver: Arc<dyn Resolve>) -> Result<Self, TransportError> {
        let TransportSettings { timeout, connect_timeout, response_body_max, rules, .. } = settings;
        let connections = Connections {
            limits: settings.connections,
            end: timeout.saturating_mul(2).saturating_add(settings.connections.age + IDLE_TIMEOUT),
            open: Arc::default(),
        };
        // An answer serves for no longer than a connection that it led to.
        let lookups = Lookups::new(resolver, connect_timeout, settings.connections.age);
        let checker = Checker { rules, lookups: settings.proxy.is_none().then_some(lookups) };
        let connector = Connector { connect_timeout, proxy: settings.proxy.map(Arc::new), connections };
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(settings.extra_root_certificates.as_deref())?)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(settings.idle_connections_per_host)
            .timer(TokioTimer::new())
            .http1_max_buf_size(HEAD_BYTES_MAX as usize)
            .http1_max_headers(HEADERS_MAX)
            .http2_max_header_list_size(HEAD_BYTES_MAX)
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_while_idle(true)
            .build(https);
        Ok(Self { client, checker, timeout, response_body_max })
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        call: &Call,
        deadline: tokio::time::Instant,
    ) -> Result<Response, Failure> {
        let response = timeout_at(deadline, self.client.request(request))
            .await
            .map_err(|_| call.late(self.timeout))?
            .map_err(|error| Failure::of(&error, call.phase()))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        let headers = ResponseHeaders::of(response.headers());
        let body = timeout_at(deadline, self.read(response.into_body()))
            .await
            .map_err(|_| Failure::timeout("the response was not complete", self.timeout))?
            .map_err(|error| Failure::of(&error, call.phase()))?;
        Ok(Response { status, retry_after, headers, body })
    }

    /// Reads up to the cap and no further; what is left unread costs the connection.
    async fn read(&self, mut body: Incoming) -> Result<Bytes, hyper::Error> {
        let mut read = BytesMut::new();
        while read.len() < self.response_body_max {
            let Some(frame) = body.frame().await.transpose()? else { break };
            if let Some(data) = frame.data_ref() {
                let room = self.response_body_max - read.len();
                read.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
        Ok(read.freeze())
    }

    /// Asks an endpoint for nothing, by the way that attempts go: whether it can be called.
    pub async fn reach(&self, url: &EndpointUrl) -> Exchange {
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::HEAD;
        *request.uri_mut() = url.uri().clone();
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        self.call(request).await
    }

    /// Makes one exchange, if the address may be called.
    async fn call(&self, mut request: Request<Full<Bytes>>) -> Exchange {
        let started = Instant::now();
        let deadline = tokio::time::Instant::now() + self.timeout;
        let refused = |failure| Exchange { duration: started.elapsed(), address: None, result: Err(failure) };
        let found = match timeout_at(deadline, self.checker.check(request.uri())).await {
            Ok(Ok(found)) => found,
            Ok(Err(failure)) => return refused(failure),
            Err(_) => {
                let host = request.uri().host().unwrap_or_default();
                return refused(Failure::timeout(&format!("the name {host} was not resolved"), self.timeout));
            }
        };
        let call =
            Call { progress: Arc::new(Progress::new(found)), connection: capture_connection(&mut request) };
        let exchange = PROGRESS.scope(Arc::clone(&call.progress), self.exchange(request, &call, deadline));
        let result = exchange.await;
        call.finish();
        Exchange { duration: started.elapsed(), address: call.phase().address(), result }
    }
}

#[async_trait]
impl Transport for HyperTransport {
    async fn send(&self, request: AttemptRequest) -> Exchange {
        let mut http_request = Request::new(Full::new(request.body));
        *http_request.method_mut() = Method::POST;
        *http_request.uri_mut() = request.url.uri().clone();
        *http_request.headers_mut() = request.headers;
        self.call(http_request).await
    }
}

/// What is known of an exchange while it runs.
struct Call {
    progress: Arc<Progress>,
    connection: CaptureConnection,
}

impl Call {
    /// What is known of the connection in use, new or kept.
    fn state(&self) -> Option<ConnectionState> {
        let mut extensions = Extensions::new();
        self.connection.connection_metadata().as_ref()?.get_extras(&mut extensions);
        extensions.remove()
    }

    /// The connection in use says more than the one that may have been opened for this exchange.
    fn phase(&self) -> Phase {
        self.state().map_or_else(|| self.progress.phase(), |state| Phase::Exchange(state.address))
    }

    /// Why the deadline passed before the head of the response had come.
    fn late(&self, timeout: Duration) -> Failure {
        match (&self.progress.found, self.phase()) {
            (Found::Unresolved(unresolved), Phase::Waiting) => unresolved.clone(),
            (_, phase) => Failure::late(phase, timeout),
        }
    }

    /// The exchange is over. A connection that is too old is left to those that still use it.
    fn finish(&self) {
        if self.state().is_some_and(|state| !state.exchanged())
            && let Some(connected) = self.connection.connection_metadata().as_ref()
        {
            connected.poison();
        }
    }
}
