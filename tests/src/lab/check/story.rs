//! Recordings for the checker's tests: real entries, and what recorders would have seen of them. A story is legal unless a test
//! forges something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use data_encoding::BASE64;
use protocol::brief::Phase;
use protocol::builder::AgentDef;
use protocol::conversation::{Conversation, Draft, Partial};
use protocol::entry::Trace;
use protocol::event::{
    Asked, Audience, Call, Cancelled, Completed, CompletedBecause, Effect, Erased, Event, Failed, HandedBack, Intended, IntendedCall,
    Message, Opened, Reassigned, Redispatched, Replied, RequestKind, Responded, Returned, Said, SetAside, Taken, Transferred, Warned,
};
use protocol::history::{PromptMessage, project};
use protocol::ids::{EntryId, Hash, Revision, Seq, Writer};
use protocol::manifest::{HttpSpec, HttpToolSpec, Method, ModelSpec, ToolsetSpec};
use protocol::orchestration::Orchestration;
use protocol::subject::{Class, EntrySubject};
use protocol::wire::v1::{Payload, Record as Body, State};
use protocol::wire::{self, Headers, Stored, header};
use serde_json::{Value as Json, json};

use super::{Setup, check};
use crate::lab::record::{Act, Ended, Record, Seen};

/// The broker's time when a recording begins.
const BEGIN_MS: u64 = 1_700_000_000_000;
/// How long anything takes.
const STEP_US: u64 = 10_000;

/// Something that can be checked.
pub(super) trait Recording {
    fn recording(&self) -> Vec<Record>;
}

impl Recording for Vec<Record> {
    fn recording(&self) -> Vec<Record> {
        self.clone()
    }
}

impl Recording for Story {
    fn recording(&self) -> Vec<Record> {
        self.records()
    }
}

/// Nothing is wrong with it.
#[track_caller]
pub(super) fn holds(recording: &impl Recording) {
    breaks(recording, &[]);
}

/// Exactly these promises are broken in it.
#[track_caller]
pub(super) fn breaks(recording: &impl Recording, invariants: &[&str]) {
    let violations = check(&setup(), &recording.recording());
    let shown: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let broken: BTreeSet<&str> = violations.iter().map(|violation| violation.invariant).collect();
    assert_eq!(broken, invariants.iter().copied().collect(), "{}", shown.join("\n"));
}

/// Triage hands to refund and to status; refund hands back. Everybody may look and pay.
pub(super) fn setup() -> Setup {
    static SETUP: LazyLock<Setup> = LazyLock::new(define);
    SETUP.clone()
}

fn define() -> Setup {
    let tool = |path: &str, effect| HttpToolSpec {
        path: Some(path.to_owned()),
        method: Method::Post,
        description: Some("Does it.".to_owned()),
        parameters: Some(json!({ "type": "object" })),
        effect: Some(effect),
        ..HttpToolSpec::default()
    };
    let tools = [("look".to_owned(), tool("/look", Effect::ReadOnly)), ("pay".to_owned(), tool("/pay", Effect::SideEffect))];
    let http = HttpSpec { base_url: Some("http://127.0.0.1:1".to_owned()), tools: tools.into(), ..HttpSpec::default() };
    let agent = |name: &str| {
        let agent = AgentDef::new(name).description(format!("Is {name}.")).instructions(format!("You are {name}."));
        agent.tools_from("shop", ["look", "pay"])
    };
    let checked = Orchestration::builder("support")
        .model("default", ModelSpec::openai("m"))
        .toolset("shop", ToolsetSpec { http: Some(http), ..ToolsetSpec::default() })
        .agents([&agent("triage"), &agent("refund"), &agent("status")])
        .start_with("triage")
        .add("triage", "refund")
        .add("triage", "status")
        .add("refund", "triage")
        .build()
        .unwrap();
    Setup::of(checked.orchestration)
}

