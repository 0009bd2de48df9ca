use proptest::prelude::*;

use super::v1::{Carried, Payload, Record, State};
use super::*;
use crate::event::{Event, Said};
use crate::ids::EntryId;

/// MessagePack of `depth` arrays, one in another.
fn nested(depth: usize) -> Vec<u8> {
    let mut bytes = vec![0x91; depth];
    bytes.push(0xc0);
    bytes
}

fn record_with(kind: &str, data: &[u8]) -> Bytes {
    #[derive(serde::Serialize)]
    struct E<'a> {
        kind: &'a str,
        data: Bytes,
    }
    #[derive(serde::Serialize)]
    struct R<'a> {
        events: [E<'a>; 1],
    }
    rmp_serde::to_vec_named(&R { events: [E { kind, data: data.to_vec().into() }] }).unwrap().into()
}

#[test]
fn headers_keep_their_order_and_forget_the_brokers() {
    let headers = Headers::from_pairs([
        ("traceparent", "t"),
        ("X-Other", "kept"),
        ("Nats-Expected-Last-Subject-Sequence", "3"),
        ("nats-stream", "s"),
        ("BATON-ID", "i"),
        ("baton-version", "1"),
        ("Baton-Id", "again"),
    ]);
    let pairs: Vec<_> = headers.iter().collect();
    assert_eq!(pairs, [("Baton-Version", "1"), ("Baton-Id", "again"), ("traceparent", "t"), ("X-Other", "kept")]);
    assert_eq!((headers.get(header::ID), headers.get(header::KIND)), (Some("again"), None));
    assert_eq!(Headers::from_pairs([("é", "v"), ("", "v")]).iter().count(), 2);
}

#[test]
fn the_order_of_headers_is_a_promise() {
    let mut headers = Headers::default();
    for name in header::ALL.into_iter().rev() {
        headers.insert(name, name.to_lowercase());
    }
    let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, header::ALL);
}

#[test]
fn nothing_may_follow_a_value() {
    let bytes = rmp_serde::to_vec_named(&Said { text: "hi".to_owned() }).unwrap();
    assert_eq!(from_slice::<Said>(&bytes).unwrap(), Said { text: "hi".to_owned() });
    let mut longer = bytes.clone();
    longer.push(0xc0);
    assert!(from_slice::<Said>(&longer).unwrap_err().to_string().contains("bytes after the value"));
    assert!(from_slice::<Said>(&bytes[..bytes.len() - 1]).is_err());
    // The same on every level: record, event, payload.
    assert!(Record::decode(&record_with("said", &bytes)).is_ok());
    assert!(Record::decode(&record_with("said", &longer)).is_err());
    let mut record = record_with("said", &bytes).to_vec();
    record.push(0xc0);
    assert!(Record::decode(&record).is_err());
    let mut payload = Payload { record: Bytes::new(), carry: Vec::new() }.encode().unwrap().to_vec();
    assert!(Payload::decode(&payload).is_ok());
    payload.push(0);
    assert!(Payload::decode(&payload).is_err());
}

#[test]
fn nesting_is_bounded_before_the_stack_is() {
    for depth in [DEPTH_MAX, 1000, 1_000_000] {
        assert!(from_slice::<serde_json::Value>(&nested(depth)).is_err(), "{depth}");
        assert!(Payload::decode(&nested(depth)).is_err());
        assert!(Record::decode(&nested(depth)).is_err());
        // As an argument of an event, and hidden in a field that this version ignores.
        let typed = [&[0x82, 0xa6][..], b"result", &[0xa1, b'x', 0xa5], b"value", &nested(depth)[..]].concat();
        assert!(Record::decode(&record_with("completed", &typed)).is_err());
        let ignored = [&[0x82, 0xa4][..], b"text", &[0xa1, b'x', 0xa5], b"other", &nested(depth)[..]].concat();
        assert!(Record::decode(&record_with("said", &ignored)).is_err(), "{depth}");
    }
    let fine = [&[0x82, 0xa4][..], b"text", &[0xa1, b'x', 0xa5], b"other", &nested(DEPTH_MAX - 3)[..]].concat();
    assert!(Record::decode(&record_with("said", &fine)).is_ok());
}

