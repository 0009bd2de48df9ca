use std::fmt::Debug;

use proptest::prelude::*;
use protocol::brief::{Fixed, Phase};
use protocol::subject::Class;
use protocol::wire::SEAL_BYTES;

use super::*;
use crate::story::{
    START_MS, Story, agent, approvals, asked, completed, conversation, decided, deferred, erased, handed_back, opened, process,
    redispatched, replied, request, revision, said, saying, snapshotted, taken, to, transferred,
};

fn bounded() -> Fixed {
    Fixed { gateway: Some(process("gw-1")), turn_secs: Some(60), conversation_secs: Some(1000), ..Fixed::default() }
}

fn row(story: &Story, id: &str) -> Row {
    story.ledger.row(&conversation(id)).unwrap()
}

/// What lies in the indexes, by hand.
fn delivered(ledger: &Ledger, name: &str, seq: u64) -> Vec<String> {
    ledger.delivered(&agent(name), Seq(seq)).map(|row| row.conversation.to_string()).collect()
}

fn waiting(ledger: &Ledger, gateway: &str) -> Vec<String> {
    ledger.waiting_at(&process(gateway)).map(|row| row.conversation.to_string()).collect()
}

fn expired(ledger: &Ledger, now_ms: u64) -> Vec<(String, Expired)> {
    ledger.expired(now_ms).map(|(row, expired)| (row.conversation.to_string(), expired)).collect()
}

#[test]
fn an_opening_makes_a_row() {
    let mut story = Story::new(bounded());
    story.tell("c1", opened("triage"));
    let expected = Row {
        conversation: conversation("c1"),
        brief: story.heads[0].2.brief.clone(),
        ordinal: 0,
        seq: Seq(1),
        epoch: Seq(1),
        item: Seq(1),
        turn_ms: START_MS,
        last_ms: START_MS,
        opened_ms: START_MS,
        not_before_ms: None,
        due: Vec::new(),
        kind: "opened".into(),
        revision: revision(),
        traceparent: Some("00-00000000000000000000000000000001-00f067aa0ba902b7-01".to_owned()),
        is_damaged: false,
        stretches: 0,
        snapshot_size: 0,
    };
    assert_eq!(row(&story, "c1"), expected);
    assert_eq!((story.ledger.seq(), story.ledger.open_count()), (Seq(1), 1));
}

fn unsnapped(ledger: &Ledger, quiet_since_ms: u64) -> Vec<String> {
    ledger.unsnapped(quiet_since_ms).map(|row| row.conversation.to_string()).collect()
}

#[test]
fn whoever_waits_with_much_to_read_needs_a_snapshot_and_nothing_happens_by_one() {
    let mut story = Story::new(bounded());
    let long = || saying("x".repeat(SEAL_BYTES));
    story.tell("c1", opened("triage"));
    story.tell("c1", long());
    story.tell("c1", long());
    assert_eq!(unsnapped(&story.ledger, u64::MAX), [""; 0], "an agent works on it");
    story.tell("c1", asked("triage", None));
    let asked_ms = story.now_ms;
    story.tell("short", opened("triage"));
    story.tell("short", asked("triage", None));
    assert_eq!((unsnapped(&story.ledger, asked_ms - 1), unsnapped(&story.ledger, asked_ms)), (vec![], vec!["c1".to_owned()]));
    assert_eq!(story.conversations[&conversation("c1")].stretches(), 2);
    story.wait(60_000);
    story.tell("c1", snapshotted(4));
    assert_eq!((unsnapped(&story.ledger, u64::MAX), row(&story, "c1").last_ms), (vec![], asked_ms));
    assert_eq!(story.conversations[&conversation("c1")].stretches(), 1);
    // The larger the last one is, the more must have come since.
    let after = |story: &mut Story, stretches: usize, ordinal: u64| {
        story.tell("c1", replied("triage", &format!("{ordinal}.0")));
        for _ in 0..stretches {
            story.tell("c1", long());
        }
        story.tell("c1", asked("triage", None));
        unsnapped(&story.ledger, u64::MAX).len()
    };
    assert_eq!(after(&mut story, 2, 3), 1);
    story.ledger.leave_unsnapped(&conversation("c1"), Seq(1));
    assert_eq!(unsnapped(&story.ledger, u64::MAX).len(), 1, "that was about another tail");
    story.ledger.leave_unsnapped(&conversation("c1"), row(&story, "c1").seq);
    assert_eq!(unsnapped(&story.ledger, u64::MAX), [""; 0]);
    assert_eq!(after(&mut story, 8, 8), 1, "something has happened");
    story.tell("c1", snapshotted(18));
    assert_eq!((after(&mut story, 2, 18), after(&mut story, 2, 23)), (0, 1), "more than three, a quarter of that one");
}

