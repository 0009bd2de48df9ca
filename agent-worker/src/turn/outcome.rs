//! The one outcome of a response whose calls have run, and what a fenced or refused outcome becomes.

use std::time::Duration;

use journal::Refusal;
use protocol::brief::Phase;
use protocol::conversation::{Conversation, Draft};
use protocol::event::{
    Asked, Audience, Call, Completed, CompletedBecause, Continuation, Continued, Event, Intended, IntendedCall, RequestKind, Transferred,
    failure, idempotency_key,
};
use protocol::ids::Hash;
use protocol::subject::Class;

use super::resolve::{CallState, OpenCall, needs_decision};
use super::{Effect, Finish, Then, Turn};
use crate::catalog::{Judgement, Transfer};

/// Seconds before work that the broker could not store is tried again.
const REFUSED_RETRY_SECS: u64 = 5;
/// Events of a turn beyond which they are stored before the model is asked again, although nothing depends on it yet.
const FRESH_MAX: usize = 256;

impl Turn {
    /// The outcome, in the order of semantics 1: completion, approvals, transfer, results for the model, text.
    pub(super) fn decide(&mut self) -> Effect {
        let Some(response) = &self.response else { return self.ask_model() };
        let completion = response.completion().map(|(call, summary)| (call.clone(), summary.to_owned()));
        // Before an end it must be known what happened; what has not happened need not happen any more.
        let holds = |kind| kind == RequestKind::InDoubt || completion.is_none();
        let undecided: Vec<OpenCall> = response.open().filter(|open| needs_decision(open).is_some_and(holds)).cloned().collect();
        if !undecided.is_empty() {
            return self.ask_to_decide(&undecided);
        }
        if let Some((call, summary)) = completion {
            return self.complete(&call, summary);
        }
        if let Some((call, transfer)) = response.transfer() {
            let (call, transfer) = (call.clone(), transfer.clone());
            return self.transfer(call, transfer);
        }
        if response.calls.is_empty() {
            let text = response.text.clone();
            return self.answer(text);
        }
        self.ask_with_results()
    }

    /// Shows the model the results: those of side effects once they are stored, and no more at once than an entry can hold.
    fn ask_with_results(&mut self) -> Effect {
        let has_effects = self.response.as_ref().is_some_and(|response| response.has_effects);
        if (has_effects && !self.fresh.is_empty()) || self.fresh.len() > FRESH_MAX {
            let events = self.fresh.clone();
            let draft = self.draft(Class::Note, events);
            return self.append(draft, Then::AskModel);
        }
        self.ask_model()
    }

    /// Whether a person said something that no prompt of this turn has shown.
    fn has_unseen_message(&self) -> bool {
        let unseen = self.conversation.entries().iter().rev().take_while(|entry| entry.ordinal() >= self.seen);
        unseen.flat_map(|entry| &entry.events).any(|event| matches!(event, Event::Said(_)))
    }

    fn complete(&mut self, call: &Call, summary: String) -> Effect {
        let open: Vec<Call> = self.response.iter().flat_map(|response| response.open().map(|open| open.call.clone())).collect();
        for other in open.iter().filter(|other| other.id != call.id) {
            self.settle_call(&other.id, "Ignored: the same response completed the task.".to_owned(), true);
        }
        if self.has_unseen_message() {
            let withheld = "Not completed: the person said something more meanwhile. Answer that first.";
            self.settle_call(&call.id, withheld.to_owned(), true);
            return self.ask_with_results();
        }
        self.end_with(Completed { because: CompletedBecause::TaskComplete, result: summary, value: None })
    }

    /// Parks the turn until people have decided; the request is itself the intent of the calls that wait for approval.
    fn ask_to_decide(&mut self, undecided: &[OpenCall]) -> Effect {
        let id = self.next_id();
        let due_secs = Some(self.orchestration.limits().human_secs);
        let mut intended = Vec::new();
        let mut requests = Vec::new();
        for (index, open) in undecided.iter().enumerate() {
            let (audience, kind) = match (&open.state, &open.judgement) {
                (CallState::New, Judgement::Tool { effect, in_doubt, approval: Some(audience) }) => {
                    let key = idempotency_key(id, index);
                    intended.push(IntendedCall { call: open.call.id.clone(), key, effect: *effect, in_doubt: *in_doubt });
                    (audience.clone(), RequestKind::Approval)
                }
                (CallState::InDoubt(call), judgement) => {
                    intended.push(call.clone());
                    (audience_of(judgement), RequestKind::InDoubt)
                }
                _ => continue,
            };
            requests.push(Asked {
                kind,
                audience,
                text: request_text(kind, &open.call),
                arguments_hash: Some(Hash::of(open.call.arguments.as_bytes())),
                call: Some(open.call.clone()),
                due_secs,
            });
        }
        let mut events = self.fresh.clone();
        events.push(Intended { calls: intended }.into());
        events.extend(requests.into_iter().map(Event::from));
        let draft = self.draft_as(id, Class::Ask, events);
        self.append(draft, Then::Finish(Finish::Settled))
    }

