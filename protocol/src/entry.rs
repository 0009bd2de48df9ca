//! An entry: one stored message of a conversation, decoded and checked against itself.

use std::borrow::Cow;

use bytes::Bytes;

use crate::brief::{Brief, Step};
use crate::event::{Event, Numbered};
use crate::ids::{EntryId, EventId, Hash, Ordinal, ProcessId, Revision, Seq};
use crate::next;
use crate::subject::{Class, EntrySubject};
use crate::wire::v1::{Carried, Payload, Record, State};
use crate::wire::{DecodeError, HEADER_BYTES_MAX, Headers, Stored, header};

/// The version that this program writes, and the newest it reads.
pub const VERSION: &str = "1";

/// The W3C trace context that an entry was written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The `traceparent` header.
    pub parent: String,
    /// The `tracestate` header.
    pub state: Option<String>,
}

/// What an entry's subject and headers say: all that a reader of headers needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Its subject.
    pub subject: EntrySubject,
    /// Its identity.
    pub id: EntryId,
    /// The kind of its last event.
    pub kind: String,
    /// The epoch in which it was written; 0 for an opening.
    pub epoch: Seq,
    /// The process that wrote it.
    pub process: ProcessId,
    /// The revision it was written under.
    pub revision: Revision,
    /// The conversation after it.
    pub brief: Brief,
    /// The trace it belongs to.
    pub trace: Option<Trace>,
}

impl Head {
    /// The head in a message's subject and headers.
    ///
    /// # Errors
    /// [`DecodeError::Newer`] for a version this program does not know, [`DecodeError::Malformed`] for anything else.
    pub fn decode(subject: &str, headers: &Headers) -> Result<Self, DecodeError> {
        let get = |name| {
            let value = headers.get(name).ok_or_else(|| DecodeError::malformed(format_args!("header {name} is missing")))?;
            if value.len() > HEADER_BYTES_MAX { Err(DecodeError::malformed(format_args!("header {name} is too large"))) } else { Ok(value) }
        };
        let version = get(header::VERSION)?;
        if version != VERSION {
            return Err(DecodeError::Newer { what: format!("entry version {version:?}") });
        }
        let epoch = get(header::EPOCH)?;
        Ok(Self {
            subject: subject.parse().map_err(DecodeError::malformed)?,
            id: get(header::ID)?.parse().map_err(DecodeError::malformed)?,
            kind: get(header::KIND)?.to_owned(),
            epoch: Seq(crate::ids::decimal(epoch).ok_or_else(|| DecodeError::malformed(format_args!("{epoch:?} is not an epoch")))?),
            process: get(header::PROCESS)?.parse().map_err(DecodeError::malformed)?,
            revision: get(header::REVISION)?.parse().map_err(DecodeError::malformed)?,
            brief: serde_json::from_str(get(header::BRIEF)?).map_err(DecodeError::malformed)?,
            trace: headers
                .get(header::TRACEPARENT)
                .map(|parent| Trace { parent: parent.to_owned(), state: headers.get(header::TRACESTATE).map(str::to_owned) }),
        })
    }

    /// Whether an epoch begins with it: then its own sequence is the epoch of what follows.
    pub fn begins_epoch(&self) -> bool {
        matches!(self.subject.class, Class::To { .. }) || self.kind == "taken"
    }

    /// The epoch after it, were it stored as `seq`.
    pub fn epoch_after(&self, seq: Seq) -> Seq {
        if self.begins_epoch() { seq } else { self.epoch }
    }
}

/// A decoded entry. Its wire form is kept, so that it can be carried verbatim.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What subject and headers say.
    pub head: Head,
    /// Its number in the stream.
    pub seq: Seq,
    /// What it records.
    pub events: Vec<Event>,
    /// What a reader that starts here must know.
    pub state: State,
    /// Its own hash; the next entry names it.
    pub hash: Hash,
    /// Its headers, verbatim.
    pub headers: Headers,
    /// Its record, verbatim.
    pub record: Bytes,
}

impl Entry {
    /// A stored message, taken apart: the entry and what it carries.
    ///
    /// # Errors
    /// [`DecodeError`] when it is not an entry of a known version. A carried entry that is broken breaks its carrier.
    pub fn decode(stored: &Stored) -> Result<(Self, Vec<Self>), DecodeError> {
        Self::decode_from(stored, 0)
    }

