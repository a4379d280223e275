//! The transport against real sockets on this machine: what it sends, what it keeps, and every way an exchange can end.

mod hostile;
mod outbound;
mod proxy;
mod support;
mod tls;

use std::{convert::Infallible, future::ready, net::SocketAddr, sync::Arc};

use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpSocket},
    sync::oneshot,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use support::{
    Act, Authority, BODY_MAX, PATIENT, Receiver, SHORT, Silence, answer, hasty, names, patient, post,
    request, rules, settings, transport,
};

const OK: &str = "HTTP/1.1 200 OK\ncontent-length: 2\n\nok";

/// The code and message of an exchange that must have failed.
fn failure(exchange: &Exchange) -> (FailureCode, &str) {
    let failure = exchange.result.as_ref().expect_err("a failure");
    (failure.code, &failure.message)
}

/// An address of this machine that nothing listens on. It stays bound, so that nobody else comes to listen there.
fn refused() -> SocketAddr {
    let socket = Box::leak(Box::new(TcpSocket::new_v4().unwrap()));
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.local_addr().unwrap()
}

#[tokio::test]
async fn a_request_is_a_post_with_the_name_as_its_host() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sent, received) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        sent.send(request(&mut stream).await).unwrap();
        stream.write_all(answer(OK).as_bytes()).await.unwrap();
    });
    let exchange = post(&patient(), format!("http://receiver.test:{}/a?b=c", address.port())).await;
    assert_eq!(exchange.address, Some(address));
    assert_eq!(exchange.result.unwrap().status, 200);
    let request = received.await.unwrap().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{head}");
    for line in [
        format!("host: receiver.test:{}", address.port()),
        "content-type: application/json".to_owned(),
        "content-length: 7".to_owned(),
    ] {
        assert!(head.lines().any(|found| found.eq_ignore_ascii_case(&line)), "{line} in {head}");
    }
    assert_eq!(body, "{\"a\":1}");
}

