use journal::ConsumerState;
use protocol::brief::Fixed;

use super::*;
use crate::story::{Line, Story, agent, asked, completed, opened, transferred};

fn revision(name: &str) -> Revision {
    Revision::of(name.as_bytes())
}

fn agents(names: &[&str]) -> BTreeSet<AgentName> {
    names.iter().map(|name| agent(name)).collect()
}

fn known(number: u64, names: &[&str]) -> Known {
    Known { number, agents: Some(agents(names)), retention: Retention::default() }
}

fn learnt(current: &str, revisions: &[(&str, Known)]) -> Learnt {
    Learnt { current: revision(current), revisions: revisions.iter().map(|(name, known)| (revision(name), known.clone())).collect() }
}

const GRACE_MS: u64 = 5000;

/// `old` had a desk; `new`, the current one, has a shop instead.
fn revisions() -> Revisions {
    Revisions::new(learnt("new", &[("old", known(1, &["triage", "desk"])), ("new", known(2, &["triage", "shop"]))]), GRACE_MS)
}

/// The ledger after these lines, each of a conversation that runs on some revision.
fn ledger(lines: &[(&str, &str, Line)]) -> Ledger {
    let mut story = Story::new(Fixed::default());
    for (id, _, line) in lines {
        story.tell(id, line.clone());
    }
    let mut ledger = Ledger::new(60_000);
    for ((seq, time_ms, mut head, size), (_, name, _)) in story.heads.into_iter().zip(lines) {
        head.revision = revision(name);
        ledger.apply(seq, time_ms, &head, size);
    }
    ledger
}

fn needed(names: &[&str]) -> Needed {
    Needed { agents: agents(names), is_complete: true }
}

fn consumers(there: &[&str], gone: &[&str]) -> Consumers {
    let there = there.iter().map(|name| (agent(name), Some(ConsumerState::default())));
    there.chain(gone.iter().map(|name| (agent(name), None))).collect()
}

#[test]
fn agents_of_the_current_revision_and_of_those_in_use_are_needed() {
    let revisions = revisions();
    assert_eq!(revisions.needed(&ledger(&[])), needed(&["triage", "shop"]));
    let on_new = ("c1", "new", opened("triage"));
    assert_eq!(revisions.needed(&ledger(std::slice::from_ref(&on_new))), needed(&["triage", "shop"]));
    // Whoever owns it: it may be handed on.
    let waits = [on_new, ("c2", "old", opened("triage")), ("c2", "old", asked("triage", None))];
    assert_eq!(revisions.needed(&ledger(&waits)), needed(&["triage", "shop", "desk"]));
    let ended = [("c2", "old", opened("triage")), ("c2", "old", completed("triage"))];
    assert_eq!(revisions.needed(&ledger(&ended)), needed(&["triage", "shop"]));
}

#[test]
fn while_a_revision_in_use_cannot_be_read_nobody_retires() {
    let mut revisions = revisions();
    let unknown = [("c1", "lost", opened("triage")), ("c1", "lost", transferred("triage", "clerk"))];
    let ledger = ledger(&unknown);
    let needed = revisions.needed(&ledger);
    assert_eq!(needed, Needed { agents: agents(&["triage", "shop", "clerk"]), is_complete: false });
    for now_ms in [0, 10 * GRACE_MS] {
        assert_eq!(revisions.retiring(&needed, &consumers(&["desk", "shop", "triage"], &[]), now_ms), []);
    }
    // Nor when it was looked for, and is not to be had.
    revisions.learn(learnt("new", &[("lost", Known { number: 0, agents: None, retention: Retention::default() })]));
    assert!(!revisions.needed(&ledger).is_complete);
    revisions.learn(learnt("new", &[("lost", known(3, &["triage", "clerk"]))]));
    assert!(revisions.needed(&ledger).is_complete);
}

#[test]
fn an_agent_retires_when_nothing_has_needed_it_for_long_enough() {
    let mut revisions = revisions();
    let there = consumers(&["desk", "shop", "triage"], &[]);
    let (idle, busy) = (needed(&["triage", "shop"]), needed(&["triage", "shop", "desk"]));
    assert_eq!(revisions.retiring(&idle, &there, 1000), []);
    assert_eq!(revisions.retiring(&idle, &there, 5999), []);
    assert_eq!(revisions.retiring(&idle, &there, 6000), [agent("desk")]);
    assert_eq!(revisions.retiring(&idle, &there, 7000), [agent("desk")], "it was not deleted: once more");
    // Somebody needs it for a moment, and the time begins anew.
    assert_eq!(revisions.retiring(&busy, &there, 8000), []);
    assert_eq!(revisions.retiring(&idle, &there, 9000), []);
    assert_eq!(revisions.retiring(&idle, &there, 13_999), []);
    assert_eq!(revisions.retiring(&idle, &there, 14_000), [agent("desk")]);
}

#[test]
fn who_has_retired_is_not_looked_at_until_it_is_needed_or_in_doubt() {
    let mut revisions = revisions();
    let (quiet, late) = (ledger(&[]), ledger(&[("c1", "old", opened("triage"))]));
    assert_eq!(revisions.watched(&quiet), agents(&["triage", "shop", "desk"]));
    revisions.retiring(&revisions.needed(&quiet), &consumers(&["shop", "triage"], &["desk"]), 1000);
    assert_eq!(revisions.watched(&quiet), agents(&["triage", "shop"]));
    assert_eq!(revisions.watched(&late), agents(&["triage", "shop", "desk"]), "a caller still took the old revision for current");
    revisions.doubt();
    assert_eq!(revisions.watched(&quiet), agents(&["triage", "shop", "desk"]));
}

#[test]
fn another_current_revision_is_told_by_the_agents_that_come_and_go() {
    let mut revisions = revisions();
    assert_eq!(revisions.learn(learnt("new", &[])), None);
    let change = revisions.learn(learnt("newer", &[("newer", known(3, &["triage", "desk", "clerk"]))]));
    assert_eq!(change, Some(Change { came: agents(&["desk", "clerk"]), went: agents(&["shop"]) }));
    let change = revisions.learn(learnt("old", &[]));
    assert_eq!(change, Some(Change { came: BTreeSet::new(), went: agents(&["clerk"]) }), "back again");
    assert_eq!(revisions.current(), &revision("old"));
}

#[test]
fn revisions_are_shown_as_current_in_use_or_retired() {
    let mut revisions = revisions();
    revisions.learn(learnt("new", &[("first", known(0, &["triage"]))]));
    let lines = [
        ("c1", "old", opened("triage")),
        ("c2", "old", opened("triage")),
        ("c2", "old", asked("triage", None)),
        ("c3", "first", opened("triage")),
        ("c3", "first", completed("triage")),
    ];
    let registered = revisions.shown(&ledger(&lines));
    let shown: Vec<_> = registered.revisions.iter().map(|shown| (&shown.revision, shown.state(), shown.open)).collect();
    let expected = [(&revision("new"), "current", 0), (&revision("old"), "in use", 2), (&revision("first"), "retired", 0)];
    assert_eq!((shown, registered.total), (expected.to_vec(), 3));
    assert_eq!(registered.revisions[1].agents, [agent("desk"), agent("triage")]);
}
