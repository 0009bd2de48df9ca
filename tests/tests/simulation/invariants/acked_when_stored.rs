//! Nothing is acked before what it caused is stored: a work item is acked only when the tail's epoch began with a later `to`, or the
//! conversation has ended or waits for a person (design 2, "Who owns").

use protocol::brief::Phase;
use protocol::subject::Class;

use crate::record::Seen;
use crate::told::{Evidence, Told};

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    for record in &evidence.recording.records {
        let Seen::Acked { whose, item } = &record.seen else { continue };
        let Some(Told { heads, .. }) = evidence.told.get(&whose.conversation) else { continue };
        let mut by_then = heads.iter().filter(|(stored, _)| stored.seq <= record.seq);
        let has_moved = by_then.clone().any(|(stored, head)| stored.seq > *item && matches!(head.subject.class, Class::To { .. }));
        let is_working = by_then.next_back().is_some_and(|(_, head)| head.brief.phase == Phase::Working);
        if !has_moved && is_working {
            return Err(format!("{} acked {item} of {}, and nothing has come of it", whose.process, whose.conversation));
        }
    }
    Ok(())
}
