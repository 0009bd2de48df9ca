//! I8, tool calls: committed intent ⇒ at least one call or a visible failure; same key ⇒ same arguments; at most one committed
//! result per key.

use std::collections::{BTreeMap, BTreeSet};

use protocol::conversation::Conversation;
use protocol::event::{Event, Verdict};
use protocol::subject::Class;

use crate::record::Seen;
use crate::told::Evidence;

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let mut called: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for record in &evidence.recording.records {
        let Seen::Called { tool, key, arguments, .. } = &record.seen else { continue };
        let before = called.entry(key).or_insert((tool, arguments));
        if *before != (tool.as_str(), arguments.as_str()) {
            return Err(format!("{key} stands for {before:?} and for {:?}", (tool, arguments)));
        }
    }
    let called = called.into_keys().collect();
    evidence.conversations().try_for_each(|conversation| of(conversation, &called))
}

/// Calls are told apart by their id and the entry whose response made them: providers use ids again.
fn of(conversation: &Conversation, called: &BTreeSet<&str>) -> Result<(), String> {
    let mut open: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    let mut returned: BTreeSet<&str> = BTreeSet::new();
    // A person may say of a call that it ran, and be mistaken.
    let mut is_vouched = false;
    for entry in conversation.entries() {
        for event in &entry.events {
            match event {
                Event::Responded(response) => {
                    all_have_results(conversation, &open, called)?;
                    open = response.calls.iter().map(|call| (call.id.as_str(), None)).collect();
                    returned.clear();
                    is_vouched = false;
                }
                Event::Intended(intended) if entry.head.subject.class == Class::Note => {
                    for call in &intended.calls {
                        if let Some(Some(before)) = open.insert(&call.call, Some(&call.key)).filter(|before| *before != Some(&call.key)) {
                            return Err(format!("{}: {} was to run under {before}", entry.head.subject, call.call));
                        }
                    }
                }
                Event::Decided(decision) => is_vouched |= decision.verdict == Verdict::Happened,
                Event::Returned(result) => {
                    if !returned.insert(&result.call) {
                        return Err(format!("{}: {} has two results", entry.head.subject, result.call));
                    }
                    let key = open.remove(result.call.as_str()).flatten();
                    let key = key.filter(|key| !result.is_error && !is_vouched && !called.contains(*key));
                    if let Some(key) = key {
                        return Err(format!("{}: {key} has a result, and nobody called", entry.head.subject));
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The same agent asks its model again only when it knows of every call that may have run.
fn all_have_results(conversation: &Conversation, open: &BTreeMap<&str, Option<&str>>, called: &BTreeSet<&str>) -> Result<(), String> {
    let intended = open.values().flatten();
    let mut unresolved = intended.filter(|key| called.contains(**key));
    unresolved
        .next()
        .map_or(Ok(()), |key| Err(format!("{}: {key} ran, and the conversation went on without its result", conversation.id())))
}
