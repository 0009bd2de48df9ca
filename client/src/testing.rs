//! Conversations for unit tests, as values: no journal, no clock.

use protocol::brief::Fixed;
use protocol::conversation::{Conversation, Draft};
use protocol::event::{Asked, Audience, Call, Event, Intended, IntendedCall, Message, Opened, RequestKind, Responded};
use protocol::event::{Effect, InDoubt};
use protocol::ids::{AgentName, EntryId, EventId, Hash, RequestId, Revision, Seq, Writer};
use protocol::subject::Class;

pub(crate) const REFUND: &str = r#"{"order":"123"}"#;

pub(crate) fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

pub(crate) fn revision() -> Revision {
    "0123456789ab".parse().unwrap()
}

pub(crate) fn to(name: &str) -> Class {
    Class::To { agent: agent(name), revision: revision() }
}

pub(crate) const fn event(ordinal: u64, index: u32) -> EventId {
    EventId { ordinal, index }
}

/// A conversation in the making: `triage` owns it first.
#[derive(Clone, Debug)]
pub(crate) struct Story(pub(crate) Conversation);

impl Story {
    pub(crate) fn opened(fixed: Fixed) -> Self {
        let conversation = Conversation::empty("support".parse().unwrap(), "c1".parse().unwrap());
        let input = vec![Message { text: "help".to_owned(), ..Message::default() }];
        let draft = draft(&conversation, to("triage"), Writer::Client, vec![Opened { input, human: true, ..Opened::default() }.into()]);
        let prepared = conversation.prepare_opening(draft, fixed).unwrap();
        let mut story = Self(conversation);
        story.0.commit(prepared, Seq(1)).unwrap();
        story
    }

    pub(crate) fn write(mut self, class: Class, from: Writer, events: Vec<Event>) -> Self {
        let prepared = self.0.prepare(draft(&self.0, class, from, events)).unwrap();
        let seq = Seq(self.0.tail().seq.0 + 1);
        self.0.commit(prepared, seq).unwrap();
        self
    }

    /// `triage` writes.
    pub(crate) fn triage(self, class: Class, events: Vec<Event>) -> Self {
        self.write(class, Writer::Agent(agent("triage")), events)
    }

    /// `triage` asks for each of these.
    pub(crate) fn asks(self, requests: &[(RequestKind, &str)]) -> Self {
        let calls: Vec<Call> = (0..requests.len()).map(|n| call(&format!("call-{n}"))).collect();
        let intended = calls.iter().map(intended).collect();
        let asked = requests.iter().zip(&calls).map(|((kind, audience), call)| asked(*kind, audience, call).into());
        let mut events = vec![Responded { text: "Well?".to_owned(), calls: calls.clone(), ..Responded::default() }.into()];
        events.push(Intended { calls: intended }.into());
        events.extend(asked);
        self.triage(Class::Ask, events)
    }

    /// The id of the `n`-th request of the last entry, which [`asks`](Self::asks) wrote.
    pub(crate) fn request(&self, n: u32) -> RequestId {
        event(self.0.tail().next - 1, n + 2)
    }
}

pub(crate) fn call(id: &str) -> Call {
    Call { id: id.to_owned(), name: "refund".to_owned(), arguments: REFUND.to_owned() }
}

pub(crate) fn intended(call: &Call) -> IntendedCall {
    IntendedCall { call: call.id.clone(), key: format!("key-{}", call.id), effect: Effect::SideEffect, in_doubt: InDoubt::Ask, undo: None }
}

fn asked(kind: RequestKind, audience: &str, call: &Call) -> Asked {
    let audience: Audience = audience.parse().unwrap();
    let is_question = kind == RequestKind::Question;
    Asked {
        kind,
        audience,
        text: String::new(),
        call: (!is_question).then(|| call.clone()),
        arguments_hash: (!is_question).then(|| Hash::of(REFUND.as_bytes())),
        due_secs: Some(60),
    }
}

fn draft(conversation: &Conversation, class: Class, from: Writer, events: Vec<Event>) -> Draft {
    let id = EntryId::of_request(conversation.id(), &conversation.tail().next.to_string());
    Draft { class, from, id, process: "p1".parse().unwrap(), revision: revision(), events, trace: None }
}
