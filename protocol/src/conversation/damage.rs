//! Damage: what lies in a conversation and is no entry that follows the ones before it. Its bytes are none that any version
//! writes, its payload is lost, or a newer version wrote it and none came that knows it.
//!
//! The rule is one sentence: **nothing follows damage but the failure that says so.** What is no entry has no ordinal: the
//! failure takes its place, fenced by its sequence and chained to the last entry before it, so that a reader who starts from the
//! failure never meets the damage. An entry whose head is whole and follows has lost only its record: it keeps its place.

use std::sync::Arc;

use bytes::Bytes;

use super::{Conversation, FoldError};
use crate::brief::Phase;
use crate::entry::{Entry, Head, hash};
use crate::event::{Failed, failure};
use crate::ids::{ConversationId, OrchestrationName, Ordinal, Seq};
use crate::wire::v1::State;
use crate::wire::{DecodeError, Stored};

/// Characters of a problem that people are told: the bytes it speaks of may be anybody's.
const PROBLEM_CHARS: usize = 200;

/// The first thing in a conversation that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {ordinal}, message {seq} of the stream, cannot be read: {problem}")]
pub struct Damage {
    /// Its sequence.
    pub seq: Seq,
    /// The ordinal of the entry that belongs there.
    pub ordinal: Ordinal,
    /// What is wrong with it.
    pub problem: FoldError,
}

impl Damage {
    /// Whether a newer version might read it: then it waits for one, for a while.
    pub const fn is_newer(&self) -> bool {
        matches!(self.problem, FoldError::Decode(DecodeError::Newer { .. }))
    }

    /// The failure that it is to its conversation.
    fn failure(&self) -> Failed {
        let code = if self.is_newer() { failure::UNKNOWN_VERSION } else { failure::DAMAGED };
        let way_out =
            if self.is_newer() { "no worker that knows it came in time: run a newer version" } else { "start another conversation" };
        let problem: String = self.to_string().chars().take(PROBLEM_CHARS).collect();
        Failed { code: code.into(), detail: format!("{problem}; nothing can follow it: {way_out}") }
    }
}

impl Conversation {
    /// What can be read of a conversation that cannot be read from its last entry: from all of its messages, in the order of the
    /// stream. Its tail is the last message, whatever that is: the failure is fenced by it.
    pub fn salvage(orchestration: OrchestrationName, id: ConversationId, messages: &[Stored]) -> Self {
        let (mut conversation, mut found) = (Self::empty(orchestration, id), Vec::new());
        for stored in messages {
            let ordinal = conversation.tail.next;
            if let Err(problem) = conversation.take(stored) {
                found.push(Damage { seq: stored.seq, ordinal, problem });
                conversation.tail.seq = stored.seq;
            }
        }
        // Where an entry has come to stand, or a later one carries what was lost, nothing is missing.
        conversation.damage = found.into_iter().find(|damage| conversation.entry(damage.ordinal).is_none_or(|entry| entry.is_lost()));
        conversation
    }

    /// The first thing in it that could not be read; known only of one that was [salvaged](Self::salvage).
    pub const fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// The only thing that can still be written, by whoever is there to write it; none for a conversation that is whole, or over.
    pub fn must_fail(&self) -> Option<Failed> {
        let is_open = self.phase().is_some_and(|phase| !Phase::is_ended(phase));
        self.damage.as_ref().filter(|_| is_open).map(Damage::failure)
    }

    fn take(&mut self, stored: &Stored) -> Result<(), FoldError> {
        match Entry::decode(stored) {
            Ok((entry, carry)) => {
                self.push(Arc::new(entry))?;
                self.recover(carry);
                Ok(())
            }
            Err(error) => {
                if let Ok(head) = Head::decode(&stored.subject, &stored.headers) {
                    // Whoever reads what follows it must find that it is missing: it counts as one that seals.
                    let state = State { seals: true, ..self.next_state() };
                    let (hash, headers) = (hash(&head.subject, &stored.headers), stored.headers.clone());
                    let lost = Entry { head, seq: stored.seq, events: Vec::new(), state, hash, headers, record: Bytes::new() };
                    // What does not follow either is no entry of this conversation.
                    let _ = self.push(Arc::new(lost));
                }
                Err(error.into())
            }
        }
    }

    fn recover(&mut self, carry: Vec<Entry>) {
        for carried in carry {
            let place = usize::try_from(carried.ordinal()).ok().and_then(|place| self.entries.get_mut(place));
            if let Some(lost) = place.filter(|entry| entry.is_lost() && entry.hash == carried.hash) {
                *lost = Arc::new(carried);
            }
        }
    }

    fn entry(&self, ordinal: Ordinal) -> Option<&Entry> {
        self.entries.get(usize::try_from(ordinal).ok()?).map(Arc::as_ref)
    }
}

#[cfg(test)]
#[path = "damage_tests.rs"]
mod tests;
