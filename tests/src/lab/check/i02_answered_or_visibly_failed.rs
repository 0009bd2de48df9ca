//! I2: each accepted message ends in a client-visible outcome (answer, human request, completed, failed with a reason) within
//! 60 s after the last fault heals.

use protocol::event::Event;
use protocol::ids::EventId;
use protocol::subject::Class;

use super::Violation;
use super::view::{Line, Operation, View, said};
use crate::lab::record::Act;

/// How long it may take once everything works.
const BOUND_US: u64 = 60_000_000;

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let asks = |operation: &&Operation<'_>| operation.act != Act::Cancel && operation.is_accepted();
    view.operations.values().filter(asks).filter_map(|operation| judge(view, operation)).collect()
}

fn judge(view: &View<'_>, operation: &Operation<'_>) -> Option<Violation> {
    let (accepted_us, _) = operation.ended?;
    let due_us = accepted_us.max(view.calm_us()).saturating_add(BOUND_US);
    let (conversation, message) = (operation.conversation?, operation.message()?);
    if view.end_us < due_us || view.is_erased(conversation) {
        return None;
    }
    // What is not in the journal at all is I1's matter.
    let told =
        view.lines(conversation).find(|line| line.events().iter().flat_map(said).any(|text| text.contains(&format!("[[m:{message}]]"))))?;
    let outcome =
        view.lines(conversation).find(|line| line.ordinal() > told.ordinal() && matches!(line.subject.class, Class::Ask | Class::End));
    let evidence = |line: Option<&Line<'_>>| {
        let lines = std::iter::once(told.record).chain(line.map(|line| line.record));
        operation.evidence.iter().copied().chain(lines).collect::<Vec<_>>()
    };
    let what = match outcome {
        None if is_waiting(view, conversation) => return None,
        None => format!("message {message}, entry {}, has led to nothing", told.ordinal()),
        Some(line) if view.stored_us(line) > due_us => {
            let late = (view.stored_us(line) - due_us) / 1_000_000;
            format!("message {message}, entry {}, was answered by entry {} {late} s too late", told.ordinal(), line.ordinal())
        }
        // That a request reaches people is I11's matter.
        Some(line) if line.subject.class == Class::Ask || is_shown(view, conversation, line, due_us) => return None,
        Some(line) => format!("the end of the conversation, entry {}, was shown to nobody who follows it", line.ordinal()),
    };
    Some(Violation::of("I2", Some(conversation), accepted_us, evidence(outcome), what))
}

/// Whether the conversation waits for people: something said meanwhile changes nothing about what they were asked.
fn is_waiting(view: &View<'_>, conversation: &str) -> bool {
    let last = view.lines(conversation).rfind(|line| matches!(line.subject.class, Class::To { .. } | Class::Ask | Class::End));
    last.is_some_and(|line| line.subject.class == Class::Ask)
}

/// Whether the end has reached those who follow the conversation, if anybody does.
fn is_shown(view: &View<'_>, conversation: &str, line: &Line<'_>, due_us: u64) -> bool {
    let last = line.numbered().map(|(id, _)| id).last().unwrap_or(EventId { ordinal: line.ordinal(), index: 0 });
    let mut streams = view.streams.iter().filter(|stream| stream.conversation == conversation).peekable();
    let in_time = |place: &usize| view.records.get(*place).is_some_and(|record| record.at_us <= due_us);
    let is_erasure = line.events().iter().any(|event| matches!(event, Event::Erased(_)));
    is_erasure
        || streams.peek().is_none()
        || streams.any(|stream| stream.received.iter().any(|(place, id, ..)| *id == last && in_time(place)))
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, breaks, holds};

    #[test]
    fn work_in_flight_at_the_end_is_nobodys_fault() {
        let mut story = Story::begun();
        story.wait(30_000);
        holds(&story);
    }

    #[test]
    fn a_message_that_leads_to_nothing_is_reported() {
        let mut story = Story::begun();
        story.wait(61_000);
        breaks(&story, &["I2"]);
    }

    #[test]
    fn time_counts_from_the_last_fault_on() {
        let mut story = Story::begun();
        story.wait(50_000);
        story.fault("stop-worker", "triage-1", None, 20_000);
        story.wait(50_000);
        holds(&story);
        story.wait(11_000);
        breaks(&story, &["I2"]);
    }

    #[test]
    fn an_end_that_nobody_sees_is_reported() {
        let mut story = Story::told();
        story.unseen_last();
        story.wait(61_000);
        breaks(&story, &["I2"]);
    }

    #[test]
    fn what_is_said_while_somebody_else_is_asked_waits_with_it() {
        let mut story = Story::parked();
        story.said("c1", "m7");
        story.wait(90_000);
        holds(&story);
    }
}