pub(super) fn responded(token: &str, tools: &[&str]) -> Event {
    let call = |(place, tool): (usize, &&str)| Call {
        id: format!("call_{place}"),
        name: (*tool).to_owned(),
        arguments: "{\"order\":7}".to_owned(),
    };
    Responded { text: format!("Well. [[t:{token}]]"), calls: tools.iter().enumerate().map(call).collect(), ..Responded::default() }.into()
}

pub(super) fn intended(key: &str) -> Event {
    let call = IntendedCall {
        call: "call_0".to_owned(),
        key: key.to_owned(),
        effect: Effect::SideEffect,
        in_doubt: Default::default(),
        undo: None,
    };
    Intended { calls: vec![call] }.into()
}

pub(super) fn returned(content: &str) -> Event {
    Returned { call: "call_0".to_owned(), tool: "pay".to_owned(), content: content.to_owned(), is_error: false }.into()
}

pub(super) fn refused(content: &str) -> Event {
    Returned { call: "call_0".to_owned(), tool: "pay".to_owned(), content: content.to_owned(), is_error: true }.into()
}

pub(super) fn transferred(to: &str) -> Event {
    let (to, call) = (to.parse().unwrap(), Some("call_0".to_owned()));
    Transferred { to, call, reason: None, payload: None, history: Default::default(), summary: None }.into()
}

pub(super) fn asked() -> Event {
    request(RequestKind::Question, Audience::Caller, None)
}

fn request(kind: RequestKind, audience: Audience, call: Option<Call>) -> Event {
    Asked { kind, audience, text: String::new(), call, arguments_hash: None, due_secs: None }.into()
}

pub(super) fn warned(code: &'static str) -> Event {
    Warned { code: code.into(), detail: "Something.".to_owned() }.into()
}

/// Conversations as they happen. Whatever has no conversation in its name happens in `c1`.
#[derive(Debug)]
pub(super) struct Story {
    setup: Setup,
    records: Vec<Record>,
    stored: Vec<Stored>,
    conversations: BTreeMap<String, Conversation>,
    now_us: u64,
    revision: Revision,
    altered: Option<(&'static str, String)>,
    /// The model request that is being answered.
    open: Option<u64>,
    numbers: u64,
    fault: u64,
}

impl Story {
    /// Nothing has happened yet.
    pub(super) fn new() -> Self {
        let setup = setup();
        let revision = setup.orchestration.revision().clone();
        let records = vec![Record { at_us: 0, seen: Seen::Clock { time_ms: BEGIN_MS } }];
        let (stored, conversations) = (Vec::new(), BTreeMap::new());
        Self { setup, records, stored, conversations, now_us: STEP_US, revision, altered: None, open: None, numbers: 0, fault: 0 }
    }

    /// Somebody has opened `c1`, and follows it.
    pub(super) fn begun() -> Self {
        let mut story = Self::new();
        story.opened("c1", "m1");
        story
    }

    /// The same, by somebody who is not recorded: nobody waits for an answer.
    pub(super) fn quiet() -> Self {
        let mut story = Self::new();
        story.store_opening("c1", "Hello. [[canary:c1]]");
        story
    }

    /// Triage has asked the caller something.
    pub(super) fn asking() -> Self {
        let mut story = Self::begun();
        story.by("triage", "triage-1", vec![responded("t1", &[]), asked()]);
        story
    }

    /// … who has answered.
    pub(super) fn answered() -> Self {
        let mut story = Self::asking();
        story.reply("c1", "m2", "1.1", Ended::Ok { status: 201, is_repeat: false });
        story.store_reply("m2", "1.1");
        story
    }

    /// Triage waits for a manager's approval.
    pub(super) fn parked() -> Self {
        let mut story = Self::begun();
        let response = responded("t1", &["pay"]);
        let Event::Responded(Responded { calls, .. }) = &response else { unreachable!() };
        let approval = request(RequestKind::Approval, Audience::Role("manager".to_owned()), calls.first().cloned());
        story.by("triage", "triage-1", vec![response, intended("k1"), approval]);
        story
    }

