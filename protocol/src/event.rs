//! The facts a conversation consists of. Past tense: an event has happened.
//!
//! These structs *are* the wire form (`docs/protocol.md` lists them, golden bytes hold them): MessagePack maps under a
//! `kind` string. A reader ignores fields it does not know and keeps kinds it does not know as [`Event::Unknown`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{AgentName, EntryId, EventId, Hash, InvalidId, Ordinal, ProcessId, RequestId};

/// Any JSON value: typed inputs, results and payloads.
pub type Json = serde_json::Value;

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $kind:literal),* $(,)?) => {
        /// One fact of a conversation.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Event {
            $($(#[$doc])* $name($name),)*
            /// A kind of a newer version: kept as it is, never interpreted, never dropped.
            Unknown {
                /// Its kind.
                kind: String,
                /// Its bytes.
                data: Bytes,
            },
        }

        impl Event {
            /// The kinds this version knows.
            pub const KINDS: &'static [&'static str] = &[$($kind),*];

            /// The kind as it stands on the wire; the kind of an entry is that of its last event.
            pub fn kind(&self) -> &str {
                match self {
                    $(Self::$name(_) => $kind,)*
                    Self::Unknown { kind, .. } => kind,
                }
            }

            /// Its fields as JSON, for people and programs that only look.
            pub fn to_json(&self) -> Json {
                match self {
                    $(Self::$name(event) => serde_json::to_value(event).unwrap_or_default(),)*
                    Self::Unknown { data, .. } => serde_json::json!({ "bytes": data.len() }),
                }
            }

            pub(crate) fn encode(&self) -> Result<Bytes, rmp_serde::encode::Error> {
                Ok(match self {
                    $(Self::$name(event) => crate::next::fields(event)?.into(),)*
                    Self::Unknown { data, .. } => data.clone(),
                })
            }

            pub(crate) fn decode(kind: &str, data: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
                Ok(match kind {
                    $($kind => Self::$name(crate::wire::from_slice(data)?),)*
                    _ => Self::Unknown { kind: kind.to_owned(), data: Bytes::copy_from_slice(data) },
                })
            }
        }
        $(impl From<$name> for Event {
            fn from(event: $name) -> Self {
                Self::$name(event)
            }
        })*
    };
}

events! {
    /// The conversation began.
    Opened = "opened",
    /// A person said something while no question to them was open.
    Said = "said",
    /// The model answered.
    Responded = "responded",
    /// Calls with side effects are about to run: from here on they may have happened.
    Intended = "intended",
    /// Calls that may have run are about to be undone: from here on what undoes them may have happened.
    Withdrawn = "withdrawn",
    /// A call has its result.
    Returned = "returned",
    /// Something unusual happened that people should see.
    Warned = "warned",
    /// Ownership moved along a handoff.
    Transferred = "transferred",
    /// The owner goes on in a new turn of its own.
    Continued = "continued",
    /// A person is asked.
    Asked = "asked",
    /// A question was answered.
    Replied = "replied",
    /// An approval or in-doubt request was decided.
    Decided = "decided",
    /// A person took a desk's request, or put it back.
    Claimed = "claimed",
    /// A person's message fenced the running turn off.
    Interrupted = "interrupted",
    /// A worker took a redelivered work item over.
    Taken = "taken",
    /// The owner put its turn off.
    Deferred = "deferred",
    /// A worker gave its turn back unfinished.
    HandedBack = "handed-back",
    /// A worker met something of a newer version.
    SetAside = "set-aside",
    /// The coordinator handed a turn out again.
    Redispatched = "redispatched",
    /// An operator gave the conversation to another agent.
    Reassigned = "reassigned",
    /// Everything so far, in one entry.
    Snapshotted = "snapshotted",
    /// The conversation ended well.
    Completed = "completed",
    /// The conversation ended badly.
    Failed = "failed",
    /// The conversation was called off.
    Cancelled = "cancelled",
    /// Nothing is left of it.
    Erased = "erased",
}

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A person.
    #[default]
    User,
    /// An agent.
    Assistant,
    /// The operator of the system.
    System,
}

