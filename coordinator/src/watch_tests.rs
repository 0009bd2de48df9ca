use std::time::Duration;

use protocol::brief::Fixed;
use protocol::event::Cancelled;
use protocol::ids::Writer;
use protocol::presence::Holding;
use protocol::wire::{SEAL_BYTES, Stored};

use super::*;
use crate::presence::Probe;
use crate::story::{
    Line, START_MS, Story, agent, approvals, asked, beat, completed, conversation, deferred, handed_back, opened, process, redispatched,
    request, revision, said, saying, taken, to, transferred,
};

const GRACE_MS: u64 = 8000;
const SNAPSHOT_AFTER_MS: u64 = 600_000;
const ATTEMPTS: u32 = 5;

/// A listener that has heard these workers for long enough.
fn hearing(beats: &[(&str, &str)]) -> Presence {
    let mut presence = Presence::new(Duration::from_secs(6), 8);
    for _ in 0..8 {
        presence.ticked();
    }
    for (worker, name) in beats {
        presence.heard(beat(worker, name), Duration::ZERO);
    }
    presence
}

fn consumer(name: &str, delivered: u64) -> BTreeMap<AgentName, Option<ConsumerState>> {
    BTreeMap::from([(agent(name), Some(ConsumerState { delivered: Seq(delivered), ..ConsumerState::default() }))])
}

fn death(worker: &str, name: &str, delivered: u64) -> Death {
    Death { process: process(worker), delivered: BTreeMap::from([(agent(name), Seq(delivered))]) }
}

/// A worker's answer: conversations, and the work items by which it holds them.
fn answer(worker: &str, held: &[(&str, u64)]) -> HoldsAnswer {
    let holding = |(id, item): &(&str, u64)| Holding { conversation: conversation(id), item: Seq(*item) };
    HoldsAnswer { process: process(worker), held: held.iter().map(holding).collect() }
}

/// A question about conversations with their tails and work items.
fn question(name: &str, suspects: &[(&str, u64, u64)], awaited: &[&str]) -> Question {
    let suspect = |(id, tail, item): &(&str, u64, u64)| Suspect { conversation: conversation(id), tail: Seq(*tail), item: Seq(*item) };
    Question {
        agent: agent(name),
        suspects: suspects.iter().map(suspect).collect(),
        awaited: awaited.iter().map(|worker| process(worker)).collect(),
        death: None,
    }
}

fn after(question: Question, worker: &str, delivered: u64) -> Question {
    Question { death: Some((process(worker), Seq(delivered))), ..question }
}

fn append(id: &str, tail: u64, intent: Intent) -> Act {
    Act::Append(Proposal { conversation: conversation(id), tail: Seq(tail), intent })
}

fn redispatch(id: &str, tail: u64, reason: &str) -> Act {
    append(id, tail, Intent::Redispatch { reason: reason.to_owned() })
}

fn bounded() -> Fixed {
    Fixed { turn_secs: Some(60), conversation_secs: Some(100), ..Fixed::default() }
}

/// Everything a sweep may meet: held or lost work, backlog, a wait that protects, a question, an end, other agents.
fn mixed() -> Story {
    let mut story = Story::new(Fixed::default());
    for id in ["lost", "held", "deferred", "handed", "asked", "ended", "moved", "taken"] {
        story.tell(id, opened("triage"));
    }
    story.tell("deferred", deferred("triage", 30));
    story.tell("handed", handed_back("triage"));
    story.tell("asked", asked("triage", None));
    story.tell("ended", completed("triage"));
    story.tell("moved", transferred("triage", "refund"));
    story.tell("taken", taken("triage"));
    story.tell("backlog", opened("triage"));
    story
}

#[test]
fn each_bound_that_passes_ends_its_conversation_once_and_in_order() {
    let mut story = Story::new(bounded());
    story.tell("turn", opened("triage"));
    story.tell("human", opened("triage"));
    story.tell("human", approvals("triage", &[Some(70), Some(50)]));
    story.tell("whole", opened("triage"));
    story.tell("whole", asked("triage", None));
    let mut watch = Watch::new(GRACE_MS, SNAPSHOT_AFTER_MS);
    let mut at = |secs: u64| watch.acts(&story.ledger, &hearing(&[]), &BTreeMap::new(), START_MS + secs * 1000);
    let human = append("human", 3, Intent::Expire(Expired::Request(request("1.1"))));
    let turn = append("turn", 1, Intent::Expire(Expired::Turn));
    let whole = append("whole", 5, Intent::Expire(Expired::Conversation));
    assert_eq!(at(49), []);
    assert_eq!(at(50), std::slice::from_ref(&human));
    assert_eq!(at(60), [human.clone(), turn.clone()]);
    assert_eq!(at(100), [human, turn, whole]);
}