fn damaged(ledger: &Ledger) -> Vec<String> {
    ledger.damaged().map(|row| row.conversation.to_string()).collect()
}

#[test]
fn bytes_that_no_version_writes_are_remembered_until_an_entry_follows_them() {
    let mut story = Story::new(bounded());
    for id in ["c1", "c2", "over"] {
        story.tell(id, opened("triage"));
    }
    story.tell("over", completed("triage"));
    let before = story.ledger.clone();
    for (seq, id) in [(3, "c2"), (5, "c1"), (6, "c1"), (7, "over"), (8, "unheard-of")] {
        story.ledger.damage(Seq(seq), &conversation(id));
    }
    assert_eq!((damaged(&story.ledger), story.ledger.seq()), (vec!["c1".to_owned()], Seq(8)), "and what was seen before is not news");
    assert_eq!(damaged(&Ledger::restore(60_000, story.ledger.place(), story.ledger.open())), ["c1"], "a checkpoint remembers it too");
    let mut ledger = story.ledger;
    ledger.apply(Seq(9), START_MS, &story.heads[0].2, 0);
    assert_eq!(damaged(&ledger), [""; 0]);
    assert_eq!(ledger.revisions().collect::<Vec<_>>(), before.revisions().collect::<Vec<_>>());
}

#[test]
fn an_entry_seen_before_changes_nothing() {
    let mut story = Story::new(bounded());
    story.tell("c1", opened("triage"));
    story.tell("c1", transferred("triage", "refund"));
    let (seq, time_ms, head, size) = story.heads[0].clone();
    story.ledger.apply(seq, time_ms, &head, size);
    assert_eq!(row(&story, "c1").ordinal, 1);
}

#[test]
fn the_epoch_begins_with_work_items_and_takeovers_and_the_turn_with_its_first_work_item() {
    let mut story = Story::new(bounded());
    let mut seen = Vec::new();
    let lines =
        [opened("triage"), taken("triage"), redispatched("triage", 0), said(), transferred("triage", "refund"), handed_back("refund")];
    for line in lines {
        story.tell("c1", line);
        let row = row(&story, "c1");
        seen.push((row.epoch.0, row.item.0, row.turn_ms - START_MS));
        story.wait(1000);
    }
    assert_eq!(seen, [(1, 1, 0), (2, 1, 0), (3, 3, 0), (3, 3, 0), (5, 5, 4000), (5, 5, 4000)]);
}

#[test]
fn a_wait_counts_from_the_entry_that_began_it() {
    let mut story = Story::new(bounded());
    story.tell("c1", opened("triage"));
    assert_eq!(row(&story, "c1").not_before_ms, None);
    story.tell("c1", deferred("triage", 20));
    story.wait(5000);
    story.tell("c1", said());
    assert_eq!(row(&story, "c1").not_before_ms, Some(START_MS + 20_000));
    story.tell("c1", handed_back("triage"));
    assert_eq!(row(&story, "c1").not_before_ms, Some(START_MS + 5000));
    story.tell("c1", taken("triage"));
    assert_eq!(row(&story, "c1").not_before_ms, None);
}

