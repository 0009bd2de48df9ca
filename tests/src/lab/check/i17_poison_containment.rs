//! I17: an undecodable entry is delivered once, a crashing one gets ≤ 5 attempts, an unknown version waits ≤ 10 min; each is
//! dead-lettered with a reason, the conversation fails visibly, others unaffected, no process exits.

use super::Violation;
use super::view::{Line, View};
use crate::lab::record::Seen;
use protocol::event::{Event, failure};
use protocol::subject::Class;

/// How long what nobody understands may wait for somebody who does, in milliseconds; and a minute for the one who gives up.
const SET_ASIDE_MS: u64 = 11 * 60_000;
/// How long a poisoned conversation may take to fail visibly, once everything works.
const BOUND_US: u64 = 60_000_000;

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let mut violations = exits(view);
    for conversation in view.conversations() {
        violations.extend(attempts(view, conversation));
        violations.extend(set_aside(view, conversation));
        violations.extend(poisoned(view, conversation));
    }
    violations
}

/// No process ends of its own accord.
fn exits(view: &View<'_>) -> Vec<Violation> {
    let judged = (0..).zip(view.records).filter_map(|(place, record)| match &record.seen {
        Seen::Gone { process, pid, is_fault: false } => {
            Some(Violation::of("I17", None, record.at_us, [place], format!("process {process} ({pid}) ended by itself")))
        }
        _ => None,
    });
    judged.collect()
}

/// A turn is tried so often and no more; what was given back or put off was nobody's failure.
fn attempts(view: &View<'_>, conversation: &str) -> Option<Violation> {
    let mut tried: Vec<&Line<'_>> = Vec::new();
    let mut rested = false;
    for line in view.lines(conversation) {
        match line.kind() {
            "taken" | "redispatched" if !std::mem::take(&mut rested) => tried.push(line),
            "taken" | "redispatched" => {}
            "handed-back" | "deferred" | "set-aside" => rested = true,
            _ if matches!(line.subject.class, Class::To { .. }) => (tried, rested) = (Vec::new(), false),
            _ => {}
        }
        let limit = view.definition(line).map_or(5, |definition| definition.limits().attempts);
        if tried.len() > usize::try_from(limit).unwrap_or(usize::MAX) {
            let evidence: Vec<usize> = tried.iter().map(|line| line.record).collect();
            let what = format!("a turn was begun {} times, up to entry {}; {limit} attempts are the most", tried.len() + 1, line.ordinal());
            return Some(Violation::of("I17", Some(conversation), view.stored_us(line), evidence, what));
        }
    }
    None
}

/// What a newer version wrote waits for it, and not for ever.
fn set_aside(view: &View<'_>, conversation: &str) -> Option<Violation> {
    let first = view.lines(conversation).find(|line| line.kind() == "set-aside")?;
    let went_on =
        view.lines(conversation).find(|line| line.ordinal() > first.ordinal() && !matches!(line.kind(), "set-aside" | "taken" | "said"));
    let until_us = went_on.map_or(view.end_us, |line| view.stored_us(line));
    let waited_ms = until_us.saturating_sub(view.stored_us(first)) / 1000;
    let what = format!("entry {} was set aside, and nobody went on or gave up for {} s", first.ordinal(), waited_ms / 1000);
    (waited_ms > SET_ASIDE_MS).then(|| Violation::of("I17", Some(conversation), until_us, [first.record], what))
}

/// Bytes that no version writes end their conversation visibly: nothing follows them but the failure that says so, and whoever
/// follows the conversation is shown it.
fn poisoned(view: &View<'_>, conversation: &str) -> Option<Violation> {
    let began = view.lines(conversation).next()?.seq;
    let poison = view.poison(conversation).find(|poison| poison.seq > began)?;
    if view.lines(conversation).any(|line| line.seq < poison.seq && line.subject.class == Class::End) {
        return None;
    }
    let since_us = view.stored_us(poison).max(view.calm_us());
    let is_due = view.end_us >= since_us.saturating_add(BOUND_US);
    let mut behind = view.lines(conversation).filter(|line| line.seq > poison.seq && line.kind() != "erased");
    let reported = |evidence: &[usize], what: &str| {
        let what = format!("message {} is nothing that any version writes, and {what}", poison.seq);
        Some(Violation::of("I17", Some(conversation), since_us, [&[poison.record][..], evidence].concat(), what))
    };
    let Some(failed) = behind.next() else { return is_due.then(|| reported(&[], "the conversation has not failed")).flatten() };
    if !matches!(failed.events(), [Event::Failed(failed)] if failed.code == failure::DAMAGED) {
        return reported(&[failed.record], &format!("entry {} follows it, {}", failed.ordinal(), failed.kind()));
    }
    let mut streams = view.streams.iter().filter(|stream| stream.conversation == conversation).peekable();
    let is_shown = streams.peek().is_none() || streams.any(|stream| stream.received.iter().any(|(_, _, kind, _)| *kind == failed.kind()));
    if is_due && !is_shown { reported(&[failed.record], "the failure was shown to nobody who follows it") } else { None }
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, breaks, holds};
    use crate::lab::record::Seen;

    #[test]
    fn a_process_that_was_ended_is_well() {
        let mut story = Story::told();
        story.see(Seen::Gone { process: "w".to_owned(), pid: 7, is_fault: true });
        holds(&story);
    }

    #[test]
    fn a_process_that_ends_by_itself_is_reported() {
        let mut story = Story::told();
        story.see(Seen::Gone { process: "w".to_owned(), pid: 7, is_fault: false });
        breaks(&story, &["I17"]);
    }

    #[test]
    fn five_attempts_are_well_and_hand_backs_are_none() {
        let mut story = Story::begun();
        for attempt in 0..5 {
            story.taken("triage", &format!("triage-{attempt}"));
            story.handed_back(&format!("triage-{attempt}"));
            story.taken("triage", &format!("triage-{attempt}x"));
        }
        holds(&story);
    }

    #[test]
    fn a_sixth_attempt_is_reported() {
        let mut story = Story::begun();
        for attempt in 0..6 {
            story.taken("triage", &format!("triage-{attempt}"));
        }
        breaks(&story, &["I17"]);
    }

    #[test]
    fn what_is_set_aside_for_too_long_is_reported() {
        let mut story = Story::quiet();
        story.set_aside();
        story.wait(600_000);
        holds(&story);
        story.wait(100_000);
        breaks(&story, &["I17"]);
    }

    #[test]
    fn a_poisoned_conversation_that_does_not_fail_is_reported() {
        let mut story = Story::quiet();
        story.poisoned();
        holds(&story);
        story.wait(61_000);
        breaks(&story, &["I17"]);
    }

    #[test]
    fn a_poisoned_conversation_that_fails_for_that_reason_is_well() {
        let mut story = Story::quiet();
        story.poisoned();
        story.poisoned();
        story.failed_by_coordinator("damaged");
        story.wait(61_000);
        holds(&story);
    }

    #[test]
    fn a_poisoned_conversation_that_goes_on_is_reported() {
        let mut story = Story::quiet();
        story.poisoned();
        story.failed_by_coordinator("turn_timeout");
        breaks(&story, &["I17"]);
    }

    #[test]
    fn a_failure_that_nobody_sees_is_reported() {
        let mut story = Story::quiet();
        story.poisoned();
        story.failed_by_coordinator("damaged");
        story.unseen_last();
        story.wait(61_000);
        breaks(&story, &["I17"]);
    }
}
