//! Tools: what an agent's model may call, and how a call is carried out.

pub mod build;
mod clip;
pub mod function;
pub mod http;
pub mod mcp;
pub mod nats;
pub mod template;
#[cfg(test)]
pub(crate) mod test_support;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use protocol::event::{Effect, Json};
use protocol::history::PromptMessage;
use protocol::ids::{AgentName, ConversationId, Seq};

use crate::model::Model;

pub use build::{Means, Reason, Unusable, away, build, completed};
pub use mcp::McpServers;

/// One run of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// The tool.
    pub tool: String,
    /// Arguments that match its schema.
    pub arguments: Json,
    /// The same for every run of the same call: a service that keeps it makes the call happen once.
    pub idempotency_key: String,
    /// The key of the call that this run is to undo, where it may have happened.
    pub undoes: Option<String>,
    /// The epoch of the caller: a service that remembers the highest can refuse a stale owner.
    pub epoch: Seq,
    /// In which conversation.
    pub conversation: ConversationId,
    /// Whose call it is.
    pub agent: AgentName,
}

/// Something that carries calls out.
#[async_trait]
pub trait Tool: Send + Sync + fmt::Debug {
    /// JSON Schema of the arguments, where the definition leaves it to the tool (Rust functions).
    fn parameters(&self) -> Option<Json> {
        None
    }

    /// What it does, where the definition leaves it to the tool.
    fn description(&self) -> Option<&str> {
        None
    }

    /// What a repeated run may do, where the definition leaves it to the tool (MCP servers).
    fn effect(&self) -> Option<Effect> {
        None
    }

    /// Whether schema and description are still the tool's own words.
    fn is_current(&self) -> bool {
        true
    }

    /// Runs a call; what the model is shown, or why it failed. The driver bounds its time.
    async fn run(&self, call: ToolCall) -> Result<String, ToolError>;
}

/// Why a call failed, in words for the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ToolError(pub String);

/// What a worker's own program brings, by name: tools written in Rust, agents of types of its own, filters of histories.
#[derive(Clone, Debug, Default)]
pub struct Functions {
    pub(crate) tools: BTreeMap<String, Arc<dyn Tool>>,
    pub(crate) agents: BTreeMap<String, Arc<dyn Model>>,
    pub(crate) filters: BTreeMap<String, Filter>,
}

/// See [`Functions::add_filter`].
#[derive(Clone)]
pub(crate) struct Filter(pub(crate) Arc<Filtering>);

type Filtering = dyn for<'a> Fn(Vec<PromptMessage<'a>>) -> Vec<PromptMessage<'a>> + Send + Sync;

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter")
    }
}
