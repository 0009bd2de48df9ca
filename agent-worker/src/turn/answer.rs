//! A plain answer, without a call: it ends the conversation, the agent goes on by itself, or a person is asked.

use std::collections::BTreeMap;

use protocol::event::{
    Asked, Audience, Completed, CompletedBecause, Continuation, Continued, Event, Json, Opened, RequestKind, Warned, failure,
};
use protocol::orchestration::Autonomous;
use protocol::subject::Class;

use super::{Effect, Turn};

/// A condition of the definition had no answer, and was taken not to hold.
const CONDITION_UNANSWERED: &str = "condition_unanswered";

impl Turn {
    /// In the order of what binds most: what the person said meanwhile, the end, going on alone, the person, the result.
    pub(super) fn answer(&mut self, text: String) -> Effect {
        if self.has_unseen_message() {
            // It answers the question before it is asked, or withholds the result.
            return self.go_on(Continuation::Answered, None);
        }
        if self.is_terminated_by(&text) {
            return self.end_with_text(CompletedBecause::Terminated, text);
        }
        let continuations = self.brief().map_or(0, |brief| brief.continuations);
        if let Some(Autonomous { prompt, .. }) =
            self.orchestration.human().autonomous.as_ref().filter(|it| continuations < it.turns && self.desk().is_none())
        {
            let prompt = Some(prompt.clone());
            return self.go_on(Continuation::Autonomous, prompt);
        }
        if self.has_human() {
            // The question is the text of the response before it: nothing is stored twice.
            let asked = self.question(Audience::Caller, String::new());
            return self.conclude(Class::Ask, asked.into());
        }
        self.end_with_text(CompletedBecause::Answered, text)
    }

    fn go_on(&mut self, because: Continuation, prompt: Option<String>) -> Effect {
        let class = Class::To { agent: self.agent.clone(), revision: self.orchestration.revision().clone() };
        self.conclude(class, Continued { because, prompt }.into())
    }

    /// A question that waits as long as people may take.
    pub(super) fn question(&self, audience: Audience, text: String) -> Asked {
        let due_secs = Some(self.orchestration.limits().human_secs);
        Asked { kind: RequestKind::Question, audience, text, call: None, arguments_hash: None, due_secs }
    }

    /// Ends the conversation with a text, which is the typed result too where there is a schema: what does not match is
    /// told to the model, and asked for again.
    fn end_with_text(&mut self, because: CompletedBecause, result: String) -> Effect {
        let value = self.offer.catalog().output().map(|output| output.parse(&result)).transpose();
        match value {
            Ok(value) => self.end_with(Completed { because, result, value }),
            Err(problem) => {
                let detail = format!("This is not a result: {problem}. Answer with JSON that matches the schema, and nothing else.");
                self.fresh.push(Warned { code: failure::OUTPUT_INVALID.into(), detail }.into());
                self.ask_with_results()
            }
        }
    }

    /// Whether the definition ends the conversation on these words. Where it cannot be told, they do not: a conversation
    /// that goes on can still be ended, one that was failed for a condition cannot go on.
    fn is_terminated_by(&mut self, text: &str) -> bool {
        let nothing = BTreeMap::new();
        let metadata = self.opened().map_or(&nothing, |opened| &opened.metadata);
        let is_terminated = self.offer.catalog().is_terminated(&self.agent, text, metadata);
        is_terminated.unwrap_or_else(|error| {
            self.warn_once(CONDITION_UNANSWERED, format!("terminateWhen: {error}"));
            false
        })
    }

    /// Says which edges are hidden because nobody can tell whether they are there.
    pub(super) fn warn_of_hidden_edges(&mut self) {
        for problem in self.offer.unanswered().to_vec() {
            self.warn_once(CONDITION_UNANSWERED, problem);
        }
    }

    fn warn_once(&mut self, code: &'static str, detail: String) {
        let warned = Event::from(Warned { code: code.into(), detail });
        let mut recorded = self.conversation.events().map(|(_, (_, event))| event);
        if !recorded.any(|event| *event == warned) && !self.fresh.contains(&warned) {
            self.fresh.push(warned);
        }
    }

    pub(super) fn opened(&self) -> Option<&Opened> {
        super::opened(&self.conversation)
    }

    pub(super) fn has_human(&self) -> bool {
        self.opened().is_some_and(|opened| opened.human)
    }

    /// The schema that a text has to match because it would be the conversation's result.
    pub fn output(&self) -> Option<&Json> {
        self.offer.catalog().output().filter(|_| !self.has_human()).map(|output| output.schema())
    }
}