#[tokio::test]
async fn a_connection_is_used_again_and_still_tells_its_address() {
    let receiver = Receiver::start(Act::Keep(answer(OK))).await;
    let transport = patient();
    for _ in 0..3 {
        let exchange = post(&transport, receiver.url()).await;
        assert_eq!(exchange.address, Some(receiver.address));
        assert_eq!(exchange.result.unwrap().body, "ok");
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_response_is_told_whatever_its_status_and_a_redirect_is_not_followed() {
    let elsewhere = Receiver::start(Act::Keep(answer(OK))).await;
    for (head, status, retry_after) in [
        ("204 No Content\n", 204, None),
        ("302 Found\nlocation: ELSEWHERE\nset-cookie: a=b\n", 302, None),
        ("308 Permanent Redirect\nlocation: ELSEWHERE\n", 308, None),
        ("429 Too Many Requests\nretry-after: 120\n", 429, Some("120")),
        (
            "503 Unavailable\nretry-after: Wed, 21 Oct 2026 07:28:00 GMT\n",
            503,
            Some("Wed, 21 Oct 2026 07:28:00 GMT"),
        ),
    ] {
        let length = if status == 204 { "" } else { "content-length: 0\n" };
        let text = format!("HTTP/1.1 {head}{length}\n").replace("ELSEWHERE", &elsewhere.url());
        let receiver = Receiver::start(Act::Close(answer(&text))).await;
        let response = post(&patient(), receiver.url()).await.result.unwrap();
        assert_eq!((response.status, response.retry_after.as_deref()), (status, retry_after));
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn no_more_of_a_body_is_read_than_the_cap() {
    for (head, length) in
        [("HTTP/1.1 200 OK\n\n", BODY_MAX), ("HTTP/1.1 200 OK\ncontent-length: 99999999\n\n", BODY_MAX)]
    {
        let receiver = Receiver::start(Act::Endless(answer(head))).await;
        let transport = patient();
        for connections in 1..=2 {
            let response = post(&transport, receiver.url()).await.result.unwrap();
            assert_eq!((response.status, response.body.len()), (200, length));
            assert_eq!(receiver.connections(), connections, "what is left unread costs the connection");
        }
    }
    let cap = format!("HTTP/1.1 200 OK\ncontent-length: {BODY_MAX}\n\n{}", "x".repeat(BODY_MAX));
    let receiver = Receiver::start(Act::Keep(answer(&cap))).await;
    assert_eq!(post(&patient(), receiver.url()).await.result.unwrap().body.len(), BODY_MAX);
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_failure() {
    let many = format!("HTTP/1.1 200 OK\n{}\n", "x-a: b\n".repeat(200));
    let long = format!("HTTP/1.1 200 OK\nx-long: {}\n\n", "x".repeat(500 * 1024));
    for text in [
        "SSH-2.0-OpenSSH_9.7\n\n",
        "\u{1}\u{2}\u{3}\n\n",
        "HTTP/1.1 abc OK\n\n",
        "HTTP/1.1 200 OK\nno colon here\n\n",
        "HTTP/1.1 200 OK\ncontent-length: many\n\n",
        "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\nzz\nhello\n0\n\n",
        "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\nffffffffffffffffff\n",
        &many,
        &long,
    ] {
        let receiver = Receiver::start(Act::Hang(answer(text))).await;
        let exchange = post(&patient(), receiver.url()).await;
        let (code, message) = failure(&exchange);
        let start: String = text.chars().take(60).collect();
        assert_eq!(code, FailureCode::Protocol, "{start:?}: {message}");
        assert_eq!(exchange.address, Some(receiver.address), "{start:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_connection_failure() {
    let half = "HTTP/1.1 200 OK\ncontent-length: 100\n\nhalf";
    for (what, act) in [
        ("closed before an answer", Act::Close(String::new())),
        ("half-closed before an answer", Act::HalfClose),
        ("reset before an answer", Act::Reset(String::new())),
        ("closed in the head", Act::Close(answer("HTTP/1.1 200 OK\nconte"))),
        ("closed in the body", Act::Close(answer(half))),
        ("reset in the body", Act::Reset(answer(half))),
        ("closed in a chunk", Act::Close(answer("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n9\nhalf"))),
        (
            "closed between chunks",
            Act::Close(answer("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n4\nhalf\n")),
        ),
    ] {
        let receiver = Receiver::start(act).await;
        let exchange = post(&patient(), receiver.url()).await;
        let (code, message) = failure(&exchange);
        assert_eq!(code, FailureCode::Connection, "{what}: {message}");
        assert!(message.starts_with("the connection was "), "{what}: {message}");
        assert_eq!(exchange.address, Some(receiver.address), "{what}");
    }
}

#[tokio::test]
async fn a_refused_connection_tells_the_address() {
    let address = refused();
    let exchange = post(&patient(), format!("http://{address}/")).await;
    let message = format!("cannot connect to {address}: connection refused");
    assert_eq!(failure(&exchange), (FailureCode::Connection, message.as_str()));
    assert_eq!(exchange.address, Some(address));
}

#[tokio::test]
async fn addresses_are_tried_in_order_until_one_connects() {
    let receiver = Receiver::start(Act::Keep(answer(OK))).await;
    let mut settings = settings(SHORT * 20);
    let addresses = AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    settings.rules = Arc::new(CallRules { addresses, ..rules() });
    let resolver = names(&[("receiver.test", &["127.0.0.9", "127.0.0.1", "127.0.0.8"])]);
    let transport = HyperTransport::new(settings, resolver).unwrap();
    let exchange = post(&transport, format!("http://receiver.test:{}/", receiver.address.port())).await;
    assert_eq!(exchange.address, Some(receiver.address));
    assert_eq!(exchange.result.unwrap().status, 200);
}

#[tokio::test]
async fn a_deadline_that_passes_tells_in_which_phase() {
    let receiver = Receiver::start(Act::Hang(String::new())).await;
    let drip = Receiver::start(Act::Drip(answer("HTTP/1.1 200 OK\ncontent-length: 4000\n\n"))).await;
    let slow_head = Receiver::start(Act::Drip(answer("HTTP/1.1 200 OK\nx-slow: "))).await;
    let at = Some;
    for (url, address, message) in [
        (receiver.url(), at(receiver.address), "no response within 200ms".to_owned()),
        (slow_head.url(), at(slow_head.address), "no response within 200ms".to_owned()),
        (drip.url(), at(drip.address), "the response was not complete within 200ms".to_owned()),
        (
            format!("https://{}/", receiver.address),
            at(receiver.address),
            format!("no TLS session with {} within 200ms", receiver.address),
        ),
    ] {
        let exchange = post(&hasty(), url).await;
        assert_eq!(failure(&exchange), (FailureCode::Timeout, message.as_str()));
        assert_eq!(exchange.address, address, "{message}");
        assert!(exchange.duration >= SHORT);
    }
    let silent = HyperTransport::new(settings(SHORT), Arc::new(Silence)).unwrap();
    let exchange = post(&silent, "http://receiver.test/").await;
    assert_eq!(
        failure(&exchange),
        (FailureCode::Timeout, "the name receiver.test was not resolved within 200ms")
    );
    assert_eq!(exchange.address, None);
}

#[tokio::test]
async fn a_connect_that_hangs_ends_at_its_own_timeout() {
    // A full accept queue drops what asks to join it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(SHORT, tokio::net::TcpStream::connect(address)).await {
        queued.push(stream);
    }
    let mut settings = settings(SHORT * 100);
    settings.connect_timeout = SHORT;
    let exchange = post(&transport(settings), format!("http://{address}/")).await;
    let message = format!("cannot connect to {address} within 200ms");
    assert_eq!(failure(&exchange), (FailureCode::Timeout, message.as_str()));
    assert_eq!(exchange.address, Some(address));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_dns_failure() {
    let resolver = names(&[("empty.test", &[])]);
    let transport = HyperTransport::new(settings(SHORT), resolver).unwrap();
    for (url, message) in [
        ("http://nothing.test/", "nothing.test does not resolve: there is no such name"),
        ("http://empty.test/", "empty.test has no address"),
    ] {
        let exchange = post(&transport, url).await;
        assert_eq!(failure(&exchange), (FailureCode::Dns, message));
        assert_eq!(exchange.address, None);
    }
}

#[tokio::test]
async fn one_forbidden_address_refuses_the_name_and_nothing_is_called() {
    let receiver = Receiver::start(Act::Keep(answer(OK))).await;
    let resolver = names(&[
        ("mixed.test", &["127.0.0.1", "10.0.0.5"]),
        ("rebound.test", &["169.254.169.254"]),
        ("mapped.test", &["::ffff:10.0.0.5"]),
    ]);
    let transport = HyperTransport::new(settings(SHORT), resolver).unwrap();
    let port = receiver.address.port();
    for (url, message) in [
        (
            format!("http://mixed.test:{port}/"),
            "mixed.test resolved to 10.0.0.5, which is a private address (RFC 1918)",
        ),
        (
            "http://rebound.test/".to_owned(),
            "rebound.test resolved to 169.254.169.254, which is a cloud metadata service",
        ),
        (
            "http://mapped.test/".to_owned(),
            "mapped.test resolved to ::ffff:10.0.0.5, which is a private address (RFC 1918)",
        ),
        ("http://10.0.0.5/".to_owned(), "10.0.0.5 is a private address (RFC 1918)"),
        ("http://0xa000005/".to_owned(), "10.0.0.5 is a private address (RFC 1918)"),
        ("http://[::1]/".to_owned(), "::1 is a loopback address (RFC 4291)"),
        ("http://127.0.0.2/".to_owned(), "127.0.0.2 is a loopback address (RFC 1122)"),
    ] {
        let exchange = post(&transport, &url).await;
        assert_eq!(failure(&exchange), (FailureCode::AddressForbidden, message), "{url}");
        assert_eq!(exchange.address, None);
    }
    assert_eq!(receiver.connections(), 0);
}

/// Serves HTTP of whichever version the client picks, over TLS; the body of its answers is the version.
async fn tls_receiver(acceptor: TlsAcceptor) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
                    let version = Bytes::from(format!("{:?}", request.version()));
                    ready(Ok::<_, Infallible>(hyper::Response::new(Full::new(version))))
                });
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// Sends to a TLS receiver on this machine as `receiver.test`.
async fn post_tls(roots: Option<&Authority>, address: SocketAddr) -> Exchange {
    let mut settings = settings(PATIENT);
    settings.extra_root_certificates = roots.map(Authority::roots);
    post(&transport(settings), format!("https://receiver.test:{}/", address.port())).await
}

#[tokio::test]
async fn a_certificate_of_an_extra_root_is_trusted_over_http_1_and_2() {
    let authority = Authority::new("ours");
    for (protocols, version) in
        [(&[][..], "HTTP/1.1"), (&["http/1.1"][..], "HTTP/1.1"), (&["h2", "http/1.1"][..], "HTTP/2.0")]
    {
        let address = tls_receiver(authority.acceptor("receiver.test", protocols)).await;
        let mut settings = settings(PATIENT);
        settings.extra_root_certificates = Some(authority.roots());
        let transport = transport(settings);
        for _ in 0..2 {
            let exchange = post(&transport, format!("https://receiver.test:{}/", address.port())).await;
            assert_eq!(exchange.address, Some(address));
            assert_eq!(exchange.result.unwrap().body, version);
        }
    }
}

#[tokio::test]
async fn an_untrusted_certificate_is_a_tls_failure() {
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    for (roots, name, message) in [
        (
            None,
            "receiver.test",
            "the certificate is not trusted: its issuer is unknown, or the chain is incomplete (UnknownIssuer)",
        ),
        (
            Some(&other),
            "receiver.test",
            "the certificate is not trusted: its issuer is unknown, or the chain is incomplete (UnknownIssuer)",
        ),
        (
            Some(&authority),
            "other.test",
            "the certificate is not trusted: it is for another name (NotValidForName)",
        ),
    ] {
        let address = tls_receiver(authority.acceptor(name, &[])).await;
        let exchange = post_tls(roots, address).await;
        assert_eq!(failure(&exchange), (FailureCode::Tls, message));
        assert_eq!(exchange.address, Some(address));
    }
}

#[tokio::test]
async fn a_receiver_that_does_not_speak_tls_is_a_tls_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // What the client goes on to say is read, so that closing does not reset what it is to read.
        let _ = request(&mut stream).await;
    });
    let exchange = post_tls(None, address).await;
    let (code, message) = failure(&exchange);
    assert_eq!(code, FailureCode::Tls, "{message}");
    assert_eq!(exchange.address, Some(address));
}

#[tokio::test]
async fn a_connection_closed_in_the_tls_handshake_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = request(&mut stream).await;
    });
    let exchange = post_tls(None, address).await;
    assert_eq!(
        failure(&exchange),
        (FailureCode::Connection, "the connection was closed in the TLS handshake")
    );
    assert_eq!(exchange.address, Some(address));
}

