//! What stands before every handler: who may ask at all, how long it may take, how much at once, what every answer says.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use telemetry::{TraceContext, context, spans};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::Instrument;

use crate::origin::Origin;
use crate::problem::Problem;
use crate::{App, extract};

/// How long a request may take until its answer begins; streams go on after that. A client of the journal says sooner what it knows.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const _: () = assert!(client::PATIENCE.as_secs() < ANSWER_TIMEOUT.as_secs());
/// How long a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests under way at a time, streams not counted.
pub(crate) const REQUESTS_MAX: usize = 1024;

/// Takes a request in, gives it its time, and refuses what is too much at once.
pub(crate) async fn bounded(State(requests): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    // Whoever is slow to say what they want keeps nobody else waiting.
    let request = match timeout(BODY_TIMEOUT, taken_in(request)).await {
        Ok(Ok(request)) => request,
        Ok(Err(problem)) => return problem.into_response(),
        Err(_) => {
            let detail = format!("the body did not come within {BODY_TIMEOUT:?}");
            return Problem::new(StatusCode::REQUEST_TIMEOUT, "slow_body", detail).into_response();
        }
    };
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

async fn taken_in(request: Request) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    Ok(Request::from_parts(parts, extract::read(body).await?.into()))
}

/// Lets pages of the gateway's own origin in, and of those that it was told; programs are no pages and have no origin.
pub(crate) async fn same_origin(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let admitted = From::read(headers).and_then(|from| Ok((admit(app.address, &app.config.origins, &from)?, from.origin)));
    let listed = match admitted {
        Ok((is_listed, origin)) => origin.filter(|_| is_listed),
        Err(problem) => return problem.into_response(),
    };
    let is_preflight = request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if listed.is_some() && is_preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    if let Some(origin) = listed.and_then(|origin| HeaderValue::from_str(&origin).ok()) {
        allow(response.headers_mut(), origin);
    }
    response
}

/// What a request says of where it comes from, and where it believes to go.
#[derive(Debug, Default)]
struct From {
    host: Option<String>,
    origin: Option<String>,
    /// A page of another site asks for it in the background.
    is_cross_site: bool,
}

impl From {
    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let text = |name: &'static str| {
            let mut values = headers.get_all(name).iter();
            match (values.next().map(HeaderValue::to_str), values.next()) {
                (None, _) => Ok(None),
                (Some(Ok(text)), None) => Ok(Some(text.to_ascii_lowercase())),
                _ => Err(forbidden("foreign_origin", format!("a request has one {name}, of ASCII"))),
            }
        };
        let is_cross_site = text("sec-fetch-site")?.is_some_and(|site| site == "cross-site");
        // A link from elsewhere that a person follows is welcome.
        let is_followed = text("sec-fetch-mode")?.is_some_and(|mode| mode == "navigate");
        Ok(Self { host: text("host")?, origin: text("origin")?, is_cross_site: is_cross_site && !is_followed })
    }
}

fn forbidden(code: &str, detail: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, code, detail)
}

/// Whether a request may ask; and whether it comes from a page of a listed origin.
fn admit(address: SocketAddr, origins: &[Origin], from: &From) -> Result<bool, Problem> {
    let host = from.host.as_deref();
    // A name that somebody else's DNS points at this machine makes their page look like ours.
    if let Some(host) = host
        && address.ip().is_loopback()
        && !is_loopback(host)
        && !origins.iter().any(|origin| origin.authority() == host)
    {
        let detail = format!(
            "this gateway listens at {address} only and is not {host:?}: if a proxy serves it there, start it with --origin https://{host}"
        );
        return Err(forbidden("foreign_host", detail));
    }
    let Some(origin) = from.origin.as_deref() else {
        return match from.is_cross_site {
            true => Err(forbidden("foreign_origin", "pages of other sites may not use this gateway".to_owned())),
            false => Ok(false),
        };
    };
    let parsed = origin.parse::<Origin>().ok();
    if let Some(origin) = &parsed {
        if origins.contains(origin) {
            return Ok(true);
        }
        if host == Some(origin.authority()) {
            return Ok(false);
        }
    }
    Err(forbidden("foreign_origin", format!("pages of {origin} may not use this gateway: start it with --origin {origin} if they should")))
}

fn is_loopback(host: &str) -> bool {
    // An IPv6 address stands in brackets; a name has no colon but the one before its port.
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or(("", "")),
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    is_port && (name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
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
        let headers = [("host", Some(host)), ("origin", origin)].into_iter().filter_map(|(name, value)| Some((name, value?)));
        admitted_with(address, headers)
    }

    fn admitted_with<'a>(address: &str, headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<bool, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let origins = ["https://shop.example".parse().unwrap()];
        let admitted = From::read(&map).and_then(|from| admit(address.parse().unwrap(), &origins, &from));
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
        for origin in ["ws://localhost:8080", "chrome-extension://localhost:8080", "http://localhost:8080/", "http://\u{fc}"] {
            assert_eq!(admitted("127.0.0.1:8080", "localhost:8080", Some(origin)), foreign, "{origin}");
        }
        let twice = [("host", "localhost:8080"), ("origin", "http://localhost:8080"), ("origin", "https://evil.example")];
        assert_eq!(admitted_with("127.0.0.1:8080", twice), foreign);
        let behind = [("host", "localhost:8080"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
        assert_eq!(admitted_with("127.0.0.1:8080", behind), foreign);
        let followed = [("host", "localhost:8080"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert_eq!(admitted_with("127.0.0.1:8080", followed), Ok(false));
        for host in ["[::1]evil", "localhost:evil", "localhost.evil.example", "127.0.0.1.evil.example:8080"] {
            assert_eq!(admitted("127.0.0.1:8080", host, None), Err("foreign_host".to_owned()), "{host}");
        }
        let rebound = admitted("127.0.0.1:8080", "evil.example:8080", Some("http://evil.example:8080"));
        assert_eq!(rebound, Err("foreign_host".to_owned()));
    }
}
