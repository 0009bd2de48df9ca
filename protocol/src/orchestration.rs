//! An orchestration's definition, checked: whoever holds an [`Orchestration`] need not ask whether its start agent
//! exists, whether a handoff leads somewhere, or whether two tools share a name.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Audience, Effect, HistoryOption, InDoubt, Json};
use crate::ids::{AgentName, OrchestrationName, Revision};
use crate::manifest::{Api, Manifest};

/// The tool by which a model ends the conversation.
pub const COMPLETE_TASK: &str = "complete_task";
/// What the names of transfer tools begin with.
pub const TRANSFER_PREFIX: &str = "transfer_to_";

/// What the expression that ends a conversation may use.
pub const TERMINATE_VARIABLES: [&str; 3] = ["agent", "metadata", "text"];

/// A checked definition. Made by [`Manifest::check`] and by [`Builder`](crate::builder::Builder), never changed by being used.
#[derive(Clone, Debug, PartialEq)]
pub struct Orchestration {
    pub(crate) name: OrchestrationName,
    pub(crate) revision: Revision,
    pub(crate) start: AgentName,
    pub(crate) agents: BTreeMap<AgentName, Agent>,
    pub(crate) models: BTreeMap<String, Model>,
    pub(crate) limits: Limits,
    pub(crate) human: Human,
    pub(crate) retention: Retention,
    pub(crate) prompt: Prompt,
    pub(crate) input: Option<Json>,
    pub(crate) output: Option<Json>,
    pub(crate) terminate_when: Option<String>,
    pub(crate) fallback: Option<Fallback>,
    pub(crate) manifest: Manifest,
}

/// Who goes on where an agent cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// A person is asked.
    Human(Audience),
    /// Another agent is handed the conversation.
    Agent(AgentName),
}

/// A role: instructions, tools and handoffs.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// Its name in subjects, pods and tools.
    pub name: AgentName,
    /// Its name for people; the speaker's name in prompts.
    pub display_name: String,
    /// What it is for, in one sentence: what other agents' models read.
    pub description: String,
    /// What its model is told.
    pub instructions: String,
    /// Who plays it.
    pub player: Player,
    /// Its tools, transfers and `complete_task` not among them.
    pub tools: Vec<Tool>,
    /// Whom it may hand the conversation to.
    pub handoffs: Vec<Handoff>,
    /// Turns that one worker process runs at once.
    pub concurrency: usize,
}

impl Agent {
    /// What its calls can run: its tools, then what undoes them, each once.
    pub fn runnable(&self) -> impl Iterator<Item = &Tool> {
        let (mut names, undo) = (BTreeSet::new(), self.tools.iter().filter_map(|tool| tool.undo.as_deref()));
        self.tools.iter().chain(undo).filter(move |tool| names.insert(tool.name.as_str()))
    }

    /// Whether those whom `audience` names play this agent.
    pub fn is_played_at(&self, audience: &Audience) -> bool {
        matches!((&self.player, audience), (Player::Desk { name, .. }, Audience::Desk(desk)) if name == desk)
    }
}

/// Who plays an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Player {
    /// A model, by its key in [`Orchestration::model`].
    Model(String),
    /// People at a desk.
    Desk {
        /// The desk's name: requests go to `desk:<name>`.
        name: String,
        /// How long a request may wait there, in seconds.
        timeout_secs: u64,
    },
    /// A service of somebody else's.
    Remote(Remote),
    /// A type of the worker's own program, by its name there.
    Code(String),
}

/// See [`Player::Remote`]. `${VAR}` in URL and headers is resolved in the worker's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Where it is asked.
    pub url: String,
    /// Sent along.
    pub headers: BTreeMap<String, String>,
    /// Wall time of one request, in seconds.
    pub timeout_secs: u64,
    /// Retries of a request that failed before it answered.
    pub retries: u32,
}

/// A permitted edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Handoff {
    /// The target.
    pub to: AgentName,
    /// When to use it: the description of the transfer tool; never empty.
    pub when: String,
    /// A CEL expression over the conversation's metadata: where it does not hold, there is no such edge.
    pub condition: Option<String>,
    /// What the target sees of the source's tools.
    pub history: HistoryOption,
    /// A function of the target's worker, by its name there, through which goes what the target sees of all before.
    pub filter: Option<String>,
    /// JSON Schema of the payload, where the edge has one.
    pub payload: Option<Json>,
}

impl Handoff {
    /// The transfer tool's name: `transfer_to_<agent>`.
    pub fn tool_name(&self) -> String {
        format!("{TRANSFER_PREFIX}{}", self.to)
    }
}

