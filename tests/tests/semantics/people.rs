//! People: replies, messages, approvals (section 1).

use client::{Classified, Reply, Status};
use protocol::event::{RequestKind, Verdict};
use protocol::ids::RequestId;
use protocol::manifest::HumanSpec;
use protocol::orchestration::OnMessage;
use serde_json::json;
use tests::stage::{Answer, Stage, says, silent};

async fn two() -> Stage {
    Stage::of(|set| set.named(&["a", "b"]).add("a", "b")).await
}

#[tokio::test]
async fn semantics_31_an_empty_reply_ends_the_conversation() {
    let mut stage = two().await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", says("Anything else?")).await;
    stage.person(&mut talk, "Anything else?", " ").await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: ");
    assert_eq!(talk.story().last().unwrap(), "client completed UserEnded: ");
    // So does saying so.
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", says("Anything else?")).await;
    stage.question(&mut talk).await;
    stage.client().end(talk.id()).await.unwrap();
    stage.outcome(&mut talk).await;
    assert_eq!(talk.story().last().unwrap(), "client completed UserEnded: ");
    stage.end().await;
}

#[tokio::test]
async fn semantics_32_a_reply_to_no_request_and_a_second_reply_are_refused() {
    let mut stage = two().await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", says("which?")).await;
    let question = stage.question(&mut talk).await;
    let nothing = RequestId { ordinal: 99, ..question.request };
    let error = stage.client().reply(talk.id(), &Reply::to(nothing, "17")).await.unwrap_err();
    assert_eq!(error.classify(), (Status::NotFound, "unknown_request"));
    talk.reply(&question, "17").await.unwrap();
    let error = talk.reply(&question, "18").await.unwrap_err();
    assert_eq!(error.classify(), (Status::Conflict, "already_answered"));
    // Neither left a trace.
    stage.turn("a", "user: help\nassistant: which?\nuser: 17", silent().completes("done")).await;
    stage.outcome(&mut talk).await;
    talk.tells(
        "
        client opened: help
        a responded: which?
        a asked caller: question
        client replied: 17
        a responded: [c1 complete_task]
        a completed TaskComplete: done
        ",
    );
    stage.end().await;
}

