//! I11, human input: at most one committed reply per request; losers get 409.

use std::collections::BTreeSet;

use protocol::event::Event;

use crate::told::Evidence;

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    for conversation in evidence.conversations() {
        let mut answered = BTreeSet::new();
        for (entry, (_, event)) in conversation.events() {
            let request = match event {
                Event::Replied(reply) => reply.request,
                Event::Decided(decision) => decision.request,
                _ => continue,
            };
            if !matches!(conversation.event(request), Some(Event::Asked(_))) {
                return Err(format!("{}: nobody asked {request}", entry.head.subject));
            }
            // That whoever came second was told so is I1: what is accepted is stored, and this is not.
            if !answered.insert(request) {
                return Err(format!("{}: {request} is answered twice", entry.head.subject));
            }
        }
    }
    Ok(())
}
