use std::time::Duration;

use protocol::brief::{Fixed, Phase};
use protocol::query::{Registered, RevisionShown};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;
use crate::revisions::{Known, Learnt};
use crate::story::{START_MS, Story, agent, asked, beat, completed, conversation, opened, process, transferred};

const KNOWN: Known = Known { number: 1, agents: None, retention: protocol::orchestration::Retention { ended_secs: None, erased_secs: 1 } };

/// What is answered to a question in JSON.
fn ask<T: DeserializeOwned>(story: &Story, verb: &str, question: &[u8]) -> Answer<T> {
    let mut presence = Presence::new(Duration::from_secs(6), 8);
    presence.heard(beat("w-1", "triage"), Duration::ZERO);
    let process = process("coordinator-1");
    let learnt = Learnt { current: crate::story::revision(), revisions: [(crate::story::revision(), KNOWN)].into() };
    let revisions = Revisions::new(learnt, 5000);
    let view = View {
        ledger: &story.ledger,
        revisions: &revisions,
        presence: &presence,
        process: &process,
        is_leader: true,
        now_ms: story.now_ms,
    };
    serde_json::from_slice(&view.answer(verb, question)).unwrap()
}

fn story() -> Story {
    let mut story = Story::new(Fixed::default());
    for id in ["c1", "c2", "c3", "c4"] {
        story.tell(id, opened("triage"));
        story.wait(1000);
    }
    story.tell("c1", transferred("triage", "refund"));
    story.tell("c2", asked("triage", None));
    story.tell("c3", completed("triage"));
    story
}

/// The conversations listed, and how many match in all.
fn list(story: &Story, question: &serde_json::Value) -> (Vec<String>, usize) {
    let Answer::Ok(listed) = ask::<Listed>(story, verb::LIST, question.to_string().as_bytes()) else { panic!("no list") };
    (listed.conversations.into_iter().map(|shown| shown.conversation.to_string()).collect(), listed.total)
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn one_conversation_is_shown() {
    let story = story();
    let row = story.ledger.row(&conversation("c1")).unwrap();
    let expected = Shown {
        conversation: conversation("c1"),
        brief: row.brief,
        ordinal: 1,
        kind: "transferred".to_owned(),
        revision: crate::story::revision(),
        last_ms: START_MS + 4000,
        opened_ms: START_MS,
        due: vec![],
        traceparent: Some("00-00000000000000000000000000000002-00f067aa0ba902b7-01".to_owned()),
    };
    assert_eq!(ask(&story, verb::SHOW, br#"{"conversation":"c1"}"#), Answer::Ok(expected));
    assert_eq!(ask::<Shown>(&story, verb::SHOW, br#"{"conversation":"c9"}"#), Answer::NotFound);
}

#[test]
fn lists_are_filtered_and_newest_first() {
    let story = story();
    assert_eq!(list(&story, &json!({})), (ids(&["c3", "c2", "c1", "c4"]), 4));
    assert_eq!(list(&story, &json!({ "limit": 2 })), (ids(&["c3", "c2"]), 4));
    assert_eq!(list(&story, &json!({ "agent": "triage" })), (ids(&["c3", "c2", "c4"]), 3));
    assert_eq!(list(&story, &json!({ "phase": "working" })), (ids(&["c1", "c4"]), 2));
    assert_eq!(list(&story, &json!({ "agent": agent("refund"), "phase": Phase::Waiting })), (vec![], 0));
    assert_eq!(list(&story, &json!({ "idle_secs": 1 })), (ids(&["c4"]), 1));
    assert!(matches!(ask(&story, verb::LIST, b""), Answer::Ok(Listed { total: 4, .. })));
}

#[test]
fn a_list_has_an_end() {
    let mut story = Story::new(Fixed::default());
    for n in 0..LISTED_MAX + 5 {
        story.tell(&format!("c{n}"), opened("triage"));
    }
    let (listed, total) = list(&story, &json!({ "limit": 100_000 }));
    assert_eq!((listed.len(), total), (LISTED_MAX, LISTED_MAX + 5));
}

#[test]
fn the_status_says_who_answers_and_who_is_heard() {
    let expected = Status {
        process: process("coordinator-1"),
        is_leader: true,
        seq: 7,
        open: 3,
        now_ms: START_MS + 4000,
        workers: vec![beat("w-1", "triage")],
    };
    assert_eq!(ask(&story(), verb::STATUS, b""), Answer::Ok(expected));
}

#[test]
fn what_cannot_be_understood_is_said_to_be_so() {
    let story = story();
    for (verb, question) in [(verb::SHOW, &b"{}"[..]), (verb::SHOW, b"["), (verb::LIST, br#"{"phase":"odd"}"#), ("dance", b"{}")] {
        assert!(matches!(ask::<serde_json::Value>(&story, verb, question), Answer::Invalid(_)), "{verb}");
    }
}

#[test]
fn revisions_are_counted() {
    let Answer::Ok(registered) = ask::<Registered>(&story(), verb::REVISIONS, b"") else { panic!("no revisions") };
    let shown = RevisionShown { revision: crate::story::revision(), is_current: true, open: 3, agents: vec![] };
    assert_eq!(registered, Registered { revisions: vec![shown], total: 1 });
}
