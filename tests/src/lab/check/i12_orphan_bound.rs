//! I12: from the dead owner's last sign of life to the redispatch or *taken* entry ≤ the figure that is promised for the fault.

use super::Violation;
use super::figures::{orphan_bound_ms, recoveries};
use super::view::View;

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let judged = recoveries(view).into_iter().filter_map(|recovery| {
        let bound_ms = orphan_bound_ms(&recovery.fault)?;
        let took_ms = recovery.took_us / 1000;
        if took_ms <= bound_ms || !recovery.is_taken_over {
            return None;
        }
        let what = format!(
            "{} of {} left its work to nobody for {took_ms} ms; at most {bound_ms} ms are promised",
            recovery.fault, recovery.target
        );
        Some(Violation::of("I12", Some(&recovery.conversation), recovery.at_us, recovery.evidence, what))
    });
    judged.collect()
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, breaks, holds};

    fn killed(wait_ms: u64) -> Story {
        let mut story = Story::begun();
        story.working("triage", "triage-1");
        story.fault("kill-worker", "triage-1", Some("c1"), 0);
        story.wait(wait_ms);
        story
    }

    #[test]
    fn work_that_is_taken_over_in_time_is_well() {
        let mut story = killed(800);
        story.redispatched();
        holds(&story);
    }

    #[test]
    fn a_turn_that_the_fault_did_not_touch_may_take_its_time() {
        let mut story = killed(9_000);
        story.outcome("triage", "triage-1");
        holds(&story);
    }

    #[test]
    fn work_that_is_redispatched_late_is_reported() {
        let mut story = killed(6_000);
        story.redispatched();
        breaks(&story, &["I12"]);
    }

    #[test]
    fn work_that_is_taken_over_late_is_reported() {
        let mut story = killed(6_000);
        story.taken("triage", "triage-2");
        breaks(&story, &["I12"]);
    }
}
