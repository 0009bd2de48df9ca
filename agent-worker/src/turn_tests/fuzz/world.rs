//! A conversation whose models, tools, workers and broker do whatever can happen, and a record of all that is seen of it
//! from outside.

use std::collections::BTreeMap;

use journal::Refusal;
use protocol::brief::{Fixed, Phase};
use protocol::conversation::{Conversation, Draft, Partial, Prepared};
use protocol::event::{Event, Message, Opened, Responded, Role};
use protocol::history::PromptMessage;
use protocol::ids::{AgentName, EntryId, Ordinal, ProcessId, Seq};
use protocol::subject::Class;
use protocol::wire::Stored;

use super::super::stage::Stage;
use super::definition::{Definitions, Demands};
use super::replies::{self, one_in};
use crate::turn::{Delivered, Effect, Finish, Input, Run, Turn};

/// What a conversation does at most.
const ACTS_MAX: u32 = 14;
/// Effects of one turn: none may need more.
const EFFECTS_MAX: u32 = 2000;

/// Something that a process did or was told.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) process: ProcessId,
    pub(super) agent: AgentName,
    /// The ordinal behind the last entry that it knew.
    pub(super) next: Ordinal,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Began {
        is_current: bool,
        offered: Vec<String>,
    },
    Prompted {
        messages: Vec<PromptMessage<'static>>,
        is_summary: bool,
    },
    Answered {
        response: Responded,
        is_summary: bool,
    },
    Ran(Vec<Run>),
    Returned(Vec<(Run, String)>),
    Stored,
    /// `is_done`: whether somebody else is responsible now.
    Finished {
        finish: Finish,
        is_done: bool,
    },
}

/// One conversation.
#[derive(Debug)]
pub(super) struct World {
    pub(super) stage: Stage,
    pub(super) demands: Demands,
    pub(super) seen: Vec<Seen>,
    /// The journal, as bytes.
    pub(super) stored: Vec<Stored>,
    pub(super) rng: fastrand::Rng,
    /// Model calls so far.
    pub(super) replies: u64,
    words: u64,
    deliveries: BTreeMap<Ordinal, u64>,
    /// Workers that stand still and do not know that others go on.
    paused: Vec<(Turn, Effect)>,
}

