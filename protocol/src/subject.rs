//! Subjects, both ways. Everything addressable in Baton is built and parsed here and nowhere else, so that no text
//! from outside can become a subject without having been parsed into an identifier first.

use std::fmt;
use std::str::FromStr;

use crate::event::Audience;
use crate::ids::{AgentName, ConversationId, OrchestrationName, Ordinal, ProcessId, Revision, Writer, decimal};

/// What an entry is to its readers: the token after its ordinal (design 2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A work item for `agent`, to be done under `revision`.
    To {
        /// Who must act.
        agent: AgentName,
        /// The definition it acts by.
        revision: Revision,
    },
    /// Recorded by the owner (or coordinator) within a turn; nobody is woken.
    Note,
    /// Recorded by the caller's side while an agent works; not a work item.
    In,
    /// A human request.
    Ask,
    /// The conversation is over.
    End,
}

/// The subject of an entry: `baton.<orchestration>.c.<conversation>.<ordinal>.<class…>.<from>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EntrySubject {
    /// The stream it lives in.
    pub orchestration: OrchestrationName,
    /// The journal it belongs to.
    pub conversation: ConversationId,
    /// Its number there.
    pub ordinal: Ordinal,
    /// What it is to its readers.
    pub class: Class,
    /// Who wrote it.
    pub from: Writer,
}

impl fmt::Display for EntrySubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "baton.{}.c.{}.{}.", self.orchestration, self.conversation, self.ordinal)?;
        match &self.class {
            Class::To { agent, revision } => write!(f, "to.{agent}.{revision}.")?,
            Class::Note => f.write_str("note.")?,
            Class::In => f.write_str("in.")?,
            Class::Ask => f.write_str("ask.")?,
            Class::End => f.write_str("end.")?,
        }
        write!(f, "{}", self.from)
    }
}

/// A subject that is not an entry's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the subject of an entry")]
pub struct NotAnEntry(pub String);

impl FromStr for EntrySubject {
    type Err = NotAnEntry;
    fn from_str(text: &str) -> Result<Self, NotAnEntry> {
        parse(text).ok_or_else(|| NotAnEntry(text.chars().take(200).collect()))
    }
}

fn parse(text: &str) -> Option<EntrySubject> {
    let mut tokens = text.split('.');
    let mut next = || tokens.next();
    if next()? != "baton" {
        return None;
    }
    let orchestration = next()?.parse().ok()?;
    if next()? != "c" {
        return None;
    }
    let conversation = next()?.parse().ok()?;
    let ordinal = decimal(next()?)?;
    let class = match next()? {
        "to" => Class::To { agent: next()?.parse().ok()?, revision: next()?.parse().ok()? },
        "note" => Class::Note,
        "in" => Class::In,
        "ask" => Class::Ask,
        "end" => Class::End,
        _ => return None,
    };
    let from = next()?.parse().ok()?;
    next().is_none().then_some(EntrySubject { orchestration, conversation, ordinal, class, from })
}

/// The conversation that lies under a subject, whatever else the subject says: also what is no entry lies somewhere.
pub fn conversation_of(subject: &str) -> Option<ConversationId> {
    let mut tokens = subject.strip_prefix("baton.")?.split('.');
    let (_, kind, conversation) = (tokens.next()?, tokens.next()?, tokens.next()?);
    (kind == "c" && tokens.next().is_some()).then(|| conversation.parse().ok())?
}

/// The ordinal in the subject of an entry, without a look at the rest of it.
pub(crate) fn ordinal_of(subject: &str) -> Option<Ordinal> {
    decimal(subject.split('.').nth(4)?)
}

/// The filter that fences every append into a conversation. It must be byte-identical for every writer: a cluster's
/// in-flight check compares it literally (measured: another spelling lets two writers in, 299 of 300).
pub fn fence(orchestration: &OrchestrationName, conversation: &ConversationId) -> String {
    format!("baton.{orchestration}.c.{conversation}.>")
}

