//! Conversations for tests: real entries, prepared and folded by the protocol, at times and sequences a test chooses.

use std::collections::BTreeMap;

use protocol::brief::{Fixed, Phase};
use protocol::conversation::{Conversation, Draft, Prepared};
use protocol::entry::{Head, Trace};
use protocol::event::{
    Asked, Audience, Completed, CompletedBecause, Decided, Deferred, Erased, Event, HandedBack, Opened, Redispatched, Replied, RequestKind,
    Said, Snapshotted, Taken, Transferred, Verdict,
};
use protocol::ids::{AgentName, ConversationId, EntryId, EventId, ProcessId, RequestId, Revision, Seq, Writer};
use protocol::presence::Heartbeat;
use protocol::subject::Class;

use crate::ledger::Ledger;

/// When every story begins, in milliseconds.
pub(crate) const START_MS: u64 = 1_000_000;

pub(crate) fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

pub(crate) fn conversation(id: &str) -> ConversationId {
    id.parse().unwrap()
}

pub(crate) fn process(id: &str) -> ProcessId {
    id.parse().unwrap()
}

pub(crate) fn revision() -> Revision {
    Revision::of(b"story")
}

pub(crate) fn request(id: &str) -> RequestId {
    id.parse::<EventId>().unwrap()
}

pub(crate) fn beat(worker: &str, name: &str) -> Heartbeat {
    Heartbeat { process: process(worker), pid: 7, agent: agent(name), held: 0, slots: 4, is_draining: false, server: None }
}

pub(crate) fn to(name: &str) -> Class {
    Class::To { agent: agent(name), revision: revision() }
}

/// An entry's class, writer and events.
pub(crate) type Line = (Class, Writer, Vec<Event>);

fn by(name: &str) -> Writer {
    Writer::Agent(agent(name))
}

pub(crate) fn opened(first: &str) -> Line {
    (to(first), Writer::Client, vec![Opened { human: true, ..Opened::default() }.into()])
}

pub(crate) fn transferred(from: &str, target: &str) -> Line {
    let event = Transferred { to: agent(target), call: None, reason: None, payload: None, history: Default::default(), summary: None };
    (to(target), by(from), vec![event.into()])
}

/// A question to the caller.
pub(crate) fn asked(from: &str, due_secs: Option<u64>) -> Line {
    (Class::Ask, by(from), vec![ask(RequestKind::Question, Audience::Caller, due_secs)])
}

/// Approvals that somebody else than the caller must decide.
pub(crate) fn approvals(from: &str, due_secs: &[Option<u64>]) -> Line {
    let approval = |due_secs: &Option<u64>| ask(RequestKind::Approval, Audience::Role("lead".to_owned()), *due_secs);
    (Class::Ask, by(from), due_secs.iter().map(approval).collect())
}

fn ask(kind: RequestKind, audience: Audience, due_secs: Option<u64>) -> Event {
    Asked { kind, audience, text: "?".to_owned(), call: None, arguments_hash: None, due_secs }.into()
}

pub(crate) fn replied(target: &str, id: &str) -> Line {
    (to(target), Writer::Gateway, vec![Replied::new(request(id), "!").into()])
}

pub(crate) fn decided(class: Class, id: &str) -> Line {
    let decision =
        Decided { request: request(id), verdict: Verdict::Approved, arguments_hash: None, note: String::new(), by: String::new() };
    (class, Writer::Gateway, vec![decision.into()])
}

pub(crate) fn said() -> Line {
    saying("and?".to_owned())
}

pub(crate) fn saying(text: String) -> Line {
    (Class::In, Writer::Gateway, vec![Said { text }.into()])
}

pub(crate) fn snapshotted(entries: u64) -> Line {
    (Class::Note, Writer::Coordinator, vec![Snapshotted { entries }.into()])
}

pub(crate) fn taken(from: &str) -> Line {
    (Class::Note, by(from), vec![Taken { by: process("w-2"), delivered: 2 }.into()])
}

pub(crate) fn deferred(from: &str, wait_secs: u64) -> Line {
    (Class::Note, by(from), vec![Deferred { wait_secs, reason: "busy".to_owned() }.into()])
}

