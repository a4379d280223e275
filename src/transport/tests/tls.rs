//! TLS to receivers: each bad certificate and each server that is too old is refused, and says what is wrong with it.

use std::net::SocketAddr;

use rcgen::{BasicConstraints, CertificateParams, IsCa, date_time_ymd};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ALL_VERSIONS, ProtocolVersion, SupportedProtocolVersion,
        version::{TLS12, TLS13},
    },
};

use super::{
    super::*,
    OK, failure, post_tls,
    support::{Authority, PATIENT, acceptor, answer, post, request, self_signed, settings, transport},
    tls_receiver,
};

fn params(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}

fn between(from: i32, to: i32) -> CertificateParams {
    let mut params = params("receiver.test");
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
    params
}

#[tokio::test]
async fn each_bad_certificate_says_what_is_wrong_with_it() {
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    let mut of_an_authority = params("receiver.test");
    of_an_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for (certificate, message) in [
        (authority.certificate(&between(2020, 2021)), "it has expired (Expired)"),
        (authority.certificate(&between(2095, 2096)), "it is not valid yet (NotValidYet)"),
        (authority.certificate(&params("other.test")), "it is for another name (NotValidForName)"),
        (authority.certificate(&params("127.0.0.1")), "it is for another name (NotValidForName)"),
        (authority.certificate(&params("*.receiver.test")), "it is for another name (NotValidForName)"),
        (
            other.certificate(&params("receiver.test")),
            "its issuer is unknown, or the chain is incomplete (UnknownIssuer)",
        ),
        (self_signed(&params("receiver.test")), "it is self-signed, and no root that is trusted here"),
        (self_signed(&of_an_authority), "it is self-signed, and no root that is trusted here"),
    ] {
        for versions in [&[&TLS12][..], &[&TLS13][..]] {
            let (certificate, key) = &certificate;
            let acceptor = acceptor((certificate.clone(), key.clone_key()), versions, &["h2", "http/1.1"]);
            let address = tls_receiver(acceptor).await;
            let exchange = post_tls(Some(&authority), address).await;
            let message = format!("the certificate is not trusted: {message}");
            assert_eq!(failure(&exchange), (FailureCode::Tls, message.as_str()));
            assert_eq!(exchange.address, Some(address));
        }
    }
}

/// Answers 200 to each request, and tells the name that was asked for and the version that was spoken.
async fn recording(
    acceptor: TlsAcceptor,
) -> (SocketAddr, UnboundedReceiver<(Option<String>, ProtocolVersion)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, told) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let session = stream.get_ref().1;
            let name = session.server_name().map(str::to_owned);
            sender.send((name, session.protocol_version().unwrap())).unwrap();
            request(&mut stream).await.unwrap();
            stream.write_all(answer(OK).as_bytes()).await.unwrap();
        }
    });
    (address, told)
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_the_receiver_is_told_the_name_it_is_called_by() {
    let authority = Authority::new("ours");
    for (versions, spoken) in [
        (&[&TLS12][..], ProtocolVersion::TLSv1_2),
        (&[&TLS13][..], ProtocolVersion::TLSv1_3),
        (ALL_VERSIONS, ProtocolVersion::TLSv1_3),
    ] as [(&[&'static SupportedProtocolVersion], _); 3]
    {
        let by_name = acceptor(authority.certificate(&params("receiver.test")), versions, &[]);
        let (address, mut told) = recording(by_name).await;
        assert_eq!(post_tls(Some(&authority), address).await.result.unwrap().status, 200);
        assert_eq!(told.recv().await.unwrap(), (Some("receiver.test".to_owned()), spoken));

        // An address is no name, so none is told (RFC 6066, section 3).
        let by_address = acceptor(authority.certificate(&params("127.0.0.1")), versions, &[]);
        let (address, mut told) = recording(by_address).await;
        let mut settings = settings(PATIENT);
        settings.extra_root_certificates = Some(authority.roots());
        let exchange = post(&transport(settings), format!("https://{address}/")).await;
        assert_eq!(exchange.result.unwrap().status, 200);
        assert_eq!(told.recv().await.unwrap(), (None, spoken));
    }
}

/// A record of TLS with these bytes in it.
fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind, 3, 3][..], &length, payload].concat()
}

/// The greeting of a server that picks this version and this cipher suite.
fn server_hello(version: u8, cipher: [u8; 2]) -> Vec<u8> {
    let body = [&[3, version][..], &[7; 32], &[0], &cipher, &[0]].concat();
    record(22, &[&[2, 0, 0, u8::try_from(body.len()).unwrap()][..], &body].concat())
}

#[tokio::test]
async fn a_server_that_speaks_only_what_is_too_weak_says_so() {
    for (what, bytes, message) in [
        ("no cipher suite in common", record(21, &[2, 40]), "no TLS version and cipher suite in common"),
        ("no version in common", record(21, &[2, 70]), "no TLS version and cipher suite in common"),
        ("TLS 1.1", server_hello(2, [0xc0, 0x13]), "no TLS version and cipher suite in common"),
        ("SSL 3", server_hello(0, [0, 0x2f]), "no TLS version and cipher suite in common"),
        ("RSA key exchange", server_hello(3, [0, 0x35]), "no TLS session"),
        ("RC4", server_hello(3, [0, 5]), "no TLS session"),
        ("insufficient security", record(21, &[2, 71]), "no TLS session"),
        ("another alert", record(21, &[2, 80]), "no TLS session"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            // What the client goes on to say is read, so that closing does not reset what it is to read.
            let _ = request(&mut stream).await;
        });
        let exchange = post_tls(None, address).await;
        let (code, said) = failure(&exchange);
        assert_eq!(code, FailureCode::Tls, "{what}: {said}");
        assert!(said.starts_with(message), "{what}: {said}");
    }
}
