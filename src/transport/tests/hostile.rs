//! Receivers that attack whoever calls them: each exchange is classified, ends in time, and says little.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{
    super::*,
    OK, failure,
    support::{
        Act, Authority, BODY_MAX, PATIENT, Receiver, SHORT, answer, hasty, patient, post, request, settings,
        transport,
    },
};

const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

/// `:status: 200` in HPACK.
const STATUS_200: &[u8] = &[0x88];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header that is not indexed, or is put into the table.
fn header(indexed: bool, name: &str, value: &str) -> Vec<u8> {
    let length = |length: usize| {
        // A prefix of seven bits, then groups of seven.
        if length < 127 {
            return vec![u8::try_from(length).unwrap()];
        }
        let mut rest = length - 127;
        let mut bytes = vec![127];
        while rest >= 128 {
            bytes.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).unwrap());
        bytes
    };
    let kind = if indexed { 0x40 } else { 0 };
    [&[kind][..], &length(name.len()), name.as_bytes(), &length(value.len()), value.as_bytes()].concat()
}

/// What a receiver sends: something once, and something again and again.
#[derive(Clone, Default)]
struct Script {
    once: Vec<u8>,
    flood: Vec<u8>,
}

fn once(bytes: Vec<u8>) -> Script {
    Script { once: bytes, ..Script::default() }
}

/// Sends what the script says, for as long as it is taken; then reads until the client goes.
async fn attack(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), script: &Script) {
    if stream.write_all(&script.once).await.is_err() || stream.flush().await.is_err() {
        return;
    }
    if !script.flood.is_empty() {
        // Many at once, so that the flood is one.
        let flood = script.flood.repeat(1 + 64 * 1024 / script.flood.len());
        while stream.write_all(&flood).await.is_ok() {}
    }
    let mut heard = [0; 4096];
    while stream.read(&mut heard).await.is_ok_and(|read| read > 0) {}
}

/// Reads the preface, and frames until a request's body has ended.
async fn request_http2(stream: &mut (impl AsyncRead + Unpin)) -> Option<()> {
    stream.read_exact(&mut [0; 24]).await.ok()?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await.ok()?;
        if head[3] == DATA && head[4] & END_STREAM != 0 {
            return Some(());
        }
    }
}

/// Speaks HTTP/2 over TLS so far that a request comes, and then does as the script says.
async fn http2(acceptor: TlsAcceptor, script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, script) = (acceptor.clone(), script.clone());
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.ok()?;
                stream.write_all(&frame(4, 0, 0, &[])).await.ok()?;
                request_http2(&mut stream).await?;
                attack(&mut stream, &script).await;
                Some(())
            });
        }
    });
    address
}

/// Waits for a request, or does not, and does as the script says.
async fn http1(waits: bool, script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let script = script.clone();
            tokio::spawn(async move {
                if waits {
                    request(&mut stream).await?;
                }
                attack(&mut stream, &script).await;
                Some(())
            });
        }
    });
    address
}

/// How much later than its deadline an exchange may end where the machine is busy.
const LATE: Duration = Duration::from_secs(15);

/// The deadline of a case: short where it may pass, long where it must not.
fn deadline(floods: bool, codes: &[Option<FailureCode>]) -> Duration {
    if floods || codes.contains(&Some(FailureCode::Timeout)) { Duration::from_secs(2) } else { PATIENT }
}

/// On a busy machine the deadline may pass before a flood has filled what it may fill.
fn late(code: Option<FailureCode>) -> bool {
    code == Some(FailureCode::Timeout)
}

fn said(exchange: &Exchange) -> (Option<FailureCode>, String) {
    match &exchange.result {
        Ok(response) => (None, format!("{} with {} bytes", response.status, response.body.len())),
        Err(failure) => (Some(failure.code), failure.message.clone()),
    }
}

