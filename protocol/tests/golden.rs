//! Golden bytes of wire version 1: what is stored today must be read for as long as a conversation lives, and by workers in other
//! languages. A changed byte is a new version, not a new golden file. `UPDATE_GOLDEN=1 cargo test -p baton-protocol --test golden`
//! writes files for what is new.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use protocol::brief::Fixed;
use protocol::conversation::{Conversation, Draft, Partial};
use protocol::entry::Trace;
use protocol::event::{
    Asked, Audience, Call, Cancelled, Claimed, Completed, CompletedBecause, Continuation, Continued, Decided, Deferred, DeskAction, Effect,
    Erased, Event, Failed, HandedBack, HistoryOption, InDoubt, Intended, IntendedCall, Interrupted, Message as InputMessage, Opened,
    Reassigned, Redispatched, Replied, RequestKind, Responded, Returned, Role, Said, SetAside, Snapshotted, Taken, Transferred, Usage,
    Verdict, Warned, Withdrawn, WithdrawnCall,
};
use protocol::ids::{EntryId, EventId, Hash, ProcessId, Revision, Seq};
use protocol::subject::Class;
use protocol::wire::v1::{Record, State};
use protocol::wire::{self, Headers, Stored};
use serde_json::json;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Compares with a golden file, or writes it.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test may be told to rewrite what it expects")]
fn check(name: &str, bytes: &[u8]) {
    let path = directory().join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, bytes).unwrap();
    }
    let golden = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}; UPDATE_GOLDEN=1 writes it"));
    assert!(golden == bytes, "{name} is written differently now:\n  {}\nnot\n  {}", bytes.escape_ascii(), golden.escape_ascii());
}

