//! The claim check: the payload of an entry that is too large for a message is kept as an object, and the message names it.
//!
//! It is the journal's own matter. The message is the one that was prepared, but for an empty payload and the header
//! [`header::OBJECT`]; every reader of bodies puts both right before it hands the entry out, so that hashes, signatures
//! and carries never know of it.

use bytes::Bytes;
use protocol::conversation::Prepared;
use protocol::ids::{ConversationId, Hash, Ordinal};
use protocol::wire::{Headers, Stored, header};

use crate::{ReadError, Refusal};

/// The largest payload of an entry, in bytes. A reader holds it in memory as a whole, several times over while it decodes.
pub const ENTRY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The object that holds an entry's payload, where a message cannot: `<conversation>.<ordinal>.<entry id>.<SHA-256>`.
///
/// Two messages with the same object are the same entry with the same payload: sent again it changes nothing, and what a
/// writer that lost its place takes back is nobody else's. The hash is there because a caller's request that is repeated
/// with another text has the id of the first.
pub fn object_name(prepared: &Prepared) -> String {
    let (subject, payload) = (prepared.subject(), Hash::of(&prepared.message.payload));
    format!("{}.{}.{}.{payload}", subject.conversation, subject.ordinal, prepared.id())
}

/// The ordinal in the name of one of a conversation's objects.
pub(crate) fn ordinal(conversation: &ConversationId, name: &str) -> Option<Ordinal> {
    let rest = name.strip_prefix(conversation.as_str())?.strip_prefix('.')?;
    rest.split('.').next()?.parse().ok()
}

/// Whether an entry's payload may be kept as an object.
pub(crate) const fn check_size(payload: &Bytes) -> Result<(), Refusal> {
    if payload.len() > ENTRY_BYTES_MAX {
        return Err(Refusal::TooLarge { bytes: payload.len(), bytes_max: ENTRY_BYTES_MAX });
    }
    Ok(())
}

/// The object that holds the payload of a message that was read; none where the message holds it itself.
pub(crate) fn claimed(stored: &Stored) -> Option<&str> {
    stored.headers.get(header::OBJECT).filter(|_| stored.payload.is_empty())
}

/// An entry as its writer prepared it.
pub(crate) fn redeem(stored: Stored, payload: Bytes) -> Stored {
    Stored { headers: prepared(&stored.headers), size: payload.len(), payload, ..stored }
}

/// Its headers, for a reader of headers.
pub(crate) fn without_payload(stored: Stored) -> Stored {
    match stored.headers.get(header::OBJECT) {
        None => stored,
        Some(_) => redeem(stored, Bytes::new()),
    }
}

fn prepared(headers: &Headers) -> Headers {
    Headers::from_pairs(headers.iter().filter(|(name, _)| *name != header::OBJECT))
}

/// The object is not there, or is not what was put.
pub(crate) fn damaged(stored: &Stored, object: &str) -> ReadError {
    ReadError::Damaged { subject: stored.subject.clone(), object: object.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_payload_is_kept_and_a_byte_more_is_not() {
        let payload = Bytes::from(vec![0; ENTRY_BYTES_MAX + 1]);
        assert_eq!(check_size(&payload.slice(1..)), Ok(()));
        let refusal = Refusal::TooLarge { bytes: ENTRY_BYTES_MAX + 1, bytes_max: ENTRY_BYTES_MAX };
        assert_eq!(check_size(&payload), Err(refusal));
    }

    #[test]
    fn an_object_belongs_to_one_conversation() {
        let c1: ConversationId = "c1".parse().unwrap();
        assert_eq!(ordinal(&c1, "c1.12.id.hash"), Some(12));
        for others in ["c10.12.id.hash", "c1", "c1.x.id.hash", "c.12.id.hash", "theirs"] {
            assert_eq!(ordinal(&c1, others), None, "{others}");
        }
    }

    fn stored(headers: &[(&str, &str)], payload: &'static [u8]) -> Stored {
        let headers = Headers::from_pairs(headers.iter().copied());
        protocol::wire::Message { subject: "s".to_owned(), headers, payload: Bytes::from_static(payload) }.stored(protocol::ids::Seq(1), 0)
    }

    #[test]
    fn only_a_message_without_a_payload_claims_one() {
        let [id, object] = [(header::ID, "x"), (header::OBJECT, "name")];
        assert_eq!(claimed(&stored(&[id], b"")), None);
        assert_eq!(claimed(&stored(&[id, object], b"its own")), None);
        let claiming = stored(&[id, object], b"");
        assert_eq!(claimed(&claiming), Some("name"));
        assert_eq!(redeem(claiming.clone(), Bytes::from_static(b"all")), stored(&[id], b"all"));
        assert_eq!(without_payload(claiming), stored(&[id], b""));
    }
}
