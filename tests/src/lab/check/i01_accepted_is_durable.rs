//! I1: each message answered 2xx appears exactly once in the final journal; unknown outcome: 0 or 1; refused: 0.

use std::collections::BTreeMap;

use protocol::event::Event;
use protocol::ids::EntryId;

use super::Violation;
use super::view::{Line, Operation, View, is_callers, marks, said};
use crate::lab::record::Act;

/// What one wish, repeated or not, says of the journal.
#[derive(Default)]
struct Wish<'v, 'a> {
    operations: Vec<&'v Operation<'a>>,
}

impl Wish<'_, '_> {
    fn accepted(&self) -> Option<&Operation<'_>> {
        self.operations.iter().find(|operation| operation.is_accepted()).copied()
    }

    fn is_refused(&self) -> bool {
        self.operations.iter().all(|operation| operation.is_refused())
    }

    fn evidence(&self) -> Vec<usize> {
        self.operations.iter().flat_map(|operation| operation.evidence.clone()).collect()
    }

    fn at_us(&self) -> u64 {
        self.operations.iter().map(|operation| operation.at_us).max().unwrap_or_default()
    }

    fn conversation(&self) -> Option<&str> {
        self.operations.iter().find_map(|operation| operation.conversation)
    }
}

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let mut violations = messages(view);
    violations.extend(decisions(view));
    violations.extend(cancels(view));
    violations
}

/// Messages are told by the ids in their texts.
fn messages(view: &View<'_>) -> Vec<Violation> {
    let mut wishes: BTreeMap<&str, Wish<'_, '_>> = BTreeMap::new();
    for operation in view.operations.values() {
        if let Some(message) = operation.message() {
            wishes.entry(message).or_default().operations.push(operation);
        }
    }
    let mut stored: BTreeMap<&str, Vec<&Line<'_>>> = BTreeMap::new();
    for conversation in view.conversations() {
        for line in view.lines(conversation).filter(|line| is_callers(line)) {
            for message in line.events().iter().flat_map(said).flat_map(|text| marks(text, "m")) {
                stored.entry(message).or_default().push(line);
            }
        }
    }
    let mut violations: Vec<Violation> = wishes
        .iter()
        .filter_map(|(message, wish)| judge(view, wish, stored.get(message).map_or(&[], Vec::as_slice), &format!("message {message}")))
        .collect();
    for (message, lines) in stored.iter().filter(|(message, _)| !wishes.contains_key(*message)) {
        violations.extend(lines.iter().map(|line| {
            let what = format!("message {message} is entry {} and was never sent", line.ordinal());
            found(view, line, what)
        }));
    }
    violations
}

/// Decisions are told by the ids of their entries, which follow from their keys.
fn decisions(view: &View<'_>) -> Vec<Violation> {
    let mut wishes: BTreeMap<(&str, &str), Wish<'_, '_>> = BTreeMap::new();
    for operation in view.operations.values().filter(|operation| operation.act == Act::Decide && operation.message().is_none()) {
        if let Some(conversation) = operation.conversation {
            wishes.entry((conversation, operation.key)).or_default().operations.push(operation);
        }
    }
    let judged = wishes.iter().filter_map(|((conversation, key), wish)| {
        let id = EntryId::of_request(&conversation.parse().ok()?, key).to_string();
        let stored: Vec<&Line<'_>> = view.lines(conversation).filter(|line| line.header(protocol::wire::header::ID) == id).collect();
        judge(view, wish, &stored, &format!("decision {key}"))
    });
    judged.collect()
}

/// A conversation is called off once; who did it has no key.
fn cancels(view: &View<'_>) -> Vec<Violation> {
    let mut wishes: BTreeMap<&str, Wish<'_, '_>> = BTreeMap::new();
    for operation in view.operations.values().filter(|operation| operation.act == Act::Cancel) {
        if let Some(conversation) = operation.conversation {
            wishes.entry(conversation).or_default().operations.push(operation);
        }
    }
    let judged = wishes.iter().filter_map(|(conversation, wish)| {
        let cancelled = |line: &&Line<'_>| is_callers(line) && line.events().iter().any(|event| matches!(event, Event::Cancelled(_)));
        let stored: Vec<&Line<'_>> = view.lines(conversation).filter(cancelled).collect();
        judge(view, wish, &stored, "the wish to call the conversation off")
    });
    judged.collect()
}

fn judge(view: &View<'_>, wish: &Wish<'_, '_>, stored: &[&Line<'_>], name: &str) -> Option<Violation> {
    let places: Vec<String> = stored.iter().map(|line| format!("{} of {}", line.ordinal(), line.subject.conversation)).collect();
    let what = match (wish.accepted(), stored) {
        (_, [_, _, ..]) => format!("{name} is stored {} times: as entries {}", stored.len(), places.join(", ")),
        (Some(_), []) => {
            // Of what was erased, or lies where the recording does not reach, nothing is known.
            if wish
                .conversation()
                .is_some_and(|conversation| view.is_partly_unknown(conversation) && view.lines(conversation).next().is_some())
            {
                return None;
            }
            format!("{name} was accepted and is nowhere in the journal")
        }
        (Some(accepted), [line]) if accepted.conversation.is_some_and(|named| named != line.subject.conversation.as_str()) => {
            format!("{name} was accepted for conversation {} and is entry {}", accepted.conversation.unwrap_or_default(), places.join(", "))
        }
        (None, [_]) if wish.is_refused() => format!("{name} was refused and is entry {}", places.join(", ")),
        _ => return None,
    };
    let evidence: Vec<usize> = wish.evidence().into_iter().chain(stored.iter().map(|line| line.record)).collect();
    Some(Violation::of("I1", wish.conversation(), wish.at_us(), evidence, what))
}

fn found(view: &View<'_>, line: &Line<'_>, what: String) -> Violation {
    Violation::of("I1", Some(line.subject.conversation.as_str()), view.stored_us(line), [line.record], what)
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, breaks, holds};
    use crate::lab::record::Ended;

    const UNKNOWN: fn() -> Ended = || Ended::Unknown { why: "timeout".to_owned(), status: None };

    #[test]
    fn an_unknown_outcome_may_be_either() {
        holds(&Story::told().ending("m1", UNKNOWN()));
        let mut absent = Story::told();
        absent.wish("c1", "m99", UNKNOWN());
        holds(&absent);
    }

    #[test]
    fn a_repeat_under_one_key_is_one_message() {
        let mut story = Story::told();
        story.wish("c1", "m2", UNKNOWN());
        story.wish("c1", "m2", Ended::Ok { status: 200, is_repeat: true });
        holds(&story);
    }

    #[test]
    fn an_accepted_message_that_is_nowhere_is_reported() {
        let mut story = Story::told();
        story.wish("c1", "m99", Ended::Ok { status: 201, is_repeat: false });
        // Nobody can have been answered either.
        breaks(&story, &["I1"]);
    }

    #[test]
    fn a_message_that_is_stored_twice_is_reported() {
        let mut story = Story::begun();
        story.said("c1", "m2");
        story.stored_said("c1", "m2");
        breaks(&story, &["I1"]);
    }

    #[test]
    fn a_refused_message_that_is_stored_is_reported() {
        breaks(&Story::told().ending("m2", Ended::Fail { status: 409, code: "ended".to_owned() }), &["I1"]);
    }

    #[test]
    fn a_message_that_nobody_sent_is_reported() {
        let mut story = Story::begun();
        story.stored_said("c1", "m98");
        breaks(&story, &["I1"]);
    }
}
