//! Receivers on 127.0.0.1 that behave as a test tells them, and a resolver that answers from a list.

use std::{
    fmt,
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ALL_VERSIONS, ServerConfig, SupportedProtocolVersion,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};

use super::super::{
    AddressPolicy, AttemptRequest, CallRules, ConnectionLimits, Exchange, HyperTransport, Resolve,
    Transport as _, TransportSettings,
};
use crate::endpoint_url::EndpointUrl;

pub(super) const BODY_MAX: usize = 4096;

/// Long enough for a busy machine where a test does not wait for it to pass.
pub(super) const PATIENT: Duration = Duration::from_secs(20);
/// Where a test waits for the deadline.
pub(super) const SHORT: Duration = Duration::from_millis(200);

/// Names and their addresses; a name that is not in the list does not exist.
pub(super) struct Names(pub(super) Vec<(&'static str, Vec<IpAddr>)>);

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let known = self.0.iter().find(|(name, _)| *name == host);
        known.map(|(_, addresses)| addresses.clone()).ok_or_else(|| "there is no such name".to_owned())
    }
}

/// A resolver that never answers.
pub(super) struct Silence;

#[async_trait]
impl Resolve for Silence {
    async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>, String> {
        std::future::pending().await
    }
}

pub(super) fn names(list: &[(&'static str, &[&str])]) -> Arc<dyn Resolve> {
    let parse = |addresses: &[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect();
    Arc::new(Names(list.iter().map(|(name, addresses)| (*name, parse(addresses))).collect()))
}

/// Rules under which 127.0.0.1 and every port of it may be called.
pub(super) fn rules() -> CallRules {
    CallRules {
        allow_http: true,
        allow_short_names: false,
        allow_names: Vec::new(),
        addresses: AddressPolicy::new(vec!["127.0.0.1/32".parse().unwrap()]),
        ports: vec!["1-65535".parse().unwrap()],
        own: Vec::new(),
    }
}

/// Settings under which this machine may be called.
pub(super) fn settings(timeout: Duration) -> TransportSettings {
    TransportSettings {
        timeout,
        connect_timeout: timeout,
        response_body_max: BODY_MAX,
        rules: Arc::new(rules()),
        proxy: None,
        idle_connections_per_host: 4,
        connections: ConnectionLimits {
            kept_max: 100,
            age: Duration::from_secs(300),
            unasked_bytes_max: 1024 * 1024,
        },
        extra_root_certificates: None,
    }
}

/// A transport that knows `receiver.test` as this machine.
pub(super) fn transport(settings: TransportSettings) -> HyperTransport {
    HyperTransport::new(settings, names(&[("receiver.test", &["127.0.0.1"])])).unwrap()
}

pub(super) fn patient() -> HyperTransport {
    transport(settings(PATIENT))
}

pub(super) fn hasty() -> HyperTransport {
    transport(settings(SHORT))
}

pub(super) async fn post(transport: &HyperTransport, url: impl fmt::Display) -> Exchange {
    let url = EndpointUrl::from_stored(&url.to_string()).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    transport.send(AttemptRequest { url, headers, body: Bytes::from_static(b"{\"a\":1}") }).await
}

/// What a receiver does once it has read a request.
#[derive(Clone)]
pub(super) enum Act {
    /// Answers, keeps the connection and serves the next request on it.
    Keep(String),
    /// Answers and closes.
    Close(String),
    /// Answers and then says nothing more.
    Hang(String),
    /// Answers and then sends a byte from time to time.
    Drip(String),
    /// Answers and then sends without end.
    Endless(String),
    /// Answers nothing and closes its own direction alone.
    HalfClose,
    /// Answers and resets the connection.
    Reset(String),
}

pub(super) fn answer(text: &str) -> String {
    text.replace('\n', "\r\n")
}

/// A receiver, and how many connections it has taken.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
}

impl Receiver {
    pub(super) async fn start(act: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, act.clone()));
            }
        });
        Self { address, connections }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads a request whole, or answers that there is none. The tests' requests end with a brace.
pub(super) async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut read = Vec::new();
    while !read.ends_with(b"}") {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
    String::from_utf8(read).ok()
}

async fn serve(mut stream: TcpStream, act: Act) -> Option<()> {
    loop {
        request(&mut stream).await?;
        match &act {
            Act::Keep(text) => stream.write_all(text.as_bytes()).await.ok()?,
            Act::Close(text) => return stream.write_all(text.as_bytes()).await.ok(),
            Act::Hang(text) => {
                stream.write_all(text.as_bytes()).await.ok()?;
                return std::future::pending().await;
            }
            Act::Drip(text) => {
                stream.write_all(text.as_bytes()).await.ok()?;
                let mut tick = tokio::time::interval(Duration::from_millis(10));
                loop {
                    tick.tick().await;
                    stream.write_all(b"x").await.ok()?;
                }
            }
            Act::Endless(text) => {
                stream.write_all(text.as_bytes()).await.ok()?;
                loop {
                    stream.write_all(&[b'x'; 1000]).await.ok()?;
                }
            }
            Act::HalfClose => {
                stream.shutdown().await.ok()?;
                return std::future::pending().await;
            }
            Act::Reset(text) => {
                stream.write_all(text.as_bytes()).await.ok()?;
                // Closing at once, with nothing lingering, sends a reset.
                stream.set_zero_linger().ok()?;
                return None;
            }
        }
    }
}

/// What is logged, from warnings on.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn subscriber(self) -> impl tracing::Subscriber + Send + Sync {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::WARN)
            .with_writer(move || self.clone())
            .finish()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An authority of our own, as a file of roots, and certificates that it signs.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(issuer.pem().as_bytes()).unwrap();
        Self { issuer, file }
    }

    pub(super) fn roots(&self) -> PathBuf {
        self.file.path().to_owned()
    }

    /// TLS for a receiver called `name`, which speaks `protocols` (ALPN).
    pub(super) fn acceptor(&self, name: &str, protocols: &[&str]) -> TlsAcceptor {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        acceptor(self.certificate(&params), ALL_VERSIONS, protocols)
    }

    /// A certificate that this authority signs, and its key.
    pub(super) fn certificate(&self, params: &CertificateParams) -> Certified {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

pub(super) type Certified = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// A certificate that nobody signs but its own key.
pub(super) fn self_signed(params: &CertificateParams) -> Certified {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

/// TLS with this certificate, in these versions.
pub(super) fn acceptor(
    (certificate, key): Certified,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> TlsAcceptor {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}
