//! TLS of the listeners, where no proxy in front speaks it for them. Certificates are renewed by writing them where they are:
//! the files are looked at while the service runs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::{Accept, TlsAcceptor};
use zeroize::Zeroizing;

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum ListenerTlsError {
    /// A file cannot be read, or holds something else.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: pem::Error,
    },
    /// The key does not belong to the certificate, or cannot be used.
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, with a certificate and its chain, and its key, from PEM files.
#[derive(Clone)]
pub struct ListenerTls {
    acceptor: TlsAcceptor,
    files: Arc<Files>,
    current: Arc<Current>,
}

impl ListenerTls {
    /// Reads the files.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, ListenerTlsError> {
        let files =
            Files { certificate: certificate.to_owned(), key: key.to_owned(), seen: Mutex::default() };
        let content = files.read()?;
        let current = Arc::new(Current(RwLock::new(content.certified()?)));
        files.remember(Some(content.digest()));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), files: Arc::new(files), current })
    }

    pub(super) fn accept(&self, stream: TcpStream) -> Accept<TcpStream> {
        self.acceptor.accept(stream)
    }

    /// Takes what the files hold, if that has changed. What cannot be used is logged, once, and changes nothing: half of a
    /// renewal may be written.
    pub(super) async fn look_again(&self) {
        let this = self.clone();
        // Reading files may block.
        let looked = tokio::task::spawn_blocking(move || this.take_what_is_new());
        match looked.await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => {
                tracing::info!(file = %self.files.certificate.display(), "a new certificate is in use");
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the new certificate is not used; the one before it is");
            }
            Err(error) => tracing::error!(%error, "the certificate could not be looked at"),
        }
    }

    /// Answers whether there was something.
    fn take_what_is_new(&self) -> Result<bool, ListenerTlsError> {
        let content = match self.files.read() {
            Ok(content) => content,
            Err(error) => return if self.files.remember(None) { Err(error) } else { Ok(false) },
        };
        if !self.files.remember(Some(content.digest())) {
            return Ok(false);
        }
        let certified = content.certified()?;
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(true)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The certificate that clients are shown.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Where a certificate and its key lie.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// The digest of what was there when it was last looked, none where it could not be read.
    seen: Mutex<Option<[u8; 32]>>,
}

impl Files {
    fn read(&self) -> Result<Content<'_>, ListenerTlsError> {
        let bytes = |path: &Path| {
            let unreadable = |error: io::Error| unusable(path, pem::Error::Io(error));
            fs::read(path).map(Zeroizing::new).map_err(unreadable)
        };
        Ok(Content { files: self, certificate: bytes(&self.certificate)?, key: bytes(&self.key)? })
    }

    /// Remembers what was found, and answers whether it is something else than before.
    fn remember(&self, digest: Option<[u8; 32]>) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *seen, digest) != digest
    }
}

struct Content<'f> {
    files: &'f Files,
    certificate: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
}

impl Content<'_> {
    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(Sha256::digest(&self.certificate));
        hash.update(Sha256::digest(&self.key));
        hash.finalize().into()
    }

    fn certified(&self) -> Result<Arc<CertifiedKey>, ListenerTlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(|error| unusable(&self.files.certificate, error))?;
        if chain.is_empty() {
            return Err(unusable(&self.files.certificate, pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key);
        let key = key.map_err(|error| unusable(&self.files.key, error))?;
        Ok(Arc::new(CertifiedKey::from_der(chain, key, &provider())?))
    }
}