#[tokio::test]
async fn misuse_of_http_2_is_classified_bounded_and_says_little() {
    use FailureCode::{Connection, Protocol, Timeout};
    let ok = frame(HEADERS, END_HEADERS, 1, STATUS_200);
    let with = |more: Vec<u8>| [ok.clone(), more].concat();
    let bomb = [STATUS_200, &header(true, "x-a", &"a".repeat(3000)), &[0xbe; 12_000]].concat();
    let authority = Authority::new("ours");
    let cases: [(&str, Script, &[Option<FailureCode>]); 21] = [
        (
            "GOAWAY with debug data",
            once(frame(7, 0, 0, &[&[0, 0, 0, 0, 0, 0, 0, 11][..], &[b'x'; 16_000]].concat())),
            &[Some(Protocol), Some(Connection)],
        ),
        (
            "GOAWAY with debug data that is not text",
            once(frame(7, 0, 0, &[&[0, 0, 0, 0, 0, 0, 0, 2][..], &[0; 1000], &[0xff; 1000]].concat())),
            &[Some(Protocol), Some(Connection)],
        ),
        ("RST_STREAM", once(frame(3, 0, 1, &[0, 0, 0, 2])), &[Some(Protocol)]),
        ("RST_STREAM that says to try again", once(frame(3, 0, 1, &[0, 0, 0, 7])), &[Some(Protocol)]),
        ("RST_STREAM in the body", once(with(frame(3, 0, 1, &[0, 0, 0, 2]))), &[Some(Protocol)]),
        ("no answer, and no streams", once(frame(4, 0, 0, &[0, 3, 0, 0, 0, 0])), &[Some(Timeout)]),
        (
            "CONTINUATION without end",
            Script {
                once: frame(HEADERS, 0, 1, STATUS_200),
                flood: frame(9, 0, 1, &header(false, "x", "y")),
            },
            &[Some(Protocol)],
        ),
        (
            "empty CONTINUATION without end",
            Script { once: frame(HEADERS, 0, 1, STATUS_200), flood: frame(9, 0, 1, &[]) },
            &[Some(Protocol), Some(Timeout)],
        ),
        ("HPACK bomb", once(frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)), &[Some(Protocol)]),
        ("broken HPACK", once(frame(HEADERS, END_HEADERS, 1, &[0xff; 20])), &[Some(Protocol)]),
        (
            "empty DATA without end",
            Script { once: ok.clone(), flood: frame(DATA, 0, 1, &[]) },
            &[Some(Protocol), Some(Timeout)],
        ),
        ("DATA without end", Script { once: ok.clone(), flood: frame(DATA, 0, 1, &[b'x'; 1000]) }, &[None]),
        ("DATA before the head", once(frame(DATA, 0, 1, b"x")), &[Some(Protocol)]),
        (
            "PING without end",
            Script { once: Vec::new(), flood: frame(6, 0, 0, &[1; 8]) },
            &[Some(Protocol), Some(Timeout)],
        ),
        (
            "SETTINGS without end",
            Script { once: Vec::new(), flood: frame(4, 0, 0, &[]) },
            &[Some(Protocol), Some(Timeout)],
        ),
        (
            "PUSH_PROMISE",
            once(frame(5, END_HEADERS, 1, &[&[0, 0, 0, 2][..], STATUS_200].concat())),
            &[Some(Protocol)],
        ),
        (
            "a head for a stream never opened",
            once(frame(HEADERS, END_HEADERS, 3, STATUS_200)),
            &[Some(Protocol)],
        ),
        ("a frame that is too large", once(vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]), &[Some(Protocol)]),
        (
            "a window that overflows",
            once(
                [frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])]
                    .concat(),
            ),
            &[Some(Protocol)],
        ),
        ("HTTP/1 text", once(answer(OK).into_bytes()), &[Some(Protocol), Some(Connection)]),
        (
            "informational heads without end",
            Script {
                once: Vec::new(),
                flood: frame(HEADERS, END_HEADERS, 1, &header(false, ":status", "103")),
            },
            &[Some(Protocol), Some(Timeout)],
        ),
    ];
    let attacks = cases.map(|(what, script, codes)| {
        let acceptor = authority.acceptor("receiver.test", &["h2"]);
        let floods = !script.flood.is_empty();
        let deadline = deadline(floods, codes);
        let mut settings = settings(deadline);
        settings.extra_root_certificates = Some(authority.roots());
        async move {
            let address = http2(acceptor, script).await;
            let transport = transport(settings);
            let url = format!("https://receiver.test:{}/", address.port());
            let exchange = post(&transport, &url).await;
            let (code, message) = said(&exchange);
            assert!(codes.contains(&code) || (floods && late(code)), "{what}: {code:?} {message}");
            assert!(message.chars().count() <= 300, "{what}: {message}");
            assert!(!message.contains(char::is_control), "{what}: {message}");
            assert!(exchange.duration < deadline + LATE, "{what}: {:?}", exchange.duration);
        }
    });
    futures_util::future::join_all(attacks).await;
}

