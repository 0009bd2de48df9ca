//! I20: every committed entry's trace exists; no orphan spans without faults.

use std::collections::{BTreeMap, BTreeSet};

use protocol::wire::header;

use super::Violation;
use super::view::View;
use crate::lab::record::Seen;

/// How long exporters may keep spans.
const EXPORT_US: u64 = 15_000_000;

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let mut traces: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for record in view.records {
        if let Seen::Span { trace, span, .. } = &record.seen {
            traces.entry(trace).or_default().insert(span);
        }
    }
    // Without any span nobody has been listening; and what is exported while the collector is away is lost, on purpose.
    if traces.is_empty() || view.faults.iter().any(|fault| fault.name.starts_with("collector")) {
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
        let is_lost = is_sampled && is_exported && !traces.contains_key(trace);
        is_lost.then(|| Violation::of("I20", Some(line.subject.conversation.as_str()), view.stored_us(line), [line.record], what))
    });
    judged.collect()
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
    use crate::lab::record::Seen;

    #[test]
    fn where_nobody_listens_nothing_is_missing() {
        let mut records = Story::told().records();
        records.retain(|record| !matches!(record.seen, Seen::Span { .. }));
        holds(&records);
    }

    #[test]
    fn a_trace_that_does_not_exist_is_reported() {
        let mut story = Story::told();
        story.wait(20_000);
        let (mut records, lost) = (story.records(), story.trace("c1"));
        records.retain(|record| !matches!(&record.seen, Seen::Span { trace, .. } if *trace == lost));
        records.push(records.iter().find(|record| matches!(record.seen, Seen::Clock { .. })).unwrap().clone());
        let other = Seen::Span {
            trace: "77".to_owned(),
            span: "1".to_owned(),
            parent: String::new(),
            name: "x".to_owned(),
            attributes: Vec::new(),
        };
        records.last_mut().unwrap().seen = other;
        breaks(&records, &["I20"]);
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
