//! I6, transfer never dropped or doubled: each is taken up exactly once by B, or fails visibly.

use protocol::conversation::Conversation;
use protocol::event::Event;

use crate::told::Evidence;

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    evidence.conversations().try_for_each(of)
}

fn of(conversation: &Conversation) -> Result<(), String> {
    let entries = conversation.entries();
    for (place, entry) in entries.iter().enumerate() {
        let Some(Event::Transferred(transfer)) = entry.events.last() else { continue };
        // Up to the next that an agent wrote; what others do in between is not its taking up.
        let next = entries[place + 1..].iter().find_map(|entry| entry.head.subject.from.agent());
        let is_ended = conversation.phase().is_some_and(protocol::brief::Phase::is_ended);
        let fits = next.map_or(is_ended, |agent| *agent == transfer.to);
        if !fits {
            return Err(format!("{}: what was handed to {} was taken up by {next:?}", entry.head.subject, transfer.to));
        }
    }
    Ok(())
}
