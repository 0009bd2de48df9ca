//! What reads promise.

use protocol::brief::Phase;
use protocol::conversation::Partial;
use protocol::wire::{Headers, Message};

use super::{Chat, LONG, orchestration, provisioned, within};
use crate::{Append, ReadError, Shared};

/// Before the opening.
pub async fn where_there_is_no_conversation_there_is_nothing(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    Chat::open(&broker, "other").await;
    let chat = Chat::unopened(&broker, "c1");
    assert_eq!(chat.tail().await, None);
    assert_eq!(chat.at(0).await, None);
    assert_eq!(crate::load(&*broker, &orchestration(), chat.conversation.id()).await, Ok(None));
}

/// Subject, headers and body as they were written, and when the broker stored them.
pub async fn what_was_appended_is_read_back_byte_for_byte(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let before = broker.tick(&orchestration()).await.unwrap();
    let mut chat = Chat::open(&broker, "c1").await;
    let appended = [chat.say("Straße, 道, \u{0} and \r\n").await, chat.transfer("refund").await, chat.say(&"x".repeat(9000)).await];
    let after = broker.tick(&orchestration()).await.unwrap();
    for (ordinal, entry) in (1..).zip(&appended) {
        let stored = chat.at(ordinal).await.unwrap();
        entry.assert_is(&stored);
        assert!((before..=after).contains(&stored.time_ms), "{before} <= {} <= {after}", stored.time_ms);
        assert_eq!(entry.prepared.id(), Partial::decode(&stored).unwrap().last().head.id);
    }
    assert_eq!(chat.tail().await, chat.at(3).await);
    assert_eq!(chat.at(4).await, None);
}

/// `c1` is not a part of `c10`, nor ordinal 1 of ordinal 10.
pub async fn ids_that_begin_alike_are_not_mixed_up(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut short = Chat::open(&broker, "c1").await;
    let mut long = Chat::open(&broker, "c10").await;
    let mut entries = Vec::new();
    for n in 1..=10 {
        entries.push(short.say(&format!("short {n}")).await);
        long.say(&format!("long {n}")).await;
    }
    entries[0].assert_is(&short.at(1).await.unwrap());
    entries[9].assert_is(&short.tail().await.unwrap());
}

/// A reader must never take a part for the whole.
pub async fn sealing_entries_come_all_or_not_at_all(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let entries = [chat.say("one").await, chat.say("two").await, chat.say("three").await];
    let id = chat.conversation.id().clone();
    let mut found = broker.sealed(&orchestration(), &id, &[1, 3]).await.unwrap();
    found.sort_by_key(|stored| stored.seq);
    assert_eq!(found.len(), 2);
    entries[0].assert_is(&found[0]);
    entries[2].assert_is(&found[1]);
    assert_eq!(broker.sealed(&orchestration(), &id, &[]).await, Ok(Vec::new()));
    let incomplete = within("the end of waiting for replicas", broker.sealed(&orchestration(), &id, &[1, 7, 2, 9])).await;
    assert_eq!(incomplete, Err(ReadError::Incomplete { conversation: id, missing: 7 }));
}

/// Long enough that its last entry does not carry all of it.
pub async fn a_long_conversation_loads_whole(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    for n in 0..12 {
        chat.say(&format!("{n} {}", "x".repeat(3000))).await;
    }
    let last = Partial::decode(&chat.tail().await.unwrap()).unwrap();
    assert!(last.sealed().len() > 1, "{:?}", last.sealed());
    let loaded = crate::load(&*broker, &orchestration(), chat.conversation.id()).await.unwrap();
    assert_eq!(loaded.unwrap(), chat.conversation);
}

/// Bytes that no version writes fence as an entry does, and nothing follows them but the failure that says so; from there on the
/// conversation reads as if they were not there.
pub async fn bytes_that_no_version_writes_end_a_conversation(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    for (id, ordinal) in [("c1", 2), ("c2", 1), ("c3", 77)] {
        let mut chat = Chat::open(&broker, id).await;
        let said = chat.say(&"x".repeat(9000)).await;
        let late = chat.saying("late");
        let mut poison = late.clone();
        poison.message = Message {
            subject: format!("baton.{}.c.{id}.{ordinal}.to.triage.000000000000.client", orchestration()),
            headers: Headers::default(),
            payload: "\u{7f}poison".into(),
        };
        let Append::Appended(seq) = broker.append(&poison).await else { panic!("it is not stored") };
        assert_eq!(broker.append(&late).await, Append::Fenced { tail: seq }, "{ordinal}");

        let messages = broker.messages(&orchestration(), chat.conversation.id()).await.unwrap();
        assert_eq!((messages.len(), messages[2].seq, &messages[2].payload), (3, seq, &poison.message.payload));
        said.assert_is(&messages[1]);
        let mut damaged = crate::load(&*broker, &orchestration(), chat.conversation.id()).await.unwrap().unwrap();
        assert_eq!((damaged.entries(), damaged.tail().seq), (chat.conversation.entries(), seq));

        let failed = chat.failing(&damaged);
        let Append::Appended(end) = broker.append(&failed).await else { panic!("it is not stored") };
        assert_eq!(broker.append(&failed).await, Append::Appended(end), "sent again it is the same");
        damaged.commit(failed, end).unwrap();
        let read = crate::load(&*broker, &orchestration(), chat.conversation.id()).await.unwrap().unwrap();
        assert_eq!((read.entries(), read.phase(), read.damage()), (damaged.entries(), Some(Phase::Failed), None));
    }
}

/// Of this conversation what is not below, of others everything.
pub async fn a_purge_leaves_what_is_not_below(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let (mut chat, other) = (Chat::open(&broker, "c1").await, Chat::open(&broker, "c10").await);
    chat.say("one").await;
    let kept = chat.say("two").await;
    chat.purge(kept.seq).await;
    assert_eq!((chat.at(0).await, chat.at(1).await), (None, None));
    kept.assert_is(&chat.tail().await.unwrap());
    assert_eq!(other.tail().await.unwrap().seq, other.seq());
    chat.say("three").await;
}

/// Nothing was provisioned: "there is no such conversation" would be a lie.
pub async fn without_a_stream_reading_fails(broker: Shared) {
    let id = "c1".parse().unwrap();
    within("an answer", broker.tail(&orchestration(), &id)).await.unwrap_err();
    within("an answer", broker.at(&orchestration(), &id, 0)).await.unwrap_err();
}
