//! One model response, call by call, until it has exactly one outcome (semantics 1). A response that a predecessor left
//! open is reopened from the journal and goes the same way: the model is not asked again.

use journal::planted;
use protocol::conversation::Conversation;
use protocol::event::{
    Call, Effect as Repeat, Event, InDoubt, Intended, IntendedCall, Json, RequestKind, Responded, Verdict, Warned, Withdrawn,
    WithdrawnCall, idempotency_key,
};
use protocol::history::{decided_result, undone_result};
use protocol::ids::{AgentName, EventId, Ordinal};
use protocol::subject::Class;

use super::{Effect, Run, Then, Turn};
use crate::catalog::{Judgement, Offer, Transfer};

/// A response on its way to an outcome.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Response {
    pub(super) text: String,
    pub(super) calls: Vec<OpenCall>,
    /// Whether calls with an intent have results: those are stored before a model sees them.
    pub(super) has_effects: bool,
}

/// One of its calls.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OpenCall {
    pub(super) call: Call,
    pub(super) judgement: Judgement,
    pub(super) state: CallState,
}

/// How far a call is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CallState {
    /// Nothing has happened.
    New,
    /// A person permitted it: it runs once its intent is stored.
    Authorised(IntendedCall),
    /// It may have run.
    InDoubt(IntendedCall),
    /// It may have run, and what undoes it may have.
    Withdrawn(IntendedCall, WithdrawnCall),
    /// It may have run, and nothing undoes it: people decide.
    Irrevocable { intended: IntendedCall, why: String },
    /// A person decided it without a run.
    Decided { result: String, is_error: bool },
    /// It has its result.
    Settled,
}

impl Response {
    pub(super) fn new(response: Responded, offer: &Offer) -> Self {
        let open = |call: Call| OpenCall { judgement: offer.judge(&call), call, state: CallState::New };
        Self { text: response.text, calls: response.calls.into_iter().map(open).collect(), has_effects: false }
    }

    /// The owner's last response, if it has calls without a result, and the first entry that its model may not have seen.
    pub(super) fn reopen(conversation: &Conversation, agent: &AgentName, offer: &Offer) -> Option<(Self, Ordinal)> {
        if conversation.brief()?.open_calls == 0 {
            return None;
        }
        let by_agent = |from: &protocol::ids::Writer| from.agent() == Some(agent);
        let (place, response) = conversation.events().rev().find_map(|(entry, (id, event))| match event {
            Event::Responded(response) if by_agent(&entry.head.subject.from) => Some((id, response.clone())),
            _ => None,
        })?;
        let mut reopened = Self::new(response, offer);
        let later: Vec<(EventId, &Event)> = conversation.events().map(|(_, event)| event).filter(|(id, _)| *id > place).collect();
        for open in &mut reopened.calls {
            open.state = state_of(&open.call, &later, conversation);
        }
        reopened.has_effects = later.iter().any(|(_, event)| matches!(event, Event::Intended(_)));
        // Messages right before the response may have come while the model was writing it.
        let before = conversation.entries().iter().rev().skip_while(|entry| entry.ordinal() >= place.ordinal);
        let messages = before.take_while(|entry| entry.head.subject.class == Class::In);
        let unseen = messages.last().map_or(place.ordinal, |entry| entry.ordinal());
        Some((reopened, unseen))
    }