/// The entry at one ordinal, whoever wrote it.
pub fn at(orchestration: &OrchestrationName, conversation: &ConversationId, ordinal: Ordinal) -> String {
    format!("baton.{orchestration}.c.{conversation}.{ordinal}.>")
}

/// Every entry of an orchestration.
pub fn entries(orchestration: &OrchestrationName) -> String {
    format!("baton.{orchestration}.c.>")
}

/// The work items of one agent: the filter of its consumer.
pub fn work(orchestration: &OrchestrationName, agent: &AgentName) -> String {
    format!("baton.{orchestration}.c.*.*.to.{agent}.>")
}

/// What ends conversations, and what says that one was erased; by one writer, or by anybody.
pub fn ends(orchestration: &OrchestrationName, by: Option<&Writer>) -> String {
    let by = by.map_or_else(|| "*".to_owned(), ToString::to_string);
    format!("baton.{orchestration}.c.*.*.end.{by}")
}

/// Tokens of a turn as they arrive; never stored.
pub fn live(orchestration: &OrchestrationName, agent: &AgentName, conversation: &ConversationId) -> String {
    format!("baton.{orchestration}.live.{agent}.{conversation}")
}

/// The live tokens of a conversation, whichever agent speaks.
pub fn live_of(orchestration: &OrchestrationName, conversation: &ConversationId) -> String {
    format!("baton.{orchestration}.live.*.{conversation}")
}

/// The live tokens of all conversations.
pub fn live_all(orchestration: &OrchestrationName) -> String {
    format!("baton.{orchestration}.live.*.*")
}

/// A notice to the agent's workers that the conversation moved on without them.
pub fn moved(orchestration: &OrchestrationName, agent: &AgentName, conversation: &ConversationId) -> String {
    format!("baton.{orchestration}.moved.{agent}.{conversation}")
}

/// All notices to an agent's workers.
pub fn moved_all(orchestration: &OrchestrationName, agent: &AgentName) -> String {
    format!("baton.{orchestration}.moved.{agent}.*")
}

/// A worker process's heartbeat for one agent.
pub fn heartbeat(orchestration: &OrchestrationName, agent: &AgentName, process: &ProcessId) -> String {
    format!("baton.{orchestration}.beat.{agent}.{process}")
}

/// All heartbeats of an orchestration.
pub fn heartbeats(orchestration: &OrchestrationName) -> String {
    format!("baton.{orchestration}.beat.*.*")
}

/// Where a process answers that it is alive; nobody answering is the broker's own "no responders".
pub fn alive(orchestration: &OrchestrationName, process: &ProcessId) -> String {
    format!("baton.{orchestration}.alive.{process}")
}

/// A question to the workers of an agent: who holds this conversation?
pub fn holds(orchestration: &OrchestrationName, agent: &AgentName) -> String {
    format!("baton.{orchestration}.holds.{agent}")
}

/// The coordinator's tick: a one-message memory stream whose broker timestamp is `now` for deadlines.
pub fn tick(orchestration: &OrchestrationName) -> String {
    format!("baton.{orchestration}.tick")
}

/// A request to the coordinator.
pub fn coordinator(orchestration: &OrchestrationName, verb: &str) -> String {
    format!("baton.{orchestration}.coordinator.{verb}")
}

/// An operator's wish, which a coordinator carries out: a subject of its own, because callers may ask and not wish.
pub fn operator(orchestration: &OrchestrationName, verb: &str) -> String {
    format!("baton.{orchestration}.operator.{verb}")
}

/// Human requests on their way to the gateway that serves the audience.
pub fn gateway(orchestration: &OrchestrationName, gateway: &ProcessId) -> String {
    format!("baton.{orchestration}.gateway.{gateway}")
}

/// Where a gateway announces itself: requests that could not reach it are then forwarded again.
pub fn gateway_hello(orchestration: &OrchestrationName, gateway: &ProcessId) -> String {
    format!("baton.{orchestration}.hello.{gateway}")
}

