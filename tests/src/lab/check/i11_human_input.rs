//! I11: every request reaches the person if connected or once reconnected; at most one committed reply per request; losers get 409.

use protocol::ids::EventId;

use super::Violation;
use super::view::{HumanRequest, View, said};
use crate::lab::record::{Act, Ended};

/// How long a request may take to those who follow the conversation, once everything works.
const BOUND_US: u64 = 60_000_000;
/// What somebody may be told who answers what is answered: that others were faster, or that nobody can be served now.
const LOSERS_ARE_TOLD: [u16; 5] = [409, 410, 429, 503, 504];

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for conversation in view.conversations() {
        for request in view.human_requests(conversation) {
            violations.extend(twice(view, conversation, &request));
            violations.extend(unreached(view, conversation, &request));
            violations.extend(losers(view, conversation, &request));
        }
    }
    violations
}

fn at_us(view: &View<'_>, record: usize) -> u64 {
    view.copies.iter().find(|line| line.record == record).map_or(0, |line| view.stored_us(line))
}

fn twice(view: &View<'_>, conversation: &str, request: &HumanRequest) -> Option<Violation> {
    let [_, second, ..] = request.answers.as_slice() else { return None };
    let what = format!("request {} has {} committed answers", request.id, request.answers.len());
    Some(Violation::of("I11", Some(conversation), at_us(view, *second), request.answers.clone(), what))
}

/// Those who follow the conversation have been shown the request.
fn unreached(view: &View<'_>, conversation: &str, request: &HumanRequest) -> Option<Violation> {
    let asked_us = at_us(view, request.asked);
    let streams: Vec<_> = view.streams.iter().filter(|stream| stream.conversation == conversation).collect();
    let is_before = |after: &EventId| *after < request.id;
    let follows = streams.iter().any(|stream| stream.after.as_ref().is_none_or(is_before));
    let is_shown = streams.iter().any(|stream| stream.received.iter().any(|(_, id, ..)| *id == request.id));
    let is_due = view.end_us >= asked_us.max(view.calm_us()).saturating_add(BOUND_US);
    if !follows || is_shown || !is_due {
        return None;
    }
    let what = format!("request {} was shown to nobody who follows the conversation", request.id);
    Some(Violation::of("I11", Some(conversation), asked_us, [request.asked], what))
}

/// Whoever answered and is not the one who is recorded has been told so.
fn losers(view: &View<'_>, conversation: &str, request: &HumanRequest) -> Vec<Violation> {
    let Some(winner) = request.answers.first().and_then(|record| view.copies.iter().find(|line| line.record == *record)) else {
        return Vec::new();
    };
    let id = request.id.to_string();
    let answers = view.operations.values().filter(|operation| {
        let names_it = operation.conversation == Some(conversation) && operation.request == Some(id.as_str());
        names_it && matches!(operation.act, Act::Reply | Act::Decide)
    });
    let judged = answers.filter_map(|operation| {
        let (ended_us, Ended::Fail { status, .. }) = operation.ended? else { return None };
        let is_winner = operation
            .message()
            .is_some_and(|message| winner.events().iter().flat_map(said).any(|text| text.contains(&format!("[[m:{message}]]"))));
        let came_late = operation.at_us > view.stored_us(winner).saturating_add(50_000);
        if LOSERS_ARE_TOLD.contains(status) || is_winner || !came_late {
            return None;
        }
        let what = format!("{} answered request {id}, which was answered, and was told {status} instead of 409", operation.client);
        Some(Violation::of("I11", Some(conversation), ended_us, operation.evidence.clone(), what))
    });
    judged.collect()
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, breaks, holds};
    use crate::lab::record::Ended;

    fn fail(status: u16) -> Ended {
        Ended::Fail { status, code: "already_answered".to_owned() }
    }

    #[test]
    fn losers_are_told() {
        let mut story = Story::answered();
        story.reply("c1", "m50", "1.1", fail(409));
        story.reply("c1", "m51", "1.1", fail(503));
        story.reply("c1", "m52", "1.1", Ended::Unknown { why: "reset".to_owned(), status: None });
        holds(&story);
    }

    #[test]
    fn a_loser_who_is_told_something_else_is_reported() {
        let mut story = Story::answered();
        story.wait(1000);
        story.reply("c1", "m50", "1.1", fail(404));
        breaks(&story, &["I11"]);
    }

    #[test]
    fn a_second_answer_is_reported() {
        let mut story = Story::answered();
        story.answered_again("m50");
        breaks(&story, &["I11"]);
    }

    #[test]
    fn a_request_that_nobody_is_shown_is_reported() {
        let mut story = Story::asking();
        story.unseen_last();
        story.wait(61_000);
        breaks(&story, &["I11"]);
    }

    #[test]
    fn a_request_on_its_way_at_the_end_is_nobodys_fault() {
        let mut story = Story::asking();
        story.unseen_last();
        story.wait(20_000);
        holds(&story);
    }
}
