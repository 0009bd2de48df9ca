//! An orchestration's stream: what was stored, in order, and the fence.

use std::collections::{BTreeMap, BTreeSet};

use protocol::conversation::Prepared;
use protocol::ids::{AgentName, ConversationId, Ordinal, Seq};
use protocol::subject::{Class, EntrySubject};
use protocol::wire::{Message, Stored, header};

use crate::follow::Scope;
use crate::{Append, Refusal};

/// The largest message, headers included: nats-server's default `max_payload`.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug)]
struct Kept {
    subject: EntrySubject,
    stored: Stored,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    last: Seq,
    kept: BTreeMap<Seq, Kept>,
    conversations: BTreeMap<ConversationId, BTreeSet<Seq>>,
    bytes: u64,
    bytes_max: Option<u64>,
}

impl Log {
    pub(super) fn new(bytes_max: Option<u64>) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// The last sequence that was ever given.
    pub(super) const fn last(&self) -> Seq {
        self.last
    }

    pub(super) const fn bytes_max(&self) -> Option<u64> {
        self.bytes_max
    }

    pub(super) fn get(&self, seq: Seq) -> Option<&Stored> {
        self.kept.get(&seq).map(|kept| &kept.stored)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Stored> {
        self.kept.values().map(|kept| &kept.stored)
    }

    /// Stores a prepared entry behind the tail it was prepared on, or says why not.
    pub(super) fn append(&mut self, prepared: &Prepared, now_ms: u64) -> Append {
        let bytes = bytes_of(&prepared.message);
        if bytes > MESSAGE_BYTES_MAX {
            return Append::Refused(Refusal::TooLarge { bytes, bytes_max: MESSAGE_BYTES_MAX });
        }
        let subject = prepared.subject();
        let tail = self.entries(&subject.conversation).next_back().map_or(Seq(0), |stored| stored.seq);
        if tail == prepared.expected {
            return self.store(subject.clone(), prepared.message.clone(), now_ms);
        }
        let id = prepared.message.headers.get(header::ID);
        match self.at(&subject.conversation, subject.ordinal) {
            Some(found) if found.headers.get(header::ID) == id => Append::Appended(found.seq),
            Some(_) => Append::Fenced { tail },
            // Something followed the expected tail, at this very ordinal; that it is not there means that it was purged.
            None if tail > prepared.expected || tail == Seq(0) => Append::Gone,
            None => Append::Fenced { tail },
        }
    }

    /// Stores a message without asking the fence.
    pub(super) fn store(&mut self, subject: EntrySubject, message: Message, now_ms: u64) -> Append {
        let bytes = bytes_of(&message) as u64;
        if let Some(bytes_max) = self.bytes_max.filter(|bytes_max| self.bytes + bytes > *bytes_max) {
            return Append::Refused(Refusal::NoSpace(format!("the stream holds at most {bytes_max} bytes")));
        }
        self.bytes += bytes;
        self.last = Seq(self.last.0 + 1);
        let Message { subject: text, headers, payload } = message;
        let stored = Stored { seq: self.last, time_ms: now_ms, subject: text, headers, payload };
        self.conversations.entry(subject.conversation.clone()).or_default().insert(self.last);
        self.kept.insert(self.last, Kept { subject, stored });
        Append::Appended(self.last)
    }

    /// The entries of a conversation.
    pub(super) fn entries(&self, conversation: &ConversationId) -> impl DoubleEndedIterator<Item = &Stored> {
        self.kept_of(conversation).map(|kept| &kept.stored)
    }

    fn kept_of(&self, conversation: &ConversationId) -> impl DoubleEndedIterator<Item = &Kept> {
        self.conversations.get(conversation).into_iter().flatten().filter_map(|seq| self.kept.get(seq))
    }

    pub(super) fn at(&self, conversation: &ConversationId, ordinal: Ordinal) -> Option<&Stored> {
        self.kept_of(conversation).rev().find(|kept| kept.subject.ordinal == ordinal).map(|kept| &kept.stored)
    }

    /// The first entry of `scope` from `from` on.
    pub(super) fn first_in(&self, scope: &Scope, from: Seq) -> Option<&Stored> {
        let seq = match scope {
            Scope::All => self.kept.range(from..).next().map(|(seq, _)| *seq)?,
            Scope::Conversation(id) => *self.conversations.get(id)?.range(from..).next()?,
        };
        self.get(seq)
    }

    /// The work items of an agent from `from` on.
    pub(super) fn work(&self, agent: &AgentName, from: Seq) -> impl Iterator<Item = Seq> {
        let is_for = move |kept: &Kept| matches!(&kept.subject.class, Class::To { agent: to, .. } if to == agent);
        self.kept.range(from..).filter(move |(_, kept)| is_for(kept)).map(|(seq, _)| *seq)
    }

    pub(super) fn purge(&mut self, conversation: &ConversationId, below: Seq) {
        let Some(seqs) = self.conversations.get_mut(conversation) else { return };
        let rest = seqs.split_off(&below);
        for seq in std::mem::replace(seqs, rest) {
            if let Some(Kept { stored, .. }) = self.kept.remove(&seq) {
                let Stored { subject, headers, payload, .. } = stored;
                self.bytes -= bytes_of(&Message { subject, headers, payload }) as u64;
            }
        }
    }
}

/// About what the message takes on the wire.
fn bytes_of(message: &Message) -> usize {
    let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    message.subject.len() + headers + message.payload.len()
}
