//! The accept loop. Our own, because it sets the timers without which hyper's header timeout is silently off, and because
//! it bounds how many connections there are and how long each may be silent.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{Router, body::Body};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use ipnet::IpNet;
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt as _, service_fn};

use super::{
    connection::{Activity, Deadlines, Guarded},
    tls::ListenerTls,
};
use crate::{metrics::Connections, rarely::Rarely};

/// How often an HTTP/2 client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// How often it is looked whether the files of a certificate hold another.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(60);

/// After an accept that failed for want of file descriptors or memory.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// What hyper buffers of a head: twice what [`Serving::head_bytes_max`] permits, beyond which it answers by itself.
const HEAD_BUFFER_FACTOR: usize = 2;

/// The least that hyper can be told to buffer.
const HEAD_BUFFER_MIN: usize = 8192;

/// How a listener serves.
#[derive(Clone)]
pub struct Serving {
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once of one address, of IPv6 one /64.
    pub connections_per_address_max: usize,
    /// Proxies in front of the service, whose connections are many clients'.
    pub trusted_proxies: Vec<IpNet>,
    /// What the head of a request may take, in bytes.
    pub head_bytes_max: usize,
    /// TLS, where the listener speaks it itself.
    pub tls: Option<ListenerTls>,
    /// How long requests under way may take to finish after the stop.
    pub grace: Duration,
    /// How long a client may be silent, and not read.
    pub deadlines: Deadlines,
    /// Where connections are counted.
    pub connections: Connections,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            connections_max: usize::MAX,
            connections_per_address_max: usize::MAX,
            trusted_proxies: Vec::new(),
            head_bytes_max: 32 * 1024,
            tls: None,
            grace: Duration::ZERO,
            deadlines: Deadlines::default(),
            connections: Connections::default(),
        }
    }
}

/// The address at the other end of a connection, in the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Serves until `stop`, then finishes the requests under way, for at most the grace.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken, serving: Serving) {
    let mut builder = Builder::new(TokioExecutor::new());
    let buffer = serving.head_bytes_max.saturating_mul(HEAD_BUFFER_FACTOR).max(HEAD_BUFFER_MIN);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(serving.deadlines.idle).max_buf_size(buffer);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .max_header_list_size(u32::try_from(buffer).unwrap_or(u32::MAX));
    let graceful = GracefulShutdown::new();
    let places = Places::default();
    let grace = serving.grace;
    let refusals = Rarely::default();
    let renewal = serving.tls.clone().map(|tls| tokio::spawn(renew(tls)));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok((stream, address)) => (stream, canonical(address)),
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                if !passes(&error) {
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
                continue;
            }
        };
        let Some(place) = places.take(address.ip(), &serving) else {
            serving.connections.refused.inc();
            if let Some(refused) = refusals.happened(Instant::now()) {
                tracing::warn!(%address, refused, "there are as many connections as there may be");
            }
            continue;
        };
        let connection = serve_connection(
            stream,
            address,
            builder.clone(),
            router.clone(),
            graceful.watcher(),
            serving.clone(),
            stop.clone(),
        );
        tokio::spawn(async move {
            connection.await;
            drop(place);
        });
    }
    drop(listener);
    if let Some(renewal) = renewal {
        renewal.abort();
    }
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way when the grace had passed");
    }
}

async fn renew(tls: ListenerTls) {
    loop {
        tokio::time::sleep(CERTIFICATE_INTERVAL).await;
        tls.look_again().await;
    }
}

/// An IPv4 client of a listener for both families is an IPv4 client.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether an error is about the connection that was to be accepted, and the next may be fine.
fn passes(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn serve_connection(
    stream: TcpStream,
    address: SocketAddr,
    builder: Builder<TokioExecutor>,
    router: Router,
    watcher: Watcher,
    serving: Serving,
    stop: CancellationToken,
) {
    // Answers are written whole; waiting to fill a segment only delays them.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &serving.tls else {
        return serve_stream(stream, address, builder, router, watcher, serving.deadlines).await;
    };
    let accepted = tokio::select! {
        // A client that has not come to a request yet is not waited for.
        () = stop.cancelled() => return,
        accepted = tokio::time::timeout(serving.deadlines.handshake, tls.accept(stream)) => accepted,
    };
    match accepted {
        Ok(Ok(stream)) => serve_stream(stream, address, builder, router, watcher, serving.deadlines).await,
        Ok(Err(error)) => tracing::debug!(%address, %error, "no TLS session"),
        Err(_) => tracing::debug!(%address, "the TLS handshake took too long"),
    }
}

async fn serve_stream<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    address: SocketAddr,
    builder: Builder<TokioExecutor>,
    router: Router,
    watcher: Watcher,
    deadlines: Deadlines,
) {
    let activity = Activity::new(deadlines);
    let requests = activity.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let under_way = requests.request();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(address.ip()));
        let response = router.clone().oneshot(request);
        async move { response.await.map(|response| under_way.answered(response)) }
    });
    let stream = Guarded::new(TokioIo::new(stream), deadlines);
    let connection = builder.serve_connection(stream, TowerToHyperService::new(service)).into_owned();
    let ended = tokio::select! {
        ended = watcher.watch(connection) => ended.map_err(|error| error.to_string()),
        why = activity.overdue() => Err(why.to_owned()),
    };
    if let Err(error) = ended {
        tracing::debug!(%address, error, "connection ended");
    }
}

/// How many connections there are.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    total: usize,
    of_networks: HashMap<IpAddr, usize>,
}

impl Places {
    /// A place for one more connection, unless there are as many as there may be.
    fn take(&self, address: IpAddr, serving: &Serving) -> Option<Place> {
        let trusted = serving.trusted_proxies.iter().any(|proxies| proxies.contains(&address));
        let network = (!trusted).then(|| network(address));
        let mut taken = self.taken();
        let of_network = network.and_then(|network| taken.of_networks.get(&network)).copied().unwrap_or(0);
        if taken.total >= serving.connections_max || of_network >= serving.connections_per_address_max {
            return None;
        }
        taken.total += 1;
        serving.connections.open.inc();
        if let Some(network) = network {
            taken.of_networks.insert(network, of_network + 1);
        }
        Some(Place { places: self.clone(), network, open: serving.connections.open.clone() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place, until it is dropped.
struct Place {
    places: Places,
    network: Option<IpAddr>,
    /// Of how many.
    open: Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
        let mut taken = self.places.taken();
        taken.total -= 1;
        let Some(network) = self.network else { return };
        match taken.of_networks.get_mut(&network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.of_networks.remove(&network)),
        }
    }
}

/// What one client has to itself: an IPv4 address, or an IPv6 network of /64.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests;
