//! One constructor for each kind of span that Baton exports, and what is recorded on them later.
//!
//! Agent, operation, provider and model are attributes from the start, because samplers see nothing else. A span that nobody wants
//! costs nothing: names are `format_args!`, formatted only when a span is really made. Record each thing once: a second value would be
//! exported next to the first.
//!
//! ```
//! use tracing::Instrument;
//!
//! # async fn ask() -> Result<&'static str, std::io::Error> { Ok("") }
//! # async fn example() {
//! let span = telemetry::spans::chat("openai", "gpt-5-mini", "triage", "c-17");
//! match ask().instrument(span.clone()).await {
//!     Ok(_) => telemetry::spans::answered(&span, &telemetry::spans::Answer { output_tokens: Some(12), ..Default::default() }),
//!     Err(error) => telemetry::spans::failed(&span, "connection", error),
//! }
//! # }
//! ```

use std::fmt::Display;

use opentelemetry::{Array, StringValue, Value};
use tracing::Span;
use tracing::field::{Empty, display};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::keys::{self, TARGET, operation};

/// A span as all of them are: a dynamic name, a kind, the conversation, and room for an error.
macro_rules! span {
    ($operation:path, $kind:literal, $name:expr, $conversation:expr, { $($fields:tt)* }) => {
        tracing::info_span!(
            target: TARGET,
            $operation,
            { keys::OTEL_NAME } = $name,
            { keys::OTEL_KIND } = $kind,
            { keys::CONVERSATION } = $conversation,
            { keys::ERROR_TYPE } = Empty,
            { keys::OTEL_STATUS_DESCRIPTION } = Empty,
            $($fields)*
        )
    };
}

/// A request over HTTP to `route`, the path with placeholders. What it says to a conversation becomes part of its trace. See
/// [`conversation`] and [`responded`].
pub fn http_request(method: &str, route: &str) -> Span {
    span!(operation::REQUEST, "server", format_args!("{method} {route}"), Empty, {
        { keys::HTTP_METHOD } = method,
        { keys::HTTP_ROUTE } = route,
        { keys::URL_SCHEME } = "http",
        { keys::HTTP_STATUS } = Empty,
    })
}

/// Records which conversation an [`http_request`] is about, once that is known.
pub fn conversation(span: &Span, id: &str) {
    span.record(keys::CONVERSATION, id);
}

/// Records how an [`http_request`] was answered. It has failed only if that is the server's fault.
pub fn responded(span: &Span, status: u16) {
    span.record(keys::HTTP_STATUS, i64::from(status));
    if status >= 500 {
        failed(span, &status.to_string(), "");
    }
}

/// A person's message is accepted: the root of a user turn's trace, unless a request brought it. See [`entry`].
pub fn user_turn(conversation: &str) -> Span {
    span!(operation::USER_TURN, "internal", operation::USER_TURN, conversation, {
        { keys::ENTRY_ID } = Empty,
        { keys::EPOCH } = Empty,
    })
}

/// A work item as it is delivered to a worker.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The agent whose work it is.
    pub agent: &'a str,
    /// The durable consumer that delivers it.
    pub consumer: &'a str,
    /// The form of its subject, with placeholders.
    pub template: &'a str,
    /// Its conversation.
    pub conversation: &'a str,
    /// Its entry's number there.
    pub ordinal: u64,
    /// How often it has been delivered, this time included.
    pub count: u64,
}

/// A worker handles a work item. See [`entry`].
pub fn process(delivery: &Delivery<'_>) -> Span {
    let Delivery { agent, consumer, template, conversation, ordinal, count } = *delivery;
    span!(operation::PROCESS, "consumer", format_args!("{} {agent}", operation::PROCESS), conversation, {
        { keys::MESSAGING_SYSTEM } = "nats",
        { keys::MESSAGING_OPERATION } = operation::PROCESS,
        { keys::MESSAGING_OPERATION_TYPE } = operation::PROCESS,
        { keys::DESTINATION_TEMPLATE } = template,
        { keys::CONSUMER_GROUP } = consumer,
        { keys::MESSAGE_ID } = Empty,
        { keys::AGENT_NAME } = agent,
        { keys::ENTRY_ID } = Empty,
        { keys::ORDINAL } = signed(ordinal),
        { keys::EPOCH } = Empty,
        { keys::DELIVERY_COUNT } = signed(count),
    })
}

