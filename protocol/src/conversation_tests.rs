use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::*;
use crate::event::{
    Asked, Audience, Call, Decided, Erased, Message as Said1, Opened, RequestKind, Responded, Returned, Said, Snapshotted, Transferred,
    Verdict,
};
use crate::event::{Cancelled, HistoryOption, Json, Role};
use crate::walk::{Walk, agent, draft, revision, to, walks};
use crate::wire::EVENTS_MAX;

/// Reads the conversation up to one stored message, with no more help than a reader gets: the sealing entries it lists.
fn read_from(stored: &[Stored], place: usize) -> Result<Conversation, FoldError> {
    let partial = Partial::decode(&stored[place])?;
    let sealed: Vec<Stored> = partial.sealed().iter().rev().map(|ordinal| stored[usize::try_from(*ordinal).unwrap()].clone()).collect();
    partial.complete(&sealed)
}

fn is_erasure(conversation: &Conversation) -> bool {
    conversation.phase() == Some(Phase::Erased)
}

fn opened() -> Walk {
    Walk::open(vec![Said1 { role: Role::User, name: None, text: "help".to_owned() }], true)
}

fn say(walk: &mut Walk, text: String) {
    walk.write(Class::In, Writer::Gateway, vec![Said { text }.into()]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_can_start_from_any_entry(walk in walks(120)) {
        for (place, expected) in walk.prefixes.iter().enumerate().filter(|(_, prefix)| !is_erasure(prefix)) {
            let read = read_from(&walk.stored, place).unwrap();
            prop_assert_eq!(&read, expected);
            prop_assert_eq!(read.last().unwrap().seq, walk.stored[place].seq);
        }
        prop_assert_eq!(walk.conversation.verify(), Ok(()));
    }

    #[test]
    fn a_reader_that_saw_an_earlier_entry_catches_up(walk in walks(60)) {
        for (newer, expected) in walk.prefixes.iter().enumerate().filter(|(_, prefix)| !is_erasure(prefix)) {
            let partial = Partial::decode(&walk.stored[newer]).unwrap();
            let carried_from = partial.carry.first().map_or(partial.last.ordinal(), Entry::ordinal);
            for older in &walk.prefixes[..=newer] {
                let mut extended = older.clone();
                let caught_up = extended.extend(partial.clone());
                let mut briefly = older.clone();
                prop_assert_eq!(&briefly.extend(Partial::decode_behind(&walk.stored[newer], &older.tail).unwrap()), &caught_up);
                prop_assert_eq!(&briefly, &extended);
                if older.tail.next >= carried_from {
                    prop_assert_eq!(caught_up, Ok(()));
                    prop_assert_eq!(&extended, expected);
                } else {
                    let conversation = older.id.clone();
                    prop_assert_eq!(caught_up, Err(FoldError::Gap { conversation, missing: older.tail.next }));
                    prop_assert_eq!(&extended, older);
                }
            }
            // What it knows already tells it nothing, whoever says it.
            let mut known = walk.conversation.clone();
            if !is_erasure(&known) {
                known.extend(partial).unwrap();
                prop_assert_eq!(&known, &walk.conversation);
            }
        }
    }

    #[test]
    fn a_repeated_request_is_recognised_from_any_entry(walk in walks(200)) {
        for prefix in walk.prefixes.iter().filter(|prefix| !is_erasure(prefix)) {
            let callers: Vec<_> = prefix.entries().iter().filter(|entry| entry.head.subject.from.is_caller()).collect();
            for entry in &callers {
                prop_assert_eq!(prefix.find_request(entry.head.id), Some(entry.ordinal()));
            }
            // One message alone shows the last 64, here or in its carry or by name.
            let partial = Partial::decode(&walk.stored[usize::try_from(prefix.tail.next - 1).unwrap()]).unwrap();
            let mut shown: BTreeSet<_> = partial.last.state.recent.iter().copied().collect();
            shown.extend(partial.carry.iter().chain([&partial.last]).map(|entry| (entry.head.id, entry.ordinal())));
            for entry in callers.iter().rev().take(RECENT_MAX) {
                prop_assert!(shown.contains(&(entry.head.id, entry.ordinal())), "request of entry {} forgotten", entry.ordinal());
            }
            prop_assert!(partial.last.state.recent.len() <= RECENT_MAX);
            prop_assert_eq!(prefix.find_request(EntryId::from_random([0xff; 16])), None);
        }
    }

    /// However long the conversation: an entry carries less than the cap, and the head of the last one carried.
    #[test]
    fn a_carry_stays_small(walk in walks(200)) {
        for stored in &walk.stored {
            let (entry, carry) = Entry::decode(stored).unwrap();
            if matches!(entry.events.last(), Some(Event::Snapshotted(_))) {
                prop_assert_eq!(carry.len() as u64, entry.ordinal());
                continue;
            }
            let before_last = carry.len().saturating_sub(1);
            let bytes: usize = carry.iter().take(before_last).map(Entry::carried_bytes).sum();
            let last = carry.last().map_or(0, |last| last.record.len());
            prop_assert!(bytes + last <= SEAL_BYTES, "{} carries {bytes} + {last}", stored.subject);
            let heads: usize = carry.last().map_or(0, |last| last.carried_bytes() - last.record.len());
            let bound = SEAL_BYTES + entry.record.len() + heads + 64 * (carry.len() + 1);
            prop_assert!(stored.payload.len() <= bound, "{} has {} bytes, not {bound}", stored.subject, stored.payload.len());
            prop_assert!(carry.iter().all(|entry| !entry.state.seals), "a sealing entry is copied");
        }
    }

    #[test]
    fn any_changed_byte_is_noticed_or_harmless(walk in walks(40), place in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let stored = place.get(&walk.stored);
        let mut payload = stored.payload.to_vec();
        payload[at.index(stored.payload.len())] ^= 1 << bit;
        let broken = Stored { payload: payload.into(), ..stored.clone() };
        // A changed record or carry never folds to another story: hashes cover everything but a carried seq.
        if let Ok(partial) = Partial::decode(&broken) {
            let place = usize::try_from(partial.last.ordinal()).unwrap();
            let mut all = walk.stored.clone();
            all[place] = broken;
            if let Ok(read) = read_from(&all, place) {
                let events = |conversation: &Conversation| conversation.entries.iter().map(|entry| entry.events.clone()).collect::<Vec<_>>();
                prop_assert_eq!(events(&read), events(&walk.prefixes[place]));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..400), values in proptest::collection::vec(".{0,40}", 15)) {
        let walk = opened();
        let stored = Stored { payload: payload.clone().into(), ..walk.stored[0].clone() };
        prop_assert!(Partial::decode(&stored).is_err());
        let _ = Record::decode(&payload);
        let headers = Headers::from_pairs(header::ALL.into_iter().zip(values.iter().map(String::as_str)));
        prop_assert!(Head::decode(&stored.subject, &headers).is_err());
        prop_assert!(Head::decode(&values[14], &stored.headers).is_err());
        // One wrong header among right ones.
        for name in header::ALL {
            let mut headers = stored.headers.clone();
            headers.insert(name, values[0].clone());
            let _ = Entry::decode(&Stored { headers, ..walk.stored[0].clone() });
        }
    }
}

/// The walks go everywhere, or the properties above say little.
#[test]
fn walks_meet_every_kind_and_every_form_of_entry() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut kinds, mut sealed, mut absorbed, mut callers) = (BTreeSet::new(), 0, 0, 0);
    for _ in 0..60 {
        let walk = walks(200).new_tree(&mut runner).unwrap().current();
        kinds.extend(walk.conversation.events().map(|(_, (_, event))| event.kind().to_owned()));
        sealed = sealed.max(walk.prefixes.iter().map(|prefix| prefix.last().unwrap().state.sealed.len()).max().unwrap());
        callers = callers.max(walk.conversation.entries().iter().filter(|entry| entry.head.subject.from.is_caller()).count());
        let is_absorbed = |prefix: &Conversation| prefix.last().unwrap().state.sealed.len() == 1 && prefix.tail.next > 20;
        absorbed += walk.prefixes.iter().filter(|prefix| is_absorbed(prefix)).count();
    }
    let missing: Vec<_> = Event::KINDS.iter().filter(|kind| !kinds.contains(**kind)).collect();
    assert!(missing.is_empty(), "no walk met {missing:?}");
    assert!(sealed > 5 && absorbed > 0 && callers > RECENT_MAX, "{sealed} sealed, {absorbed} absorbed, {callers} callers");
}

