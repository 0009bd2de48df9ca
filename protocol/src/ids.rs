//! Identifiers that parse: a value of one of these types is valid wherever it is, in a subject, a header or a URL.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER, Specification};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// An entry's number in its conversation: 0, 1, 2 … without a gap.
pub type Ordinal = u64;

/// A message's number in the broker's stream; 0 is "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}: {rule}")]
pub struct InvalidId {
    /// The refused text, cut to a printable length.
    pub text: String,
    /// What it was meant to be.
    pub what: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}

impl InvalidId {
    fn new(text: &str, what: &'static str, rule: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), what, rule }
    }
}

/// Writers that are no agents; no agent may have these names (semantics 3).
pub const RESERVED_NAMES: [&str; 3] = ["client", "gateway", "coordinator"];

const NAME_RULE: &str = "use 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit";

/// Names are NATS tokens and DNS labels at once, so that subject, pod and service are named alike.
fn is_dns_label(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

fn is_token(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text as it stands in subjects.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let check: fn(&str) -> Result<(), &'static str> = $check;
                check(text).map_err(|rule| InvalidId::new(text, $what, rule))?;
                Ok(Self(text.into()))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        serde_as_text!($name);
    };
}

macro_rules! serde_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id!(
    /// An agent: a role with instructions, tools and handoffs. Never a process.
    AgentName, "an agent's name", |text| {
        if RESERVED_NAMES.contains(&text) {
            return Err("client, gateway and coordinator are reserved for the writers that are no agents");
        }
        if is_dns_label(text) { Ok(()) } else { Err(NAME_RULE) }
    }
);
text_id!(
    /// An orchestration: the static set of agents, handoffs and limits; one stream.
    OrchestrationName, "an orchestration's name", |text| if is_dns_label(text) { Ok(()) } else { Err(NAME_RULE) }
);
text_id!(
    /// A conversation: the unit of ownership and ordering; one journal.
    ConversationId, "a conversation id", |text| {
        if is_token(text) { Ok(()) } else { Err("use 1 to 64 of A-Z, a-z, 0-9, '-' and '_'") }
    }
);
text_id!(
    /// A process: a worker, coordinator or gateway that runs now.
    ProcessId, "a process id", |text| {
        if is_token(text) { Ok(()) } else { Err("use 1 to 64 of A-Z, a-z, 0-9, '-' and '_'") }
    }
);
text_id!(
    /// A content hash of an orchestration's definition: 12 hexadecimal digits.
    Revision, "a revision", |text| {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            Ok(())
        } else {
            Err("a revision is 12 digits of 0-9 and a-f")
        }
    }
);

impl Revision {
    /// The revision of a definition's canonical bytes.
    pub fn of(canonical: &[u8]) -> Self {
        let digest = Sha256::digest(canonical);
        let short: Vec<u8> = digest.iter().copied().take(6).collect();
        Self(HEXLOWER.encode(&short).into())
    }
}

impl ConversationId {
    /// The id that a caller's opening always gets: a repeated opening finds the first one (design 5).
    pub fn of_opening(caller: &str, key: &str) -> Self {
        Self(EntryId::digest(&[b"conversation", caller.as_bytes(), key.as_bytes()]).to_string().into())
    }

    /// A fresh id from 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(EntryId(bytes).to_string().into())
    }
}

impl ProcessId {
    /// A fresh id from 16 random bytes, short enough to read in a list.
    pub fn from_random(prefix: &str, bytes: [u8; 16]) -> Result<Self, InvalidId> {
        let suffix: String = EntryId(bytes).to_string().chars().take(8).collect();
        format!("{prefix}-{suffix}").parse()
    }
}

/// Base32 in Crockford's lower-case alphabet: no padding, no letters that read alike.
static BASE32: LazyLock<Option<data_encoding::Encoding>> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
    spec.encoding().ok()
});

/// An entry's identity, chosen by its writer before the append: whoever finds this id at an ordinal knows who won it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId([u8; 16]);

impl EntryId {
    /// An id from 16 random bytes (a worker's or coordinator's entry).
    pub const fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id that a caller's request always gets: a repeat through any gateway is recognised (design 5).
    pub fn of_request(conversation: &ConversationId, key: &str) -> Self {
        Self::digest(&[b"entry", conversation.as_str().as_bytes(), key.as_bytes()])
    }

    /// The `n`-th id of a turn that was given 16 random bytes: a turn decides without drawing random numbers.
    pub fn of_turn(seed: [u8; 16], n: u64) -> Self {
        Self::digest(&[b"turn", &seed, &n.to_be_bytes()])
    }

