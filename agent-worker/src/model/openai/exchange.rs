//! Below async-openai: one HTTP exchange, without the retries it would make, and with an answer it can read whatever the server's
//! habits. What it hands up is always a stream of events with bounds.

use std::io;
use std::sync::Arc;

use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Body, Response};
use serde::de::IgnoredAny;

use super::fault::{Fault, TOO_LARGE};
use super::target::Target;
use crate::model::connection::read_head;

/// Bytes of one event, or of an answer that is not streamed.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Sends a request once.
pub(super) async fn exchange(http: reqwest::Client, target: Arc<Target>, request: HttpRequestFactory) -> Result<Response, OpenAIError> {
    let request = request.build().await?;
    let response = http.execute(request).await.map_err(|error| boxed(Fault::broken(&error, &target)))?;
    if !response.status().is_success() {
        return Err(boxed(Fault::refusal(response, &target).await));
    }
    let is_streamed = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if is_streamed {
        return Ok(with_body(Body::wrap_stream(bounded(response.bytes_stream()))));
    }
    let document = whole(response, &target).await.map_err(boxed)?;
    Ok(with_body(Body::from(as_events(document, &target).map_err(boxed)?)))
}

fn boxed(fault: Fault) -> OpenAIError {
    OpenAIError::Boxed(Box::new(fault))
}

fn with_body(body: Body) -> Response {
    http::Response::new(body).into()
}

/// Fails when one event grows beyond [`EVENT_BYTES_MAX`]: whoever parses events keeps an unfinished one in memory.
fn bounded(body: impl Stream<Item = reqwest::Result<Bytes>>) -> impl Stream<Item = io::Result<Bytes>> {
    let (mut event_bytes, mut is_line_empty) = (0, true);
    body.map(move |chunk| {
        let chunk = chunk.map_err(io::Error::other)?;
        for byte in &chunk {
            event_bytes += 1;
            match byte {
                b'\n' if is_line_empty => event_bytes = 0,
                b'\n' => is_line_empty = true,
                b'\r' => {}
                _ => is_line_empty = false,
            }
        }
        if event_bytes > EVENT_BYTES_MAX { Err(io::Error::other(TOO_LARGE)) } else { Ok(chunk) }
    })
}

async fn whole(mut response: Response, target: &Target) -> Result<Vec<u8>, Fault> {
    let mut document = Vec::new();
    let is_whole = read_head(&mut response, &mut document, EVENT_BYTES_MAX).await.map_err(|error| Fault::broken(&error, target))?;
    if is_whole { Ok(document) } else { Err(Fault::garbled(TOO_LARGE)) }
}

/// A document as a stream of one event, so that answers are read in one way only.
fn as_events(document: Vec<u8>, target: &Target) -> Result<Vec<u8>, Fault> {
    let trimmed = document.trim_ascii();
    // Some servers stream without saying so.
    if [&b"data:"[..], b"event:", b"id:", b":"].iter().any(|field| trimmed.starts_with(field)) {
        return Ok(document);
    }
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(trimmed) {
        let excerpt: String = target.scrub(&String::from_utf8_lossy(trimmed)).chars().take(200).collect();
        return Err(Fault::garbled(&format!("{} sent no JSON: {error} in {excerpt:?}", target.shown)));
    }
    // JSON has no line break inside a text: all of them are space between its parts.
    let one_line = trimmed.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte });
    Ok(b"data: ".iter().copied().chain(one_line).chain(*b"\n\n").collect())
}
