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
use crate::subject::ordinal_of;

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
        #[derive(Serialize)]
        struct WireRecord<'a> {
            events: Vec<WireEvent<'a>>,
            state: &'a State,
        }
        #[derive(Serialize)]
        struct WireEvent<'a> {
            kind: &'a str,
            data: Bytes,
        }
        let event = |event| Ok(WireEvent { kind: Event::kind(event), data: event.encode().map_err(DecodeError::malformed)? });
        let events = self.events.iter().map(event).collect::<Result<_, DecodeError>>()?;
        to_bytes(&WireRecord { events, state: &self.state })
    }

    /// The record in `bytes`.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] when they are no record.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct WireRecord<'a> {
            #[serde(borrow)]
            events: Vec<WireEvent<'a>>,
            #[serde(default)]
            state: State,
        }
        #[derive(Deserialize)]
        struct WireEvent<'a> {
            kind: &'a str,
            data: &'a [u8],
        }
        let WireRecord { events, state } = from_slice(bytes).map_err(DecodeError::malformed)?;
        if events.is_empty() || events.len() > EVENTS_MAX {
            return Err(DecodeError::malformed(format_args!("{} events in one entry, 1 to {EVENTS_MAX} are allowed", events.len())));
        }
        let decode = |WireEvent { kind, data }: WireEvent<'_>| {
            Event::decode(kind, data).map_err(|error| DecodeError::malformed(format_args!("event {kind:?}: {error}")))
        };
        Ok(Self { events: events.into_iter().map(decode).collect::<Result<_, _>>()?, state })
    }
}

/// An entry inside another's carry: everything of it but *its* carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Carried<'a> {
    /// Its number in the stream.
    pub seq: Seq,
    /// Its subject.
    pub subject: String,
    /// Its headers.
    #[serde(serialize_with = "write_headers")]
    pub headers: Cow<'a, Headers>,
    /// Its record.
    pub record: Bytes,
}

/// The same as it lies in a message: most of what a message carries, its reader knows already.
#[derive(Deserialize)]
struct Lying<'a> {
    seq: Seq,
    subject: &'a str,
    #[serde(borrow)]
    headers: Vec<(Name<'a>, &'a str)>,
    record: &'a [u8],
}

impl Lying<'_> {
    /// Whether it may be an entry of this ordinal or a later one.
    fn is_from(&self, first: Ordinal) -> bool {
        ordinal_of(self.subject).is_none_or(|ordinal| ordinal >= first)
    }

    fn taken_out(self) -> Carried<'static> {
        let headers = self.headers.iter().filter_map(|(name, value)| Some((name.text()?, (*value).to_owned()))).collect();
        let record = Bytes::copy_from_slice(self.record);
        Carried { seq: self.seq, subject: self.subject.to_owned(), headers: Cow::Owned(Headers(headers)), record }
    }
}

/// The body of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Payload<'a> {
    /// What the entry says.
    pub record: Bytes,
    /// The entries before it, since the last that sealed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub carry: Vec<Carried<'a>>,
}

impl Payload<'_> {
    /// The bytes of the message's body.
    ///
    /// # Errors
    /// As [`Record::encode`].
    pub fn encode(&self) -> Result<Bytes, DecodeError> {
        check(self.carry.len())?;
        to_bytes(self)
    }
}

impl Payload<'static> {
    /// The body in `bytes`.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] when they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_from(bytes, 0)
    }

    /// The same, without those of the carried entries that are before an ordinal.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_from(bytes: &[u8], first: Ordinal) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct LyingPayload<'a> {
            record: &'a [u8],
            #[serde(borrow, default)]
            carry: Vec<Lying<'a>>,
        }
        let LyingPayload { record, carry } = from_slice(bytes).map_err(DecodeError::malformed)?;
        check(carry.len())?;
        let carry = carry.into_iter().filter(|carried| carried.is_from(first)).map(Lying::taken_out).collect();
        Ok(Self { record: Bytes::copy_from_slice(record), carry })
    }
}

fn check(carried: usize) -> Result<(), DecodeError> {
    if carried > CARRY_MAX {
        return Err(DecodeError::malformed(format_args!("{carried} carried entries, at most {CARRY_MAX} are allowed")));
    }
    Ok(())
}

fn to_bytes(value: &impl Serialize) -> Result<Bytes, DecodeError> {
    rmp_serde::to_vec_named(value).map(Bytes::from).map_err(DecodeError::malformed)
}

/// A header's name in a carry: the number of a known one (they repeat in every entry), the text of any other.
enum Name<'a> {
    Known(u8),
    Other(&'a str),
}

impl<'a> Name<'a> {
    fn of(name: &'a str) -> Self {
        (0..).zip(header::ALL).find(|(_, known)| *known == name).map_or(Self::Other(name), |(number, _)| Self::Known(number))
    }

    fn text(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Known(number) => header::ALL.get(usize::from(*number)).map(|name| Cow::Borrowed(*name)),
            Self::Other(name) => Some(Cow::Owned((*name).to_owned())),
        }
    }
}

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(number) => serializer.serialize_u8(*number),
            Self::Other(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a header's name or number")
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Name<'de>, E> {
                let known = u8::try_from(number).ok().filter(|number| usize::from(*number) < header::ALL.len());
                known.map(Name::Known).ok_or_else(|| E::custom(format_args!("no header has number {number}")))
            }
            fn visit_borrowed_str<E: serde::de::Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name::Other(name))
            }
        }
        deserializer.deserialize_any(NameVisitor)
    }
}

fn write_headers<S: Serializer>(headers: &Headers, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(headers.iter().map(|(name, value)| (Name::of(name), value)))
}
