//! Conversations in which something cannot be read.

use client::{CancelError, Classified, NotOpen, Opening, Outcome, Reply, ReplyError, Status, Unread};
use futures::StreamExt;
use journal::{Append, Store};
use protocol::brief::Phase;
use protocol::event::failure;
use protocol::ids::{ConversationId, Hash};
use protocol::wire::{Headers, Message, header};

use crate::world::World;

/// Bytes that no version writes, in place of the entry that belongs there.
async fn poison(world: &World, id: &ConversationId) {
    let next = world.conversation(id).await.tail().next;
    let subject = format!("baton.support.c.{id}.{next}.to.triage-agent.000000000000.client");
    let message = Message { subject, headers: Headers::default(), payload: "\u{7f}poison".into() };
    assert!(matches!(world.memory.inject(message), Ok(Append::Appended(_))));
}

/// Deletes the object that holds the payload of the opening.
async fn lose(world: &World, id: &ConversationId) {
    let opening = &world.stored(id)[0];
    let name = format!("{id}.0.{}.{}", opening.headers.get(header::ID).unwrap(), Hash::of(&opening.payload));
    assert!(world.memory.object(world.orchestration.name(), &name).await.unwrap().is_some());
    world.memory.delete_object(world.orchestration.name(), &name).await.unwrap();
}

async fn outcome(world: &World, id: &ConversationId) -> (String, String) {
    match world.client.result(id, None).await.unwrap() {
        Outcome::Failed(failed) => (failed.code.into_owned(), failed.detail),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn whoever_reads_sees_what_is_left_and_whoever_writes_is_told_that_it_has_failed() {
    let world = World::new().await;
    let (id, request) = world.asked().await;
    poison(&world, &id).await;
    let before = world.stored(&id).len();
    let inspected = world.client.inspect(&id).await.unwrap();
    assert_eq!((inspected.shown.brief.phase, inspected.open.len(), inspected.outcome), (Phase::Waiting, 1, None));
    assert_eq!(world.stored(&id).len(), before, "to read changes nothing");

    let ended = NotOpen::Ended(Phase::Failed);
    let refused = world.client.reply(&id, &Reply::to(request, "123").with_key("k1")).await;
    assert_eq!(refused, Err(ReplyError::NotOpen(ended)));
    assert_eq!(refused.unwrap_err().status(), Status::Conflict);
    assert_eq!(world.client.cancel(&id, "enough").await, Err(CancelError::Ended(Phase::Failed)));
    let (code, detail) = outcome(&world, &id).await;
    assert_eq!(code, failure::DAMAGED);
    assert!(detail.starts_with("entry 2, message 3 of the stream, cannot be read"), "{detail}");
    assert_eq!(world.stored(&id).len(), before + 1, "it fails once");
    assert_eq!(world.conversation(&id).await.verify(), Ok(()));
}

#[tokio::test]
async fn whoever_follows_is_shown_the_failure_in_place_of_what_cannot_be_read() {
    let world = World::new().await;
    let id = world.open().await;
    let mut events = world.client.follow(&id, None).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().id.to_string(), "0.0");
    poison(&world, &id).await;
    poison(&world, &id).await;
    world.client.say(&id, "and?", None).await.unwrap_err();
    let shown = events.next().await.unwrap().unwrap();
    assert_eq!((shown.event.kind(), shown.id.to_string().as_str()), ("failed", "1.0"));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn what_comes_behind_the_end_changes_nothing() {
    let world = World::new().await;
    let id = world.open().await;
    world.completes(&id, "triage-agent", "done").await;
    poison(&world, &id).await;
    assert_eq!(world.client.result(&id, None).await.unwrap().to_string(), "completed: done");
    assert_eq!(world.client.cancel(&id, "").await, Err(CancelError::Ended(Phase::Completed)));
    assert_eq!(world.stored(&id).len(), 3);
}

#[tokio::test]
async fn where_nothing_ever_began_there_is_no_conversation() {
    let world = World::new().await;
    let id: ConversationId = "nobody".parse().unwrap();
    let subject = format!("baton.support.c.{id}.0.to.triage-agent.000000000000.client");
    let message = Message { subject, headers: Headers::default(), payload: "\u{7f}poison".into() };
    assert!(matches!(world.memory.inject(message), Ok(Append::Appended(_))));
    assert_eq!(world.client.inspect(&id).await, Err(Unread::NotFound(id.clone())));
    assert!(matches!(world.client.cancel(&id, "").await, Err(CancelError::Unwritten(_))));
}

/// An opening that was accepted, and whose payload is lost: the sender is told all the same.
#[tokio::test]
async fn a_conversation_whose_payload_is_lost_fails_at_the_entry_that_had_it() {
    let world = World::new().await;
    let opening = Opening::new("alice", "x".repeat(2 * 1024 * 1024)).with_human();
    let id = world.client.start(&opening).await.unwrap().conversation;
    let mut events = world.client.follow(&id, None).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().event.kind(), "opened");
    lose(&world, &id).await;
    assert_eq!(world.client.inspect(&id).await.unwrap().shown.brief.phase, Phase::Working);
    assert_eq!(world.client.say(&id, "and?", None).await, Err(NotOpen::Ended(Phase::Failed).into()));
    let shown = events.next().await.unwrap().unwrap();
    assert_eq!((shown.event.kind(), shown.id.to_string().as_str()), ("failed", "1.0"));
    let (code, detail) = outcome(&world, &id).await;
    assert_eq!(code, failure::DAMAGED);
    assert!(detail.contains("entry 0, message 1") && detail.contains("missing or damaged"), "{detail}");
}
