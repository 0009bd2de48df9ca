//! Connections: accepted until the gateway is told to stop, each with a time in which its headers must come.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{App, http};

/// How long the headers of a request may take to come, and how long a connection may idle before them: longer than
/// proxies keep theirs, or one of them would send a request into a connection that is just being closed.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(75);
/// What the headers of a request may have.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// How long requests under way may take to finish once the gateway stops.
const GRACE: Duration = Duration::from_secs(10);
/// Before the next connection is accepted when none can be: no file descriptors are left, most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until `stop`; then ends streams, and waits for what is under way.
pub(crate) async fn serve(listener: TcpListener, app: &Arc<App>, stop: CancellationToken) {
    let router = http::router(Arc::clone(app));
    let connections = Arc::new(Semaphore::new(app.config.connections_max.min(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((connection, permit)) => connect(connection, permit, router.clone(), &graceful),
            Err(error) => {
                tracing::warn!("no connection can be accepted: {error}");
                sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    app.stop.cancel();
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way after {GRACE:?}");
    }
}

async fn accept(listener: &TcpListener, connections: &Arc<Semaphore>) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.map_err(std::io::Error::other)?;
    let (connection, _) = listener.accept().await?;
    // Tokens are small, and to be seen at once; a connection that is gone already need not.
    let _ = connection.set_nodelay(true);
    Ok((connection, permit))
}

fn connect(connection: TcpStream, permit: OwnedSemaphorePermit, router: Router, graceful: &GracefulShutdown) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT).max_buf_size(HEADER_BYTES_MAX);
    let served = builder.serve_connection(TokioIo::new(connection), TowerToHyperService::new(router));
    let served = graceful.watch(served);
    tokio::spawn(async move {
        if let Err(error) = served.await {
            tracing::debug!("a connection ended: {error}");
        }
        drop(permit);
    });
}