    /// A conversation with everything in it, to its end.
    pub(super) fn told() -> Self {
        let mut story = Self::begun();
        story.by("triage", "triage-1", vec![responded("a1", &["transfer_to_refund"]), transferred("refund")]);
        story.by("refund", "refund-1", vec![responded("a2", &["pay"]), intended("told-k")]);
        story.called("pay", "told-k", "c1");
        story.by("refund", "refund-1", vec![returned("paid")]);
        story.by("refund", "refund-1", vec![responded("a3", &[]), asked()]);
        story.reply("c1", "m2", "4.1", Ended::Ok { status: 201, is_repeat: false });
        story.store_reply("m2", "4.1");
        let result = Completed { because: CompletedBecause::Answered, result: "Done.".to_owned(), value: None };
        story.by("refund", "refund-1", vec![responded("a4", &[]), result.into()]);
        story
    }

    /// The recording: what was seen, and then the stream as two replicas have it.
    pub(super) fn records(&self) -> Vec<Record> {
        let mut records = self.records.clone();
        for label in self.conversations.keys() {
            let (trace, name) = (self.trace(label), "POST /v1/conversations".to_owned());
            let span = Seen::Span { trace, span: "01".to_owned(), parent: String::new(), name, attributes: Vec::new() };
            records.push(Record { at_us: STEP_US, seen: span });
        }
        for replica in ["n1", "n2"] {
            records.extend(self.stored.iter().map(|stored| {
                let headers = stored.headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                let (replica, subject, payload) = (replica.to_owned(), stored.subject.clone(), BASE64.encode(&stored.payload));
                Record {
                    at_us: self.now_us,
                    seen: Seen::Entry { replica, seq: stored.seq.0, time_ms: stored.time_ms, subject, headers, payload },
                }
            }));
        }
        records
    }

    pub(super) fn id(&self, label: &str) -> String {
        format!("conversation-{label}")
    }

    pub(super) fn trace(&self, label: &str) -> String {
        format!("{:032x}", u64::from(label.bytes().last().unwrap()))
    }

    pub(super) fn owner(&self) -> String {
        self.conversations["c1"].owner().unwrap().to_string()
    }

    /// Something is recorded.
    pub(super) fn see(&mut self, seen: Seen) {
        self.now_us += STEP_US;
        self.records.push(Record { at_us: self.now_us, seen });
    }

    /// Time passes; the recording shows it.
    pub(super) fn wait(&mut self, ms: u64) {
        self.now_us += ms * 1000;
        self.see(Seen::Clock { time_ms: BEGIN_MS + (self.now_us + STEP_US) / 1000 });
    }

    /// The next entry has another header than it should.
    pub(super) fn with_header(&mut self, name: &'static str, value: &str) {
        self.altered = Some((name, value.to_owned()));
    }

    /// Entries are written under another revision from here on.
    pub(super) fn under(&mut self, revision: &str) {
        self.revision = revision.parse().unwrap();
    }

    // People.

    fn text(&self, label: &str, message: &str) -> String {
        format!("Please. [[m:{message}]] [[canary:{label}]]")
    }

    fn operation(&mut self, label: &str, act: Act, message: Option<&str>, request: Option<&str>, how: Ended) {
        self.numbers += 1;
        let op = self.numbers;
        let text = message.map_or_else(|| "Please.".to_owned(), |message| self.text(label, message));
        let conversation = Some(self.id(label));
        let named = conversation.clone().filter(|_| act != Act::Open);
        let (client, key) = ("ann".to_owned(), message.map_or_else(|| format!("key-{op}"), str::to_owned));
        self.see(Seen::Invoked { op, client, act, conversation: named, key, text, request: request.map(str::to_owned) });
        let conversation = conversation.filter(|_| matches!(how, Ended::Ok { .. }));
        // As gateways do.
        let is_busy = matches!(how, Ended::Fail { status: 429 | 503, .. } | Ended::Unknown { status: Some(503), .. });
        self.see(Seen::Ended { op, how, conversation, retry_after_secs: is_busy.then_some(1) });
    }

