//! Errors: the caller gets each one, whoever spoke (sections 1 and 4).

use client::{Answer, Callbacks, Content, ConverseError, Handle, Opening};
use tests::in_process;
use tests::stage::{Stage, says, silent};

async fn two() -> Stage {
    Stage::of(|set| set.named(&["a", "b"]).add("a", "b")).await
}

async fn invoke(stage: &Stage, callbacks: Callbacks) -> Handle {
    stage.client().invoke(&Opening::new("tests", "help").with_human(), callbacks).await.unwrap()
}

/// The conversation's end as its journal has it, with the caller's error.
async fn failed(stage: &Stage, handle: &Handle) -> (String, String) {
    let error = handle.get(None).await.unwrap_err();
    assert!(matches!(error, ConverseError::Caller { .. }), "{error:?}");
    let conversation = in_process::load(stage.client(), handle.conversation()).await;
    let end = conversation.events().last().map(|(_, (_, event))| client::Outcome::of(event).unwrap().to_string());
    (error.to_string(), end.unwrap())
}

#[tokio::test]
async fn semantics_41_a_model_that_fails_in_the_first_or_a_later_agent_fails_the_conversation() {
    let mut stage = two().await;
    let mut talk = stage.begin("help").await;
    stage.asked("a").await.refuse("no such model");
    let first = stage.outcome(&mut talk).await;
    assert!(first.starts_with("failed (model_error): ") && first.contains("no such model"), "{first}");

    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", silent().transfers("b")).await;
    stage.asked("b").await.refuse("too many words");
    let later = stage.outcome(&mut talk).await;
    assert!(later.starts_with("failed (model_error): ") && later.contains("too many words"), "{later}");
    stage.end().await;
}

#[tokio::test]
async fn semantics_42_code_of_the_caller_that_fails_in_a_later_agent_fails_the_conversation() {
    let mut stage = two().await;
    // Each way in which the caller's code can fail, at the second agent's words.
    let by_message = Callbacks::default().on_message(|line| match &line.content {
        Content::Text(text) if text == "Hello from b." => Err("the screen is broken".into()),
        _ => Ok(()),
    });
    let by_token = Callbacks::default().on_token(|token| match token {
        client::Token::Text { agent, .. } if agent.as_str() == "b" => Err("the speaker is broken".into()),
        _ => Ok(()),
    });
    let by_person = Callbacks::default().on_question(|question| async move { Err::<Answer, _>(format!("gone: {}", question.text).into()) });
    let by_panic = Callbacks::default().on_question(|_| async { panic!("nobody is there") });
    for (callbacks, expected) in [
        (by_message, "the message callback failed: the screen is broken"),
        (by_token, "the token callback failed: the speaker is broken"),
        (by_person, "the human function failed: gone: Hello from b."),
        (by_panic, "the caller's code failed: nobody is there"),
    ] {
        let handle = invoke(&stage, callbacks).await;
        stage.turn("a", "user: help", silent().transfers("b")).await;
        stage.turn("b", "user: help", says("Hello from b.")).await;
        let (error, end) = failed(&stage, &handle).await;
        assert_eq!(error, expected);
        assert_eq!(end, format!("failed (caller_error): {expected}"));
    }
    stage.end().await;
}
