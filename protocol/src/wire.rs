//! What goes over the wire, version by version, and the limits that hold for untrusted bytes.

pub mod v1;

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::ids::Seq;

/// Nesting deeper than this is refused: a 1 KiB nested message would otherwise exhaust the stack.
pub const DEPTH_MAX: usize = 32;
/// Events in one entry.
pub const EVENTS_MAX: usize = 4096;
/// Entries in one carry.
pub const CARRY_MAX: usize = 4096;
/// Bytes in one header's value.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a carry beyond which an entry seals.
pub const SEAL_BYTES: usize = 8 * 1024;
/// Entry ids of callers' requests that a reader can recognise from any entry.
pub const RECENT_MAX: usize = 64;

/// Header names. `docs/protocol.md` describes each.
pub mod header {
    /// Wire version, `1`.
    pub const VERSION: &str = "Baton-Version";
    /// Entry id.
    pub const ID: &str = "Baton-Id";
    /// Kind of the last event.
    pub const KIND: &str = "Baton-Kind";
    /// Hash of the previous entry; absent on the first.
    pub const PREVIOUS: &str = "Baton-Previous";
    /// SHA-256 of the record.
    pub const RECORD: &str = "Baton-Record";
    /// Epoch in which the entry was written, 0 for an opening.
    pub const EPOCH: &str = "Baton-Epoch";
    /// The process that wrote it: within an epoch, one and the same for all of its owner's entries.
    pub const PROCESS: &str = "Baton-Process";
    /// Revision of the orchestration it was written under.
    pub const REVISION: &str = "Baton-Revision";
    /// State in brief, JSON.
    pub const BRIEF: &str = "Baton-Brief";
    /// Name of the object that holds the payload (claim check); the message's own payload is then empty. It belongs to the
    /// message and not to the entry: the journal adds it after the entry was prepared and hashed, and takes it off before
    /// anybody sees the entry, so no hash, signature or carry knows of it.
    pub const OBJECT: &str = "Baton-Object";
    /// The writer's public key (nkey), where entries are signed.
    pub const SIGNER: &str = "Baton-Signer";
    /// Ed25519 signature over the canonical head, base64url.
    pub const SIGNATURE: &str = "Baton-Signature";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// W3C trace context.
    pub const TRACESTATE: &str = "tracestate";

    /// Every header of version 1, in the order of the canonical head and of a carried entry's numbers. Append only.
    pub const ALL: [&str; 14] =
        [VERSION, ID, KIND, PREVIOUS, RECORD, EPOCH, PROCESS, REVISION, BRIEF, OBJECT, TRACEPARENT, TRACESTATE, SIGNER, SIGNATURE];
}

/// The headers of an entry, in the order of [`header::ALL`]; headers Baton does not know come after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Cow<'static, str>, String)>);

impl Headers {
    /// Headers from anywhere. Names compare without case; names Baton knows are kept in its spelling, the broker's own
    /// (`Nats-…`) are dropped: they belong to the delivery, not to the entry.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut headers = Self::default();
        for (name, value) in pairs {
            let known = header::ALL.iter().find(|known| known.eq_ignore_ascii_case(name));
            match known {
                Some(known) => headers.insert(known, value.to_owned()),
                None if name.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("nats-")) => {}
                None => headers.0.push((Cow::Owned(name.to_owned()), value.to_owned())),
            }
        }
        headers
    }

    /// Sets one of Baton's headers.
    pub fn insert(&mut self, name: &'static str, value: String) {
        let place = |name: &str| header::ALL.iter().position(|known| *known == name).unwrap_or(usize::MAX);
        self.0.retain(|(present, _)| present != name);
        let at = self.0.partition_point(|(present, _)| place(present) < place(name));
        self.0.insert(at, (Cow::Borrowed(name), value));
    }

    /// A header's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(present, _)| present == name).map(|(_, value)| value.as_str())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_str()))
    }
}

/// What a writer hands to the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub subject: String,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub payload: Bytes,
}

/// What the journal hands to a reader: a message as the broker stored it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its number in the stream.
    pub seq: Seq,
    /// When the broker stored it, in milliseconds since the Unix epoch, by the broker's clock.
    pub time_ms: u64,
    /// Where it lies.
    pub subject: String,
    /// Its headers.
    pub headers: Headers,
    /// Its body; empty for a reader that follows headers only.
    pub payload: Bytes,
    /// Bytes of its body, also for a reader of headers only; to that one it is 0 where an object holds the body.
    pub size: usize,
}

impl Message {
    /// The message once it is stored.
    pub fn stored(self, seq: Seq, time_ms: u64) -> Stored {
        let Self { subject, headers, payload } = self;
        let size = payload.len();
        Stored { seq, time_ms, subject, headers, payload, size }
    }
}

/// Why bytes are not an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A newer version wrote it: set it aside for a reader that knows it.
    #[error("{what} is of a newer version than this program knows; upgrade it")]
    Newer {
        /// The version or kind.
        what: String,
    },
    /// No version writes such a thing: it goes to the dead letters.
    #[error("not an entry: {0}")]
    Malformed(String),
}

impl DecodeError {
    pub(crate) fn malformed(what: impl std::fmt::Display) -> Self {
        Self::Malformed(what.to_string())
    }
}

/// MessagePack from untrusted bytes: bounded depth, nothing after the value. Texts and bytes of the value may lie where they are.
pub(crate) fn from_slice<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, rmp_serde::decode::Error> {
    let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes);
    decoder.set_max_depth(DEPTH_MAX);
    let value = T::deserialize(&mut decoder)?;
    match IgnoredAny::deserialize(&mut decoder) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err(rmp_serde::decode::Error::Syntax("bytes after the value".to_owned())),
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