    /// Somebody opens a conversation, and follows it.
    pub(super) fn opened(&mut self, label: &str, message: &str) {
        self.operation(label, Act::Open, Some(message), None, Ended::Ok { status: 201, is_repeat: false });
        let text = self.text(label, message);
        self.store_opening(label, &text);
    }

    fn store_opening(&mut self, label: &str, text: &str) {
        let id = self.id(label);
        let (client, gateway) = ("ann".to_owned(), "gateway-1".to_owned());
        self.see(Seen::Watching { client, conversation: id.clone(), gateway, after: None });
        self.conversations.insert(label.to_owned(), Conversation::empty("support".parse().unwrap(), id.parse().unwrap()));
        let input = vec![Message { text: text.to_owned(), ..Message::default() }];
        self.append(label, Writer::Gateway, "gateway-1", vec![Opened { input, human: true, ..Opened::default() }.into()]);
    }

    /// Somebody says something, and it is stored.
    pub(super) fn said(&mut self, label: &str, message: &str) {
        self.wish(label, message, Ended::Ok { status: 201, is_repeat: false });
        self.stored_said(label, message);
    }

    /// What somebody said is stored.
    pub(super) fn stored_said(&mut self, label: &str, message: &str) {
        let text = self.text(label, message);
        self.append(label, Writer::Gateway, "gateway-1", vec![Said { text }.into()]);
    }

    /// Somebody says something; whether it is stored is another matter.
    pub(super) fn wish(&mut self, label: &str, message: &str, how: Ended) {
        self.operation(label, Act::Say, Some(message), None, how);
    }

    /// The same, and nobody can tell what it was.
    pub(super) fn wish_about_nothing(&mut self, label: &str, how: Ended) {
        self.operation(label, Act::Say, None, None, how);
    }

    pub(super) fn reply(&mut self, label: &str, message: &str, request: &str, how: Ended) {
        self.operation(label, Act::Reply, Some(message), Some(request), how);
    }

    fn store_reply(&mut self, message: &str, request: &str) {
        let reply = Replied::new(request.parse().unwrap(), self.text("c1", message));
        self.append("c1", Writer::Gateway, "gateway-1", vec![reply.into()]);
    }

    /// An answer to what has been answered is accepted, and stored.
    pub(super) fn answered_again(&mut self, message: &str) {
        self.reply("c1", message, "1.1", Ended::Ok { status: 201, is_repeat: false });
        let reply = Replied::new("1.1".parse().unwrap(), self.text("c1", message));
        self.write_raw(Writer::Gateway, "gateway-2", &[reply.into()]);
    }

    pub(super) fn cancel(&mut self, label: &str) {
        self.operation(label, Act::Cancel, None, None, Ended::Ok { status: 200, is_repeat: false });
        self.append(label, Writer::Gateway, "gateway-1", vec![Cancelled { reason: String::new() }.into()]);
    }

    /// The operation that sent a message ended otherwise.
    #[must_use]
    pub(super) fn ending(mut self, message: &str, otherwise: Ended) -> Self {
        let mark = format!("[[m:{message}]]");
        let is_it = |record: &Record| matches!(&record.seen, Seen::Invoked { text, .. } if text.contains(&mark));
        let Some(Seen::Invoked { op: sent, .. }) = self.records.iter().find(|record| is_it(record)).map(|record| record.seen.clone())
        else {
            panic!("nobody sent {message}")
        };
        for record in &mut self.records {
            if let Seen::Ended { op, how, conversation, .. } = &mut record.seen
                && *op == sent
            {
                *how = otherwise.clone();
                *conversation = None;
            }
        }
        self
    }

    /// Nobody has been shown the last entry.
    pub(super) fn unseen_last(&mut self) {
        let last = self.conversations["c1"].tail().next - 1;
        let is_of_last =
            |record: &Record| matches!(&record.seen, Seen::Received { id: Some(id), .. } if id.starts_with(&format!("{last}.")));
        self.records.retain(|record| !is_of_last(record));
    }

