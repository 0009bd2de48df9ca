//! I8: committed intent ⇒ at least one call or a visible failure; same key ⇒ same arguments; at most one committed result per key.

use std::collections::BTreeMap;

use protocol::event::{Event, Verdict};
use protocol::orchestration::{Orchestration, ToolSource};
use protocol::subject::Class;

use super::Violation;
use super::view::{Line, ToolCall, View};

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let mut violations = arguments(view);
    for conversation in view.conversations() {
        violations.extend(intents(view, conversation));
    }
    violations
}

/// One key, one wish: the tool, the arguments and the conversation never change.
fn arguments(view: &View<'_>) -> Vec<Violation> {
    let mut first: BTreeMap<&str, &ToolCall<'_>> = BTreeMap::new();
    let judged = view.calls.iter().filter_map(|call| {
        let before = *first.entry(call.key).or_insert(call);
        let is_same = (before.tool, before.arguments, before.conversation) == (call.tool, call.arguments, call.conversation);
        let what = format!("key {} was used for another call than before: {} {}", call.key, call.tool, call.arguments);
        (!is_same).then(|| Violation::of("I8", Some(call.conversation), call.at_us, [before.record, call.record], what))
    });
    judged.collect()
}

/// An open call of the owner's last response.
#[derive(Default)]
struct Open<'v, 'a> {
    tool: String,
    intent: Option<(&'v Line<'a>, String)>,
    result: Option<&'v Line<'a>>,
    is_decided: bool,
}

/// Every intent led to a call, or is visibly not done; every call has at most one result.
fn intents(view: &View<'_>, conversation: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut open: BTreeMap<String, Open<'_, '_>> = BTreeMap::new();
    let mut asked: BTreeMap<_, String> = BTreeMap::new();
    for line in view.lines(conversation) {
        for (id, event) in line.numbered() {
            match event {
                Event::Responded(response) => {
                    open =
                        response.calls.iter().map(|call| (call.id.clone(), Open { tool: call.name.clone(), ..Open::default() })).collect();
                }
                // The intent of a call that somebody must approve is stored again before it runs.
                Event::Intended(intent) if line.subject.class == Class::Note => {
                    for call in &intent.calls {
                        if let Some(open) = open.get_mut(&call.call) {
                            open.intent = Some((line, call.key.clone()));
                        }
                    }
                }
                Event::Asked(request) => {
                    asked.extend(request.call.as_ref().map(|call| (id, call.id.clone())));
                }
                Event::Decided(decision) if decision.verdict != Verdict::Approved && decision.verdict != Verdict::Retry => {
                    if let Some(open) = asked.get(&decision.request).and_then(|call| open.get_mut(call)) {
                        open.is_decided = true;
                    }
                }
                Event::Returned(returned) => {
                    let Some(open) = open.get_mut(&returned.call) else { continue };
                    if let Some(before) = open.result {
                        let what =
                            format!("call {} has two results: in entries {} and {}", returned.call, before.ordinal(), line.ordinal());
                        violations.push(Violation::of("I8", Some(conversation), view.stored_us(line), [before.record, line.record], what));
                    }
                    open.result = Some(line);
                    violations.extend(uncalled(view, line, open, returned.is_error));
                }
                _ => {}
            }
        }
    }
    violations
}

/// A result of a call that was intended, never made, and that nobody decided.
fn uncalled(view: &View<'_>, line: &Line<'_>, open: &Open<'_, '_>, is_error: bool) -> Option<Violation> {
    let (intent, key) = open.intent.as_ref()?;
    let is_recorded = view.definition(line).is_some_and(|definition| is_recorded(definition, &open.tool));
    let is_called = view.calls.iter().any(|call| call.key == *key);
    if is_error || open.is_decided || is_called || !is_recorded {
        return None;
    }
    let what = format!(
        "call {} of {}, intended in entry {}, has a result in entry {} and was never made",
        key,
        open.tool,
        intent.ordinal(),
        line.ordinal()
    );
    Some(Violation::of("I8", Some(line.subject.conversation.as_str()), view.stored_us(line), [intent.record, line.record], what))
}

/// Whether the laboratory plays a tool, and so sees every call.
pub(super) fn is_recorded(definition: &Orchestration, tool: &str) -> bool {
    let tools = definition.agents().flat_map(|agent| &agent.tools);
    tools.filter(|known| known.name == tool).any(|known| matches!(known.source, ToolSource::Http(_)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::lab::check::story::{Story, breaks, holds, intended, refused, responded, returned};

    fn intended_once() -> Story {
        let mut story = Story::begun();
        story.by("triage", "triage-1", vec![responded("t1", &["pay"]), intended("k1")]);
        story
    }

    #[test]
    fn a_repeat_with_the_same_key_and_arguments_is_well() {
        let mut story = intended_once();
        story.called("pay", "k1", "c1");
        story.taken("triage", "triage-2");
        story.called("pay", "k1", "c1");
        story.by("triage", "triage-2", vec![returned("paid")]);
        holds(&story);
    }

    #[test]
    fn an_intent_that_visibly_failed_needs_no_call() {
        let mut story = intended_once();
        story.by("triage", "triage-1", vec![refused("the service cannot be reached")]);
        holds(&story);
    }

    #[test]
    fn an_intent_in_flight_at_the_end_is_nobodys_fault() {
        holds(&intended_once());
    }

    #[test]
    fn other_arguments_under_the_same_key_are_reported() {
        let mut story = intended_once();
        story.called("pay", "k1", "c1");
        story.called_with("pay", "k1", "c1", &json!({ "order": 9 }));
        breaks(&story, &["I8"]);
    }

    #[test]
    fn a_result_of_a_call_that_was_never_made_is_reported() {
        let mut story = intended_once();
        story.by("triage", "triage-1", vec![returned("paid")]);
        breaks(&story, &["I8"]);
    }

    #[test]
    fn a_second_result_is_reported() {
        let mut story = intended_once();
        story.called("pay", "k1", "c1");
        story.by("triage", "triage-1", vec![returned("paid")]);
        story.by("triage", "triage-1", vec![returned("paid again")]);
        breaks(&story, &["I8"]);
    }
}
