//! What a caller sees (section 4).

use std::sync::{Arc, Mutex};

use client::{Callbacks, Content, Handle, Line, Opening, Token};
use protocol::event::Event;
use tests::stage::{Stage, assert_lines, says, silent};

async fn two() -> Stage {
    Stage::of(|set| set.named(&["TriageAgent", "b"]).add("TriageAgent", "b").add("b", "TriageAgent")).await
}

/// What callbacks were told, a line each.
type Heard = Arc<Mutex<Vec<String>>>;

fn told(heard: &Heard) -> Vec<String> {
    heard.lock().unwrap().clone()
}

fn shown(line: &Line) -> String {
    match &line.content {
        Content::Text(text) => format!("{}: {text}", line.name),
        Content::TransferCall(call) => format!("{} calls {}", line.name, call.name),
        Content::TransferResult { text, .. } => format!("{} is told: {text}", line.name),
    }
}

fn token(token: &Token) -> String {
    match token {
        Token::Text { agent, text, is_final } => format!("{agent}: {text:?}{}", if *is_final { " final" } else { "" }),
        Token::Withdrawn { agent } => format!("{agent} withdrawn"),
    }
}

async fn listen(stage: &Stage) -> (Handle, Heard, Heard) {
    let (messages, tokens) = (Heard::default(), Heard::default());
    let (message_heard, token_heard) = (messages.clone(), tokens.clone());
    let callbacks = Callbacks::default()
        .on_message(move |line| {
            message_heard.lock().unwrap().push(shown(line));
            Ok(())
        })
        .on_token(move |piece| {
            token_heard.lock().unwrap().push(token(piece));
            Ok(())
        });
    (stage.client().invoke(&Opening::new("tests", "help"), callbacks).await.unwrap(), messages, tokens)
}

#[tokio::test]
async fn semantics_47_messages_come_in_the_journals_order_each_once_and_none_empty() {
    let mut stage = two().await;
    let (handle, messages, _) = listen(&stage).await;
    stage.turn("triage-agent", "user: help", says("One moment.").transfers("b")).await;
    stage.asked("b").await.answer(silent().transfers("triage-agent"));
    stage.asked("triage-agent").await.answer(silent().calls("look", &serde_json::json!({})));
    stage.tool("look", serde_json::json!({}), &serde_json::json!("shipped")).await;
    stage.asked("triage-agent").await.answer(says("It is shipped."));
    assert_eq!(handle.get(None).await.unwrap().to_string(), "completed: It is shipped.");
    assert_lines(
        &told(&messages),
        "
        TriageAgent: One moment.
        TriageAgent calls transfer_to_b
        TriageAgent is told: Transferred to b.
        b calls transfer_to_triage-agent
        b is told: Transferred to triage-agent.
        TriageAgent: It is shipped.
        ",
    );
    stage.end().await;
}

#[tokio::test]
async fn semantics_48_chunks_make_the_message_with_one_final_flag() {
    let mut stage = two().await;
    let (handle, messages, tokens) = listen(&stage).await;
    let stream = stage.asked("triage-agent").await.stream();
    stream.piece("One ");
    stream.piece("moment.");
    stream.call("c1", "transfer_to_b", &serde_json::json!({}));
    let stream = stage.asked("b").await.stream();
    stream.piece("It is ");
    stream.piece("shipped.");
    stream.end();
    handle.get(None).await.unwrap();
    // However the pieces were cut on their way: together they are the message, and the last one says so.
    let mut said: Vec<(String, String)> = Vec::new();
    let mut is_over = true;
    for line in told(&tokens) {
        let (agent, piece) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
        let (piece, is_final) = piece.strip_suffix(" final").map_or((piece, false), |piece| (piece, true));
        if is_over {
            said.push((agent.to_owned(), String::new()));
        }
        said.last_mut().unwrap().1.push_str(&serde_json::from_str::<String>(piece).unwrap());
        is_over = is_final;
    }
    assert!(is_over, "{:?}", told(&tokens));
    assert_eq!(said, [("triage-agent".into(), "One moment.".into()), ("b".to_owned(), "It is shipped.".to_owned())]);
    assert_lines(
        &told(&messages),
        "
        TriageAgent: One moment.
        TriageAgent calls transfer_to_b
        TriageAgent is told: Transferred to b.
        b: It is shipped.
        ",
    );
    stage.end().await;
}

#[tokio::test]
async fn semantics_49_a_chunk_with_nothing_but_usage_is_no_message() {
    let mut stage = two().await;
    let (handle, messages, tokens) = listen(&stage).await;
    let stream = stage.asked("triage-agent").await.stream();
    stream.piece("Hello.");
    stream.stop();
    stream.usage(11, 7);
    drop(stream);
    handle.get(None).await.unwrap();
    assert_eq!(told(&messages), ["TriageAgent: Hello."]);
    let finals = told(&tokens).iter().filter(|line| line.ends_with(" final")).count();
    assert_eq!(finals, 1, "{:?}", told(&tokens));
    let conversation = tests::in_process::load(stage.client(), handle.conversation()).await;
    let usage = conversation.events().find_map(|(_, (_, event))| match event {
        Event::Responded(response) => response.usage,
        _ => None,
    });
    assert_eq!(usage.map(|usage| (usage.input_tokens, usage.output_tokens)), Some((11, 7)));
    stage.end().await;
}
