//! Tools that are HTTP services.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use async_trait::async_trait;
use protocol::event::Json;
use protocol::orchestration::{HttpEndpoint, Place};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde_json::Map;

use super::clip::{ANSWER_BYTES_MAX, ERROR_BYTES_MAX, note};
use super::template::{Template, shown};
use super::{Tool, ToolCall, ToolError};
use crate::model::connection::{read_head, root_cause};
use crate::model::environment::{Environment, resolve};

/// A tool of an HTTP service ([`ToolSource::Http`](protocol::orchestration::ToolSource::Http)).
///
/// Every request carries `Idempotency-Key` (the same for every run of the same call), `Baton-Undoes` where it is to undo a call (that
/// one's key), `Baton-Epoch` (a service that remembers the highest can refuse a stale owner), `Baton-Conversation` and `traceparent`.
pub struct HttpTool {
    method: Method,
    url: Template,
    headers: HeaderMap,
    places: BTreeMap<String, Place>,
    client: Client,
}

impl HttpTool {
    /// A tool with its texts resolved in `environment`.
    ///
    /// # Errors
    /// What is wrong with the definition or missing in the environment, and the way out.
    pub fn new(endpoint: &HttpEndpoint, environment: Environment<'_>, client: Client) -> Result<Self, String> {
        let HttpEndpoint { method, url, headers, places } = endpoint;
        let resolved = |place: &str, text: &str| resolve(text, environment).map_err(|missing| format!("its {place}: {missing}"));
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("{method:?} is no HTTP method"))?;
        let url = Template::parse(&resolved("URL", url)?);
        // Where requests go is for the definition to say, never for a model.
        let has_authority = url.prefix().split_once("://").is_some_and(|(_, rest)| rest.contains(['/', '?']));
        if url.arguments().next().is_some() && !has_authority {
            return Err("its URL has a placeholder in the host: only the path and the query may have some".to_owned());
        }
        let sample = Url::parse(&filled_with_sample(&url)).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        sample.ok_or("its URL is no http(s) URL")?;
        let headers = headers.iter().map(|(name, value)| header(name, &resolved(&format!("header `{name}`"), value)?));
        Ok(Self { method, url, headers: headers.collect::<Result<_, _>>()?, places: places.clone(), client })
    }

    fn request(&self, call: &ToolCall) -> Result<RequestBuilder, ToolError> {
        let nothing = Map::new();
        let arguments = call.arguments.as_object().unwrap_or(&nothing);
        let mut url = self.url_for(arguments)?;
        let rest = arguments.iter().filter(|(name, _)| !self.url.arguments().any(|used| used == *name));
        let (mut query, mut headers) = (Vec::new(), self.headers.clone());
        let mut body = self.has_fields().then(|| Json::Object(Map::new()));
        for (name, value) in rest {
            match self.places.get(name).cloned().unwrap_or_else(|| self.place_of_any(name)) {
                Place::Query(name) => query.push((name, value)),
                Place::Header(name) => set_header(&mut headers, &name, value)?,
                Place::Body => body = Some(value.clone()),
                Place::Field(name) => {
                    if let Some(fields) = body.get_or_insert_with(|| Json::Object(Map::new())).as_object_mut() {
                        fields.insert(name, value.clone());
                    }
                }
            }
        }
        extend_query(&mut url, query);
        let request = self.client.request(self.method.clone(), url).headers(headers).headers(call_headers(call)?);
        Ok(match body {
            Some(body) => request.json(&body),
            None => request,
        })
    }

    fn place_of_any(&self, argument: &str) -> Place {
        if self.is_bodied() { Place::Field(argument.to_owned()) } else { Place::Query(argument.to_owned()) }
    }

    const fn is_bodied(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD | Method::DELETE)
    }

    /// Whether there is a body even when no argument goes there.
    fn has_fields(&self) -> bool {
        self.is_bodied() && (self.places.is_empty() || self.places.values().any(|place| matches!(place, Place::Field(_))))
    }

    /// The URL of a call. An argument stays within the one place that the definition gives it.
    fn url_for(&self, arguments: &Map<String, Json>) -> Result<Url, ToolError> {
        let filled = self.url.fill(|name| {
            let value = arguments.get(name).filter(|value| !value.is_null());
            let value = value.ok_or_else(|| ToolError(format!("The argument {name} is missing. Nothing was called.")))?;
            Ok(Cow::Owned(percent_encoded(&shown(value))))
        })?;
        // An argument that is empty or all dots would move the request to another path, however it is encoded.
        let sample = filled_with_sample(&self.url);
        let moves =
            segments(&filled).zip(segments(&sample)).any(|(one, other)| one.is_empty() != other.is_empty() || matches!(one, "." | ".."));
        let url = if moves { None } else { Url::parse(&filled).ok() };
        url.ok_or_else(|| {
            ToolError("The arguments make no valid address: they may not be empty, or nothing but dots. Nothing was called.".to_owned())
        })
    }
}