    // Models and tools.

    /// The model is asked, and answers with a token.
    pub(super) fn asks(&mut self, agent: &str, token: &str) {
        self.ask(agent, &[]);
        self.answer(token);
    }

    fn ask(&mut self, agent: &str, fresh: &[Event]) {
        self.numbers += 1;
        let request = self.numbers;
        let speaker = agent.parse().unwrap();
        let messages = project(&self.setup.orchestration, &self.conversations["c1"], &speaker, fresh);
        let messages = messages.iter().map(message).collect();
        self.see(Seen::Asked { request, agent: agent.to_owned(), messages });
        self.open = Some(request);
    }

    fn answer(&mut self, token: &str) {
        let (request, token, text) = (self.open.take().unwrap(), token.to_owned(), format!("Well. [[t:{token}]]"));
        self.see(Seen::Answered { request, token, text, calls: Vec::new() });
    }

    /// The model is asked, and writes on.
    pub(super) fn working(&mut self, agent: &str, _process: &str) {
        self.ask(agent, &[]);
    }

    /// The model's stream is broken off.
    pub(super) fn aborted(&mut self, is_fault: bool) {
        let request = self.open.take().unwrap();
        self.see(Seen::Aborted { request, is_fault });
    }

    /// The model has answered, and its answer is the turn's outcome.
    pub(super) fn outcome(&mut self, agent: &str, process: &str) {
        self.answer("late");
        self.append("c1", Writer::Agent(agent.parse().unwrap()), process, vec![responded("late", &[]), asked()]);
    }

    pub(super) fn called(&mut self, tool: &str, key: &str, label: &str) {
        self.called_with(tool, key, label, &json!({ "order": 7 }));
    }

    pub(super) fn called_with(&mut self, tool: &str, key: &str, label: &str, arguments: &Json) {
        let is_first = !self.records.iter().any(|record| matches!(&record.seen, Seen::Called { key: known, .. } if known == key));
        self.call(tool, key, label, self.conversations[label].tail().epoch.0, arguments, is_first);
    }

    /// A call in some epoch.
    pub(super) fn called_in(&mut self, tool: &str, key: &str, label: &str, epoch: u64, is_effect: bool) {
        self.call(tool, key, label, epoch, &json!({ "order": 7 }), is_effect);
    }

    fn call(&mut self, tool: &str, key: &str, label: &str, epoch: u64, arguments: &Json, is_effect: bool) {
        self.numbers += 1;
        let (call, tool, key, conversation) = (self.numbers, tool.to_owned(), key.to_owned(), self.id(label));
        self.see(Seen::Called { call, tool, key, epoch, conversation, arguments: arguments.clone(), is_effect });
    }

    // Faults.

    /// Something strikes.
    pub(super) fn strike(&mut self, name: &str, target: &str, label: Option<&str>) {
        self.fault += 1;
        let (fault, name, target, conversation) = (self.fault, name.to_owned(), target.to_owned(), label.map(|label| self.id(label)));
        self.see(Seen::Struck { fault, name, target, conversation });
    }

    pub(super) fn heal(&mut self) {
        self.see(Seen::Healed { fault: self.fault });
    }

    pub(super) fn settle(&mut self) {
        self.see(Seen::Settled { fault: self.fault });
    }

    /// Something strikes, and is over after a while.
    pub(super) fn fault(&mut self, name: &str, target: &str, label: Option<&str>, ms: u64) {
        self.strike(name, target, label);
        self.now_us += ms * 1000;
        self.heal();
    }

    // The journal.

    /// An agent's entry; every answer in it was asked for.
    pub(super) fn by(&mut self, agent: &str, process: &str, events: Vec<Event>) {
        self.ask_for(agent, &events);
        self.append("c1", Writer::Agent(agent.parse().unwrap()), process, events);
    }