#[test]
fn only_delivered_unprotected_quiet_work_is_asked_about() {
    let story = mixed();
    let mut watch = Watch::new(GRACE_MS, SNAPSHOT_AFTER_MS);
    let presence = hearing(&[("w-1", "triage"), ("w-2", "refund"), ("w-3", "triage")]);
    let mut at = |ms: u64| watch.acts(&story.ledger, &presence, &consumer("triage", 14), START_MS + ms);
    assert_eq!(at(GRACE_MS - 1), []);
    let usual = question("triage", &[("lost", 1, 1), ("held", 2, 2), ("handed", 10, 4), ("taken", 14, 8)], &["w-1", "w-3"]);
    assert_eq!(at(GRACE_MS), [Act::Ask(usual)]);
    let with_deferred =
        question("triage", &[("lost", 1, 1), ("held", 2, 2), ("deferred", 9, 3), ("handed", 10, 4), ("taken", 14, 8)], &["w-1", "w-3"]);
    assert_eq!(at(30_000 + GRACE_MS), [Act::Ask(with_deferred)]);
}

#[test]
fn work_that_was_not_delivered_is_backlog() {
    let story = mixed();
    let mut watch = Watch::new(GRACE_MS, SNAPSHOT_AFTER_MS);
    let mut asks = |delivered: u64| watch.acts(&story.ledger, &hearing(&[]), &consumer("triage", delivered), START_MS + 10_000);
    assert_eq!(asks(0), []);
    assert_eq!(asks(1), [Act::Ask(question("triage", &[("lost", 1, 1)], &[]))]);
    let all = question("triage", &[("lost", 1, 1), ("held", 2, 2), ("handed", 10, 4), ("taken", 14, 8), ("backlog", 15, 15)], &[]);
    assert_eq!(asks(15), [Act::Ask(all)]);
}

#[test]
fn a_listener_that_was_away_does_not_sweep() {
    let story = mixed();
    let mut presence = hearing(&[]);
    presence.tick_missed();
    let acts = Watch::new(GRACE_MS, SNAPSHOT_AFTER_MS).acts(&story.ledger, &presence, &consumer("triage", 14), START_MS + 10_000);
    assert_eq!(acts, []);
}

#[test]
fn a_missing_consumer_is_provisioned_again() {
    let story = mixed();
    let consumers = BTreeMap::from([(agent("refund"), None), (agent("triage"), Some(ConsumerState::default()))]);
    let acts = Watch::new(GRACE_MS, SNAPSHOT_AFTER_MS).acts(&story.ledger, &hearing(&[]), &consumers, START_MS + 10_000);
    assert_eq!(acts, [Act::Provision(BTreeSet::from([agent("refund")]))]);
}

#[test]
fn two_rounds_in_which_nobody_holds_it_make_an_orphan() {
    let story = mixed();
    let presence = hearing(&[("w-1", "triage")]);
    let mut watch = Watch::new(GRACE_MS, SNAPSHOT_AFTER_MS);
    let round = question("triage", &[("lost", 1, 1), ("held", 2, 2), ("taken", 14, 8)], &["w-1"]);
    let acts = watch.answered(&presence, round.clone(), &[answer("w-1", &[("held", 2)])]);
    assert_eq!(acts, []);
    // Between the rounds the sweep keeps what is still suspect as it was.
    watch.acts(&story.ledger, &presence, &consumer("triage", 14), START_MS + 10_000);
    let acts = watch.answered(&presence, round.clone(), &[answer("w-1", &[("held", 2), ("taken", 8)])]);
    assert_eq!(acts, [redispatch("lost", 1, "no worker holds it")]);
    assert_eq!(watch.answered(&presence, round, &[answer("w-1", &[("held", 2), ("lost", 1)])]), [], "what was held meanwhile counts anew");
}