/// A tool of an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// What the model calls it: `^[a-zA-Z0-9_-]{1,64}$`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its arguments; none for a code tool, whose schema the worker derives from the function's type.
    pub parameters: Option<Json>,
    /// Where it runs.
    pub source: ToolSource,
    /// What a repeated run may do.
    pub effect: Effect,
    /// What is done when it is unknown whether it ran.
    pub in_doubt: InDoubt,
    /// The tool that undoes it then, before anything else is done: idempotent or read-only, and perhaps none of its agent's.
    pub undo: Option<Box<Self>>,
    /// Who must approve a call before it runs; nobody by default.
    pub approval: Option<Audience>,
    /// Wall time of one run, in seconds.
    pub timeout_secs: u64,
}

/// Where a tool runs.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolSource {
    /// A Rust function registered with the worker under the tool's name.
    Code,
    /// An HTTP service; `${VAR}` in the texts is resolved in the worker's environment.
    Http(HttpEndpoint),
    /// A tool of an MCP server, under the same name there. What it takes and does, the server says.
    Mcp {
        /// Where.
        server: McpServer,
        /// Whether the definition says what a repeated run may do; if not, the server's hints do.
        is_effect_said: bool,
    },
    /// A NATS service: a request with the arguments as JSON.
    Nats {
        /// Where it answers.
        subject: String,
    },
    /// A text with `{argument}` placeholders, for trying an orchestration out: nothing runs.
    Template {
        /// The result.
        reply: String,
    },
}

/// See [`ToolSource::Http`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpEndpoint {
    /// `GET`, `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// May hold `{argument}` placeholders.
    pub url: String,
    /// Sent along.
    pub headers: BTreeMap<String, String>,
    /// Where arguments go that have no placeholder. Those that are not named here become the query (GET, HEAD, DELETE) or fields of a
    /// JSON body.
    pub places: BTreeMap<String, Place>,
}

/// A place in an HTTP request, under the name that it has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The query.
    Query(String),
    /// A header.
    Header(String),
    /// A field of the JSON body.
    Field(String),
    /// The whole JSON body.
    Body,
}

/// Where an MCP server is. `${VAR}` in the texts is resolved in the worker's environment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum McpServer {
    /// At an address, over streamable HTTP.
    Http {
        /// The address.
        url: String,
        /// Sent along.
        headers: BTreeMap<String, String>,
    },
    /// A child process of the worker.
    Child {
        /// The program and its arguments.
        command: Vec<String>,
        /// What its environment has besides the worker's.
        env: BTreeMap<String, String>,
    },
}

/// A model of an orchestration.
#[derive(Clone, Debug, PartialEq)]
pub enum Model {
    /// An endpoint that speaks OpenAI's Chat Completions. `${VAR}` and `${VAR:-default}` in the texts are resolved in the
    /// worker's environment, where the key's variable is read too: no secret enters a definition.
    Endpoint(Endpoint),
    /// A script in place of a model.
    Scripted(Vec<ScriptLine>),
}

/// See [`Model::Endpoint`].
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Which of OpenAI's interfaces it is asked by.
    pub api: Api,
    /// The provider, for traces: `openai`, `azure`, `ollama`, `vllm`, …
    pub provider: String,
    /// The model's (or Azure deployment's) name.
    pub name: String,
    /// The API's root; the provider's own by default.
    pub base_url: Option<String>,
    /// The variable that holds the key.
    pub api_key_env: Option<String>,
    /// Azure's `api-version`.
    pub api_version: Option<String>,
    /// Sent along.
    pub headers: BTreeMap<String, String>,
    /// Wall time of one request, in seconds.
    pub timeout_secs: u64,
    /// Retries of a request that failed before it answered.
    pub retries: u32,
    /// Whether answers are streamed.
    pub stream: bool,
    /// Further fields of the request, verbatim (`temperature`, `max_completion_tokens`, …).
    pub parameters: BTreeMap<String, Json>,
    /// The model that stands in, announced, when there is neither a key nor a base URL in the environment.
    pub or_else: Option<String>,
}

/// One line of a scripted model: the first whose conditions hold answers; where none does, the model fails and says so. A
/// line calls, transfers or completes, or none of these, and may say something with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a line of a script (a mapping)")]
pub struct ScriptLine {
    /// Only for this agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Only when the last message of a person contains this, whatever its case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Only when the last message is the result of this tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Only when that result contains this, whatever its case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned: Option<String>,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub say: Option<String>,
    /// The tool it calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The call's arguments, or the transfer's (`reason`, `payload`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, Json>,
    /// The agent it hands over to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<String>,
    /// It ends the conversation with this summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<String>,
    /// The value it ends the conversation with, where the orchestration has an output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
}

/// Bounds of a conversation (defaults: semantics 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Transfers in one user turn.
    pub handoffs_per_user_turn: u32,
    /// Model calls in one turn.
    pub model_calls_per_turn: u32,
    /// Wall time of one turn, in seconds.
    pub turn_secs: u64,
    /// Wall time of a human request, in seconds.
    pub human_secs: u64,
    /// Wall time of a conversation, in seconds; unbounded by default.
    pub conversation_secs: Option<u64>,
    /// Attempts at one turn before it counts as poison.
    pub attempts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handoffs_per_user_turn: 16,
            model_calls_per_turn: 24,
            turn_secs: 600,
            human_secs: 86_400,
            conversation_secs: None,
            attempts: 5,
        }
    }
}