    /// The same, where entries before an ordinal are known: of what it carries, they are left out.
    pub(crate) fn decode_from(stored: &Stored, first: Ordinal) -> Result<(Self, Vec<Self>), DecodeError> {
        // The version is judged before the body: a newer one may look altogether different.
        let head = Head::decode(&stored.subject, &stored.headers)?;
        if let Some(object) = stored.headers.get(header::OBJECT).filter(|_| stored.payload.is_empty()) {
            return Err(DecodeError::malformed(format_args!("its object {object} is missing or damaged")));
        }
        let Payload { record, carry } = Payload::decode_from(&stored.payload, first)?;
        let carry = carry.into_iter().map(Self::from_carried).collect::<Result<_, _>>()?;
        Ok((Self::from_parts(head, stored.seq, stored.headers.clone(), record)?, carry))
    }

    fn from_carried(carried: Carried<'_>) -> Result<Self, DecodeError> {
        let head = Head::decode(&carried.subject, &carried.headers)?;
        Self::from_parts(head, carried.seq, carried.headers.into_owned(), carried.record)
    }

    pub(crate) fn from_parts(head: Head, seq: Seq, headers: Headers, record: Bytes) -> Result<Self, DecodeError> {
        let Record { events, state } = Record::decode(&record)?;
        if headers.get(header::RECORD) != Some(Hash::of(&record).to_string().as_str()) {
            return Err(DecodeError::malformed("the record does not match its hash"));
        }
        if events.last().map(Event::kind) != Some(head.kind.as_str()) {
            return Err(DecodeError::malformed(format_args!("header {} does not name the last event", header::KIND)));
        }
        let hash = hash(&head.subject, &headers);
        Ok(Self { head, seq, events, state, hash, headers, record })
    }

    /// Whether only its head is left; see [`Conversation::salvage`](crate::conversation::Conversation::salvage).
    pub(crate) const fn is_lost(&self) -> bool {
        self.events.is_empty()
    }

    /// Its number in the conversation.
    pub const fn ordinal(&self) -> Ordinal {
        self.head.subject.ordinal
    }

    /// The epoch after it.
    pub fn epoch(&self) -> Seq {
        self.head.epoch_after(self.seq)
    }

    /// The hash of the entry before it.
    pub fn previous(&self) -> Option<Hash> {
        self.headers.get(header::PREVIOUS).and_then(|text| text.parse().ok())
    }

    /// Its events with their ids.
    pub fn numbered(&self) -> impl Iterator<Item = Numbered<'_>> {
        let ordinal = self.ordinal();
        (0..).zip(&self.events).map(move |(index, event)| (EventId { ordinal, index }, event))
    }

    /// The first event of a kind this program does not know.
    pub fn unknown(&self) -> Option<&str> {
        self.events.iter().find_map(|event| match event {
            Event::Unknown { kind, .. } if !next::knows(kind) => Some(kind.as_str()),
            _ => None,
        })
    }

    /// What the rules of [`Brief::after`] look at.
    pub fn step(&self) -> Step<'_> {
        Step { ordinal: self.ordinal(), class: &self.head.subject.class, from: &self.head.subject.from, events: &self.events }
    }

    pub(crate) fn carried(&self) -> Carried<'_> {
        let (subject, headers) = (self.head.subject.to_string(), Cow::Borrowed(&self.headers));
        Carried { seq: self.seq, subject, headers, record: self.record.clone() }
    }

    /// About how many bytes it takes in a carry.
    pub(crate) fn carried_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(_, value)| value.len() + 4).sum();
        self.record.len() + headers + 96
    }
}

/// The bytes that an entry's hash, and a signature, cover: the subject and every header of Baton's but the signature and
/// the message's own, a line each. The record is covered through its own hash among them.
pub fn canonical_head(subject: &EntrySubject, headers: &Headers) -> Vec<u8> {
    let mut bytes = subject.to_string().into_bytes();
    for name in header::ALL.iter().filter(|name| ![header::SIGNATURE, header::OBJECT].contains(name)) {
        if let Some(value) = headers.get(name) {
            for part in ["\n", name, ":", value] {
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    bytes
}

pub(crate) fn hash(subject: &EntrySubject, headers: &Headers) -> Hash {
    Hash::of(&canonical_head(subject, headers))
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
