//! I7, turn never lost or doubled: one committed outcome per turn; each model token occurs in at most one committed turn; none that
//! the model never sent.

use std::collections::{BTreeMap, BTreeSet};

use protocol::conversation::Conversation;
use protocol::event::Event;
use protocol::subject::Class;

use crate::record::Seen;
use crate::told::{Evidence, mark};

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let answered = |seen: &Seen| if let Seen::Answered { token } = seen { Some(*token) } else { None };
    let sent: BTreeSet<u64> = evidence.recording.records.iter().filter_map(|record| answered(&record.seen)).collect();
    let mut committed: BTreeMap<u64, String> = BTreeMap::new();
    for (entry, event) in evidence.events() {
        let text = match event {
            Event::Responded(response) => Some(&response.text),
            Event::Transferred(transfer) => transfer.summary.as_ref(),
            _ => None,
        };
        let Some(token) = text.and_then(|text| mark('t', text)) else { continue };
        if !sent.contains(&token) {
            return Err(format!("{}: the model never said t:{token}", entry.head.subject));
        }
        if let Some(before) = committed.insert(token, entry.head.subject.to_string()) {
            return Err(format!("t:{token} is in {before} and in {}", entry.head.subject));
        }
    }
    evidence.conversations().try_for_each(one_outcome)
}

fn one_outcome(conversation: &Conversation) -> Result<(), String> {
    let mut outcome = None;
    for entry in conversation.entries() {
        let by_owner = entry.head.subject.from.agent().is_some();
        let is_outcome = by_owner && !matches!(entry.head.subject.class, Class::Note | Class::In);
        if is_outcome && let Some(before) = outcome.replace(entry.ordinal()) {
            return Err(format!("{}: the turn had its outcome in entry {before}", entry.head.subject));
        }
        // What it caused, or what people and the coordinator wrote, begins another turn.
        if matches!(entry.head.subject.class, Class::To { .. }) {
            outcome = None;
        }
    }
    Ok(())
}