#[test]
fn a_request_is_due_after_the_entry_that_asked() {
    let mut story = Story::new(Fixed::default());
    story.tell("c1", opened("triage"));
    story.wait(1000);
    story.tell("c1", approvals("triage", &[Some(30), None, Some(10)]));
    let due = |secs: u64| START_MS + 1000 + secs * 1000;
    assert_eq!(row(&story, "c1").due, [(request("1.0"), due(30)), (request("1.2"), due(10))]);
    assert_eq!(row(&story, "c1").deadline(), Some((due(10), Expired::Request(request("1.2")))));
    story.wait(5000);
    story.tell("c1", decided(Class::In, "1.2"));
    assert_eq!(row(&story, "c1").deadline(), Some((due(30), Expired::Request(request("1.0")))));
    story.tell("c1", decided(Class::In, "1.0"));
    story.tell("c1", decided(to("triage"), "1.1"));
    assert_eq!(row(&story, "c1").deadline(), None);
}

#[test]
fn the_first_bound_counts() {
    let mut story = Story::new(bounded());
    story.tell("c1", opened("triage"));
    assert_eq!(row(&story, "c1").deadline(), Some((START_MS + 60_000, Expired::Turn)));
    story.tell("c1", asked("triage", None));
    assert_eq!(row(&story, "c1").deadline(), Some((START_MS + 1_000_000, Expired::Conversation)), "waiting is not a turn");
    story.wait(970_000);
    story.tell("c1", replied("triage", "1.0"));
    assert_eq!(row(&story, "c1").deadline(), Some((START_MS + 1_000_000, Expired::Conversation)));
    story.tell("c1", completed("triage"));
    assert_eq!(row(&story, "c1").deadline(), None);
}

#[test]
fn indexes_follow_the_conversation() {
    let mut story = Story::new(bounded());
    for id in ["c1", "c2", "c3"] {
        story.tell(id, opened("triage"));
        story.wait(1000);
    }
    story.tell("c2", transferred("triage", "refund"));
    story.tell("c3", asked("triage", Some(5)));
    assert_eq!(delivered(&story.ledger, "triage", 9), ["c1"]);
    assert_eq!((delivered(&story.ledger, "refund", 3), delivered(&story.ledger, "refund", 4)), (vec![], vec!["c2".to_owned()]));
    assert_eq!(waiting(&story.ledger, "gw-1"), ["c3"]);
    let due_ms = START_MS + 3000 + 5000;
    assert_eq!(expired(&story.ledger, due_ms - 1), []);
    assert_eq!(expired(&story.ledger, due_ms), [("c3".to_owned(), Expired::Request(request("1.0")))]);
    assert_eq!(
        expired(&story.ledger, START_MS + 63_000),
        [("c3".to_owned(), Expired::Request(request("1.0"))), ("c1".to_owned(), Expired::Turn), ("c2".to_owned(), Expired::Turn)]
    );
    story.tell("c3", replied("triage", "1.0"));
    story.tell("c2", completed("refund"));
    assert_eq!(delivered(&story.ledger, "triage", 9), ["c1", "c3"]);
    assert_eq!(story.ledger.working_agents().collect::<Vec<_>>(), [&agent("triage")]);
    assert_eq!((waiting(&story.ledger, "gw-1").len(), story.ledger.waiting_gateways().count()), (0, 0));
}

#[test]
fn an_agents_work_begins_with_its_oldest_open_item_or_with_what_comes_next() {
    let from = |ledger: &Ledger| (ledger.work_from(&agent("triage")).0, ledger.work_from(&agent("refund")).0);
    let mut story = Story::new(Fixed::default());
    assert_eq!(from(&story.ledger), (1, 1), "whoever has seen nothing leaves nothing out");
    for (line, expected) in [
        (opened("triage"), (1, 2)),
        (taken("triage"), (1, 3)),
        (transferred("triage", "refund"), (4, 3)),
        (said(), (5, 3)),
        (redispatched("refund", 2), (6, 5)),
        (asked("refund", None), (7, 7)),
        (replied("refund", "5.0"), (8, 7)),
        (completed("refund"), (9, 9)),
    ] {
        story.tell("c1", line);
        assert_eq!(from(&story.ledger), expected);
    }
    for id in ["c2", "c3"] {
        story.tell(id, opened("triage"));
    }
    assert_eq!(from(&story.ledger), (9, 11), "the older of two");
    story.tell("c2", completed("triage"));
    assert_eq!(from(&story.ledger), (10, 12));
    // What this version cannot read may be work, and no later entry tells.
    story.ledger.skip(Seq(11));
    assert_eq!(from(&story.ledger), (10, 12), "it was read before");
    story.ledger.skip(Seq(12));
    story.ledger.skip(Seq(13));
    assert_eq!(from(&story.ledger), (10, 12));
    let restored = Ledger::restore(60_000, story.ledger.place(), Vec::new());
    assert_eq!(from(&restored), (12, 12), "a checkpoint remembers it");
}

