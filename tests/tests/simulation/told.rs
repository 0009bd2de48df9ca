//! The final journal, taken apart for the invariants: every conversation as its last entry tells it, held against what is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::conversation::{Conversation, Partial};
use protocol::entry::{Entry, Head};
use protocol::event::Event;
use protocol::ids::ConversationId;
use protocol::wire::Stored;

use super::record::Recording;

/// One conversation.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub(crate) id: ConversationId,
    pub(crate) heads: Vec<(&'a Stored, Head)>,
    /// Its entries, unless they do not make a conversation.
    pub(crate) folded: Result<Conversation, String>,
}

/// A recording, and what it says of each conversation.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) recording: &'a Recording,
    pub(crate) told: BTreeMap<ConversationId, Told<'a>>,
}

impl<'a> Evidence<'a> {
    pub(crate) fn of(recording: &'a Recording) -> Self {
        let mut heads: BTreeMap<ConversationId, Vec<(&Stored, Head)>> = BTreeMap::new();
        for stored in &recording.stored {
            let head = Head::decode(&stored.subject, &stored.headers).unwrap();
            heads.entry(head.subject.conversation.clone()).or_default().push((stored, head));
        }
        let told = heads.into_iter().map(|(id, heads)| {
            let folded = fold(&heads);
            (id.clone(), Told { id, heads, folded })
        });
        Self { recording, told: told.collect() }
    }

    /// The conversations that can be read; the others are the total order's matter.
    pub(crate) fn conversations(&self) -> impl Iterator<Item = &Conversation> {
        self.told.values().filter_map(|told| told.folded.as_ref().ok())
    }

    /// All events, with the entry that records each.
    pub(crate) fn events(&self) -> impl Iterator<Item = (&Arc<Entry>, &Event)> {
        let entries = self.conversations().flat_map(Conversation::entries);
        entries.flat_map(|entry| entry.events.iter().map(move |event| (entry, event)))
    }
}

fn fold(heads: &[(&Stored, Head)]) -> Result<Conversation, String> {
    let (last, _) = heads.last().ok_or("nothing is stored")?;
    let partial = Partial::decode(last).map_err(|error| error.to_string())?;
    let sealed = partial.sealed().iter().map(|ordinal| {
        let found = heads.iter().find(|(_, head)| head.subject.ordinal == *ordinal);
        found.map(|(stored, _)| (*stored).clone()).ok_or_else(|| format!("sealing entry {ordinal} is not stored"))
    });
    let sealed = sealed.collect::<Result<Vec<_>, _>>()?;
    partial.complete(&sealed).map_err(|error| error.to_string())
}

/// The number in the first `[[<kind>:<number>]]` of a text.
pub(crate) fn mark(kind: char, text: &str) -> Option<u64> {
    marks(kind, text).next()
}

/// All of them.
pub(crate) fn marks(kind: char, text: &str) -> impl Iterator<Item = u64> {
    text.split("[[").skip(1).filter_map(move |rest| rest.strip_prefix(kind)?.strip_prefix(':')?.split("]]").next()?.parse().ok())
}

/// What a person said in an event, or wrote with a decision.
pub(crate) fn said(event: &Event) -> Option<&str> {
    match event {
        Event::Opened(opened) => opened.input.first().map(|message| message.text.as_str()),
        Event::Said(said) => Some(&said.text),
        Event::Replied(reply) => Some(&reply.text),
        Event::Interrupted(interrupted) => Some(&interrupted.text),
        Event::Decided(decision) => Some(&decision.note),
        Event::Cancelled(cancelled) => Some(&cancelled.reason),
        _ => None,
    }
}