#[test]
fn roots_that_cannot_be_read_are_told_at_the_start() {
    let mut settings = settings(SHORT);
    settings.extra_root_certificates = Some("/nowhere/roots.pem".into());
    let error = HyperTransport::new(settings, names(&[])).err().unwrap().to_string();
    assert!(error.contains("/nowhere/roots.pem"), "{error}");
}

#[test]
fn a_file_of_roots_without_a_certificate_is_told_at_the_start() {
    let mut settings = settings(SHORT);
    let file = tempfile::NamedTempFile::new().unwrap();
    settings.extra_root_certificates = Some(file.path().to_owned());
    let error = HyperTransport::new(settings, names(&[])).err().unwrap().to_string();
    assert!(error.ends_with("has no certificate in it"), "{error}");
}

#[test]
fn a_message_is_cut_and_shows_nothing_that_would_not_be_shown_as_it_stands() {
    let hostile = format!("a\0b\r\n\u{1b}[31m\u{202e}\u{2066}\u{2028}{}", "é".repeat(1000));
    let message = Failure::new(FailureCode::Protocol, hostile).message;
    assert_eq!(message.chars().count(), 300);
    assert!(
        message.starts_with("a\u{fffd}b\u{fffd}\u{fffd}\u{fffd}[31m\u{fffd}\u{fffd}\u{fffd}é"),
        "{message}"
    );
    assert!(message.ends_with("é…"), "{message}");
    assert_eq!(Failure::new(FailureCode::Protocol, "x".repeat(300)).message, "x".repeat(300));
}

#[test]
fn failure_codes_are_read_back() {
    for code in FailureCode::ALL {
        assert_eq!(code.as_str().parse(), Ok(*code));
    }
    assert!("refused".parse::<FailureCode>().is_err());
}
