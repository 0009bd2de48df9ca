//! What must hold of every journal, entry by entry. Like `rules`, it asks nothing of the code that it judges.

use std::collections::{BTreeMap, BTreeSet};

use protocol::entry::Entry;
use protocol::event::{
    Asked, Audience, Call, Completed, CompletedBecause, Continuation, Event, HistoryOption, RequestKind, Transferred, Warned,
};
use protocol::ids::ProcessId;
use protocol::subject::Class;

use super::definition::ENDING;
use super::law::{is_order, is_result};
use super::rules::{words, writer};
use super::world::{What, World};

/// What stories came to, so that none of it is missed unnoticed.
pub(super) type Reached = BTreeSet<&'static str>;

/// A response, and how often each of its calls has a result.
#[derive(Debug)]
struct Open<'a> {
    text: &'a str,
    calls: &'a [Call],
    results: BTreeMap<&'a str, u32>,
}

impl Open<'_> {
    /// Exactly one result for every call but these.
    fn check_settled(&self, but: Option<&str>) {
        for (call, results) in &self.results {
            let expected = u32::from(but != Some(call));
            assert_eq!(*results, expected, "results of call {call:?} of {:?}", self.calls);
        }
    }
}

/// Goes through a journal from its beginning.
pub(super) struct Auditor<'a> {
    world: &'a World,
    reached: Reached,
    /// Whether somebody has to act.
    is_open: bool,
    /// The process that writes in this epoch.
    epoch: Option<&'a ProcessId>,
    owner: &'a str,
    last: Option<Open<'a>>,
    said: BTreeSet<u64>,
    model_calls: u32,
    handoffs: u32,
    fallbacks: u32,
    continuations: u32,
    attempts: u32,
    is_rested: bool,
}

impl<'a> Auditor<'a> {
    pub(super) fn audit(world: &'a World) -> Reached {
        let mut auditor = Self {
            world,
            reached: Reached::new(),
            is_open: false,
            epoch: None,
            owner: "triage",
            last: None,
            said: BTreeSet::new(),
            model_calls: 0,
            handoffs: 0,
            fallbacks: 0,
            continuations: 0,
            attempts: 0,
            is_rested: false,
        };
        for entry in world.stage.journal.entries() {
            auditor.entry(entry);
        }
        auditor.reached
    }

    fn entry(&mut self, entry: &'a Entry) {
        let agent = writer(entry);
        if let Some(agent) = agent {
            assert_eq!(agent, self.owner, "{} by somebody else than the owner", entry.head.kind);
            assert!(self.is_open, "{} after the turn's outcome", entry.head.kind);
            if entry.head.kind == "taken" {
                self.epoch = None;
            }
            // Whoever gives a predecessor's turn up, or cannot read it, does nothing else in its epoch.
            if !matches!(entry.head.kind.as_str(), "failed" | "set-aside") {
                let process = *self.epoch.get_or_insert(&entry.head.process);
                assert_eq!(process, &entry.head.process, "two writers in one epoch: {}", entry.head.kind);
            }
        }
        let (last, leading) = entry.events.split_last().unwrap();
        for event in leading {
            let is_way = matches!(event, Event::Responded(_) | Event::Intended(_) | Event::Returned(_) | Event::Warned(_));
            assert!(is_way || matches!((event, last), (Event::Asked(_), Event::Asked(_))), "two outcomes in one entry: {:?}", entry.events);
        }
        for event in &entry.events {
            self.event(entry, event);
        }
        match &entry.head.subject.class {
            Class::To { agent, .. } => (self.is_open, self.epoch, self.owner) = (true, None, agent.as_str()),
            Class::Ask | Class::End => self.is_open = false,
            Class::Note | Class::In => {}
        }
    }