/// How long what is over is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// A conversation after its end, in seconds; for ever by default.
    pub ended_secs: Option<u64>,
    /// What is left of an erased one, in seconds: until then its opening's key is remembered.
    pub erased_secs: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { ended_secs: None, erased_secs: 86_400 }
    }
}

/// How people take part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Human {
    /// What happens to a message while an agent works.
    pub on_message: OnMessage,
    /// Whether a reply goes to the start agent rather than to the one that asked.
    pub return_to_start: bool,
    /// How agents go on by themselves where they would ask the caller.
    pub autonomous: Option<Autonomous>,
}

/// How agents go on by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autonomous {
    /// How often in a row, before the caller is asked after all.
    pub turns: u32,
    /// What the agent is told instead of a reply.
    pub prompt: String,
}

/// What happens to a person's message while an agent works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnMessage {
    /// It is stored; the running turn goes on and then sees it.
    #[default]
    Enqueue,
    /// It fences the running turn off, and the owner is asked again with it.
    Interrupt,
    /// It is refused.
    Reject,
}

/// How the prompts of an orchestration's models are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Prompt {
    /// Each agent's as if there were no other: its instructions and its tools first.
    #[default]
    Isolated,
    /// All agents' begin alike, for providers' caches: one list of tools, then what all of them see.
    SharedPrefix,
}

impl Orchestration {
    /// Its name.
    pub const fn name(&self) -> &OrchestrationName {
        &self.name
    }

    /// The content hash of its definition.
    pub const fn revision(&self) -> &Revision {
        &self.revision
    }

    /// The agent that speaks first.
    pub const fn start(&self) -> &AgentName {
        &self.start
    }

    /// Its agents, by name.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    /// One of its agents.
    pub fn agent(&self, name: &AgentName) -> Option<&Agent> {
        self.agents.get(name)
    }

    /// A speaker's name for people: the agent's display name, or the name itself for an agent of another revision.
    pub fn display_name<'a>(&'a self, name: &'a AgentName) -> &'a str {
        self.agent(name).map_or(name.as_str(), |agent| agent.display_name.as_str())
    }

    /// One of its models.
    pub fn model(&self, key: &str) -> Option<&Model> {
        self.models.get(key)
    }

    /// Its bounds.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How long what is over is kept.
    pub const fn retention(&self) -> Retention {
        self.retention
    }

    /// How people take part.
    pub const fn human(&self) -> &Human {
        &self.human
    }

    /// How its models' prompts are made.
    pub const fn prompt(&self) -> Prompt {
        self.prompt
    }

    /// The agents whose prompts begin alike: those that models play, if any do.
    pub fn alike(&self) -> impl Iterator<Item = &Agent> {
        self.agents().filter(|agent| self.prompt == Prompt::SharedPrefix && matches!(agent.player, Player::Model(_)))
    }

    /// JSON Schema of what a conversation begins with, if not with anything.
    pub const fn input(&self) -> Option<&Json> {
        self.input.as_ref()
    }

    /// JSON Schema of what a conversation ends with, if not with a text.
    pub const fn output(&self) -> Option<&Json> {
        self.output.as_ref()
    }

    /// The CEL expression that ends a conversation where an agent's answer matches.
    pub fn terminate_when(&self) -> Option<&str> {
        self.terminate_when.as_deref()
    }

    /// Who goes on where an agent cannot.
    pub const fn fallback(&self) -> Option<&Fallback> {
        self.fallback.as_ref()
    }

    /// The people besides the caller who are asked: they play an agent, approve calls, or go on where an agent cannot.
    pub fn audiences(&self) -> BTreeSet<Audience> {
        let played = self.agents().filter_map(|agent| match &agent.player {
            Player::Desk { name, .. } => Some(Audience::Desk(name.clone())),
            Player::Model(_) | Player::Remote(_) | Player::Code(_) => None,
        });
        let approvals = self.agents().flat_map(|agent| &agent.tools).filter_map(|tool| tool.approval.clone());
        let fallback = self
            .fallback
            .as_ref()
            .and_then(|fallback| if let Fallback::Human(audience) = fallback { Some(audience.clone()) } else { None });
        played.chain(approvals).chain(fallback).filter(|audience| *audience != Audience::Caller).collect()
    }

    /// The file form it was made from, with files inlined.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bytes that are registered and whose hash is the revision.
    ///
    /// # Errors
    /// A definition that cannot be written as JSON, which no checked one is known to be.
    pub fn canonical(&self) -> Result<Vec<u8>, serde_json::Error> {
        self.manifest.canonical()
    }
}
