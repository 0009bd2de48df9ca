//! Every program is started again while a person thinks.

use serde_json::json;
use tests::stage::{Stage, says, silent};

/// A conversation up to the question of its second agent, whose prompt then holds all there is to remember.
async fn asked() -> (Stage, tests::stage::Talk) {
    let mut stage = Stage::of(|set| set.named(&["a", "b"]).add("a", "b").add("b", "a")).await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", says("One moment.").transfers("b")).await;
    stage.asked("b").await.answer(silent().calls("look", &json!({ "order": 7 })));
    stage.tool("look", json!({ "order": 7 }), &json!("shipped")).await;
    stage.asked("b").await.answer(says("It is shipped. What else?"));
    stage.question(&mut talk).await;
    (stage, talk)
}

const SEEN: &str = r#"
    user: help
    assistant a: One moment.
    assistant: [c1 look {"order":7}]
    tool c1: "shipped"
    assistant: It is shipped. What else?
"#;

#[tokio::test]
async fn semantics_54_after_a_restart_the_same_agent_goes_on_with_all_it_knew() {
    let (mut stage, mut talk) = asked().await;
    stage.restart().await;
    talk.say("nothing").await.unwrap();
    stage.turn("b", &format!("{SEEN}\nuser: nothing"), silent().completes("done")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: done");
    stage.end().await;
}

#[tokio::test]
async fn semantics_55_after_two_restarts_no_message_is_in_a_prompt_twice() {
    let (mut stage, mut talk) = asked().await;
    stage.restart().await;
    talk.say("and 8?").await.unwrap();
    stage.turn("b", &format!("{SEEN}\nuser: and 8?"), says("So is 8.")).await;
    stage.question(&mut talk).await;
    stage.restart().await;
    talk.say("thanks").await.unwrap();
    let seen = format!("{SEEN}\nuser: and 8?\nassistant: So is 8.\nuser: thanks");
    stage.turn("b", &seen, silent().transfers("a")).await;
    let seen = "
        user: help
        assistant: One moment. [c1 transfer_to_b {}]
        tool c1: Transferred to b.
        assistant b: It is shipped. What else?
        user: and 8?
        assistant b: So is 8.
        user: thanks
    ";
    stage.turn("a", seen, silent().completes("done")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: done");
    stage.end().await;
}