    fn ask_for(&mut self, agent: &str, events: &[Event]) {
        for (place, event) in events.iter().enumerate() {
            if let Event::Responded(response) = event {
                self.ask(agent, &events[..place]);
                let token = super::view::marks(&response.text, "t").next().unwrap().to_owned();
                self.answer(&token);
            }
        }
    }

    /// An entry of triage's whose answers nobody saw.
    pub(super) fn unheard(&mut self, events: Vec<Event>) {
        self.append("c1", Writer::Agent("triage".parse().unwrap()), "triage-1", events);
    }

    /// An agent's entry that no honest program would write.
    pub(super) fn forge(&mut self, agent: &str, process: &str, events: Vec<Event>) {
        self.ask_for(agent, &events);
        self.write_raw(Writer::Agent(agent.parse().unwrap()), process, &events);
    }

    pub(super) fn taken(&mut self, agent: &str, process: &str) {
        self.by(agent, process, vec![Taken { by: process.parse().unwrap(), delivered: 2 }.into()]);
    }

    pub(super) fn handed_back(&mut self, process: &str) {
        self.by("triage", process, vec![HandedBack { by: process.parse().unwrap(), reason: "draining".to_owned() }.into()]);
    }

    pub(super) fn set_aside(&mut self) {
        self.by("triage", "triage-1", vec![SetAside { ordinal: 0, what: "sung".to_owned(), wait_secs: 10 }.into()]);
    }

    fn coordinator(&mut self, event: impl Into<Event>) {
        self.append("c1", Writer::Coordinator, "coordinator-1", vec![event.into()]);
    }

    pub(super) fn redispatched(&mut self) {
        let turn = self.conversations["c1"].brief().unwrap().turn;
        self.coordinator(Redispatched { turn, reason: "died".to_owned() });
    }

    pub(super) fn redirected(&mut self, to: &str) {
        self.coordinator(Reassigned { to: to.parse().unwrap(), by: "ops".to_owned() });
    }

    pub(super) fn failed_by_coordinator(&mut self, code: &'static str) {
        self.coordinator(Failed { code: code.into(), detail: "Too late.".to_owned() });
    }

    pub(super) fn failed_again(&mut self) {
        let failed = Failed { code: "poison".into(), detail: "Again.".to_owned() };
        self.write_raw(Writer::Coordinator, "coordinator-1", &[failed.into()]);
    }

    pub(super) fn erased(&mut self) {
        self.coordinator(Erased {});
    }

    /// Two entries at the next place.
    pub(super) fn twin(&mut self) {
        let known = self.conversations["c1"].clone();
        self.by("triage", "triage-1", vec![warned("one")]);
        let (went_on, seq) = (self.conversations.insert("c1".to_owned(), known), Seq(self.stored.len() as u64 + 1));
        let stored = self.raw(&Writer::Agent("triage".parse().unwrap()), "triage-1", &[warned("two")], seq);
        self.stored.push(stored);
        self.conversations.insert("c1".to_owned(), went_on.unwrap());
    }

    /// Bytes that no version writes.
    pub(super) fn poisoned(&mut self) {
        let (known, seq) = (&self.conversations["c1"], Seq(self.stored.len() as u64 + 1));
        let subject = format!("baton.support.c.{}.{}.to.triage.000000000000.client", known.id(), known.tail().next);
        let time_ms = BEGIN_MS + self.now_us / 1000;
        let message = wire::Message { subject, headers: Headers::default(), payload: b"\x7fpoison".as_slice().into() };
        self.stored.push(message.stored(seq, time_ms));
    }

    fn class(&self, label: &str, events: &[Event]) -> Class {
        let known = &self.conversations[label];
        let to = |agent| Class::To { agent, revision: self.revision.clone() };
        let owner = || known.owner().cloned().unwrap_or_else(|| "triage".parse().unwrap());
        match events.last().unwrap() {
            Event::Transferred(transfer) => to(transfer.to.clone()),
            Event::Reassigned(event) => to(event.to.clone()),
            Event::Opened(_) | Event::Replied(_) | Event::Redispatched(_) | Event::Continued(_) | Event::Interrupted(_) => to(owner()),
            Event::Said(_) => Class::In,
            Event::Asked(_) => Class::Ask,
            Event::Completed(_) | Event::Failed(_) | Event::Cancelled(_) | Event::Erased(_) => Class::End,
            _ => Class::Note,
        }
    }

