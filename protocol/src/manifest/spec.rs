//! What a manifest says, key by key: the types that the file is read into and the JSON Schema is made from. They hold
//! whatever has the right shape; whether it makes sense is [`Manifest::check`](super::Manifest::check)'s business.
//! `docs/manifest.md` lists the same keys for people.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seconds::Seconds;
use crate::event::{Audience, Effect, HistoryOption, InDoubt, Json};
use crate::orchestration::{OnMessage, Prompt, ScriptLine};

/// An orchestration in its file form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a manifest (a mapping)")]
#[schemars(title = "Baton orchestration")]
pub struct Manifest {
    /// The version of this format.
    pub api_version: ApiVersion,
    /// What the file describes.
    pub kind: Kind,
    /// What it is called.
    pub metadata: Metadata,
    /// What it consists of.
    pub spec: Spec,
}

/// The versions of the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first.
    #[default]
    #[serde(rename = "baton/v1alpha1")]
    V1Alpha1,
}

/// What a manifest can describe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// An orchestration.
    #[default]
    Orchestration,
}

/// What an orchestration is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping with a name")]
pub struct Metadata {
    /// Its name: 1 to 63 of a-z, 0-9 and '-'.
    pub name: String,
}

/// What an orchestration consists of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an orchestration (a mapping with start and agents)")]
pub struct Spec {
    /// The agent that speaks first.
    pub start: String,
    /// With no handoff anywhere: everyone may hand to everyone else (default: false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<bool>,
    /// The models, by the key that agents use; the one under `default` serves agents that name none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, ModelSpec>,
    /// The bounds of a conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,
    /// How people take part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human: Option<HumanSpec>,
    /// How long what is over is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionSpec>,
    /// How the prompts of models are made (default: isolated).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Prompt>,
    /// JSON Schema of what a conversation begins with (default: anything). Then it begins with a value, not with a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Json>,
    /// JSON Schema of what a conversation ends with (default: a text).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// Ends the conversation well when an agent's answer without a transfer matches: a CEL expression over `text`, `agent`
    /// and `metadata`, as in `text.contains("DONE")`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminate_when: Option<String>,
    /// Who goes on where an agent cannot: its model fails, or a limit is reached (default: nobody, the conversation fails).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallbackSpec>,
    /// The agents, by name: 1 to 63 of a-z, 0-9 and '-', or a name like OrderStatusAgent, which is mapped to
    /// order-status-agent and kept as the display name.
    pub agents: BTreeMap<String, AgentSpec>,
    /// The toolsets, by the name that agents use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, ToolsetSpec>,
}

/// Who goes on where an agent cannot: exactly one of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "who goes on (a mapping with human or agent)")]
pub struct FallbackSpec {
    /// A person, asked what to do: `caller`, `role:<name>` or `desk:<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub human: Option<Audience>,
    /// Another agent, which is handed the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// A model, or a script in its place. `${VAR}` and `${VAR:-default}` in texts are resolved in the worker's environment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a model (a mapping with a provider)")]
pub struct ModelSpec {
    /// Who serves it; `compatible` is anyone who speaks OpenAI's Chat Completions, `scripted` is no model at all.
    pub provider: Provider,
    /// The model's (or Azure deployment's) name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which of OpenAI's interfaces it is asked by (default: chat).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
    /// The API's root (default: the provider's own).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The environment variable that holds the key (default: OPENAI_API_KEY for openai, AZURE_OPENAI_API_KEY for azure).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Azure's api-version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Headers of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Wall time of one request (default: 2m).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
    /// Retries of a request that failed before it answered (default: 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Whether answers are streamed (default: true).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Further fields of the request, verbatim (temperature, max_completion_tokens, …).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Json>,
    /// The key of the model that stands in, announced, where the environment has neither a key nor a base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub or_else: Option<String>,
    /// What a scripted model says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub script: Vec<ScriptLine>,
    /// A YAML file beside the manifest that holds the script instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script_file: Option<String>,
}

impl ModelSpec {
    /// One of OpenAI's models, by its name.
    pub fn openai(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// A script in a model's place.
    pub fn scripted(script: impl IntoIterator<Item = ScriptLine>) -> Self {
        Self { provider: Provider::Scripted, script: script.into_iter().collect(), ..Self::default() }
    }
}

/// OpenAI's interfaces to a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// Chat Completions, which nearly everybody speaks.
    #[default]
    Chat,
    /// Responses. Nothing is stored with the provider: the journal has it.
    Responses,
}

/// Who serves a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// OpenAI.
    #[default]
    OpenAi,
    /// Azure OpenAI.
    Azure,
    /// Ollama; by default on this machine.
    Ollama,
    /// vLLM.
    Vllm,
    /// Anyone else who speaks OpenAI's Chat Completions.
    Compatible,
    /// Nobody: a script answers.
    Scripted,
}

