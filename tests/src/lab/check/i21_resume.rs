//! I21: a client reconnecting with Last-Event-ID n to any gateway gets n+1.. with no gap or repeat.

use std::collections::BTreeSet;

use protocol::ids::EventId;

use super::Violation;
use super::view::{Line, Stream, View};

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    view.streams.iter().flat_map(|stream| [repeat(view, stream), gap(view, stream)]).flatten().collect()
}

fn repeat(view: &View<'_>, stream: &Stream<'_>) -> Option<Violation> {
    let after = stream.after?;
    let (place, id, ..) = stream.received.iter().find(|(_, id, ..)| *id <= after)?;
    let what = format!("{} came back after event {after} and was shown event {id} again", stream.client);
    Some(of(view, stream, *place, what))
}

/// Between where the stream was to begin and the last event it showed, nothing is missing.
fn gap(view: &View<'_>, stream: &Stream<'_>) -> Option<Violation> {
    if view.is_partly_unknown(stream.conversation) {
        return None;
    }
    let shown: BTreeSet<EventId> = stream.received.iter().map(|(_, id, ..)| *id).collect();
    let last = shown.last()?;
    let stored = view.lines(stream.conversation).flat_map(Line::numbered).map(|(id, _)| id);
    let missing = stored.filter(|id| id < last && stream.after.is_none_or(|after| *id > after)).find(|id| !shown.contains(id))?;
    let (place, next, ..) = stream.received.iter().find(|(_, id, ..)| *id > missing)?;
    let what = format!("{} was shown event {next} and never event {missing} before it", stream.client);
    Some(of(view, stream, *place, what))
}

fn of(view: &View<'_>, stream: &Stream<'_>, place: usize, what: String) -> Violation {
    let at_us = view.records.get(place).map_or(0, |record| record.at_us);
    Violation::of("I21", Some(stream.conversation), at_us, [stream.record, place], what)
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, breaks, holds};
    use crate::lab::record::{Record, Seen};

    /// The told story, in which ann comes back after the third event she was shown, through another gateway.
    fn resumed(after: usize) -> Vec<Record> {
        let story = Story::told();
        let mut records = story.records();
        let shown: Vec<usize> =
            (0..records.len()).filter(|place| matches!(&records[*place].seen, Seen::Received { id: Some(_), .. })).collect();
        let Seen::Received { id, .. } = &records[shown[after]].seen else { unreachable!() };
        let (client, conversation, gateway) = ("ann".to_owned(), story.id("c1"), "gateway-2".to_owned());
        let back = Seen::Watching { client, conversation, gateway, after: id.clone() };
        let record = Record { at_us: records[shown[3]].at_us, seen: back };
        records.insert(shown[3], record);
        records
    }

    #[test]
    fn who_comes_back_goes_on() {
        holds(&resumed(2));
    }

    #[test]
    fn a_gap_is_reported() {
        breaks(&resumed(1), &["I21"]);
    }

    #[test]
    fn a_repeat_is_reported() {
        breaks(&resumed(3), &["I21"]);
    }

    #[test]
    fn a_lost_event_is_reported() {
        let mut records = Story::told().records();
        let shown: Vec<usize> =
            (0..records.len()).filter(|place| matches!(&records[*place].seen, Seen::Received { id: Some(_), .. })).collect();
        records.remove(shown[2]);
        breaks(&records, &["I21"]);
    }
}