impl World {
    /// The whole story that a seed stands for, under a definition that it shares with its neighbours.
    pub(super) fn story(seed: u64, definitions: &mut Definitions) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        let (stage, demands) = definitions.of(seed);
        let (seen, stored, deliveries, paused) = (Vec::new(), Vec::new(), BTreeMap::new(), Vec::new());
        let mut world = Self { stage, demands, seen, stored, rng, replies: 0, words: 0, deliveries, paused };
        world.open();
        for _ in 0..ACTS_MAX {
            match world.stage.phase() {
                Phase::Working => world.act(),
                Phase::Waiting => world.people(),
                Phase::Completed | Phase::Failed | Phase::Cancelled | Phase::Erased => break,
            }
        }
        while let Some((turn, effect)) = world.paused.pop() {
            world.go_on(turn, effect);
        }
        world
    }

    pub(super) fn one_in(&mut self, n: u32) -> bool {
        one_in(&mut self.rng, n)
    }

    /// A word that nobody has said before.
    pub(super) fn word(&mut self) -> String {
        self.words += 1;
        format!("§{}§", self.words)
    }

    fn open(&mut self) {
        self.stage.journal = Conversation::empty(self.stage.orchestration.name().clone(), "c1".parse().unwrap());
        let human = self.stage.orchestration.human();
        let fixed = Fixed {
            turn_secs: Some(600),
            on_message: human.on_message,
            reply_to: human.return_to_start.then(|| self.stage.orchestration.start().clone()),
            ..Fixed::default()
        };
        let text = format!("help {}", self.word());
        let input = vec![Message { role: Role::User, name: None, text }];
        let value = self.stage.orchestration.input().is_some().then(|| serde_json::json!({ "order": 7 }));
        let opened = Opened { input, value, ..self.demands.opened.clone() };
        let draft = self.draft(self.stage.to("triage"), "client", opened.into());
        let prepared = self.stage.journal.prepare_opening(draft, fixed).unwrap();
        self.publish(prepared);
    }

    pub(super) fn draft(&self, class: Class, from: &str, event: Event) -> Draft {
        Draft {
            class,
            from: from.parse().unwrap(),
            id: EntryId::of_request(self.stage.journal.id(), &self.stored.len().to_string()),
            process: "gw-1".parse().unwrap(),
            revision: self.stage.orchestration.revision().clone(),
            events: vec![event],
            trace: None,
        }
    }

    /// Somebody outside the turn appends, if they may.
    pub(super) fn write(&mut self, class: Class, from: &str, event: impl Into<Event>) -> bool {
        let prepared = self.stage.journal.prepare(self.draft(class, from, event.into()));
        prepared.map(|prepared| self.publish(prepared)).is_ok()
    }

    /// The broker stores an entry. Whoever reads its bytes must find what its writer meant.
    fn publish(&mut self, prepared: Prepared) -> Seq {
        let seq = Seq(self.stage.journal.tail().seq.0 + self.rng.u64(1..4));
        let message = prepared.message.clone();
        let stored = message.stored(seq, 0);
        let read = Partial::decode(&stored).unwrap_or_else(|error| panic!("what was stored cannot be read: {error}"));
        self.stage.journal.commit(prepared, seq).unwrap();
        assert_eq!(Some(read.last()), self.stage.journal.last(), "what is read is not what was written");
        self.stored.push(stored);
        seq
    }

    /// The conversation as one who starts from the last message reads it.
    pub(super) fn read_again(&self) -> Conversation {
        let last = Partial::decode(self.stored.last().unwrap()).unwrap();
        let at = |ordinal: &Ordinal| self.stored[usize::try_from(*ordinal).unwrap()].clone();
        let sealed: Vec<Stored> = last.sealed().iter().map(at).collect();
        last.complete(&sealed).unwrap()
    }

    fn note(&mut self, turn: &Turn, what: What) {
        let next = turn.conversation().tail().next;
        self.seen.push(Seen { process: turn.process.clone(), agent: turn.agent.clone(), next, what });
    }

    /// A worker does something: the one that has the work item, a new one, or one that stood still.
    fn act(&mut self) {
        if self.one_in(6) {
            self.interfere();
        }
        if !self.paused.is_empty() && self.one_in(3) {
            let (turn, effect) = self.paused.swap_remove(self.rng.usize(..self.paused.len()));
            return self.go_on(turn, effect);
        }
        let is_item = |class: &Class| matches!(class, Class::To { .. });
        let mut items = self.stage.journal.entries().iter().rev().filter(|entry| is_item(&entry.head.subject.class));
        // The broker may deliver what was settled long ago.
        let skip = if self.rng.u8(..20) == 0 { self.rng.usize(..3) } else { 0 };
        let Some(item) = items.nth(skip) else { return };
        let Class::To { agent, .. } = item.head.subject.class.clone() else { return };
        let (item, is_current) = (item.ordinal(), skip == 0);
        let count = self.deliveries.entry(item).or_default();
        *count += 1;
        let delivered = Delivered { item, count: *count, is_recounted: self.rng.u8(..10) == 0 };
        let lacks = self.one_in(30).then(|| "a server that is away".to_owned());
        let mut turn = self.stage.turn(agent.as_str(), delivered).lacking(lacks);
        let offered = turn.tools().iter().map(|tool| tool.name.clone()).collect();
        self.note(&turn, What::Began { is_current: is_current && self.stage.phase() == Phase::Working, offered });
        let effect = turn.next(Input::Start);
        self.go_on(turn, effect);
    }

    fn go_on(&mut self, mut turn: Turn, mut effect: Effect) {
        for _ in 0..EFFECTS_MAX {
            if self.one_in(50) {
                // It stands still, and goes on one day as if nothing had happened.
                return self.paused.push((turn, effect));
            }
            let input = match effect.clone() {
                Effect::Finish(finish) => {
                    let later = self.stage.journal.entries().iter().rev().take_while(|entry| entry.ordinal() > turn.delivered.item);
                    let mut later = later.map(|entry| &entry.head.subject.class);
                    let is_done = later.any(|class| matches!(class, Class::To { .. } | Class::Ask | Class::End));
                    return self.note(&turn, What::Finished { finish, is_done });
                }
                Effect::Append(draft) => self.append(&mut turn, &draft),
                Effect::AskModel | Effect::Summarize => {
                    let is_summary = effect == Effect::Summarize;
                    let messages = turn.prompt().into_iter().map(PromptMessage::into_owned).collect();
                    self.note(&turn, What::Prompted { messages, is_summary });
                    let Some(input) = self.ask(&mut turn, is_summary) else { return };
                    input
                }
                Effect::RunTools(runs) => {
                    self.note(&turn, What::Ran(runs.clone()));
                    if self.stops(&mut turn) {
                        return;
                    }
                    let results: Vec<_> = runs.into_iter().map(|run| (run, self.word())).collect();
                    let mut results: Vec<_> =
                        results.into_iter().map(|(run, word)| (replies::result(&mut self.rng, &word), run, word)).collect();
                    self.rng.shuffle(&mut results);
                    let answer = results.iter().map(|(result, run, _)| (run.call.id.clone(), result.clone())).collect();
                    self.note(&turn, What::Returned(results.into_iter().map(|(_, run, word)| (run, word)).collect()));
                    Input::Tools(answer)
                }
            };
            effect = turn.next(input);
        }
        panic!("this turn never ends");
    }

    /// What the model answers, if the worker lives to see it.
    fn ask(&mut self, turn: &mut Turn, is_summary: bool) -> Option<Input> {
        self.replies += 1;
        if self.stops(turn) {
            return None;
        }
        if self.one_in(25) {
            return Some(Input::Model(Err(replies::failure(&mut self.rng))));
        }
        let word = self.word();
        let is_remote = self.demands.remote.as_deref() == Some(turn.agent.as_str());
        let response = if is_remote { replies::remote(&mut self.rng, &word) } else { replies::response(&mut self.rng, &word) };
        self.note(turn, What::Answered { response: response.clone(), is_summary });
        Some(Input::Model(Ok(response)))
    }

    /// Whether the worker dies or drains while it waits.
    fn stops(&mut self, turn: &mut Turn) -> bool {
        match self.rng.u8(..70) {
            0 | 1 => true,
            2 if !turn.conversation().has_unresolved_intent() => {
                let draft = turn.hand_back("draining");
                self.append(turn, &draft);
                true
            }
            _ => false,
        }
    }

    fn append(&mut self, turn: &mut Turn, draft: &Draft) -> Input {
        if self.one_in(10) {
            self.interfere();
        }
        match self.rng.u8(..150) {
            0 => return Input::Refused(Refusal::NoSpace("full".to_owned())),
            1 => return Input::Refused(Refusal::TooLarge { bytes: 2, bytes_max: 1 }),
            2 => return Input::Refused(Refusal::NotPermitted { subject: "s".to_owned() }),
            _ => {}
        }
        let prepared = turn.conversation().prepare(draft.clone()).unwrap_or_else(|error| panic!("{error}: {draft:?}"));
        if prepared.expected != self.stage.journal.tail().seq {
            return Input::Fenced(self.stage.journal.clone());
        }
        let seq = self.publish(prepared.clone());
        turn.commit(prepared, seq).unwrap();
        self.note(turn, What::Stored);
        Input::Appended(seq)
    }
}
