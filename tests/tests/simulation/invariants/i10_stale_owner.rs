//! I10, a stale owner cannot act: 0 effects with an epoch below the highest one seen, for tools that check the epoch they are given.
//! So that epoch must have begun, and a call is run by whoever stored its intent, or in a later epoch.
//!
//! Of an intent that was inherited, calls that may be repeated run before anything of one's own is stored: where a lost consumer
//! delivers the item of such an epoch twice as if for the first time, two may run them at once, under one key.

use std::collections::{BTreeMap, BTreeSet};

use protocol::event::{Effect, Event};
use protocol::ids::{ConversationId, ProcessId, Seq};

use crate::record::Seen;
use crate::told::Evidence;

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let mut begun: BTreeSet<(&ConversationId, Seq)> = BTreeSet::new();
    for told in evidence.told.values() {
        let epochs = told.heads.iter().filter(|(_, head)| head.begins_epoch());
        begun.extend(epochs.map(|(stored, _)| (&told.id, stored.seq)));
    }
    let mut intents: BTreeMap<&str, (Seq, &ProcessId)> = BTreeMap::new();
    for (entry, event) in evidence.events() {
        let Event::Intended(intended) = event else { continue };
        for call in &intended.calls {
            intents.entry(&call.key).or_insert((entry.head.epoch, &entry.head.process));
        }
    }
    let mut newest: BTreeMap<&ConversationId, Seq> = BTreeMap::new();
    for record in &evidence.recording.records {
        let Seen::Called { whose, tool, key, is_effect, .. } = &record.seen else { continue };
        if evidence.recording.definition.effect(tool) == Effect::ReadOnly {
            continue;
        }
        let called = || format!("{} called {tool} in epoch {} of {}", whose.process, whose.epoch, whose.conversation);
        if !begun.contains(&(&whose.conversation, whose.epoch)) || whose.epoch > record.seq {
            return Err(format!("{}, which had not begun", called()));
        }
        if let Some((epoch, process)) = intents.get(key.as_str())
            && (whose.epoch < *epoch || (whose.epoch == *epoch && whose.process != **process))
        {
            return Err(format!("{}, and {process} intended it in {epoch}", called()));
        }
        let newest = newest.entry(&whose.conversation).or_default();
        if *is_effect && whose.epoch < *newest {
            return Err(format!("{}, with effect, after {newest}", called()));
        }
        *newest = whose.epoch.max(*newest);
    }
    Ok(())
}
