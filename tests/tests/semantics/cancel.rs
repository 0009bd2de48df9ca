//! Calling off, and waiting no longer (section 1).

use std::time::Duration;

use client::{Callbacks, CancelError, ConverseError, Opening, ResultError};
use protocol::brief::Phase;
use tests::stage::{Stage, says, silent};

async fn two() -> Stage {
    Stage::of(|set| set.named(&["a", "b"]).add("a", "b")).await
}

#[tokio::test]
async fn semantics_43_cancelled_in_the_middle_of_a_handoff() {
    let mut stage = two().await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", silent().transfers("b")).await;
    let late = stage.asked("b").await;
    stage.client().cancel(talk.id(), "changed my mind").await.unwrap();
    assert_eq!(stage.outcome(&mut talk).await, "cancelled: changed my mind");
    // The target is told at once; whatever its model still says has no way into the conversation.
    late.abandoned().await;
    talk.tells(
        "
        client opened: help
        a responded: [c1 transfer_to_b]
        a transferred b
        client cancelled: changed my mind
        ",
    );
    stage.end().await;
}

#[tokio::test]
async fn semantics_44_cancelled_while_a_person_is_asked() {
    let mut stage = two().await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", says("which?")).await;
    let question = stage.question(&mut talk).await;
    stage.client().cancel(talk.id(), "").await.unwrap();
    assert_eq!(stage.outcome(&mut talk).await, "cancelled: ");
    let refused = talk.reply(&question, "17").await.unwrap_err();
    assert_eq!(refused.to_string(), "the conversation has ended (cancelled): nothing can be answered any more");
    stage.end().await;
}

#[tokio::test]
async fn semantics_45_cancelling_twice_and_after_the_end_are_two_errors() {
    let mut stage = two().await;
    let mut talk = stage.begin("help").await;
    let asked = stage.asked("a").await;
    stage.client().cancel(talk.id(), "").await.unwrap();
    stage.outcome(&mut talk).await;
    assert_eq!(stage.client().cancel(talk.id(), "").await.unwrap_err(), CancelError::AlreadyCancelled);
    asked.abandoned().await;

    let mut talk = stage.begin_alone("help").await;
    stage.turn("a", "user: help", says("done")).await;
    stage.outcome(&mut talk).await;
    assert_eq!(stage.client().cancel(talk.id(), "").await.unwrap_err(), CancelError::Ended(Phase::Completed));
    stage.end().await;
}

#[tokio::test]
async fn semantics_46_a_wait_that_ends_leaves_the_conversation_alone() {
    let mut stage = two().await;
    let handle = stage.client().invoke(&Opening::new("tests", "help"), Callbacks::default()).await.unwrap();
    let asked = stage.asked("a").await;
    let moment = Duration::from_millis(1);
    assert!(matches!(handle.get(Some(moment)).await, Err(ConverseError::TimedOut(waited)) if waited == moment));
    let waited = stage.client().result(handle.conversation(), Some(moment)).await;
    assert_eq!(waited, Err(ResultError::TimedOut(moment)));
    asked.answer(says("done"));
    assert_eq!(handle.get(None).await.unwrap().to_string(), "completed: done");
    stage.end().await;
}
