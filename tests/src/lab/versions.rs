//! What the older of two versions must not lose: whatever the next one (`protocol/src/next.rs`) says beyond what it knows itself. Read off
//! the recording, like everything that is checked.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use protocol::wire::v1::Payload;
use protocol::wire::{Headers, header};
use serde_json::Value as Json;

use super::record::{Record, Seen};
use super::verdict::Broken;

/// The header, and the field in a brief, that only the next version writes.
const HEADER: &str = "Baton-Next";
const FIELD: &str = "next";
/// The kind of event that only the next version knows.
const KIND: &[u8] = b"hummed";
/// The promise: every observer agrees on content.
const INVARIANT: &str = "I3";

/// An entry as the first replica has it.
struct Line {
    place: usize,
    conversation: String,
    ordinal: u64,
    is_next: bool,
    brief: Json,
    headers: Headers,
    payload: Option<Payload<'static>>,
}

/// Who wrote what, in a recording of two versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mixture {
    /// Entries of the next version.
    pub next: usize,
    /// Entries of this version in conversations that the next one has written in before.
    pub now: usize,
    /// Events of a kind that only the next version knows.
    pub unknown: usize,
    /// Entries by which this version set one aside.
    pub set_aside: usize,
}

/// See [`Mixture`].
pub fn mixture(records: &[Record]) -> Mixture {
    let mut mixture = Mixture::default();
    for entries in conversations(records).values() {
        let began = entries.iter().position(|line| line.is_next).unwrap_or(entries.len());
        for line in &entries[began..] {
            mixture.next += usize::from(line.is_next);
            mixture.now += usize::from(!line.is_next);
            mixture.set_aside += usize::from(line.headers.get(header::KIND) == Some("set-aside"));
            let record = line.payload.as_ref().map(|payload| &payload.record);
            mixture.unknown += usize::from(record.is_some_and(|record| record.windows(KIND.len()).any(|bytes| bytes == KIND)));
        }
    }
    mixture
}

/// What was not relayed: fields of a brief, or anything of an entry that others carry.
pub fn lost(records: &[Record]) -> Vec<Broken> {
    conversations(records).iter().flat_map(|(conversation, entries)| lost_of(conversation, entries)).collect()
}

fn lost_of(conversation: &str, entries: &[Line]) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut said = |line: &Line, what: String| {
        broken.push(Broken {
            invariant: INVARIANT.to_owned(),
            conversation: Some(conversation.to_owned()),
            what: format!("entry {}: {what}", line.ordinal),
            evidence: vec![line.place],
        });
    };
    let by_ordinal: BTreeMap<u64, &Line> = entries.iter().map(|line| (line.ordinal, line)).collect();
    for (before, line) in entries.iter().zip(entries.iter().skip(1)) {
        let counted = |line: &Line| line.brief[FIELD].as_u64().unwrap_or_default();
        if counted(line) != counted(before) + u64::from(line.is_next) {
            said(line, format!("the next version's entries were {} and are {}", counted(before), counted(line)));
        }
        if line.brief["fixed"][FIELD] != before.brief["fixed"][FIELD] {
            said(line, "what the opening fixed is not what it was".to_owned());
        }
        for request in before.brief["requests"].as_array().into_iter().flatten() {
            let now = line.brief["requests"].as_array().into_iter().flatten().find(|now| now["id"] == request["id"]);
            if now.is_some_and(|now| now[FIELD] != request[FIELD]) {
                said(line, format!("request {} is not what it was", request["id"]));
            }
        }
        for carried in line.payload.iter().flat_map(|payload| &payload.carry) {
            let own = carried
                .subject
                .split('.')
                .nth(4)
                .and_then(|ordinal| ordinal.parse().ok())
                .and_then(|ordinal: u64| by_ordinal.get(&ordinal));
            let is_whole = own.is_some_and(|own| {
                let record = own.payload.as_ref().is_none_or(|payload| payload.record == carried.record);
                record && own.headers.iter().filter(|(name, _)| *name != header::OBJECT).eq(carried.headers.iter())
            });
            if !is_whole {
                said(line, format!("it carries {} otherwise than it was written", carried.subject));
            }
        }
    }
    broken
}

