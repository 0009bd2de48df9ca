//! One fact is wrong at a time: it is named, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};

use journal::nats::{DeadLetters, Difference, Server, User};
use protocol::ids::{OrchestrationName, Revision};

use super::*;

const NOW_MS: u64 = 1_000_000_000;

fn heartbeat(agent: &str) -> Heartbeat {
    let (process, agent) = (format!("{agent}-1").parse().unwrap(), agent.parse().unwrap());
    Heartbeat { process, pid: 7, agent, held: 1, slots: 64, is_draining: false, server: None }
}

fn thing(what: &str) -> Inspected {
    let there = There { replicas: 1, ack_pending_max: Some(100_000), bytes_max: Some(1 << 30), ..There::default() };
    let there = There { stored_ms: Some(NOW_MS - 900), time_ms: Some(NOW_MS), ..there };
    Inspected { what: what.to_owned(), found: Found::There(there) }
}

fn well() -> Facts {
    let orchestration: OrchestrationName = "support".parse().unwrap();
    let agent = |name: &str| {
        let backlog = Ok(Some(Backlog { pending: 0, in_flight: 1, oldest_ms: None }));
        (name.parse().unwrap(), Agent { workers: vec![heartbeat(name)], backlog })
    };
    Facts {
        orchestration,
        server: Server { version: "2.15.1".to_owned(), has_jetstream: true, ..Server::default() },
        user: Some(User { account: "$G".to_owned(), ..User::default() }),
        things: vec![
            thing("stream baton-support"),
            thing("consumer agent-refund of stream baton-support"),
            thing("bucket KV_baton-support"),
        ],
        doubts: Vec::new(),
        own_ms: NOW_MS + 40,
        revision: Ok(Revision::of(b"x")),
        agents: BTreeMap::from([agent("refund"), agent("triage")]),
        coordinators: Ok(vec!["coordinator-1".parse().unwrap()]),
        leader: Ok(Some("coordinator-1".parse().unwrap())),
        role: None,
        edges: BTreeSet::new(),
        waiting: Ok(Waiting { now_ms: NOW_MS, ..Waiting::default() }),
        gateways: Ok(vec!["gateway-1".parse().unwrap()]),
        dead_letters: Ok(Vec::new()),
    }
}

/// The findings that are not as they should be, a line each.
fn told(change: impl FnOnce(&mut Facts)) -> Vec<String> {
    let mut facts = well();
    change(&mut facts);
    let findings = judge(&facts);
    let wrong = findings.into_iter().filter(|finding| finding.level != Level::Ok);
    wrong
        .map(|finding| {
            assert!(finding.to_do.is_some_and(|to_do| !to_do.is_empty()), "{}: what is to be done?", finding.check);
            format!("{:?} {}: {}", finding.level, finding.check, finding.found).to_lowercase()
        })
        .collect()
}

fn first(facts: &mut Facts) -> &mut There {
    match &mut facts.things[0].found {
        Found::There(there) => there,
        Found::Missing | Found::Hidden(_) => panic!("it is there"),
    }
}

fn refund(facts: &mut Facts) -> &mut Agent {
    facts.agents.get_mut(&"refund".parse().unwrap()).unwrap()
}

#[test]
fn where_all_is_well_there_is_nothing_to_do() {
    assert_eq!(told(|_| {}), [""; 0]);
    assert!(judge(&well()).iter().all(|finding| finding.to_do.is_none()));
}

#[test]
fn the_broker_and_what_it_keeps() {
    assert_eq!(told(|facts| facts.server.has_jetstream = false).len(), 1);
    assert_eq!(
        told(|facts| facts.things[1].found = Found::Missing),
        ["problem consumer agent-refund of stream baton-support: does not exist"]
    );
    assert_eq!(told(|facts| facts.things[0].found = Found::Hidden("no answer".to_owned())), ["warning stream baton-support: no answer"]);
    let drift = Difference { setting: "discard", found: "old".to_owned(), expected: "new".to_owned() };
    assert_eq!(told(|facts| first(facts).differences.push(drift)), ["problem stream baton-support: its discard is old and must be new"]);
    assert_eq!(told(|facts| first(facts).bytes_max = None), ["warning journal's size: only the account or the disk limits it"]);
    assert_eq!(told(|facts| facts.own_ms += 60_000), ["warning clock: 60 s from the broker's"]);
    let doubt = "nats-server syncs its files to the disk only now and then. Set it.".to_owned();
    assert_eq!(told(|facts| facts.doubts.push(doubt))[0], "warning durability: nats-server syncs its files to the disk only now and then");
    assert_eq!(told(|facts| facts.user = None).len(), 1);
}