#[test]
fn a_snapshot_absorbs_what_was_sealed() {
    let mut walk = opened();
    for n in 0..40 {
        say(&mut walk, format!("{n} {}", "x".repeat(1000)));
    }
    assert!(walk.conversation.last().unwrap().state.sealed.len() > 2);
    walk.write(Class::Ask, Writer::Agent(agent("triage")), vec![Responded::default().into(), question().into()]);
    let entries = walk.conversation.tail().next;
    walk.write(Class::Note, Writer::Coordinator, vec![Snapshotted { entries }.into()]);
    let (snapshot, carry) = Entry::decode(walk.stored.last().unwrap()).unwrap();
    assert_eq!((carry.len() as u64, snapshot.state.sealed.len(), snapshot.state.seals), (entries, 0, true));
    walk.write(Class::In, Writer::Gateway, vec![crate::event::Claimed { request: ask_of(&walk), by: "ann".to_owned() }.into()]);
    let (after, carry) = Entry::decode(walk.stored.last().unwrap()).unwrap();
    assert_eq!((carry.len(), after.state.sealed), (0, vec![snapshot.ordinal()]));
    // Nothing older than the snapshot is needed any more.
    let place = walk.stored.len() - 1;
    let mut only = walk.stored.clone();
    for stored in &mut only[..place - 1] {
        stored.payload = Bytes::new();
    }
    assert_eq!(read_from(&only, place).unwrap(), walk.conversation);
}