    /// Marks a call as settled; its tool, unless it was settled before or is none of this response.
    pub(super) fn settle(&mut self, call: &str) -> Option<String> {
        let open = self.calls.iter_mut().find(|open| open.call.id == call && open.state != CallState::Settled)?;
        open.state = CallState::Settled;
        Some(open.call.name.clone())
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &OpenCall> {
        self.calls.iter().filter(|open| open.state != CallState::Settled)
    }

    /// The first valid transfer: it wins.
    pub(super) fn transfer(&self) -> Option<(&Call, &Transfer)> {
        self.open().find_map(|open| match &open.judgement {
            Judgement::Transfer(transfer) => Some((&open.call, transfer.as_ref())),
            _ => None,
        })
    }

    pub(super) fn completion(&self) -> Option<(&Call, &str, Option<&Json>)> {
        self.open().find_map(|open| match &open.judgement {
            Judgement::Complete { summary, value } => Some((&open.call, summary.as_str(), value.as_ref())),
            _ => None,
        })
    }
}

/// What the journal says of a call after its response.
fn state_of(call: &Call, later: &[(EventId, &Event)], conversation: &Conversation) -> CallState {
    let mut state = CallState::New;
    let mut intended: Option<&IntendedCall> = None;
    // An intent puts its call in doubt: whoever reads it from the journal did not see what became of it. A permission does
    // not: whoever uses it stores the intent first.
    for (id, event) in later {
        match event {
            Event::Returned(returned) if returned.call == call.id => return CallState::Settled,
            Event::Intended(event) => {
                let Some(found) = event.calls.iter().find(|intended| intended.call == call.id) else { continue };
                intended = Some(found);
                if is_note(conversation, id.ordinal) {
                    state = CallState::InDoubt(found.clone());
                }
            }
            Event::Withdrawn(event) => {
                let found = event.calls.iter().find(|withdrawn| withdrawn.call == call.id);
                let (Some(withdrawn), Some(intended)) = (found, intended) else { continue };
                state = CallState::Withdrawn(intended.clone(), withdrawn.clone());
            }
            Event::Decided(decision) if request_call(conversation, decision.request).is_some_and(|id| id == call.id) => {
                let Some(intended) = intended else { continue };
                state = match decision.verdict {
                    Verdict::Approved | Verdict::Retry => CallState::Authorised(intended.clone()),
                    Verdict::Denied | Verdict::Happened | Verdict::Abandoned => CallState::Decided {
                        result: decided_result(decision.verdict, &decision.note),
                        is_error: decision.verdict != Verdict::Happened,
                    },
                };
            }
            _ => {}
        }
    }
    state
}

fn is_note(conversation: &Conversation, ordinal: Ordinal) -> bool {
    let entry = usize::try_from(ordinal).ok().and_then(|ordinal| conversation.entries().get(ordinal));
    entry.is_some_and(|entry| entry.head.subject.class == Class::Note)
}

fn request_call(conversation: &Conversation, request: EventId) -> Option<&str> {
    match conversation.event(request) {
        Some(Event::Asked(asked)) => asked.call.as_ref().map(|call| call.id.as_str()),
        _ => None,
    }
}

impl Turn {
    /// Brings the response one step nearer to its outcome.
    pub(super) fn resolve(&mut self) -> Effect {
        self.settle_what_needs_no_run();
        let Some(response) = &self.response else { return self.ask_model() };
        let runnable: Vec<OpenCall> = response.open().filter(|open| is_runnable(open)).cloned().collect();
        if !runnable.is_empty() {
            return self.run_all(&runnable);
        }
        self.decide()
    }

    fn settle_what_needs_no_run(&mut self) {
        let Some(response) = &self.response else { return };
        let winner = response.transfer().map(|(call, _)| call.id.clone());
        let mut results = Vec::new();
        for open in response.open() {
            let result = match (&open.state, &open.judgement) {
                (CallState::Decided { result, is_error }, _) => Some((result.clone(), *is_error)),
                (CallState::InDoubt(intended), _) if intended.effect == Repeat::SideEffect && intended.in_doubt == InDoubt::Abandon => {
                    Some((decided_result(Verdict::Abandoned, ""), true))
                }
                (CallState::New, Judgement::Invalid(problem)) => Some((problem.clone(), true)),
                (CallState::New, Judgement::Transfer(transfer)) if winner.as_ref() != Some(&open.call.id) => {
                    Some((format!("Ignored: another transfer in the same response came first, not to {}.", transfer.handoff.to), true))
                }
                _ => None,
            };
            results.extend(result.map(|(content, is_error)| (open.clone(), content, is_error)));
        }
        for (OpenCall { call, judgement, .. }, content, is_error) in results {
            self.settle_call(&call.id, content, is_error);
            if matches!(judgement, Judgement::Transfer(_)) {
                let detail = format!("the model asked for several transfers at once; {} was ignored", call.name);
                self.fresh.push(Warned { code: "transfer_ignored".into(), detail }.into());
            }
        }
    }

