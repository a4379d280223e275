//! Connecting: resolve, check every address, connect to one that was checked.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::net::TcpStream;

use super::{AddressPolicy, Failure, FailureCode, Forbidden, Resolve};

/// Connects to checked addresses only. IP literals pass through the same check as names.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) addresses: AddressPolicy,
    pub(super) connect_timeout: Duration,
}

/// The address at the other end of a connection, kept with it so that a reused one can tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerAddress(pub(super) SocketAddr);

/// How far an exchange has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// No address is chosen yet.
    Resolving,
    /// TCP to this address is not up yet.
    Connecting(SocketAddr),
    /// TLS is not up yet.
    Handshake(SocketAddr),
    /// The request is on its way, or sent.
    Exchange(SocketAddr),
}

impl Phase {
    /// The address that is called, once one is chosen.
    pub(super) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Resolving => None,
            Self::Connecting(address) | Self::Handshake(address) | Self::Exchange(address) => Some(address),
        }
    }
}

/// Where a connector tells the exchange that it connects for how far it has come.
#[derive(Debug)]
pub(super) struct Progress(Mutex<Phase>);

impl Default for Progress {
    fn default() -> Self {
        Self(Mutex::new(Phase::Resolving))
    }
}

impl Progress {
    pub(super) fn phase(&self) -> Phase {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}

tokio::task_local! {
    /// The progress of the exchange in hand: hyper gives a connector nothing of the request but its URI.
    pub(super) static PROGRESS: Arc<Progress>;
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub(super) struct ConnectError(pub(super) Failure);

impl ConnectError {
    fn new(code: FailureCode, message: String) -> Self {
        Self(Failure::new(code, message))
    }
}

impl Connector {
    async fn connect(self, uri: Uri, progress: Arc<Progress>) -> Result<TcpConnection, ConnectError> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
        let mut last = ConnectError::new(FailureCode::Dns, format!("{host} has no address"));
        for address in self.checked_addresses(host).await? {
            let address = SocketAddr::new(address, port);
            progress.enter(Phase::Connecting(address));
            let connecting = tokio::time::timeout(self.connect_timeout, TcpStream::connect(address));
            let failure = match connecting.await {
                Ok(Ok(stream)) => {
                    // Requests are written whole; waiting to fill a segment only delays them.
                    let _ = stream.set_nodelay(true);
                    progress.enter(Phase::Handshake(address));
                    return Ok(TcpConnection { stream: TokioIo::new(stream), address });
                }
                Ok(Err(error)) => {
                    let reason = error.kind();
                    Failure::new(FailureCode::Connection, format!("cannot connect to {address}: {reason}"))
                }
                Err(_) => Failure::timeout(&format!("cannot connect to {address}"), self.connect_timeout),
            };
            last = ConnectError(failure);
        }
        Err(last)
    }

    /// One forbidden address refuses the whole name: which one is tried first is not the attacker's to choose.
    async fn checked_addresses(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let forbidden = |message| ConnectError::new(FailureCode::AddressForbidden, message);
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            self.addresses.check(address).map_err(|why| forbidden(why.to_string()))?;
            return Ok(vec![address]);
        }
        let cannot_resolve =
            |error| ConnectError::new(FailureCode::Dns, format!("{host} does not resolve: {error}"));
        let addresses = self.resolver.resolve(host).await.map_err(cannot_resolve)?;
        for address in &addresses {
            self.addresses.check(*address).map_err(|Forbidden { address, reason }| {
                forbidden(format!("{host} resolved to {address}, which is {reason}"))
            })?;
        }
        Ok(addresses)
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TcpConnection;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // A connect that outlives its exchange goes to the pool; its progress then matters to nobody.
        let progress = PROGRESS.try_with(Arc::clone).unwrap_or_default();
        Box::pin(self.clone().connect(uri, progress))
    }
}

/// A TCP connection that remembers whom it is to.
pub(super) struct TcpConnection {
    stream: TokioIo<TcpStream>,
    address: SocketAddr,
}

impl Connection for TcpConnection {
    fn connected(&self) -> Connected {
        Connected::new().extra(PeerAddress(self.address))
    }
}

impl Read for TcpConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for TcpConnection {
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
