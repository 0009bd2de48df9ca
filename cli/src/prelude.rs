//! What a program with agents of its own needs.
//!
//! | in Semantic Kernel | here |
//! |---|---|
//! | `ChatCompletionAgent` | [`AgentDef`] |
//! | `OrchestrationHandoffs`, `HandoffOrchestration` | [`Orchestration::builder`], [`Builder`] |
//! | `@kernel_function`, plugins | [`Functions`] |
//! | any agent type | [`Model`], [`Functions::add_agent`] |
//! | `agent_response_callback` | [`Callbacks::on_message`]; at a terminal [`terminal::agent_response`] |
//! | `streaming_agent_response_callback` | [`Callbacks::on_token`]; [`terminal::streaming_agent_response`] |
//! | `human_response_function` | [`Callbacks::on_question`]; [`terminal::human_response`] |
//! | `InProcessRuntime` | [`Runtime`] |
//! | `orchestration.invoke(task, runtime)` | [`Runtime::invoke`] |
//! | `result.get()` | [`Handle::get`], [`Handle::get_as`] |
//! | `runtime.stop_when_idle()` | [`Runtime::stop_when_idle`] |

pub use agent_worker::model::{Model, ModelError, Request, Tokens};
pub use agent_worker::tools::ToolCall;
pub use agent_worker::{Functions, Worker};
pub use async_trait::async_trait;
pub use client::{
    Answer, BoxError, Callbacks, Client, Content, ConverseError, GetError, Handle, Input, Line, Opening, Outcome, Question, Side, Token,
    ValueError,
};
pub use journal::nats::Settings;
pub use protocol::builder::{AgentDef, Builder, Invalid};
pub use protocol::event::{Audience, Call, Effect, RequestKind, Responded, Verdict};
pub use protocol::history::PromptMessage;
pub use protocol::manifest::{
    AutonomousSpec, Checked, CodeToolSpec, DeskSpec, HandoffSpec, HttpSpec, HumanSpec, LimitsSpec, McpSpec, ModelSpec, NatsSpec,
    OpenapiSpec, RemoteSpec, RetentionSpec, Seconds, TemplateSpec, ToolsetSpec,
};
pub use protocol::orchestration::Orchestration;

pub use crate::runtime::Runtime;
pub use crate::terminal;
