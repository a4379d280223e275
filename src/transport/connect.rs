//! Connecting, to the addresses that were checked for the attempt and to no other.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::{
    Failure, FailureCode, Proxy,
    check::{Found, port},
    connection::{Connections, TcpConnection},
};

/// Connects to what was found for the attempt in hand, or through the proxy.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) connect_timeout: Duration,
    pub(super) proxy: Option<Arc<Proxy>>,
    pub(super) connections: Connections,
}

/// How far an exchange has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// No address is chosen yet.
    Waiting,
    /// TCP to this address is not up yet.
    Connecting(SocketAddr),
    /// TLS is not up yet. Which address it is with is not known where a proxy connects.
    Handshake(Option<SocketAddr>),
    /// The request is on its way, or sent.
    Exchange(Option<SocketAddr>),
}

impl Phase {
    /// The address that is called, once one is chosen.
    pub(super) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Waiting => None,
            Self::Connecting(address) => Some(address),
            Self::Handshake(address) | Self::Exchange(address) => address,
        }
    }
}

/// What a connector is told by the attempt that it connects for, and tells it: how far it has come.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) found: Found,
    phase: Mutex<Phase>,
}

impl Progress {
    pub(super) fn new(found: Found) -> Self {
        Self { found, phase: Mutex::new(Phase::Waiting) }
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
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

impl Connector {
    async fn connect(
        self,
        uri: Uri,
        progress: Arc<Progress>,
    ) -> Result<TokioIo<TcpConnection>, ConnectError> {
        let addresses = match (&progress.found, &self.proxy) {
            (Found::Addresses(addresses), None) => addresses.clone(),
            (Found::ByProxy, Some(proxy)) => {
                let host = uri.host().unwrap_or_default();
                let stream = proxy.connect(host, port(&uri), self.connect_timeout).await;
                let stream = stream.map_err(ConnectError)?;
                progress.enter(Phase::Handshake(None));
                return Ok(TokioIo::new(self.connections.add(stream, None)));
            }
            (Found::Unresolved(failure), _) => return Err(ConnectError(failure.clone())),
            (Found::Addresses(_), Some(_)) | (Found::ByProxy, None) => return Err(ConnectError(unchecked())),
        };
        let mut last = unchecked();
        for address in addresses {
            progress.enter(Phase::Connecting(address));
            let connecting = timeout(self.connect_timeout, TcpStream::connect(address));
            last = match connecting.await {
                Ok(Ok(stream)) => {
                    // Requests are written whole; waiting to fill a segment only delays them.
                    let _ = stream.set_nodelay(true);
                    progress.enter(Phase::Handshake(Some(address)));
                    return Ok(TokioIo::new(self.connections.add(stream, Some(address))));
                }
                Ok(Err(error)) => {
                    let reason = error.kind();
                    Failure::new(FailureCode::Connection, format!("cannot connect to {address}: {reason}"))
                }
                Err(_) => Failure::timeout(&format!("cannot connect to {address}"), self.connect_timeout),
            };
        }
        Err(ConnectError(last))
    }
}

/// Nothing was checked, so nothing is called.
fn unchecked() -> Failure {
    Failure::new(FailureCode::Connection, "no address was found to connect to")
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TcpConnection>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // A connect that outlives its exchange goes to the pool; its progress then matters to nobody. Begun outside of
        // an exchange there would be nothing that was checked.
        let progress = PROGRESS
            .try_with(Arc::clone)
            .unwrap_or_else(|_| Arc::new(Progress::new(Found::Unresolved(unchecked()))));
        Box::pin(self.clone().connect(uri, progress))
    }
}
