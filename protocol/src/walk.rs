//! Random legal conversations for property tests. A walk is steered by numbers, so that a failing one shrinks.

use proptest::prelude::*;

use crate::brief::{Fixed, Phase};
use crate::conversation::{Conversation, Draft, Prepared};
use crate::entry::Trace;
use crate::event::{
    Asked, Audience, Call, Cancelled, Claimed, Completed, CompletedBecause, Continuation, Continued, Decided, Deferred, DeskAction, Effect,
    Erased, Event, Failed, HandedBack, HistoryOption, InDoubt, Intended, IntendedCall, Interrupted, Json, Message, Opened, Reassigned,
    Redispatched, Replied, RequestKind, Responded, Returned, Role, Said, SetAside, Snapshotted, Taken, Transferred, Verdict, Warned,
    Withdrawn, WithdrawnCall,
};
use crate::ids::{AgentName, EntryId, Hash, RequestId, Revision, Seq, Writer};
use crate::subject::Class;
use crate::wire::Stored;

pub(crate) const AGENTS: [&str; 3] = ["triage", "refund", "order-status"];

/// A conversation with everything that was stored on the way, and the conversation as it was after each entry.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    pub(crate) conversation: Conversation,
    pub(crate) stored: Vec<Stored>,
    pub(crate) prefixes: Vec<Conversation>,
    /// The calls of the owner's last response that have no result in the journal.
    open: Vec<Call>,
}

/// Walks of up to `steps` entries after the opening.
pub(crate) fn walks(steps: usize) -> impl Strategy<Value = Walk> {
    proptest::collection::vec(any::<u64>(), 0..steps).prop_map(|dice| Walk::along(&dice))
}

/// Numbers from one number.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    /// Mostly short, sometimes empty, sometimes long enough to seal.
    fn text(&mut self) -> String {
        let chars = match self.roll(8) {
            0 => 0,
            1 => 500 + self.roll(3000),
            _ => 1 + self.roll(40),
        };
        "äbc 🙂\n\"{".chars().cycle().take(chars).collect()
    }

    fn flip(&mut self) -> bool {
        self.roll(2) == 0
    }
}

pub(crate) fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

pub(crate) fn to(name: &AgentName) -> Class {
    Class::To { agent: name.clone(), revision: revision() }
}

pub(crate) fn revision() -> Revision {
    Revision::of(b"walk")
}

pub(crate) fn draft(ordinal: u64, class: Class, from: Writer, events: Vec<Event>) -> Draft {
    let conversation = "walk".parse().unwrap();
    let id = if from.is_caller() { EntryId::of_request(&conversation, &ordinal.to_string()) } else { EntryId::of_turn([7; 16], ordinal) };
    let state = ordinal.is_multiple_of(3).then(|| "vendor=1".to_owned());
    let trace = ordinal.is_multiple_of(2).then(|| Trace { parent: format!("00-{ordinal:032x}-00f067aa0ba902b7-01"), state });
    Draft { class, from, id, process: "w-1".parse().unwrap(), revision: revision(), events, trace }
}

impl Walk {
    /// A walk that has only been opened.
    pub(crate) fn open(input: Vec<Message>, human: bool) -> Self {
        let conversation = Conversation::empty("support".parse().unwrap(), "walk".parse().unwrap());
        let mut walk = Self { conversation, stored: Vec::new(), prefixes: Vec::new(), open: Vec::new() };
        let value = Some(serde_json::json!({ "order": 17, "ratio": 0.1, "list": [null, true, -3] }));
        let opened = Opened { input, value, human, ..Opened::default() };
        let fixed = Fixed { gateway: Some("gw-1".parse().unwrap()), turn_secs: Some(600), ..Fixed::default() };
        let draft = draft(0, to(&agent(AGENTS[0])), Writer::Gateway, vec![opened.into()]);
        let prepared = walk.conversation.prepare_opening(draft, fixed).unwrap();
        walk.store(prepared);
        walk
    }

