//! I2, answered or visibly failed: each accepted message ends in a client-visible outcome (answer, human request, completed, failed
//! with a reason) within 60 s after the last fault heals.

use protocol::brief::Phase;

use crate::told::Evidence;

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    for conversation in evidence.conversations() {
        let brief = conversation.brief().unwrap();
        if brief.phase == Phase::Working {
            return Err(format!("{} is still left to {}, since entry {}", conversation.id(), brief.owner, brief.turn));
        }
        if brief.phase == Phase::Waiting && brief.requests.is_empty() {
            return Err(format!("{} waits for nothing", conversation.id()));
        }
    }
    Ok(())
}