#[tokio::test]
async fn semantics_33_a_message_without_an_id_is_the_reply_but_approves_nothing() {
    let mut stage = two().await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", says("which?")).await;
    stage.question(&mut talk).await;
    talk.say("17").await.unwrap();
    stage.turn("a", "user: help\nassistant: which?\nuser: 17", silent().calls("wire", &json!({ "order": 17 }))).await;
    let approval = stage.question(&mut talk).await;
    assert_eq!(approval.kind, RequestKind::Approval);
    // A customer cannot approve their own refund by saying yes.
    let error = talk.reply(&approval, "yes").await.unwrap_err();
    assert_eq!(error.classify(), (Status::Invalid, "needs_decision"));
    talk.say("yes").await.unwrap();
    talk.decide(&approval, Verdict::Denied).await;
    let seen = r#"
        user: help
        assistant: which?
        user: 17
        assistant: [c1 wire {"order":17}]
        tool c1: A person denied this call: it did not run.
        user: yes
    "#;
    stage.turn("a", seen, silent().completes("not wired")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: not wired");
    stage.end().await;
}

/// The table's other rows: a message while an agent works.
#[tokio::test]
async fn a_message_while_an_agent_works_waits_interrupts_or_is_refused() {
    let with = |policy| {
        move |set: &tests::stage::Set| {
            set.named(&["a", "b"]).add("a", "b").human(HumanSpec { on_message: Some(policy), ..HumanSpec::default() })
        }
    };
    // It waits: the running turn goes on, and whoever comes next sees it.
    let mut stage = Stage::of(with(OnMessage::Enqueue)).await;
    let mut talk = stage.begin("help").await;
    let asked = stage.asked("a").await;
    talk.say("hurry").await.unwrap();
    asked.answer(silent().transfers("b"));
    stage.turn("b", "user: help\nuser: hurry", silent().completes("done")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: done");

    // It interrupts: the running turn is fenced off, and the model asked again.
    let mut interrupted = stage.beside(with(OnMessage::Interrupt)).await;
    let mut talk = interrupted.begin("help").await;
    let asked = interrupted.asked("a").await;
    talk.say("hurry").await.unwrap();
    interrupted.turn("a", "user: help\nuser: hurry", silent().completes("hurried")).await;
    assert_eq!(interrupted.outcome(&mut talk).await, "completed: hurried");
    asked.abandoned().await;
    interrupted.end().await;

    let mut refusing = stage.beside(with(OnMessage::Reject)).await;
    let mut talk = refusing.begin("help").await;
    let asked = refusing.asked("a").await;
    let error = talk.say("hurry").await.unwrap_err();
    assert_eq!(error.classify(), (Status::Conflict, "working"));
    asked.answer(silent().completes("done"));
    assert_eq!(refusing.outcome(&mut talk).await, "completed: done");
    assert!(!talk.has("said"));
    refusing.end().await;
    stage.end().await;
}

#[tokio::test]
async fn semantics_34_an_approved_call_runs_once_and_a_denied_one_does_not() {
    let mut stage = two().await;
    let order = json!({ "order": 7 });
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", silent().calls("wire", &order)).await;
    let approval = stage.question(&mut talk).await;
    assert_eq!((approval.kind, approval.call.as_ref().unwrap().name.as_str()), (RequestKind::Approval, "wire"));
    talk.decide(&approval, Verdict::Approved).await;
    stage.tool("wire", order.clone(), &json!("wired")).await;
    let seen = r#"
        user: help
        assistant: [c1 wire {"order":7}]
        tool c1: "wired"
    "#;
    stage.turn("a", seen, silent().completes("done")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: done");

    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", silent().calls("wire", &order)).await;
    let approval = stage.question(&mut talk).await;
    talk.decide(&approval, Verdict::Denied).await;
    let seen = r#"
        user: help
        assistant: [c1 wire {"order":7}]
        tool c1: A person denied this call: it did not run.
    "#;
    stage.turn("a", seen, silent().completes("not done")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: not done");
    stage.end().await;
}

#[tokio::test]
async fn semantics_35_a_transfer_waits_for_the_approval_and_then_happens_without_the_model() {
    let mut stage = two().await;
    let order = json!({ "order": 7 });
    let both: [fn(&serde_json::Value) -> Answer; 2] =
        [|order| silent().calls("wire", order).transfers("b"), |order| silent().transfers("b").calls("wire", order)];
    for answer in both {
        for verdict in [Verdict::Approved, Verdict::Denied] {
            let mut talk = stage.begin("help").await;
            stage.turn("a", "user: help", answer(&order)).await;
            let approval = stage.question(&mut talk).await;
            assert!(!talk.has("transferred"), "{talk:?}");
            talk.decide(&approval, verdict).await;
            if verdict == Verdict::Approved {
                stage.tool("wire", order.clone(), &json!("wired")).await;
            }
            stage.turn("b", "user: help", silent().completes("done")).await;
            assert_eq!(stage.outcome(&mut talk).await, "completed: done");
            assert!(talk.story().contains(&"a transferred b".to_owned()), "{talk:?}");
        }
    }
    stage.end().await;
}

#[tokio::test]
async fn semantics_56_a_reply_goes_to_the_last_owner_or_to_the_start_agent() {
    for (return_to_start, answers) in [(false, "b"), (true, "a")] {
        let human = HumanSpec { return_to_start: Some(return_to_start), ..HumanSpec::default() };
        let mut stage = Stage::of(|set| set.named(&["a", "b"]).add("a", "b").human(human)).await;
        let mut talk = stage.begin("help").await;
        stage.turn("a", "user: help", silent().transfers("b")).await;
        stage.turn("b", "user: help", says("which?")).await;
        stage.person(&mut talk, "which?", "17").await;
        let asked = stage.asked(answers).await;
        assert_eq!(asked.prompt().last().unwrap(), "user: 17");
        asked.answer(silent().completes("done"));
        assert_eq!(stage.outcome(&mut talk).await, "completed: done");
        stage.end().await;
    }
}