    fn transfer(&mut self, call: Call, transfer: Transfer) -> Effect {
        let limit = self.orchestration.limits().handoffs_per_user_turn;
        let to = transfer.handoff.to;
        if self.brief().is_some_and(|brief| brief.handoffs >= limit) {
            let detail = format!(
                "{} would hand over to {to}: more than {limit} handoffs since a person spoke (limits.handoffsPerUserTurn)",
                self.agent
            );
            return self.fail(failure::HANDOFF_LIMIT, detail);
        }
        let class = Class::To { agent: to.clone(), revision: self.orchestration.revision().clone() };
        let history = transfer.handoff.history;
        let event = Transferred { to, call: Some(call.id), reason: transfer.reason, payload: transfer.payload, history, summary: None };
        self.conclude(class, event.into())
    }

    /// A plain answer: a question to the person, or, without a human channel, the result.
    fn answer(&mut self, text: String) -> Effect {
        let unseen = self.has_unseen_message();
        let has_human = matches!(self.conversation.entries().first().and_then(|entry| entry.events.first()), Some(Event::Opened(opened)) if opened.human);
        match (has_human, unseen) {
            (true, false) => {
                let due_secs = Some(self.orchestration.limits().human_secs);
                let asked = Asked {
                    kind: RequestKind::Question,
                    audience: Audience::Caller,
                    // The question is the text of the response before it: nothing is stored twice.
                    text: String::new(),
                    call: None,
                    arguments_hash: None,
                    due_secs,
                };
                self.conclude(Class::Ask, asked.into())
            }
            // What the person said while the agent worked answers the question before it is asked, or withholds the result.
            (_, true) => {
                let class = Class::To { agent: self.agent.clone(), revision: self.orchestration.revision().clone() };
                self.conclude(class, Continued { because: Continuation::Answered, prompt: None }.into())
            }
            (false, false) => self.end_with(Completed { because: CompletedBecause::Answered, result: text, value: None }),
        }
    }

    /// A refused append behind newer entries: with nothing but people's messages there, the owner goes on (design 2, "Rebase").
    pub(super) fn fenced(&mut self, conversation: Conversation, draft: Draft, then: Then) -> Effect {
        let known = self.conversation.tail();
        let newer = conversation.entries().iter().rev().take_while(|entry| entry.ordinal() >= known.next);
        let only_messages = newer.clone().all(|entry| entry.head.subject.class == Class::In);
        let is_owner = conversation.owner() == Some(&self.agent) && conversation.phase() == Some(Phase::Working);
        if !only_messages || !is_owner || conversation.tail().epoch != known.epoch {
            return Effect::Finish(Finish::Dropped);
        }
        self.conversation = conversation;
        let has_failed = matches!(draft.events.last(), Some(Event::Failed(_)));
        match then {
            // What was decided is decided again in the light of what people said.
            Then::Finish(Finish::Settled) if !has_failed && self.response.is_some() => self.resolve(),
            then => self.append(draft, then),
        }
    }

    /// An entry that can never be stored as it is: the conversation fails visibly, or waits for the broker to have room.
    pub(super) fn refused(&mut self, refusal: &Refusal, draft: &Draft) -> Effect {
        let was_failure = matches!(draft.events.last(), Some(Event::Failed(_)));
        let code = match refusal {
            Refusal::TooLarge { .. } => failure::OVERSIZE,
            Refusal::NotPermitted { .. } => failure::NOT_PERMITTED,
            Refusal::NoSpace(_) | Refusal::Other(_) => "",
        };
        if was_failure || code.is_empty() {
            let delay = Duration::from_secs(REFUSED_RETRY_SECS);
            return Effect::Finish(Finish::GiveBack { delay, reason: refusal.to_string() });
        }
        self.fresh.clear();
        self.response = None;
        self.fail(code, format!("agent {}: {refusal}", self.agent))
    }
}

fn audience_of(judgement: &Judgement) -> Audience {
    match judgement {
        Judgement::Tool { approval: Some(audience), .. } => audience.clone(),
        _ => Audience::Caller,
    }
}

fn request_text(kind: RequestKind, call: &Call) -> String {
    let what = format!("{}({})", call.name, call.arguments);
    match kind {
        RequestKind::Approval => format!("May {what} run?"),
        RequestKind::InDoubt | RequestKind::Question => format!("A worker died while {what} was running. Did it happen?"),
    }
}
