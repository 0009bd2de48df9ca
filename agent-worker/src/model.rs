//! What a worker asks of a language model, whoever provides it.

mod answer;
mod attempts;
pub mod build;
pub(crate) mod connection;
mod desk;
pub mod environment;
mod fault;
pub mod openai;
pub mod remote;
pub mod scripted;
#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
pub(crate) mod test_support;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use protocol::event::{Json, Responded};
use protocol::history::PromptMessage;
use protocol::ids::{AgentName, ConversationId};

pub use build::{ConfigError, build};

/// One request to a model. A prompt is a projection of the journal, nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// Whose turn it is.
    pub agent: AgentName,
    /// In which conversation.
    pub conversation: ConversationId,
    /// What the model sees.
    pub messages: Vec<PromptMessage<'a>>,
    /// What it may call, transfers and `complete_task` among them.
    pub tools: Arc<[ToolDefinition]>,
    /// Where it is shown what others may call, too: the names of what it may call itself.
    pub allowed: Option<Arc<[String]>>,
    /// JSON Schema of its text, where a text would be the conversation's result.
    pub output: Option<Json>,
}

/// A tool as a model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolDefinition {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: Json,
}

/// Where a model's text goes while it is still being written.
pub trait Tokens: Send {
    /// A piece of text.
    fn text(&mut self, piece: &str);
    /// What was written so far does not count: the request is tried again.
    fn reset(&mut self);
}

/// Nobody watches.
impl Tokens for () {
    fn text(&mut self, _piece: &str) {}
    fn reset(&mut self) {}
}

/// A model.
#[async_trait]
pub trait Model: Send + Sync + fmt::Debug {
    /// The provider's name, for traces.
    fn provider(&self) -> &str;

    /// The model's name, for traces.
    fn name(&self) -> &str;

    /// One response. Retries within its bounds; dropping the future aborts the request at once.
    async fn respond(&self, request: &Request<'_>, tokens: &mut dyn Tokens) -> Result<Responded, ModelError>;
}

/// Why a model did not respond, after bounded retries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// It asks for a pause longer than a worker waits within a turn: the turn is put off.
    #[error("the model asks for a pause of {} s: {detail}", .wait.as_secs())]
    Later {
        /// The pause.
        wait: Duration,
        /// In the provider's words.
        detail: String,
    },
    /// It could not be reached, or broke off, or was too slow.
    #[error("the model is not available: {0}")]
    Unavailable(String),
    /// It refuses the request: asking again would not help.
    #[error("the model refuses the request: {0}")]
    Refused(String),
    /// What it answered is no answer.
    #[error("the model's answer cannot be understood: {0}")]
    Garbled(String),
}
