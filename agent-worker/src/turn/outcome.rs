//! The one outcome of a response whose calls have run: results for the model, an end, a transfer, a plain answer, or a
//! decision that people must make first.

use journal::planted;
use protocol::event::{
    Asked, Audience, Call, Completed, CompletedBecause, Event, Intended, IntendedCall, Json, RequestKind, idempotency_key,
};
use protocol::ids::Hash;
use protocol::subject::Class;

use super::resolve::{CallState, OpenCall, needs_decision};
use super::{Effect, Finish, Then, Turn};
use crate::catalog::Judgement;

/// Events of a turn beyond which they are stored before the model is asked again, although nothing depends on it yet.
const FRESH_MAX: usize = 256;

impl Turn {
    /// The outcome, in the order of semantics 1: completion, approvals, transfer, results for the model, text.
    pub(super) fn decide(&mut self) -> Effect {
        let Some(response) = &self.response else { return self.ask_model() };
        let completion = response.completion().map(|(call, summary, value)| (call.clone(), summary.to_owned(), value.cloned()));
        // Before an end it must be known what happened; what has not happened need not happen any more.
        let holds = |kind| kind == RequestKind::InDoubt || completion.is_none();
        let undecided: Vec<OpenCall> = response.open().filter(|open| needs_decision(open).is_some_and(holds)).cloned().collect();
        if !undecided.is_empty() {
            return self.ask_to_decide(&undecided);
        }
        if let Some((call, summary, value)) = completion {
            return self.complete(&call, summary, value);
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
    pub(super) fn ask_with_results(&mut self) -> Effect {
        if (self.has_unstored_effects() && !planted::is("results-before-commit")) || self.fresh.len() > FRESH_MAX {
            let events = self.fresh.clone();
            let draft = self.draft(Class::Note, events);
            return self.append(draft, Then::AskModel);
        }
        self.ask_model()
    }

    /// Whether calls with effects have results that a model must not see yet.
    pub(super) fn has_unstored_effects(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.has_effects) && !self.fresh.is_empty()
    }

    /// Whether a person said something that no prompt of this turn has shown.
    pub(super) fn has_unseen_message(&self) -> bool {
        let unseen = self.conversation.entries().iter().rev().take_while(|entry| entry.ordinal() >= self.seen);
        unseen.flat_map(|entry| &entry.events).any(|event| matches!(event, Event::Said(_)))
    }

    fn complete(&mut self, call: &Call, summary: String, value: Option<Json>) -> Effect {
        let open: Vec<Call> = self.response.iter().flat_map(|response| response.open().map(|open| open.call.clone())).collect();
        for other in open.iter().filter(|other| other.id != call.id) {
            self.settle_call(&other.id, "Ignored: the same response completed the task.".to_owned(), true);
        }
        if self.has_unseen_message() {
            let withheld = "Not completed: the person said something more meanwhile. Answer that first.";
            self.settle_call(&call.id, withheld.to_owned(), true);
            return self.ask_with_results();
        }
        self.end_with(Completed { because: CompletedBecause::TaskComplete, result: summary, value })
    }

    /// Parks the turn until people have decided; the request is itself the intent of the calls that wait for approval.
    fn ask_to_decide(&mut self, undecided: &[OpenCall]) -> Effect {
        let id = self.next_id();
        let due_secs = Some(self.orchestration.limits().human_secs);
        let mut intended = Vec::new();
        let mut requests = Vec::new();
        for (index, open) in undecided.iter().enumerate() {
            let (audience, kind) = match (&open.state, &open.judgement) {
                (CallState::New, Judgement::Tool { effect, in_doubt, undo, approval: Some(audience) }) => {
                    let (call, key, undo) = (open.call.id.clone(), idempotency_key(id, index), undo.clone());
                    intended.push(IntendedCall { call, key, effect: *effect, in_doubt: *in_doubt, undo });
                    (audience.clone(), RequestKind::Approval)
                }
                (CallState::InDoubt(call), judgement) => {
                    intended.push(call.clone());
                    (audience_of(judgement), RequestKind::InDoubt)
                }
                (CallState::Irrevocable { intended: call, .. }, judgement) => {
                    // What undoes it has been run under the only key that it has: from here on the call is people's.
                    intended.push(IntendedCall { undo: None, ..call.clone() });
                    (audience_of(judgement), RequestKind::InDoubt)
                }
                _ => continue,
            };
            requests.push(Asked {
                kind,
                audience,
                text: request_text(kind, open),
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
}

fn audience_of(judgement: &Judgement) -> Audience {
    match judgement {
        Judgement::Tool { approval: Some(audience), .. } => audience.clone(),
        _ => Audience::Caller,
    }
}

fn request_text(kind: RequestKind, open: &OpenCall) -> String {
    let what = format!("{}({})", open.call.name, open.call.arguments);
    match (kind, &open.state) {
        (RequestKind::Approval, _) => format!("May {what} run?"),
        (_, CallState::Irrevocable { why, .. }) => format!("A worker died while {what} was running, and {why} Did it happen?"),
        _ => format!("A worker died while {what} was running. Did it happen?"),
    }
}
