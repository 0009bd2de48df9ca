//! The stage: a journal in memory, an orchestration, and turns that are driven by what models and tools are scripted to say.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use journal::Refusal;
use protocol::brief::{Fixed, Phase};
use protocol::builder::AgentDef;
use protocol::conversation::{Conversation, Draft};
use protocol::event::{
    Audience, Call, Decided, Effect as Repeat, Event, InDoubt, Json, Message, Opened, Replied, RequestKind, Responded, Role, Said, Verdict,
};
use protocol::history::PromptMessage;
use protocol::ids::{AgentName, EntryId, Ordinal, RequestId, Seq, Writer};
use protocol::manifest::{CodeToolSpec, HandoffSpec, InDoubtSpec, LimitsSpec, ModelSpec, Spec};
use protocol::orchestration::Orchestration;
use protocol::subject::Class;
use serde_json::json;

use crate::catalog::Catalog;
use crate::model::ModelError;
use crate::turn::{Delivered, Effect, Finish, Input, Run, Turn};

/// What the model, the tools or fate do next.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// The model answers.
    Model(Responded),
    /// The model cannot be asked.
    Breaks(ModelError),
    /// The tools return this, by call id; without it each returns `<tool> done`.
    Tools(Vec<(&'static str, Result<&'static str, &'static str>)>),
    /// The worker dies, whatever it is waiting for.
    Dies,
    /// The worker drains.
    HandsBack,
}

/// What happens right before an append reaches the journal.
#[derive(Clone, Debug)]
pub(super) enum Meanwhile {
    /// A person says something.
    Says(&'static str),
    /// Somebody else appends.
    Entry(Class, String, Box<Event>),
    /// The journal refuses the append.
    Refuses(Refusal),
    /// No bytes can be made of it.
    CannotBeWritten,
}

/// A conversation of the test orchestration.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) orchestration: Arc<Orchestration>,
    pub(super) journal: Conversation,
    /// Every prompt so far, a line a message.
    pub(super) prompts: Vec<Vec<String>>,
    /// What the last turn offered its model, and the schema that it wanted its text to match.
    pub(super) offered: (Vec<String>, Option<Json>),
    /// Every run of a tool so far.
    pub(super) runs: Vec<Run>,
    catalogs: BTreeMap<AgentName, Arc<Catalog>>,
    meanwhile: BTreeMap<usize, Vec<Meanwhile>>,
    /// Fate may miss its cue, and only the end is looked at closely: for random stories.
    pub(super) lenient: bool,
    acts: u64,
}

pub(super) fn says(text: &str) -> Reply {
    says_and_calls(text, &[])
}

pub(super) fn calls(calls: &[(&str, &str)]) -> Reply {
    says_and_calls("", calls)
}

/// A response with calls `c1`, `c2` …
pub(super) fn says_and_calls(text: &str, calls: &[(&str, &str)]) -> Reply {
    let call = |(n, (name, arguments)): (usize, &(&str, &str))| Call {
        id: format!("c{}", n + 1),
        name: (*name).to_owned(),
        arguments: (*arguments).to_owned(),
    };
    let calls = calls.iter().enumerate().map(call).collect();
    Reply::Model(Responded { text: text.to_owned(), calls, model: "m".to_owned(), usage: None })
}

pub(super) fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

/// A delivery whose count is right.
pub(super) const fn counted(item: Ordinal, count: u64) -> Delivered {
    Delivered { item, count, is_recounted: false }
}

/// Compares effects with the lines of a text.
#[track_caller]
pub(super) fn check(effects: &[String], expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(effects, expected, "\neffects were:\n{}\n", effects.join("\n"));
}

fn tool(effect: Repeat, in_doubt: impl Into<InDoubtSpec>, approval: Option<&str>) -> CodeToolSpec {
    let approval: Option<Audience> = approval.map(|audience| audience.parse().unwrap());
    CodeToolSpec {
        effect: Some(effect),
        in_doubt: Some(in_doubt.into()),
        approval,
        description: Some("does".to_owned()),
        ..CodeToolSpec::default()
    }
}

/// The tool that undoes others, and that no model may call.
const UNDO: &str = "unbook";

/// Tools of the test orchestration.
fn tools() -> [(&'static str, CodeToolSpec); 12] {
    use Repeat::{Idempotent, ReadOnly, SideEffect};
    [
        ("look", tool(ReadOnly, InDoubt::Ask, None)),
        ("put", tool(Idempotent, InDoubt::Ask, None)),
        ("pay", tool(SideEffect, InDoubt::Ask, None)),
        ("mail", tool(SideEffect, InDoubt::Retry, None)),
        ("log", tool(SideEffect, InDoubt::Abandon, None)),
        ("refund_money", tool(SideEffect, InDoubt::Ask, Some("caller"))),
        ("wire", tool(SideEffect, InDoubt::Ask, Some("role:manager"))),
        ("spy", tool(ReadOnly, InDoubt::Ask, Some("role:manager"))),
        ("count", tool(ReadOnly, InDoubt::Ask, None)),
        ("book", tool(SideEffect, InDoubtSpec::Compensate("unbook".to_owned()), None)),
        ("let", tool(SideEffect, InDoubtSpec::Compensate("unbook".to_owned()), Some("role:manager"))),
        (UNDO, tool(Idempotent, InDoubt::Ask, None)),
    ]
}

fn orchestration() -> Orchestration {
    let mut triage = AgentDef::new("triage").display_name("Triage Desk").description("Triages.").instructions("Be kind.");
    let mut refund = AgentDef::new("refund").display_name("Refunds").description("Refunds.");
    let order = AgentDef::new("order").description("Orders.");
    let mut builder = Orchestration::builder("support").model("default", ModelSpec::openai("m"));
    for (name, spec) in tools() {
        if name != UNDO {
            (triage, refund) = (triage.tool(name), refund.tool(name));
        }
        builder = builder.code_tool(name, spec);
    }
    let payload = json!({ "type": "object", "properties": { "order": { "type": "integer" } }, "required": ["order"] });
    let to_order = HandoffSpec { to: "order".to_owned(), payload: Some(payload), ..HandoffSpec::default() };
    let builder = builder.agents([&triage, &refund, &order]).start_with("triage");
    let builder = builder.add("triage", "refund").add_handoff("triage", to_order).add("refund", "triage").add("refund", "order");
    builder.build().unwrap_or_else(|problems| panic!("{problems:?}")).orchestration
}

impl Stage {
    /// A conversation that a person has opened with `help`, and that asks people.
    pub(super) fn new() -> Self {
        Self::with(LimitsSpec::default(), true)
    }

    /// Without a human channel.
    pub(super) fn without_people() -> Self {
        Self::with(LimitsSpec::default(), false)
    }

    pub(super) fn with(limits: LimitsSpec, human: bool) -> Self {
        Self::of(|spec| spec.limits = Some(limits), Opened { human, ..Opened::default() })
    }

    /// Under a definition that says more, opened with more.
    pub(super) fn of(adapt: impl FnOnce(&mut Spec), opened: Opened) -> Self {
        let mut manifest = orchestration().manifest().clone();
        adapt(&mut manifest.spec);
        let checked = manifest.check().unwrap_or_else(|problems| panic!("{problems:?}"));
        let orchestration = Arc::new(checked.orchestration);
        let schema = |name: &str| {
            let properties = if name == "count" { json!({ "n": { "type": "integer" } }) } else { json!({}) };
            (name.to_owned(), json!({ "type": "object", "properties": properties }))
        };
        let schemas = tools().iter().map(|(name, _)| schema(name)).collect();
        let catalog =
            |agent: &protocol::orchestration::Agent| (agent.name.clone(), Arc::new(Catalog::new(&orchestration, agent, &schemas).unwrap()));
        let catalogs = orchestration.agents().map(catalog).collect();
        let journal = Conversation::empty(orchestration.name().clone(), "c1".parse().unwrap());
        let (prompts, offered, runs, meanwhile) = (Vec::new(), (Vec::new(), None), Vec::new(), BTreeMap::new());
        let mut stage = Self { orchestration, journal, prompts, offered, runs, catalogs, meanwhile, lenient: false, acts: 0 };
        let input = vec![Message { role: Role::User, name: None, text: "help".to_owned() }];
        let draft = stage.draft(stage.to("triage"), "client", Opened { input, ..opened }.into());
        let prepared = stage.journal.prepare_opening(draft, Fixed::default()).unwrap();
        stage.journal.commit(prepared, Seq(1)).unwrap();
        stage
    }

    /// What a call of `tool` has to look like.
    pub(super) fn parameters(&self, name: &str, tool: &str) -> Json {
        let mut stage = self.clone();
        let turn = stage.turn(name, counted(0, 1));
        turn.tools().iter().find(|definition| definition.name == tool).unwrap().parameters.clone()
    }

    pub(super) fn to(&self, name: &str) -> Class {
        Class::To { agent: agent(name), revision: self.orchestration.revision().clone() }
    }

    pub(super) fn phase(&self) -> Phase {
        self.journal.phase().unwrap()
    }

    pub(super) fn owner(&self) -> String {
        self.journal.owner().unwrap().to_string()
    }

    fn draft(&self, class: Class, from: &str, event: Event) -> Draft {
        let next = self.journal.tail().next;
        Draft {
            class,
            from: from.parse().unwrap(),
            id: EntryId::of_request(self.journal.id(), &next.to_string()),
            process: "gw-1".parse().unwrap(),
            revision: self.orchestration.revision().clone(),
            events: vec![event],
            trace: None,
        }
    }

    fn next_seq(&self) -> Seq {
        Seq(self.journal.tail().seq.0 + 2)
    }

    /// Somebody outside the turn appends.
    pub(super) fn write(&mut self, class: Class, from: &str, event: impl Into<Event>) {
        let draft = self.draft(class, from, event.into());
        let prepared = self.journal.prepare(draft.clone()).unwrap_or_else(|error| panic!("{error}: {draft:?}"));
        self.journal.commit(prepared, self.next_seq()).unwrap();
    }

    pub(super) fn say(&mut self, text: &str) {
        self.write(Class::In, "gateway", Said { text: text.to_owned() });
    }

    /// The caller answers the open question.
    pub(super) fn reply(&mut self, text: &str) {
        let request = self.journal.requests()[0].id;
        let owner = self.owner();
        self.write(self.to(&owner), "gateway", Replied::new(request, text));
    }

    /// Somebody decides the first open request.
    pub(super) fn decide(&mut self, verdict: Verdict, note: &str) {
        let request = self.journal.requests()[0].id;
        self.decide_one(request, verdict, note);
    }

    pub(super) fn decide_one(&mut self, request: RequestId, verdict: Verdict, note: &str) {
        let is_last = self.journal.requests().len() == 1;
        let class = if is_last { self.to(&self.owner()) } else { Class::In };
        let Some(Event::Asked(asked)) = self.journal.event(request) else { panic!("{request} asks nothing") };
        let arguments_hash = asked.arguments_hash;
        self.write(class, "gateway", Decided { request, verdict, arguments_hash, note: note.to_owned(), by: "ann".to_owned() });
    }

    /// Before the `place`-th append of the next act (from 0) reaches the journal.
    pub(super) fn meanwhile(&mut self, place: usize, what: Meanwhile) {
        self.meanwhile.entry(place).or_default().push(what);
    }

    /// The current work item is delivered to a worker of `agent` for the first time.
    pub(super) fn act(&mut self, agent: &str, replies: impl IntoIterator<Item = Reply>) -> Vec<String> {
        self.deliver(agent, 1, replies)
    }

    /// It is delivered again.
    pub(super) fn act_again(&mut self, agent: &str, replies: impl IntoIterator<Item = Reply>) -> Vec<String> {
        self.deliver(agent, 2, replies)
    }

    fn deliver(&mut self, agent: &str, count: u64, replies: impl IntoIterator<Item = Reply>) -> Vec<String> {
        let is_work = |class: &Class| matches!(class, Class::To { .. });
        let item = self.journal.entries().iter().rev().find(|entry| is_work(&entry.head.subject.class)).unwrap().ordinal();
        let turn = self.turn(agent, counted(item, count));
        self.drive(turn, replies)
    }

    /// A turn that begins now.
    pub(super) fn turn(&mut self, name: &str, delivered: Delivered) -> Turn {
        self.acts += 1;
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&self.acts.to_be_bytes());
        let process = format!("w-{}", self.acts).parse().unwrap();
        let catalog = self.catalogs[&agent(name)].clone();
        Turn::new(self.orchestration.clone(), catalog, agent(name), process, self.journal.clone(), delivered, seed)
    }

    pub(super) fn drive(&mut self, mut turn: Turn, replies: impl IntoIterator<Item = Reply>) -> Vec<String> {
        let mut replies: VecDeque<Reply> = replies.into_iter().collect();
        let (mut effects, mut appends) = (Vec::new(), 0);
        self.offered = (turn.tools().iter().map(|tool| tool.name.clone()).collect(), turn.output().cloned());
        let mut effect = turn.next(Input::Start);
        loop {
            effects.push(shown(&effect));
            assert!(effects.len() < 2000, "this turn never ends");
            let input = match effect {
                Effect::Finish(_) => break,
                Effect::Append(draft) => {
                    appends += 1;
                    self.append(&mut turn, &draft, appends - 1)
                }
                Effect::AskModel | Effect::Summarize => {
                    self.prompts.push(turn.prompt().iter().map(line).collect());
                    match replies.pop_front() {
                        Some(Reply::Model(response)) => Input::Model(Ok(response)),
                        Some(Reply::Breaks(error)) => Input::Model(Err(error)),
                        other => {
                            self.stop(turn, other, &mut effects);
                            break;
                        }
                    }
                }
                Effect::RunTools(runs) => {
                    self.runs.extend(runs.iter().cloned());
                    match replies.front() {
                        Some(Reply::Dies | Reply::HandsBack) => {
                            self.stop(turn, replies.pop_front(), &mut effects);
                            break;
                        }
                        Some(Reply::Tools(results)) => {
                            let owned = |result: &Result<&str, &str>| result.map(str::to_owned).map_err(str::to_owned);
                            let results = results.iter().map(|(call, result)| ((*call).to_owned(), owned(result))).collect();
                            replies.pop_front();
                            Input::Tools(results)
                        }
                        _ => Input::Tools(runs.into_iter().map(|run| (run.call.id, Ok(format!("{} done", run.call.name)))).collect()),
                    }
                }
            };
            effect = turn.next(input);
        }
        assert!(self.lenient || self.meanwhile.is_empty(), "never happened: {:?}", self.meanwhile);
        self.meanwhile.clear();
        effects
    }

    fn stop(&mut self, mut turn: Turn, how: Option<Reply>, effects: &mut Vec<String>) {
        match how {
            None | Some(Reply::Dies) => effects.push("dies".to_owned()),
            Some(Reply::HandsBack) => {
                let draft = turn.hand_back("draining");
                effects.push(shown(&Effect::Append(draft.clone())));
                let prepared = self.journal.prepare(draft).unwrap();
                self.journal.commit(prepared, self.next_seq()).unwrap();
            }
            Some(other) => panic!("the model is asked, not {other:?}"),
        }
    }

    fn append(&mut self, turn: &mut Turn, draft: &Draft, place: usize) -> Input {
        for meanwhile in self.meanwhile.remove(&place).unwrap_or_default() {
            match meanwhile {
                Meanwhile::Says(text) => self.say(text),
                Meanwhile::Entry(class, from, event) => self.write(class, &from, *event),
                Meanwhile::Refuses(refusal) => return Input::Refused(refusal),
                Meanwhile::CannotBeWritten => return Input::Unwritable("nested too deep".to_owned()),
            }
        }
        let prepared = turn.conversation().prepare(draft.clone()).unwrap_or_else(|error| panic!("{error}: {draft:?}"));
        if prepared.expected != self.journal.tail().seq {
            return Input::Fenced(self.journal.clone());
        }
        let seq = self.next_seq();
        turn.commit(prepared.clone(), seq).unwrap();
        self.journal.commit(prepared, seq).unwrap();
        if !self.lenient {
            assert_eq!(turn.conversation(), &self.journal);
            assert_eq!(self.journal.verify(), Ok(()));
        }
        Input::Appended(seq)
    }

    /// The last prompt, line by line.
    #[track_caller]
    pub(super) fn check_prompt(&self, expected: &str) {
        check(self.prompts.last().unwrap(), expected);
    }
}

/// A prompt's message as a line.
fn line(message: &PromptMessage<'_>) -> String {
    match message {
        PromptMessage::System { text } => format!("system: {text}"),
        PromptMessage::User { text } => format!("user: {text}"),
        PromptMessage::Assistant { name, text, calls } => {
            let name = name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            let calls: String = calls.iter().map(|call| format!(" [{} {}]", call.id, call.name)).collect();
            format!("assistant{name}: {text}{calls}")
        }
        PromptMessage::Tool { call, content, .. } => format!("tool {call}: {content}"),
    }
}

fn shown(effect: &Effect) -> String {
    match effect {
        Effect::AskModel => "ask model".to_owned(),
        Effect::Summarize => "summarize".to_owned(),
        Effect::RunTools(runs) => {
            let names: Vec<_> = runs.iter().map(|run| run.call.name.as_str()).collect();
            format!("run {}", names.join(", "))
        }
        Effect::Append(draft) => {
            let class = match &draft.class {
                Class::To { agent, .. } => format!("to {agent}"),
                Class::Note => "note".to_owned(),
                Class::In => "in".to_owned(),
                Class::Ask => "ask".to_owned(),
                Class::End => "end".to_owned(),
            };
            assert!(matches!(draft.from, Writer::Agent(_)));
            format!("{class}: {}", draft.events.iter().map(event).collect::<Vec<_>>().join("; "))
        }
        Effect::Finish(Finish::Settled) => "settled".to_owned(),
        Effect::Finish(Finish::Dropped) => "dropped".to_owned(),
        Effect::Finish(Finish::GiveBack { delay, .. }) if *delay == Duration::ZERO => "given back".to_owned(),
        Effect::Finish(Finish::GiveBack { delay, .. }) => format!("given back for {} s", delay.as_secs()),
    }
}

/// An event in a few words: what a story is about.
fn event(event: &Event) -> String {
    match event {
        Event::Responded(response) => {
            let calls: String = response.calls.iter().map(|call| format!(" {}", call.name)).collect();
            if response.text.is_empty() { format!("responded{calls}") } else { format!("responded {:?}{calls}", response.text) }
        }
        Event::Intended(intended) => {
            let calls: Vec<_> = intended.calls.iter().map(|call| call.call.as_str()).collect();
            format!("intended {}", calls.join(" "))
        }
        Event::Withdrawn(withdrawn) => {
            let calls: Vec<_> = withdrawn.calls.iter().map(|call| call.call.as_str()).collect();
            format!("withdrawn {}", calls.join(" "))
        }
        Event::Returned(returned) => {
            format!("{} {}: {}", if returned.is_error { "error" } else { "returned" }, returned.call, returned.content)
        }
        Event::Warned(warned) => format!("warned {}", warned.code),
        Event::Transferred(transferred) => format!("transferred to {}", transferred.to),
        Event::Continued(continued) => format!("continued {:?}", continued.because).to_lowercase(),
        Event::Asked(asked) => {
            let kind = match asked.kind {
                RequestKind::Question => "question",
                RequestKind::Approval => "approval",
                RequestKind::InDoubt => "in doubt",
            };
            let call = asked.call.as_ref().map(|call| format!(" {}", call.name)).unwrap_or_default();
            format!("asked {kind} of {}{call}", asked.audience)
        }
        Event::Taken(taken) => format!("taken by {}", taken.by),
        Event::Deferred(deferred) => format!("deferred {} s", deferred.wait_secs),
        Event::HandedBack(back) => format!("handed back: {}", back.reason),
        Event::SetAside(set_aside) => format!("set aside {} {}", set_aside.ordinal, set_aside.what),
        Event::Completed(completed) => format!("completed {:?}: {}", completed.because, completed.result),
        Event::Failed(failed) => format!("failed {}", failed.code),
        other => other.kind().to_owned(),
    }
}