impl Provider {
    /// The word in manifests and traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Azure => "azure",
            Self::Ollama => "ollama",
            Self::Vllm => "vllm",
            Self::Compatible => "compatible",
            Self::Scripted => "scripted",
        }
    }

    /// The variable that holds the key where the model names none.
    pub const fn api_key_env(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some("OPENAI_API_KEY"),
            Self::Azure => Some("AZURE_OPENAI_API_KEY"),
            Self::Ollama | Self::Vllm | Self::Compatible | Self::Scripted => None,
        }
    }

    /// Whether nobody knows its address but the author.
    pub const fn needs_base_url(self) -> bool {
        match self {
            Self::Azure | Self::Vllm | Self::Compatible => true,
            Self::OpenAi | Self::Ollama | Self::Scripted => false,
        }
    }
}

/// The bounds of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "limits (a mapping)")]
pub struct LimitsSpec {
    /// Transfers from one message of a person to the next question (default: 16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handoffs_per_user_turn: Option<u32>,
    /// Model calls in one turn of an agent (default: 24).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_calls_per_turn: Option<u32>,
    /// Wall time of one turn of an agent (default: 10m).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_timeout: Option<Seconds>,
    /// How long a person may take to answer (default: 24h).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human_timeout: Option<Seconds>,
    /// Wall time of a conversation (default: unbounded).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_timeout: Option<Seconds>,
    /// Attempts at one turn before it fails the conversation (default: 5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
}

/// How long what is over is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "how long what is over is kept (a mapping)")]
pub struct RetentionSpec {
    /// A conversation, after its end (default: for ever); then it is erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Seconds>,
    /// What says of an erased conversation that there was one: for so long a repeated opening starts no other (default: 24h).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<Seconds>,
}

/// How people take part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "how people take part (a mapping)")]
pub struct HumanSpec {
    /// What happens to a message while an agent works (default: enqueue).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_message: Option<OnMessage>,
    /// Whether a reply goes to the start agent rather than to the one that asked (default: false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_to_start: Option<bool>,
    /// Agents go on by themselves where they would ask the caller (default: they ask).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autonomous: Option<AutonomousSpec>,
}