fn question() -> Asked {
    let (kind, audience) = (RequestKind::Question, Audience::Desk("tier2".to_owned()));
    Asked { kind, audience, text: String::new(), call: None, arguments_hash: None, due_secs: None }
}

fn ask_of(walk: &Walk) -> EventId {
    walk.conversation.requests()[0].id
}

/// Design 2, retention: a bodiless entry, and then the conversation up to it is purged.
#[test]
fn an_erasure_keeps_nothing_of_what_it_erases() {
    let mut walk = opened();
    say(&mut walk, "my card is 4111".to_owned());
    walk.write(Class::End, Writer::Gateway, vec![Cancelled { reason: String::new() }.into()]);
    walk.write(Class::End, Writer::Coordinator, vec![Erased {}.into()]);
    let erased = walk.stored.last().unwrap();
    assert!(!erased.payload.windows(4).any(|bytes| bytes == b"4111"));
    let partial = Partial::decode(erased).unwrap();
    assert_eq!((partial.carry.len(), partial.sealed().len()), (0, 0));
    assert_eq!(partial.last().head.brief.phase, Phase::Erased);
    assert!(matches!(partial.complete(&[]), Err(FoldError::Gap { missing: 0, .. })));
}

#[test]
fn a_missing_stretch_is_named() {
    let mut walk = opened();
    for n in 0..40 {
        say(&mut walk, format!("{n} {}", "x".repeat(1000)));
    }
    let partial = Partial::decode(walk.stored.last().unwrap()).unwrap();
    let sealed = partial.sealed().to_vec();
    assert!(sealed.len() > 2);
    let stored: Vec<Stored> = sealed.iter().map(|ordinal| walk.stored[usize::try_from(*ordinal).unwrap()].clone()).collect();
    assert_eq!(partial.clone().complete(&stored).unwrap(), walk.conversation);
    for missing in 0..sealed.len() {
        let mut some = stored.clone();
        some.remove(missing);
        let first = missing.checked_sub(1).map_or(0, |before| sealed[before] + 1);
        assert_eq!(partial.clone().complete(&some), Err(FoldError::Gap { conversation: walk.conversation.id().clone(), missing: first }));
    }
}

