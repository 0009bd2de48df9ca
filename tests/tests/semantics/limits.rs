//! Caps: whatever the models do, there is an end.

use protocol::manifest::LimitsSpec;
use serde_json::json;
use tests::stage::{Stage, silent};

#[tokio::test]
async fn semantics_39_handing_over_for_ever_comes_to_an_end() {
    let limits = LimitsSpec { handoffs_per_user_turn: Some(3), ..LimitsSpec::default() };
    let mut stage = Stage::of(|set| set.named(&["a", "b"]).add("a", "b").add("b", "a").limits(limits)).await;
    let mut talk = stage.begin("help").await;
    for (agent, other) in [("a", "b"), ("b", "a"), ("a", "b"), ("b", "a")] {
        stage.asked(agent).await.answer(silent().transfers(other));
    }
    let outcome = stage.outcome(&mut talk).await;
    assert!(outcome.starts_with("failed (handoff_limit): ") && outcome.contains("more than 3 handoffs"), "{outcome}");
    assert_eq!(talk.story().iter().filter(|line| line.contains(" transferred ")).count(), 3);
    stage.end().await;
}

#[tokio::test]
async fn semantics_40_calling_tools_for_ever_comes_to_an_end() {
    let mut stage = Stage::of(|set| set.named(&["a", "b"]).add("a", "b")).await;
    let mut talk = stage.begin("help").await;
    // The default: 24 model calls in a turn; a model would go on to 30.
    for round in 0..24 {
        stage.asked("a").await.answer(silent().calls("look", &json!({ "order": round })));
        stage.tool("look", json!({ "order": round }), &json!("shipped")).await;
    }
    let outcome = stage.outcome(&mut talk).await;
    assert!(outcome.starts_with("failed (call_limit): ") && outcome.contains("24"), "{outcome}");
    stage.end().await;
}