    fn event(&mut self, entry: &'a Entry, event: &'a Event) {
        self.reached.insert(Event::KINDS.iter().find(|kind| **kind == event.kind()).copied().unwrap_or("newer"));
        match event {
            Event::Responded(response) => {
                self.settled(None);
                self.model_calls += 1;
                let limit = self.world.demands.spec.limits.and_then(|limits| limits.model_calls_per_turn).unwrap_or(24);
                assert!(self.model_calls <= limit, "{} model calls in one turn", self.model_calls);
                assert!(response.calls.len() <= 128 && response.calls.iter().all(|call| !call.id.is_empty()), "{response:?}");
                let results: BTreeMap<&str, u32> = response.calls.iter().map(|call| (call.id.as_str(), 0)).collect();
                assert_eq!(results.len(), response.calls.len(), "one id, two calls");
                for word in words(&response.text) {
                    assert!(self.said.insert(word), "word {word} in two turns");
                }
                self.last = Some(Open { text: &response.text, calls: &response.calls, results });
            }
            Event::Intended(intended) => {
                for it in &intended.calls {
                    let open = self.last.as_ref().expect("an intent of no response");
                    assert_eq!(open.results.get(it.call.as_str()), Some(&0), "an intent of {it:?}");
                    let name = &open.calls.iter().find(|call| call.id == it.call).unwrap().name;
                    assert_eq!(it.effect, self.world.demands.effect(name));
                }
            }
            Event::Returned(returned) => {
                let open = self.last.as_mut().expect("a result of no response");
                *open.results.get_mut(returned.call.as_str()).expect("a result of no call") += 1;
                for word in words(&returned.content) {
                    assert!(self.said.insert(word), "result {word} twice");
                    let given = |what: &What| matches!(what, What::Returned(all) if all.iter().any(|(run, it)| run.call.id == returned.call && words(it) == [word]));
                    assert!(
                        self.world.seen.iter().any(|seen| seen.process == entry.head.process && given(&seen.what)),
                        "nobody returned {word}"
                    );
                }
            }
            Event::Warned(Warned { code, .. }) if code == "fallback" => {
                self.fallbacks += 1;
                assert!(self.fallbacks <= 1, "two fallbacks in one user turn");
                self.reached.insert("fallback");
            }
            Event::Transferred(transfer) => self.transferred(entry, transfer),
            Event::Asked(asked) => self.asked(entry, asked),
            Event::Completed(completed) => self.completed(entry, completed),
            Event::Continued(continued) => {
                self.settled(None);
                match continued.because {
                    Continuation::Answered => self.begin_user_turn(),
                    Continuation::Autonomous => self.go_on_alone(),
                }
                self.begin_turn();
            }
            Event::Replied(_) | Event::Interrupted(_) => {
                self.begin_user_turn();
                self.begin_turn();
            }
            Event::Opened(_) | Event::Reassigned(_) => self.begin_turn(),
            Event::Decided(_) => (self.attempts, self.is_rested) = (0, false),
            Event::Taken(_) | Event::Redispatched(_) => {
                self.attempts += u32::from(!std::mem::take(&mut self.is_rested));
            }
            Event::Deferred(_) | Event::HandedBack(_) | Event::SetAside(_) => self.is_rested = true,
            _ => {}
        }
    }

    fn settled(&self, but: Option<&str>) {
        if let Some(open) = &self.last {
            open.check_settled(but);
        }
    }

    fn begin_turn(&mut self) {
        (self.last, self.model_calls, self.attempts, self.is_rested) = (None, 0, 0, false);
    }

    const fn begin_user_turn(&mut self) {
        (self.handoffs, self.fallbacks, self.continuations) = (0, 0, 0);
    }

    fn go_on_alone(&mut self) {
        let most = self.world.demands.spec.human.as_ref().and_then(|human| human.autonomous.as_ref()).and_then(|alone| alone.turns);
        self.continuations += 1;
        assert!(Some(self.continuations) <= most, "alone {} times", self.continuations);
        self.reached.insert("alone");
        self.check_not_ending();
    }

