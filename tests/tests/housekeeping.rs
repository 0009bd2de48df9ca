//! What a coordinator does about what is over, on a real broker.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, where a panic is the failure")]

use client::{Client, Opening};
use journal::ConsumerState;
use journal::nats::Settings;
use protocol::ids::{AgentName, ConversationId, Seq};
use tests::in_process::{Programs, client, support};
use tests::nats::server;
use tests::processes::eventually;

fn triage() -> AgentName {
    "triage".parse().unwrap()
}

/// A conversation that nobody takes up.
async fn open(client: &Client) -> ConversationId {
    client.start(&Opening::new("tests", "Hello")).await.unwrap().conversation
}

/// One that is over before anybody does.
async fn finish(client: &Client) {
    client.cancel(&open(client).await, "").await.unwrap();
}

/// Deletes the consumer of `triage` once the coordinator has seen everything, and waits for the next one.
async fn made_anew(client: &Client) -> ConsumerState {
    let (broker, orchestration) = (client.broker(), client.orchestration());
    let last = broker.last_seq(orchestration).await.unwrap().0;
    eventually("the ledger", async || (client.status().await.unwrap().seq == last).then_some(())).await;
    assert_eq!(broker.retire(orchestration, &triage()).await, Ok(true));
    eventually("another consumer", async || broker.consumer_state(orchestration, &triage()).await.unwrap()).await
}

#[tokio::test]
async fn a_consumer_made_anew_delivers_what_is_open_and_nothing_of_what_is_over() {
    let server = server().await;
    let settings = |process: &str| Settings::new(server.url(), process.parse().unwrap());
    let mut programs = Programs::of(support());
    programs.coordinator(&settings("coordinator-1"), 1).await;
    let client = client(&settings("tests"), &"support".parse().unwrap()).await;
    for _ in 0..50 {
        finish(&client).await;
    }
    let begun = made_anew(&client).await;
    assert_eq!((begun.delivered, begun.pending), (Seq(100), 0), "nothing is open");

    let waiting = open(&client).await;
    let begun = made_anew(&client).await;
    assert_eq!((begun.delivered, begun.pending), (Seq(100), 1));
    let later = open(&client).await;
    let mut work = client.broker().work(client.orchestration(), &triage()).await.unwrap();
    for (seq, conversation) in [(101, waiting), (102, later)] {
        let item = work.next(1).await.unwrap();
        assert!(item.stored.seq == Seq(seq) && item.stored.subject.contains(conversation.as_str()), "{}", item.stored.subject);
        item.settle.ack().await;
    }
    programs.stop().await;
}