#[test]
fn what_belongs_elsewhere_is_refused() {
    let walk = opened();
    let mut other = walk.stored[0].clone();
    other.subject = other.subject.replace("c.walk.", "c.other.");
    let mut mine = walk.conversation.clone();
    assert_eq!(mine.extend(Partial::decode(&other).unwrap()), Ok(()), "an entry that is known tells nothing new");

    let mut second = opened();
    say(&mut second, "mine".to_owned());
    let mut forged = second.stored[1].clone();
    forged.subject = forged.subject.replace("c.walk.", "c.other.");
    let found = forged.subject.clone();
    let foreign = Partial::decode(&forged).unwrap();
    assert_eq!(mine.extend(foreign), Err(FoldError::Foreign { conversation: mine.id().clone(), found }));

    // Another history with the same ordinals does not follow.
    let mut elsewhere = Walk::open(vec![Said1 { text: "another task".to_owned(), ..Said1::default() }], true);
    say(&mut elsewhere, "theirs".to_owned());
    let theirs = Partial::decode(&elsewhere.stored[1]).unwrap();
    assert_eq!(mine.extend(theirs), Err(FoldError::Chain { conversation: mine.id().clone(), ordinal: 1 }));
    assert_eq!(mine, walk.conversation, "nothing is taken in half");
}

#[test]
fn a_prepared_entry_can_only_be_committed_where_it_was_prepared() {
    let mut walk = opened();
    let prepared = walk.conversation.prepare(draft(1, Class::In, Writer::Gateway, vec![Said { text: "a".to_owned() }.into()])).unwrap();
    assert_eq!((prepared.ordinal(), prepared.expected), (1, walk.conversation.tail().seq));
    say(&mut walk, "b".to_owned());
    let missing = walk.conversation.tail().next;
    let conversation = walk.conversation.id().clone();
    assert_eq!(walk.conversation.commit(prepared, Seq(99)), Err(FoldError::Gap { conversation, missing }));
}

#[test]
fn an_epoch_begins_with_a_work_item_or_a_takeover() {
    let mut walk = opened();
    let epoch = |walk: &Walk| (walk.conversation.tail().epoch, walk.conversation.tail().seq);
    let (first, seq) = epoch(&walk);
    assert_eq!(first, seq);
    say(&mut walk, "hello".to_owned());
    assert_eq!(epoch(&walk).0, first, "a message begins none");
    let me = Writer::Agent(agent("triage"));
    walk.write(Class::Note, me.clone(), vec![crate::event::Taken { by: "w-1".parse().unwrap(), delivered: 2 }.into()]);
    let (second, seq) = epoch(&walk);
    assert!(second > first && second == seq);
    assert_eq!(walk.conversation.last().unwrap().head.epoch, first, "an entry is written in the epoch before it");
    walk.write(Class::Note, me, vec![Responded::default().into()]);
    assert_eq!(epoch(&walk).0, second);
}

#[test]
fn an_illegal_draft_is_never_prepared() {
    let walk = opened();
    let illegal = walk.conversation.prepare(draft(1, Class::In, Writer::Agent(agent("triage")), vec![Said { text: String::new() }.into()]));
    assert!(matches!(illegal, Err(PrepareError::Illegal(Illegal::NotOwner { .. }))));
    let empty = walk.conversation.prepare(draft(1, Class::Note, Writer::Agent(agent("triage")), vec![]));
    assert_eq!(empty, Err(PrepareError::Illegal(Illegal::Empty)));
}

