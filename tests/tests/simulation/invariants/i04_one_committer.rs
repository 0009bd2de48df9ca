//! I4, one committer per epoch: the owner's entries of one (conversation, epoch) carry one writer; epochs (last `to` or *taken*
//! entry) never decrease; nothing of an older epoch after a newer one begins.

use std::collections::BTreeMap;

use protocol::event::{Event, failure};
use protocol::ids::{ProcessId, Seq};

use crate::told::{Evidence, Told};

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    evidence.told.values().try_for_each(of)
}

fn of(told: &Told<'_>) -> Result<(), String> {
    let mut epoch = Seq(0);
    let mut writers: BTreeMap<Seq, &ProcessId> = BTreeMap::new();
    for (stored, head) in &told.heads {
        if head.epoch != epoch {
            return Err(format!("{} was written in epoch {}, but {epoch} has begun", stored.subject, head.epoch));
        }
        let acts_in = if head.kind == "taken" { stored.seq } else { epoch };
        // Whoever finds that a turn has been tried too often ends it without having begun it.
        if head.subject.from.agent().is_some() && !is_poison(told, stored.seq) {
            let writer = writers.entry(acts_in).or_insert(&head.process);
            if **writer != head.process {
                return Err(format!("{} was written by {} in epoch {acts_in} of {writer}", stored.subject, head.process));
            }
        }
        epoch = head.epoch_after(stored.seq);
    }
    Ok(())
}

fn is_poison(told: &Told<'_>, seq: Seq) -> bool {
    let entry = told.folded.iter().flat_map(|conversation| conversation.entries()).find(|entry| entry.seq == seq);
    entry.is_some_and(|entry| matches!(entry.events.as_slice(), [Event::Failed(failed)] if failed.code == failure::POISON))
}
