//! Asking the model: within the turn's calls, and what its answer or its silence leads to.

use std::collections::BTreeSet;

use journal::planted;
use protocol::event::{Call, Event, Responded, failure};
use protocol::history::{PromptMessage, Through, project_shared, project_through};
use protocol::orchestration::COMPLETE_TASK;

use super::resolve::Response;
use super::{Effect, Turn, Waiting};
use crate::catalog::Judgement;
use crate::model::ModelError;

/// How often a model may answer nothing at all before the turn fails.
const EMPTY_ANSWERS_MAX: u32 = 3;
/// Calls in one response; a model that makes more has lost its way.
const CALLS_MAX: usize = 128;

impl Turn {
    /// Asks the model, or the people who play the agent, unless the turn has used up its calls.
    pub(super) fn ask_model(&mut self) -> Effect {
        if let Some(effect) = self.ask_people() {
            return effect;
        }
        let fresh = self.fresh.iter().filter(|event| matches!(event, Event::Responded(_))).count();
        let recorded = self.brief().map_or(0, |brief| brief.model_calls);
        let limit = self.orchestration.limits().model_calls_per_turn;
        if u64::from(recorded) + fresh as u64 >= u64::from(limit) {
            let detail = format!("agent {} made {limit} model calls in one turn without an outcome (limits.modelCallsPerTurn)", self.agent);
            return match self.invalid_output() {
                Some(problem) => self.give_up(failure::OUTPUT_INVALID, format!("{detail}: the last result was refused. {problem}")),
                None => self.give_up(failure::CALL_LIMIT, detail),
            };
        }
        self.seen = self.conversation.tail().next;
        self.response = None;
        self.waiting = Waiting::Model;
        Effect::AskModel
    }

    /// What the model that is asked now sees: the journal's projection, and behind it what is not stored yet.
    pub fn prompt(&self) -> Vec<PromptMessage<'_>> {
        match &self.waiting {
            Waiting::Summary(summary) => self.prompt_for_summary(summary),
            _ if planted::is("prompt-from-memory") => self.projection(&[]),
            _ => self.projection(&self.fresh),
        }
    }

    pub(super) fn projection<'a>(&'a self, fresh: &'a [Event]) -> Vec<PromptMessage<'a>> {
        let through: Through<'_> = &|filter, messages| self.offer.catalog().filtered(filter, messages);
        let (orchestration, conversation) = (&self.orchestration, &self.conversation);
        match self.offer.briefing() {
            Some(may) => project_shared(orchestration, conversation, &self.agent, fresh, through, may),
            None => project_through(orchestration, conversation, &self.agent, fresh, through),
        }
    }

    /// Why the response that leads back to the model was not the result that it was meant to be.
    fn invalid_output(&self) -> Option<String> {
        self.offer.catalog().output()?;
        let response = self.response.as_ref()?;
        let refused = response.calls.iter().find_map(|open| match &open.judgement {
            Judgement::Invalid(problem) if open.call.name == COMPLETE_TASK => Some(problem.clone()),
            _ => None,
        });
        refused.or_else(|| match self.fresh.last() {
            Some(Event::Warned(warned)) if warned.code == failure::OUTPUT_INVALID => Some(warned.detail.clone()),
            _ => None,
        })
    }

    pub(super) fn model_failed(&mut self, error: &ModelError) -> Effect {
        let ModelError::Later { wait, detail } = error else {
            return self.give_up(failure::MODEL_ERROR, format!("agent {}: {error}", self.agent));
        };
        let turn_secs = self.orchestration.limits().turn_secs;
        if wait.as_secs() > turn_secs {
            let detail = format!("agent {}: {error}, longer than a turn may take ({turn_secs} s, limits.turnTimeout)", self.agent);
            return self.give_up(failure::MODEL_ERROR, detail);
        }
        self.put_off(*wait, detail.clone())
    }

    pub(super) fn responded(&mut self, mut response: Responded) -> Effect {
        if response.calls.len() > CALLS_MAX {
            let detail =
                format!("agent {}: the model made {} calls in one answer, {CALLS_MAX} is the most", self.agent, response.calls.len());
            return self.give_up(failure::MODEL_ERROR, detail);
        }
        make_ids_distinct(&mut response.calls);
        let is_empty = response.text.trim().is_empty() && response.calls.is_empty();
        if self.is_mute(is_empty) {
            return self.give_up_on_silence();
        }
        self.response = Some(Response::new(response.clone(), &self.offer));
        self.fresh.push(response.into());
        if is_empty { self.ask_model() } else { self.resolve() }
    }

    /// Counts answers without content, one after the other: whether there were too many.
    pub(super) const fn is_mute(&mut self, is_empty: bool) -> bool {
        self.empty_answers = if is_empty { self.empty_answers + 1 } else { 0 };
        self.empty_answers >= EMPTY_ANSWERS_MAX
    }

    pub(super) fn give_up_on_silence(&mut self) -> Effect {
        let detail = format!("agent {}: the model answered {EMPTY_ANSWERS_MAX} times without a text or a call", self.agent);
        self.give_up(failure::MODEL_ERROR, detail)
    }
}

/// Results are told apart by their calls' ids, which some providers repeat or leave out.
fn make_ids_distinct(calls: &mut [Call]) {
    let mut ids = BTreeSet::new();
    for call in calls {
        let mut number = ids.len();
        while call.id.is_empty() || !ids.insert(call.id.clone()) {
            call.id = format!("call_{number}");
            number += 1;
        }
    }
}