#[test]
fn work_that_moved_between_two_rounds_is_no_orphan() {
    let mut story = Story::new(Fixed::default());
    story.tell("c1", opened("triage"));
    let presence = hearing(&[]);
    let mut watch = Watch::new(GRACE_MS, SNAPSHOT_AFTER_MS);
    assert_eq!(watch.answered(&presence, question("triage", &[("c1", 1, 1)], &[]), &[]), []);
    story.tell("c1", taken("triage"));
    assert_eq!(watch.answered(&presence, question("triage", &[("c1", 2, 1)], &[]), &[]), []);
    story.tell("c1", completed("triage"));
    watch.acts(&story.ledger, &presence, &consumer("triage", 9), START_MS + 20_000);
    // It would be one more round if it still counted.
    assert_eq!(watch.answered(&presence, question("triage", &[("c1", 2, 1)], &[]), &[]), []);
}

#[test]
fn nothing_is_concluded_without_the_word_of_all_who_are_there() {
    let presence = hearing(&[("w-1", "triage"), ("w-2", "triage")]);
    let mut watch = Watch::new(GRACE_MS, SNAPSHOT_AFTER_MS);
    let round = question("triage", &[("lost", 1, 1)], &["w-1", "w-2"]);
    for _ in 0..3 {
        assert_eq!(watch.answered(&presence, round.clone(), &[answer("w-1", &[])]), []);
    }
    let both = [answer("w-1", &[]), answer("w-2", &[])];
    assert_eq!(watch.answered(&presence, round.clone(), &both), []);
    assert_eq!(watch.answered(&presence, round, &both), [redispatch("lost", 1, "no worker holds it")]);
}

#[test]
fn a_death_is_swept_at_once() {
    let story = mixed();
    let mut watch = Watch::new(GRACE_MS, SNAPSHOT_AFTER_MS);
    let presence = hearing(&[("w-1", "triage")]);
    // Even what was said a moment ago is suspect; what waits or was not delivered is not.
    let asked = after(question("triage", &[("lost", 1, 1), ("held", 2, 2), ("taken", 14, 8)], &["w-1"]), "w-9", 14);
    assert_eq!(watch.died(&story.ledger, &presence, &death("w-9", "triage", 14), START_MS), [Act::Ask(asked.clone())]);
    let acts = watch.answered(&presence, asked, &[answer("w-1", &[("held", 2)])]);
    assert_eq!(acts, [redispatch("lost", 1, "worker process w-9 died"), redispatch("taken", 14, "worker process w-9 died")]);
    assert_eq!(watch.died(&story.ledger, &presence, &death("w-9", "refund", 12), START_MS), []);
}

/// A worker that is killed again and again leaves items that come again: a survivor looks at each for a moment.
#[test]
fn whoever_is_busy_with_a_stale_item_holds_nothing() {
    let mut story = Story::new(Fixed::default());
    story.tell("c1", opened("triage"));
    story.tell("c1", redispatched("triage", 0));
    let (mut watch, presence) = (Watch::new(GRACE_MS, SNAPSHOT_AFTER_MS), hearing(&[("w-1", "triage")]));
    let asked = after(question("triage", &[("c1", 2, 2)], &["w-1"]), "w-9", 2);
    assert_eq!(watch.died(&story.ledger, &presence, &death("w-9", "triage", 2), START_MS), [Act::Ask(asked.clone())]);
    assert_eq!(watch.answered(&presence, asked.clone(), &[answer("w-1", &[("c1", 2)])]), []);
    let orphan = [redispatch("c1", 2, "worker process w-9 died")];
    assert_eq!(watch.answered(&presence, asked, &[answer("w-1", &[("c1", 1)])]), orphan);
}

#[test]
fn a_death_stays_unsettled_until_all_survivors_have_spoken() {
    let story = mixed();
    let mut watch = Watch::new(GRACE_MS, SNAPSHOT_AFTER_MS);
    let presence = hearing(&[("w-1", "triage")]);
    let asked = after(question("triage", &[("lost", 1, 1)], &["w-1"]), "w-9", 1);
    assert_eq!(watch.answered(&presence, asked.clone(), &[]), []);
    assert_eq!(watch.acts(&story.ledger, &presence, &BTreeMap::new(), START_MS), [Act::Ask(asked.clone())]);
    assert_eq!(watch.acts(&story.ledger, &presence, &BTreeMap::new(), START_MS), [], "it is being asked");
    assert_eq!(watch.answered(&presence, asked, &[answer("w-1", &[])]), [redispatch("lost", 1, "worker process w-9 died")]);
    assert_eq!(watch.acts(&story.ledger, &presence, &BTreeMap::new(), START_MS), []);
}

