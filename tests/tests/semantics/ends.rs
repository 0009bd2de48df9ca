//! What a plain answer leads to besides a question: an end on certain words, or another turn of the same agent.

use protocol::manifest::AutonomousSpec;
use tests::stage::{Stage, says, silent};

#[tokio::test]
async fn semantics_36_words_that_end_a_conversation_do_so_without_a_question_but_not_with_a_transfer() {
    let condition = r#"text.contains("DONE") && agent != "b""#;
    let mut stage = Stage::of(|set| set.named(&["a", "b"]).add("a", "b").add("b", "a").terminate_when(condition)).await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", says("DONE, for my part.").transfers("b")).await;
    stage.turn("b", "user: help\nassistant a: DONE, for my part.", says("DONE?")).await;
    stage.person(&mut talk, "DONE?", "yes").await;
    stage.asked("b").await.answer(silent().transfers("a"));
    stage.asked("a").await.answer(says("All is DONE."));
    assert_eq!(stage.outcome(&mut talk).await, "completed: All is DONE.");
    talk.tells(
        "
        client opened: help
        a responded: DONE, for my part. [c1 transfer_to_b]
        a transferred b
        b responded: DONE?
        b asked caller: question
        client replied: yes
        b responded: [c1 transfer_to_a]
        b transferred a
        a responded: All is DONE.
        a completed Terminated: All is DONE.
        ",
    );
    stage.end().await;
}

async fn autonomous(turns: u32) -> Stage {
    let autonomous = AutonomousSpec { turns: Some(turns), prompt: Some("Go on.".to_owned()) };
    Stage::of(|set| set.named(&["a", "b"]).add("a", "b").autonomous(autonomous)).await
}

#[tokio::test]
async fn semantics_37_an_agent_goes_on_by_itself_so_often_and_then_asks() {
    let mut stage = autonomous(2).await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", says("first")).await;
    stage.turn("a", "user: help\nassistant: first\nuser: Go on.", says("second")).await;
    let seen = "
        user: help
        assistant: first
        user: Go on.
        assistant: second
        user: Go on.
    ";
    stage.turn("a", seen, says("third")).await;
    assert_eq!(stage.question(&mut talk).await.text, "third");
    talk.tells(
        "
        client opened: help
        a responded: first
        a continued autonomous
        a responded: second
        a continued autonomous
        a responded: third
        a asked caller: question
        ",
    );
    stage.end().await;
}

#[tokio::test]
async fn semantics_38_a_handoff_begins_the_count_anew() {
    let mut stage = autonomous(1).await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", says("one")).await;
    stage.asked("a").await.answer(silent().transfers("b"));
    // What told the other one to go on is none of its business.
    stage.turn("b", "user: help\nassistant a: one", says("two")).await;
    stage.turn("b", "user: help\nassistant a: one\nassistant: two\nuser: Go on.", says("three")).await;
    stage.person(&mut talk, "three", "thanks").await;
    stage.asked("b").await.answer(silent().completes("done"));
    assert_eq!(stage.outcome(&mut talk).await, "completed: done");
    stage.end().await;
}