/// A short message may claim to be a long one: nothing is set aside for what is only claimed.
#[test]
fn a_claimed_length_takes_no_memory() {
    let claims: [&[u8]; 5] = [
        &[0xc6, 0xff, 0xff, 0xff, 0xff],
        &[0xdb, 0xff, 0xff, 0xff, 0xff],
        &[0xdd, 0xff, 0xff, 0xff, 0xff],
        &[0xdf, 0xff, 0xff, 0xff, 0xff],
        &[0xc9, 0xff, 0xff, 0xff, 0xff, 0x01],
    ];
    for claim in claims {
        assert!(from_slice::<serde_json::Value>(claim).is_err());
        assert!(from_slice::<Bytes>(claim).is_err());
        assert!(Payload::decode(claim).is_err());
        assert!(Record::decode(claim).is_err());
        assert!(Payload::decode(&[&[0x81, 0xa6][..], b"record", claim].concat()).is_err());
    }
}

#[test]
fn an_entry_has_one_to_so_many_events() {
    let said = || Event::from(Said { text: String::new() });
    let encode = |n: usize| Record { events: (0..n).map(|_| said()).collect(), state: State::default() }.encode().unwrap();
    assert!(Record::decode(&encode(0)).is_err());
    assert!(Record::decode(&encode(EVENTS_MAX)).is_ok());
    assert!(Record::decode(&encode(EVENTS_MAX + 1)).is_err());
}

#[test]
fn a_carry_has_only_so_many_entries() {
    let carried = Carried { seq: Seq(1), subject: String::new(), headers: Cow::default(), record: Bytes::new() };
    let payload = |n| Payload { record: Bytes::new(), carry: vec![carried.clone(); n] };
    assert_eq!(Payload::decode(&payload(CARRY_MAX).encode().unwrap()), Ok(payload(CARRY_MAX)));
    assert!(payload(CARRY_MAX + 1).encode().is_err());
}

/// A reader ignores what a newer version adds, and keeps kinds it does not know byte for byte.
#[test]
fn what_a_newer_version_adds_is_ignored_or_kept() {
    let more = [&[0x82, 0xa4][..], b"text", &[0xa2], b"hi", &[0xa4], b"mood", &[0xc3]].concat();
    let record = Record::decode(&record_with("said", &more)).unwrap();
    assert_eq!(record.events, [Event::from(Said { text: "hi".to_owned() })]);
    let data = Bytes::from_static(b"\xc1 never looked into");
    let record = Record::decode(&record_with("sung", &data)).unwrap();
    assert_eq!(record.events, [Event::Unknown { kind: "sung".to_owned(), data }]);
    assert_eq!(Record::decode(&record.encode().unwrap()).unwrap(), record);
    assert!(Record::decode(&record_with("said", b"\x80")).is_err(), "a known kind needs its fields");
}

#[test]
fn a_carried_header_is_a_number_or_a_name() {
    let mut headers = Headers::from_pairs([("Other", "o"), ("traceparent", "t")]);
    headers.insert(header::ID, "i".to_owned());
    let payload = Payload {
        record: Bytes::new(),
        carry: vec![Carried { seq: Seq(7), subject: "s".to_owned(), headers: Cow::Owned(headers), record: Bytes::new() }],
    };
    let bytes = payload.encode().unwrap();
    assert_eq!(Payload::decode(&bytes).unwrap(), payload);
    assert!(!bytes.windows(8).any(|window| window == b"Baton-Id"), "known names are numbers");
    let unknown_number = [
        &[0x82, 0xa6][..],
        b"record",
        &[0xc4, 0, 0xa5],
        b"carry",
        &[0x91, 0x84, 0xa3],
        b"seq",
        &[1, 0xa7],
        b"subject",
        &[0xa0, 0xa7],
        b"headers",
        &[0x91, 0x92, 99, 0xa0, 0xa6],
        b"record",
        &[0xc4, 0],
    ]
    .concat();
    assert!(Payload::decode(&unknown_number).unwrap_err().to_string().contains("no header has number 99"));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0..Event::KINDS.len()) {
        let _ = from_slice::<serde_json::Value>(&bytes);
        let _ = Payload::decode(&bytes);
        let _ = Record::decode(&bytes);
        let _ = Record::decode(&record_with(Event::KINDS[kind], &bytes));
        let _ = crate::live::Live::decode(&bytes);
    }

    #[test]
    fn a_record_survives_its_bytes(text in ".{0,60}", sealed in proptest::collection::vec(any::<u64>(), 0..5), seals: bool, id: [u8; 16], place: u64) {
        let recent = vec![(EntryId::from_random(id), place)];
        let record = Record { events: vec![Said { text }.into()], state: State { sealed, seals, recent } };
        prop_assert_eq!(Record::decode(&record.encode().unwrap()).unwrap(), record);
    }
}
