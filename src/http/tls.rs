//! TLS of the listeners, where no proxy in front speaks it for them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio_rustls::TlsAcceptor;

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum ListenerTlsError {
    /// A file cannot be read, or holds something else.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: rustls::pki_types::pem::Error,
    },
    /// The key does not belong to the certificate, or cannot be used.
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, with a certificate and its chain, and its key, from PEM files.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, ListenerTlsError> {
    let unreadable = |path: &Path, error| ListenerTlsError::File { path: path.to_owned(), error };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|error| unreadable(certificate, error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{Router, routing::get};
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };
    use tokio_rustls::{TlsConnector, client::TlsStream};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::http::{Deadlines, Serving, serve};

    struct Server {
        address: std::net::SocketAddr,
        certificate: CertificateDer<'static>,
    }

    impl Server {
        async fn start(handshake: Duration) -> Self {
            let CertifiedKey { cert, signing_key } =
                generate_simple_self_signed(["service.test".to_owned()]).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let (certificate, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
            std::fs::write(&certificate, cert.pem()).unwrap();
            std::fs::write(&key, signing_key.serialize_pem()).unwrap();
            let serving = Serving {
                tls: Some(acceptor(&certificate, &key).unwrap()),
                deadlines: Deadlines { handshake, ..Deadlines::default() },
                ..Serving::default()
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let router = Router::new().route("/", get(async || "fine"));
            tokio::spawn(serve(listener, router, CancellationToken::new(), serving));
            Self { address, certificate: cert.der().clone() }
        }

        async fn connect(&self, version: &'static rustls::SupportedProtocolVersion) -> TlsStream<TcpStream> {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.clone()).unwrap();
            let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            let stream = TcpStream::connect(self.address).await.unwrap();
            let name = ServerName::try_from("service.test").unwrap();
            TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
        }
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
        let missing = acceptor(&folder.path().join("none.pem"), &other).err().unwrap().to_string();
        assert!(missing.contains("none.pem"), "{missing}");
        let swapped = acceptor(&one, &one).err().unwrap().to_string();
        assert!(swapped.contains("one.pem"), "{swapped}");
        let unrelated = acceptor(&one, &other).err().unwrap().to_string();
        assert!(unrelated.contains("cannot be used"), "{unrelated}");
    }
}