/// One message of an opening.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    #[serde(default)]
    pub role: Role,
    /// The speaker's name, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is said.
    pub text: String,
}

/// See [`Event::Opened`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// The task.
    pub input: Vec<Message>,
    /// The task as a typed value, where the caller gave one; `input` shows it as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Json>,
    /// What conditional handoffs may look at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Json>,
    /// Whether somebody answers questions; without a human channel a plain answer completes.
    #[serde(default)]
    pub human: bool,
}

/// See [`Event::Said`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The message.
    pub text: String,
}

/// One tool call of a model's response, verbatim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The provider's id of it; unique in its response.
    pub id: String,
    /// The tool's name as the model wrote it.
    pub name: String,
    /// The arguments as the model wrote them: JSON, or what was meant to be.
    pub arguments: String,
}

/// Tokens as the provider counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    #[serde(default)]
    pub input_tokens: u64,
    /// Tokens of the answer.
    #[serde(default)]
    pub output_tokens: u64,
    /// Of the prompt's tokens, those served from the provider's cache.
    #[serde(default)]
    pub cached_tokens: u64,
}

/// See [`Event::Responded`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Responded {
    /// What it says; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The tools it calls, transfers among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    /// The model that answered, as the provider names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// What a repeated run of a call may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing outside changes: it runs without an intent.
    ReadOnly,
    /// The same key has one effect however often it runs.
    Idempotent,
    /// Each run may have an effect of its own.
    SideEffect,
}

/// What is done with a call that may or may not have run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InDoubt {
    /// A person decides.
    #[default]
    Ask,
    /// It runs again with the same key.
    Retry,
    /// It does not run again; the model is told that its outcome is unknown.
    Abandon,
}

/// One call of an intent: what a successor must know to go on without asking the model or the tool's declaration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntendedCall {
    /// The call's id in the response.
    pub call: String,
    /// The idempotency key that every run of it carries.
    pub key: String,
    /// What a repeated run may do.
    pub effect: Effect,
    /// What is done when it is unknown whether it ran.
    #[serde(default)]
    pub in_doubt: InDoubt,
    /// The tool that undoes it, where there is one: then that is run first. `in_doubt` is what a reader does that knows nothing of
    /// this field, and what is done where undoing fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
}

/// See [`Event::Intended`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intended {
    /// The calls of the response before it that are about to run.
    pub calls: Vec<IntendedCall>,
}

/// One call that is withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnCall {
    /// The call's id in the response.
    pub call: String,
    /// The tool that undoes it, with the same arguments.
    pub tool: String,
    /// The idempotency key that every run of that tool carries.
    pub key: String,
    /// The key of the call that is undone.
    pub undoes: String,
}

impl WithdrawnCall {
    /// What undoes a call whose intent names a tool for it. Its key comes from the intent's: whoever finds the intent undoes it
    /// under the same one.
    pub fn of(intended: &IntendedCall) -> Option<Self> {
        let tool = intended.undo.clone()?;
        Some(Self { call: intended.call.clone(), tool, key: format!("{}-undo", intended.key), undoes: intended.key.clone() })
    }
}

/// See [`Event::Withdrawn`]. A kind of its own: a reader that took it for an intent would run the call again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// The calls that are about to be undone.
    pub calls: Vec<WithdrawnCall>,
}

/// See [`Event::Returned`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned {
    /// The call's id in the owner's last response that has it unanswered.
    pub call: String,
    /// The tool that ran.
    pub tool: String,
    /// What the model is shown.
    pub content: String,
    /// Whether the call failed; the content then says why.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
}

/// See [`Event::Warned`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warned {
    /// What happened, as a stable word.
    pub code: Cow<'static, str>,
    /// For people.
    pub detail: String,
}

/// What the target of a transfer sees of the source's tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HistoryOption {
    /// Texts only.
    #[default]
    None,
    /// Texts, tool calls and their results.
    Tools,
    /// One summary in place of what came before.
    Summary,
}