    fn along(dice: &[u64]) -> Self {
        let mut first = Dice(dice.len() as u64);
        let input = vec![Message { role: Role::User, name: None, text: first.text() }];
        let mut walk = Self::open(input, true);
        for seed in dice {
            walk.step(&mut Dice(*seed));
        }
        walk
    }

    /// Prepares, stores and commits an entry that must be legal.
    pub(crate) fn write(&mut self, class: Class, from: Writer, events: Vec<Event>) {
        let draft = draft(self.conversation.tail().next, class, from, events);
        let prepared = self.conversation.prepare(draft.clone()).unwrap_or_else(|error| panic!("{error}: {draft:?}"));
        self.store(prepared);
    }

    fn store(&mut self, prepared: Prepared) {
        // Other conversations' entries lie between the ones of this one.
        let seq = Seq(prepared.expected.0 + 1 + prepared.ordinal() % 3);
        let message = prepared.message.clone();
        let stored = message.stored(seq, 1000);
        self.conversation.commit(prepared, seq).unwrap();
        self.stored.push(stored);
        self.prefixes.push(self.conversation.clone());
    }

    pub(crate) fn owner(&self) -> AgentName {
        self.conversation.owner().unwrap().clone()
    }

    fn own(&mut self, class: Class, events: Vec<Event>) {
        let owner = Writer::Agent(self.owner());
        self.write(class, owner, events);
    }

    fn step(&mut self, dice: &mut Dice) {
        match self.conversation.phase().unwrap() {
            Phase::Working => match dice.roll(20) {
                0..=9 => self.owner_acts(dice),
                10..=16 => self.person_acts(dice),
                _ => self.coordinator_acts(dice),
            },
            Phase::Waiting => self.somebody_answers(dice),
            Phase::Completed | Phase::Failed | Phase::Cancelled => self.write(Class::End, Writer::Coordinator, vec![Erased {}.into()]),
            Phase::Erased => {}
        }
    }

    /// A response with calls whose ids repeat from response to response, as some providers' do.
    fn respond(&mut self, dice: &mut Dice, calls: usize) -> Event {
        let call = |n: usize| Call { id: format!("call_{n}"), name: "pay".to_owned(), arguments: format!("{{\"n\":{n}}}") };
        self.open = (0..calls).map(call).collect();
        Responded { text: dice.text(), calls: self.open.clone(), model: "m".to_owned(), usage: None }.into()
    }

    /// The results of all open calls.
    fn settle(&mut self, dice: &mut Dice) -> Vec<Event> {
        let ordinal = self.conversation.tail().next;
        let result = |call: Call| {
            let content = format!("result of {} at {ordinal} {}", call.id, dice.text());
            Returned { call: call.id, tool: call.name, content, is_error: false }.into()
        };
        std::mem::take(&mut self.open).into_iter().map(result).collect()
    }

    /// What a turn records before its outcome: results of an open response, else a response with read-only calls.
    fn recorded(&mut self, dice: &mut Dice) -> Vec<Event> {
        if self.open.is_empty() {
            let calls = dice.roll(3);
            let mut events = vec![self.respond(dice, calls)];
            events.extend(self.settle(dice));
            return events;
        }
        self.settle(dice)
    }

