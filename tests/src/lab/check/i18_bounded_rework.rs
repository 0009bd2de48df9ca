//! I18: model calls per committed step ≤ 1 + faults and interrupts that touched it; = 1 without.

use super::Violation;
use super::figures::steps;
use super::view::View;

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let judged = steps(view).into_iter().filter(|step| step.calls > 1 + step.excuses).map(|step| {
        let what = format!("the answer in entry {} took {} model calls, and {} things interfered", step.ordinal, step.calls, step.excuses);
        Violation::of("I18", Some(&step.conversation), step.at_us, step.evidence, what)
    });
    judged.collect()
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, asked, breaks, holds, responded};

    fn asked_twice(between: impl FnOnce(&mut Story)) -> Story {
        let mut story = Story::begun();
        story.working("triage", "triage-1");
        between(&mut story);
        story.aborted(false);
        story.by("triage", "triage-2", vec![responded("t1", &[]), asked()]);
        story
    }

    #[test]
    fn a_fault_excuses_a_second_call() {
        holds(&asked_twice(|story| story.fault("kill-worker", "triage-1", None, 0)));
    }

    #[test]
    fn a_takeover_excuses_a_second_call() {
        let mut story = Story::begun();
        story.fault("kill-worker", "triage-1", None, 0);
        story.wait(1_000);
        story.working("triage", "triage-2");
        story.taken("triage", "triage-3");
        story.aborted(false);
        story.by("triage", "triage-3", vec![responded("t1", &[]), asked()]);
        holds(&story);
    }

    #[test]
    fn only_a_takeover_from_the_process_that_was_struck_is_excused() {
        let taken_from_triage_2 = |fault: &'static str, struck: &'static str, taker: &'static str| {
            let mut story = Story::begun();
            story.fault(fault, struck, None, 0);
            story.wait(10_000);
            story.taken("triage", "triage-2-1");
            story.working("triage", "triage-2-1");
            story.taken("triage", taker);
            story.aborted(false);
            story.by("triage", taker, vec![responded("t1", &[]), asked()]);
            story
        };
        holds(&taken_from_triage_2("kill-worker", "triage-2", "triage-3"));
        breaks(&taken_from_triage_2("kill-worker", "triage-1", "triage-3"), &["I18"]);
        breaks(&taken_from_triage_2("kill-worker", "refund-2", "triage-3"), &["I18"]);
        breaks(&taken_from_triage_2("freeze-worker-3s", "triage-1", "triage-3"), &["I18"]);
        holds(&taken_from_triage_2("freeze-worker-3s", "triage-1", "triage-1"));
        holds(&taken_from_triage_2("kill-cluster", "every node", "triage-3"));
    }

    #[test]
    fn a_takeover_of_another_agents_turn_is_reported() {
        let mut story = Story::begun();
        story.fault("kill-worker", "refund-1", None, 0);
        story.wait(1_000);
        story.working("triage", "triage-2");
        story.redispatched();
        story.aborted(false);
        story.by("triage", "triage-3", vec![responded("t1", &[]), asked()]);
        breaks(&story, &["I18"]);
    }

    #[test]
    fn a_takeover_from_the_living_is_reported() {
        breaks(&asked_twice(|story| story.taken("triage", "triage-2")), &["I18"]);
    }

    #[test]
    fn a_second_call_for_nothing_is_reported() {
        breaks(&asked_twice(|_| ()), &["I18"]);
    }

    #[test]
    fn only_what_can_have_cost_a_call_excuses_it() {
        let struck = |fault: &'static str, label: &'static str| asked_twice(move |story| story.fault(fault, "somebody", Some(label), 0));
        for fault in ["nothing", "slow-model", "kill-coordinator", "collector-slow", "kill-gateway"] {
            breaks(&struck(fault, "c1"), &["I18"]);
        }
        holds(&struck("model-500", "c1"));
        breaks(&struck("model-500", "c2"), &["I18"]);
    }

    #[test]
    fn only_what_holds_up_deliveries_has_an_aftermath() {
        for (fault, broken) in [("kill-broker", &[][..]), ("freeze-worker-3s", &[]), ("kill-worker", &["I18"])] {
            let mut story = Story::begun();
            story.fault(fault, "somebody", None, 0);
            story.wait(3_000);
            story.working("triage", "triage-1");
            story.aborted(false);
            story.by("triage", "triage-1", vec![responded("t1", &[]), asked()]);
            breaks(&story, broken);
        }
    }

    #[test]
    fn a_takeover_without_a_fault_is_reported() {
        breaks(
            &asked_twice(|story| {
                story.fault("slow-model", "model", Some("c1"), 0);
                story.redispatched();
            }),
            &["I18"],
        );
    }

    #[test]
    fn a_fault_long_over_excuses_nothing() {
        for (after_settled_ms, broken) in [(10_000, &["I18"][..]), (3_000, &[])] {
            let mut story = Story::begun();
            story.fault("kill-cluster", "every node", None, 0);
            // The servers elect their leaders.
            story.wait(7_000);
            story.settle();
            story.wait(after_settled_ms);
            story.working("triage", "triage-1");
            story.aborted(false);
            story.by("triage", "triage-1", vec![responded("t1", &[]), asked()]);
            breaks(&story, broken);
        }
    }
}