/// See [`Event::Transferred`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transferred {
    /// The new owner.
    pub to: AgentName,
    /// The call that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// Why, in the model's words: data for people, never an instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A typed payload for the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Json>,
    /// What the target sees of the source's tools.
    #[serde(default)]
    pub history: HistoryOption,
    /// What came before, where `history` is a summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// Why an owner goes on by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Continuation {
    /// A person's message arrived while it worked and answers the question it was about to ask.
    Answered,
    /// Autonomous mode: it is told to go on.
    Autonomous,
}

/// See [`Event::Continued`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continued {
    /// Why.
    pub because: Continuation,
    /// What it is told, in autonomous mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// Who may answer a human request: `caller`, `role:<name>` or `desk:<name>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audience {
    /// Whoever holds the conversation's human channel.
    #[default]
    Caller,
    /// Anyone with a role.
    Role(String),
    /// A desk: a queue of requests served by people.
    Desk(String),
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller => f.write_str("caller"),
            Self::Role(name) => write!(f, "role:{name}"),
            Self::Desk(name) => write!(f, "desk:{name}"),
        }
    }
}

impl FromStr for Audience {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // A desk's or role's name obeys the rule for agents' names: it becomes a subject token one day.
        let named = |name: &str| name.parse::<AgentName>().map(|name| name.as_str().to_owned());
        match text.split_once(':') {
            Some(("role", name)) => Ok(Self::Role(named(name)?)),
            Some(("desk", name)) => Ok(Self::Desk(named(name)?)),
            _ if text == "caller" => Ok(Self::Caller),
            _ => Err(InvalidId {
                text: text.chars().take(80).collect(),
                what: "an audience",
                rule: "use caller, role:<name> or desk:<name>",
            }),
        }
    }
}

impl Serialize for Audience {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a person is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestKind {
    /// A question: any text answers it.
    Question,
    /// May this call run? Needs a typed decision.
    Approval,
    /// Nobody knows whether this call ran. Needs a typed decision.
    InDoubt,
}

/// See [`Event::Asked`]. One event is one request; an entry may hold several approvals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What is asked.
    pub kind: RequestKind,
    /// Who may answer.
    #[serde(default)]
    pub audience: Audience,
    /// The question, or what the call would do, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The call it is about; its key is in the `Intended` event of the same entry or of an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    /// Binds the decision to the exact arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments_hash: Option<Hash>,
    /// Seconds after this entry's broker timestamp by which it must be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_secs: Option<u64>,
}

/// See [`Event::Replied`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replied {
    /// The question it answers.
    pub request: RequestId,
    /// The answer; with an action its reason, or the summary.
    pub text: String,
    /// What a person at a desk does, where they do not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<DeskAction>,
    /// What goes with the action where the definition has a schema for it: a handoff's payload, or the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Json>,
    /// Who answered, where it is not the caller.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

impl Replied {
    /// A plain answer.
    pub fn new(request: RequestId, text: impl Into<String>) -> Self {
        Self { request, text: text.into(), action: None, value: None, by: String::new() }
    }
}

/// What a person at a desk may do besides answering: what an agent's model may. The agent's worker carries it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeskAction {
    /// Hands the conversation over.
    Transfer {
        /// To whom.
        to: AgentName,
    },
    /// Ends the conversation, well.
    Complete,
}

/// A typed decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Approval: the call runs.
    Approved,
    /// Approval: the call does not run; the model is told.
    Denied,
    /// In doubt: it runs (again) with the same key.
    Retry,
    /// In doubt: it happened; `note` is its result.
    Happened,
    /// In doubt: it is given up; the model is told.
    Abandoned,
}

/// See [`Event::Decided`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The request it decides.
    pub request: RequestId,
    /// The decision.
    pub verdict: Verdict,
    /// Must equal the request's, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments_hash: Option<Hash>,
    /// In the decider's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Who decided.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

/// See [`Event::Claimed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// The request.
    pub request: RequestId,
    /// Who serves it now; nobody any more, where it is empty.
    pub by: String,
}

/// See [`Event::Interrupted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupted {
    /// The message.
    pub text: String,
}

/// See [`Event::Taken`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The process that goes on.
    pub by: ProcessId,
    /// How often the broker had delivered the work item.
    pub delivered: u64,
}

