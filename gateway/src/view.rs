//! What people and their programs see of conversations: the JSON of answers. Pure.

use client::{Accepted, Inspected, Outcome, Question, Recorded, Started};
use protocol::brief::{Brief, OpenRequest};
use protocol::event::{Event, Json, RequestKind};
use protocol::ids::{AgentName, ConversationId, OrchestrationName};
use protocol::orchestration::{self, Orchestration, Player};
use protocol::query::{Listed, Shown};
use serde::Serialize;
use utoipa::ToSchema;

/// A conversation that has begun.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Begun {
    conversation: String,
    orchestration: String,
    /// The entry that opened it.
    ordinal: u64,
    /// Whether it had begun before: this is the first call's answer.
    repeat: bool,
    /// Where it can be followed.
    events: String,
}

impl Begun {
    pub(crate) fn new(orchestration: &OrchestrationName, started: &Started, query: &str) -> Self {
        let Started { conversation, ordinal, is_repeat } = started;
        let (orchestration, events) = (orchestration.to_string(), format!("/v1/conversations/{conversation}/events{query}"));
        Self { conversation: conversation.to_string(), orchestration, ordinal: *ordinal, repeat: *is_repeat, events }
    }
}

/// What somebody said is stored.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Stored {
    conversation: String,
    /// The entry that records it.
    ordinal: u64,
    /// Whether it had been recorded before: this is the first call's answer.
    repeat: bool,
}

impl Stored {
    pub(crate) fn new(conversation: &ConversationId, accepted: Accepted) -> Self {
        Self { conversation: conversation.to_string(), ordinal: accepted.ordinal, repeat: accepted.is_repeat }
    }
}

/// A request that waits for a person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Open {
    /// `<ordinal>.<index>` of the event that asks.
    id: String,
    /// `question`, `approval` or `in-doubt`.
    kind: &'static str,
    /// Who may answer: `caller`, `role:<name>` or `desk:<name>`.
    audience: String,
    /// Who has claimed it, at a desk.
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_by: Option<String>,
}

impl Open {
    fn new(open: &OpenRequest) -> Self {
        let OpenRequest { id, kind: asks, audience, claimed_by, .. } = open;
        Self { id: id.to_string(), kind: kind(*asks), audience: audience.to_string(), claimed_by: claimed_by.clone() }
    }
}

/// A request in full.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Request {
    #[serde(flatten)]
    open: Open,
    /// Whether it is the turn of an agent that people play: they may do what the agent may.
    turn: bool,
    /// Who asks.
    agent: String,
    /// The question, or what the call would do.
    text: String,
    /// The call it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<Call>,
    /// Binds a decision to the call's exact arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments_hash: Option<String>,
    /// Seconds after the event by which it must be answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_secs: Option<u64>,
}

/// A tool call, as the model wrote it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Call {
    id: String,
    name: String,
    /// JSON, as text.
    arguments: String,
}

const fn kind(kind: RequestKind) -> &'static str {
    match kind {
        RequestKind::Question => "question",
        RequestKind::Approval => "approval",
        RequestKind::InDoubt => "in-doubt",
    }
}

impl Request {
    /// A request of a conversation that is now as `brief` says.
    fn new(question: Question, brief: &Brief, definition: Option<&Orchestration>) -> Self {
        let turn = definition.is_some_and(|definition| question.is_turn(definition));
        let claimed_by = brief.requests.iter().find(|open| open.id == question.request).and_then(|open| open.claimed_by.clone());
        let Question { request, kind: asks, audience, agent, text, call, arguments_hash, due_secs } = question;
        Self {
            open: Open { id: request.to_string(), kind: kind(asks), audience: audience.to_string(), claimed_by },
            turn,
            agent: agent.to_string(),
            text,
            call: call.map(|call| Call { id: call.id, name: call.name, arguments: call.arguments }),
            arguments_hash: arguments_hash.map(|hash| hash.to_string()),
            due_secs,
        }
    }
}

