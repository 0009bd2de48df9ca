//! I3: per conversation: ordinals contiguous; every observer and every replica agrees on content; each client sees them in order.

use std::collections::{BTreeMap, BTreeSet};

use protocol::ids::EventId;
use protocol::wire::header;

use super::Violation;
use super::view::{Line, Stream, View};

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let mut violations = replicas(view);
    violations.extend(view.conversations().flat_map(|conversation| order(view, conversation)));
    violations.extend(view.streams.iter().filter_map(|stream| stream_order(view, stream)));
    violations.extend(view.streams.iter().flat_map(|stream| stream_content(view, stream)));
    violations
}

fn of(view: &View<'_>, line: &Line<'_>, evidence: impl Into<Vec<usize>>, what: String) -> Violation {
    Violation::of("I3", Some(line.subject.conversation.as_str()), view.stored_us(line), evidence, what)
}

/// Every replica holds the same under the same sequence, and all of it as far as it goes.
fn replicas(view: &View<'_>) -> Vec<Violation> {
    let mut by_seq: BTreeMap<u64, Vec<&Line<'_>>> = BTreeMap::new();
    let mut reach: BTreeMap<&str, u64> = BTreeMap::new();
    for line in &view.copies {
        by_seq.entry(line.seq).or_default().push(line);
        let reached = reach.entry(line.replica).or_default();
        *reached = line.seq.max(*reached);
    }
    let mut violations = Vec::new();
    for (seq, copies) in &by_seq {
        let [first, others @ ..] = copies.as_slice() else { continue };
        let differs = |line: &&&Line<'_>| (&line.subject, &line.headers, line.payload) != (&first.subject, &first.headers, first.payload);
        if let Some(other) = others.iter().find(differs) {
            let what = format!("replicas {} and {} hold different entries as message {seq}", first.replica, other.replica);
            violations.push(of(view, first, [first.record, other.record], what));
        }
        let holders: BTreeSet<&str> = copies.iter().map(|line| line.replica).collect();
        // A replica that has been purged holds no more than those that will be.
        let erased = view.is_erased(first.subject.conversation.as_str());
        if let Some((lacking, _)) = reach.iter().find(|(replica, reached)| !erased && **reached > *seq && !holders.contains(*replica)) {
            let what = format!("replica {lacking} lacks entry {}, message {seq}, which {} holds", first.ordinal(), first.replica);
            violations.push(of(view, first, [first.record], what));
        }
    }
    violations
}

/// Ordinals follow one another as sequences do, and each entry names the one before it. Bytes that no version writes have none: the
/// failure behind them takes the ordinal that belongs there, and names the entry before them.
fn order(view: &View<'_>, conversation: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut before: Option<&Line<'_>> = None;
    for line in view.lines(conversation) {
        let expected = before.map_or(0, |before| before.ordinal() + 1);
        let begins_late = before.is_none() && view.is_erased(conversation);
        if line.ordinal() != expected && !begins_late {
            let what = format!("entry {} stands where entry {expected} belongs", line.ordinal());
            violations.push(of(view, line, before.map(|before| before.record).into_iter().chain([line.record]).collect::<Vec<_>>(), what));
        } else if let Some(Ok(previous)) = before.map(|before| before.entry.as_ref())
            && line.header(header::PREVIOUS) != previous.hash.to_string()
        {
            let what = format!("entry {} does not name entry {} as the one before it", line.ordinal(), previous.ordinal());
            violations.push(of(view, line, [line.record], what));
        }
        before = Some(line);
    }
    violations
}