    /// Runs all calls that may run, and what undoes others; those with effects only after their intent is stored, and stored
    /// by this very turn where it has stored nothing yet: of two workers with one work item and one inherited intent, one runs it.
    fn run_all(&mut self, runnable: &[OpenCall]) -> Effect {
        let id = self.next_id();
        let mut runs = Vec::with_capacity(runnable.len());
        let (mut intended, mut withdrawn) = (Vec::new(), Vec::new());
        for (index, open) in runnable.iter().enumerate() {
            let key_of = |known: &str| if planted::is("new-key-on-retry") { idempotency_key(id, index) } else { known.to_owned() };
            let run = |key: &str| Run { call: open.call.clone(), key: key_of(key), undoes: None };
            match (&open.state, &open.judgement) {
                (CallState::Authorised(permitted), _) => {
                    runs.push(run(&permitted.key));
                    intended.push(permitted.clone());
                }
                (CallState::Withdrawn(_, known), _) => {
                    runs.push(undo(open, known));
                    withdrawn.extend((!self.has_written).then(|| known.clone()));
                }
                (CallState::InDoubt(known), _) => match withdrawal(known) {
                    Some(new) => {
                        runs.push(undo(open, &new));
                        self.set_state(&open.call.id, &CallState::Withdrawn(known.clone(), new.clone()));
                        withdrawn.push(new);
                    }
                    None => {
                        runs.push(run(&known.key));
                        intended.extend((!self.has_written).then(|| known.clone()));
                    }
                },
                (CallState::New, Judgement::Tool { effect, in_doubt, undo, .. }) => {
                    let key = idempotency_key(id, index);
                    runs.push(run(&key));
                    let (call, undo) = (open.call.id.clone(), undo.clone());
                    intended.push(IntendedCall { call, key, effect: *effect, in_doubt: *in_doubt, undo });
                }
                _ => {}
            }
        }
        intended.retain(|call| call.effect != Repeat::ReadOnly && !planted::is("no-intent"));
        if intended.is_empty() && withdrawn.is_empty() {
            return self.run(runs);
        }
        if let Some(response) = &mut self.response {
            response.has_effects = true;
        }
        let mut events = self.fresh.clone();
        events.extend((!withdrawn.is_empty()).then(|| Withdrawn { calls: withdrawn }.into()));
        events.extend((!intended.is_empty()).then(|| Intended { calls: intended }.into()));
        let draft = self.draft_as(id, Class::Note, events);
        self.append(draft, Then::Run(runs))
    }

    /// What came of a run: the call's result, or that of what undoes it.
    pub(super) fn ran(&mut self, call: &str, result: Result<String, String>) {
        let open = self.response.iter().flat_map(Response::open).find(|open| open.call.id == call);
        let withdrawn = open.and_then(|open| match &open.state {
            CallState::Withdrawn(intended, withdrawn) => Some((intended.clone(), withdrawn.tool.clone())),
            _ => None,
        });
        match (withdrawn, result) {
            (None, Ok(content)) => self.settle_call(call, content, false),
            (None, Err(error)) => self.settle_call(call, error, true),
            (Some((_, tool)), Ok(content)) => self.settle_call(call, undone_result(&tool, &content), true),
            (Some((intended, tool)), Err(error)) => {
                let why = format!("{tool} was to undo it and failed: {error}");
                self.set_state(call, &CallState::Irrevocable { intended, why });
            }
        }
    }

    fn set_state(&mut self, call: &str, state: &CallState) {
        let calls = self.response.iter_mut().flat_map(|response| &mut response.calls);
        calls.filter(|open| open.call.id == call).for_each(|open| open.state.clone_from(state));
    }
}

/// What undoes a call, where its intent names a tool for that and a repeated run would not do.
fn withdrawal(intended: &IntendedCall) -> Option<WithdrawnCall> {
    WithdrawnCall::of(intended).filter(|_| intended.effect == Repeat::SideEffect)
}

fn undo(open: &OpenCall, withdrawn: &WithdrawnCall) -> Run {
    let call = Call { name: withdrawn.tool.clone(), ..open.call.clone() };
    Run { call, key: withdrawn.key.clone(), undoes: Some(withdrawn.undoes.clone()) }
}

/// Whether a call can run now without asking anybody.
fn is_runnable(open: &OpenCall) -> bool {
    match (&open.state, &open.judgement) {
        (CallState::Authorised(_) | CallState::Withdrawn(..), _) => true,
        (CallState::InDoubt(intended), _) => {
            intended.effect != Repeat::SideEffect || intended.undo.is_some() || intended.in_doubt == InDoubt::Retry
        }
        (CallState::New, Judgement::Tool { approval, .. }) => approval.is_none(),
        (CallState::New | CallState::Irrevocable { .. } | CallState::Decided { .. } | CallState::Settled, _) => false,
    }
}

/// What a person must decide before a call can go on.
pub(super) fn needs_decision(open: &OpenCall) -> Option<RequestKind> {
    match (&open.state, &open.judgement) {
        (CallState::InDoubt(_), _) if !is_runnable(open) => Some(RequestKind::InDoubt),
        (CallState::Irrevocable { .. }, _) => Some(RequestKind::InDoubt),
        (CallState::New, Judgement::Tool { approval: Some(_), .. }) => Some(RequestKind::Approval),
        _ => None,
    }
}
