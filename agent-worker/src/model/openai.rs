//! A model behind any endpoint that speaks OpenAI's Chat Completions or Responses. Only here and below is async-openai used.

mod chat;
mod exchange;
mod fit;
mod responses;
mod target;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use async_openai::error::OpenAIError;
use async_trait::async_trait;
use futures::{Stream, StreamExt};
use protocol::event::Responded;
use protocol::manifest::Api;
use protocol::orchestration::Endpoint;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::attempts::{Attempts, Bounds};
use super::build::ConfigError;
use super::environment::Environment;
use super::fault::Fault;
use super::{Model, ModelError, Request, Tokens};
use exchange::Exchange;
use target::Target;

/// See the module.
pub struct OpenAi {
    endpoint: Endpoint,
    target: Arc<Target>,
    http: reqwest::Client,
    bounds: Bounds,
}

/// How an interface's answers are put together.
trait Reading {
    /// What a stream consists of.
    type Event: DeserializeOwned + Send + 'static;

    /// Whether the model has begun to write, after which it makes no long pauses.
    fn has_begun(&self) -> bool;

    /// Whether nothing that matters can follow, whatever the connection does.
    fn is_over(&self) -> bool {
        false
    }

    /// Takes the next event in; text goes to `tokens`, too.
    fn take(&mut self, event: Self::Event, tokens: &mut dyn Tokens) -> Result<(), Fault>;

    /// The response, when there is nothing more to come. `seen` is the number of the prompt's messages.
    fn finish(self, seen: usize) -> Result<Responded, Fault>;
}

impl OpenAi {
    /// The model behind `endpoint`, with its texts and its key taken from `environment`. Connections are `http`'s, which bounds how long
    /// they take to come about ([`http_client`](super::build::http_client)).
    ///
    /// # Errors
    /// [`ConfigError`], which says what to set or to change.
    pub fn new(endpoint: &Endpoint, environment: Environment<'_>, http: reqwest::Client) -> Result<Self, ConfigError> {
        let target = Target::new(endpoint, environment)?;
        let reserved = match endpoint.api {
            Api::Chat => chat::RESERVED,
            Api::Responses => responses::RESERVED,
        };
        if let Some(name) = reserved.iter().find(|name| endpoint.parameters.contains_key(**name)) {
            let problem = "Baton sets this field itself".to_owned();
            return Err(ConfigError::Invalid { model: target.model, place: format!("parameter `{name}`"), problem });
        }
        let bounds = Bounds::new(endpoint.timeout_secs, endpoint.retries);
        Ok(Self { endpoint: endpoint.clone(), target: Arc::new(target), http, bounds })
    }

    /// One attempt, as long as it takes. A document that is not streamed arrives as a stream of one event.
    async fn attempt(&self, request: &Request<'_>, tokens: &mut dyn Tokens) -> Result<Responded, Fault> {
        let (model, seen) = (&self.target.model, request.messages.len());
        let exchange = Exchange::new(self.http.clone(), Arc::clone(&self.target));
        let (client, fault) = (exchange.client(), |error: OpenAIError| exchange.fault(&error));
        match self.endpoint.api {
            Api::Chat => {
                let events = client.chat().create_stream_byot(chat::Body::of(request, model, &self.endpoint)).await.map_err(fault)?;
                self.read(events, &exchange, chat::Chunks::of(&self.target), tokens).await?.finish(seen)
            }
            Api::Responses => {
                let events =
                    client.responses().create_stream_byot(responses::Body::of(request, model, &self.endpoint)).await.map_err(fault)?;
                self.read(events, &exchange, responses::Events::of(&self.target), tokens).await?.finish(seen)
            }
        }
    }

    async fn read<R: Reading>(
        &self,
        mut events: impl Stream<Item = Result<R::Event, OpenAIError>> + Unpin,
        exchange: &Exchange,
        mut answer: R,
        tokens: &mut dyn Tokens,
    ) -> Result<R, Fault> {
        while !answer.is_over() {
            // Until the model begins to write, only the time of the whole request counts.
            let event = match answer.has_begun() {
                true => timeout(self.bounds.idle, events.next()).await.map_err(|_| self.bounds.silence(&self.target.peer))?,
                false => events.next().await,
            };
            match event {
                Some(event) => answer.take(event.map_err(|error| exchange.fault(&error))?, tokens)?,
                None => break,
            }
        }
        Ok(answer)
    }
}

#[async_trait]
impl Model for OpenAi {
    fn provider(&self) -> &str {
        &self.endpoint.provider
    }

    fn name(&self) -> &str {
        &self.target.model
    }

    async fn respond(&self, request: &Request<'_>, tokens: &mut dyn Tokens) -> Result<Responded, ModelError> {
        let mut attempts = Attempts::new(self.bounds, &self.target.peer, request, tokens);
        loop {
            let attempt = self.attempt(request, attempts.tokens());
            let outcome = timeout(self.bounds.request, attempt).await;
            if let Some(answer) = attempts.settle(outcome).await {
                return answer;
            }
        }
    }
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAi").field("provider", &self.endpoint.provider).field("target", &self.target).finish_non_exhaustive()
    }
}
