//! Wire version 1: the payload of an entry.
//!
//! ```text
//! payload = { record: bin, carry: [ { seq, subject, headers: [[name | number, value]…], record: bin }… ] }
//! record  = { events: [ { kind, data: bin }… ], state: { sealed: [ordinal…], seals, recent: [[id, ordinal]…] } }
//! ```
//! The record is what the entry says and what its hash covers; the carry repeats earlier entries verbatim and is
//! covered by *their* hashes.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{CARRY_MAX, DecodeError, EVENTS_MAX, Headers, from_slice, header};
use crate::event::Event;
use crate::ids::{EntryId, Ordinal, Seq};

/// What a reader that starts here must know besides the brief.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Ordinals of the sealing entries before this one: each holds, with its carry, a stretch of the conversation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sealed: Vec<Ordinal>,
    /// Whether this entry seals: later entries carry only what comes after it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seals: bool,
    /// Ids of callers' entries that lie in sealed stretches, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<(EntryId, Ordinal)>,
}

#[derive(Serialize, Deserialize)]
struct WireEvent {
    kind: String,
    data: Bytes,
}

#[derive(Serialize, Deserialize)]
struct WireRecord {
    events: Vec<WireEvent>,
    #[serde(default)]
    state: State,
}

/// An entry's own part of the payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What it records.
    pub events: Vec<Event>,
    /// What a reader that starts here must know.
    pub state: State,
}

impl Record {
    /// The bytes that the record's hash covers.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] when a value cannot be written, which no value of these types is known to do.
    pub fn encode(&self) -> Result<Bytes, DecodeError> {
        let event = |event: &Event| {
            let data = event.encode().map_err(DecodeError::malformed)?;
            Ok(WireEvent { kind: event.kind().to_owned(), data })
        };
        let events = self.events.iter().map(event).collect::<Result<_, DecodeError>>()?;
        to_bytes(&WireRecord { events, state: self.state.clone() })
    }

    /// The record in `bytes`.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] when they are no record.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let WireRecord { events, state } = from_slice(bytes).map_err(DecodeError::malformed)?;
        if events.is_empty() || events.len() > EVENTS_MAX {
            return Err(DecodeError::malformed(format_args!("{} events in one entry, 1 to {EVENTS_MAX} are allowed", events.len())));
        }
        let decode = |WireEvent { kind, data }| {
            Event::decode(&kind, &data).map_err(|error| DecodeError::malformed(format_args!("event {kind:?}: {error}")))
        };
        Ok(Self { events: events.into_iter().map(decode).collect::<Result<_, _>>()?, state })
    }
}

/// An entry inside another's carry: everything of it but *its* carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Its number in the stream.
    pub seq: Seq,
    /// Its subject.
    pub subject: String,
    /// Its headers.
    #[serde(serialize_with = "write_headers", deserialize_with = "read_headers")]
    pub headers: Headers,
    /// Its record.
    pub record: Bytes,
}

/// The body of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// What the entry says.
    pub record: Bytes,
    /// The entries before it, since the last that sealed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carry: Vec<Carried>,
}

impl Payload {
    /// The bytes of the message's body.
    ///
    /// # Errors
    /// As [`Record::encode`].
    pub fn encode(&self) -> Result<Bytes, DecodeError> {
        self.check()?;
        to_bytes(self)
    }

    fn check(&self) -> Result<(), DecodeError> {
        let carried = self.carry.len();
        if carried > CARRY_MAX {
            return Err(DecodeError::malformed(format_args!("{carried} carried entries, at most {CARRY_MAX} are allowed")));
        }
        Ok(())
    }

    /// The body in `bytes`.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] when they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let payload: Self = from_slice(bytes).map_err(DecodeError::malformed)?;
        payload.check()?;
        Ok(payload)
    }
}

fn to_bytes(value: &impl Serialize) -> Result<Bytes, DecodeError> {
    rmp_serde::to_vec_named(value).map(Bytes::from).map_err(DecodeError::malformed)
}

/// A header's name in a carry: the number of a known one (they repeat in every entry), the text of any other.
struct Name(Cow<'static, str>);

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (0_u8..).zip(header::ALL).find(|(_, known)| *known == self.0) {
            Some((number, _)) => serializer.serialize_u8(number),
            None => serializer.serialize_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl Visitor<'_> for NameVisitor {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a header's name or number")
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Name, E> {
                let known = usize::try_from(number).ok().and_then(|number| header::ALL.get(number));
                known.map(|name| Name(Cow::Borrowed(name))).ok_or_else(|| E::custom(format_args!("no header has number {number}")))
            }
            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Name, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_any(NameVisitor)
    }
}

fn write_headers<S: Serializer>(headers: &Headers, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(headers.0.iter().map(|(name, value)| (Name(name.clone()), value)))
}

fn read_headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Headers, D::Error> {
    let headers = Vec::<(Name, String)>::deserialize(deserializer)?;
    Ok(Headers(headers.into_iter().map(|(Name(name), value)| (name, value)).collect()))
}