    /// A legal entry.
    fn append(&mut self, label: &str, from: Writer, process: &str, events: Vec<Event>) {
        let (class, known) = (self.class(label, &events), &self.conversations[label]);
        let seq = Seq(self.stored.len() as u64 + 1);
        let (id, trace) = (EntryId::of_turn([3; 16], seq.0), Some(self.traced(label)));
        let draft = Draft { class, from, id, process: process.parse().unwrap(), revision: self.revision.clone(), events, trace };
        let prepared = if known.last().is_none() { known.prepare_opening(draft, Default::default()) } else { known.prepare(draft) };
        let mut message = prepared.unwrap().message;
        if let Some((name, value)) = self.altered.take() {
            message.headers.insert(name, value);
        }
        let time_ms = BEGIN_MS + self.now_us / 1000;
        self.store(label, message.stored(seq, time_ms));
    }

    fn traced(&self, label: &str) -> Trace {
        Trace { parent: format!("00-{}-00f067aa0ba902b7-01", self.trace(label)), state: None }
    }

    /// An entry that the protocol would not prepare.
    fn write_raw(&mut self, from: Writer, process: &str, events: &[Event]) {
        let stored = self.raw(&from, process, events, Seq(self.stored.len() as u64 + 1));
        self.store("c1", stored);
    }

    fn raw(&self, from: &Writer, process: &str, events: &[Event], seq: Seq) -> Stored {
        let (known, class) = (&self.conversations["c1"], self.class("c1", events));
        let tail = known.tail();
        let record = Body { events: events.to_vec(), state: State::default() }.encode().unwrap();
        let (orchestration, conversation) = (known.orchestration().clone(), known.id().clone());
        let subject = EntrySubject { orchestration, conversation, ordinal: tail.next, class, from: from.clone() };
        let mut headers = Headers::default();
        headers.insert(header::VERSION, "1".to_owned());
        headers.insert(header::ID, EntryId::of_turn([4; 16], seq.0).to_string());
        headers.insert(header::KIND, events.last().unwrap().kind().to_owned());
        headers.insert(header::PREVIOUS, tail.hash.unwrap().to_string());
        headers.insert(header::RECORD, Hash::of(&record).to_string());
        headers.insert(header::EPOCH, tail.epoch.to_string());
        headers.insert(header::PROCESS, process.to_owned());
        headers.insert(header::REVISION, self.revision.to_string());
        headers.insert(header::BRIEF, serde_json::to_string(known.brief().unwrap()).unwrap());
        headers.insert(header::TRACEPARENT, self.traced("c1").parent);
        let payload = Payload { record, carry: Vec::new() }.encode().unwrap();
        wire::Message { subject: subject.to_string(), headers, payload }.stored(seq, BEGIN_MS + self.now_us / 1000)
    }

