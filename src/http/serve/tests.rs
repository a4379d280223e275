//! Clients that hold on to connections, each beside one that is served meanwhile.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Bytes, routing::get};
use http_body::Frame;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    sync::mpsc,
};

use super::*;

/// Where a test waits for a deadline to pass.
const SHORT: Duration = Duration::from_millis(100);

/// An HTTP/2 client's first words, and its settings: none.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// `GET /endless` on stream 1 of HTTP/2, behind settings that leave no room for a body.
const ENDLESS_WITHOUT_A_WINDOW: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0\
    \0\0\x0f\x01\x05\0\0\0\x01\x82\x86\x41\x01x\x04\x08/endless";

/// A body without end that tells when it is dropped.
struct Endless(mpsc::UnboundedSender<()>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16 * 1024])))))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

struct Server {
    address: SocketAddr,
    /// Tells of each endless body that has been dropped.
    dropped: mpsc::UnboundedReceiver<()>,
}

impl Server {
    async fn start(serving: Serving) -> Self {
        let (sender, dropped) = mpsc::unbounded_channel();
        let endless = move || std::future::ready(Body::new(Endless(sender.clone())));
        let router = Router::new().route("/", get(async || "fine")).route("/endless", get(endless));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, router, CancellationToken::new(), serving));
        Self { address, dropped }
    }

    /// One whose client has as little time as possible for the thing under test, and enough for the rest.
    async fn with(change: impl FnOnce(&mut Deadlines)) -> Self {
        let patient = Duration::from_secs(60);
        let mut deadlines = Deadlines { handshake: patient, idle: patient, send: patient };
        change(&mut deadlines);
        Self::start(Serving { deadlines, ..Serving::default() }).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Another client is served.
    async fn serves_others(&self) {
        let answer = ask(self.connect().await).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
}

/// Asks for `/` and reads what comes until the other end closes; nothing if the connection is not served.
async fn ask(mut stream: TcpStream) -> String {
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    until_closed(&mut stream).await
}

async fn until_closed(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read).await;
    String::from_utf8_lossy(&read).into_owned()
}

#[tokio::test]
async fn a_client_that_connects_and_says_nothing_is_cut_off() {
    let server = Server::with(|deadlines| deadlines.idle = SHORT).await;
    let mut silent = server.connect().await;
    server.serves_others().await;
    assert_eq!(until_closed(&mut silent).await, "");
}

#[tokio::test]
async fn a_client_that_sends_half_of_http_2s_first_words_is_cut_off() {
    let server = Server::with(|deadlines| deadlines.idle = SHORT).await;
    let mut half = server.connect().await;
    half.write_all(&PREFACE[..14]).await.unwrap();
    server.serves_others().await;
    until_closed(&mut half).await;
}

#[tokio::test]
async fn an_http_2_client_that_asks_for_nothing_is_cut_off() {
    let server = Server::with(|deadlines| deadlines.idle = SHORT).await;
    let mut idle = server.connect().await;
    idle.write_all(PREFACE).await.unwrap();
    server.serves_others().await;
    until_closed(&mut idle).await;
}

#[tokio::test]
async fn a_client_that_drips_its_head_is_cut_off() {
    let server = Server::with(|deadlines| deadlines.idle = SHORT).await;
    let (mut read, mut write) = server.connect().await.into_split();
    let drip = tokio::spawn(async move {
        let mut tick = tokio::time::interval(SHORT / 10);
        while write.write_all(b"G").await.is_ok() {
            tick.tick().await;
        }
    });
    server.serves_others().await;
    let _ = read.read_to_end(&mut Vec::new()).await;
    drip.abort();
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off() {
    let mut server = Server::with(|deadlines| deadlines.send = SHORT).await;
    let mut deaf = server.connect().await;
    deaf.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    server.serves_others().await;
    server.dropped.recv().await.unwrap();
}

#[tokio::test]
async fn an_http_2_client_that_leaves_no_room_for_a_response_is_cut_off() {
    let mut server = Server::with(|deadlines| deadlines.send = SHORT).await;
    let mut deaf = server.connect().await;
    deaf.write_all(ENDLESS_WITHOUT_A_WINDOW).await.unwrap();
    server.serves_others().await;
    server.dropped.recv().await.unwrap();
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let server = Server::start(Serving { connections_per_address_max: 2, ..Serving::default() }).await;
    let mut kept = vec![server.connect().await, server.connect().await];
    for connection in &mut kept {
        connection.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        connection.readable().await.unwrap();
    }
    assert_eq!(ask(server.connect().await).await, "", "a third is not served");
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let answer = ask(other.connect(server.address).await.unwrap()).await;
    assert!(answer.contains("fine"), "another address is");
}

#[tokio::test]
async fn connections_are_bounded_and_a_place_is_free_again_when_one_ends() {
    let server = Server::start(Serving { connections_max: 1, ..Serving::default() }).await;
    let mut first = server.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    first.readable().await.unwrap();
    assert_eq!(ask(server.connect().await).await, "");
    drop(first);
    // The service notices the end when it does; until then there is no place.
    while ask(server.connect().await).await.is_empty() {}
}

#[test]
fn the_connections_of_a_proxy_are_not_one_clients() {
    let serving = Serving {
        connections_per_address_max: 1,
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        ..Serving::default()
    };
    let places = Places::default();
    let take = |address: &str| places.take(address.parse().unwrap(), &serving);
    let (_a, _b) = (take("10.0.0.1").unwrap(), take("10.0.0.1").unwrap());
    let _client = take("2001:db8:1:2::1").unwrap();
    assert!(take("2001:db8:1:2::2").is_none(), "an IPv6 client has a whole network");
    assert!(take("2001:db8:1:3::1").is_some());
}
