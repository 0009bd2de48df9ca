//! I9, no ghost effects: every call's idempotency key has a committed intent that precedes the call.

use std::collections::BTreeMap;

use protocol::event::{Effect, Event};
use protocol::ids::Seq;

use crate::record::Seen;
use crate::told::Evidence;

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let mut intents: BTreeMap<&str, Seq> = BTreeMap::new();
    for (entry, event) in evidence.events() {
        let Event::Intended(intended) = event else { continue };
        for call in &intended.calls {
            intents.entry(&call.key).or_insert(entry.seq);
        }
    }
    for record in &evidence.recording.records {
        let Seen::Called { whose, tool, key, .. } = &record.seen else { continue };
        let is_preceded = intents.get(key.as_str()).is_some_and(|intent| *intent <= record.seq);
        if evidence.recording.definition.effect(tool) != Effect::ReadOnly && !is_preceded {
            return Err(format!("{} called {tool} in {} under {key}, which nobody intended", whose.process, whose.conversation));
        }
    }
    Ok(())
}
