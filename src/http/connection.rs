//! One client's connection: how long it may be silent, and how long it may leave unread what it was sent.
//!
//! hyper bounds the head of a request over HTTP/1. It bounds neither what comes before it, nor HTTP/2 connections on which
//! nothing is asked for, nor clients that do not read: these deadlines do.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::{
    Response,
    rt::{Read, ReadBufCursor, Write},
};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// How long a client may take to finish a TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long a connection may have no request under way, the head of the next one included: longer than the minute for which
/// proxies and clients commonly keep connections, so that it is they who give them up.
const IDLE_MAX: Duration = Duration::from_secs(75);

/// How long a client may take to read a response: the largest list at an eighth of a megabit a second.
const SEND_MAX: Duration = Duration::from_secs(240);

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// To finish a TLS handshake.
    pub handshake: Duration,
    /// With no request under way, to the end of the next one's head.
    pub idle: Duration,
    /// To read a response.
    pub send: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { handshake: HANDSHAKE_MAX, idle: IDLE_MAX, send: SEND_MAX }
    }
}

/// What a connection is doing.
#[derive(Clone)]
pub(super) struct Activity {
    deadlines: Deadlines,
    doing: Arc<Mutex<Doing>>,
}

struct Doing {
    requests: usize,
    idle_since: Instant,
    responses: u64,
    /// Since when each response is on its way, or of one that is streamed, its last part.
    sending: BTreeMap<u64, Instant>,
}

impl Activity {
    pub(super) fn new(deadlines: Deadlines) -> Self {
        let doing = Doing { requests: 0, idle_since: Instant::now(), responses: 0, sending: BTreeMap::new() };
        Self { deadlines, doing: Arc::new(Mutex::new(doing)) }
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come; it is under way until the answer is dropped.
    pub(super) fn request(&self) -> Request {
        self.doing().requests += 1;
        Request { activity: self.clone(), response: None }
    }

    /// Returns when the client has taken longer than it may, saying with what.
    pub(super) async fn overdue(&self) -> &'static str {
        loop {
            // What begins later has a later deadline than this, so nobody need tell of it.
            let mut look_again_at = Instant::now() + self.deadlines.idle.min(self.deadlines.send);
            if let Some((deadline, why)) = self.next_deadline() {
                if Instant::now() >= deadline {
                    return why;
                }
                look_again_at = look_again_at.min(deadline);
            }
            sleep_until(look_again_at).await;
        }
    }

    /// The deadline that passes first, and what it is for; none while a request is being handled.
    fn next_deadline(&self) -> Option<(Instant, &'static str)> {
        let doing = self.doing();
        let Deadlines { idle, send, .. } = self.deadlines;
        match doing.sending.values().min() {
            Some(since) => Some((*since + send, "the client does not read its response")),
            None if doing.requests > 0 => None,
            None => Some((doing.idle_since + idle, "the client asks for nothing")),
        }
    }
}

/// A request under way.
pub(super) struct Request {
    activity: Activity,
    response: Option<u64>,
}

impl Request {
    /// The request is handled and its response on its way to the client.
    pub(super) fn answered<B>(mut self, response: Response<B>) -> Response<Answered<B>> {
        let mut doing = self.activity.doing();
        let number = doing.responses;
        doing.responses += 1;
        doing.sending.insert(number, Instant::now());
        drop(doing);
        self.response = Some(number);
        let streamed = response.extensions().get::<Streamed>().is_some();
        response.map(|body| Answered { body, streamed, request: self })
    }

    /// The client has taken what was sent to it so far.
    fn goes_on(&self) {
        if let Some(number) = self.response {
            self.activity.doing().sending.insert(number, Instant::now());
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut doing = self.activity.doing();
        if let Some(number) = self.response {
            doing.sending.remove(&number);
        }
        doing.requests -= 1;
        if doing.requests == 0 {
            doing.idle_since = Instant::now();
        }
    }
}

/// The body of a response; the request ends with it.
pub(super) struct Answered<B> {
    body: B,
    streamed: bool,
    request: Request,
}

/// In the extensions of a response that goes on for as long as the client stays: each part of it must be read in time,
/// instead of all of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streamed;

impl<B: Body<Data = Bytes> + Unpin> Body for Answered<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // It is asked for more when there is room for more.
        if self.streamed {
            self.request.goes_on();
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose other end must take what is written, within the deadline from the first byte that had to wait to the last.
pub(super) struct Guarded<S> {
    stream: S,
    deadline: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, deadlines: Deadlines) -> Self {
        Self { stream, deadline: deadlines.send, waiting: None }
    }

    /// Passes on how a write came out, unless it has waited for too long.
    fn unless_late<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_pending() {
            let deadline = self.deadline;
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(deadline)));
            ready!(waiting.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        outcome
    }
}

impl<S: Read + Unpin> Read for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: Write + Unpin> Write for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.unless_late(context, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        if outcome.is_ready() {
            self.waiting = None;
        }
        self.unless_late(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.unless_late(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.unless_late(context, outcome)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body as Whole;
    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;

    use super::*;

    #[test]
    fn a_response_that_is_streamed_must_be_read_part_by_part_and_another_as_a_whole() {
        for streamed in [true, false] {
            let activity = Activity::new(Deadlines::default());
            let mut response = Response::new(Whole::from("part"));
            if streamed {
                response.extensions_mut().insert(Streamed);
            }
            let mut response = activity.request().answered(response);
            let deadline = || activity.next_deadline().unwrap().0;
            let before = deadline();
            while Instant::now() + SEND_MAX == before {}
            response.frame().now_or_never().unwrap().unwrap().unwrap();
            assert_eq!(deadline() > before, streamed);
            drop(response);
            assert_eq!(activity.next_deadline().unwrap().1, "the client asks for nothing");
        }
    }
}
