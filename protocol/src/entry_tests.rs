use super::*;
use crate::event::{Message, Said};
use crate::walk::{Walk, agent};

fn walk() -> Walk {
    let mut walk = Walk::open(vec![Message::default()], true);
    walk.write(Class::In, crate::ids::Writer::Gateway, vec![Said { text: "hello".to_owned() }.into()]);
    walk
}

fn with(stored: &Stored, name: &'static str, value: &str) -> Stored {
    let mut changed = stored.clone();
    changed.headers.insert(name, value.to_owned());
    changed
}

fn without(stored: &Stored, name: &str) -> Stored {
    let headers = Headers::from_pairs(stored.headers.iter().filter(|(present, _)| *present != name));
    Stored { headers, ..stored.clone() }
}

#[test]
fn a_newer_version_is_told_from_nonsense_before_its_body_is_looked_at() {
    let stored = &walk().stored[1];
    let newer = Stored { payload: Bytes::from_static(b"\xc1"), ..with(stored, header::VERSION, "2") };
    assert!(matches!(Entry::decode(&newer), Err(DecodeError::Newer { what }) if what.contains("\"2\"")));
    assert!(matches!(Entry::decode(&Stored { payload: Bytes::from_static(b"\xc1"), ..stored.clone() }), Err(DecodeError::Malformed(_))));
    assert!(matches!(Entry::decode(&without(stored, header::VERSION)), Err(DecodeError::Malformed(_))));
}

#[test]
fn an_entry_that_contradicts_itself_is_none() {
    let stored = &walk().stored[1];
    assert!(Entry::decode(stored).is_ok());
    let huge =
        format!("{{\"owner\":\"triage\",\"phase\":\"working\",\"turn\":0,\"user_turns\":1,\"x\":\"{}\"}}", "x".repeat(HEADER_BYTES_MAX));
    let wrong = [
        (header::KIND, "replied"),
        (header::RECORD, "8Mu0Ci0ZjkQk6hO-kZkzYG54ogfL88Vd5PGIMkzoxFo"),
        (header::EPOCH, "01"),
        (header::EPOCH, "-1"),
        (header::ID, "short"),
        (header::PROCESS, "w 1"),
        (header::REVISION, "XYZ"),
        (header::BRIEF, "{}"),
        (header::BRIEF, huge.as_str()),
    ];
    for (name, value) in wrong {
        assert!(matches!(Entry::decode(&with(stored, name, value)), Err(DecodeError::Malformed(_))), "{name}: {value:.40}");
    }
    for name in [header::ID, header::KIND, header::RECORD, header::EPOCH, header::PROCESS, header::REVISION, header::BRIEF] {
        assert!(matches!(Entry::decode(&without(stored, name)), Err(DecodeError::Malformed(_))), "{name}");
    }
    assert!(Entry::decode(&Stored { subject: "baton.support.live.triage.c1".to_owned(), ..stored.clone() }).is_err());
    // What nobody needs may be missing or odd.
    assert!(Entry::decode(&without(stored, header::TRACEPARENT)).is_ok());
    assert!(Entry::decode(&with(stored, header::TRACESTATE, "?")).is_ok());
}

#[test]
fn a_broken_carried_entry_breaks_its_carrier() {
    let stored = &walk().stored[1];
    let mut payload = Payload::decode(&stored.payload).unwrap();
    payload.carry[0].headers.to_mut().insert(header::KIND, "said".to_owned());
    let broken = Stored { payload: payload.encode().unwrap(), ..stored.clone() };
    assert!(matches!(Entry::decode(&broken), Err(DecodeError::Malformed(_))));
    payload.carry[0].headers.to_mut().insert(header::VERSION, "2".to_owned());
    let newer = Stored { payload: payload.encode().unwrap(), ..stored.clone() };
    assert!(matches!(Entry::decode(&newer), Err(DecodeError::Newer { .. })));
}

/// The hash covers subject, headers and, through its own hash, the record; not the signature, which covers the same.
#[test]
fn an_entrys_hash_covers_all_that_it_says() {
    let walk = walk();
    let stored = &walk.stored[1];
    let entry = walk.conversation.last().unwrap();
    assert_eq!(entry.previous(), Some(walk.conversation.entries()[0].hash));
    for name in header::ALL {
        let mut headers = entry.headers.clone();
        headers.insert(name, "other".to_owned());
        // A signature covers the hash, and where its payload lies is the message's affair.
        let is_covered = ![header::SIGNATURE, header::OBJECT].contains(&name);
        assert_eq!(hash(&entry.head.subject, &headers) != entry.hash, is_covered, "{name}");
    }
    assert_eq!(Entry::decode(&with(stored, header::SIGNATURE, "s")).unwrap().0.hash, entry.hash);
    let mut subject = entry.head.subject.clone();
    subject.from = crate::ids::Writer::Agent(agent("triage"));
    assert_ne!(hash(&subject, &entry.headers), entry.hash);
}