/// How agents go on by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "how agents go on by themselves (a mapping)")]
pub struct AutonomousSpec {
    /// How often in a row, before the caller is asked after all; a handoff begins anew (default: 50).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turns: Option<u32>,
    /// What the agent is told instead of a reply (default: to go on as well as it can).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// An agent: instructions, tools and handoffs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an agent (a mapping)")]
pub struct AgentSpec {
    /// Its name for people, and the speaker's name in prompts (default: its key).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// What it is for, in one sentence: what the models of other agents read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What its model is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// A text file beside the manifest that holds the instructions instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions_file: Option<String>,
    /// The key of its model (default: default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// People instead of a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desk: Option<DeskSpec>,
    /// A service of somebody else's instead of a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteSpec>,
    /// A type of the worker's own program instead of a model: the name it has there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Its tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolsFrom>,
    /// Whom it may hand the conversation to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handoffs: Vec<HandoffSpec>,
    /// How it is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerSpec>,
}

/// People who play an agent: its turn becomes a request at a desk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a desk (a mapping)")]
pub struct DeskSpec {
    /// The desk's name (default: the agent's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long a request may wait there (default: limits.humanTimeout).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
}

/// An agent behind HTTP: a turn is one POST with what the agent sees; the answer is a text, a transfer or a completion.
/// `${VAR}` in URL and headers is resolved in the worker's environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a remote agent (a mapping with url)")]
pub struct RemoteSpec {
    /// Where it is asked.
    pub url: String,
    /// Headers of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Wall time of one request (default: 2m).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
    /// Retries of a request that failed before it answered (default: 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

/// Tools that an agent takes from a toolset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping: from a toolset, and names")]
pub struct ToolsFrom {
    /// The toolset.
    pub from: String,
    /// Which of its tools (default: all).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// A permitted transfer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a handoff (a mapping with to)")]
pub struct HandoffSpec {
    /// The target.
    pub to: String,
    /// When to use it, for the model (default: the target's description).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Only where this holds: a CEL expression over the conversation's `metadata`, as in `metadata.tier == "gold"`
    /// (default: always). Where it does not, the model is not offered the handoff.
    #[serde(default, rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// What the target sees of the source's tool calls (default: none).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryOption>,
    /// A function of the target's worker that decides what the target sees of all that came before: the name it has there
    /// (default: none).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// JSON Schema of a payload that the source hands over with it (default: no payload).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Json>,
}

/// How an agent is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "how an agent is run (a mapping)")]
pub struct WorkerSpec {
    /// Turns that one worker process runs at once (default: 64).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How many worker processes there are (default: left to the deployment).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingSpec>,
}

/// How many worker processes an agent has. Read by the deployment, not by the worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping with min and max")]
pub struct ScalingSpec {
    /// At least so many; 0 lets the agent sleep while it has no work.
    pub min: u32,
    /// At most so many.
    pub max: u32,
    /// Waiting work items that justify one more (default: 5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog_per_replica: Option<u32>,
}

/// A toolset: exactly one of its kinds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a toolset (a mapping with one of code, http, mcp, nats, openapi and template)"
)]
pub struct ToolsetSpec {
    /// Rust functions that the worker registers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeSpec>,
    /// Endpoints of an HTTP service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSpec>,
    /// Tools of an MCP server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp: Option<McpSpec>,
    /// NATS services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nats: Option<NatsSpec>,
    /// Operations of an HTTP service that an OpenAPI document describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openapi: Option<OpenapiSpec>,
    /// Fixed texts, for trying an orchestration out: nothing runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateSpec>,
}

/// What is done with a call that may or may not have run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InDoubtSpec {
    /// A person decides.
    #[default]
    Ask,
    /// It runs again with the same key.
    Retry,
    /// It does not run again; the model is told that its outcome is unknown.
    Abandon,
    /// It is undone by this tool, which runs with the same arguments and must be idempotent or read-only. Where that fails, a person
    /// decides.
    Compensate(String),
}

impl InDoubtSpec {
    /// What is done where nothing undoes the call, or that fails.
    pub(crate) const fn otherwise(&self) -> InDoubt {
        match self {
            Self::Ask | Self::Compensate(_) => InDoubt::Ask,
            Self::Retry => InDoubt::Retry,
            Self::Abandon => InDoubt::Abandon,
        }
    }
}

impl From<InDoubt> for InDoubtSpec {
    fn from(in_doubt: InDoubt) -> Self {
        match in_doubt {
            InDoubt::Ask => Self::Ask,
            InDoubt::Retry => Self::Retry,
            InDoubt::Abandon => Self::Abandon,
        }
    }
}

/// Rust functions that the worker registers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "code tools (a mapping with names or tools)")]
pub struct CodeSpec {
    /// The names of functions about which nothing further is to be said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Functions, by name, with what is to be said about them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, CodeToolSpec>,
}

/// A Rust function; its arguments' schema comes from its type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a code tool (a mapping)")]
pub struct CodeToolSpec {
    /// What it does, for the model (default: what the worker's code says).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What a repeated run may do (default: side-effect).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// What is done when it is unknown whether it ran (default: ask).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_doubt: Option<InDoubtSpec>,
    /// Who must approve a call before it runs: `caller`, `role:<name>` or `desk:<name>` (default: nobody).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub approval: Option<Audience>,
    /// Wall time of one run (default: 30s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
}

