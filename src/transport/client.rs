//! The HTTP client: hyper with pooled connections, one deadline over everything, a cap while reading.

use std::{
    error::Error as StdError,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Extensions, Request, header};
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
use rustls::{ClientConfig, pki_types::CertificateDer, pki_types::pem::PemObject as _};
use rustls_platform_verifier::Verifier;

use super::{
    AddressPolicy, AttemptRequest, Exchange, Failure, FailureCode, Resolve, Response, Transport,
    connect::{ConnectError, Connector, PeerAddress},
};

/// No connection outlives the check of its address for longer while idle.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Idle HTTP/2 connections are pinged, or a dead one would be used again.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// What a response's head may hold.
const HEAD_BYTES_MAX: u32 = 64 * 1024;
const HEADERS_MAX: usize = 100;

/// How the transport is bounded.
#[derive(Clone, Debug)]
pub struct TransportSettings {
    /// One exchange, from resolving to the last byte of the response.
    pub timeout: Duration,
    /// One TCP connect.
    pub connect_timeout: Duration,
    /// Bytes of a response's body that are read.
    pub response_body_max: usize,
    /// What may be called.
    pub addresses: AddressPolicy,
    /// Connections kept open to one host.
    pub idle_connections_per_host: usize,
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
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The transport on hyper.
pub struct HyperTransport {
    client: Client<HttpsConnector<Connector>, Full<Bytes>>,
    timeout: Duration,
    response_body_max: usize,
}

impl HyperTransport {
    /// A transport that resolves names with `resolver`.
    pub fn new(settings: TransportSettings, resolver: Arc<dyn Resolve>) -> Result<Self, TransportError> {
        let TransportSettings { timeout, connect_timeout, response_body_max, addresses, .. } = settings;
        let connector = Connector { resolver, addresses, connect_timeout };
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
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_while_idle(true)
            .build(https);
        Ok(Self { client, timeout, response_body_max })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response, Failed> {
        let response = self.client.request(request).await.map_err(|error| Failed::of(&error))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        let body = self.read(response.into_body()).await?;
        Ok(Response { status, retry_after, body })
    }

    /// Reads up to the cap and no further; what is left unread costs the connection.
    async fn read(&self, mut body: Incoming) -> Result<Bytes, Failed> {
        let mut read = BytesMut::new();
        while read.len() < self.response_body_max {
            let Some(frame) = body.frame().await else { break };
            let frame = frame.map_err(|error| Failed::of(&error))?;
            if let Some(data) = frame.data_ref() {
                let room = self.response_body_max - read.len();
                read.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
        Ok(read.freeze())
    }

    fn timed_out(&self, connected: bool) -> Failure {
        let deadline = humantime::format_duration(self.timeout);
        let message = if connected {
            format!("no complete response within {deadline}")
        } else {
            format!("no connection within {deadline}")
        };
        Failure::new(FailureCode::Timeout, message)
    }
}

#[async_trait]
impl Transport for HyperTransport {
    async fn send(&self, request: AttemptRequest) -> Exchange {
        let started = Instant::now();
        let mut http_request = Request::post(request.url.uri().clone());
        if let Some(headers) = http_request.headers_mut() {
            *headers = request.headers;
        }
        let mut http_request = match http_request.body(Full::new(request.body)) {
            Ok(request) => request,
            Err(error) => {
                let failure =
                    Failure::new(FailureCode::Protocol, format!("the request cannot be made: {error}"));
                return Exchange { duration: started.elapsed(), address: None, result: Err(failure) };
            }
        };
        let connection = capture_connection(&mut http_request);
        let outcome = tokio::time::timeout(self.timeout, self.exchange(http_request)).await;
        let mut address = peer_address(&connection);
        let result = match outcome {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(failed)) => {
                address = failed.address.or(address);
                Err(failed.failure)
            }
            Err(_) => Err(self.timed_out(address.is_some())),
        };
        Exchange { duration: started.elapsed(), address, result }
    }
}

fn peer_address(connection: &CaptureConnection) -> Option<SocketAddr> {
    let metadata = connection.connection_metadata();
    let mut extensions = Extensions::new();
    metadata.as_ref()?.get_extras(&mut extensions);
    extensions.get::<PeerAddress>().map(|peer| peer.0)
}

/// An exchange that came to nothing.
struct Failed {
    failure: Failure,
    address: Option<SocketAddr>,
}

impl Failed {
    /// Finds, in the chain of an error's causes, the one that a merchant can act on.
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut cause = Some(error);
        let mut fallback = None;
        while let Some(error) = cause {
            if let Some(ConnectError { failure, address }) = error.downcast_ref() {
                return Self { failure: failure.clone(), address: *address };
            }
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return Self { failure: tls_failure(error), address: None };
            }
            if let Some(error) = error.downcast_ref::<hyper::Error>() {
                fallback = Some(hyper_failure(error));
            }
            if let Some(error) = error.downcast_ref::<io::Error>() {
                let malformed =
                    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput);
                fallback = Some(if malformed {
                    Failure::new(
                        FailureCode::Protocol,
                        format!("the response is not HTTP as it should be: {error}"),
                    )
                } else {
                    Failure::new(FailureCode::Connection, format!("the connection broke: {error}"))
                });
                if let Some(tls) = wrapped_tls_error(error) {
                    return Self { failure: tls_failure(tls), address: None };
                }
            }
            cause = error.source();
        }
        let failure = fallback.unwrap_or_else(|| Failure::new(FailureCode::Connection, error.to_string()));
        Self { failure, address: None }
    }
}

/// An I/O error may wrap the TLS error, or another I/O error that does, and names neither as its source.
fn wrapped_tls_error(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref().or_else(|| wrapped_tls_error(inner.downcast_ref()?))
}

fn hyper_failure(error: &hyper::Error) -> Failure {
    if error.is_parse() || error.is_parse_too_large() {
        Failure::new(FailureCode::Protocol, format!("the response is not HTTP as it should be: {error}"))
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        Failure::new(FailureCode::Connection, "the connection was closed before the response was complete")
    } else if error.is_body_write_aborted() || error.is_timeout() {
        Failure::new(FailureCode::Connection, format!("the connection broke: {error}"))
    } else {
        Failure::new(FailureCode::Protocol, format!("the response cannot be read: {error}"))
    }
}

fn tls_failure(error: &rustls::Error) -> Failure {
    use rustls::CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, UnknownIssuer,
    };
    let reason = match error {
        rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. }) => {
            "the certificate has expired".to_owned()
        }
        rustls::Error::InvalidCertificate(UnknownIssuer) => {
            "the certificate is not signed by a trusted authority, or its chain is incomplete".to_owned()
        }
        rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            "the certificate is for another name".to_owned()
        }
        other => other.to_string(),
    };
    Failure::new(FailureCode::Tls, format!("no trusted TLS session: {reason}"))
}

fn tls_config(extra_roots: Option<&Path>) -> Result<ClientConfig, TransportError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = Vec::new();
    if let Some(path) = extra_roots {
        let unreadable = |error| TransportError::Roots { path: path.to_owned(), error };
        for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
            roots.push(certificate.map_err(unreadable)?);
        }
    }
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        // The platform's own verifier, with the extra roots: nothing is left unverified.
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}
