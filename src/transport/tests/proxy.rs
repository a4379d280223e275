//! Calling through a forward proxy: small real ones, by CONNECT and by SOCKS5.

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

use super::{
    super::*,
    OK, failure, refused,
    support::{Act, Authority, Log, PATIENT, Receiver, SHORT, answer, post, settings},
    tls_receiver,
};

/// Must not be asked.
struct Nobody;

#[async_trait]
impl Resolve for Nobody {
    async fn resolve(&self, host: &str) -> Result<Vec<std::net::IpAddr>, String> {
        panic!("{host} is the proxy's to resolve")
    }
}

fn through(proxy: &str, settings: TransportSettings) -> HyperTransport {
    let settings = TransportSettings { proxy: Some(Proxy::parse(proxy).expect(proxy)), ..settings };
    HyperTransport::new(settings, Arc::new(Nobody)).unwrap()
}

/// A proxy by CONNECT that answers with this head and connects to `receiver` whatever is asked for. It tells the heads of
/// the requests.
async fn connect_proxy(head: &'static str, receiver: SocketAddr) -> (SocketAddr, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heads) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (sender, mut asked) = (sender.clone(), Vec::new());
            tokio::spawn(async move {
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(stream.read_u8().await.ok()?);
                }
                sender.send(String::from_utf8(asked).unwrap()).ok()?;
                stream.write_all(answer(head).as_bytes()).await.ok()?;
                let mut onward = TcpStream::connect(receiver).await.ok()?;
                copy_bidirectional(&mut stream, &mut onward).await.ok()
            });
        }
    });
    (address, heads)
}

/// A proxy by SOCKS5 that picks this method and gives this reply. It tells the credentials and the request.
async fn socks5_proxy(
    method: u8,
    reply: &'static [u8],
    receiver: SocketAddr,
) -> (SocketAddr, UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, told) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (sender, mut told) = (sender.clone(), vec![0; 512]);
            tokio::spawn(async move {
                assert_eq!(stream.read_u8().await.ok()?, 5);
                let methods = usize::from(stream.read_u8().await.ok()?);
                stream.read_exact(&mut vec![0; methods]).await.ok()?;
                stream.write_all(&[5, method]).await.ok()?;
                if method == 2 {
                    let read = stream.read(&mut told).await.ok()?;
                    sender.send(told[..read].to_vec()).ok()?;
                    stream.write_all(&[1, 0]).await.ok()?;
                }
                let read = stream.read(&mut told).await.ok()?;
                sender.send(told[..read].to_vec()).ok()?;
                stream.write_all(reply).await.ok()?;
                let mut onward = TcpStream::connect(receiver).await.ok()?;
                copy_bidirectional(&mut stream, &mut onward).await.ok()
            });
        }
    });
    (address, told)
}

const CONNECTED: &str = "HTTP/1.1 200 OK\nvia: proxy\n\n";
const GRANTED: &[u8] = &[5, 0, 0, 1, 127, 0, 0, 1, 0, 80];

#[tokio::test]
async fn a_receiver_is_called_through_a_connect_proxy_by_its_name() {
    let authority = Authority::new("ours");
    let receiver = tls_receiver(authority.acceptor("receiver.test", &["h2", "http/1.1"])).await;
    let (proxy, mut heads) = connect_proxy(CONNECTED, receiver).await;
    let mut settings = settings(PATIENT);
    settings.extra_root_certificates = Some(authority.roots());
    let transport = through(&format!("http://user:se%40me@{proxy}"), settings);
    let exchange = post(&transport, "https://receiver.test/").await;
    assert_eq!((exchange.address, exchange.result.unwrap().body.as_ref()), (None, &b"HTTP/2.0"[..]));
    assert_eq!(
        heads.recv().await.unwrap(),
        "CONNECT receiver.test:443 HTTP/1.1\r\nHost: receiver.test:443\r\n\
         Proxy-Authorization: Basic dXNlcjpzZUBtZQ==\r\n\r\n"
    );
}