    /// The first 128 bits of SHA-256 over length-prefixed parts.
    fn digest(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(hasher.finalize()) {
            *to = from;
        }
        Self(id)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match BASE32.as_ref() {
            Some(base32) => f.write_str(&base32.encode(&self.0)),
            None => f.write_str(&HEXLOWER.encode(&self.0)),
        }
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EntryId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new(text, "an entry id", "26 characters of Crockford's base32, lower case");
        let bytes = BASE32.as_ref().and_then(|base32| base32.decode(text.as_bytes()).ok()).ok_or_else(invalid)?;
        bytes.try_into().map(Self).map_err(|_| invalid())
    }
}

/// Text where people read (JSON), 16 bytes where they do not (MessagePack).
impl Serialize for EntryId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(&self.0) }
    }
}

impl<'de> Deserialize<'de> for EntryId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            return std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom);
        }
        let bytes = bytes::Bytes::deserialize(deserializer)?;
        bytes.as_ref().try_into().map(Self).map_err(D::Error::custom)
    }
}

/// SHA-256; links an entry to its predecessor and its headers to its record.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new(text, "a hash", "43 characters of unpadded base64url");
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| invalid())?;
        bytes.try_into().map(Self).map_err(|_| invalid())
    }
}
serde_as_text!(Hash);

/// An event's place in its conversation, `<ordinal>.<index>`: an entry records one or more events. A human request is
/// named by the event that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The entry that records it.
    pub ordinal: Ordinal,
    /// Its place among that entry's events, from 0.
    pub index: u32,
}

/// A human request's id: the id of the `Asked` event that made it.
pub type RequestId = EventId;

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ordinal, self.index)
    }
}

impl FromStr for EventId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new(text, "an event id", "<ordinal>.<index>, as in 3.0");
        let (ordinal, index) = text.split_once('.').ok_or_else(invalid)?;
        let ordinal = decimal(ordinal).ok_or_else(invalid)?;
        let index = decimal(index).and_then(|index| u32::try_from(index).ok()).ok_or_else(invalid)?;
        Ok(Self { ordinal, index })
    }
}
serde_as_text!(EventId);

/// Plain decimal digits without sign or leading zero: one number has one spelling.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    canonical.then(|| text.parse().ok()).flatten()
}

/// Who wrote an entry: the last token of its subject, so that the broker's permissions can hold writers to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Writer {
    /// A program that uses the client library.
    Client,
    /// The human edge.
    Gateway,
    /// The timekeeper.
    Coordinator,
    /// A worker in the name of an agent.
    Agent(AgentName),
}

impl Writer {
    /// Whether this is the caller's side of the conversation.
    pub const fn is_caller(&self) -> bool {
        matches!(self, Self::Client | Self::Gateway)
    }

    /// The agent, where the writer is one.
    pub const fn agent(&self) -> Option<&AgentName> {
        match self {
            Self::Agent(name) => Some(name),
            Self::Client | Self::Gateway | Self::Coordinator => None,
        }
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Gateway => "gateway",
            Self::Coordinator => "coordinator",
            Self::Agent(name) => name.as_str(),
        })
    }
}

impl FromStr for Writer {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Ok(match text {
            "client" => Self::Client,
            "gateway" => Self::Gateway,
            "coordinator" => Self::Coordinator,
            _ => Self::Agent(text.parse()?),
        })
    }
}
serde_as_text!(Writer);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_and_not_reserved() {
        for good in ["a", "order-status", "a1", "0x", &"a".repeat(63)] {
            assert!(good.parse::<AgentName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", "a*", ">", "é", "client", "gateway", "coordinator", &"a".repeat(64)] {
            assert!(bad.parse::<AgentName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_number_has_one_spelling() {
        assert_eq!("3.0".parse::<EventId>().unwrap(), EventId { ordinal: 3, index: 0 });
        for bad in ["03.0", "+3.0", "3", "3.", ".0", "3.0.0", "3.4294967296", "99999999999999999999.0"] {
            assert!(bad.parse::<EventId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn identifiers_survive_their_own_text() {
        let id = EntryId::from_random([7; 16]);
        assert_eq!(id.to_string().len(), 26);
        assert_eq!(id.to_string().parse::<EntryId>().unwrap(), id);
        let hash = Hash::of(b"x");
        assert_eq!(hash.to_string().parse::<Hash>().unwrap(), hash);
        assert!(id.to_string().parse::<ConversationId>().is_ok());
        assert_eq!(Revision::of(b"x").to_string().parse::<Revision>().unwrap(), Revision::of(b"x"));
    }

    #[test]
    fn a_repeated_request_gets_the_same_id_and_others_do_not() {
        let first = ConversationId::of_opening("ann", "k1");
        assert_eq!(first, ConversationId::of_opening("ann", "k1"));
        assert_ne!(first, ConversationId::of_opening("annk", "1"));
        assert_ne!(EntryId::of_request(&first, "a"), EntryId::of_request(&first, "b"));
    }
}
