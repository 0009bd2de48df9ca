//! An agent that somebody else's service plays. Its protocol is in `docs/remote-agent.md`: one POST a step, answered with one JSON
//! document, or with its pieces one by one.

mod framing;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::event::Responded;
use protocol::ids::EntryId;
use protocol::orchestration::Remote;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use secrecy::SecretString;
use tokio::time::timeout;

use super::attempts::{Attempts, Bounds};
use super::build::ConfigError;
use super::connection::root_cause;
use super::environment::{Environment, resolve};
use super::fault::{Fault, Peer};
use super::{Model, ModelError, Request, Tokens};
use framing::{Framing, Splitter};
use wire::Reading;

/// The provider's name, for traces.
const PROVIDER: &str = "remote";
/// What is understood of an answer's forms.
const ACCEPTED: &str = "application/json, application/x-ndjson, text/event-stream";
/// Words of headers that are shorter are no secrets, and hiding them would spoil what people are told.
const SECRET_CHARS_MIN: usize = 8;

/// See the module.
pub struct RemoteAgent {
    url: Url,
    /// The host, which stands for the model where the service does not name one.
    name: String,
    peer: Peer,
    headers: HeaderMap,
    http: Client,
    bounds: Bounds,
}

impl RemoteAgent {
    /// The agent that `remote` plays, with its texts resolved in `environment`.
    ///
    /// # Errors
    /// [`ConfigError`], which says what to set or to change.
    pub fn new(remote: &Remote, environment: Environment<'_>, http: Client) -> Result<Self, ConfigError> {
        let resolved = |place: &str, text: &str| {
            resolve(text, environment).map_err(|missing| ConfigError::Remote { place: place.to_owned(), problem: missing.to_string() })
        };
        let url = Url::parse(resolved("url", &remote.url)?.trim()).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(|| ConfigError::Remote { place: "url".to_owned(), problem: "this is no http(s) URL".to_owned() })?;
        let (mut headers, mut secrets) = (HeaderMap::new(), Vec::new());
        for (name, text) in &remote.headers {
            let place = format!("header `{name}`");
            let value = resolved(&place, text)?;
            secrets.extend(value.split_whitespace().filter(|word| word.len() >= SECRET_CHARS_MIN).map(SecretString::from));
            let (name, value) = header(name, &value).map_err(|problem| ConfigError::Remote { place, problem })?;
            headers.insert(name, value);
        }
        let host = url.host_str().unwrap_or_default();
        let name = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let (peer, bounds) = (Peer::new(url.clone(), secrets), Bounds::new(remote.timeout_secs, remote.retries));
        Ok(Self { url, name, peer, headers, http, bounds })
    }

    fn request(&self, body: Bytes, key: &str) -> RequestBuilder {
        let trace = telemetry::context::current();
        let (parent, state) = trace.map_or((None, None), |trace| (Some(trace.traceparent), trace.tracestate));
        let request = self.http.post(self.url.clone()).header(CONTENT_TYPE, "application/json").header(ACCEPT, ACCEPTED);
        let own = [("idempotency-key", Some(key.to_owned())), ("traceparent", parent), ("tracestate", state)];
        let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
        own.fold(request.headers(self.headers.clone()), |request, (name, value)| request.header(name, value)).body(body)
    }

    /// One attempt, as long as it takes.
    async fn attempt(&self, body: Bytes, key: &str, seen: usize, tokens: &mut dyn Tokens) -> Result<Responded, Fault> {
        let sent = self.request(body, key).send().await;
        let mut response = sent.map_err(|error| self.unanswered(&error))?;
        if !response.status().is_success() {
            return Err(Fault::refusal(response, &self.peer, |status| self.way_out(status)).await);
        }
        let framing = Framing::of(response.headers().get(CONTENT_TYPE));
        let (mut splitter, mut answer) = (Splitter::new(framing), Reading::new(&self.peer));
        while !answer.is_over() {
            let Some(chunk) = self.chunk(&mut response, answer.has_begun()).await? else {
                splitter.end().map_or(Ok(()), |rest| answer.take(&rest, tokens))?;
                break;
            };
            for document in splitter.take(&chunk)? {
                answer.take(&document, tokens)?;
            }
        }
        answer.finish(framing, seen, &self.name)
    }

    /// Until the service begins to answer, only the time of the whole request counts.
    async fn chunk(&self, response: &mut Response, has_begun: bool) -> Result<Option<Bytes>, Fault> {
        let chunk = match has_begun {
            true => timeout(self.bounds.idle, response.chunk()).await.map_err(|_| self.bounds.silence(&self.peer))?,
            false => response.chunk().await,
        };
        chunk.map_err(|error| self.unanswered(&error))
    }

    fn unanswered(&self, error: &reqwest::Error) -> Fault {
        // What cannot even be sent cannot be sent another time.
        if error.is_builder() { Fault::refused(root_cause(error)) } else { Fault::broken(error, &self.peer) }
    }

    fn way_out(&self, status: StatusCode) -> Option<String> {
        let url = &self.peer.shown;
        match status.as_u16() {
            401 | 403 => Some(format!("who calls {url} is said by `remote.headers`")),
            404 | 405 => Some(format!("does {url} take POST requests of remote agents? Check `remote.url`")),
            300..=399 => Some(format!("{url} redirects, which is not followed: give the address it redirects to as `remote.url`")),
            _ => None,
        }
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
    // The value may be a secret, and an error is printed.
    let mut value = HeaderValue::from_str(value).map_err(|_| "its value holds characters that no HTTP header may have".to_owned())?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[async_trait]
impl Model for RemoteAgent {
    fn provider(&self) -> &str {
        PROVIDER
    }

    fn name(&self) -> &str {
        &self.name
    }

    async fn respond(&self, request: &Request<'_>, tokens: &mut dyn Tokens) -> Result<Responded, ModelError> {
        let body = wire::body(request).to_string();
        // The same question has the same key, whichever worker asks it, and however often.
        let key = EntryId::of_request(&request.conversation, &body).to_string();
        let body = Bytes::from(body);
        let mut attempts = Attempts::new(self.bounds, &self.peer, request, tokens);
        loop {
            let attempt = self.attempt(body.clone(), &key, request.messages.len(), attempts.tokens());
            let outcome = timeout(self.bounds.request, attempt).await;
            if let Some(answer) = attempts.settle(outcome).await {
                return answer;
            }
        }
    }
}

impl fmt::Debug for RemoteAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteAgent").field("url", &self.peer.shown).finish_non_exhaustive()
    }
}