pub(crate) fn handed_back(from: &str) -> Line {
    (Class::Note, by(from), vec![HandedBack { by: process("w-1"), reason: "draining".to_owned() }.into()])
}

pub(crate) fn redispatched(target: &str, turn: u64) -> Line {
    (to(target), Writer::Coordinator, vec![Redispatched { turn, reason: "died".to_owned() }.into()])
}

pub(crate) fn completed(from: &str) -> Line {
    let event = Completed { because: CompletedBecause::Answered, result: "done".to_owned(), value: None };
    (Class::End, by(from), vec![event.into()])
}

pub(crate) fn erased() -> Line {
    (Class::End, Writer::Coordinator, vec![Erased {}.into()])
}

/// A line behind a conversation's tail.
pub(crate) fn prepare(known: &Conversation, line: Line, fixed: &Fixed) -> Prepared {
    let (class, from, events) = line;
    let ordinal = known.tail().next;
    let trace = Some(Trace { parent: format!("00-{:032x}-00f067aa0ba902b7-01", ordinal + 1), state: None });
    let id = EntryId::of_request(known.id(), &ordinal.to_string());
    let draft = Draft { class, from, id, process: process("w-1"), revision: revision(), events, trace };
    let prepared = if ordinal == 0 { known.prepare_opening(draft, fixed.clone()) } else { known.prepare(draft) };
    prepared.unwrap()
}

/// Many conversations in one stream, and the ledger that follows it.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) ledger: Ledger,
    /// What was stored: sequence, time, head, bytes of the body.
    pub(crate) heads: Vec<(Seq, u64, Head, usize)>,
    pub(crate) conversations: BTreeMap<ConversationId, Conversation>,
    pub(crate) now_ms: u64,
    fixed: Fixed,
}

impl Story {
    pub(crate) fn new(fixed: Fixed) -> Self {
        Self { ledger: Ledger::new(60_000), heads: Vec::new(), conversations: BTreeMap::new(), now_ms: START_MS, fixed }
    }

    /// Stores a line in a conversation now.
    pub(crate) fn tell(&mut self, id: &str, line: Line) -> Seq {
        let id = conversation(id);
        let empty = || Conversation::empty("support".parse().unwrap(), id.clone());
        let known = self.conversations.entry(id.clone()).or_insert_with(empty);
        let prepared = prepare(known, line, &self.fixed);
        let head = Head::decode(&prepared.message.subject, &prepared.message.headers).unwrap();
        let (seq, size) = (Seq(self.heads.len() as u64 + 1), prepared.message.payload.len());
        known.commit(prepared, seq).unwrap();
        self.ledger.apply(seq, self.now_ms, &head, size);
        self.heads.push((seq, self.now_ms, head, size));
        seq
    }

    /// Stores some line that may follow in a conversation, as `die` has it.
    pub(crate) fn roll(&mut self, id: &str, die: usize) {
        let known = self.conversations.get(&conversation(id));
        let Some(brief) = known.and_then(Conversation::brief) else {
            self.tell(id, opened("triage"));
            return;
        };
        let owner = brief.owner.as_str();
        let other = if owner == "triage" { "refund" } else { "triage" };
        let line = match brief.phase {
            Phase::Working => match die % 9 {
                0 => transferred(owner, other),
                1 => approvals(owner, &[Some(30), None, Some(10)]),
                2 => asked(owner, None),
                3 => saying("and? ".repeat(die % 4000)),
                4 => taken(owner),
                5 => deferred(owner, 5),
                6 => handed_back(owner),
                7 => redispatched(owner, brief.turn),
                _ => completed(owner),
            },
            Phase::Waiting => match brief.requests.as_slice() {
                [open] if open.kind == RequestKind::Question => replied(owner, &open.id.to_string()),
                _ if die.is_multiple_of(5) => snapshotted(brief.turn),
                _ if die.is_multiple_of(3) => said(),
                [open] => decided(to(owner), &open.id.to_string()),
                [open, ..] => decided(Class::In, &open.id.to_string()),
                [] => unreachable!("a conversation waits for somebody"),
            },
            Phase::Completed | Phase::Failed | Phase::Cancelled => erased(),
            Phase::Erased => return,
        };
        self.tell(id, line);
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
    }
}