/// What a reader refuses must never be written: it would hold its conversation up for ever.
#[test]
fn what_cannot_be_read_is_not_written() {
    let walk = opened();
    let me = || Writer::Agent(agent("triage"));
    let refused = |events: Vec<Event>, class: Class| {
        let prepared = walk.conversation.prepare(draft(1, class, me(), events));
        assert!(matches!(prepared, Err(PrepareError::Encode(DecodeError::Malformed(_)))), "{prepared:?}");
    };
    let result = |n: usize| Event::from(Returned { call: n.to_string(), tool: "t".to_owned(), content: String::new(), is_error: false });
    refused((0..=EVENTS_MAX).map(result).collect(), Class::Note);
    let mut nested = serde_json::json!(1);
    for _ in 0..40 {
        nested = serde_json::json!([nested]);
    }
    let (history, payload) = (HistoryOption::None, Some(nested));
    let transferred = Transferred { to: agent("refund"), call: None, reason: None, payload, history, summary: None };
    refused(vec![transferred.into()], to(&agent("refund")));
    // Nor an ask whose open requests no header can hold.
    refused((0..2000).map(|_| question().into()).collect(), Class::Ask);
}

#[test]
fn a_decision_is_about_the_very_arguments() {
    let mut walk = opened();
    let call = Call { id: "c".to_owned(), name: "refund".to_owned(), arguments: "{\"amount\":10}".to_owned() };
    let shown = Hash::of(call.arguments.as_bytes());
    let asked = Asked {
        kind: RequestKind::Approval,
        audience: Audience::Caller,
        text: String::new(),
        call: Some(call.clone()),
        arguments_hash: Some(shown),
        due_secs: None,
    };
    let responded = Responded { calls: vec![call], ..Responded::default() };
    walk.write(Class::Ask, Writer::Agent(agent("triage")), vec![responded.into(), asked.into()]);
    let request = EventId { ordinal: 1, index: 1 };
    let decide = |arguments_hash| {
        let decided = Decided { request, verdict: Verdict::Approved, arguments_hash, note: String::new(), by: String::new() };
        walk.conversation.prepare(draft(2, to(&agent("triage")), Writer::Gateway, vec![decided.into()])).map(|_| ())
    };
    assert_eq!(decide(Some(shown)), Ok(()));
    for other in [None, Some(Hash::of(b"{\"amount\":1000}"))] {
        assert_eq!(decide(other), Err(PrepareError::Illegal(Illegal::Answer(request))));
    }
}

/// Readers trust the stated brief; an auditor does not.
#[test]
fn an_auditor_finds_a_writer_that_lies() {
    let mut walk = opened();
    say(&mut walk, "hello".to_owned());
    let mut lying = walk.conversation.clone();
    let mut entry = (*lying.entries[1]).clone();
    entry.head.brief.handoffs = 7;
    lying.entries[1] = Arc::new(entry);
    assert_eq!(lying.verify(), Err((1, None)));
    let mut lying = walk.conversation.clone();
    let mut entry = (*lying.entries[1]).clone();
    entry.head.subject.from = Writer::Agent(agent("refund"));
    lying.entries[1] = Arc::new(entry);
    assert!(matches!(lying.verify(), Err((1, Some(Illegal::NotOwner { .. })))));
}

#[test]
fn a_kind_of_a_newer_version_is_kept_and_named() {
    let mut walk = opened();
    let unknown = Event::Unknown { kind: "sung".to_owned(), data: Bytes::from_static(b"\x81\xa1a\x01") };
    walk.write(Class::Note, Writer::Agent(agent("triage")), vec![unknown.clone()]);
    say(&mut walk, "and on".to_owned());
    let read = read_from(&walk.stored, 2).unwrap();
    assert_eq!(read.unknown(), Some((1, "sung")));
    assert_eq!(read.event(EventId { ordinal: 1, index: 0 }), Some(&unknown));
    assert_eq!(walk.prefixes[0].unknown(), None);
}

