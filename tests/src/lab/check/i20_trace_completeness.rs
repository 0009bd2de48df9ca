//! I20: every committed entry's trace exists; no orphan spans without faults.

use std::collections::{BTreeMap, BTreeSet};

use protocol::wire::header;

use super::Violation;
use super::view::View;
use crate::lab::record::Seen;

/// How long exporters may keep spans.
const EXPORT_US: u64 = 15_000_000;
/// How long they keep them here, where they are told to export five times a second.
const KEPT_US: u64 = 5_000_000;
/// How long after the collector is back exporters may still give up what they had begun to send while it was away.
const GIVEN_UP_US: u64 = 10_000_000;

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let mut traces: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for record in view.records {
        if let Seen::Span { trace, span, .. } = &record.seen {
            traces.entry(trace).or_default().insert(span);
        }
    }
    // Without any span nobody has been listening.
    if traces.is_empty() {
        return Vec::new();
    }
    let mut violations = missing(view, &traces);
    if view.faults.is_empty() {
        violations.extend(orphans(view, &traces));
    }
    violations
}

fn missing(view: &View<'_>, traces: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<Violation> {
    let lines = view.conversations().flat_map(|conversation| view.lines(conversation));
    let judged = lines.filter_map(|line| {
        let parent = line.header(header::TRACEPARENT);
        let mut parts = parent.split('-').skip(1);
        let (trace, _, flags) = (parts.next()?, parts.next()?, parts.next()?);
        let is_sampled = flags.ends_with(['1', '3', '5', '7', '9', 'b', 'd', 'f']);
        let is_exported = view.stored_us(line).saturating_add(EXPORT_US) < view.end_us;
        let what = format!("entry {} is of trace {trace}, of which no span was exported", line.ordinal());
        let is_lost = is_sampled && is_exported && !traces.contains_key(trace) && !is_unheard(view, view.stored_us(line));
        is_lost.then(|| Violation::of("I20", Some(line.subject.conversation.as_str()), view.stored_us(line), [line.record], what))
    });
    judged.collect()
}

/// Whether what happened at this time was told to a collector that was away: that is lost, on purpose. A slow one loses nothing.
fn is_unheard(view: &View<'_>, at_us: u64) -> bool {
    let away = view.faults.iter().filter(|fault| fault.name.starts_with("collector-away"));
    away.into_iter().any(|fault| fault.touches(at_us.saturating_sub(GIVEN_UP_US), at_us.saturating_add(KEPT_US)))
}

fn orphans(view: &View<'_>, traces: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<Violation> {
    let judged = (0..).zip(view.records).filter_map(|(place, record)| match &record.seen {
        Seen::Span { trace, span, parent, name, .. } if !parent.is_empty() && record.at_us.saturating_add(EXPORT_US) < view.end_us => {
            let is_orphan = !traces.get(trace.as_str()).is_some_and(|spans| spans.contains(parent.as_str()));
            let what = format!("span {span} ({name}) of trace {trace} has a parent, {parent}, that was never exported");
            is_orphan.then(|| Violation::of("I20", None, record.at_us, [place], what))
        }
        _ => None,
    });
    judged.collect()
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, breaks, holds};
    use crate::lab::record::{Record, Seen};

    #[test]
    fn where_nobody_listens_nothing_is_missing() {
        let mut records = Story::told().records();
        records.retain(|record| !matches!(record.seen, Seen::Span { .. }));
        holds(&records);
    }

    #[test]
    fn a_trace_that_does_not_exist_is_reported() {
        breaks(&lost(Story::told()), &["I20"]);
    }

    /// A conversation of whose trace no span was exported.
    fn lost(mut story: Story) -> Vec<Record> {
        story.wait(20_000);
        let (mut records, lost) = (story.records(), story.trace("c1"));
        for record in &mut records {
            if let Seen::Span { trace, .. } = &mut record.seen
                && *trace == lost
            {
                "77".clone_into(trace);
            }
        }
        records
    }

    #[test]
    fn what_is_told_to_a_collector_that_is_away_may_be_lost_and_nothing_else() {
        for (fault, at_ms, broken) in [
            ("collector-away", 1_000, &[][..]),
            ("collector-away", 9_000, &["I20"]),
            ("collector-slow", 1_000, &["I20"]),
            ("kill-worker", 1_000, &["I20"]),
        ] {
            let mut story = Story::told();
            story.wait(at_ms);
            story.fault(fault, "collector", None, 10_000);
            breaks(&lost(story), broken);
        }
        let mut after = Story::new();
        after.fault("collector-away", "collector", None, 10_000);
        after.wait(11_000);
        after.opened("c1", "m1");
        breaks(&lost(after), &["I20"]);
    }

    #[test]
    fn an_orphan_is_reported() {
        let mut story = Story::told();
        let trace = story.trace("c1");
        let orphan = Seen::Span { trace, span: "99".to_owned(), parent: "98".to_owned(), name: "chat".to_owned(), attributes: Vec::new() };
        story.see(orphan);
        story.wait(20_000);
        breaks(&story, &["I20"]);
        story.fault("kill-worker", "w", None, 0);
        holds(&story);
    }
}
