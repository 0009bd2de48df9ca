//! I5: a `to` B written by A ≠ B comes from A while owner, along an edge of the revision named in the entry; A→A only as a
//! continuation.

use std::collections::BTreeMap;

use protocol::condition::Condition;
use protocol::event::{Event, Json};
use protocol::ids::{AgentName, Writer};
use protocol::orchestration::{Fallback, Orchestration};
use protocol::subject::Class;
use protocol::wire::header;

use super::Violation;
use super::view::{Line, View, is_callers, owners};

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    view.conversations().flat_map(|conversation| judge(view, conversation)).collect()
}

fn judge(view: &View<'_>, conversation: &str) -> Vec<Violation> {
    let nothing = BTreeMap::new();
    let opened = view.lines(conversation).flat_map(Line::events).find_map(|event| match event {
        Event::Opened(opened) => Some(&opened.metadata),
        _ => None,
    });
    let metadata = opened.unwrap_or(&nothing);
    let judged = owners(view.lines(conversation)).into_iter().filter_map(|(line, owner)| {
        let what = foreign(line, owner).or_else(|| match &line.subject.class {
            Class::To { agent, revision } => {
                let Some(definition) = view.definition(line).filter(|definition| definition.revision() == revision) else {
                    return Some(format!("entry {} names revision {revision}, which was never deployed", line.ordinal()));
                };
                step(line, owner, agent, definition, metadata)
            }
            _ => None,
        })?;
        Some(Violation::of("I5", Some(conversation), view.stored_us(line), [line.record], what))
    });
    judged.collect()
}

/// An agent writes only while it is the owner; that something cannot be read may be said by whoever meets it.
fn foreign(line: &Line<'_>, owner: Option<&AgentName>) -> Option<String> {
    let (writer, owner) = (line.agent()?, owner?);
    let is_about_damage = matches!(line.events(), [Event::Failed(failed)] if failed.is_about_damage());
    (writer != owner && !is_about_damage)
        .then(|| format!("entry {} was written by {writer} while {owner} owned the conversation", line.ordinal()))
}

/// One move of the conversation, judged by who made it.
fn step(
    line: &Line<'_>,
    owner: Option<&AgentName>,
    to: &AgentName,
    definition: &Orchestration,
    metadata: &BTreeMap<String, Json>,
) -> Option<String> {
    let ordinal = line.ordinal();
    let Some(owner) = owner else {
        let is_legal = ordinal > 0 || (is_callers(line) && to == definition.start());
        return (!is_legal).then(|| format!("the conversation began with {to}, but {} starts", definition.start()));
    };
    let is_legal = match (&line.subject.from, line.kind()) {
        (Writer::Agent(_), "continued") => to == owner,
        (Writer::Agent(_), "transferred") => to != owner && has_edge(definition, owner, to, line, metadata),
        (Writer::Coordinator, "redispatched") => to == owner,
        (Writer::Coordinator, "reassigned") => definition.agent(to).is_some(),
        (Writer::Client | Writer::Gateway, "replied") => to == owner || to == definition.start(),
        (Writer::Client | Writer::Gateway, "decided" | "interrupted") => to == owner,
        _ => false,
    };
    (!is_legal)
        .then(|| format!("entry {ordinal}, {} by {}, hands {owner}'s conversation to {to} along no edge", line.kind(), line.subject.from))
}

fn has_edge(definition: &Orchestration, from: &AgentName, to: &AgentName, line: &Line<'_>, metadata: &BTreeMap<String, Json>) -> bool {
    let is_named = !line.events().iter().any(|event| matches!(event, Event::Transferred(transfer) if transfer.to != *to));
    let is_fallback = matches!(definition.fallback(), Some(Fallback::Agent(agent)) if agent == to)
        && line.events().iter().any(|event| matches!(event, Event::Warned(warned) if warned.code == "fallback"));
    let edge = definition.agent(from).and_then(|agent| agent.handoffs.iter().find(|handoff| handoff.to == *to));
    let holds = |text: &String| {
        let values = BTreeMap::from([("metadata", Json::Object(metadata.clone().into_iter().collect()))]);
        Condition::parse(text, &["metadata"]).and_then(|condition| condition.holds(&values)).unwrap_or(false)
    };
    let is_open = edge.is_some_and(|edge| edge.condition.as_ref().is_none_or(holds));
    is_named && (is_fallback || is_open) && line.header(header::REVISION) == definition.revision().as_str()
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, breaks, holds, responded, transferred};

    #[test]
    fn a_transfer_along_an_edge_is_legal() {
        let mut story = Story::begun();
        story.by("triage", "triage-1", vec![responded("t1", &["transfer_to_refund"]), transferred("refund")]);
        holds(&story);
    }

    #[test]
    fn a_transfer_along_no_edge_is_reported() {
        let mut story = Story::begun();
        story.by("triage", "triage-1", vec![responded("t1", &["transfer_to_refund"]), transferred("refund")]);
        // refund may only hand back to triage.
        story.by("refund", "refund-1", vec![responded("t2", &["transfer_to_status"]), transferred("status")]);
        breaks(&story, &["I5"]);
    }

    #[test]
    fn an_entry_of_somebody_who_is_not_the_owner_is_reported() {
        let mut story = Story::begun();
        story.forge("refund", "refund-1", vec![responded("t1", &[])]);
        breaks(&story, &["I5"]);
    }

    #[test]
    fn a_revision_that_was_never_deployed_is_reported() {
        let mut story = Story::begun();
        story.under("0123456789ab");
        story.by("triage", "triage-1", vec![responded("t1", &["transfer_to_refund"]), transferred("refund")]);
        breaks(&story, &["I5"]);
    }
}
