//! Typed inputs, results and payloads, and edges with something to them (sections 1 to 4).

use std::collections::BTreeMap;

use client::{Callbacks, Classified, GetError, Input, Opening, Outcome, Status};
use protocol::event::{Event, HistoryOption, Message, Role};
use protocol::manifest::HandoffSpec;
use serde_json::{Value as Json, json};
use tests::stage::{Stage, says, silent};

fn order() -> Json {
    json!({ "type": "object", "properties": { "order": { "type": "integer" } }, "required": ["order"] })
}

#[tokio::test]
async fn semantics_52_a_conversation_begins_with_a_text_a_message_messages_or_a_value() {
    let message = |role, name: &str, text: &str| Message { role, name: Some(name.to_owned()), text: text.to_owned() };
    let inputs: [(Input, &str); 4] = [
        ("help".into(), "user: help"),
        (message(Role::User, "Ann", "help").into(), "user: help"),
        (
            vec![message(Role::User, "Ann", "help"), message(Role::Assistant, "Front", "With what?"), message(Role::User, "Ann", "7")]
                .into(),
            "user: help\nassistant Front: With what?\nuser: 7",
        ),
        (json!({ "order": 7 }).into(), "user: {\"order\":7}"),
    ];
    let mut stage = Stage::of(|set| set.named(&["a"])).await;
    for (input, seen) in inputs {
        let mut talk = stage.open(&Opening::new("tests", input)).await;
        stage.turn("a", seen, says("done")).await;
        assert_eq!(stage.outcome(&mut talk).await, "completed: done");
    }
    stage.end().await;

    // With a schema it begins with a value that matches it, or not at all.
    let mut stage = Stage::of(|set| set.named(&["a"]).input(order())).await;
    for input in [Input::from(json!({ "order": "seven" })), Input::from("7")] {
        let error = stage.client().start(&Opening::new("tests", input)).await.unwrap_err();
        assert_eq!(error.status(), Status::Invalid, "{error}");
    }
    let mut talk = stage.open(&Opening::new("tests", json!({ "order": 7 }))).await;
    stage.turn("a", "user: {\"order\":7}", says("done")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: done");
    stage.end().await;
}

#[tokio::test]
async fn semantics_53_a_conversation_ends_with_a_value_that_matches_its_schema() {
    let mut stage = Stage::of(|set| set.named(&["a"]).output(order())).await;
    // Called: the result is an argument of the completion, and what does not match is the model's to mend.
    let handle = stage.client().invoke(&Opening::new("tests", "help"), Callbacks::default()).await.unwrap();
    let complete = |result: Json| silent().calls("complete_task", &json!({ "task_summary": "found it", "result": result }));
    stage.turn("a", "user: help", complete(json!({ "order": "seven" }))).await;
    let asked = stage.asked("a").await;
    let told = asked.prompt().pop().unwrap();
    assert!(told.starts_with("tool c1: ") && told.contains("\"seven\" is not of type \"integer\""), "{told}");
    asked.answer(complete(json!({ "order": 7 })));
    let Outcome::Completed(completed) = handle.get(None).await.unwrap() else { panic!() };
    assert_eq!((completed.result.as_str(), completed.value), ("found it", Some(json!({ "order": 7 }))));
    assert_eq!(handle.get_as::<BTreeMap<String, u32>>(None).await.unwrap(), [("order".to_owned(), 7)].into());
    // Another type of the caller's own is the caller's error, and no hang.
    assert!(matches!(handle.get_as::<u32>(None).await, Err(GetError::Value(_))));

    // Said: the text is the result where nobody can be asked.
    let mut talk = stage.begin_alone("help").await;
    stage.turn("a", "user: help", says("It is 7.")).await;
    let asked = stage.asked("a").await;
    assert!(asked.prompt().pop().unwrap().starts_with("user: This is not a result: "), "{:?}", asked.prompt());
    asked.answer(says(r#"{"order":7}"#));
    assert_eq!(stage.outcome(&mut talk).await, r#"completed: {"order":7}"#);
    stage.end().await;
}

#[tokio::test]
async fn semantics_57_a_typed_payload_is_validated_and_handed_over() {
    let edge = HandoffSpec { to: "b".to_owned(), payload: Some(order()), ..HandoffSpec::default() };
    let mut stage = Stage::of(|set| set.named(&["a", "b"]).add_handoff("a", edge)).await;
    let mut talk = stage.begin_alone("help").await;
    stage.turn("a", "user: help", silent().calls("transfer_to_b", &json!({ "payload": { "order": "seven" } }))).await;
    let asked = stage.asked("a").await;
    let told = asked.prompt().pop().unwrap();
    assert!(told.starts_with("tool c1: ") && told.contains("\"seven\" is not of type \"integer\""), "{told}");
    asked.answer(silent().calls("transfer_to_b", &json!({ "payload": { "order": 7 } })));
    stage.turn("b", "user: help\nassistant a: {\"order\":7}", says("done")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: done");
    let conversation = tests::in_process::load(stage.client(), talk.id()).await;
    let payload = conversation.events().find_map(|(_, (_, event))| match event {
        Event::Transferred(transfer) => transfer.payload.clone(),
        _ => None,
    });
    assert_eq!(payload, Some(json!({ "order": 7 })));
    stage.end().await;
}

#[tokio::test]
async fn semantics_58_an_edge_whose_condition_does_not_hold_is_hidden() {
    let edge = HandoffSpec { to: "b".to_owned(), condition: Some(r#"metadata.tier == "gold""#.to_owned()), ..HandoffSpec::default() };
    let mut stage = Stage::of(|set| set.named(&["a", "b", "c"]).add_handoff("a", edge).add("a", "c")).await;
    let with = |tier: &str| {
        let mut opening = Opening::new("tests", "help");
        opening.metadata.insert("tier".to_owned(), tier.into());
        opening
    };
    let mut gold = stage.open(&with("gold")).await;
    let asked = stage.asked("a").await;
    assert_eq!(asked.transfers(), ["b: Is b.", "c: Is c."]);
    asked.answer(silent().transfers("b"));
    stage.turn("b", "user: help", says("done")).await;
    assert_eq!(stage.outcome(&mut gold).await, "completed: done");

    let mut lead = stage.open(&with("lead")).await;
    let asked = stage.asked("a").await;
    assert_eq!(asked.transfers(), ["c: Is c."]);
    // A model that tries it all the same is told that there is no such edge.
    asked.answer(silent().transfers("b"));
    let asked = stage.asked("a").await;
    assert!(asked.prompt().pop().unwrap().starts_with("tool c1: You cannot transfer to \"b\"."), "{:?}", asked.prompt());
    asked.answer(says("sorry"));
    assert_eq!(stage.outcome(&mut lead).await, "completed: sorry");
    stage.end().await;
}

fn with_history(to: &str, history: HistoryOption) -> HandoffSpec {
    HandoffSpec { to: to.to_owned(), history: Some(history), ..HandoffSpec::default() }
}

#[tokio::test]
async fn semantics_59_an_edge_that_shares_tools_shows_them_to_its_target_alone() {
    let define =
        |set: &tests::stage::Set| set.named(&["a", "b", "c"]).add_handoff("a", with_history("b", HistoryOption::Tools)).add("b", "c");
    let mut stage = Stage::of(define).await;
    let mut talk = stage.begin_alone("help").await;
    stage.turn("a", "user: help", silent().calls("look", &json!({ "order": 7 }))).await;
    stage.tool("look", json!({ "order": 7 }), &json!("shipped")).await;
    stage.asked("a").await.answer(says("Over to b.").transfers("b"));
    let seen = r#"
        user: help
        assistant a: [look({"order":7}) returned: "shipped"]
        assistant a: Over to b.
    "#;
    stage.turn("b", seen, silent().transfers("c")).await;
    stage.turn("c", "user: help\nassistant a: Over to b.", says("done")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: done");
    stage.end().await;
}

#[tokio::test]
async fn semantics_60_a_summary_over_two_hops_is_one_block() {
    let define = |set: &tests::stage::Set| {
        let builder = set.named(&["a", "b", "c"]).add_handoff("a", with_history("b", HistoryOption::Summary));
        builder.add_handoff("b", with_history("c", HistoryOption::Summary))
    };
    let mut stage = Stage::of(define).await;
    let mut talk = stage.begin_alone("help").await;
    stage.turn("a", "user: help", says("One moment.").transfers("b")).await;
    // The model that hands over is asked for what its successor must know, and can call nothing meanwhile.
    let asked = stage.asked("a").await;
    let prompt = asked.prompt();
    assert_eq!(prompt[..3], ["user: help", "assistant: One moment. [c1 transfer_to_b {}]", "tool c1: Transferred to b."]);
    assert!(prompt.len() == 4 && prompt[3].starts_with("user: You hand the conversation over to b"), "{prompt:?}");
    assert_eq!(asked.body().get("tools"), None);
    asked.answer(says("They need help."));

    stage.turn("b", "assistant a: They need help.", silent().transfers("c")).await;
    let asked = stage.asked("b").await;
    let prompt = asked.prompt();
    assert_eq!(prompt[..3], ["assistant a: They need help.", "assistant: [c1 transfer_to_c {}]", "tool c1: Transferred to c."]);
    asked.answer(says("They need help, and b could not."));

    stage.turn("c", "assistant b: They need help, and b could not.", says("done")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: done");
    talk.tells(
        "
        client opened: help
        a responded: One moment. [c1 transfer_to_b]
        a transferred b
        b responded: [c1 transfer_to_c]
        b transferred c
        c responded: done
        c completed Answered: done
        ",
    );
    stage.end().await;
}
