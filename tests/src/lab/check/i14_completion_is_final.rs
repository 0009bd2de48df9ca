//! I14: a completion or failure is final: nothing committed after; model stream aborted ≤ 2 s; no tool call begun > 1 s later.

use protocol::subject::Class;

use super::Violation;
use super::i13_cancel_is_final::after_end;
use super::view::View;

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    after_end(view, "I14", "ended", |line| line.subject.class == Class::End && line.kind() != "cancelled")
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, breaks, holds, warned};

    #[test]
    fn an_erasure_may_follow() {
        let mut story = Story::told();
        story.erased();
        holds(&story);
    }

    #[test]
    fn an_entry_after_the_end_is_reported() {
        let mut story = Story::told();
        let last = story.owner();
        story.forge(&last, "refund-1", vec![warned("late")]);
        breaks(&story, &["I14"]);
    }

    #[test]
    fn a_second_end_is_reported() {
        let mut story = Story::told();
        story.failed_again();
        breaks(&story, &["I14"]);
    }

    #[test]
    fn a_late_call_is_reported() {
        let mut story = Story::told();
        story.wait(5_000);
        story.called("look", "k9", "c1");
        breaks(&story, &["I14"]);
    }
}