/// All announcements of gateways.
pub fn gateway_hellos(orchestration: &OrchestrationName) -> String {
    format!("baton.{orchestration}.hello.*")
}

/// The gateway that announced itself on a subject of [`gateway_hello`].
pub fn gateway_of_hello(subject: &str) -> Option<ProcessId> {
    let mut tokens = subject.strip_prefix("baton.")?.split('.');
    let (_, kind, gateway) = (tokens.next()?, tokens.next()?, tokens.next()?);
    (kind == "hello" && tokens.next().is_none()).then(|| gateway.parse().ok())?
}

/// Where the people who serve an audience at a terminal answer who is there; nowhere, for the caller.
pub fn attendance(orchestration: &OrchestrationName, audience: &Audience) -> Option<String> {
    match audience {
        Audience::Caller => None,
        Audience::Role(name) => Some(format!("baton.{orchestration}.role.{name}")),
        Audience::Desk(name) => Some(format!("baton.{orchestration}.desk.{name}")),
    }
}

/// Entries nobody could use, with the reason; stored apart from every conversation.
pub fn dead(orchestration: &OrchestrationName, agent: &AgentName) -> String {
    format!("baton.{orchestration}.dead.{agent}")
}

/// All dead letters of an orchestration.
pub fn dead_all(orchestration: &OrchestrationName) -> String {
    format!("baton.{orchestration}.dead.>")
}

/// The stream of an orchestration's conversations.
pub fn stream(orchestration: &OrchestrationName) -> String {
    format!("baton-{orchestration}")
}

/// The bucket of an orchestration's revisions, lease and checkpoint; also its object store's name.
pub fn bucket(orchestration: &OrchestrationName) -> String {
    format!("baton-{orchestration}")
}

/// The durable consumer of an agent's work items.
pub fn consumer(agent: &AgentName) -> String {
    format!("agent-{agent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECTS: [&str; 6] = [
        "baton.support.c.c1.0.to.triage.0123456789ab.client",
        "baton.support.c.c1.1.note.triage",
        "baton.support.c.c1.2.in.gateway",
        "baton.support.c.c1.3.ask.triage",
        "baton.support.c.c1.4.to.refund.0123456789ab.coordinator",
        "baton.support.c.c1.5.end.refund",
    ];

    #[test]
    fn subjects_survive_both_ways() {
        for text in SUBJECTS {
            assert_eq!(text.parse::<EntrySubject>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_entry_lies_in_a_conversation_all_the_same() {
        let c1 = Some("c1".parse().unwrap());
        for text in SUBJECTS.into_iter().chain(["baton.support.c.c1.x", "baton.support.c.c1.-1.ask.triage", "baton.support.c.c1.7.what."]) {
            assert_eq!(conversation_of(text), c1, "{text}");
        }
        for text in ["", "baton.support.c.c1", "baton.support.live.triage.c1", "x.support.c.c1.0.ask.triage", "baton.support.c.c 1.0.ask.x"]
        {
            assert_eq!(conversation_of(text), None, "{text}");
        }
    }

    #[test]
    fn whatever_is_not_an_entry_is_refused() {
        let bad = [
            "",
            "baton",
            "baton.support.c.c1.0.to.triage.client",
            "baton.support.c.c1.00.ask.triage",
            "baton.support.c.c1.-1.ask.triage",
            "baton.support.c.c1.1.ask.triage.more",
            "baton.support.c.c1.1.what.triage",
            "baton.support.c.c 1.1.ask.triage",
            "baton.support.live.triage.c1",
            "baton.support.c.*.1.ask.triage",
            "baton.support.c.c1.1.ask.",
            "x.support.c.c1.1.ask.triage",
        ];
        for text in bad {
            assert!(text.parse::<EntrySubject>().is_err(), "{text}");
        }
    }
}