/// What a newer version would have stored in place of an entry: it says more in its headers, its brief and its events.
fn by_a_newer_version(prepared: &Prepared) -> Stored {
    let Message { subject, mut headers, payload } = prepared.message.clone();
    let Payload { record, carry } = Payload::decode(&payload).unwrap();
    let Record { events, state } = Record::decode(&record).unwrap();
    let with_more = |event: Event| {
        if matches!(event, Event::Unknown { .. }) {
            return event;
        }
        let mut json = event.to_json();
        json["mood"] = "good".into();
        // What is written as it is: the bytes of a known kind, with more in them.
        Event::Unknown { kind: event.kind().to_owned(), data: rmp_serde::to_vec_named(&json).unwrap().into() }
    };
    let record = Record { events: events.into_iter().map(with_more).collect(), state }.encode().unwrap();
    let mut brief: Json = serde_json::from_str(headers.get(header::BRIEF).unwrap()).unwrap();
    for place in ["", "/fixed", "/requests/0"] {
        if let Some(place) = brief.pointer_mut(place).filter(|place| place.get("mood").is_none()) {
            place["mood"] = serde_json::json!({ "of": [prepared.ordinal(), 0.1, null] });
        }
    }
    headers.insert(header::BRIEF, brief.to_string());
    headers.insert(header::RECORD, Hash::of(&record).to_string());
    headers.insert("Mood", "good".to_owned());
    let payload = Payload { record, carry }.encode().unwrap();
    Message { subject, headers, payload }.stored(Seq(prepared.expected.0 + 1), 1000)
}

/// Two versions serve one conversation by turns: the older one relays what it does not know of, wherever it carries it forward.
#[test]
fn what_a_newer_version_says_is_relayed_by_this_one() {
    let (triage, desk) = (agent("triage"), Audience::Desk("floor".to_owned()));
    let empty = Conversation::empty("support".parse().unwrap(), "walk".parse().unwrap());
    let opening = draft(0, to(&triage), Writer::Gateway, vec![Opened::default().into()]);
    let fixed = Fixed { turn_secs: Some(600), ..Fixed::default() };
    let first = by_a_newer_version(&empty.prepare_opening(opening, fixed).unwrap());
    let mut read = Partial::decode(&first).unwrap().complete(&[]).unwrap();
    let mut theirs = vec![first];
    let asked =
        Asked { kind: RequestKind::Question, audience: desk, text: "?".to_owned(), call: None, arguments_hash: None, due_secs: None };
    let sung = Event::Unknown { kind: "sung".to_owned(), data: Bytes::from_static(b"\xc1 a song") };
    for (class, event) in [(Class::Note, sung), (Class::Ask, asked.into())] {
        let prepared = read.prepare(draft(read.tail().next, class, Writer::Agent(triage.clone()), vec![event])).unwrap();
        theirs.push(by_a_newer_version(&prepared));
        read.extend(Partial::decode(&theirs[theirs.len() - 1]).unwrap()).unwrap();
    }

    let request = read.requests()[0].id;
    let claimed = crate::event::Claimed { request, by: "ann".to_owned() };
    let said = Said { text: "x".repeat(SEAL_BYTES) };
    let replied = crate::event::Replied::new(request, "done");
    let ours: [(Class, Writer, Event); 4] = [
        (Class::In, Writer::Gateway, claimed.into()),
        (Class::In, Writer::Gateway, said.into()),
        (Class::Note, Writer::Coordinator, Snapshotted { entries: 5 }.into()),
        (to(&triage), Writer::Gateway, replied.into()),
    ];
    for (class, from, event) in ours {
        let answers = matches!(event, Event::Replied(_));
        let prepared = read.prepare(draft(read.tail().next, class, from, vec![event])).unwrap();
        let brief: Json = serde_json::from_str(prepared.message.headers.get(header::BRIEF).unwrap()).unwrap();
        let mood = |ordinal: u64| serde_json::json!({ "of": [ordinal, 0.1, null] });
        assert_eq!((&brief["mood"], &brief["fixed"]["mood"]), (&mood(0), &mood(0)), "{brief}");
        assert!(answers || brief["requests"][0]["mood"] == mood(2), "{brief}");
        // Whoever starts at what this version has written finds what the newer one wrote, to the byte.
        let seq = Seq(prepared.expected.0 + 1);
        let stored = prepared.message.clone().stored(seq, 1000);
        read.commit(prepared, seq).unwrap();
        let partial = Partial::decode(&stored).unwrap();
        for stored in theirs.iter().filter(|_| partial.sealed().is_empty()) {
            let (written, _) = Entry::decode(stored).unwrap();
            let kept = partial.carry.iter().find(|entry| entry.ordinal() == written.ordinal()).unwrap();
            assert_eq!((&kept.record, &kept.headers, kept.hash), (&written.record, &stored.headers, written.hash));
            assert_eq!(kept.headers.get("Mood"), Some("good"));
        }
    }
    assert_eq!(read.unknown(), Some((1, "sung")));
    assert_eq!(read.verify(), Ok(()), "what is said beyond what is known is nobody's mistake");
}

