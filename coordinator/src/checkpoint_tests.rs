use journal::memory::Memory;
use journal::{Plan, Provision};
use protocol::brief::Fixed;

use super::*;
use crate::ledger::Ledger;
use crate::story::{Story, opened};

fn name() -> OrchestrationName {
    "support".parse().unwrap()
}

fn at(seq: u64) -> Place {
    Place { seq: Seq(seq), ..Place::default() }
}

async fn broker() -> Memory {
    let memory = Memory::new();
    memory.provision(&Plan::new(name(), Vec::new())).await.unwrap();
    memory
}

/// A ledger with so many open conversations.
fn ledger(conversations: usize) -> Ledger {
    let mut story = Story::new(Fixed { tenant: Some("t".repeat(200)), ..Fixed::default() });
    for n in 0..conversations {
        story.tell(&format!("c{n}"), opened("triage"));
    }
    story.ledger
}

async fn keys(broker: &Memory) -> Vec<String> {
    broker.keys(&name(), "checkpoint.").await.unwrap()
}

#[tokio::test]
async fn what_was_stored_is_loaded() {
    let broker = broker().await;
    assert_eq!(load(&broker, &name()).await.unwrap(), None);
    let ledger = ledger(4000);
    store(&broker, &name(), ledger.place(), ledger.open()).await.unwrap();
    assert_eq!(load(&broker, &name()).await.unwrap(), Some((ledger.place(), ledger.open())));
    let chunks = keys(&broker).await.len() - 1;
    assert!(chunks > 1, "{chunks} chunks");
    for key in keys(&broker).await {
        let value = broker.value(&name(), &key).await.unwrap().unwrap();
        assert!(value.bytes.len() < 512 * 1024, "{key}");
    }
}

#[tokio::test]
async fn an_empty_ledger_is_worth_storing_too() {
    let broker = broker().await;
    store(&broker, &name(), at(77), Vec::new()).await.unwrap();
    assert_eq!(load(&broker, &name()).await.unwrap(), Some((at(77), Vec::new())));
}

#[tokio::test]
async fn the_newest_is_loaded_and_the_older_slot_written() {
    let broker = broker().await;
    for (round, conversations) in [1, 4000, 2, 3].into_iter().enumerate() {
        let ledger = ledger(conversations);
        let place = at(10_000 + round as u64);
        store(&broker, &name(), place.clone(), ledger.open()).await.unwrap();
        assert_eq!(load(&broker, &name()).await.unwrap(), Some((place, ledger.open())));
    }
    assert_eq!(keys(&broker).await, ["checkpoint.0", "checkpoint.0.0", "checkpoint.1", "checkpoint.1.0"], "what is left over is deleted");
}

#[tokio::test]
async fn whoever_is_interrupted_leaves_the_other_slot_whole() {
    let broker = broker().await;
    let (first, second) = (ledger(1), ledger(2));
    store(&broker, &name(), at(1), first.open()).await.unwrap();
    store(&broker, &name(), at(2), second.open()).await.unwrap();
    // A third checkpoint gets no further than its first chunk.
    let chunk = next_chunk(Seq(3), &mut ledger(3).open().into_iter()).unwrap().unwrap();
    broker.put_value(&name(), "checkpoint.0.0", chunk.clone(), Expect::Any, None).await.unwrap();
    assert_eq!(load(&broker, &name()).await.unwrap(), Some((at(2), second.open())));
    broker.put_value(&name(), "checkpoint.1.0", chunk, Expect::Any, None).await.unwrap();
    assert_eq!(load(&broker, &name()).await.unwrap(), None);
}

#[tokio::test]
async fn another_version_or_garbage_counts_as_none() {
    let broker = broker().await;
    store(&broker, &name(), at(1), ledger(1).open()).await.unwrap();
    let newer = rmp_serde::to_vec_named(&Head { version: VERSION + 1, place: at(9), chunks: 0 }).unwrap();
    for (slot, bytes) in [("checkpoint.1", newer), ("checkpoint.1", b"\xc1".to_vec()), ("checkpoint.1", vec![0x91; 100_000])] {
        broker.put_value(&name(), slot, bytes.clone().into(), Expect::Any, None).await.unwrap();
        assert_eq!(load(&broker, &name()).await.unwrap().unwrap().0, at(1));
        broker.put_value(&name(), "checkpoint.0.0", bytes.into(), Expect::Any, None).await.unwrap();
        assert_eq!(load(&broker, &name()).await.unwrap(), None);
        let chunk = next_chunk(Seq(1), &mut ledger(1).open().into_iter()).unwrap().unwrap();
        broker.put_value(&name(), "checkpoint.0.0", chunk, Expect::Any, None).await.unwrap();
    }
}
