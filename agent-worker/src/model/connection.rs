//! HTTP, as models and tools share it.

use std::error::Error;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Response};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection is silent before the kernel asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The client for models and tools. How long an answer may take depends on the request, and whoever sends it bounds it. Redirects are
/// not followed: a definition says whom to talk to, a server does not.
///
/// # Errors
/// What TLS reports.
pub fn http_client() -> reqwest::Result<Client> {
    // A program that embeds a worker need not know which TLS provider it comes with; the one that is there already stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("baton/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(KEEPALIVE)
        .redirect(Policy::none())
        .build()
}

/// Reads a body into `head` until it has more than `bytes_max`; whether that was all of it. `head` keeps what came before an error.
pub(crate) async fn read_head(response: &mut Response, head: &mut Vec<u8>, bytes_max: usize) -> reqwest::Result<bool> {
    while let Some(chunk) = response.chunk().await? {
        head.extend_from_slice(&chunk);
        if head.len() > bytes_max {
            head.truncate(bytes_max);
            return Ok(false);
        }
    }
    Ok(true)
}

/// Why a request failed, without its URL, which may hold secrets.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "timed out".to_owned();
    }
    // The layers above it only say that something below them failed.
    let mut cause: Option<&dyn Error> = error.source();
    while let Some(deeper) = cause.and_then(Error::source) {
        cause = Some(deeper);
    }
    cause.map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}
