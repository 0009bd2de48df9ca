use proptest::prelude::*;

use super::*;
use crate::brief::Illegal;
use crate::conversation::{Draft, Partial, PrepareError, Prepared};
use crate::event::{Cancelled, Erased, Event, Message, Role, Said};
use crate::ids::Writer;
use crate::subject::Class;
use crate::walk::{Walk, agent, draft, walks};
use crate::wire::{Headers, header};

fn opened() -> Walk {
    Walk::open(vec![Message { role: Role::User, name: None, text: "help".to_owned() }], true)
}

/// Bytes that no version writes, under any subject.
fn garbage(walk: &Walk, after: u64, rest: &str) -> Stored {
    let subject = format!("baton.support.c.walk.{rest}");
    let seq = Seq(walk.stored.last().unwrap().seq.0 + after);
    crate::wire::Message { subject, headers: Headers::default(), payload: b"\x7fpoison".as_slice().into() }.stored(seq, 1000)
}

fn salvaged(messages: &[Stored]) -> Conversation {
    Conversation::salvage("support".parse().unwrap(), "walk".parse().unwrap(), messages)
}

fn failing(conversation: &Conversation, from: Writer) -> Draft {
    draft(conversation.tail().next, Class::End, from, vec![conversation.must_fail().unwrap().into()])
}

/// The failure behind the damage, stored.
fn fail(conversation: &Conversation, messages: &mut Vec<Stored>) -> Prepared {
    let prepared = conversation.prepare(failing(conversation, Writer::Coordinator)).unwrap();
    let seq = Seq(prepared.expected.0 + 1);
    let message = prepared.message.clone();
    messages.push(message.stored(seq, 1000));
    prepared
}

/// A reader that starts from the last message and has the others for what it lists.
fn read(messages: &[Stored]) -> Result<Conversation, FoldError> {
    let partial = Partial::decode(messages.last().unwrap())?;
    let ordinal = |stored: &Stored| stored.subject.parse::<crate::subject::EntrySubject>().map(|subject| subject.ordinal);
    let sealed = messages.iter().filter(|stored| ordinal(stored).is_ok_and(|ordinal| partial.sealed().contains(&ordinal)));
    let sealed: Vec<Stored> = sealed.cloned().collect();
    partial.complete(&sealed)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_whole_is_salvaged_whole(walk in walks(60)) {
        prop_assert_eq!(&salvaged(&walk.stored), &walk.conversation);
        prop_assert_eq!(walk.conversation.must_fail(), None);
    }

    #[test]
    fn behind_garbage_a_conversation_ends_as_failed_and_reads_as_if_the_garbage_were_not_there(
        walk in walks(60),
        subjects in proptest::collection::vec("(0|1|7|18446744073709551615|x)\\.(to\\.triage\\.000000000000\\.client|end\\.triage|what)", 1..4),
    ) {
        let mut messages = walk.stored.clone();
        messages.extend((1..).zip(&subjects).map(|(after, rest)| garbage(&walk, after, rest)));
        let damaged = salvaged(&messages);
        prop_assert_eq!(damaged.entries(), walk.conversation.entries());
        prop_assert_eq!(damaged.tail().seq, messages.last().unwrap().seq);
        prop_assert_eq!(damaged.damage().map(|damage| damage.seq), Some(messages[walk.stored.len()].seq));
        if walk.conversation.phase().unwrap().is_ended() {
            prop_assert_eq!(damaged.must_fail(), None);
            return Ok(());
        }
        let prepared = fail(&damaged, &mut messages);
        prop_assert_eq!(prepared.ordinal(), walk.conversation.tail().next);
        prop_assert_eq!(prepared.expected, damaged.tail().seq);
        let read = read(&messages).unwrap();
        prop_assert_eq!(read.phase(), Some(Phase::Failed));
        let before = read.before(prepared.ordinal());
        prop_assert_eq!(before.entries(), walk.conversation.entries());
        prop_assert_eq!(read.verify(), Ok(()));
        prop_assert_eq!((read.damage(), read.must_fail()), (None, None));
    }

    /// Its head is there: whatever follows it still does, the failure too. What a later entry carries is not lost.
    #[test]
    fn an_entry_whose_record_is_lost_keeps_its_place(walk in walks(40), place in any::<prop::sample::Index>()) {
        let mut messages = walk.stored.clone();
        let place = place.index(messages.len());
        messages[place].payload = Bytes::new();
        messages[place].headers.insert(header::OBJECT, "walk.object".to_owned());
        let damaged = salvaged(&messages);
        prop_assert_eq!(damaged.tail(), walk.conversation.tail());
        prop_assert_eq!(damaged.brief(), walk.conversation.brief());
        if !walk.conversation.entries()[place].state.seals && place + 1 < messages.len() {
            let is_erased = walk.conversation.phase() == Some(Phase::Erased) && place + 2 == messages.len();
            prop_assert!(is_erased || damaged.entries() == walk.conversation.entries());
            return Ok(());
        }
        let Some(damage) = damaged.damage() else {
            // A snapshot repeats what lies before it.
            prop_assert_eq!(damaged.entries(), walk.conversation.entries());
            return Ok(());
        };
        prop_assert!(damaged.entries()[place].is_lost());
        prop_assert_eq!(damage.ordinal, place as u64);
        prop_assert!(damage.to_string().contains("its object walk.object is missing"), "{}", damage);
        if !walk.conversation.phase().unwrap().is_ended() {
            let prepared = fail(&damaged, &mut messages);
            prop_assert_eq!(prepared.ordinal(), walk.conversation.tail().next);
            prop_assert!(read(&messages).is_err(), "whoever reads it from its end must find that something is missing");
            let failed = salvaged(&messages);
            prop_assert_eq!((failed.phase(), failed.must_fail()), (Some(Phase::Failed), None));
        }
    }
}

