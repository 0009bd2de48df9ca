//! What is taken from a request, with everything that can be wrong about it said.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use axum::body::HttpBody;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use protocol::ids::{ConversationId, RequestId};
use serde::de::DeserializeOwned;
use telemetry::spans;
use tracing::Span;
use utoipa::IntoParams;

use crate::problem::Problem;

/// What a body may have.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;
/// Levels of nesting in it: as many as an entry takes that records it.
pub(crate) const DEPTH_MAX: usize = protocol::wire::DEPTH_MAX - 1;
/// What an Idempotency-Key may have.
const KEY_CHARS_MAX: usize = 255;

/// A body of JSON.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let refused = |code, detail| Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, detail));
        if !is_json(request.headers()) {
            return refused("not_json", "the body must be JSON: send it with `Content-Type: application/json`");
        }
        if request.headers().contains_key(header::CONTENT_ENCODING) {
            return refused("encoded", "the body must be sent as it is, without a Content-Encoding");
        }
        parse(&read(request.into_body()).await?).map(Self)
    }
}

/// All of a body, if it is not too much.
pub(crate) async fn read(body: axum::body::Body) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("a request may have at most {BODY_BYTES_MAX} bytes: send less, or a reference to it");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    };
    // What is announced need not be waited for.
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let mut chunks = body.into_data_stream();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Problem::invalid("unreadable", format!("the body cannot be read: {error}")))?;
        if bytes.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if depth(bytes) > DEPTH_MAX {
        return Err(Problem::invalid("too_deep", format!("the body may have at most {DEPTH_MAX} levels of nesting")));
    }
    // Serde would take a list for an object, field by field.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::invalid("bad_body", "the body must be a JSON object"));
    }
    serde_json::from_slice(bytes).map_err(|error| Problem::invalid("bad_body", format!("the body is not what is expected here: {error}")))
}

/// The deepest nesting of a JSON text, whether or not it is one.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The `Idempotency-Key`, if there is one.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct Key {
    /// A repeat with the same key returns the first answer.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    pub(crate) key: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all("idempotency-key").iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Ok(Self { key: None }),
            (Some(value), None) => value,
            (Some(_), Some(_)) => return Err(Problem::invalid("bad_key", "a request has one Idempotency-Key")),
        };
        let text = value.to_str().ok().filter(|key| (1..=KEY_CHARS_MAX).contains(&key.len()) && key.chars().all(|c| c.is_ascii_graphic()));
        let detail = || format!("an Idempotency-Key has 1 to {KEY_CHARS_MAX} visible ASCII characters: a UUID, for example");
        text.map(|key| Self { key: Some(key.to_owned()) }).ok_or_else(|| Problem::invalid("bad_key", detail()))
    }
}

/// The query of a request.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|axum::extract::Query(query)| Self(query)).map_err(|error| Problem::invalid("bad_query", error.body_text()))
    }
}

/// The conversation that a path names.
#[derive(Debug)]
pub(crate) struct OfConversation(pub(crate) ConversationId);

impl<S: Send + Sync> FromRequestParts<S> for OfConversation {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let conversation: ConversationId = in_path(parts, state, "conversation").await?;
        spans::conversation(&Span::current(), conversation.as_str());
        Ok(Self(conversation))
    }
}

/// The human request that a path names.
#[derive(Debug)]
pub(crate) struct OfRequest(pub(crate) RequestId);

impl<S: Send + Sync> FromRequestParts<S> for OfRequest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        in_path(parts, state, "request").await.map(Self)
    }
}

async fn in_path<T: FromStr<Err: Display>>(parts: &mut Parts, state: &(impl Send + Sync), name: &str) -> Result<T, Problem> {
    let path = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
    let Path(path) = path.map_err(|error| Problem::invalid("bad_id", error.body_text()))?;
    id(path.get(name).map_or("", String::as_str))
}

/// An identifier that came as text.
pub(crate) fn id<T: FromStr<Err: Display>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: T::Err| Problem::invalid("bad_id", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_texts() {
        assert_eq!(depth(br#"{"a": [1, {"b": "[[[[{{\"[[["}]}"#), 3);
        assert_eq!(depth(b"]]]][["), 2);
        assert_eq!(depth(&[b'['; 70_000]), 70_000);
    }

    #[test]
    fn a_body_that_is_too_deep_is_not_parsed() {
        let nested = |levels: usize| format!("{{\"a\": {}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1)).into_bytes();
        assert!(parse::<serde_json::Value>(&nested(DEPTH_MAX)).is_ok());
        let problem = parse::<serde_json::Value>(&nested(DEPTH_MAX + 1)).unwrap_err();
        assert_eq!(serde_json::to_value(problem).unwrap()["code"], "too_deep");
    }
}