#[tokio::test]
async fn http_and_addresses_go_through_the_proxy_too() {
    let receiver = Receiver::start(Act::Keep(answer(OK))).await;
    let (proxy, mut heads) = connect_proxy(CONNECTED, receiver.address).await;
    let transport = through(&format!("http://{proxy}"), settings(PATIENT));
    for (url, host) in [
        ("http://receiver.test:8080/", "receiver.test:8080"),
        ("http://[2606:4700::1111]/", "[2606:4700::1111]:80"),
        ("http://8.8.8.8/", "8.8.8.8:80"),
    ] {
        assert_eq!(post(&transport, url).await.result.unwrap().body, "ok");
        assert_eq!(heads.recv().await.unwrap(), format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
}

#[tokio::test]
async fn a_receiver_is_called_through_a_socks5_proxy_by_its_name() {
    let receiver = Receiver::start(Act::Keep(answer(OK))).await;
    let (proxy, mut told) = socks5_proxy(2, GRANTED, receiver.address).await;
    let transport = through(&format!("socks5://user:sesame@{proxy}"), settings(PATIENT));
    let exchange = post(&transport, "http://receiver.test:8080/").await;
    assert_eq!((exchange.address, exchange.result.unwrap().body.as_ref()), (None, &b"ok"[..]));
    assert_eq!(told.recv().await.unwrap(), b"\x01\x04user\x06sesame");
    assert_eq!(told.recv().await.unwrap(), b"\x05\x01\x00\x03\x0dreceiver.test\x1f\x90");

    let named = &[5, 0, 0, 3, 3, b'a', b'.', b'b', 0, 80];
    let (proxy, mut told) = socks5_proxy(0, named, receiver.address).await;
    let transport = through(&format!("socks5://{proxy}"), settings(PATIENT));
    for (url, request) in [
        ("http://8.8.8.8/", &b"\x05\x01\x00\x01\x08\x08\x08\x08\x00\x50"[..]),
        ("http://[2606:4700::11]/", b"\x05\x01\x00\x04\x26\x06\x47\0\0\0\0\0\0\0\0\0\0\0\0\x11\x00\x50"),
    ] {
        assert_eq!(post(&transport, url).await.result.unwrap().body, "ok");
        assert_eq!(told.recv().await.unwrap(), request);
    }
}

#[tokio::test]
async fn what_a_proxy_refuses_is_told_without_telling_of_the_proxy_and_the_operator_finds_it_in_the_log() {
    use FailureCode::{AddressForbidden, Connection};
    let nowhere = refused();
    let unreachable = |why: &str| (Connection, format!("no connection was made: {why}"));
    let refusal = "the network that deliveries come from does not let this address be called";
    let refusal = (AddressForbidden, refusal.to_owned());
    let ours = (Connection, "no connection was made, for a reason on the sending side".to_owned());
    let (mut cases, mut keep, mut keep_heads) = (Vec::new(), Vec::new(), Vec::new());
    for (head, told, logged) in [
        ("HTTP/1.1 403 Forbidden\n\n", refusal.clone(), "it answered 403"),
        ("HTTP/1.1 407 Who\n\n", ours.clone(), "it answered 407"),
        (
            "HTTP/1.0 502 Bad\n\n",
            unreachable("the address cannot be reached"),
            "the address cannot be reached",
        ),
        ("HTTP/1.0 503 No\n\n", ours.clone(), "it answered 503"),
        ("SSH-2.0-x\n\n", ours.clone(), "its answer is not HTTP"),
    ] {
        let (proxy, heads) = connect_proxy(head, nowhere).await;
        keep_heads.push(heads);
        cases.push((format!("http://{proxy}"), told, logged));
    }
    for (method, reply, told, logged) in [
        (0, &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0][..], refusal, "its rules do not allow it"),
        (
            0,
            &[5, 4, 0, 1, 0, 0, 0, 0, 0, 0],
            unreachable("the host is unreachable"),
            "the host is unreachable",
        ),
        (0, &[5, 1, 0, 1, 0, 0, 0, 0, 0, 0], ours.clone(), "it answered 1"),
        (0, &[4, 0, 0, 1], ours.clone(), "its answer is not SOCKS5"),
        (0xff, &[], ours.clone(), "it asks for other credentials"),
        (0, &[5, 0], ours.clone(), "unexpected end of file"),
    ] as [(u8, &'static [u8], _, _); 6]
    {
        let (proxy, asked) = socks5_proxy(method, reply, nowhere).await;
        keep.push(asked);
        cases.push((format!("socks5://user:sesame@{proxy}"), told, logged));
    }
    cases.push((format!("http://{nowhere}"), ours, "connection refused"));
    for (proxy, (code, message), logged) in cases {
        let transport = through(&proxy, settings(PATIENT));
        let log = Log::default();
        let exchange = {
            let _log = tracing::subscriber::set_default(log.clone().subscriber());
            let first = post(&transport, "http://receiver.test/").await;
            post(&transport, "http://receiver.test/").await;
            first
        };
        assert_eq!(failure(&exchange), (code, message.as_str()), "{proxy}");
        assert_eq!(exchange.address, None);
        let log = log.text();
        assert_eq!(log.lines().count(), 1, "one line a minute: {log}");
        assert!(log.contains("WARN") && log.contains(logged) && !log.contains("sesame"), "{log}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_silent_is_given_up() {
    let silent = Receiver::start(Act::Hang(String::new())).await;
    let transport = through(&format!("http://{}", silent.address), settings(SHORT));
    let exchange = post(&transport, "http://receiver.test/").await;
    assert_eq!(failure(&exchange).0, FailureCode::Timeout);
    assert!(!failure(&exchange).1.contains("127.0.0.1"));
}

#[tokio::test]
async fn schemes_ports_names_and_written_addresses_are_judged_before_the_proxy_is_asked() {
    let proxy = Receiver::start(Act::Hang(String::new())).await;
    let mut settings = settings(SHORT);
    settings.rules = Arc::new(crate::endpoint_url::tests::strict());
    let transport = through(&format!("http://{}", proxy.address), settings);
    for url in [
        "http://receiver.test/",
        "https://receiver.test:25/",
        "https://localhost/",
        "https://metadata/",
        "https://metadata.google.internal/",
        "https://169.254.169.254/",
        "https://[::ffff:10.0.0.5]/",
    ] {
        assert_eq!(failure(&post(&transport, url).await).0, FailureCode::AddressForbidden, "{url}");
    }
    assert_eq!(proxy.connections(), 0);
}

#[test]
fn a_proxy_is_read_and_never_shown() {
    for good in [
        "http://proxy",
        "http://proxy:3128/",
        "http://u:p@[::1]:80",
        "socks5://u@proxy:1080",
        "socks5://10.0.0.1",
        "http://:token@proxy",
        "http://u:p%40%3A%2F%25@proxy",
        "http://caf%C3%A9:p@proxy",
    ] {
        let proxy = Proxy::parse(good).expect(good);
        assert_eq!(format!("{proxy:?}"), "Proxy");
    }
    for bad in [
        "",
        "proxy:3128",
        "https://proxy",
        "socks4://proxy",
        "http://",
        "http://proxy/path",
        "http://u%zz@proxy",
        "http://u:100%@proxy",
        "http://u%FF:p@proxy",
        "http://u%3Av:p@proxy",
        "http://u:p%0D%0Ax@proxy",
        "socks5://:p@proxy",
        "socks5://%70roxy%20x",
        "http://proxy:0",
    ] {
        assert!(Proxy::parse(bad).is_none(), "{bad}");
    }
}