/// An entry is published to a subject of the form `template`. See [`entry`].
pub fn publish(template: &str, conversation: &str, ordinal: u64) -> Span {
    span!(operation::SEND, "producer", format_args!("{} {template}", operation::SEND), conversation, {
        { keys::MESSAGING_SYSTEM } = "nats",
        { keys::MESSAGING_OPERATION } = operation::SEND,
        { keys::MESSAGING_OPERATION_TYPE } = operation::SEND,
        { keys::DESTINATION_TEMPLATE } = template,
        { keys::MESSAGE_ID } = Empty,
        { keys::ENTRY_ID } = Empty,
        { keys::ORDINAL } = signed(ordinal),
        { keys::EPOCH } = Empty,
    })
}

/// A work item of `agent`, delivered by `consumer`, is settled; `how` is the verb, such as `ack`, `nak` or `term`.
pub fn settle(how: &str, agent: &str, consumer: &str, conversation: &str) -> Span {
    span!(operation::SETTLE, "client", format_args!("{how} {agent}"), conversation, {
        { keys::MESSAGING_SYSTEM } = "nats",
        { keys::MESSAGING_OPERATION } = how,
        { keys::MESSAGING_OPERATION_TYPE } = operation::SETTLE,
        { keys::CONSUMER_GROUP } = consumer,
    })
}

/// Who takes a turn.
#[derive(Debug, Clone, Copy)]
pub struct Agent<'a> {
    /// Its name in its orchestration.
    pub name: &'a str,
    /// What it is for.
    pub description: &'a str,
    /// The orchestration's revision that defines it.
    pub revision: &'a str,
    /// Who serves its model.
    pub provider: &'a str,
    /// Its model.
    pub model: &'a str,
}

/// A turn of `agent` in the given epoch.
pub fn invoke_agent(agent: &Agent<'_>, conversation: &str, epoch: u64) -> Span {
    let Agent { name, description, revision, provider, model } = *agent;
    span!(operation::INVOKE_AGENT, "internal", format_args!("{} {name}", operation::INVOKE_AGENT), conversation, {
        { keys::GEN_AI_OPERATION } = operation::INVOKE_AGENT,
        { keys::PROVIDER } = provider,
        { keys::REQUEST_MODEL } = model,
        { keys::AGENT_NAME } = name,
        { keys::AGENT_DESCRIPTION } = description,
        { keys::AGENT_VERSION } = revision,
        { keys::EPOCH } = signed(epoch),
    })
}

/// One model call. See [`answered`].
pub fn chat(provider: &str, model: &str, agent: &str, conversation: &str) -> Span {
    span!(operation::CHAT, "client", format_args!("{} {model}", operation::CHAT), conversation, {
        { keys::GEN_AI_OPERATION } = operation::CHAT,
        { keys::PROVIDER } = provider,
        { keys::REQUEST_MODEL } = model,
        { keys::AGENT_NAME } = agent,
        { keys::RESPONSE_MODEL } = Empty,
        { keys::RESPONSE_ID } = Empty,
        { keys::INPUT_TOKENS } = Empty,
        { keys::OUTPUT_TOKENS } = Empty,
        { keys::CACHED_TOKENS } = Empty,
    })
}

/// One tool call.
pub fn execute_tool(tool: &str, call_id: &str, conversation: &str) -> Span {
    span!(operation::EXECUTE_TOOL, "internal", format_args!("{} {tool}", operation::EXECUTE_TOOL), conversation, {
        { keys::GEN_AI_OPERATION } = operation::EXECUTE_TOOL,
        { keys::TOOL_NAME } = tool,
        { keys::TOOL_CALL_ID } = call_id,
        { keys::TOOL_TYPE } = "function",
    })
}