/// See [`Event::Deferred`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferred {
    /// Seconds after this entry's broker timestamp before which nobody goes on.
    pub wait_secs: u64,
    /// Why.
    pub reason: String,
}

/// See [`Event::HandedBack`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedBack {
    /// The process that gave it back.
    pub by: ProcessId,
    /// Why.
    pub reason: String,
}

/// See [`Event::SetAside`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// The entry that is not understood.
    pub ordinal: Ordinal,
    /// Its kind or version.
    pub what: String,
    /// Seconds until it is offered again.
    pub wait_secs: u64,
}

/// See [`Event::Redispatched`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redispatched {
    /// The work item whose turn it continues.
    pub turn: Ordinal,
    /// Why.
    pub reason: String,
}

/// See [`Event::Reassigned`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reassigned {
    /// The new owner.
    pub to: AgentName,
    /// Who wished it.
    pub by: String,
}

/// See [`Event::Snapshotted`]. The entry's carry is the whole conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshotted {
    /// How many entries it holds.
    pub entries: u64,
}

/// Why a conversation ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompletedBecause {
    /// An agent called `complete_task`.
    TaskComplete,
    /// A plain answer, and nobody to ask.
    Answered,
    /// The person ended it.
    UserEnded,
    /// The termination predicate matched.
    Terminated,
}

/// See [`Event::Completed`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completed {
    /// Why.
    pub because: CompletedBecause,
    /// The result as text.
    pub result: String,
    /// The result as a typed value, where the orchestration has an output schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Json>,
}

/// Stable words for why a conversation failed. A newer version may have more.
pub mod failure {
    /// Too many transfers in one user turn.
    pub const HANDOFF_LIMIT: &str = "handoff_limit";
    /// Too many model calls in one turn.
    pub const CALL_LIMIT: &str = "call_limit";
    /// The turn took longer than its wall time.
    pub const TURN_TIMEOUT: &str = "turn_timeout";
    /// A human request was not answered in time.
    pub const HUMAN_TIMEOUT: &str = "human_timeout";
    /// The model could not be asked, after bounded retries.
    pub const MODEL_ERROR: &str = "model_error";
    /// Every attempt at the turn died.
    pub const POISON: &str = "poison";
    /// The outcome is too large to store.
    pub const OVERSIZE: &str = "oversize";
    /// The outcome cannot be written down.
    pub const UNWRITABLE: &str = "unwritable";
    /// An entry is of a version that no worker knew in time.
    pub const UNKNOWN_VERSION: &str = "unknown_version";
    /// Something in the conversation is nothing that any version writes, or its payload is lost.
    pub const DAMAGED: &str = "damaged";
    /// The broker does not permit the outcome.
    pub const NOT_PERMITTED: &str = "not_permitted";
    /// The result does not match the output schema.
    pub const OUTPUT_INVALID: &str = "output_invalid";
    /// The worker lacks something the definition names.
    pub const MISCONFIGURED: &str = "misconfigured";
    /// A callback or human function of the caller failed.
    pub const CALLER_ERROR: &str = "caller_error";
}

/// See [`Event::Failed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Why, as one of [`failure`]'s words.
    pub code: Cow<'static, str>,
    /// For people: what failed, where, and the way out.
    pub detail: String,
}

impl Failed {
    /// Whether it says that something in the conversation cannot be read: anybody may find that.
    pub fn is_about_damage(&self) -> bool {
        [failure::DAMAGED, failure::UNKNOWN_VERSION].contains(&&*self.code)
    }
}

/// See [`Event::Cancelled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// Why, in the words of whoever called it off.
    #[serde(default)]
    pub reason: String,
}

/// See [`Event::Erased`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {}

/// The idempotency key of the `index`-th call of an intent: derived from the intent's entry, so that a successor that
/// finds the intent uses the same one.
pub fn idempotency_key(intent: EntryId, index: usize) -> String {
    format!("{intent}-{index}")
}

/// The id of one event, and the event.
pub type Numbered<'a> = (EventId, &'a Event);
