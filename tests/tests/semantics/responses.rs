//! Plain answers (section 1), and the document's own conversation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use client::Outcome;
use futures::FutureExt;
use futures::future::ready;
use journal::nats::Settings;
use tests::in_process::{Programs, client, replies, support, talk};
use tests::nats;
use tests::sample::SAMPLE;
use tests::stage::{Stage, says, silent};

#[tokio::test]
async fn semantics_01_a_single_agents_text_is_the_result() {
    let mut stage = Stage::of(|set| set.named(&["solo"])).await;
    let mut talk = stage.begin_alone("6 times 7?").await;
    let asked = stage.asked("solo").await;
    asked.sees("user: 6 times 7?");
    assert_eq!(asked.transfers(), [""; 0]);
    assert!(asked.offered().iter().any(|tool| tool.starts_with("complete_task: ")), "{:?}", asked.offered());
    asked.answer(says("42"));
    assert_eq!(stage.outcome(&mut talk).await, "completed: 42");
    talk.tells(
        "
        client opened: 6 times 7?
        solo responded: 42
        solo completed Answered: 42
        ",
    );
    stage.end().await;
}

#[tokio::test]
async fn semantics_03_an_agent_with_targets_that_answers_is_the_only_one_asked() {
    let mut stage = Stage::of(|set| set.named(&["a", "b", "c"]).add("a", "b").add("a", "c")).await;
    let mut talk = stage.begin_alone("help").await;
    stage.turn("a", "user: help", says("here you are")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: here you are");
    stage.end().await;
}

#[tokio::test]
async fn semantics_27_a_plain_answer_asks_the_human() {
    let mut stage = Stage::of(|set| set.named(&["a", "b"]).add("a", "b")).await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", says("which order?")).await;
    let question = stage.question(&mut talk).await;
    assert_eq!((question.agent.as_str(), question.text.as_str(), question.due_secs), ("a", "which order?", Some(24 * 60 * 60)));
    talk.tells(
        "
        client opened: help
        a responded: which order?
        a asked caller: question
        ",
    );
    stage.end().await;
}

#[tokio::test]
async fn semantics_28_a_reply_goes_to_the_agent_that_asked() {
    let mut stage = Stage::of(|set| set.named(&["a", "b"]).add("a", "b")).await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", silent().transfers("b")).await;
    stage.turn("b", "user: help", says("which order?")).await;
    stage.person(&mut talk, "which order?", "17").await;
    stage.turn("b", "user: help\nassistant: which order?\nuser: 17", silent().completes("found 17")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: found 17");
    stage.end().await;
}

#[tokio::test]
async fn semantics_29_a_transfer_asks_nobody() {
    let mut stage = Stage::of(|set| set.named(&["a", "b"]).add("a", "b")).await;
    let mut talk = stage.begin("help").await;
    stage.turn("a", "user: help", says("Shall I? I do.").transfers("b")).await;
    stage.turn("b", "user: help\nassistant a: Shall I? I do.", silent().completes("done")).await;
    stage.outcome(&mut talk).await;
    assert!(!talk.has("asked"), "{talk:?}");
    stage.end().await;
}

#[tokio::test]
async fn semantics_30_the_documents_conversation_tells_its_sample_output() {
    let server = nats::server().await;
    let settings = |process: &str| Settings::new(server.url(), process.parse().unwrap());
    let orchestration = support();
    let mut programs = Programs::of(orchestration.clone());
    programs.coordinator(&settings("coordinator-1"), 1).await;
    for agent in orchestration.agents() {
        programs.worker(&settings(&format!("{}-1", agent.name)), agent.name.as_str()).await;
    }
    let caller = client(&settings("caller-1"), orchestration.name()).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let told = talk(&caller, replies(), move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        ready(()).boxed()
    })
    .await;

    let (summary, lines) = SAMPLE.split_last().unwrap();
    let of_agents: Vec<&str> = lines.iter().copied().filter(|line| !line.starts_with("User: ")).collect();
    assert_eq!(told.said, of_agents);
    assert_eq!(asked.load(Ordering::Relaxed), replies().len());
    let Outcome::Completed(completed) = told.outcome else { panic!("{:?}", told.outcome) };
    assert_eq!(format!("Task is completed with summary: {}", completed.result), *summary);

    let owners = told.conversation.events().filter_map(|(_, (_, event))| match event {
        protocol::event::Event::Transferred(transfer) => Some(transfer.to.as_str()),
        _ => None,
    });
    let owners: Vec<&str> = owners.collect();
    assert_eq!(owners, ["order-status", "triage", "order-return"]);
    assert_eq!(told.conversation.verify(), Ok(()));
    programs.stop().await;
}
