use protocol::brief::Fixed;
use protocol::event::{Audience, RequestKind};

use super::*;
use crate::story::{Story, agent, approvals, asked, conversation, decided, opened, process, replied, request};
use protocol::subject::Class;

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Two conversations that ask, and one that works, behind one gateway.
fn story() -> Story {
    let mut story = Story::new(Fixed { gateway: Some(process("gw-1")), ..Fixed::default() });
    for id in ["c1", "c2", "c3"] {
        story.tell(id, opened("triage"));
    }
    story.tell("c1", asked("triage", None));
    story.tell("c2", approvals("triage", &[None, Some(60)]));
    story
}

fn outbox(story: &Story) -> Outbox {
    let mut outbox = Outbox::default();
    for id in ["c1", "c2"].map(conversation) {
        outbox.add(&story.ledger.row(&id).unwrap());
    }
    outbox
}

/// What is sent at a moment: conversation and request.
fn next(outbox: &mut Outbox, story: &Story, ms: u64) -> Vec<(String, String)> {
    let sent = outbox.next(&story.ledger, at(ms));
    sent.into_iter()
        .map(|(gateway, sent)| {
            assert_eq!(gateway, process("gw-1"));
            (sent.conversation.to_string(), sent.request.to_string())
        })
        .collect()
}

fn one(id: &str, asked: &str) -> Vec<(String, String)> {
    vec![(id.to_owned(), asked.to_owned())]
}

#[test]
fn requests_go_one_by_one_in_order() {
    let story = story();
    let mut outbox = outbox(&story);
    let expected = ForwardedRequest {
        conversation: conversation("c1"),
        request: request("1.0"),
        kind: RequestKind::Question,
        audience: Audience::Caller,
        agent: agent("triage"),
    };
    assert_eq!(outbox.next(&story.ledger, at(0)), [(process("gw-1"), expected)]);
    assert_eq!((next(&mut outbox, &story, 0), outbox.wake()), (vec![], None), "one at a time");
    for asked in ["1.0", "1.1"] {
        outbox.sent(&process("gw-1"), true, at(1));
        assert_eq!(next(&mut outbox, &story, 1), one("c2", asked));
    }
    outbox.sent(&process("gw-1"), true, at(2));
    assert_eq!((next(&mut outbox, &story, 2), outbox.wake()), (vec![], None));
}

#[test]
fn what_was_answered_meanwhile_is_not_forwarded() {
    let mut story = story();
    let mut outbox = outbox(&story);
    story.tell("c1", replied("triage", "1.0"));
    story.tell("c2", decided(Class::In, "1.0"));
    assert_eq!(next(&mut outbox, &story, 0), one("c2", "1.1"));
}

#[test]
fn a_gateway_that_does_not_answer_is_tried_less_and_less_often_and_then_waited_for() {
    let story = story();
    let mut outbox = outbox(&story);
    let mut ms = 0;
    for pause in [100, 200, 400, 800, 1600] {
        assert_eq!(next(&mut outbox, &story, ms), one("c1", "1.0"));
        outbox.sent(&process("gw-1"), false, at(ms));
        assert_eq!(outbox.wake(), Some(at(ms + pause)));
        assert_eq!(next(&mut outbox, &story, ms + pause - 1), []);
        ms += pause;
    }
    assert_eq!(next(&mut outbox, &story, ms), one("c1", "1.0"));
    outbox.sent(&process("gw-1"), false, at(ms));
    assert_eq!((outbox.wake(), next(&mut outbox, &story, 1_000_000)), (None, vec![]));
    outbox.renew(&process("gw-1"), &story.ledger);
    for (id, asked) in [("c1", "1.0"), ("c2", "1.0"), ("c2", "1.1")] {
        assert_eq!(next(&mut outbox, &story, ms), one(id, asked));
        outbox.sent(&process("gw-1"), true, at(ms));
    }
    assert_eq!(next(&mut outbox, &story, ms), []);
}

#[test]
fn an_answer_ends_the_trouble() {
    let story = story();
    let mut outbox = outbox(&story);
    for is_there in [false, false, false, false, false, true, false] {
        let wake = outbox.wake().unwrap();
        assert_eq!(outbox.next(&story.ledger, wake).len(), 1);
        outbox.sent(&process("gw-1"), is_there, wake);
    }
    assert!(outbox.wake().is_some(), "failures are counted anew");
}

#[test]
fn conversations_without_a_gateway_are_nobodys_to_forward() {
    let mut story = Story::new(Fixed::default());
    story.tell("c1", opened("triage"));
    story.tell("c1", asked("triage", None));
    let mut outbox = Outbox::default();
    outbox.add(&story.ledger.row(&conversation("c1")).unwrap());
    assert_eq!((outbox.wake(), outbox.next(&story.ledger, at(0))), (None, vec![]));
}
