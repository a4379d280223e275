//! A receiver on a real socket that does to each request what its script says.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use super::document;

/// What to do with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// These bytes, and keep the connection.
    Raw(String),
    /// These bytes, and close.
    RawThenClose(String),
    /// Close at once.
    Close,
    /// These bytes, once there is a permit for them.
    Permitted(Arc<Semaphore>, String),
    /// Never answer.
    Hang,
    /// A head, and then body bytes for ever.
    Endless,
    /// A head, and then a byte of the body now and again.
    Drip,
    /// Reset the connection.
    Reset,
    /// Each of these in turn, over all connections.
    Rotate(Arc<AtomicUsize>, Vec<Act>),
}

impl Act {
    pub(crate) fn status(status: u16) -> Self {
        Self::Raw(answer(status))
    }

    /// The same, for as many requests as there are permits.
    pub(crate) fn permitted(status: u16, permits: &Arc<Semaphore>) -> Self {
        Self::Permitted(Arc::clone(permits), answer(status))
    }

    pub(crate) fn with_header(status: u16, header: &str) -> Self {
        Self::Raw(format!("HTTP/1.1 {status} X\r\n{header}\r\ncontent-length: 0\r\n\r\n"))
    }
}

fn answer(status: u16) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok")
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.find_header(name).unwrap_or_else(|| panic!("no {name}: {}", self.head))
    }

    pub(crate) fn find_header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(':'));
        headers.find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    received: watch::Receiver<Vec<Received>>,
    script: Arc<Mutex<Act>>,
    connections: Arc<AtomicUsize>,
    /// Looks at what came as the last clone is dropped.
    _documented: Arc<Documented>,
}

/// However a test ends, what its receiver got must be as the documents say.
struct Documented(watch::Receiver<Vec<Received>>);

impl Drop for Documented {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            for request in self.0.borrow().iter() {
                let wrong = document::undocumented(request);
                assert!(wrong.is_empty(), "a request is otherwise than documented: {wrong:#?} {request:#?}");
            }
        }
    }
}

impl Receiver {
    pub(crate) async fn start(act: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        let (script, connections) = (Arc::new(Mutex::new(act)), Arc::new(AtomicUsize::new(0)));
        let documented = Arc::new(Documented(received.clone()));
        tokio::spawn({
            let (script, connections) = (Arc::clone(&script), Arc::clone(&connections));
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(converse(stream, Arc::clone(&script), Arc::clone(&sender)));
                }
            }
        });
        Self { address, received, script, connections, _documented: documented }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    /// What to do from now on.
    pub(crate) fn now(&self, act: Act) {
        *self.script.lock().unwrap() = act;
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Returns when a request with this event has come.
    pub(crate) async fn until_event(&self, event: &str) {
        let is_it = |request: &Received| request.header("k-payments-event-id") == event;
        self.received.clone().wait_for(|received| received.iter().any(is_it)).await.unwrap();
    }

    /// Returns when so many requests have come.
    pub(crate) async fn until(&self, count: usize) -> Vec<Received> {
        self.received.clone().wait_for(|received| received.len() >= count).await.unwrap().clone()
    }
}

async fn converse(mut stream: TcpStream, script: Arc<Mutex<Act>>, sender: Arc<watch::Sender<Vec<Received>>>) {
    let mut buffer = Vec::new();
    while let Some(received) = read_request(&mut stream, &mut buffer).await {
        let mut act = script.lock().unwrap().clone();
        if let Act::Rotate(turn, acts) = act {
            act = acts[turn.fetch_add(1, Ordering::SeqCst) % acts.len()].clone();
        }
        sender.send_modify(|all| all.push(received));
        match act {
            Act::Raw(text) => {
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Act::RawThenClose(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                return;
            }
            Act::Permitted(permits, text) => {
                permits.acquire().await.unwrap().forget();
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Act::Close => return,
            Act::Hang => {
                // Until the other side gives up.
                let _ = stream.read(&mut [0]).await;
                return;
            }
            Act::Endless => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
                while stream.write_all(b"400\r\n").await.is_ok() {
                    if stream.write_all(&[b'x'; 1024]).await.is_err()
                        || stream.write_all(b"\r\n").await.is_err()
                    {
                        return;
                    }
                }
                return;
            }
            Act::Drip => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
                let mut beat = tokio::time::interval(std::time::Duration::from_millis(50));
                loop {
                    beat.tick().await;
                    if stream.write_all(b"x").await.is_err() {
                        return;
                    }
                }
            }
            Act::Reset => {
                let socket = socket_with_zero_linger(&stream);
                assert!(socket, "the connection can be reset");
                return;
            }
            Act::Rotate(..) => unreachable!("a turn is an act of its own"),
        }
    }
}

/// A socket that is closed with a linger of zero sends a reset.
fn socket_with_zero_linger(stream: &TcpStream) -> bool {
    stream.set_zero_linger().is_ok()
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let length: usize = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:").map(str::trim).map(str::to_owned)
        })
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    while buffer.len() < head_end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer[head_end..head_end + length].to_vec();
    buffer.drain(..head_end + length);
    Some(Received { head, body })
}
