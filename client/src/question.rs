//! What a person is asked, in one piece.

use protocol::conversation::Conversation;
use protocol::entry::Entry;
use protocol::event::{Audience, Call, Event, RequestKind};
use protocol::ids::{AgentName, Hash, RequestId};
use protocol::orchestration::Orchestration;

/// A human request as it is put to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its id, for the answer.
    pub request: RequestId,
    /// What is asked: a question wants a text, the others want a decision.
    pub kind: RequestKind,
    /// Who may answer.
    pub audience: Audience,
    /// Who asks.
    pub agent: AgentName,
    /// The question, or what the call would do, in words.
    pub text: String,
    /// The call it is about.
    pub call: Option<Call>,
    /// Binds a decision to the call's exact arguments.
    pub arguments_hash: Option<Hash>,
    /// Seconds after the entry's broker timestamp by which it must be answered.
    pub due_secs: Option<u64>,
}

impl Question {
    /// The request that one of an entry's events makes, if that event is a request.
    pub fn of(entry: &Entry, request: RequestId) -> Option<Self> {
        let place = usize::try_from(request.index).ok().filter(|_| request.ordinal == entry.ordinal())?;
        let Some(Event::Asked(asked)) = entry.events.get(place) else { return None };
        let before = entry.events.get(..place).unwrap_or_default();
        // A question without words of its own is the response before it: nothing is stored twice.
        let said = before.iter().rev().find_map(|event| match event {
            Event::Responded(response) => Some(response.text.as_str()),
            _ => None,
        });
        let text = if asked.text.is_empty() { said.unwrap_or_default() } else { &asked.text };
        Some(Self {
            request,
            kind: asked.kind,
            audience: asked.audience.clone(),
            agent: entry.head.subject.from.agent()?.clone(),
            text: text.to_owned(),
            call: asked.call.clone(),
            arguments_hash: asked.arguments_hash,
            due_secs: asked.due_secs,
        })
    }

    /// Whether it is the turn of an agent that people play: they may do what the agent may.
    pub fn is_turn(&self, orchestration: &Orchestration) -> bool {
        self.kind == RequestKind::Question && orchestration.agent(&self.agent).is_some_and(|agent| agent.is_played_at(&self.audience))
    }

    /// The requests that are open in a conversation, oldest first.
    pub fn open(conversation: &Conversation) -> Vec<Self> {
        let entry = |request: RequestId| conversation.entries().get(usize::try_from(request.ordinal).ok()?);
        conversation.requests().iter().filter_map(|open| Self::of(entry(open.id)?, open.id)).collect()
    }
}