#[test]
fn a_survivor_that_died_or_hangs_meanwhile_is_not_waited_for() {
    let asked = after(question("triage", &[("lost", 1, 1)], &["w-1"]), "w-9", 1);
    let expected = [redispatch("lost", 1, "worker process w-9 died")];
    assert_eq!(Watch::new(GRACE_MS, SNAPSHOT_AFTER_MS).answered(&hearing(&[]), asked.clone(), &[]), expected);
    let mut presence = hearing(&[("w-1", "triage")]);
    for _ in 0..8 {
        presence.ticked();
    }
    assert_eq!(Watch::new(GRACE_MS, SNAPSHOT_AFTER_MS).answered(&presence, asked.clone(), &[]), expected);
    let mut presence = hearing(&[("w-1", "triage")]);
    for ms in [500, 800] {
        presence.probe(Duration::from_millis(ms));
        presence.probed(&process("w-1"), Probe::NoResponders, BTreeMap::new(), Duration::from_millis(ms));
    }
    assert_eq!(Watch::new(GRACE_MS, SNAPSHOT_AFTER_MS).answered(&presence, asked, &[]), expected);
}

#[test]
fn many_suspects_are_asked_about_in_pieces() {
    let mut story = Story::new(Fixed::default());
    for n in 0..ASKED_MAX + 1 {
        story.tell(&format!("c{n}"), opened("triage"));
    }
    let acts = Watch::new(GRACE_MS, SNAPSHOT_AFTER_MS).died(&story.ledger, &hearing(&[]), &death("w-9", "triage", 5000), START_MS);
    let sizes: Vec<_> = acts.iter().map(|act| if let Act::Ask(question) = act { question.suspects.len() } else { 0 }).collect();
    assert_eq!(sizes, [ASKED_MAX, 1]);
}

/// What is appended for an intent on a conversation as the lines make it.
fn judged(lines: Vec<Line>, tail: u64, intent: Intent) -> Option<(Class, Event)> {
    let mut story = Story::new(bounded());
    for line in lines {
        story.tell("c1", line);
    }
    let proposal = Proposal { conversation: conversation("c1"), tail: Seq(tail), intent };
    judge(&story.conversations[&conversation("c1")], &proposal, ATTEMPTS)
}

fn failed(code: &'static str, detail: &str) -> Option<(Class, Event)> {
    Some((Class::End, Failed { code: code.into(), detail: detail.to_owned() }.into()))
}

fn again(reason: &str) -> Intent {
    Intent::Redispatch { reason: reason.to_owned() }
}

#[test]
fn a_redispatch_names_the_turn_that_it_continues() {
    let redispatched_as = |name: &str, turn| Some((to(name), Redispatched { turn, reason: "died".to_owned() }.into()));
    assert_eq!(judged(vec![opened("triage")], 1, again("died")), redispatched_as("triage", 0));
    let lines = vec![opened("triage"), transferred("triage", "refund"), redispatched("refund", 1), taken("refund"), said()];
    assert_eq!(judged(lines, 5, again("died")), redispatched_as("refund", 1));
    assert_eq!(to("triage"), Class::To { agent: agent("triage"), revision: revision() });
}

#[test]
fn the_last_attempt_that_dies_ends_the_conversation() {
    let tries = |n: usize| std::iter::once(opened("triage")).chain(std::iter::repeat_with(|| taken("triage")).take(n)).collect::<Vec<_>>();
    assert!(matches!(judged(tries(3), 4, again("died")), Some((Class::To { .. }, _))));
    let poison = failed(failure::POISON, "5 attempts at this turn of agent triage died or were abandoned (limits.attempts)");
    assert_eq!(judged(tries(4), 5, again("died")), poison);
    // A hand-back is nobody's failure.
    let mut rested = tries(4);
    rested.push(handed_back("triage"));
    assert!(matches!(judged(rested, 6, again("died")), Some((Class::To { .. }, _))));
}

#[test]
fn a_bound_says_which_one_it_was() {
    let expire = |lines, tail, expired| judged(lines, tail, Intent::Expire(expired));
    let turn = failed(failure::TURN_TIMEOUT, "agent triage did not finish its turn within 60 s (limits.turnTimeout)");
    assert_eq!(expire(vec![opened("triage")], 1, Expired::Turn), turn);
    let lines = vec![opened("triage"), deferred("triage", 15), taken("triage"), said()];
    let waited =
        failed(failure::TURN_TIMEOUT, "agent triage did not finish its turn within 60 s (limits.turnTimeout); it was put off: busy");
    assert_eq!(expire(lines, 4, Expired::Turn), waited, "whoever waits in vain says for what");
    let lines = vec![opened("triage"), deferred("triage", 15), transferred("triage", "refund")];
    let refund = failed(failure::TURN_TIMEOUT, "agent refund did not finish its turn within 60 s (limits.turnTimeout)");
    assert_eq!(expire(lines, 3, Expired::Turn), refund, "that was another turn");
    let whole = failed(CONVERSATION_TIMEOUT, "the conversation did not end within 100 s (limits.conversationTimeout)");
    assert_eq!(expire(vec![opened("triage")], 1, Expired::Conversation), whole);
    let human = failed(failure::HUMAN_TIMEOUT, "request 1.1 to role:lead was not answered within 50 s (limits.humanTimeout)");
    let lines = vec![opened("triage"), approvals("triage", &[Some(70), Some(50)])];
    assert_eq!(expire(lines, 2, Expired::Request(request("1.1"))), human);
}

