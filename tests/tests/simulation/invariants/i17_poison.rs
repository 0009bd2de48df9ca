//! I17, poison containment: a crashing entry gets ≤ 5 attempts; the conversation fails visibly, no process is lost for good.

use protocol::conversation::Conversation;
use protocol::event::{Event, failure};

use crate::told::Evidence;

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let limit = evidence.recording.definition.orchestration.limits().attempts;
    for conversation in evidence.conversations() {
        let attempts = most_attempts(conversation);
        if attempts > limit {
            return Err(format!("a turn of {} was tried {attempts} times", conversation.id()));
        }
        let is_poisoned = evidence.recording.poisoned.as_ref() == Some(conversation.id());
        let ends = conversation.last().and_then(|entry| entry.events.last());
        let is_visible = match ends {
            Some(Event::Failed(failed)) => failed.code == failure::POISON || failed.code == failure::TURN_TIMEOUT,
            Some(Event::Cancelled(_)) => true,
            _ => false,
        };
        if is_poisoned && !is_visible {
            return Err(format!("{} kills its workers and ends in {:?}", conversation.id(), ends.map(Event::kind)));
        }
    }
    Ok(())
}

/// The first attempt of a turn, and every further one that no hand-back or deferral precedes.
fn most_attempts(conversation: &Conversation) -> u32 {
    let (mut most, mut attempts, mut rested) = (0, 1, false);
    for event in conversation.entries().iter().filter_map(|entry| entry.events.last()) {
        match event {
            Event::Taken(_) | Event::Redispatched(_) => {
                attempts += u32::from(!std::mem::take(&mut rested));
                most = attempts.max(most);
            }
            Event::Deferred(_) | Event::HandedBack(_) | Event::SetAside(_) => rested = true,
            Event::Opened(_) | Event::Transferred(_) | Event::Continued(_) | Event::Replied(_) | Event::Interrupted(_) => {
                (attempts, rested) = (1, false);
            }
            Event::Decided(_) => (attempts, rested) = (1, false),
            _ => {}
        }
    }
    most
}
