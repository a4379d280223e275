//! Connecting: resolve, check every address, connect to one that was checked.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
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

use super::{AddressPolicy, Failure, FailureCode, Resolve};

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

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{}", failure.message)]
pub(super) struct ConnectError {
    pub(super) failure: Failure,
    pub(super) address: Option<SocketAddr>,
}

impl ConnectError {
    fn new(code: FailureCode, message: String) -> Self {
        Self { failure: Failure::new(code, message), address: None }
    }
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<TcpConnection, ConnectError> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
        let addresses = self.checked_addresses(host).await?;
        let mut last = ConnectError::new(FailureCode::Dns, format!("{host} has no address"));
        for address in addresses {
            let address = SocketAddr::new(address, port);
            let failure = match tokio::time::timeout(self.connect_timeout, TcpStream::connect(address)).await
            {
                Ok(Ok(stream)) => {
                    // Requests are written whole; waiting to fill a segment only delays them.
                    let _ = stream.set_nodelay(true);
                    return Ok(TcpConnection { stream: TokioIo::new(stream), address });
                }
                Ok(Err(error)) => {
                    Failure::new(FailureCode::Connection, format!("cannot connect to {address}: {error}"))
                }
                Err(_) => Failure::new(
                    FailureCode::Timeout,
                    format!(
                        "cannot connect to {address} within {}",
                        humantime::format_duration(self.connect_timeout)
                    ),
                ),
            };
            last = ConnectError { failure, address: Some(address) };
        }
        Err(last)
    }

    /// One forbidden address refuses the whole name: which one is tried first is not the attacker's to choose.
    async fn checked_addresses(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let forbidden = |message| ConnectError::new(FailureCode::AddressForbidden, message);
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            self.addresses.check(address).map_err(|why| forbidden(format!("the endpoint is {why}")))?;
            return Ok(vec![address]);
        }
        let cannot_resolve =
            |error| ConnectError::new(FailureCode::Dns, format!("{host} does not resolve: {error}"));
        let addresses = self.resolver.resolve(host).await.map_err(cannot_resolve)?;
        for address in &addresses {
            self.addresses.check(*address).map_err(|why| forbidden(format!("{host} resolved to {why}")))?;
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
        Box::pin(self.clone().connect(uri))
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
