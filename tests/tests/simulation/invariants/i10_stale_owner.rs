//! I10, a stale owner cannot act: 0 effects with an epoch below the highest one seen, for tools that check the epoch they are given.
//! So the epoch that a tool is given must be one that its caller owns: it has begun, and all calls in it are one process's.

use std::collections::{BTreeMap, BTreeSet};

use protocol::event::Effect;
use protocol::ids::{ConversationId, ProcessId, Seq};

use crate::record::Seen;
use crate::told::Evidence;

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let mut begun: BTreeSet<(&ConversationId, Seq)> = BTreeSet::new();
    let mut owners: BTreeMap<(&ConversationId, Seq), &ProcessId> = BTreeMap::new();
    for told in evidence.told.values() {
        for (stored, head) in &told.heads {
            let acts_in = if head.kind == "taken" { stored.seq } else { head.epoch };
            begun.extend(head.begins_epoch().then_some((&told.id, stored.seq)));
            if head.subject.from.agent().is_some() {
                owners.entry((&told.id, acts_in)).or_insert(&head.process);
            }
        }
    }
    let mut newest: BTreeMap<&ConversationId, Seq> = BTreeMap::new();
    for record in &evidence.recording.records {
        let Seen::Called { whose, tool, is_effect, .. } = &record.seen else { continue };
        if evidence.recording.definition.effect(tool) == Effect::ReadOnly {
            continue;
        }
        let called = || format!("{} called {tool} in epoch {} of {}", whose.process, whose.epoch, whose.conversation);
        let epoch = (&whose.conversation, whose.epoch);
        if !begun.contains(&epoch) || whose.epoch > record.seq {
            return Err(format!("{}, which had not begun", called()));
        }
        let owner = owners.entry(epoch).or_insert(&whose.process);
        if **owner != whose.process {
            return Err(format!("{}, which is {owner}'s", called()));
        }
        let newest = newest.entry(&whose.conversation).or_default();
        if *is_effect && whose.epoch < *newest {
            return Err(format!("{}, with effect, after {newest}", called()));
        }
        *newest = whose.epoch.max(*newest);
    }
    Ok(())
}
