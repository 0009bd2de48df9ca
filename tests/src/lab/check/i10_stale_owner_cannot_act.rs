//! I10: 0 effects with an epoch below the highest one seen, for tools that check the epoch they are given. The tool server refuses what
//! is stale by itself; so whoever calls it after somebody else has begun, and could have heard of that, is reported, effect or not.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::view::{ToolCall, View};

/// How long a worker may take to hear that somebody else has begun.
const TOLD_US: u64 = 1_000_000;

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let epochs: BTreeMap<&str, BTreeSet<u64>> = view
        .conversations()
        .map(|conversation| (conversation, view.lines(conversation).filter(|line| line.begins_epoch()).map(|line| line.seq).collect()))
        .collect();
    let mut highest: BTreeMap<&str, &ToolCall<'_>> = BTreeMap::new();
    let mut violations = Vec::new();
    for call in &view.calls {
        let ToolCall { tool, epoch, conversation, .. } = call;
        let before =
            *highest.entry(conversation).and_modify(|known| *known = if known.epoch < *epoch { call } else { known }).or_insert(call);
        if call.is_effect && before.epoch > *epoch {
            let what = format!("{tool} took effect for epoch {epoch} after it had seen epoch {}", before.epoch);
            violations.push(Violation::of("I10", Some(conversation), call.at_us, [before.record, call.record], what));
        }
        let successor = view.lines(conversation).find(|line| line.begins_epoch() && line.seq > *epoch);
        if let Some((line, begun_us)) = successor.map(|line| (line, view.stored_us(line)))
            && call.at_us > begun_us + TOLD_US
            && !view.is_deafened(begun_us, call.at_us)
        {
            let late_ms = (call.at_us - begun_us) / 1000;
            let what = format!("{tool} was called in epoch {epoch}, {late_ms} ms after epoch {} had begun", line.seq);
            violations.push(Violation::of("I10", Some(conversation), call.at_us, [line.record, call.record], what));
        }
        let is_known = epochs.get(conversation).is_none_or(|epochs| epochs.contains(epoch));
        if !is_known && !view.is_erased(conversation) {
            let what = format!("{tool} was called in epoch {epoch}, which never began");
            violations.push(Violation::of("I10", Some(conversation), call.at_us, [call.record], what));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, breaks, holds, intended, responded};

    fn taken_over() -> Story {
        let mut story = Story::begun();
        story.by("triage", "triage-1", vec![responded("t1", &["pay"]), intended("k1")]);
        story.taken("triage", "triage-2");
        story.called("pay", "k1", "c1");
        story
    }

    #[test]
    fn a_stale_call_without_an_effect_is_what_the_epoch_is_for() {
        let mut story = taken_over();
        story.called_in("pay", "k1", "c1", 1, false);
        holds(&story);
    }

    #[test]
    fn who_could_have_heard_that_it_is_stale_and_calls_all_the_same_is_reported() {
        for (fault, broken) in [(None, &["I10"][..]), (Some("kill-worker"), &["I10"]), (Some("freeze-worker-3s"), &[])] {
            let mut story = taken_over();
            if let Some(fault) = fault {
                story.fault(fault, "triage-1", None, 0);
            }
            story.wait(1_500);
            story.called_in("pay", "k1", "c1", 1, false);
            breaks(&story, broken);
        }
    }

    #[test]
    fn an_effect_of_an_older_epoch_is_reported() {
        let mut story = taken_over();
        story.called_in("pay", "k1", "c1", 1, true);
        breaks(&story, &["I10"]);
    }

    #[test]
    fn an_epoch_that_never_began_is_reported() {
        let mut story = taken_over();
        story.called_in("pay", "k1", "c1", 999, true);
        breaks(&story, &["I10"]);
    }
}
