//! An orchestration's stream: what was stored, in order, and the fence; with the objects that hold what no message could.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::conversation::Prepared;
use protocol::ids::{AgentName, ConversationId, Ordinal, Seq, Writer};
use protocol::subject::{Class, EntrySubject};
use protocol::wire::{Message, Stored, header};

use crate::claim::{check_size, claimed, damaged, object_name, ordinal, redeem};
use crate::follow::Scope;
use crate::{Append, ReadError, Refusal};

/// The largest message, headers included: nats-server's default `max_payload`.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// nats-server's limit for headers.
const HEADER_BYTES_MAX: usize = 65_535;

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
    pub(super) objects: BTreeMap<String, Bytes>,
    bytes: u64,
    bytes_max: Option<u64>,
    message_bytes_max: usize,
}

impl Log {
    pub(super) fn new(bytes_max: Option<u64>, message_bytes_max: usize) -> Self {
        Self { bytes_max, message_bytes_max, ..Self::default() }
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

    /// An entry as its writer prepared it.
    pub(super) fn redeem(&self, stored: &Stored) -> Result<Stored, ReadError> {
        let Some(object) = claimed(stored) else { return Ok(stored.clone()) };
        let payload = self.objects.get(object).ok_or_else(|| damaged(stored, object))?;
        Ok(redeem(stored.clone(), payload.clone()))
    }

    /// The same for whoever must not be stopped by one that is lost: it comes as it is stored, which nobody can decode.
    pub(super) fn redeem_or_raw(&self, stored: &Stored) -> Stored {
        self.redeem(stored).unwrap_or_else(|_| stored.clone())
    }

    /// Stores a prepared entry behind the tail it was prepared on, or says why not.
    pub(super) fn append(&mut self, prepared: &Prepared, now_ms: u64) -> Append {
        let message = match self.message(prepared) {
            Ok(message) => message,
            Err(refusal) => return Append::Refused(refusal),
        };
        let (subject, expected) = (prepared.subject(), prepared.expected);
        let tail = self.entries(&subject.conversation).next_back().map_or(Seq(0), |stored| stored.seq);
        match tail.cmp(&expected) {
            Ordering::Equal => {
                let object = message.headers.get(header::OBJECT).map(str::to_owned);
                let append = self.store(subject.clone(), message, now_ms);
                if let (Append::Appended(_), Some(object)) = (&append, object) {
                    self.objects.insert(object, prepared.message.payload.clone());
                }
                append
            }
            Ordering::Greater => self.whose(prepared, tail),
            Ordering::Less if self.last >= expected => Append::Gone,
            Ordering::Less => Append::Unknown("the broker knows less of the conversation than its writer".to_owned()),
        }
    }

    /// What is stored of an entry: its message, or, where that is too large, one that names an object.
    fn message(&self, prepared: &Prepared) -> Result<Message, Refusal> {
        let mut message = prepared.message.clone();
        let bytes = header_bytes(&message);
        if bytes > HEADER_BYTES_MAX {
            return Err(Refusal::TooLarge { bytes, bytes_max: HEADER_BYTES_MAX });
        }
        if bytes + message.payload.len() > self.message_bytes_max {
            check_size(&message.payload)?;
            message.headers.insert(header::OBJECT, object_name(prepared));
            message.payload = Bytes::new();
        }
        Ok(message)
    }

    /// Somebody wrote behind the expected tail. It may have been the writer of this very entry.
    fn whose(&self, prepared: &Prepared, tail: Seq) -> Append {
        match self.at(&prepared.subject().conversation, prepared.ordinal()) {
            Some(found) if prepared.is_stored_as(found) => Append::Appended(found.seq),
            Some(_) => Append::Fenced { tail },
            // What the writer saw is still there: what follows it is no entry.
            None if self.kept.contains_key(&prepared.expected) => Append::Fenced { tail },
            // Something must have followed the expected tail; that it is not there means that it was purged.
            None => Append::Gone,
        }
    }

    /// Stores a message without asking the fence.
    pub(super) fn store(&mut self, subject: EntrySubject, message: Message, now_ms: u64) -> Append {
        let stored = message.stored(Seq(self.last.0 + 1), now_ms);
        let bytes = bytes_of(&stored);
        if let Some(bytes_max) = self.bytes_max.filter(|bytes_max| self.bytes + bytes > *bytes_max) {
            return Append::Refused(Refusal::NoSpace(format!("the stream holds at most {bytes_max} bytes")));
        }
        self.bytes += bytes;
        self.last = stored.seq;
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

    /// The first end above `after`, by one writer or by anybody.
    pub(super) fn next_end(&self, by: Option<&Writer>, after: Seq) -> Option<&Stored> {
        let is_end = |kept: &&Kept| kept.subject.class == Class::End && by.is_none_or(|by| kept.subject.from == *by);
        self.kept.range(Seq(after.0 + 1)..).map(|(_, kept)| kept).find(is_end).map(|kept| &kept.stored)
    }

    pub(super) fn purge(&mut self, conversation: &ConversationId, below: Seq) {
        let Some(seqs) = self.conversations.get_mut(conversation) else { return };
        let rest = seqs.split_off(&below);
        for seq in std::mem::replace(seqs, rest) {
            self.bytes -= self.kept.remove(&seq).map_or(0, |kept| bytes_of(&kept.stored));
        }
        let first_kept = self.kept_of(conversation).next().map(|kept| kept.subject.ordinal);
        let is_purged = |name: &str| ordinal(conversation, name).is_some_and(|number| first_kept.is_none_or(|first| number < first));
        self.objects.retain(|name, _| !is_purged(name));
    }
}

fn header_bytes(message: &Message) -> usize {
    message.headers.iter().map(|(name, value)| name.len() + value.len() + ": \r\n".len()).sum()
}

fn bytes_of(stored: &Stored) -> u64 {
    let headers: usize = stored.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    (stored.subject.len() + headers + stored.payload.len()) as u64
}