fn conversations(records: &[Record]) -> BTreeMap<String, Vec<Line>> {
    let mut conversations: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for line in records.iter().enumerate().filter_map(|(place, record)| line(place, record)) {
        conversations.entry(line.conversation.clone()).or_default().push(line);
    }
    conversations
}

fn line(place: usize, record: &Record) -> Option<Line> {
    let Seen::Entry { replica, subject, headers, payload, .. } = &record.seen else { return None };
    let tokens: Vec<&str> = subject.split('.').collect();
    let [_, _, "c", conversation, ordinal, ..] = tokens[..] else { return None };
    if replica != "n0" {
        return None;
    }
    let headers = Headers::from_pairs(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    Some(Line {
        place,
        conversation: conversation.to_owned(),
        ordinal: ordinal.parse().ok()?,
        is_next: headers.get(HEADER).is_some(),
        brief: serde_json::from_str(headers.get(header::BRIEF)?).ok()?,
        payload: BASE64.decode(payload.as_bytes()).ok().and_then(|bytes| Payload::decode(&bytes).ok()),
        headers,
    })
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use bytes::Bytes;
    use protocol::ids::Seq;
    use protocol::wire::v1::Carried;

    use super::*;

    /// An entry of conversation `c`; the next version's, if it counts itself.
    fn entry(ordinal: u64, is_next: bool, brief: &Json, carry: Vec<Carried<'static>>) -> Record {
        let record = Bytes::from(format!("record {ordinal}"));
        let payload = Payload { record, carry }.encode().unwrap();
        let mut headers = vec![(header::BRIEF.to_owned(), brief.to_string())];
        headers.extend(is_next.then(|| (HEADER.to_owned(), "1".to_owned())));
        let (replica, subject) = ("n0".to_owned(), format!("baton.lab.c.c.{ordinal}.in.client"));
        Record { at_us: 0, seen: Seen::Entry { replica, seq: ordinal + 1, time_ms: 0, subject, headers, payload: BASE64.encode(&payload) } }
    }

    fn carried(of: &Record) -> Carried<'static> {
        let line = line(0, of).unwrap();
        let Seen::Entry { subject, seq, .. } = &of.seen else { unreachable!() };
        Carried { seq: Seq(*seq), subject: subject.clone(), headers: Cow::Owned(line.headers), record: line.payload.unwrap().record }
    }

    fn brief(count: u64) -> Json {
        serde_json::json!({ "next": count, "fixed": { "next": true }, "requests": [{ "id": "0.0", "next": true }] })
    }

    #[test]
    fn what_is_relayed_is_no_loss_and_both_versions_are_counted() {
        let first = entry(0, true, &brief(1), Vec::new());
        let records = [first.clone(), entry(1, false, &brief(1), vec![carried(&first)]), entry(2, true, &brief(2), Vec::new())];
        assert_eq!(lost(&records), []);
        assert_eq!(mixture(&records), Mixture { next: 2, now: 1, unknown: 0, set_aside: 0 });
    }

    #[test]
    fn what_is_not_relayed_is_reported() {
        let first = entry(0, true, &brief(1), Vec::new());
        let without = |field: &str| {
            let mut brief = brief(1);
            brief.pointer_mut(field).and_then(Json::as_object_mut).unwrap().remove(FIELD);
            entry(1, false, &brief, Vec::new())
        };
        for field in ["", "/fixed", "/requests/0"] {
            assert_eq!(lost(&[first.clone(), without(field)]).len(), 1, "{field:?}");
        }
        let mut bare = carried(&first);
        bare.headers = Cow::Owned(Headers::from_pairs(bare.headers.iter().filter(|(name, _)| *name != HEADER)));
        let cut = Carried { record: Bytes::from_static(b"rec"), ..carried(&first) };
        for carried in [bare, cut] {
            assert_eq!(lost(&[first.clone(), entry(1, false, &brief(1), vec![carried])]).len(), 1);
        }
    }
}