#[tokio::test]
async fn misuse_of_http_1_is_classified_bounded_and_says_little() {
    use FailureCode::{Connection, Protocol, Timeout};
    let text = |text: &str| answer(text).into_bytes();
    let flood = |once: &str, flood: &str| Script { once: text(once), flood: text(flood) };
    let chunked = "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n";
    let cases: [(&str, bool, Script, &[Option<FailureCode>]); 11] = [
        ("100 without end", true, flood("", "HTTP/1.1 100 Continue\n\n"), &[Some(Protocol)]),
        ("103 without end", true, flood("", "HTTP/1.1 103 Early Hints\nlink: x\n\n"), &[Some(Protocol)]),
        (
            "a switch of protocols",
            true,
            once(text("HTTP/1.1 101 Switching\nupgrade: x\n\n")),
            &[None, Some(Protocol)],
        ),
        ("a header without end", true, flood("HTTP/1.1 200 OK\nx: ", "y"), &[Some(Protocol)]),
        ("headers without end", true, flood("HTTP/1.1 200 OK\n", "x: y\n"), &[Some(Protocol)]),
        ("a status line without end", true, flood("HTTP/1.1 200 ", "y"), &[Some(Protocol)]),
        ("blank lines without end", true, flood("", "\n"), &[Some(Protocol), Some(Timeout)]),
        ("a chunk's extension without end", true, flood(&format!("{chunked}1;"), "x"), &[Some(Protocol)]),
        ("trailers without end", true, flood(&format!("{chunked}0\n"), "x: y\n"), &[Some(Protocol)]),
        ("a response before the request", false, once(text(OK)), &[None, Some(Protocol), Some(Connection)]),
        ("bytes without end before the request", false, flood("", "x"), &[Some(Protocol), Some(Connection)]),
    ];
    let attacks = cases.map(|(what, waits, script, codes)| async move {
        let floods = !script.flood.is_empty();
        let deadline = deadline(floods, codes);
        let address = http1(waits, script).await;
        let exchange = post(&transport(settings(deadline)), format!("http://{address}/")).await;
        let (code, message) = said(&exchange);
        assert!(codes.contains(&code) || (floods && late(code)), "{what}: {code:?} {message}");
        assert!(message.chars().count() <= 300, "{what}: {message}");
        assert!(exchange.duration < deadline + LATE, "{what}: {:?}", exchange.duration);
    });
    futures_util::future::join_all(attacks).await;
}

#[tokio::test]
async fn a_second_response_that_nobody_asked_for_is_not_taken_for_the_next_ones() {
    let two = format!("{OK}HTTP/1.1 500 Injected\ncontent-length: 3\n\nbad");
    let receiver = Receiver::start(Act::Keep(answer(&two))).await;
    let transport = patient();
    for _ in 0..3 {
        let exchange = post(&transport, receiver.url()).await;
        let response = exchange.result.unwrap();
        assert_eq!((response.status, &response.body[..]), (200, &b"ok"[..]));
    }
    assert_eq!(receiver.connections(), 3, "the connection is not used again");
}

