//! I13: a cancel is final: nothing committed after; model stream aborted ≤ 2 s; no tool call begun > 1 s later.

use protocol::event::Event;

use super::Violation;
use super::view::{Line, View};

/// How long a model may go on writing for a conversation that is over.
const MODEL_US: u64 = 2_000_000;
/// How long a tool may still be called for it.
const TOOL_US: u64 = 1_000_000;

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let is_cancel = |line: &Line<'_>| line.events().iter().any(|event| matches!(event, Event::Cancelled(_)));
    after_end(view, "I13", "called off", is_cancel)
}

/// What happened in a conversation after it was over; shared with I14, which differs in who ended it.
pub(super) fn after_end(view: &View<'_>, invariant: &'static str, over: &str, is_end: impl Fn(&Line<'_>) -> bool) -> Vec<Violation> {
    let mut violations = Vec::new();
    for conversation in view.conversations() {
        let Some(end) = view.lines(conversation).find(|line| is_end(line)) else { continue };
        let over_us = view.stored_us(end);
        let ended = format!("was {over} by entry {}", end.ordinal());
        for line in view.lines(conversation).filter(|line| line.ordinal() > end.ordinal() && line.kind() != "erased") {
            let what = format!("the conversation {ended}, and yet entry {} follows", line.ordinal());
            violations.push(Violation::of(invariant, Some(conversation), view.stored_us(line), [end.record, line.record], what));
        }
        // Whoever is stopped or cut off hears of the end when the fault is over.
        let is_excused = |until_us: u64| view.is_deafened(over_us, until_us);
        for call in view.calls.iter().filter(|call| call.conversation == conversation && call.at_us > over_us + TOOL_US) {
            if !is_excused(call.at_us) {
                let what = format!("the conversation {ended}, and {} was called {} ms later", call.tool, (call.at_us - over_us) / 1000);
                violations.push(Violation::of(invariant, Some(conversation), call.at_us, [end.record, call.record], what));
            }
        }
        for request in view.requests.values().filter(|request| request.conversation.as_deref() == Some(conversation)) {
            // Of a request that was never answered nobody knows how long it lasted.
            let last_us = request.over_us.unwrap_or(request.at_us);
            if last_us > over_us + MODEL_US && !is_excused(last_us) {
                let what = format!(
                    "the conversation {ended}, and {}'s model was still writing {} ms later",
                    request.agent,
                    (last_us - over_us) / 1000
                );
                let evidence: Vec<usize> = std::iter::once(end.record).chain(request.evidence.iter().copied()).collect();
                violations.push(Violation::of(invariant, Some(conversation), last_us, evidence, what));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, breaks, holds, intended, responded, warned};

    fn cancelled() -> Story {
        let mut story = Story::begun();
        story.by("triage", "triage-1", vec![responded("t1", &["pay"]), intended("k1")]);
        story.called("pay", "k1", "c1");
        story.cancel("c1");
        story
    }

    #[test]
    fn what_was_under_way_may_end() {
        let mut story = cancelled();
        story.wait(500);
        story.called("pay", "k1", "c1");
        holds(&story);
    }

    #[test]
    fn an_entry_after_the_end_is_reported() {
        let mut story = cancelled();
        story.forge("triage", "triage-1", vec![warned("late")]);
        breaks(&story, &["I13"]);
    }

    #[test]
    fn a_late_call_is_reported() {
        let mut story = cancelled();
        story.wait(1_500);
        story.called("pay", "k1", "c1");
        breaks(&story, &["I13"]);
    }

    #[test]
    fn a_model_that_goes_on_writing_is_reported() {
        let mut story = Story::begun();
        story.working("triage", "triage-1");
        story.cancel("c1");
        story.wait(2_500);
        story.aborted(false);
        breaks(&story, &["I13"]);
    }

    #[test]
    fn what_keeps_nobody_from_hearing_excuses_nothing() {
        for (fault, broken) in [("nothing", &["I13"][..]), ("call-off", &["I13"]), ("model-500", &["I13"]), ("freeze-worker-3s", &[])] {
            let mut story = Story::begun();
            story.working("triage", "triage-1");
            story.strike(fault, "somebody", Some("c1"));
            story.cancel("c1");
            story.wait(2_500);
            story.aborted(false);
            story.heal();
            breaks(&story, broken);
        }
    }

    #[test]
    fn a_model_that_is_broken_off_is_well() {
        let mut story = Story::begun();
        story.working("triage", "triage-1");
        story.cancel("c1");
        story.wait(500);
        story.aborted(false);
        story.wait(9_500);
        holds(&story);
    }
}
