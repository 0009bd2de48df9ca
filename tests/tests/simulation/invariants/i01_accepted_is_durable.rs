//! I1, accepted is durable: each message answered 2xx appears exactly once in the final journal; unknown outcome: 0 or 1;
//! refused: 0.

use std::collections::BTreeMap;

use crate::record::{How, Seen};
use crate::told::{Evidence, mark, said};

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let mut stored: BTreeMap<u64, u32> = BTreeMap::new();
    for wish in evidence.events().filter_map(|(_, event)| mark('m', said(event)?)) {
        *stored.entry(wish).or_default() += 1;
    }
    let mut told: BTreeMap<u64, Vec<How>> = BTreeMap::new();
    for record in &evidence.recording.records {
        match record.seen {
            Seen::Wished { wish } => _ = told.entry(wish).or_default(),
            Seen::Told { wish, how } => told.entry(wish).or_default().push(how),
            _ => {}
        }
    }
    for (wish, hows) in &told {
        let count = stored.remove(wish).unwrap_or(0);
        let fits = match (hows.contains(&How::Accepted), hows.contains(&How::Refused)) {
            (true, false) => count == 1,
            // Refused is what the last word says; an attempt before it may be unknown, and have been refused for that.
            (false, true) => count == 0 || hows.contains(&How::Unknown),
            (true, true) => return Err(format!("m:{wish} was accepted and refused: {hows:?}")),
            (false, false) => count <= 1,
        };
        if !fits {
            return Err(format!("m:{wish} was told {hows:?} and is stored {count} times"));
        }
    }
    if stored.is_empty() { Ok(()) } else { Err(format!("nobody said {stored:?}")) }
}
