//! A connection to a receiver, and its bounds: how much may come on it between two exchanges, how long it lives, and how
//! many are kept. A receiver is trusted with none of that.

use std::{
    future::Future as _,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

/// What bounds the connections of a transport.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections that are open before new ones serve one exchange and are not kept.
    pub kept_max: usize,
    /// The age after which a connection is not used again, so that the name it was made for is followed.
    pub age: Duration,
    /// Bytes that may come between the ends of two exchanges: heads, bodies, and what nobody asked for.
    pub unasked_bytes_max: usize,
}

/// How many connections are open, and what bounds them.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    pub(super) limits: ConnectionLimits,
    /// The end of a connection that is still used past its age: no exchange that began in time lasts longer.
    pub(super) end: Duration,
    pub(super) open: Arc<AtomicUsize>,
}

impl Connections {
    pub(super) fn add(&self, stream: TcpStream, address: Option<SocketAddr>) -> TcpConnection {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let state = ConnectionState {
            address,
            since: Instant::now(),
            age: self.limits.age,
            room: Arc::new(AtomicUsize::new(self.limits.unasked_bytes_max)),
            room_max: self.limits.unasked_bytes_max,
        };
        TcpConnection {
            stream,
            state,
            keep: before < self.limits.kept_max,
            end: Box::pin(tokio::time::sleep(self.end)),
            _counted: Counted(Arc::clone(&self.open)),
        }
    }
}

/// What is known of a connection, kept with it so that a reused one can tell.
#[derive(Clone, Debug)]
pub(super) struct ConnectionState {
    /// Nothing where a proxy makes the connection.
    pub(super) address: Option<SocketAddr>,
    since: Instant,
    age: Duration,
    room: Arc<AtomicUsize>,
    room_max: usize,
}

impl ConnectionState {
    /// An exchange has ended: what comes is counted anew. Answers whether the connection may serve another.
    pub(super) fn exchanged(&self) -> bool {
        self.room.store(self.room_max, Ordering::Relaxed);
        self.since.elapsed() < self.age
    }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A TCP connection within its bounds.
pub(super) struct TcpConnection {
    stream: TcpStream,
    state: ConnectionState,
    keep: bool,
    end: Pin<Box<Sleep>>,
    _counted: Counted,
}

impl Connection for TcpConnection {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.state.clone());
        if !self.keep {
            connected.poison();
        }
        connected
    }
}

impl AsyncRead for TcpConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "it is too old")));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let came = buffer.filled().len() - before;
        let room = &self.state.room;
        if room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(came)).is_err() {
            let flood = "more came than any response needs";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, flood)));
        }
        read
    }
}

impl AsyncWrite for TcpConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}