/// Nobody is shown an event after a later one, nor twice.
fn stream_order(view: &View<'_>, stream: &Stream<'_>) -> Option<Violation> {
    // What they had before is I21's matter.
    let fresh: Vec<_> = stream.received.iter().filter(|(_, id, ..)| stream.after.is_none_or(|after| *id > after)).collect();
    let [(earlier, before, ..), (later, id, ..)] = fresh.array_windows().find(|[(_, before, ..), (_, id, ..)]| id <= before)?;
    let what = format!("{} was shown event {id} after {before}", stream.client);
    let at_us = view.records.get(*later).map_or(0, |record| record.at_us);
    Some(Violation::of("I3", Some(stream.conversation), at_us, [*earlier, *later], what))
}

/// What is shown is what is stored.
fn stream_content(view: &View<'_>, stream: &Stream<'_>) -> Vec<Violation> {
    if view.is_partly_unknown(stream.conversation) && view.lines(stream.conversation).next().is_some() {
        return Vec::new();
    }
    let stored: BTreeMap<EventId, _> = view.lines(stream.conversation).flat_map(Line::numbered).collect();
    let judged = stream.received.iter().filter_map(|(place, id, kind, data)| {
        let what = match stored.get(id) {
            None => format!("{} was shown event {id}, which is not stored", stream.client),
            Some(event) if event.kind() != *kind => format!("{} was shown event {id} as {kind}, but it is {}", stream.client, event.kind()),
            Some(event) if data.get("data").is_some_and(|data| *data != event.to_json()) => {
                format!("{} was shown something else as event {id} than is stored", stream.client)
            }
            Some(_) => return None,
        };
        Some(Violation::of("I3", Some(stream.conversation), view.records.get(*place).map_or(0, |record| record.at_us), [*place], what))
    });
    judged.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::lab::check::story::{Story, breaks, holds};
    use crate::lab::record::Seen;

    #[test]
    fn a_replica_may_lag() {
        let mut records = Story::told().records();
        let last = records.iter().rposition(|record| matches!(&record.seen, Seen::Entry { replica, .. } if replica == "n2")).unwrap();
        records.remove(last);
        holds(&records);
    }

    #[test]
    fn an_entry_that_a_replica_lost_is_reported() {
        let mut records = Story::told().records();
        let first = records.iter().position(|record| matches!(&record.seen, Seen::Entry { replica, .. } if replica == "n2")).unwrap();
        records.remove(first);
        breaks(&records, &["I3"]);
    }

    #[test]
    fn replicas_that_differ_are_reported() {
        let mut records = Story::told().records();
        for record in &mut records {
            if let Seen::Entry { replica, seq: 2, headers, .. } = &mut record.seen
                && replica == "n2"
            {
                headers.push(("X-Other".to_owned(), "1".to_owned()));
            }
        }
        breaks(&records, &["I3"]);
    }

    #[test]
    fn two_entries_at_one_place_are_reported() {
        let mut story = Story::begun();
        story.twin();
        breaks(&story, &["I3"]);
    }

    #[test]
    fn an_event_shown_out_of_order_is_reported() {
        let mut records = Story::told().records();
        let received: Vec<usize> =
            (0..records.len()).filter(|place| matches!(&records[*place].seen, Seen::Received { id: Some(_), .. })).collect();
        let (one, other) = (received[1], received[2]);
        let seen = records[one].seen.clone();
        records[one].seen = std::mem::replace(&mut records[other].seen, seen);
        breaks(&records, &["I3"]);
    }

    #[test]
    fn an_event_shown_twice_is_reported() {
        let mut records = Story::told().records();
        let shown = records.iter().position(|record| matches!(&record.seen, Seen::Received { id: Some(_), .. })).unwrap();
        records.insert(shown, records[shown].clone());
        breaks(&records, &["I3"]);
    }

    #[test]
    fn an_event_that_shows_something_else_is_reported() {
        let mut records = Story::told().records();
        let shown = records.iter_mut().find(|record| matches!(&record.seen, Seen::Received { id: Some(_), .. })).unwrap();
        if let Seen::Received { data, .. } = &mut shown.seen {
            *data = json!({ "data": { "text": "forged" } });
        }
        breaks(&records, &["I3"]);
    }
}