fn call() -> Call {
    Call { id: "call_1".to_owned(), name: "pay".to_owned(), arguments: r#"{"amount":12.5}"#.to_owned() }
}

fn process() -> ProcessId {
    "worker-1".parse().unwrap()
}

const REQUEST: EventId = EventId { ordinal: 3, index: 1 };

/// Events of the caller's side and the coordinator, every field set.
fn others_events() -> Vec<Event> {
    let message = InputMessage { role: Role::User, name: Some("Ann".to_owned()), text: "My order is läte.".to_owned() };
    let system = InputMessage { role: Role::System, name: None, text: "VIP".to_owned() };
    let value = Some(json!({ "order": 17, "ratio": 0.5, "tags": ["a", null, true], "debt": -3 }));
    let metadata = BTreeMap::from([("tier".to_owned(), json!("gold"))]);
    let arguments_hash = Some(Hash::of(call().arguments.as_bytes()));
    let (note, by) = ("fine".to_owned(), "bob".to_owned());
    vec![
        Opened { input: vec![system, message], value, metadata, human: true }.into(),
        Said { text: "Hello?".to_owned() }.into(),
        Replied::new(REQUEST, "17").into(),
        Decided { request: REQUEST, verdict: Verdict::Approved, arguments_hash, note, by: by.clone() }.into(),
        Claimed { request: REQUEST, by: by.clone() }.into(),
        Interrupted { text: "Wait.".to_owned() }.into(),
        Redispatched { turn: 2, reason: "silence".to_owned() }.into(),
        Reassigned { to: "refund".parse().unwrap(), by }.into(),
        Snapshotted { entries: 9 }.into(),
        Cancelled { reason: "changed my mind".to_owned() }.into(),
        Erased {}.into(),
    ]
}

/// Events of owners, every field set.
fn owners_events() -> Vec<Event> {
    let usage = Some(Usage { input_tokens: 1000, output_tokens: 20, cached_tokens: 512 });
    let intended =
        IntendedCall { call: "call_1".to_owned(), key: "k-0".to_owned(), effect: Effect::SideEffect, in_doubt: InDoubt::Retry, undo: None };
    let key = |key: &str| key.to_owned();
    let withdrawn = WithdrawnCall { call: "call_1".to_owned(), tool: "refund".to_owned(), key: key("k-0-undo"), undoes: key("k-0") };
    let (kind, audience) = (RequestKind::Approval, Audience::Role("manager".to_owned()));
    let arguments_hash = Some(Hash::of(call().arguments.as_bytes()));
    let (text, detail, reason) = ("text".to_owned(), "detail".to_owned(), "reason".to_owned());
    let transferred = Transferred {
        to: "refund".parse().unwrap(),
        call: Some("call_2".to_owned()),
        reason: Some(reason.clone()),
        payload: Some(json!({ "order": 17 })),
        history: HistoryOption::Summary,
        summary: Some("so far".to_owned()),
    };
    vec![
        Responded { text: text.clone(), calls: vec![call()], model: "gpt-5-mini".to_owned(), usage }.into(),
        Intended { calls: vec![intended] }.into(),
        Withdrawn { calls: vec![withdrawn] }.into(),
        Returned { call: "call_1".to_owned(), tool: "pay".to_owned(), content: text.clone(), is_error: true }.into(),
        Warned { code: "transfer_ignored".into(), detail: detail.clone() }.into(),
        transferred.into(),
        Continued { because: Continuation::Autonomous, prompt: Some("Go on.".to_owned()) }.into(),
        Asked { kind, audience, text: text.clone(), call: Some(call()), arguments_hash, due_secs: Some(86_400) }.into(),
        Taken { by: process(), delivered: 2 }.into(),
        Deferred { wait_secs: 30, reason: reason.clone() }.into(),
        HandedBack { by: process(), reason }.into(),
        SetAside { ordinal: 4, what: "sung".to_owned(), wait_secs: 10 }.into(),
        Completed { because: CompletedBecause::TaskComplete, result: text, value: Some(json!([1])) }.into(),
        Failed { code: "model_error".into(), detail }.into(),
    ]
}

fn events() -> Vec<Event> {
    [others_events(), owners_events()].concat()
}

fn check_events() {
    for event in events() {
        let name = format!("event-{}.bin", event.kind());
        let record = Record { events: vec![event], state: State::default() };
        check(&name, &record.encode().unwrap());
        let golden = fs::read(directory().join(&name)).unwrap();
        assert_eq!(Record::decode(&Bytes::from(golden)).unwrap(), record, "{name}");
    }
}

#[test]
fn every_kind_is_written_as_ever_and_read_back() {
    check_events();
}

/// A reply of a person at a desk says more than a caller's, which is written as ever: see `event-replied.bin`.
#[test]
fn what_a_desk_does_is_written_as_ever_and_read_back() {
    let to = "refund".parse().unwrap();
    let transfer = DeskAction::Transfer { to };
    for (name, action, value) in [
        ("desk-transfers.bin", transfer.clone(), None),
        ("desk-completes.bin", DeskAction::Complete, None),
        ("desk-transfers-typed.bin", transfer, Some(json!({ "order": 7 }))),
    ] {
        let reply = Replied { action: Some(action), value, by: "ann".to_owned(), ..Replied::new(REQUEST, "Not ours.") };
        let record = Record { events: vec![reply.into()], state: State::default() };
        check(name, &record.encode().unwrap());
        let golden = fs::read(directory().join(name)).unwrap();
        assert_eq!(Record::decode(&Bytes::from(golden)).unwrap(), record, "{name}");
    }
}

/// An intent that names what undoes it says more than one that does not, and an older reader, which asks a person, reads both.
#[test]
fn an_intent_that_can_be_undone_is_written_as_ever_and_read_back() {
    #[derive(serde::Deserialize)]
    struct Older {
        call: String,
        in_doubt: InDoubt,
    }
    let (call, key) = ("call_1".to_owned(), "k-0".to_owned());
    let intended = IntendedCall { call, key, effect: Effect::SideEffect, in_doubt: InDoubt::Ask, undo: Some("refund".to_owned()) };
    let older: Older = rmp_serde::from_slice(&rmp_serde::to_vec_named(&intended).unwrap()).unwrap();
    assert_eq!((older.call.as_str(), older.in_doubt), ("call_1", InDoubt::Ask));
    let record = Record { events: vec![Intended { calls: vec![intended] }.into()], state: State::default() };
    check("intended-to-be-undone.bin", &record.encode().unwrap());
    let golden = fs::read(directory().join("intended-to-be-undone.bin")).unwrap();
    assert_eq!(Record::decode(&Bytes::from(golden)).unwrap(), record);
}

#[test]
fn every_kind_has_a_golden_file_and_every_golden_file_a_kind() {
    check_events();
    let known = |name: &str| Event::KINDS.iter().any(|kind| name == format!("event-{kind}.bin"));
    let files: Vec<String> = fs::read_dir(directory())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("event-"))
        .collect();
    assert_eq!(files.iter().filter(|name| known(name)).count(), Event::KINDS.len());
    assert!(files.iter().all(|name| known(name)), "{files:?}");
    let sampled: Vec<String> = events().iter().map(|event| event.kind().to_owned()).collect();
    assert!(Event::KINDS.iter().all(|kind| sampled.iter().any(|sample| sample == kind)));
}

/// A conversation long enough to carry and to seal.
struct Journal {
    conversation: Conversation,
    stored: Vec<Stored>,
}

