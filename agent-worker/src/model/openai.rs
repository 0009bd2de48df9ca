//! A model behind any endpoint that speaks OpenAI's Chat Completions. Only here and below is async-openai used.

mod answer;
mod exchange;
mod fault;
mod target;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use protocol::event::{Json, Responded};
use protocol::orchestration::Endpoint;
use tokio::time::{sleep, timeout};

use super::build::ConfigError;
use super::environment::Environment;
use super::{Model, ModelError, Request, Tokens};
use answer::{Answer, Chunk};
use exchange::Exchange;
use fault::Fault;
use target::Target;

/// The longest pause that is waited for within a turn.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a model that has begun to write may be silent. Before that it may think for as long as the whole request may take.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// The pause before the first retry is up to this long, doubling up to [`WAIT_MAX`].
const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// See the module.
pub struct OpenAi {
    provider: String,
    target: Arc<Target>,
    http: reqwest::Client,
    stream: bool,
    parameters: BTreeMap<String, Json>,
    bounds: Bounds,
}

/// How long, and how often.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    request: Duration,
    idle: Duration,
    backoff: Duration,
    retries: u32,
}

impl OpenAi {
    /// The model behind `endpoint`, with its texts and its key taken from `environment`. Connections are `http`'s, which bounds how long
    /// they take to come about ([`http_client`](super::build::http_client)).
    ///
    /// # Errors
    /// [`ConfigError`], which says what to set or to change.
    pub fn new(endpoint: &Endpoint, environment: Environment<'_>, http: reqwest::Client) -> Result<Self, ConfigError> {
        let target = Target::new(endpoint, environment)?;
        if let Some(name) = wire::RESERVED.iter().find(|name| endpoint.parameters.contains_key(**name)) {
            let problem = "Baton sets this field itself".to_owned();
            return Err(ConfigError::Invalid { model: target.model, place: format!("parameter `{name}`"), problem });
        }
        Ok(Self {
            provider: endpoint.provider.clone(),
            target: Arc::new(target),
            http,
            stream: endpoint.stream,
            parameters: endpoint.parameters.clone(),
            bounds: Bounds {
                request: Duration::from_secs(endpoint.timeout_secs.max(1)),
                idle: IDLE_MAX,
                backoff: BACKOFF_FIRST,
                retries: endpoint.retries,
            },
        })
    }

    /// One attempt, as long as it takes.
    async fn attempt(&self, body: &Json, seen: usize, tokens: &mut dyn Tokens) -> Result<Responded, Fault> {
        let exchange = Exchange::new(self.http.clone(), Arc::clone(&self.target));
        let (client, fault) = (exchange.client(), |error| exchange.fault(error));
        // A document that is not streamed arrives as a stream of one event.
        let mut events = client.chat().create_stream_byot::<_, Chunk>(body).await.map_err(fault)?;
        let mut answer = Answer::of(&self.target);
        loop {
            // Until the model begins to write, only the time of the whole request counts.
            let chunk = match answer.has_begun() {
                true => timeout(self.bounds.idle, events.next()).await.map_err(|_| self.silence())?,
                false => events.next().await,
            };
            match chunk {
                Some(chunk) => answer.take(chunk.map_err(fault)?, tokens)?,
                None => return answer.finish(seen),
            }
        }
    }

    fn silence(&self) -> Fault {
        Fault::passing(format!("{} fell silent for {:?} while it answered", self.target.shown, self.bounds.idle))
    }

    /// The pause before retry number `retry`, counted from 0: between nothing and twice as long each time, so that workers which failed
    /// together do not come back together.
    fn pause(&self, retry: u32, wait: Option<Duration>) -> Duration {
        let most = self.bounds.backoff.saturating_mul(2_u32.saturating_pow(retry)).min(WAIT_MAX);
        wait.unwrap_or_default() + most.mul_f64(fastrand::f64())
    }
}

#[async_trait]
impl Model for OpenAi {
    fn provider(&self) -> &str {
        &self.provider
    }

    fn name(&self) -> &str {
        &self.target.model
    }

    async fn respond(&self, request: &Request, tokens: &mut dyn Tokens) -> Result<Responded, ModelError> {
        let body = wire::body(request, &self.target.model, self.stream, &self.parameters);
        let mut written = Written { tokens, any: false };
        let mut retry = 0;
        loop {
            let attempt = timeout(self.bounds.request, self.attempt(&body, request.messages.len(), &mut written)).await;
            let fault = match attempt {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(fault)) => fault,
                Err(_) => Fault::passing(format!("no complete answer from {} within {:?}", self.target.shown, self.bounds.request)),
            };
            written.withdraw();
            let (error, wait) = match fault {
                Fault::Final(error) => return Err(error),
                Fault::Passing { error, wait } => (error, wait),
            };
            if let Some(wait) = wait.filter(|wait| *wait > WAIT_MAX) {
                return Err(ModelError::Later { wait, detail: detail(error) });
            }
            if retry >= self.bounds.retries {
                return Err(after(retry, error));
            }
            let pause = self.pause(retry, wait);
            tracing::warn!(agent = %request.agent, conversation = %request.conversation, model = self.target.model, %error, ?pause, "the model is asked again");
            sleep(pause).await;
            retry += 1;
        }
    }
}

/// What the error says beyond its kind.
fn detail(error: ModelError) -> String {
    match error {
        ModelError::Later { detail, .. } | ModelError::Unavailable(detail) | ModelError::Refused(detail) | ModelError::Garbled(detail) => {
            detail
        }
    }
}

/// The last attempt's error, with how many there were.
fn after(retries: u32, error: ModelError) -> ModelError {
    match error {
        ModelError::Unavailable(problem) if retries > 0 => ModelError::Unavailable(format!("{problem} (asked {} times)", retries + 1)),
        other => other,
    }
}

/// Passes text on, and knows whether an attempt that failed must take some back.
struct Written<'a> {
    tokens: &'a mut dyn Tokens,
    any: bool,
}

impl Written<'_> {
    fn withdraw(&mut self) {
        if std::mem::take(&mut self.any) {
            self.tokens.reset();
        }
    }
}

impl Tokens for Written<'_> {
    fn text(&mut self, piece: &str) {
        self.any = true;
        self.tokens.text(piece);
    }
    fn reset(&mut self) {
        self.withdraw();
    }
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAi").field("provider", &self.provider).field("target", &self.target).finish_non_exhaustive()
    }
}