/// A conversation in brief.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Conversation {
    conversation: String,
    orchestration: String,
    /// `working`, `waiting`, `completed`, `failed` or `cancelled`.
    phase: &'static str,
    /// Who must act or be answered.
    owner: String,
    /// The last entry.
    ordinal: u64,
    /// The revision it runs on.
    revision: String,
    /// When it began, in milliseconds since the Unix epoch by the broker's clock.
    opened_ms: u64,
    /// When something last happened, likewise.
    last_ms: u64,
    /// User turns so far.
    user_turns: u32,
    /// Transfers in the current user turn.
    handoffs: u32,
    /// The trace of the last entry.
    trace: Option<String>,
    /// What waits for people.
    requests: Vec<Open>,
}

impl Conversation {
    fn new(orchestration: &OrchestrationName, shown: &Shown) -> Self {
        let Shown { conversation, brief, ordinal, revision, last_ms, opened_ms, traceparent, .. } = shown;
        Self {
            conversation: conversation.to_string(),
            orchestration: orchestration.to_string(),
            phase: brief.phase.as_str(),
            owner: brief.owner.to_string(),
            ordinal: *ordinal,
            revision: revision.to_string(),
            opened_ms: *opened_ms,
            last_ms: *last_ms,
            user_turns: brief.user_turns,
            handoffs: brief.handoffs,
            trace: traceparent.as_deref().and_then(trace_id),
            requests: brief.requests.iter().map(Open::new).collect(),
        }
    }
}

/// Conversations, newest activity first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Conversations {
    conversations: Vec<Conversation>,
    /// How many there are in all that match.
    total: usize,
}

impl Conversations {
    pub(crate) fn new(orchestration: &OrchestrationName, listed: &Listed) -> Self {
        let conversations = listed.conversations.iter().map(|shown| Conversation::new(orchestration, shown)).collect();
        Self { conversations, total: listed.total }
    }
}

/// A conversation in full.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Details {
    #[serde(flatten)]
    conversation: Conversation,
    /// What is asked, in full, oldest first.
    open: Vec<Request>,
    /// How it ended, if it has.
    outcome: Option<Ended>,
    /// Where it can be followed.
    events: String,
}

impl Details {
    pub(crate) fn new(definition: &Orchestration, inspected: Inspected, query: &str) -> Self {
        let Inspected { shown, open, outcome } = inspected;
        Self {
            conversation: Conversation::new(definition.name(), &shown),
            open: open.into_iter().map(|question| Request::new(question, &shown.brief, Some(definition))).collect(),
            outcome: outcome.map(Ended::from),
            events: format!("/v1/conversations/{}/events{query}", shown.conversation),
        }
    }
}

/// How a conversation ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ended {
    /// `completed`, `failed` or `cancelled`.
    phase: &'static str,
    /// Why, in a stable word: `task_complete`, `answered`, `user_ended`, `terminated`; for a failure its code.
    code: String,
    /// The result, or what went wrong, or why it was called off.
    text: String,
    /// The result as a typed value, where there is one.
    value: Option<Json>,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed(completed) => {
                let because = serde_json::to_value(completed.because).ok();
                let code = because.and_then(|because| because.as_str().map(str::to_owned)).unwrap_or_default();
                Self { phase: "completed", code, text: completed.result, value: completed.value }
            }
            Outcome::Failed(failed) => Self { phase: "failed", code: failed.code.into_owned(), text: failed.detail, value: None },
            Outcome::Cancelled(cancelled) => Self { phase: "cancelled", code: "cancelled".to_owned(), text: cancelled.reason, value: None },
        }
    }
}

/// One event of a conversation: the data of a server-sent event that has an id.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Happened {
    /// `<ordinal>.<index>`.
    id: String,
    /// What it is: `opened`, `responded`, `transferred`, `asked`, `completed` …
    kind: String,
    /// When it was stored, in milliseconds since the Unix epoch by the broker's clock; unknown for one that was read back.
    time_ms: Option<u64>,
    /// The agent that wrote it, or `client`, `gateway` or `coordinator`.
    from: String,
    /// The writer's name for people.
    name: String,
    /// The process that wrote it.
    process: String,
    /// Who must act or be answered after it.
    owner: String,
    /// What the conversation is doing after it.
    phase: &'static str,
    /// The id of its trace.
    trace: Option<String>,
    /// Its fields, as docs/protocol.md lists them.
    data: Json,
    /// What an `asked` event asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
    /// The name of a `transferred` event's target.
    #[serde(skip_serializing_if = "Option::is_none")]
    to_name: Option<String>,
}

