//! What stands before every handler: who may ask at all, how long it may take, how much at once, what every answer says.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use telemetry::{TraceContext, context, spans};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::Instrument;

use crate::App;
use crate::problem::Problem;

/// How long a request may take until its answer begins; streams go on after that.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Requests under way at a time, streams not counted.
pub(crate) const REQUESTS_MAX: usize = 1024;

/// Gives every request its time, and refuses what is too much at once.
pub(crate) async fn bounded(State(requests): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let Ok(_permit) = requests.try_acquire() else {
        let detail = format!("this gateway has {REQUESTS_MAX} requests under way: try again, or ask another one");
        return Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).into_response();
    };
    let late = |_| {
        let detail = format!("no answer within {ANSWER_TIMEOUT:?}: repeat the request with the same Idempotency-Key");
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail).into_response()
    };
    timeout(ANSWER_TIMEOUT, next.run(request)).await.unwrap_or_else(late)
}

/// Lets pages of the gateway's own origin in, and of those that it was told; programs are no pages and have no origin.
pub(crate) async fn same_origin(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let (host, origin) = (text(headers, header::HOST), text(headers, header::ORIGIN));
    let (host, origin) = (host.map(str::to_owned), origin.map(str::to_owned));
    let admitted = admit(app.address, &app.config.origins, host.as_deref(), origin.as_deref());
    let is_listed = match admitted {
        Ok(is_listed) => is_listed,
        Err(problem) => return problem.into_response(),
    };
    let is_preflight = request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_listed && is_preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    if is_listed && let Some(origin) = origin.and_then(|origin| HeaderValue::from_str(&origin).ok()) {
        allow(response.headers_mut(), origin);
    }
    response
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a request may ask; and whether it comes from a page of a listed origin.
fn admit(address: SocketAddr, origins: &[String], host: Option<&str>, origin: Option<&str>) -> Result<bool, Problem> {
    let forbidden = |code, detail: String| Problem::new(StatusCode::FORBIDDEN, code, detail);
    let is_listed_host = |host: &str| origins.iter().any(|origin| authority(origin) == host);
    // A name that somebody else's DNS points at this machine makes their page look like ours.
    if let Some(host) = host
        && address.ip().is_loopback()
        && !is_loopback(host)
        && !is_listed_host(host)
    {
        let detail = format!(
            "this gateway listens at {address} only and is not {host:?}: if a proxy serves it there, start it with --origin https://{host}"
        );
        return Err(forbidden("foreign_host", detail));
    }
    let Some(origin) = origin else { return Ok(false) };
    if origins.iter().any(|listed| listed == origin) {
        return Ok(true);
    }
    if host.is_some_and(|host| authority(origin).eq_ignore_ascii_case(host)) {
        return Ok(false);
    }
    Err(forbidden("foreign_origin", format!("pages of {origin} may not use this gateway: start it with --origin {origin} if they should")))
}

fn authority(origin: &str) -> &str {
    origin.split_once("://").map_or("", |(_, authority)| authority)
}

fn is_loopback(host: &str) -> bool {
    // An IPv6 address stands in brackets; what follows the last colon outside of them is a port.
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    let fixed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type, idempotency-key, last-event-id, traceparent"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "location, retry-after"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

/// Puts what a request says to a conversation into a trace: the one of the user turn that it begins, or a part of it.
pub(crate) async fn traced(path: MatchedPath, request: Request, next: Next) -> Response {
    if request.method() == Method::GET {
        return next.run(request).await;
    }
    let span = spans::http_request(request.method().as_str(), path.as_str());
    // The caller's own trace is pointed to, and no more: it is not theirs to say what is sampled, or where a user turn begins.
    if let Some(caller) = TraceContext::from_headers(|name| request.headers().get(name)?.to_str().ok()) {
        context::add_link(&span, &caller);
    }
    let response = next.run(request).instrument(span.clone()).await;
    spans::responded(&span, response.status().as_u16());
    response
}

/// What every answer says.
pub(crate) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(address: &str, host: &str, origin: Option<&str>) -> Result<bool, String> {
        let origins = ["https://shop.example".to_owned()];
        let admitted = admit(address.parse().unwrap(), &origins, Some(host), origin);
        admitted.map_err(|problem| serde_json::to_value(problem).unwrap()["code"].as_str().unwrap().to_owned())
    }

    #[test]
    fn programs_and_own_pages_are_let_in() {
        assert_eq!(admitted("127.0.0.1:8080", "localhost:8080", None), Ok(false));
        assert_eq!(admitted("127.0.0.1:8080", "127.0.0.1:8080", Some("http://127.0.0.1:8080")), Ok(false));
        assert_eq!(admitted("[::1]:8080", "[::1]:8080", Some("http://[::1]:8080")), Ok(false));
        assert_eq!(admitted("0.0.0.0:8080", "chat.internal", Some("https://chat.internal")), Ok(false));
    }

    #[test]
    fn listed_origins_are_let_in_and_told_so() {
        assert_eq!(admitted("127.0.0.1:8080", "localhost:8080", Some("https://shop.example")), Ok(true));
        assert_eq!(admitted("127.0.0.1:8080", "shop.example", Some("https://shop.example")), Ok(true));
    }

    #[test]
    fn others_are_not() {
        let foreign = Err("foreign_origin".to_owned());
        assert_eq!(admitted("127.0.0.1:8080", "localhost:8080", Some("https://evil.example")), foreign);
        assert_eq!(admitted("127.0.0.1:8080", "localhost:8080", Some("http://localhost:9999")), foreign);
        assert_eq!(admitted("0.0.0.0:8080", "chat.internal", Some("null")), foreign);
        let rebound = admitted("127.0.0.1:8080", "evil.example:8080", Some("http://evil.example:8080"));
        assert_eq!(rebound, Err("foreign_host".to_owned()));
    }
}