    /// Along an edge that is there, with what it wants; or the fallback's way.
    fn transferred(&mut self, entry: &Entry, transfer: &Transferred) {
        let (demands, to) = (&self.world.demands, transfer.to.as_str());
        if let Some(id) = &transfer.call {
            let open = self.last.as_ref().expect("a transfer without a response");
            let (call, edge) = demands.transfer(self.owner, open.calls).expect("a transfer that nobody asked for, or along no edge");
            assert_eq!((call.id.as_str(), edge.to.as_str()), (id.as_str(), to), "not the first transfer that could be");
            assert!(!demands.ends(self.owner, open.calls), "a transfer beside a completion");
            let history = edge.history.unwrap_or_default();
            assert_eq!(transfer.history, history);
            assert_eq!(history == HistoryOption::Summary, transfer.summary.as_ref().is_some_and(|text| !text.trim().is_empty()));
            assert_eq!(edge.payload.is_some(), transfer.payload.as_ref().is_some_and(is_order), "{transfer:?}");
            self.reached.extend(edge.condition.is_some().then_some("conditional"));
            self.reached.extend(edge.payload.is_some().then_some("payload"));
            self.reached.extend((history == HistoryOption::Summary).then_some("folded"));
            let most = demands.spec.limits.and_then(|limits| limits.handoffs_per_user_turn).unwrap_or(16);
            assert!(self.handoffs < most, "more than {most} handoffs in one user turn");
        } else {
            let fallback = demands.spec.fallback.as_ref().and_then(|fallback| fallback.agent.as_deref());
            assert!(falls_back(entry) && fallback == Some(to), "nobody asked for a transfer to {to}");
        }
        assert!(matches!(&entry.head.subject.class, Class::To { agent, .. } if *agent == transfer.to), "the subject says another target");
        self.settled(transfer.call.as_deref());
        self.handoffs += 1;
        self.continuations = 0;
        self.begin_turn();
    }

    fn asked(&mut self, entry: &Entry, asked: &Asked) {
        let demands = &self.world.demands;
        match (asked.kind, &asked.call) {
            (RequestKind::Question, _) => {
                self.settled(None);
                let is_desk = demands.is_played_at(self.owner, &asked.audience);
                let fallback = demands.spec.fallback.as_ref().and_then(|fallback| fallback.human.as_ref());
                if falls_back(entry) {
                    assert_eq!(Some(&asked.audience), fallback);
                } else if !is_desk {
                    assert!(asked.audience == Audience::Caller && demands.opened.human, "{asked:?}");
                    self.check_not_ending();
                }
                self.reached.insert(if is_desk { "desk" } else { "question" });
            }
            (kind, Some(call)) => {
                let open = self.last.as_ref().expect("a request about no response");
                assert!(open.calls.contains(call) && open.results[call.id.as_str()] == 0, "a request about {call:?}");
                let approval = demands.tool(&call.name).and_then(|tool| tool.approval.clone());
                if kind == RequestKind::Approval {
                    assert_eq!(Some(&asked.audience), approval.as_ref());
                }
                self.reached.insert(if kind == RequestKind::Approval { "approval" } else { "in doubt" });
            }
            (_, None) => panic!("a request about no call"),
        }
    }

    /// Words that end a conversation are not answered with a question, nor by going on.
    fn check_not_ending(&self) {
        let Some(open) = &self.last else { return };
        let is_end = self.world.demands.spec.terminate_when.as_deref() == Some(ENDING) && open.text.contains("that is all");
        assert!(!is_end || self.world.demands.spec.output.is_some(), "{:?} did not end it", open.text);
    }

    fn completed(&mut self, entry: &Entry, completed: &Completed) {
        let demands = &self.world.demands;
        if writer(entry).is_none() {
            return assert_eq!(completed.because, CompletedBecause::UserEnded);
        }
        let open = self.last.as_ref().expect("a completion without a response");
        match completed.because {
            CompletedBecause::TaskComplete => {
                assert!(demands.ends(self.owner, open.calls), "nobody completed it");
                let but = open.results.iter().find(|(_, results)| **results == 0).map(|(call, _)| *call);
                let name = open.calls.iter().find(|call| Some(call.id.as_str()) == but).map(|call| call.name.as_str());
                assert_eq!(name, Some("complete_task"));
                open.check_settled(but);
            }
            CompletedBecause::Answered => assert!(!demands.opened.human && open.calls.is_empty(), "{completed:?}"),
            CompletedBecause::Terminated => {
                assert!(open.calls.is_empty() && open.text.contains("that is all"), "{completed:?}");
                assert_eq!(demands.spec.terminate_when.as_deref(), Some(ENDING));
                self.reached.insert("terminated");
            }
            CompletedBecause::UserEnded => panic!("an agent cannot say that the person ended it"),
        }
        assert_eq!(demands.spec.output.is_some(), completed.value.as_ref().is_some_and(is_result), "{completed:?}");
        self.reached.extend(completed.value.is_some().then_some("typed"));
    }
}

fn falls_back(entry: &Entry) -> bool {
    entry.events.iter().any(|event| matches!(event, Event::Warned(warned) if warned.code == "fallback"))
}