fn unusable(path: &Path, error: pem::Error) -> ListenerTlsError {
    ListenerTlsError::File { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{Router, routing::get};
    use rcgen::generate_simple_self_signed;
    use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        task::JoinHandle,
    };
    use tokio_rustls::{TlsConnector, client::TlsStream};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::http::{Deadlines, Serving, serve};

    struct Server {
        address: std::net::SocketAddr,
        certificate: CertificateDer<'static>,
        tls: ListenerTls,
        stop: CancellationToken,
        serving: JoinHandle<()>,
        folder: tempfile::TempDir,
    }

    impl Server {
        async fn start(handshake: Duration) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
            let certificate = write(&chain, &key);
            let tls = ListenerTls::read(&chain, &key).unwrap();
            let serving = Serving {
                tls: Some(tls.clone()),
                deadlines: Deadlines { handshake, ..Deadlines::default() },
                grace: Duration::from_secs(60),
                ..Serving::default()
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let router = Router::new().route("/", get(async || "fine"));
            let stop = CancellationToken::new();
            let serving = tokio::spawn(serve(listener, router, stop.clone(), serving));
            Self { address, certificate, tls, stop, serving, folder }
        }

        async fn connect(&self, version: &'static rustls::SupportedProtocolVersion) -> TlsStream<TcpStream> {
            self.connect_trusting(&self.certificate, version).await.unwrap()
        }

        async fn connect_trusting(
            &self,
            certificate: &CertificateDer<'static>,
            version: &'static rustls::SupportedProtocolVersion,
        ) -> io::Result<TlsStream<TcpStream>> {
            let mut roots = RootCertStore::empty();
            roots.add(certificate.clone()).unwrap();
            let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            let stream = TcpStream::connect(self.address).await.unwrap();
            let name = ServerName::try_from("service.test").unwrap();
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        }

        async fn shows(&self, certificate: &CertificateDer<'static>) -> bool {
            self.connect_trusting(certificate, &rustls::version::TLS13).await.is_ok()
        }
    }

    /// A new certificate for `service.test`, and its key.
    fn write(chain: &Path, key: &Path) -> CertificateDer<'static> {
        let made = generate_simple_self_signed(["service.test".to_owned()]).unwrap();
        fs::write(chain, made.cert.pem()).unwrap();
        fs::write(key, made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_taken_from_its_files_and_a_broken_one_is_not() {
        let server = Server::start(Duration::from_secs(60)).await;
        let (chain, key) = (server.folder.path().join("chain.pem"), server.folder.path().join("key.pem"));
        let renewed = write(&chain, &key);
        assert!(server.shows(&server.certificate).await, "nobody has looked yet");
        server.tls.look_again().await;
        assert!(server.shows(&renewed).await && !server.shows(&server.certificate).await);

        let half = server.folder.path().join("half.pem");
        let break_it = |way: &str| match way {
            "another key's" => drop(write(&chain, &half)),
            "no certificate" => fs::write(&chain, "").unwrap(),
            _ => fs::remove_file(&key).unwrap(),
        };
        for way in ["another key's", "no certificate", "no key"] {
            break_it(way);
            assert!(server.tls.take_what_is_new().is_err(), "{way}");
            assert!(!server.tls.take_what_is_new().unwrap(), "it is said once");
            assert!(server.shows(&renewed).await);
        }
        let mended = write(&chain, &key);
        server.tls.look_again().await;
        assert!(server.shows(&mended).await);
    }

    #[tokio::test]
    async fn a_handshake_under_way_does_not_hold_up_the_stop() {
        let server = Server::start(Duration::from_secs(60)).await;
        let mut silent = TcpStream::connect(server.address).await.unwrap();
        silent.write_all(b"\x16\x03\x01").await.unwrap();
        // Accepted in order: when this one has its session, the silent one is in its handshake.
        drop(server.connect(&rustls::version::TLS13).await);
        server.stop.cancel();
        tokio::time::timeout(Duration::from_secs(30), server.serving).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_listener_speaks_tls_1_2_and_1_3() {
        let server = Server::start(Duration::from_secs(60)).await;
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let mut stream = server.connect(version).await;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with("fine"), "{answer}");
        }
    }

    #[tokio::test]
    async fn who_never_finishes_the_handshake_or_speaks_no_tls_is_cut_off() {
        let server = Server::start(Duration::from_millis(100)).await;
        for words in [&b""[..], b"\x16\x03\x01", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(words).await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert!(!answer.starts_with(b"HTTP"));
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one.pem"), folder.path().join("other.pem"));
        let made = || generate_simple_self_signed(["service.test".to_owned()]).unwrap();
        std::fs::write(&one, made().cert.pem()).unwrap();
        std::fs::write(&other, made().signing_key.serialize_pem()).unwrap();
        let missing = ListenerTls::read(&folder.path().join("none.pem"), &other).err().unwrap().to_string();
        assert!(missing.contains("none.pem"), "{missing}");
        let swapped = ListenerTls::read(&one, &one).err().unwrap().to_string();
        assert!(swapped.contains("one.pem"), "{swapped}");
        let unrelated = ListenerTls::read(&one, &other).err().unwrap().to_string();
        assert!(unrelated.contains("cannot be used"), "{unrelated}");
    }
}
