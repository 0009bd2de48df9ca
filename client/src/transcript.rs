//! What people read of a conversation: every message, under its speaker's name, in the journal's order. Never an empty
//! one, and none twice.

use std::sync::Arc;

use protocol::entry::Entry;
use protocol::event::{Asked, Audience, Call, Event, Message, RequestKind, Role, Transferred};
use protocol::history::transferred_result;
use protocol::ids::{AgentName, EventId, ProcessId, RequestId};
use protocol::orchestration::{Orchestration, TRANSFER_PREFIX};

use crate::Recorded;

/// The name of a person who has none.
const PERSON: &str = "User";

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The event it comes from.
    pub id: EventId,
    /// The agent that speaks; none for people.
    pub agent: Option<AgentName>,
    /// The speaker's name for people.
    pub name: String,
    /// The process that said it.
    pub process: ProcessId,
    /// What it is.
    pub content: Content,
}

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Something said.
    Text(String),
    /// The call by which the speaker hands the conversation over.
    TransferCall(Call),
    /// The result of that call.
    TransferResult {
        /// The call's id.
        call: String,
        /// The new owner.
        to: AgentName,
        /// What the speaker's model is shown.
        text: String,
    },
}

/// An agent, and the process that plays it.
type Speaker<'a> = (&'a AgentName, &'a ProcessId);

/// The projection: fed with events in order, it gives the lines that each adds.
#[derive(Clone, Debug)]
pub struct Transcript {
    orchestration: Arc<Orchestration>,
    /// The calls of the last response: a transfer names one of them.
    calls: Vec<Call>,
    /// What others than the caller were asked last. What people who play an agent answer, its response repeats; what a
    /// colleague is asked is nothing that the caller said or is asked.
    elsewhere: Option<RequestId>,
}

impl Transcript {
    /// A transcript with the names of `orchestration`'s agents.
    pub const fn new(orchestration: Arc<Orchestration>) -> Self {
        Self { orchestration, calls: Vec::new(), elsewhere: None }
    }

    /// The lines that an event adds.
    pub fn lines(&mut self, recorded: &Recorded) -> Vec<Line> {
        let Recorded { id, event, entry, .. } = recorded;
        let process = &entry.head.process;
        let Some(agent) = recorded.from().agent() else {
            return match event {
                Event::Replied(reply) if self.elsewhere == Some(reply.request) => Vec::new(),
                event => person(*id, process, event),
            };
        };
        let speaker = (agent, process);
        match event {
            Event::Responded(response) => {
                self.calls.clone_from(&response.calls);
                vec![self.line(*id, speaker, Content::Text(response.text.clone()))]
            }
            Event::Asked(asked) if asked.kind == RequestKind::Question && asked.audience != Audience::Caller => {
                self.elsewhere = Some(*id);
                Vec::new()
            }
            Event::Asked(asked) if has_words_of_its_own(asked, *id, entry) => {
                vec![self.line(*id, speaker, Content::Text(asked.text.clone()))]
            }
            Event::Transferred(transfer) => self.transfer(*id, speaker, transfer),
            _ => Vec::new(),
        }
        .into_iter()
        .filter(|line| !matches!(&line.content, Content::Text(text) if text.is_empty()))
        .collect()
    }

    fn transfer(&self, id: EventId, speaker: Speaker<'_>, transfer: &Transferred) -> Vec<Line> {
        let named = |call: &&Call| transfer.call.as_ref() == Some(&call.id);
        let call = self.calls.iter().find(named).cloned().unwrap_or_else(|| Call {
            id: transfer.call.clone().unwrap_or_default(),
            name: format!("{TRANSFER_PREFIX}{}", transfer.to),
            arguments: "{}".to_owned(),
        });
        let result = Content::TransferResult { call: call.id.clone(), to: transfer.to.clone(), text: transferred_result(&transfer.to) };
        vec![self.line(id, speaker, Content::TransferCall(call)), self.line(id, speaker, result)]
    }

    fn line(&self, id: EventId, (agent, process): Speaker<'_>, content: Content) -> Line {
        let name = self.orchestration.display_name(agent).to_owned();
        Line { id, agent: Some(agent.clone()), name, process: process.clone(), content }
    }
}

/// Whether a question says something that the response before it has not said.
fn has_words_of_its_own(asked: &Asked, id: EventId, entry: &Entry) -> bool {
    let is_said =
        entry.numbered().any(|(other, event)| other < id && matches!(event, Event::Responded(response) if response.text == asked.text));
    asked.kind == RequestKind::Question && !is_said
}

fn person(id: EventId, process: &ProcessId, event: &Event) -> Vec<Line> {
    let said = |name: &str, text: &str| Line {
        id,
        agent: None,
        name: name.to_owned(),
        process: process.clone(),
        content: Content::Text(text.to_owned()),
    };
    let lines = match event {
        Event::Opened(opened) => opened.input.iter().map(|message| said(speaker(message), &message.text)).collect(),
        Event::Said(event) => vec![said(PERSON, &event.text)],
        Event::Replied(event) => vec![said(PERSON, &event.text)],
        Event::Interrupted(event) => vec![said(PERSON, &event.text)],
        _ => Vec::new(),
    };
    lines.into_iter().filter(|line: &Line| line.content != Content::Text(String::new())).collect()
}

fn speaker(message: &Message) -> &str {
    message.name.as_deref().unwrap_or(match message.role {
        Role::User => PERSON,
        Role::Assistant => "Assistant",
        Role::System => "System",
    })
}
