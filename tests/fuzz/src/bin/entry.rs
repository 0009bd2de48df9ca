//! Entries as a broker may deliver them: a subject, headers, a payload. Tried as they are, and with the hash repaired, so
//! that what lies behind it is reached. What is decoded folds without a panic, or not at all, and is carried verbatim.
#![no_main]

use std::collections::BTreeMap;

use bytes::Bytes;
use fuzz::framed;
use libfuzzer_sys::fuzz_target;
use protocol::conversation::Partial;
use protocol::event::Event;
use protocol::ids::{Hash, Seq};
use protocol::live::Live;
use protocol::wire::v1::Record;
use protocol::wire::{Headers, Message, Stored, header};
use serde::{Deserialize, Serialize};

fuzz_target!(|input: &[u8]| {
    let _ = Live::decode(input);
    let Some(framed) = framed::read(input) else { return };
    let payload = Bytes::copy_from_slice(framed.body);
    let headers = Headers::from_pairs(framed.fields.iter().copied());
    decode(Message { subject: framed.first.to_owned(), headers, payload: payload.clone() }.stored(Seq(1 << 40), 1));
    if let Some((record, kind)) = record(&payload) {
        let mut fields: BTreeMap<&str, &str> = framed.fields.into_iter().collect();
        let hash = Hash::of(&record).to_string();
        fields.insert(header::RECORD, &hash);
        fields.insert(header::KIND, &kind);
        let headers = Headers::from_pairs(fields);
        decode(Message { subject: framed.first.to_owned(), headers, payload }.stored(Seq(1 << 40), 1));
    }
});

/// The record in a payload, and the kind of its last event; written again, it is the same.
fn record(payload: &Bytes) -> Option<(Bytes, String)> {
    #[derive(Serialize, Deserialize)]
    struct Own {
        record: Bytes,
    }
    let Own { record } = rmp_serde::from_slice(payload).ok()?;
    let decoded = Record::decode(&record).ok()?;
    let again = decoded.encode().expect("what was read can be written");
    assert_eq!(Record::decode(&again).expect("what was written can be read"), decoded);
    Some((record, decoded.events.last().map(Event::kind)?.to_owned()))
}

fn decode(stored: Stored) {
    let Ok(partial) = Partial::decode(&stored) else { return };
    let last = partial.last().clone();
    assert_eq!(last.headers, stored.headers, "an entry keeps its headers");
    if partial.sealed().is_empty()
        && let Ok(conversation) = partial.complete(&[])
    {
        assert_eq!(conversation.tail().next, last.ordinal() + 1);
        for entry in conversation.entries() {
            let _ = (entry.unknown(), entry.epoch(), entry.previous());
        }
    }
}