#[test]
fn nobody_interrupts_while_an_intent_is_unresolved() {
    let mut walk = opened();
    let me = || Writer::Agent(agent("triage"));
    let interrupted = |walk: &Walk| {
        let event = crate::event::Interrupted { text: "stop".to_owned() };
        walk.conversation
            .prepare(draft(walk.conversation.tail().next, to(&agent("triage")), Writer::Client, vec![event.into()]))
            .map(|_| ())
    };
    let call = |id: &str| Call { id: id.to_owned(), name: "pay".to_owned(), arguments: String::new() };
    let returned =
        |id: &str| Event::from(Returned { call: id.to_owned(), tool: "pay".to_owned(), content: String::new(), is_error: false });
    let responded = || Event::from(Responded { calls: vec![call("a"), call("b")], ..Responded::default() });
    // Calls that have no intent have done nothing.
    walk.write(Class::Note, me(), vec![responded(), crate::event::HandedBack { by: "w-1".parse().unwrap(), reason: String::new() }.into()]);
    assert_eq!((interrupted(&walk), walk.conversation.has_unresolved_intent()), (Ok(()), false));
    let (effect, in_doubt) = (crate::event::Effect::SideEffect, crate::event::InDoubt::Ask);
    let intended = crate::event::IntendedCall { call: "b".to_owned(), key: "k".to_owned(), effect, in_doubt, undo: None };
    walk.write(Class::Note, me(), vec![responded(), crate::event::Intended { calls: vec![intended] }.into()]);
    let refused = Err(PrepareError::Illegal(Illegal::Phase { kind: "interrupted".to_owned(), phase: Phase::Working }));
    assert_eq!(interrupted(&walk), refused);
    walk.write(Class::Note, me(), vec![returned("a")]);
    assert_eq!((interrupted(&walk), walk.conversation.has_unresolved_intent()), (refused, true));
    walk.write(Class::Note, me(), vec![returned("b")]);
    assert_eq!((interrupted(&walk), walk.conversation.has_unresolved_intent()), (Ok(()), false));
    assert_eq!(walk.conversation.verify(), Ok(()));
}

#[test]
fn an_opening_is_prepared_once() {
    let walk = opened();
    let draft = draft(1, to(&agent("triage")), Writer::Client, vec![Opened::default().into()]);
    assert!(matches!(walk.conversation.prepare_opening(draft, Fixed::default()), Err(PrepareError::Illegal(Illegal::Opening(_)))));
    let stated = walk.conversation.brief().unwrap();
    assert_eq!((stated.fixed.turn_secs, walk.conversation.revision()), (Some(600), Some(&revision())));
}