impl Journal {
    fn write(&mut self, class: Class, from: &str, events: Vec<Event>) {
        let ordinal = self.conversation.tail().next;
        let state = (ordinal == 0).then(|| "vendor=1".to_owned());
        let trace = Some(Trace { parent: format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{ordinal:016x}-01"), state });
        let draft = Draft {
            class,
            from: from.parse().unwrap(),
            id: EntryId::from_random([u8::try_from(ordinal).unwrap(); 16]),
            process: process(),
            revision: revision(),
            events,
            trace,
        };
        let fixed = Fixed {
            gateway: Some("gateway-1".parse().unwrap()),
            tenant: Some("acme".to_owned()),
            turn_secs: Some(600),
            ..Fixed::default()
        };
        let prepared = match ordinal {
            0 => self.conversation.prepare_opening(draft, fixed).unwrap(),
            _ => self.conversation.prepare(draft).unwrap(),
        };
        let seq = Seq(100 + 7 * ordinal);
        let message = prepared.message.clone();
        self.conversation.commit(prepared, seq).unwrap();
        self.stored.push(message.stored(seq, 0));
    }
}

fn revision() -> Revision {
    Revision::of(b"golden")
}

fn to(agent: &str) -> Class {
    Class::To { agent: agent.parse().unwrap(), revision: revision() }
}

fn journal() -> Journal {
    let conversation = Conversation::empty("support".parse().unwrap(), "c1".parse().unwrap());
    let mut journal = Journal { conversation, stored: Vec::new() };
    let input = vec![InputMessage { role: Role::User, name: None, text: "My order is late.".to_owned() }];
    journal.write(to("triage"), "gateway", vec![Opened { input, human: true, ..Opened::default() }.into()]);
    let transfer = Call { id: "call_1".to_owned(), name: "transfer_to_refund".to_owned(), arguments: "{}".to_owned() };
    let responded = Responded { text: "One moment.".to_owned(), calls: vec![transfer], ..Responded::default() };
    let (call, history) = (Some("call_1".to_owned()), HistoryOption::None);
    let transferred = Transferred { to: "refund".parse().unwrap(), call, reason: None, payload: None, history, summary: None };
    journal.write(to("refund"), "triage", vec![responded.into(), transferred.into()]);
    let asked = |kind, audience, call: Option<Call>| {
        let arguments_hash = call.as_ref().map(|call| Hash::of(call.arguments.as_bytes()));
        Event::from(Asked { kind, audience, text: String::new(), call, arguments_hash, due_secs: Some(60) })
    };
    let responded = Responded { calls: vec![call_pay()], ..Responded::default() };
    let intended =
        IntendedCall { call: "call_2".to_owned(), key: "k-0".to_owned(), effect: Effect::SideEffect, in_doubt: InDoubt::Ask, undo: None };
    let approval = asked(RequestKind::Approval, Audience::Role("manager".to_owned()), Some(call_pay()));
    journal.write(Class::Ask, "refund", vec![responded.into(), Intended { calls: vec![intended] }.into(), approval]);
    journal.write(Class::In, "client", vec![Said { text: "x".repeat(9000) }.into()]);
    let arguments_hash = Some(Hash::of(call_pay().arguments.as_bytes()));
    let request = EventId { ordinal: 2, index: 2 };
    let decided = Decided { request, verdict: Verdict::Approved, arguments_hash, note: String::new(), by: "bob".to_owned() };
    journal.write(to("refund"), "gateway", vec![decided.into()]);
    let completed = Completed { because: CompletedBecause::TaskComplete, result: "Refunded.".to_owned(), value: None };
    journal.write(Class::End, "refund", vec![completed.into()]);
    journal.write(Class::End, "coordinator", vec![Erased {}.into()]);
    journal
}

fn call_pay() -> Call {
    Call { id: "call_2".to_owned(), ..call() }
}

/// What the golden messages are there for.
const MESSAGES: [&str; 7] = ["opening", "transfer-with-a-carry", "ask", "sealing", "after-a-seal", "end", "erasure"];

fn check_messages() {
    let journal = journal();
    assert_eq!(journal.stored.len(), MESSAGES.len());
    for (name, stored) in MESSAGES.iter().zip(&journal.stored) {
        let headers: Vec<_> = stored.headers.iter().collect();
        let head = json!({ "seq": stored.seq, "subject": stored.subject, "headers": headers });
        check(&format!("message-{name}.json"), format!("{head:#}\n").as_bytes());
        check(&format!("message-{name}.bin"), &stored.payload);
    }
    let partial = |place: usize| Partial::decode(&journal.stored[place]).unwrap();
    assert!(partial(3).last().state.seals && !partial(2).last().state.seals);
    assert_eq!((partial(4).sealed(), partial(5).sealed(), partial(6).sealed()), (&[3][..], &[3][..], &[][..]));
}

#[test]
fn whole_messages_are_written_as_ever() {
    check_messages();
}

#[test]
fn golden_messages_are_read_back() {
    check_messages();
    let read = |name: &str| {
        let head: serde_json::Value = serde_json::from_slice(&fs::read(directory().join(format!("message-{name}.json"))).unwrap()).unwrap();
        let headers: Vec<(String, String)> = serde_json::from_value(head["headers"].clone()).unwrap();
        let message = wire::Message {
            subject: head["subject"].as_str().unwrap().to_owned(),
            headers: Headers::from_pairs(headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
            payload: fs::read(directory().join(format!("message-{name}.bin"))).unwrap().into(),
        };
        message.stored(serde_json::from_value(head["seq"].clone()).unwrap(), 0)
    };
    let conversation = Partial::decode(&read("end")).unwrap().complete(&[read("sealing")]).unwrap();
    assert_eq!(conversation.verify(), Ok(()));
    let kinds: Vec<&str> = conversation.events().map(|(_, (_, event))| event.kind()).collect();
    assert_eq!(kinds, ["opened", "responded", "transferred", "responded", "intended", "asked", "said", "decided", "completed"]);
    assert_eq!(conversation.entries().len(), 6);
}
