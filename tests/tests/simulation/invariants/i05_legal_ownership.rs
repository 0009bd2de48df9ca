//! I5, legal ownership chain: a `to` B written by A ≠ B comes from A while owner, along an edge of the revision named in the entry;
//! A→A only as a continuation.

use protocol::conversation::Conversation;
use protocol::ids::AgentName;
use protocol::orchestration::Orchestration;
use protocol::subject::Class;

use crate::told::Evidence;

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let orchestration = &evidence.recording.definition.orchestration;
    evidence.conversations().try_for_each(|conversation| of(orchestration, conversation))
}

fn of(orchestration: &Orchestration, conversation: &Conversation) -> Result<(), String> {
    let mut owner: Option<&AgentName> = None;
    for entry in conversation.entries() {
        let Class::To { agent: to, revision } = &entry.head.subject.class else { continue };
        if let (Some(from), Some(owner)) = (entry.head.subject.from.agent(), owner) {
            let edge = orchestration.agent(from).is_some_and(|agent| agent.handoffs.iter().any(|handoff| handoff.to == *to));
            let is_legal = from == owner && (edge || (to == from && entry.head.kind == "continued"));
            if !is_legal || revision != orchestration.revision() {
                return Err(format!("{} moved {} from {owner} to {to}", entry.head.subject, conversation.id()));
            }
        }
        owner = Some(to);
    }
    Ok(())
}