#[test]
fn whoever_waits_long_with_much_to_read_gets_a_snapshot_a_few_at_a_time() {
    let long = || saying("x".repeat(SEAL_BYTES));
    let mut story = Story::new(Fixed::default());
    for n in 0..=SNAPSHOTS_MAX {
        let id = format!("c{n}");
        for line in [opened("triage"), long(), long(), asked("triage", None)] {
            story.tell(&id, line);
        }
        story.wait(1);
    }
    let mut watch = Watch::new(GRACE_MS, SNAPSHOT_AFTER_MS);
    let mut at = |ms: u64| watch.acts(&story.ledger, &hearing(&[]), &BTreeMap::new(), START_MS + ms);
    assert_eq!(at(SNAPSHOT_AFTER_MS - 1), []);
    assert_eq!(at(SNAPSHOT_AFTER_MS + 1), [append("c0", 4, Intent::Snapshot), append("c1", 8, Intent::Snapshot)]);
    assert_eq!(at(2 * SNAPSHOT_AFTER_MS).len(), SNAPSHOTS_MAX);

    let snapshot = |lines: Vec<Line>| judged(lines, 4, Intent::Snapshot);
    let written = Some((Class::Note, Snapshotted { entries: 4 }.into()));
    assert_eq!(snapshot(vec![opened("triage"), long(), long(), asked("triage", None)]), written);
    assert_eq!(snapshot(vec![opened("triage"), said(), long(), asked("triage", None)]), None, "less than it seemed");
    assert_eq!(snapshot(vec![opened("triage"), long(), long(), taken("triage")]), None, "nobody is waited for");
    let large = || saying("x".repeat(SNAPSHOT_BYTES_MAX / 2));
    assert_eq!(snapshot(vec![opened("triage"), large(), large(), asked("triage", None)]), None, "no message would hold it");
}

/// However far the ledger has read, and whatever it wanted.
#[test]
fn nothing_but_its_failure_becomes_of_a_conversation_that_cannot_be_read() {
    let mut known = Conversation::empty("support".parse().unwrap(), conversation("c1"));
    let opening = crate::story::prepare(&known, opened("triage"), &bounded());
    let message = opening.message.clone();
    let stored = message.stored(Seq(1), 0);
    known.commit(opening, Seq(1)).unwrap();
    let poison =
        Stored { seq: Seq(2), subject: "baton.support.c.c1.1.note.triage".to_owned(), headers: Default::default(), ..stored.clone() };
    let damaged = Conversation::salvage(known.orchestration().clone(), known.id().clone(), &[stored, poison]);
    for (tail, intent) in [(1, Intent::Contain), (2, again("died")), (1, Intent::Expire(Expired::Turn))] {
        let proposal = Proposal { conversation: conversation("c1"), tail: Seq(tail), intent };
        assert_eq!(judge(&damaged, &proposal, ATTEMPTS), damaged.must_fail().map(|failed| (Class::End, failed.into())));
        assert!(damaged.must_fail().is_some());
    }
    assert_eq!(judged(vec![opened("triage")], 1, Intent::Contain), None, "somebody was faster");
}

#[test]
fn whoever_was_faster_has_the_last_word() {
    assert_eq!(judged(vec![opened("triage"), said()], 1, again("died")), None, "the journal is ahead of the ledger");
    assert_eq!(judged(vec![opened("triage")], 2, again("died")), None, "a replica lags");
    assert_eq!(judged(vec![opened("triage"), completed("triage")], 2, Intent::Expire(Expired::Turn)), None);
    let cancelled = (Class::End, Writer::Client, vec![Cancelled { reason: String::new() }.into()]);
    assert_eq!(judged(vec![opened("triage"), cancelled], 2, again("died")), None);
}
