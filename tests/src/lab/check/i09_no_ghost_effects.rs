//! I9: every call's idempotency key has a committed intent that precedes the call.

use std::collections::{BTreeMap, BTreeSet};

use protocol::event::{Effect, Event};
use protocol::subject::Class;

use super::Violation;
use super::view::{Line, ToolCall, View};

/// How exactly the broker's clock is known, in microseconds.
const CLOCK_US: u64 = 50_000;

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let mut intents: BTreeMap<(&str, &str), &Line<'_>> = BTreeMap::new();
    for conversation in view.conversations() {
        for line in view.lines(conversation).filter(|line| line.subject.class == Class::Note) {
            for event in line.events() {
                let Event::Intended(intent) = event else { continue };
                for call in &intent.calls {
                    intents.entry((conversation, &call.key)).or_insert(line);
                }
            }
        }
    }
    let harmless = harmless(view);
    let judged = view
        .calls
        .iter()
        .filter(|call| !harmless.contains(call.tool))
        .filter_map(|call| judge(view, call, intents.get(&(call.conversation, call.key))));
    judged.collect()
}

fn judge(view: &View<'_>, call: &ToolCall<'_>, intent: Option<&&Line<'_>>) -> Option<Violation> {
    let ToolCall { tool, key, conversation, .. } = call;
    let (evidence, what) = match intent {
        // What is not in the recording may have been there.
        None if view.is_partly_unknown(conversation) && view.lines(conversation).next().is_some() => return None,
        None => (vec![call.record], format!("{tool} was called with key {key}, which no committed intent has")),
        Some(line) if view.at_us(line.time_ms).is_some_and(|stored_us| stored_us > call.at_us.saturating_add(CLOCK_US)) => (
            vec![call.record, line.record],
            format!("{tool} was called with key {key} before its intent, entry {}, was stored", line.ordinal()),
        ),
        Some(_) => return None,
    };
    Some(Violation::of("I9", Some(conversation), call.at_us, evidence, what))
}

/// Tools whose calls change nothing run without an intent.
fn harmless<'v>(view: &'v View<'_>) -> BTreeSet<&'v str> {
    let definitions = std::iter::once(&view.setup.orchestration).chain(&view.setup.older);
    let tools = definitions.flat_map(|definition| definition.agents().flat_map(|agent| &agent.tools));
    tools.filter(|tool| tool.effect == Effect::ReadOnly).map(|tool| tool.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, breaks, holds, intended, responded, returned};

    #[test]
    fn what_only_looks_needs_no_intent() {
        let mut story = Story::begun();
        story.called("look", "k7", "c1");
        holds(&story);
    }

    #[test]
    fn a_call_without_an_intent_is_reported() {
        let mut story = Story::begun();
        story.called("pay", "k7", "c1");
        breaks(&story, &["I9"]);
    }

    #[test]
    fn a_call_with_another_conversations_key_is_reported() {
        let mut story = Story::begun();
        story.opened("c2", "m8");
        story.by("triage", "triage-1", vec![responded("t1", &["pay"]), intended("k1")]);
        story.called("pay", "k1", "c2");
        breaks(&story, &["I9"]);
    }

    #[test]
    fn a_call_before_its_intent_is_reported() {
        let mut story = Story::begun();
        story.called("pay", "k1", "c1");
        story.wait(200);
        story.by("triage", "triage-1", vec![responded("t1", &["pay"]), intended("k1")]);
        story.by("triage", "triage-1", vec![returned("paid")]);
        breaks(&story, &["I9"]);
    }
}
