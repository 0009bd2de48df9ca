//! `/livez` and `/readyz`: alive is whoever answers, whatever the broker does (an outage must not restart a fleet); ready
//! is whoever can take work.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Answers at `address` until the process ends; the address that was bound.
pub(crate) async fn serve(address: SocketAddr, ready: watch::Receiver<bool>) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen at {address}: choose another one with --health"))?;
    let bound = listener.local_addr()?;
    let readyz = move || {
        let status = if *ready.borrow() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") };
        std::future::ready(status)
    };
    let app = Router::new().route("/livez", get(|| std::future::ready("alive\n"))).route("/readyz", get(readyz));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!("health checks are not answered any more: {error}");
        }
    });
    Ok(bound)
}
