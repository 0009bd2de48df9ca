//! I13/I14, cancel and completion are final: nothing is committed after; no tool call begun > 1 s later. A worker that hangs meanwhile
//! cannot know; so the second half is about stories without a fault, and about calls with effects: a work item that waits for a worker
//! for less than the ack wait is begun without a look at the journal, and only its intent is fenced.

use protocol::event::Effect;
use protocol::ids::ConversationId;

use crate::record::Seen;
use crate::told::Evidence;

/// How late a notice may be.
const LATE_MS: u64 = 1_000;

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    for told in evidence.told.values() {
        let Some(end) = told.heads.iter().position(|(_, head)| head.brief.phase.is_ended()) else { continue };
        if let Some((stored, _)) = told.heads.get(end + 1) {
            return Err(format!("{} was written after the end", stored.subject));
        }
        if evidence.recording.is_calm {
            no_work_after(evidence, &told.id, told.heads[end].0.time_ms)?;
        }
    }
    Ok(())
}

fn no_work_after(evidence: &Evidence<'_>, conversation: &ConversationId, end_ms: u64) -> Result<(), String> {
    let late = evidence.recording.records.iter().filter(|record| record.at_ms > end_ms + LATE_MS);
    for record in late {
        if let Seen::Called { whose, tool, .. } = &record.seen
            && whose.conversation == *conversation
            && evidence.recording.definition.effect(tool) != Effect::ReadOnly
        {
            return Err(format!("{} calls {tool} for {conversation}, {} ms after its end", whose.process, record.at_ms - end_ms));
        }
    }
    Ok(())
}
