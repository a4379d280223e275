//! The accept loop. Our own, because it sets the timers without which hyper's header timeout is silently off.

use std::{io, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// How long a client may take to send a request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// After a failed accept, most likely for want of file descriptors.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Serves until `stop`, then finishes the requests under way, for at most `grace`.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken, grace: Duration) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD_DEADLINE);
    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener) => accepted,
        };
        let Ok(stream) = stream else {
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way when the grace had passed");
    }
}

async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let accepted = listener.accept().await;
    if let Err(error) = &accepted {
        tracing::warn!(%error, "a connection cannot be accepted");
    }
    let (stream, _) = accepted?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