    fn store(&mut self, label: &str, stored: Stored) {
        let known = self.conversations.get_mut(label).unwrap();
        known.extend(Partial::decode(&stored).unwrap()).unwrap();
        let shown: Vec<(String, String, Json)> = known
            .last()
            .unwrap()
            .numbered()
            .map(|(id, event)| (id.to_string(), event.kind().to_owned(), json!({ "data": event.to_json() })))
            .collect();
        self.stored.push(stored);
        let conversation = self.id(label);
        for (id, event, data) in shown {
            self.see(Seen::Received { client: "ann".to_owned(), conversation: conversation.clone(), id: Some(id), event, data });
        }
    }
}

/// A message in the words of Chat Completions.
fn message(message: &PromptMessage<'_>) -> Json {
    match message {
        PromptMessage::System { text } => json!({ "role": "system", "content": text }),
        PromptMessage::User { text } => json!({ "role": "user", "content": text }),
        PromptMessage::Assistant { name, text, calls } => {
            let calls: Vec<Json> = calls
                .iter()
                .map(|call| json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": call.arguments } }))
                .collect();
            let mut message = json!({ "role": "assistant", "content": text });
            if let Some(name) = name {
                message["name"] = json!(name);
            }
            if !calls.is_empty() {
                message["tool_calls"] = json!(calls);
            }
            message
        }
        PromptMessage::Tool { call, content, .. } => json!({ "role": "tool", "tool_call_id": call, "content": content }),
    }
}

#[test]
fn a_told_story_breaks_no_promise() {
    for story in [Story::told(), Story::begun(), Story::quiet(), Story::asking(), Story::answered(), Story::parked()] {
        holds(&story);
    }
}

impl Story {
    /// A legal story that nobody thought of.
    fn at_random(seed: u64) -> Self {
        let (mut random, mut story) = (fastrand::Rng::with_seed(seed), Self::begun());
        let mut process = 1;
        for step in 2..random.u64(3..30) {
            let (owner, token, message) = (story.owner(), format!("t{step}"), format!("m{step}"));
            let worker = |process: u64| format!("{owner}-{process}");
            let phase = story.conversations["c1"].phase().unwrap();
            if phase == Phase::Waiting {
                let request = story.conversations["c1"].requests()[0].id.to_string();
                story.reply("c1", &message, &request, Ended::Ok { status: 201, is_repeat: false });
                story.store_reply(&message, &request);
                story.reply("c1", &format!("late{step}"), &request, Ended::Fail { status: 409, code: "already_answered".to_owned() });
                continue;
            }
            match random.u8(0..8) {
                0 => story.by(&owner, &worker(process), vec![responded(&token, &[]), asked()]),
                1 => {
                    let target = if owner == "refund" { "triage" } else { "refund" };
                    let call = format!("transfer_to_{target}");
                    story.by(&owner, &worker(process), vec![responded(&token, &[&call]), transferred(target)]);
                }
                2 => {
                    let key = format!("k{step}");
                    story.by(&owner, &worker(process), vec![responded(&token, &["pay"]), intended(&key)]);
                    story.called("pay", &key, "c1");
                    if random.bool() {
                        story.fault("kill-worker", &worker(process), Some("c1"), 0);
                        process += 1;
                        story.taken(&owner, &worker(process));
                        story.called("pay", &key, "c1");
                    }
                    story.by(&owner, &worker(process), vec![returned("paid")]);
                }
                3 => story.said("c1", &message),
                4 => {
                    story.asks(&owner, &token);
                    story.said("c1", &message);
                    story.append("c1", Writer::Agent(owner.parse().unwrap()), &worker(process), vec![responded(&token, &[]), asked()]);
                }
                5 => {
                    story.working(&owner, &worker(process));
                    story.fault("kill-worker", &worker(process), Some("c1"), 500);
                    story.aborted(true);
                    story.redispatched();
                    process += 1;
                    story.by(&owner, &worker(process), vec![responded(&token, &[]), warned("odd")]);
                }
                6 => {
                    let handed = HandedBack { by: worker(process).parse().unwrap(), reason: "draining".to_owned() };
                    story.by(&owner, &worker(process), vec![handed.into()]);
                    process += 1;
                    story.taken(&owner, &worker(process));
                }
                _ => story.wish("c1", &message, Ended::Unknown { why: "timeout".to_owned(), status: None }),
            }
        }
        match random.u8(0..4) {
            0 => story.cancel("c1"),
            1 => story.failed_by_coordinator("turn_timeout"),
            _ => {}
        }
        story
    }
}

#[test]
fn no_legal_story_breaks_a_promise() {
    for seed in 0..200 {
        let story = Story::at_random(seed);
        let violations = check(&setup(), &story.records());
        let shown: Vec<String> = violations.iter().map(ToString::to_string).collect();
        assert!(violations.is_empty(), "seed {seed}: {}", shown.join("\n"));
    }
}
