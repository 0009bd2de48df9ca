//! Transfers and other outcomes of a response (section 1).

use serde_json::json;
use tests::stage::{Stage, says, silent};

async fn three() -> Stage {
    Stage::of(|set| set.named(&["a", "b", "c"]).add("a", "b").add("a", "c").add("b", "c").add("b", "a")).await
}

#[tokio::test]
async fn semantics_02_the_target_completes_and_nobody_else_is_asked() {
    let mut stage = three().await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", silent().transfers("b")).await;
    stage.turn("b", "user: help", silent().completes("all done")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: all done");
    talk.tells(
        "
        client opened: help
        a responded: [c1 transfer_to_b]
        a transferred b
        b responded: [c1 complete_task]
        b completed TaskComplete: all done
        ",
    );
    stage.end().await;
}

#[tokio::test]
async fn semantics_04_every_hop_has_one_result_in_order() {
    let mut stage = three().await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", silent().transfers("b")).await;
    stage.turn("b", "user: help", says("To c.").transfers("c")).await;
    stage.turn("c", "user: help\nassistant b: To c.", silent().completes("all done")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: all done");
    talk.tells(
        "
        client opened: help
        a responded: [c1 transfer_to_b]
        a transferred b
        b responded: To c. [c1 transfer_to_c]
        b transferred c
        c responded: [c1 complete_task]
        c completed TaskComplete: all done
        ",
    );
    stage.end().await;
}

#[tokio::test]
async fn semantics_20_two_transfers_the_first_wins() {
    let mut stage = three().await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", silent().transfers("c").transfers("b")).await;
    stage.turn("c", "user: help", says("done?")).await;
    stage.question(&mut talk).await;
    talk.tells(
        "
        client opened: help
        a responded: [c1 transfer_to_c] [c2 transfer_to_b]
        a error c2: Ignored: another transfer in the same response came first, not to b.
        a warned transfer_ignored
        a transferred c
        c responded: done?
        c asked caller: question
        ",
    );
    stage.end().await;
}

#[tokio::test]
async fn semantics_21_a_tool_beside_a_transfer_runs_once_in_either_order() {
    let mut stage = three().await;
    let order = json!({ "order": 7 });
    let answers = [silent().calls("look", &order).transfers("b"), silent().transfers("b").calls("look", &order)];
    for (answer, [look, transfer]) in answers.into_iter().zip([["c1", "c2"], ["c2", "c1"]]) {
        let mut talk = stage.begin_alone("help").await;
        stage.turn("a", "user: help", answer).await;
        stage.tool("look", order.clone(), &json!({ "status": "shipped" })).await;
        stage.turn("b", "user: help", silent().transfers("a")).await;
        let asked = stage.asked("a").await;
        let prompt = asked.prompt();
        assert!(prompt.contains(&format!("tool {look}: {{\"status\":\"shipped\"}}")), "{prompt:?}");
        assert!(prompt.contains(&format!("tool {transfer}: Transferred to b.")), "{prompt:?}");
        asked.answer(says("done"));
        assert_eq!(stage.outcome(&mut talk).await, "completed: done");
        let story = talk.story();
        let place = |line: &str| story.iter().position(|seen| seen == line).unwrap_or_else(|| panic!("no {line}: {story:#?}"));
        assert!(place(&format!("a returned {look}: {{\"status\":\"shipped\"}}")) < place("a transferred b"));
    }
    stage.end().await;
}

#[tokio::test]
async fn semantics_22_a_tool_that_fails_does_not_stop_the_transfer() {
    let mut stage = three().await;
    let mut talk = stage.begin_alone("help").await;
    stage.turn("a", "user: help", silent().calls("pay", &json!({ "order": 7 })).transfers("b")).await;
    let call = stage.called("pay").await;
    call.refuse(axum::http::StatusCode::PAYMENT_REQUIRED, &json!("no funds"));
    stage.turn("b", "user: help", says("done")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: done");
    talk.tells(
        "
        client opened: help
        a responded: [c1 pay] [c2 transfer_to_b]
        a intended c1
        a error c1: The service answers 402 Payment Required: \"no funds\"
        a transferred b
        b responded: done
        b completed Answered: done
        ",
    );
    stage.end().await;
}

#[tokio::test]
async fn semantics_23_a_completion_beside_a_transfer_is_one_end() {
    let mut stage = three().await;
    for answer in [silent().transfers("b").completes("all done"), silent().completes("all done").transfers("b")] {
        let mut talk = stage.begin("help").await;
        stage.turn("a", "user: help", answer).await;
        assert_eq!(stage.outcome(&mut talk).await, "completed: all done");
        assert!(!talk.has("transferred"), "{talk:?}");
        let conversation = tests::in_process::load(stage.client(), talk.id()).await;
        let ends = conversation.events().filter(|(_, (_, event))| matches!(event.kind(), "completed" | "failed" | "cancelled"));
        assert_eq!(ends.count(), 1);
    }
    stage.end().await;
}

#[tokio::test]
async fn semantics_24_a_transfer_that_cannot_be_is_an_error_to_the_model_and_counts() {
    let mut stage = three().await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", silent().transfers("sales")).await;
    let asked = stage.asked("a").await;
    let told = asked.prompt().pop().unwrap();
    assert!(told.starts_with("tool c1: You cannot transfer to \"sales\". Available are: look, pay, wire, transfer_to_b,"), "{told}");
    asked.answer(silent().transfers("a"));
    let asked = stage.asked("a").await;
    assert!(asked.prompt().pop().unwrap().starts_with("tool c2: You cannot transfer to \"a\"."));
    asked.answer(says("sorry"));
    assert_eq!(stage.question(&mut talk).await.text, "sorry");
    stage.end().await;

    // A model that tries nothing else comes to the cap on its calls.
    let limits = protocol::manifest::LimitsSpec { model_calls_per_turn: Some(2), ..Default::default() };
    let mut stage = Stage::of(|set| set.named(&["a", "b"]).add("a", "b").limits(limits)).await;
    let mut talk = stage.begin("help").await;
    for _ in 0..2 {
        stage.asked("a").await.answer(silent().transfers("sales"));
    }
    assert!(stage.outcome(&mut talk).await.starts_with("failed (call_limit): "));
    stage.end().await;
}

#[tokio::test]
async fn semantics_25_a_malformed_completion_is_an_error_to_the_model() {
    let mut stage = three().await;
    for arguments in ["", "{}", "{", "[]", r#"{"task_summary":7}"#] {
        let mut talk = stage.begin("help").await;
        stage.turn("a", "user: help", silent().calls_raw("complete_task", arguments)).await;
        let asked = stage.asked("a").await;
        let told = asked.prompt().pop().unwrap();
        assert!(told.starts_with("tool c1: ") && (told.contains("task_summary") || told.contains("not valid JSON")), "{told}");
        asked.answer(silent().completes("all done"));
        assert_eq!(stage.outcome(&mut talk).await, "completed: all done", "{arguments}");
    }
    stage.end().await;
}

#[tokio::test]
async fn semantics_26_a_transfer_with_further_arguments_happens_and_keeps_its_reason() {
    let mut stage = three().await;
    for (arguments, reason) in [(r#"{"reason":"money","urgent":true}"#, Some("money")), ("not json", None), (r#"{"reason":7}"#, None)] {
        let mut talk = stage.begin_alone("help").await;
        stage.turn("a", "user: help", silent().calls_raw("transfer_to_b", arguments)).await;
        // It is for people: the target is not shown it.
        stage.turn("b", "user: help", says("done")).await;
        stage.outcome(&mut talk).await;
        let conversation = tests::in_process::load(stage.client(), talk.id()).await;
        let recorded = conversation.events().find_map(|(_, (_, event))| match event {
            protocol::event::Event::Transferred(transfer) => Some(transfer.reason.clone()),
            _ => None,
        });
        assert_eq!(recorded, Some(reason.map(str::to_owned)), "{arguments}");
    }
    stage.end().await;
}