/// An MCP server, over HTTP or as a child process of the worker: exactly one of `url` and `command`. What its tools take
/// and do, it says itself when the worker starts. `${VAR}` in texts is resolved in the worker's environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an MCP server (a mapping with url or command, and names or tools)")]
pub struct McpSpec {
    /// Its address (streamable HTTP).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Headers of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The program, and its arguments, that speaks MCP on its standard input and output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// What the program's environment has besides the worker's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The tools that are taken, where nothing further is to be said: what a server adds later is never offered by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Tools that are taken, by name, with what is to be said about them. What a repeated run may do is the server's word
    /// (`readOnlyHint`, `idempotentHint`) unless it is said here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, CodeToolSpec>,
}

/// NATS services: a call is a request with the arguments as JSON; the reply's text is the result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "NATS tools (a mapping with tools)")]
pub struct NatsSpec {
    /// The tools, by name.
    pub tools: BTreeMap<String, NatsToolSpec>,
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a NATS tool (a mapping with a subject)")]
pub struct NatsToolSpec {
    /// Where it answers.
    pub subject: String,
    /// What it does, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of its arguments, an object (default: no arguments).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Json>,
    /// What a repeated run may do (default: side-effect).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// What is done when it is unknown whether it ran (default: ask).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_doubt: Option<InDoubtSpec>,
    /// Who must approve a call before it runs: `caller`, `role:<name>` or `desk:<name>` (default: nobody).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub approval: Option<Audience>,
    /// Wall time of one request (default: 30s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
}

/// Operations of an HTTP service, from its OpenAPI 3 document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an OpenAPI service (a mapping with a document or a file)")]
pub struct OpenapiSpec {
    /// The document itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Json>,
    /// A YAML or JSON file beside the manifest that holds it instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The service's root (default: the document's first server).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Headers of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The operations that are taken, by `operationId` (default: all).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Operations about which something is to be said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, CodeToolSpec>,
}

/// Endpoints of an HTTP service. `${VAR}` in URLs and headers is resolved in the worker's environment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "HTTP tools (a mapping with tools)")]
pub struct HttpSpec {
    /// What the tools' paths are relative to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Headers of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The tools, by name.
    pub tools: BTreeMap<String, HttpToolSpec>,
}

/// One endpoint. `{argument}` in its path is replaced; the other arguments become the query (GET, DELETE) or a JSON body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an HTTP tool (a mapping with a method)")]
pub struct HttpToolSpec {
    /// The method.
    pub method: Method,
    /// The path below `baseUrl`, from its '/'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The whole URL instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What it does, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of its arguments, an object (default: no arguments).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Json>,
    /// What a repeated run may do (default: read-only for GET, else side-effect).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// What is done when it is unknown whether it ran (default: ask).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_doubt: Option<InDoubtSpec>,
    /// Who must approve a call before it runs: `caller`, `role:<name>` or `desk:<name>` (default: nobody).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub approval: Option<Audience>,
    /// Wall time of one request (default: 30s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
}

/// The methods of HTTP tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Reads.
    #[default]
    Get,
    /// Creates, or does.
    Post,
    /// Replaces.
    Put,
    /// Changes.
    Patch,
    /// Deletes.
    Delete,
}

impl Method {
    /// The word in a request line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Fixed texts in place of tools.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "template tools (a mapping with tools)")]
pub struct TemplateSpec {
    /// The tools, by name.
    pub tools: BTreeMap<String, TemplateToolSpec>,
}

/// A fixed text in place of a tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a template tool (a mapping with a reply)")]
pub struct TemplateToolSpec {
    /// What it does, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of its arguments, an object (default: no arguments).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Json>,
    /// Its result; `{argument}` is replaced.
    pub reply: String,
    /// What a repeated run may do (default: read-only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// What is done when it is unknown whether it ran (default: ask).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_doubt: Option<InDoubtSpec>,
    /// Who must approve a call before it runs: `caller`, `role:<name>` or `desk:<name>` (default: nobody).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub approval: Option<Audience>,
    /// Wall time of one run (default: 30s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
}
