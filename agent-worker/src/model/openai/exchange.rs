//! Below async-openai: one HTTP exchange, without the retries it would make, and with an answer it can read whatever the server's
//! habits. What it hands up is always a stream of events with bounds.

use std::sync::{Arc, OnceLock};

use async_openai::Client;
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Body, Request, Response};
use serde::de::IgnoredAny;

use super::target::Target;
use crate::model::answer::{EVENT_BYTES_MAX, TOO_LARGE};
use crate::model::connection::read_head;
use crate::model::fault::{Fault, Peer};

/// One exchange, and what went wrong below the stream that async-openai makes of it: nothing but a text comes through there.
#[derive(Clone)]
pub(super) struct Exchange {
    http: reqwest::Client,
    target: Arc<Target>,
    fault: Arc<OnceLock<Fault>>,
}

impl Exchange {
    pub(super) fn new(http: reqwest::Client, target: Arc<Target>) -> Self {
        Self { http, target, fault: Arc::default() }
    }

    /// What an error of async-openai is about.
    pub(super) fn fault(&self, error: &OpenAIError) -> Fault {
        self.fault.get().cloned().unwrap_or_else(|| of_client(error, &self.target.peer))
    }

    /// A client that sends what it is given by this exchange.
    pub(super) fn client(&self) -> Client<Target> {
        let exchange = self.clone();
        let service = tower::service_fn(move |request| exchange.clone().send(request));
        Client::build(self.http.clone(), Target::clone(&self.target)).with_http_service(service)
    }

    async fn send(self, request: HttpRequestFactory) -> Result<Response, OpenAIError> {
        let outcome = self.body_of_answer(request.build().await?).await;
        outcome.map(|body| http::Response::new(body).into()).map_err(|fault| OpenAIError::Boxed(Box::new(self.noted(fault))))
    }

    async fn body_of_answer(&self, request: Request) -> Result<Body, Fault> {
        let target = &self.target;
        let response = self.http.execute(request).await.map_err(|error| Fault::broken(&error, &target.peer))?;
        if !response.status().is_success() {
            return Err(Fault::refusal(response, &target.peer, |status| target.way_out(status)).await);
        }
        let is_streamed = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if is_streamed {
            return Ok(Body::wrap_stream(self.clone().bounded(response.bytes_stream())));
        }
        let document = whole(response, &target.peer).await?;
        as_events(document, &target.peer).map(Body::from)
    }

    /// Fails when one event grows beyond [`EVENT_BYTES_MAX`]: whoever parses events keeps an unfinished one in memory.
    fn bounded(self, body: impl Stream<Item = reqwest::Result<Bytes>>) -> impl Stream<Item = Result<Bytes, Fault>> {
        let (mut event_bytes, mut is_line_empty) = (0, true);
        body.map(move |chunk| {
            let chunk = chunk.map_err(|error| self.noted(Fault::broken(&error, &self.target.peer)))?;
            for byte in &chunk {
                event_bytes += 1;
                match byte {
                    b'\n' if is_line_empty => event_bytes = 0,
                    b'\n' => is_line_empty = true,
                    b'\r' => {}
                    _ => is_line_empty = false,
                }
            }
            if event_bytes > EVENT_BYTES_MAX { Err(self.noted(Fault::garbled(TOO_LARGE))) } else { Ok(chunk) }
        })
    }

    fn noted(&self, fault: Fault) -> Fault {
        // Only the first fault can have caused the others.
        self.fault.get_or_init(|| fault).clone()
    }
}

/// What async-openai itself finds wrong.
fn of_client(error: &OpenAIError, peer: &Peer) -> Fault {
    Fault::garbled(match error {
        OpenAIError::JSONDeserialize(error, content) => format!("{error} in {:?}", peer.excerpt(content.as_bytes())),
        other => peer.scrub(&other.to_string()),
    })
}

async fn whole(mut response: Response, peer: &Peer) -> Result<Vec<u8>, Fault> {
    let mut document = Vec::new();
    let is_whole = read_head(&mut response, &mut document, EVENT_BYTES_MAX).await.map_err(|error| Fault::broken(&error, peer))?;
    if is_whole { Ok(document) } else { Err(Fault::garbled(TOO_LARGE)) }
}

/// A document as a stream of one event, so that answers are read in one way only.
fn as_events(document: Vec<u8>, peer: &Peer) -> Result<Vec<u8>, Fault> {
    let trimmed = document.trim_ascii();
    // Some servers stream without saying so.
    if [&b"data:"[..], b"event:", b"id:", b":"].iter().any(|field| trimmed.starts_with(field)) {
        return Ok(document);
    }
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(trimmed) {
        return Err(Fault::garbled(format!("{} sent no JSON: {error} in {:?}", peer.shown, peer.excerpt(trimmed))));
    }
    // JSON has no line break inside a text: all of them are space between its parts.
    let one_line = trimmed.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte });
    Ok(b"data: ".iter().copied().chain(one_line).chain(*b"\n\n").collect())
}