#[test]
fn a_broker_that_stores_nothing_any_more() {
    let silent = |facts: &mut Facts| match &mut facts.things[2].found {
        Found::There(there) => there.stored_ms = Some(NOW_MS - 87_000),
        Found::Missing | Found::Hidden(_) => panic!("it is there"),
    };
    let expected = "problem writes: nothing was stored in bucket kv_baton-support for 87 s, though coordinators write there every second";
    assert_eq!(told(silent), [expected]);
    let deserted = |facts: &mut Facts| {
        silent(facts);
        facts.coordinators = Ok(Vec::new());
    };
    assert_eq!(told(deserted), ["problem coordinators: none answers"], "who does not write is not missed there");
}

#[test]
fn in_a_cluster_each_thing_has_a_leader_and_copies_that_keep_up() {
    let cluster = |facts: &mut Facts| {
        facts.server.cluster = Some("c".to_owned());
        facts.things.truncate(1);
        *first(facts) = There { replicas: 3, leader: Some("n1".to_owned()), ..first(facts).clone() };
    };
    assert_eq!(told(cluster), [""; 0]);
    let leaderless = |facts: &mut Facts| {
        cluster(facts);
        first(facts).leader = None;
    };
    assert_eq!(told(leaderless), ["problem stream baton-support: has no leader"]);
    let behind = |facts: &mut Facts| {
        cluster(facts);
        first(facts).behind.push("n3".to_owned());
    };
    assert_eq!(told(behind), ["warning stream baton-support: its copies on n3 are behind or gone"]);
}

#[test]
fn the_programs() {
    assert_eq!(told(|facts| facts.revision = Err("there is none".to_owned())), ["problem registry: there is none"]);
    assert_eq!(told(|facts| facts.coordinators = Ok(Vec::new())), ["problem coordinators: none answers"]);
    assert_eq!(told(|facts| facts.leader = Ok(None)), ["warning coordinators: 1 answering, and none of them leads"]);
    assert_eq!(told(|facts| facts.gateways = Ok(Vec::new())), ["warning gateways: none answers"]);
    assert_eq!(told(|facts| refund(facts).workers.clear()), ["problem workers of refund: none is alive"]);
    assert_eq!(told(|facts| refund(facts).workers[0].is_draining = true), ["problem workers of refund: all 1 are stopping"]);
    let many = "problem slots of refund: 200000 slots, and the consumer gives out 100000 items at once";
    assert_eq!(told(|facts| refund(facts).workers[0].slots = 200_000), [many]);
}

#[test]
fn the_work_and_the_people() {
    let old = Backlog { pending: 3, in_flight: 0, oldest_ms: Some(NOW_MS - 300_000) };
    let waits = "warning backlog of refund: 3 undelivered, the oldest for 5 min; 0 in flight";
    assert_eq!(told(|facts| refund(facts).backlog = Ok(Some(old))), [waits]);
    let young = Backlog { oldest_ms: Some(NOW_MS - 300), ..old };
    assert_eq!(told(|facts| refund(facts).backlog = Ok(Some(young))), [""; 0], "a moment's backlog is nobody's fault");
    assert_eq!(told(|facts| refund(facts).backlog = Ok(None)).len(), 1);
    let letter = DeadLetters { agent: "refund".to_owned(), count: 2, newest: "s".to_owned(), reason: "why".to_owned() };
    let dead = "problem dead letters: 2 of refund; the newest is s: why";
    assert_eq!(told(|facts| facts.dead_letters = Ok(vec![letter])), [dead]);
    assert_eq!(told(|facts| facts.waiting = Err("nobody answers".to_owned())), ["warning people: nobody answers"]);
}

#[test]
fn a_deadline_that_nobody_acted_on() {
    let shown = |due_ms: u64| -> protocol::query::Shown {
        let brief = serde_json::json!({ "owner": "refund", "phase": "waiting", "turn": 0, "user_turns": 1 });
        serde_json::from_value(serde_json::json!({
            "conversation": "c1", "brief": brief, "ordinal": 1, "kind": "asked", "revision": Revision::of(b"x"),
            "lastMs": 1, "openedMs": 1, "due": [["1.0", due_ms]],
        }))
        .unwrap()
    };
    let waiting = |shown: Vec<_>, total| Ok(Waiting { shown, total, now_ms: NOW_MS });
    assert_eq!(told(|facts| facts.waiting = waiting(vec![shown(NOW_MS + 1)], 1)), [""; 0]);
    let overdue = "problem people: 1 conversations wait for somebody, 1 of them past their deadline, c1 among them";
    assert_eq!(told(|facts| facts.waiting = waiting(vec![shown(NOW_MS - 60_000)], 1)), [overdue]);
    let some = "problem people: 900 conversations wait for somebody, of which the 1 newest were looked at, 1 of them past their deadline, c1 \
        among them";
    assert_eq!(told(|facts| facts.waiting = waiting(vec![shown(NOW_MS - 60_000)], 900)), [some]);
}