#[test]
fn nothing_but_the_failure_follows_damage_and_whoever_meets_it_may_write_that() {
    let walk = opened();
    let damaged = salvaged(&[walk.stored[0].clone(), garbage(&walk, 1, "1.note.triage")]);
    let refused = |class, from: Writer, event: Event| {
        let prepared = damaged.prepare(draft(1, class, from, vec![event]));
        assert_eq!(prepared.map(|prepared| prepared.message), Err(PrepareError::Illegal(Illegal::Damaged)));
    };
    refused(Class::In, Writer::Gateway, Said { text: "and?".to_owned() }.into());
    refused(Class::End, Writer::Coordinator, Cancelled { reason: "enough".to_owned() }.into());
    refused(Class::End, Writer::Agent(agent("triage")), Failed { code: failure::POISON.into(), detail: String::new() }.into());
    for from in [Writer::Coordinator, Writer::Gateway, Writer::Client, Writer::Agent(agent("triage")), Writer::Agent(agent("refund"))] {
        damaged.prepare(failing(&damaged, from)).unwrap();
    }
}

#[test]
fn the_failure_says_what_cannot_be_read_and_no_more_of_it_than_people_can_take() {
    let walk = opened();
    let mut endless = garbage(&walk, 4, "1.in.client");
    endless.headers = walk.stored[0].headers.clone();
    endless.headers.insert(header::EPOCH, "poison ".repeat(1000));
    for (stored, says) in [
        (
            garbage(&walk, 4, "1.in.client"),
            "entry 1, message 5 of the stream, cannot be read: not an entry: header Baton-Version is missing",
        ),
        (endless, "\"poison poison"),
    ] {
        let failed = salvaged(&[walk.stored[0].clone(), stored]).must_fail().unwrap();
        assert_eq!(failed.code, failure::DAMAGED);
        assert!(failed.detail.contains(says), "{}", failed.detail);
        assert!(failed.detail.chars().count() < PROBLEM_CHARS + 100, "{}", failed.detail);
    }
}

#[test]
fn what_a_newer_version_wrote_is_damage_only_to_whoever_gives_it_up() {
    let mut walk = opened();
    walk.write(Class::In, Writer::Gateway, vec![Said { text: "and?".to_owned() }.into()]);
    walk.stored[1].headers.insert(header::VERSION, "2".to_owned());
    let damaged = salvaged(&walk.stored);
    assert!(damaged.damage().unwrap().is_newer());
    let failed = damaged.must_fail().unwrap();
    assert_eq!(failed.code, failure::UNKNOWN_VERSION);
    assert!(failed.detail.contains("run a newer version"), "{}", failed.detail);
    assert_eq!(damaged.prepare(failing(&damaged, Writer::Coordinator)).unwrap().ordinal(), 1);
}

#[test]
fn entries_that_do_not_follow_are_passed_over() {
    let mut walk = opened();
    walk.write(Class::In, Writer::Gateway, vec![Said { text: "one".to_owned() }.into()]);
    walk.write(Class::In, Writer::Gateway, vec![Said { text: "two".to_owned() }.into()]);
    let (mut other, mut again) = (opened(), walk.stored[1].clone());
    other.write(Class::In, Writer::Client, vec![Said { text: "other".to_owned() }.into()]);
    other.write(Class::In, Writer::Client, vec![Said { text: "another".to_owned() }.into()]);
    again.seq = Seq(90);
    let elsewhere = Stored { seq: Seq(91), ..other.stored[2].clone() };
    let without_one: Vec<Stored> = [&walk.stored[0], &walk.stored[2]].map(Clone::clone).into();
    for (messages, entries, problem) in [
        (walk.stored.iter().cloned().chain([again]).collect(), 3, "entry 3 of conversation walk is missing"),
        ([walk.stored[0].clone(), walk.stored[1].clone(), elsewhere].into(), 2, "its previous hash differs"),
        (without_one, 1, "entry 1 of conversation walk is missing"),
    ] {
        let messages: Vec<Stored> = messages;
        let damaged = salvaged(&messages);
        assert_eq!((damaged.entries().len(), damaged.tail().seq), (entries, messages.last().unwrap().seq));
        assert!(damaged.damage().unwrap().to_string().contains(problem), "{}", damaged.damage().unwrap());
        assert!(damaged.must_fail().is_some());
    }
}

#[test]
fn where_nothing_ever_began_or_all_is_over_there_is_nothing_to_fail() {
    let mut walk = opened();
    let nothing = salvaged(&[garbage(&walk, 1, "0.to.triage.000000000000.client")]);
    assert_eq!((nothing.last(), nothing.must_fail()), (None, None));
    walk.write(Class::End, Writer::Gateway, vec![Cancelled { reason: String::new() }.into()]);
    let mut messages = walk.stored.clone();
    messages.push(garbage(&walk, 1, "2.end.coordinator"));
    let ended = salvaged(&messages);
    assert_eq!((ended.phase(), ended.must_fail()), (Some(Phase::Cancelled), None));
    let erased = ended.prepare(draft(2, Class::End, Writer::Coordinator, vec![Erased {}.into()])).unwrap();
    assert_eq!(erased.expected, messages[2].seq);
}