#[test]
fn ended_conversations_stay_for_a_while() {
    let mut story = Story::new(bounded());
    story.tell("c1", opened("triage"));
    story.tell("c1", completed("triage"));
    story.tell("c2", opened("triage"));
    assert_eq!((story.ledger.open_count(), story.ledger.rows().count()), (1, 2));
    story.ledger.expire(START_MS + 59_999);
    assert_eq!(row(&story, "c1").brief.phase, Phase::Completed);
    story.ledger.expire(START_MS + 60_000);
    assert_eq!((story.ledger.open_count(), story.ledger.rows().count()), (1, 1));
}

#[test]
fn nothing_is_left_of_an_erased_conversation() {
    let mut story = Story::new(bounded());
    story.tell("c1", opened("triage"));
    story.tell("c1", completed("triage"));
    story.roll("c1", 0);
    assert_eq!((story.ledger.open_count(), story.ledger.rows().count()), (0, 0));
    story.ledger.expire(u64::MAX);
    assert_eq!(story.ledger.seq(), Seq(3));
}

/// A row as it comes back from a checkpoint.
fn stored(packed: &Packed) -> Packed {
    let (common, own) = packed.parts();
    let common: Common = rmp_serde::from_slice(&rmp_serde::to_vec_named(&**common).unwrap()).unwrap();
    Packed::from_parts(common.into(), own).unwrap()
}

#[test]
fn what_conversations_have_in_common_is_held_once_and_only_as_long_as_it_is_needed() {
    let mut story = Story::new(Fixed { tenant: Some("a tenant".to_owned()), ..bounded() });
    for n in 0..100 {
        let id = format!("c{n}");
        story.tell(&id, opened("triage"));
        story.wait(1000);
        story.tell(&id, transferred("triage", "refund"));
        story.tell(&id, asked("refund", Some(30)));
    }
    assert_eq!(story.ledger.rows.commons(), 1);
    let sizes = story.ledger.rows().map(|packed| packed.parts().1.len());
    let largest = sizes.max().unwrap();
    assert!(largest < 128, "{largest} bytes of its own");
    story.tell("c7", replied("refund", "2.0"));
    assert_eq!(story.ledger.rows.commons(), 2);
    for n in (0..100).filter(|n| *n != 7) {
        story.tell(&format!("c{n}"), replied("refund", "2.0"));
    }
    assert_eq!(story.ledger.rows.commons(), 1);
    for n in 0..100 {
        story.tell(&format!("c{n}"), completed("refund"));
    }
    story.ledger.expire(u64::MAX);
    assert_eq!((story.ledger.rows.commons(), story.ledger.rows().count()), (0, 0));
    story.tell("c1", erased());
    story.tell("again", opened("triage"));
    assert_eq!(story.ledger.rows().count(), 1);
}

#[test]
fn bytes_that_are_no_row_are_refused() {
    let mut story = Story::new(bounded());
    story.tell("c1", opened("triage"));
    story.tell("c1", asked("triage", None));
    let packed = story.ledger.open().remove(0);
    let (common, own) = packed.parts();
    assert_eq!(Packed::from_parts(common.clone(), own), Some(packed.clone()));
    for end in 0..own.len() {
        assert_eq!(Packed::from_parts(common.clone(), &own[..end]), None, "cut at {end}");
    }
    let mut none_asked = Common::clone(common);
    none_asked.brief.requests.clear();
    assert_eq!(Packed::from_parts(none_asked.into(), own), None, "its requests are another's");
}