#[tokio::test]
async fn a_compressed_body_is_kept_as_it_came() {
    // What a gibibyte of zeros begins with, compressed.
    let body = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0; 16_000]].concat();
    let head =
        answer(&format!("HTTP/1.1 200 OK\ncontent-encoding: gzip\ncontent-length: {}\n\n", body.len()));
    let address = http1(true, once([head.as_bytes(), &body].concat())).await;
    let response = post(&patient(), format!("http://{address}/")).await.result.unwrap();
    assert_eq!(response.body, body[..BODY_MAX]);
}

#[tokio::test]
async fn a_connection_past_its_age_is_not_used_again() {
    let receiver = Receiver::start(Act::Keep(answer(OK))).await;
    let mut settings = settings(PATIENT);
    settings.connections.age = Duration::ZERO;
    let transport = transport(settings);
    for connections in 1..=3 {
        assert_eq!(post(&transport, receiver.url()).await.result.unwrap().status, 200);
        assert_eq!(receiver.connections(), connections);
    }
}

#[tokio::test]
async fn connections_past_the_bound_are_used_once_and_not_kept() {
    let receivers = [
        Receiver::start(Act::Keep(answer(OK))).await,
        Receiver::start(Act::Keep(answer(OK))).await,
        Receiver::start(Act::Keep(answer(OK))).await,
    ];
    let mut settings = settings(PATIENT);
    settings.connections.kept_max = 2;
    let transport = transport(settings);
    for _ in 0..3 {
        for receiver in &receivers {
            assert_eq!(post(&transport, receiver.url()).await.result.unwrap().status, 200);
        }
    }
    assert_eq!(receivers.each_ref().map(Receiver::connections), [1, 1, 3]);
}

#[tokio::test]
async fn a_kept_connection_on_which_much_comes_unasked_is_given_up() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("receiver.test", &["h2"]);
    let done = frame(HEADERS, END_HEADERS | END_STREAM, 1, STATUS_200);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let flooding = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let hello = [frame(4, 0, 0, &[]), done].concat();
        request_http2(&mut stream).await.unwrap();
        stream.write_all(&hello).await.unwrap();
        // Acknowledgements of pings never sent: nothing is owed for them.
        let pings = frame(6, 1, 0, &[1; 8]).repeat(4096);
        let mut sent = 0;
        while stream.write_all(&pings).await.is_ok() && stream.flush().await.is_ok() {
            sent += pings.len();
        }
        sent
    });
    let mut settings = settings(PATIENT);
    settings.extra_root_certificates = Some(authority.roots());
    let transport = transport(settings);
    let exchange = post(&transport, format!("https://receiver.test:{}/", address.port())).await;
    assert_eq!(exchange.result.unwrap().status, 200);
    // What stands in the buffers of the two sockets was not read.
    assert!(flooding.await.unwrap() < 32 * 1024 * 1024);
}

#[tokio::test]
async fn an_early_response_is_taken_and_the_rest_of_the_request_is_let_be() {
    // Answers after the first byte of the request, without reading on.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 1]).await.unwrap();
        stream
            .write_all(answer("HTTP/1.1 413 Too Large\nconnection: close\ncontent-length: 0\n\n").as_bytes())
            .await
            .unwrap();
        let mut heard = [0; 4096];
        while stream.read(&mut heard).await.is_ok_and(|read| read > 0) {}
    });
    assert_eq!(post(&patient(), format!("http://{address}/")).await.result.unwrap().status, 413);
}

#[tokio::test]
async fn a_dripping_head_ends_at_the_deadline() {
    let receiver = Receiver::start(Act::Drip(answer("HTTP/1.1 200 OK\nx-slow: "))).await;
    let exchange = post(&hasty(), receiver.url()).await;
    assert_eq!(failure(&exchange).0, FailureCode::Timeout);
    assert!(exchange.duration < SHORT + LATE);
}
