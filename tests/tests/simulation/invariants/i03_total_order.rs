//! I3, total order: per conversation, ordinals are contiguous; every observer and every replica agrees on content.

use crate::told::{Evidence, Told};

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    evidence.told.values().try_for_each(of)
}

fn of(told: &Told<'_>) -> Result<(), String> {
    for (n, (stored, head)) in (0..).zip(&told.heads) {
        if head.subject.ordinal != n {
            return Err(format!("{} is entry {n} of {}", stored.subject, told.id));
        }
    }
    let conversation = told.folded.as_ref().map_err(|problem| format!("{} cannot be read: {problem}", told.id))?;
    // What the last entry carries is what was stored.
    for (entry, (stored, _)) in conversation.entries().iter().zip(&told.heads) {
        if entry.seq != stored.seq || entry.head.subject.to_string() != stored.subject || entry.headers != stored.headers {
            return Err(format!("{} is carried as another entry", stored.subject));
        }
    }
    conversation.verify().map_err(|problem| format!("{} is not a legal conversation: {problem:?}", told.id))
}
