//! Receivers: one that answers at once and keeps what it got, and those that misbehave.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use k_webhooks::signature::{SigningSecret, verify};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

/// What came in.
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    signature: String,
    pub(crate) body: Bytes,
}

impl Arrival {
    /// The number of the event, from its object's id.
    pub(crate) fn number(&self) -> usize {
        let text = std::str::from_utf8(&self.body).expect("JSON");
        let rest = text.split_once("\"id\":\"ch_").expect("an object's id").1;
        rest.split('"').next().and_then(|number| number.parse().ok()).expect("a number")
    }
}

#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    arrivals: Mutex<Vec<Arrival>>,
    count: AtomicUsize,
    /// How many there are, told at every hundredth, so that telling costs nothing.
    told: watch::Sender<usize>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared {
            arrivals: Mutex::new(Vec::new()),
            count: AtomicUsize::new(0),
            told: watch::Sender::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("its address"));
        let router = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        tokio::spawn(k_webhooks::http::serve(
            listener,
            router,
            CancellationToken::new(),
            k_webhooks::http::Serving::default(),
        ));
        Self { url, shared }
    }

    /// Returns when so many have come.
    pub(crate) async fn until(&self, count: usize) {
        let mut told = self.shared.told.subscribe();
        while self.shared.count.load(Ordering::SeqCst) < count {
            // The last few are not told of.
            let _ = tokio::time::timeout(Duration::from_millis(1), told.changed()).await;
        }
    }

    /// Takes what has come so far.
    pub(crate) fn take(&self) -> Vec<Arrival> {
        self.shared.count.store(0, Ordering::SeqCst);
        std::mem::take(&mut *self.shared.arrivals.lock().expect("unpoisoned"))
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let at = Instant::now();
    let signature = headers.get("k-payments-signature").and_then(|value| value.to_str().ok());
    let arrival = Arrival { at, signature: signature.unwrap_or_default().to_owned(), body };
    shared.arrivals.lock().expect("unpoisoned").push(arrival);
    let count = shared.count.fetch_add(1, Ordering::SeqCst) + 1;
    if count.is_multiple_of(100) {
        shared.told.send_replace(count);
    }
    StatusCode::NO_CONTENT
}

/// Checks every signature, by the secrets of the merchants whose events come in turn; answers how many events of `count`
/// are missing and how many came again.
pub(crate) fn check(arrivals: &[Arrival], secrets: &[String], count: usize) -> (usize, usize) {
    let secrets: Vec<_> =
        secrets.iter().map(|secret| SigningSecret::parse(secret).expect("a secret")).collect();
    let mut times = vec![0_usize; count];
    for arrival in arrivals {
        let number = arrival.number();
        times[number] += 1;
        let signed_at = arrival.signature.split_once(',').and_then(|(t, _)| t.strip_prefix("t="));
        let signed_at = signed_at.and_then(|t| t.parse().ok()).expect("a time");
        let verified = verify(
            &arrival.signature,
            &arrival.body,
            &secrets[number % secrets.len()],
            signed_at,
            Duration::ZERO,
        );
        assert_eq!(verified, Ok(()), "a signature does not fit");
    }
    (times.iter().filter(|times| **times == 0).count(), times.iter().filter(|times| **times > 1).count())
}

/// How a receiver misbehaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// It takes the request and never answers.
    Hangs,
    /// It sends a byte of its answer now and again.
    Drips,
    /// It resets the connection.
    Resets,
}

/// Starts a receiver that misbehaves; answers its address.
pub(crate) async fn troubled(trouble: Trouble) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("its address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(misbehave(stream, trouble));
        }
    });
    url
}

async fn misbehave(mut stream: TcpStream, trouble: Trouble) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await;
    match trouble {
        Trouble::Hangs => while stream.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {},
        Trouble::Drips => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Trouble::Resets => {
            let _ = stream.set_zero_linger();
        }
    }
}
