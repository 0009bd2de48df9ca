//! Every name that a trace of Baton shows: operations and attribute keys.
//!
//! The `gen_ai.*` names follow OpenTelemetry's GenAI conventions, the `messaging.*` names its messaging conventions, and what neither
//! has is `baton.*`. They are constants of our own because `opentelemetry-semantic-conventions` deprecates all of its GenAI names.

/// The `tracing` target of every span that Baton exports; spans with another target stay in the process.
pub const TARGET: &str = "baton";

/// What a span does: the first word of its name.
pub mod operation {
    /// A request to the gateway over HTTP: the root of a trace.
    pub const REQUEST: &str = "request";
    /// A person's message is accepted: the root of a trace, or right below the request that brought it.
    pub const USER_TURN: &str = "user_turn";
    /// A worker handles one delivery of a work item.
    pub const PROCESS: &str = "process";
    /// One entry is published to the journal.
    pub const SEND: &str = "send";
    /// A work item is acked, given back or terminated.
    pub const SETTLE: &str = "settle";
    /// An agent's turn.
    pub const INVOKE_AGENT: &str = "invoke_agent";
    /// A model call.
    pub const CHAT: &str = "chat";
    /// A tool call; a transfer is one too.
    pub const EXECUTE_TOOL: &str = "execute_tool";
    /// Something the coordinator did on its own.
    pub const ACT: &str = "act";
}

// What the OpenTelemetry layer reads, since names of `tracing` spans are static.

/// Name of the exported span, instead of the static one.
pub const OTEL_NAME: &str = "otel.name";
/// Kind of the exported span: `server`, `client`, `producer`, `consumer` or `internal`.
pub const OTEL_KIND: &str = "otel.kind";
/// Makes the span's status an error, with this description.
pub const OTEL_STATUS_DESCRIPTION: &str = "otel.status_description";

// Any span.

/// Low-cardinality class of what went wrong; absent when nothing did.
pub const ERROR_TYPE: &str = "error.type";
/// The conversation, on every span.
pub const CONVERSATION: &str = "gen_ai.conversation.id";

// Requests.

/// `GET`, `POST` and so on.
pub const HTTP_METHOD: &str = "http.request.method";
/// The path with placeholders for what varies.
pub const HTTP_ROUTE: &str = "http.route";
/// The status that was answered.
pub const HTTP_STATUS: &str = "http.response.status_code";
/// Always `http`: a proxy in front may speak TLS, a gateway does not.
pub const URL_SCHEME: &str = "url.scheme";

// Agents and models.

/// One of the GenAI [`operation`]s.
pub const GEN_AI_OPERATION: &str = "gen_ai.operation.name";
/// The agent's name in its orchestration.
pub const AGENT_NAME: &str = "gen_ai.agent.name";
/// What the agent is for, in one sentence of its definition.
pub const AGENT_DESCRIPTION: &str = "gen_ai.agent.description";
/// Revision of the orchestration that defines the agent.
pub const AGENT_VERSION: &str = "gen_ai.agent.version";
/// Who serves the model, such as `openai`.
pub const PROVIDER: &str = "gen_ai.provider.name";
/// The model that was asked for.
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
/// The model that answered, which is often more specific.
pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
/// The provider's id of the answer.
pub const RESPONSE_ID: &str = "gen_ai.response.id";
/// Why the model stopped; a list with one element.
pub const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
/// Tokens read by the model, cached ones included.
pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Tokens written by the model.
pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// Tokens of the input that the provider had cached.
pub const CACHED_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";

// Bodies, recorded on opt-in only: see `spans::content`.

/// What the model was sent, as JSON.
pub const INPUT_MESSAGES: &str = "gen_ai.input.messages";
/// What the model answered, as JSON.
pub const OUTPUT_MESSAGES: &str = "gen_ai.output.messages";
/// What a tool was called with, as JSON.
pub const TOOL_ARGUMENTS: &str = "gen_ai.tool.call.arguments";
/// What a tool returned.
pub const TOOL_RESULT: &str = "gen_ai.tool.call.result";

// Tools and transfers.

/// The tool's name, as the model sees it.
pub const TOOL_NAME: &str = "gen_ai.tool.name";
/// The model's id of the call.
pub const TOOL_CALL_ID: &str = "gen_ai.tool.call.id";
/// Always `function`: every tool of Baton is one to a model.
pub const TOOL_TYPE: &str = "gen_ai.tool.type";
/// `agent` or `human`.
pub const TRANSFER_TARGET_TYPE: &str = "gen_ai.transfer.target.type";
/// The agent that becomes the owner.
pub const TRANSFER_TARGET_NAME: &str = "gen_ai.transfer.target.name";
/// Always `pass_control`: whoever transfers does not wait for an answer.
pub const TRANSFER_MODE: &str = "gen_ai.transfer.mode";

// Messaging.

/// Always `nats`.
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// What is done with the message, in Baton's words: `send`, `process`, `ack` and so on.
pub const MESSAGING_OPERATION: &str = "messaging.operation.name";
/// The convention's word for it: `send`, `process` or `settle`.
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
/// The subject with placeholders for what varies.
pub const DESTINATION_TEMPLATE: &str = "messaging.destination.template";
/// The durable consumer that delivers: an agent's.
pub const CONSUMER_GROUP: &str = "messaging.consumer.group.name";
/// The id of the entry that is the message; the same value as [`ENTRY_ID`].
pub const MESSAGE_ID: &str = "messaging.message.id";

// Baton's own.

/// The id of the entry that the span is about.
pub const ENTRY_ID: &str = "baton.entry.id";
/// That entry's number in its conversation.
pub const ORDINAL: &str = "baton.ordinal";
/// The epoch the span acts in: sequence of the entry that granted ownership.
pub const EPOCH: &str = "baton.epoch";
/// How often the work item has been delivered, this time included; above 1, an attempt before this one died or gave it back.
pub const DELIVERY_COUNT: &str = "baton.delivery.count";