    fn owner_acts(&mut self, dice: &mut Dice) {
        let me = self.owner();
        match dice.roll(12) {
            0 if self.open.is_empty() => {
                let calls = 1 + dice.roll(3);
                let mut events = vec![self.respond(dice, calls)];
                events.push(self.intend());
                self.own(Class::Note, events);
            }
            0 if dice.flip() => {
                let (tool, key, undoes) = ("undo".to_owned(), "k-undo".to_owned(), "k".to_owned());
                let calls = self.open.iter().map(|call| (call.id.clone(), tool.clone(), key.clone(), undoes.clone()));
                let calls = calls.map(|(call, tool, key, undoes)| WithdrawnCall { call, tool, key, undoes }).collect();
                self.own(Class::Note, vec![Withdrawn { calls }.into()]);
            }
            0 | 1 => {
                let mut events = self.recorded(dice);
                events.push(Warned { code: "odd".into(), detail: dice.text() }.into());
                self.own(Class::Note, events);
            }
            2..=4 => self.transfer(dice),
            5 | 6 => {
                let mut events = self.recorded(dice);
                let audience = if dice.flip() { Audience::Caller } else { Audience::Desk("tier2".to_owned()) };
                events.push(self.respond(dice, 0));
                events.push(asked(RequestKind::Question, audience, None).into());
                self.own(Class::Ask, events);
            }
            7 => self.ask_to_decide(dice),
            8 => {
                let mut events = self.recorded(dice);
                let because = if dice.flip() { Continuation::Answered } else { Continuation::Autonomous };
                events.push(Continued { because, prompt: Some("go on".to_owned()) }.into());
                self.own(to(&me), events);
            }
            9 => self.own(Class::Note, vec![Taken { by: "w-2".parse().unwrap(), delivered: 2 }.into()]),
            10 => {
                let mut events = if self.open.is_empty() && dice.flip() {
                    // Given back before its read-only calls returned.
                    let calls = dice.roll(3);
                    vec![self.respond(dice, calls)]
                } else {
                    self.recorded(dice)
                };
                events.push(match dice.roll(3) {
                    0 => Deferred { wait_secs: 5, reason: dice.text() }.into(),
                    1 => HandedBack { by: "w-1".parse().unwrap(), reason: dice.text() }.into(),
                    _ => SetAside { ordinal: 0, what: "sung".to_owned(), wait_secs: 10 }.into(),
                });
                self.own(Class::Note, events);
            }
            _ if dice.roll(30) == 0 => {
                let mut events = self.recorded(dice);
                let value = Some(Json::from(3));
                events.push(if dice.flip() {
                    Completed { because: CompletedBecause::TaskComplete, result: dice.text(), value }.into()
                } else {
                    Failed { code: "model_error".into(), detail: dice.text() }.into()
                });
                self.own(Class::End, events);
            }
            _ => {}
        }
    }

    fn intend(&self) -> Event {
        let intended = |call: &Call| {
            let key = format!("{}-{}", self.conversation.tail().next, call.id);
            IntendedCall { call: call.id.clone(), key, effect: Effect::SideEffect, in_doubt: InDoubt::Ask, undo: None }
        };
        Intended { calls: self.open.iter().map(intended).collect() }.into()
    }

    fn transfer(&mut self, dice: &mut Dice) {
        let me = self.owner();
        let target = agent(AGENTS.into_iter().filter(|name| *name != me.as_str()).nth(dice.roll(2)).unwrap());
        let mut events = self.recorded(dice);
        let call = Call { id: "call_t".to_owned(), name: format!("transfer_to_{target}"), arguments: String::new() };
        let text = dice.text();
        events.push(Responded { text, calls: vec![call], ..Responded::default() }.into());
        let history = if dice.flip() { HistoryOption::Tools } else { HistoryOption::None };
        let payload = dice.flip().then(|| serde_json::json!({ "amount": 12.5 }));
        let transferred =
            Transferred { to: target.clone(), call: Some("call_t".to_owned()), reason: None, payload, history, summary: None };
        events.push(transferred.into());
        self.own(to(&target), events);
    }

    fn ask_to_decide(&mut self, dice: &mut Dice) {
        let kind = if self.open.is_empty() { RequestKind::Approval } else { RequestKind::InDoubt };
        let mut events = Vec::new();
        if self.open.is_empty() {
            let calls = 1 + dice.roll(3);
            events.push(self.respond(dice, calls));
        }
        events.push(self.intend());
        events.extend(self.open.iter().map(|call| asked(kind, Audience::Role("manager".to_owned()), Some(call.clone())).into()));
        self.own(Class::Ask, events);
    }

