//! I13/I14, cancel and completion are final: nothing is committed after; model stream aborted ≤ 2 s; no tool call begun > 1 s later. A
//! worker that hangs meanwhile cannot know; so the second half is about stories without a fault, and about calls with effects: a work
//! item that waits for a worker for less than the ack wait is begun without a look at the journal, and only its intent is fenced.

use std::collections::BTreeMap;

use journal::memory::Fault;
use protocol::event::Effect;
use protocol::ids::ConversationId;
use protocol::wire::Stored;

use crate::record::Seen;
use crate::told::Evidence;

/// How late a notice may be.
const LATE_MS: u64 = 1_000;
/// How long a model that was asked before may go on.
const ABORTED_MS: u64 = 2_000;

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    for told in evidence.told.values() {
        let Some(end) = told.heads.iter().position(|(_, head)| head.brief.phase.is_ended()) else { continue };
        if let Some((stored, _)) = told.heads.get(end + 1) {
            return Err(format!("{} was written after the end", stored.subject));
        }
        if evidence.recording.is_calm {
            no_work_after(evidence, &told.id, told.heads[end].0.time_ms)?;
            // Whoever ends a conversation and hears late that it is over, says so late.
            if !evidence.recording.faults.contains_key(&Fault::AcknowledgementLate) {
                no_answer_after(evidence, &told.id, told.heads[end].0)?;
            }
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

fn no_answer_after(evidence: &Evidence<'_>, conversation: &ConversationId, end: &Stored) -> Result<(), String> {
    let mut asked = BTreeMap::new();
    for record in &evidence.recording.records {
        match &record.seen {
            Seen::Asked { whose, token, .. } if whose.conversation == *conversation && record.seq < end.seq => {
                asked.insert(token, &whose.process);
            }
            Seen::Closed { token } => {
                let process = asked.remove(token).filter(|_| record.at_ms > end.time_ms + ABORTED_MS);
                if let Some(process) = process {
                    return Err(format!("{process} hears the model of {conversation} {} ms after its end", record.at_ms - end.time_ms));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