#[async_trait]
impl Tool for HttpTool {
    async fn run(&self, call: ToolCall) -> Result<String, ToolError> {
        let response = self.request(&call)?.send().await.map_err(|error| self.unanswered(&error))?;
        let status = response.status();
        if !status.is_success() {
            let body = text(response, ERROR_BYTES_MAX).await.unwrap_or_default();
            return Err(ToolError(format!("The service answers {status}: {body}").trim_end_matches(": ").to_owned()));
        }
        let body = text(response, ANSWER_BYTES_MAX).await.map_err(|error| self.unanswered(&error))?;
        Ok(if body.is_empty() { status.to_string() } else { body })
    }
}

impl fmt::Debug for HttpTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL, too, may hold a secret of the environment.
        f.debug_struct("HttpTool").field("method", &self.method).finish_non_exhaustive()
    }
}

impl HttpTool {
    fn unanswered(&self, error: &reqwest::Error) -> ToolError {
        let cause = root_cause(error);
        ToolError(match error.is_connect() || error.is_builder() {
            true => format!("The service cannot be reached: {cause}. Nothing was called."),
            false if self.method == Method::GET => format!("The service did not answer: {cause}."),
            false => format!("The service did not answer: {cause}. It is unknown whether the call took effect."),
        })
    }
}

fn filled_with_sample(url: &Template) -> String {
    url.fill(|_| Ok::<_, std::convert::Infallible>(Cow::Borrowed("x"))).unwrap_or_default()
}

/// What stands between slashes, up to the query.
fn segments(url: &str) -> impl Iterator<Item = &str> {
    url.split(['?', '#']).next().unwrap_or_default().split('/')
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            // Writing to a String cannot fail.
            _ => _ = write!(encoded, "%{byte:02X}"),
        }
        encoded
    })
}

/// A list is repeated, item by item; null is left out.
fn extend_query(url: &mut Url, arguments: Vec<(String, &Json)>) {
    let pairs = arguments.into_iter().flat_map(|(name, value)| {
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        values.iter().filter(|value| !value.is_null()).map(move |value| (name.clone(), shown(value)))
    });
    let pairs: Vec<_> = pairs.collect();
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
}

/// A header that a call chooses; null is left out.
fn set_header(headers: &mut HeaderMap, name: &str, value: &Json) -> Result<(), ToolError> {
    if value.is_null() {
        return Ok(());
    }
    let invalid = || ToolError(format!("What is given for the header {name} cannot stand in one. Nothing was called."));
    let key = HeaderName::try_from(name).map_err(|_| invalid())?;
    headers.insert(key, HeaderValue::try_from(&*shown(value)).map_err(|_| invalid())?);
    Ok(())
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let key = HeaderName::try_from(name).map_err(|_| format!("{name:?} is no name of an HTTP header"))?;
    // The value may be a secret: the error does not repeat it.
    let mut value = HeaderValue::from_str(value).map_err(|_| format!("its header `{name}` has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok((key, value))
}

fn call_headers(call: &ToolCall) -> Result<HeaderMap, ToolError> {
    let trace = telemetry::context::current();
    let (parent, state) = trace.map_or((None, None), |trace| (Some(trace.traceparent), trace.tracestate));
    let headers = [
        ("idempotency-key", Some(call.idempotency_key.clone())),
        ("baton-undoes", call.undoes.clone()),
        ("baton-epoch", Some(call.epoch.0.to_string())),
        ("baton-conversation", Some(call.conversation.to_string())),
        ("traceparent", parent),
        ("tracestate", state),
    ];
    let mut map = HeaderMap::new();
    for (name, value) in headers.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        let value =
            HeaderValue::try_from(value).map_err(|_| ToolError(format!("The call's {name} is no valid header. Nothing was called.")))?;
        map.insert(HeaderName::from_static(name), value);
    }
    Ok(map)
}

/// A body as text, up to a size.
async fn text(mut response: Response, bytes_max: usize) -> reqwest::Result<String> {
    let mut body = Vec::new();
    let is_whole = read_head(&mut response, &mut body, bytes_max).await?;
    let text = String::from_utf8_lossy(&body);
    Ok(match is_whole {
        true => text.into_owned(),
        // Where the cut went through a character, half of it is left.
        false => text.trim_end_matches('\u{FFFD}').to_owned() + &note(bytes_max),
    })
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