    fn person_acts(&mut self, dice: &mut Dice) {
        let from = if dice.flip() { Writer::Client } else { Writer::Gateway };
        match dice.roll(12) {
            0..=6 => self.write(Class::In, from, vec![Said { text: dice.text() }.into()]),
            7..=10 if !self.conversation.has_unresolved_intent() => {
                self.open.clear();
                let owner = self.owner();
                self.write(to(&owner), from, vec![Interrupted { text: dice.text() }.into()]);
            }
            11 if dice.roll(12) == 0 => self.write(Class::End, from, vec![Cancelled { reason: dice.text() }.into()]),
            _ => {}
        }
    }

    fn coordinator_acts(&mut self, dice: &mut Dice) {
        let owner = self.owner();
        let turn = self.conversation.brief().unwrap().turn;
        match dice.roll(4) {
            0 => {
                self.open.clear();
                let target = agent(AGENTS[dice.roll(3)]);
                self.write(to(&target), Writer::Coordinator, vec![Reassigned { to: target.clone(), by: "ops".to_owned() }.into()]);
            }
            _ => self.write(to(&owner), Writer::Coordinator, vec![Redispatched { turn, reason: dice.text() }.into()]),
        }
    }

    fn somebody_answers(&mut self, dice: &mut Dice) {
        let requests = self.conversation.requests().to_vec();
        let request = requests[dice.roll(requests.len())].clone();
        let is_callers = request.kind == RequestKind::Question && request.audience == Audience::Caller;
        match dice.roll(12) {
            0 => {
                let entries = self.conversation.tail().next;
                self.write(Class::Note, Writer::Coordinator, vec![Snapshotted { entries }.into()]);
            }
            1 => self.write(Class::In, Writer::Gateway, vec![Claimed { request: request.id, by: dice.text() }.into()]),
            2 | 3 if !is_callers => self.write(Class::In, Writer::Gateway, vec![Said { text: dice.text() }.into()]),
            _ if request.kind == RequestKind::Question => {
                let owner = self.owner();
                let mut reply = Replied::new(request.id, dice.text());
                if request.is_at_desk() && dice.flip() {
                    reply.by = dice.text();
                    reply.action = dice.flip().then(|| match dice.flip() {
                        true => DeskAction::Complete,
                        false => DeskAction::Transfer { to: agent(AGENTS[dice.roll(3)]) },
                    });
                    reply.value = reply.action.as_ref().filter(|_| dice.flip()).map(|_| dice.text().into());
                }
                self.write(to(&owner), Writer::Gateway, vec![reply.into()]);
            }
            _ => self.decide(request.id, request.kind, requests.len() == 1, dice),
        }
    }

    fn decide(&mut self, request: RequestId, kind: RequestKind, is_last: bool, dice: &mut Dice) {
        let verdict = match (kind, dice.flip()) {
            (RequestKind::Approval, true) => Verdict::Approved,
            (RequestKind::Approval, false) => Verdict::Denied,
            (_, true) => Verdict::Retry,
            (_, false) => Verdict::Abandoned,
        };
        let Some(Event::Asked(asked)) = self.conversation.event(request) else { panic!("{request} did not ask") };
        let arguments_hash = asked.arguments_hash;
        let decided = Decided { request, verdict, arguments_hash, note: dice.text(), by: "ann".to_owned() };
        let class = if is_last { to(&self.owner()) } else { Class::In };
        self.write(class, Writer::Gateway, vec![decided.into()]);
    }
}

fn asked(kind: RequestKind, audience: Audience, call: Option<Call>) -> Asked {
    let arguments_hash = call.as_ref().map(|call| Hash::of(call.arguments.as_bytes()));
    Asked { kind, audience, text: String::new(), call, arguments_hash, due_secs: Some(60) }
}