/// Whom a transfer hands the conversation to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// Another agent, by its name.
    Agent(&'a str),
    /// A person.
    Human,
}

/// A transfer: the tool call that chose it, around the [`publish`] that makes it a fact. Who just answers hands over to a
/// person without a call.
pub fn transfer(target: Target<'_>, call_id: Option<&str>, conversation: &str) -> Span {
    let (kind, agent) = match target {
        Target::Agent(name) => ("agent", Some(name)),
        Target::Human => ("human", None),
    };
    let to = agent.unwrap_or(kind);
    span!(operation::EXECUTE_TOOL, "internal", format_args!("{} transfer_to_{to}", operation::EXECUTE_TOOL), conversation, {
        { keys::GEN_AI_OPERATION } = operation::EXECUTE_TOOL,
        { keys::TOOL_NAME } = format_args!("transfer_to_{to}"),
        { keys::TOOL_CALL_ID } = call_id,
        { keys::TOOL_TYPE } = "function",
        { keys::TRANSFER_TARGET_TYPE } = kind,
        { keys::TRANSFER_TARGET_NAME } = agent,
        { keys::TRANSFER_MODE } = "pass_control",
    })
}

/// Something the coordinator does on its own; `name` is the verb, such as `remind`. See [`entry`].
pub fn act(name: &str, conversation: &str) -> Span {
    span!(operation::ACT, "internal", name, conversation, {
        { keys::ENTRY_ID } = Empty,
        { keys::EPOCH } = Empty,
    })
}

/// Records the entry that `span` is about, once it is known; as the message, too, where the span is a messaging one.
pub fn entry(span: &Span, id: &str, epoch: u64) {
    span.record(keys::ENTRY_ID, id).record(keys::MESSAGE_ID, id).record(keys::EPOCH, signed(epoch));
}

/// What a model's answer says about itself; what is not known is not recorded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answer<'a> {
    /// The model that answered.
    pub model: Option<&'a str>,
    /// The provider's id of the answer.
    pub id: Option<&'a str>,
    /// Why the model stopped.
    pub finish_reason: Option<&'a str>,
    /// Tokens read, cached ones included.
    pub input_tokens: Option<u64>,
    /// Tokens written.
    pub output_tokens: Option<u64>,
    /// Tokens read from the provider's cache.
    pub cached_tokens: Option<u64>,
}

/// Records on a [`chat`] span how the model answered.
pub fn answered(span: &Span, answer: &Answer<'_>) {
    span.record(keys::RESPONSE_MODEL, answer.model)
        .record(keys::RESPONSE_ID, answer.id)
        .record(keys::INPUT_TOKENS, answer.input_tokens.map(signed))
        .record(keys::OUTPUT_TOKENS, answer.output_tokens.map(signed))
        .record(keys::CACHED_TOKENS, answer.cached_tokens.map(signed));
    if let Some(reason) = answer.finish_reason.filter(|_| !span.is_disabled()) {
        // A list by convention, and `tracing` has no lists.
        let reasons = vec![StringValue::from(reason.to_owned())];
        span.set_attribute(keys::FINISH_REASONS, Value::Array(Array::String(reasons)));
    }
}

/// Marks `span` as failed: `error_type` is its low-cardinality class, `description` is for people.
pub fn failed(span: &Span, error_type: &str, description: impl Display) {
    span.record(keys::ERROR_TYPE, error_type).record(keys::OTEL_STATUS_DESCRIPTION, display(description));
}

/// Records what people and models said under one of the body keys, such as [`keys::INPUT_MESSAGES`], if this process was told to
/// ([`capture_content`](crate::capture_content)). Otherwise `body` is not even called.
pub fn content(span: &Span, key: &'static str, body: impl FnOnce() -> String) {
    if crate::capture_content() && !span.is_disabled() {
        span.set_attribute(key, body());
    }
}

/// OpenTelemetry has signed integers only; left unsigned, `tracing-opentelemetry` exports a number as a string.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