/// All there is about open conversations.
fn state(ledger: &Ledger) -> (Seq, BTreeMap<ConversationId, Row>, impl PartialEq + Debug) {
    let row = |slot: &Slot| ledger.rows.row(*slot).unwrap();
    let id = |slot: &Slot| row(slot).conversation;
    let open = ledger.open().iter().map(|packed| packed.row().unwrap()).map(|row| (row.conversation.clone(), row)).collect();
    let deadlines: BTreeSet<_> = ledger.deadlines.iter().map(|(at_ms, slot)| (*at_ms, id(slot))).collect();
    let working: BTreeMap<_, Vec<_>> =
        ledger.working.iter().map(|(agent, items)| (agent.clone(), items.iter().map(|(item, slot)| (*item, id(slot))).collect())).collect();
    let waiting: BTreeMap<_, BTreeSet<_>> =
        ledger.waiting.iter().map(|(gateway, slots)| (gateway.clone(), slots.iter().map(id).collect())).collect();
    let unsnapped: BTreeSet<_> = ledger.unsnapped(u64::MAX).map(|row| row.conversation).collect();
    (ledger.seq, open, (deadlines, working, waiting, unsnapped))
}

proptest! {
    #[test]
    fn any_checkpoint_and_the_rest_make_the_same_ledger(
        dice in proptest::collection::vec((0_usize..4, any::<usize>(), 0_u64..20_000), 1..60),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut story = Story::new(bounded());
        for (id, die, ms) in dice {
            story.roll(["c1", "c2", "c3", "c4"][id], die);
            story.wait(ms);
        }
        let cut = cut.index(story.heads.len() + 1);
        let mut before = Ledger::new(60_000);
        for (seq, time_ms, head, size) in &story.heads[..cut] {
            before.apply(*seq, *time_ms, head, *size);
        }
        let stored: Vec<_> = before.open().iter().map(stored).collect();
        let mut restored = Ledger::restore(60_000, before.place(), stored);
        // Some entries come again.
        for (seq, time_ms, head, size) in &story.heads[cut.saturating_sub(3)..] {
            restored.apply(*seq, *time_ms, head, *size);
        }
        prop_assert_eq!(state(&restored), state(&story.ledger));
    }

    #[test]
    fn indexes_are_what_a_full_scan_finds(dice in proptest::collection::vec((0_usize..4, any::<usize>(), 0_u64..20_000), 1..60)) {
        let mut story = Story::new(bounded());
        for (id, die, ms) in dice {
            story.roll(["c1", "c2", "c3", "c4"][id], die);
            story.wait(ms);
        }
        let ledger = &story.ledger;
        let rows: Vec<_> = ledger.rows().map(|packed| packed.row().unwrap()).collect();
        let open: Vec<_> = rows.iter().filter(|row| !row.brief.phase.is_ended()).collect();
        prop_assert_eq!(ledger.open_count(), open.len());
        let late: BTreeSet<_> = ledger.expired(story.now_ms).map(|(row, _)| row.conversation).collect();
        let scanned = open.iter().filter(|row| row.deadline().is_some_and(|(at_ms, _)| at_ms <= story.now_ms));
        prop_assert_eq!(late, scanned.map(|row| row.conversation.clone()).collect());
        for name in ["triage", "refund"] {
            let found: BTreeSet<_> = ledger.delivered(&agent(name), Seq(u64::MAX)).map(|row| row.conversation).collect();
            let scanned = open.iter().filter(|row| row.brief.phase == Phase::Working && row.brief.owner == agent(name));
            prop_assert_eq!(found, scanned.clone().map(|row| row.conversation.clone()).collect());
            let oldest = scanned.map(|row| row.item).min();
            prop_assert_eq!(ledger.work_from(&agent(name)), oldest.unwrap_or(Seq(ledger.seq().0 + 1)));
        }
        let found: BTreeSet<_> = ledger.unsnapped(u64::MAX).map(|row| row.conversation).collect();
        prop_assert_eq!(found, open.iter().filter(|row| row.needs_snapshot()).map(|row| row.conversation.clone()).collect());
        let found: BTreeSet<_> = ledger.waiting_at(&process("gw-1")).map(|row| row.conversation).collect();
        prop_assert_eq!(found, open.iter().filter(|row| row.brief.phase == Phase::Waiting).map(|row| row.conversation.clone()).collect());
    }
}
