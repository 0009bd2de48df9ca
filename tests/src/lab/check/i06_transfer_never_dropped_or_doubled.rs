//! I6: each transfer is taken up exactly once by its target, or fails visibly.

use std::collections::BTreeMap;

use protocol::event::Event;
use protocol::subject::Class;

use super::Violation;
use super::view::{Line, View};

/// How long it may take once everything works.
const BOUND_US: u64 = 60_000_000;

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    view.conversations().flat_map(|conversation| judge(view, conversation)).collect()
}

fn judge(view: &View<'_>, conversation: &str) -> Vec<Violation> {
    let lines: Vec<&Line<'_>> = view.lines(conversation).collect();
    let mut violations = Vec::new();
    // A call that was carried out is carried out: the same call never moves the conversation again.
    let mut carried_out: BTreeMap<(usize, &str), &Line<'_>> = BTreeMap::new();
    let mut response = 0;
    for (place, line) in lines.iter().enumerate() {
        for event in line.events() {
            match event {
                Event::Responded(_) => response += 1,
                Event::Transferred(transfer) => {
                    let later = lines.get(place + 1..).unwrap_or_default();
                    violations.extend(dropped(view, conversation, line, later));
                    let before = transfer.call.as_deref().and_then(|call| carried_out.insert((response, call), line));
                    violations.extend(before.map(|before| {
                        let what =
                            format!("one call transferred the conversation twice: by entries {} and {}", before.ordinal(), line.ordinal());
                        Violation::of("I6", Some(conversation), view.stored_us(line), [before.record, line.record], what)
                    }));
                }
                _ => {}
            }
        }
    }
    violations
}

/// Nobody went on: neither the target, nor anybody who took the conversation from it, nor its end.
fn dropped(view: &View<'_>, conversation: &str, line: &Line<'_>, later: &[&Line<'_>]) -> Option<Violation> {
    let stored_us = view.stored_us(line);
    let is_due = view.end_us >= stored_us.max(view.calm_us()).saturating_add(BOUND_US);
    let Class::To { agent, .. } = &line.subject.class else {
        let what = format!("entry {} records a transfer, and is no work item", line.ordinal());
        return Some(Violation::of("I6", Some(conversation), stored_us, [line.record], what));
    };
    let is_taken_up = |line: &&&Line<'_>| line.agent() == Some(agent) || matches!(line.subject.class, Class::End | Class::To { .. });
    if later.iter().any(|line| is_taken_up(&line)) || !is_due {
        return None;
    }
    let what = format!("{agent} has never taken the transfer up that is entry {}", line.ordinal());
    Some(Violation::of("I6", Some(conversation), stored_us, [line.record], what))
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, asked, breaks, holds, responded, transferred};

    fn handed_over() -> Story {
        let mut story = Story::quiet();
        story.by("triage", "triage-1", vec![responded("t1", &["transfer_to_refund"]), transferred("refund")]);
        story
    }

    #[test]
    fn a_transfer_that_is_taken_up_is_well() {
        let mut story = handed_over();
        story.by("refund", "refund-1", vec![responded("t2", &[]), asked()]);
        story.wait(120_000);
        holds(&story);
    }

    #[test]
    fn a_transfer_in_flight_at_the_end_is_nobodys_fault() {
        let mut story = handed_over();
        story.wait(30_000);
        holds(&story);
    }

    #[test]
    fn a_transfer_that_fails_visibly_is_no_loss() {
        let mut story = handed_over();
        story.failed_by_coordinator("turn_timeout");
        story.wait(120_000);
        holds(&story);
    }

    #[test]
    fn a_dropped_transfer_is_reported() {
        let mut story = handed_over();
        story.wait(61_000);
        breaks(&story, &["I6"]);
    }

    #[test]
    fn a_doubled_transfer_is_reported() {
        let mut story = Story::quiet();
        story.by("triage", "triage-1", vec![responded("t1", &["transfer_to_refund"]), transferred("refund")]);
        story.redirected("triage");
        story.by("triage", "triage-1", vec![transferred("refund")]);
        story.by("refund", "refund-1", vec![responded("t2", &[]), asked()]);
        breaks(&story, &["I6"]);
    }
}