impl Happened {
    /// The event, with agents as `definition` calls them.
    pub(crate) fn new(recorded: &Recorded, definition: Option<&Orchestration>) -> Self {
        let Recorded { id, event, entry, time_ms } = recorded;
        let name_of = |agent: &AgentName| definition.map_or(agent.as_str(), |definition| definition.display_name(agent)).to_owned();
        let from = recorded.from();
        let name = from.agent().map_or_else(|| from.to_string(), name_of);
        let to_name = match event {
            Event::Transferred(transfer) => Some(name_of(&transfer.to)),
            _ => None,
        };
        Self {
            id: id.to_string(),
            kind: event.kind().to_owned(),
            time_ms: *time_ms,
            from: from.to_string(),
            name,
            process: entry.head.process.to_string(),
            owner: entry.head.brief.owner.to_string(),
            phase: entry.head.brief.phase.as_str(),
            trace: entry.head.trace.as_ref().and_then(|trace| trace_id(&trace.parent)),
            data: event.to_json(),
            request: Question::of(entry, *id).map(|question| Request::new(question, &entry.head.brief, definition)),
            to_name,
        }
    }
}

/// Live text: the data of a server-sent event `token`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Token<'a> {
    /// Who speaks.
    pub(crate) agent: &'a str,
    /// The speaker's name for people.
    pub(crate) name: &'a str,
    /// What is said.
    pub(crate) text: &'a str,
    /// Whether the answer is complete with it.
    #[serde(rename = "final")]
    pub(crate) is_final: bool,
}

/// All live text that no event has confirmed is withdrawn: the data of a server-sent event `reset`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reset<'a> {
    /// Who spoke, where that is known.
    pub(crate) agent: Option<&'a str>,
    /// The speaker's name for people.
    pub(crate) name: Option<&'a str>,
}

/// What a gateway serves.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Orchestrations {
    pub(crate) orchestrations: Vec<Served>,
    /// Where a trace can be looked at, with `{trace}` for its id.
    pub(crate) trace_url: Option<String>,
}

/// An orchestration, as new conversations begin on it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Served {
    name: String,
    revision: String,
    /// The agent that conversations begin with.
    start: String,
    /// JSON Schema of what a conversation ends with, if not with a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Json>,
    agents: Vec<Agent>,
}

/// An agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Agent {
    name: String,
    /// Its name for people.
    display_name: String,
    description: String,
    /// The desk where people play it.
    #[serde(skip_serializing_if = "Option::is_none")]
    desk: Option<String>,
    handoffs: Vec<Handoff>,
}

/// To whom an agent may hand a conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Handoff {
    to: String,
    /// When it should.
    when: String,
    /// JSON Schema of the payload that goes along.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Json>,
}

impl Handoff {
    fn new(edge: &orchestration::Handoff) -> Self {
        Self { to: edge.to.to_string(), when: edge.when.clone(), payload: edge.payload.clone() }
    }
}

impl Served {
    pub(crate) fn new(orchestration: &Orchestration) -> Self {
        let agents = orchestration.agents().map(|agent| Agent {
            name: agent.name.to_string(),
            display_name: orchestration.display_name(&agent.name).to_owned(),
            description: agent.description.clone(),
            desk: if let Player::Desk { name, .. } = &agent.player { Some(name.clone()) } else { None },
            handoffs: agent.handoffs.iter().map(Handoff::new).collect(),
        });
        Self {
            name: orchestration.name().to_string(),
            revision: orchestration.revision().to_string(),
            start: orchestration.start().to_string(),
            output: orchestration.output().cloned(),
            agents: agents.collect(),
        }
    }
}

/// The trace that a `traceparent` names.
fn trace_id(traceparent: &str) -> Option<String> {
    traceparent.split('-').nth(1).map(str::to_owned)
}
