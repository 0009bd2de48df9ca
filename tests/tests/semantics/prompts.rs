//! What each agent sees (section 2).

use protocol::orchestration::Prompt;
use serde_json::json;
use tests::stage::{Stage, results_per_call, says, silent};

async fn two() -> Stage {
    Stage::of(|set| set.named(&["a", "b"]).add("a", "b").add("b", "a")).await
}

#[tokio::test]
async fn semantics_15_the_target_sees_no_tools_of_others() {
    let mut stage = two().await;
    let mut talk = stage.begin_alone("where is 7?").await;
    stage.turn("a", "user: where is 7?", says("Let me look.").calls("look", &json!({ "order": 7 }))).await;
    stage.tool("look", json!({ "order": 7 }), &json!("shipped")).await;
    let seen = r#"
        user: where is 7?
        assistant: Let me look. [c1 look {"order":7}]
        tool c1: "shipped"
    "#;
    stage.turn("a", seen, says("It is shipped.").transfers("b")).await;
    let seen = "
        user: where is 7?
        assistant a: Let me look.
        assistant a: It is shipped.
    ";
    stage.turn("b", seen, says("done")).await;
    stage.outcome(&mut talk).await;
    stage.end().await;
}

#[tokio::test]
async fn semantics_16_a_text_that_came_with_a_transfer_is_seen_once() {
    let mut stage = two().await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", says("One moment.").transfers("b")).await;
    stage.turn("b", "user: help\nassistant a: One moment.", says("Hello.")).await;
    stage.person(&mut talk, "Hello.", "hi").await;
    let seen = "
        user: help
        assistant a: One moment.
        assistant: Hello.
        user: hi
    ";
    stage.turn("b", seen, silent().completes("done")).await;
    stage.outcome(&mut talk).await;
    let said = talk.story().iter().filter(|line| line.contains("One moment.")).count();
    assert_eq!(said, 1);
    stage.end().await;
}

#[tokio::test]
async fn semantics_17_handed_back_after_silence_an_agent_sees_the_task_and_its_own_turn() {
    let mut stage = two().await;
    let mut talk = stage.begin_alone("help").await;
    stage.turn("a", "user: help", silent().transfers("b")).await;
    stage.turn("b", "user: help", says("Not mine.").transfers("a")).await;
    let seen = "
        user: help
        assistant: [c1 transfer_to_b {}]
        tool c1: Transferred to b.
        assistant b: Not mine.
    ";
    stage.turn("a", seen, says("done")).await;
    stage.outcome(&mut talk).await;
    stage.end().await;
}

#[tokio::test]
async fn semantics_18_however_often_it_comes_back_every_call_has_one_result() {
    let mut stage = two().await;
    let mut talk = stage.begin_alone("help").await;
    for round in 0..6 {
        let (agent, other) = if round % 2 == 0 { ("a", "b") } else { ("b", "a") };
        let asked = stage.asked(agent).await;
        let results = results_per_call(&asked);
        // A tool and a transfer of each earlier turn of its own.
        assert_eq!(results.len(), round / 2 * 2, "{:?}", asked.prompt());
        assert!(results.iter().all(|(_, count)| *count == 1), "{:?}", asked.prompt());
        asked.answer(silent().calls("look", &json!({ "order": round })).transfers(other));
        stage.tool("look", json!({ "order": round }), &json!("shipped")).await;
    }
    stage.asked("a").await.answer(says("done"));
    assert_eq!(stage.outcome(&mut talk).await, "completed: done");
    stage.end().await;
}

#[tokio::test]
async fn semantics_19_everybody_speaks_under_their_role_and_name() {
    let mut stage = Stage::of(|set| set.named(&["TriageAgent", "b"]).add("TriageAgent", "b")).await;
    let mut talk = stage.begin("help").await;
    stage.turn("triage-agent", "user: help", says("With what?")).await;
    stage.person(&mut talk, "With what?", "my order").await;
    let asked = stage.asked("triage-agent").await;
    asked.sees("user: help\nassistant: With what?\nuser: my order");
    asked.answer(silent().transfers("b"));
    let asked = stage.asked("b").await;
    let expected = json!([
        { "role": "system", "content": "You are b." },
        { "role": "user", "content": "help" },
        { "role": "assistant", "name": "TriageAgent", "content": "With what?" },
        { "role": "user", "content": "my order" },
    ]);
    assert_eq!(json!(asked.messages()), expected);
    asked.answer(silent().completes("done"));
    stage.outcome(&mut talk).await;
    stage.end().await;
}

/// `prompt: shared-prefix`, as it goes out.
#[tokio::test]
async fn prompts_that_begin_alike_do_so_across_a_handoff_and_show_nobody_what_is_anothers() {
    let mut stage = Stage::of(|set| set.named(&["a", "b"]).add("a", "b").add("b", "a").prompt(Prompt::SharedPrefix)).await;
    let mut talk = stage.begin_alone("where is 7?").await;
    let first = stage.asked("a").await;
    let (tools, opening) = (first.offered(), first.messages().to_vec());
    assert!(tools.iter().any(|tool| tool.starts_with("transfer_to_a")), "the tools of both: {tools:?}");
    first.answer(says("Let me look.").calls("look", &json!({ "order": 7 })));
    stage.tool("look", json!({ "order": 7 }), &json!("shipped")).await;
    let second = stage.asked("a").await;
    let turn = second.messages().to_vec();
    assert_eq!((second.offered(), &second.messages()[..opening.len()]), (tools.clone(), &opening[..]), "a turn goes on where it ended");
    second.answer(says("It is shipped.").transfers("b"));

    let target = stage.asked("b").await;
    let brief = "You are b.\n\nYou are b.\n\n\
                 You may call only: look, pay, wire, transfer_to_a, complete_task.";
    let expected = json!([
        opening[0],
        { "role": "user", "content": "where is 7?" },
        { "role": "assistant", "content": "Let me look.", "name": "a" },
        { "role": "assistant", "content": "It is shipped.", "name": "a" },
        { "role": "system", "content": brief },
    ]);
    assert_eq!((target.offered(), json!(target.messages())), (tools, expected));
    // It is in the list, and still not its own.
    target.answer(silent().transfers("b"));
    let again = stage.asked("b").await;
    let told = again.messages().last().unwrap()["content"].as_str().unwrap().to_owned();
    assert!(told.starts_with("You cannot transfer to \"b\"."), "{told}");
    again.answer(says("Not mine.").transfers("a"));

    let source = stage.asked("a").await;
    assert_eq!(source.messages()[..turn.len()], turn, "handed back, it goes on where it ended, too");
    assert_eq!(results_per_call(&source).iter().map(|(_, count)| *count).collect::<Vec<_>>(), [1, 1]);
    source.answer(says("done"));
    assert_eq!(stage.outcome(&mut talk).await, "completed: done");
    stage.end().await;
}
