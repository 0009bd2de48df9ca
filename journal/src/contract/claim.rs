//! What is promised of entries that are larger than a message.

use futures::StreamExt;
use futures::future::join_all;
use protocol::conversation::{FoldError, Partial};
use protocol::event::failure;
use protocol::ids::Seq;
use protocol::wire::{DecodeError, Stored, header};

use super::chat::Appended;
use super::{Chat, LONG, agent, orchestration, provisioned, within};
use crate::claim::object_name;
use crate::{Append, ENTRY_BYTES_MAX, Follow, LoadError, ReadError, Refusal, Scope, Shared, Start};

const MIB: usize = 1024 * 1024;

/// A text that no message holds.
fn large() -> String {
    "Straße ".repeat(MIB / 8 + 1)
}

/// A text that several would have to share.
fn several_mib() -> String {
    large().repeat(3)
}

async fn has_object(broker: &Shared, appended: &Appended) -> bool {
    let object = broker.object(&orchestration(), &object_name(&appended.prepared)).await.unwrap();
    object.is_some_and(|object| object == appended.prepared.message.payload)
}

/// In, and out again by every way that there is; and what comes after it does not carry it.
pub async fn a_large_entry_is_stored_and_read_whole(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let start = Start::After(chat.seq());
    let said = chat.say(&several_mib()).await;
    let transferred = chat.append(chat.transferring_because("refund", Some(several_mib()))).await;
    assert!(transferred.prepared.message.payload.len() > 3 * MIB);
    assert!(has_object(&broker, &said).await && has_object(&broker, &transferred).await);

    transferred.assert_is(&chat.tail().await.unwrap());
    said.assert_is(&chat.at(1).await.unwrap());
    let id = chat.conversation.id().clone();
    let sealed = broker.sealed(&orchestration(), &id, &[1, 2]).await.unwrap();
    said.assert_is(&sealed[0]);
    transferred.assert_is(&sealed[1]);

    let mut source = broker.work(&orchestration(), &agent("refund")).await.unwrap();
    let item = within("a work item", source.next(1)).await.unwrap();
    transferred.assert_is(&item.stored);
    assert_eq!(item.delivered, 1);

    for bodies in [true, false] {
        let mut entries = broker.follow(&orchestration(), Follow { scope: Scope::All, start, bodies }).await.unwrap();
        for appended in [&said, &transferred] {
            let stored = within("an entry", entries.next()).await.unwrap().unwrap();
            assert_eq!(stored.payload.is_empty(), !bodies);
            let payload = appended.prepared.message.payload.clone();
            appended.assert_is(&Stored { payload, ..stored });
        }
    }

    let small = chat.say("small").await;
    assert!(small.prepared.message.payload.len() < 8 * 1024, "{}", small.prepared.message.payload.len());
    assert!(!has_object(&broker, &small).await);
    let loaded = crate::load(&*broker, &orchestration(), &id).await.unwrap();
    assert_eq!(loaded.unwrap(), chat.conversation);
}

/// The writer's object is its own, and goes with the entry that could not be written.
pub async fn a_large_entry_that_is_fenced_leaves_no_object(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let late = chat.saying(&large());
    let said = chat.say("first").await;
    for _ in 0..2 {
        assert!(matches!(broker.append(&late).await, Append::Fenced { tail } if tail >= said.seq));
        assert_eq!(broker.object(&orchestration(), &object_name(&late)).await, Ok(None));
    }
    said.assert_is(&chat.tail().await.unwrap());
    chat.say(&large()).await;
}

/// Whoever wins, the entry that is there is whole, and nothing else is.
pub async fn of_racing_large_entries_one_is_stored_whole(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    for round in 0..3 {
        let racing: Vec<_> = (0..3).map(|writer| chat.saying(&format!("{round}.{writer} {}", large()))).collect();
        let outcomes = join_all(racing.iter().map(|prepared| broker.append(prepared))).await;
        let won = outcomes.iter().zip(&racing).find_map(|(outcome, prepared)| match outcome {
            Append::Appended(seq) => Some(Appended { seq: *seq, prepared: prepared.clone() }),
            _ => None,
        });
        let won = won.unwrap_or_else(|| panic!("round {round}: {outcomes:?}"));
        won.assert_is(&chat.tail().await.unwrap());
        for lost in racing.iter().filter(|prepared| prepared.id() != won.prepared.id()) {
            assert_eq!(broker.object(&orchestration(), &object_name(lost)).await, Ok(None));
        }
        chat.conversation.commit(won.prepared, won.seq).unwrap();
    }
}

/// There is an end to it, and the connection and the conversation go on.
pub async fn an_entry_beyond_every_limit_is_refused(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let opened = chat.tail().await.unwrap();
    let too_large = chat.saying(&"x".repeat(ENTRY_BYTES_MAX));
    let bytes = too_large.message.payload.len();
    let refused = within("an answer", broker.append(&too_large)).await;
    assert_eq!(refused, Append::Refused(Refusal::TooLarge { bytes, bytes_max: ENTRY_BYTES_MAX }));
    assert_eq!(chat.tail().await.unwrap(), opened);
    assert_eq!(broker.object(&orchestration(), &object_name(&too_large)).await, Ok(None));
    chat.say("small").await;
}

/// After an unknown outcome the writer appends it again: it is one entry, and whole, wherever the tail is by then.
pub async fn a_large_entry_again_is_the_same_entry(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let mine = chat.say(&large()).await;
    assert_eq!(broker.append(&mine.prepared).await, Append::Appended(mine.seq));
    let others = chat.say("another's").await;
    assert_eq!(broker.append(&mine.prepared).await, Append::Appended(mine.seq));
    mine.assert_is(&chat.at(1).await.unwrap());
    others.assert_is(&chat.tail().await.unwrap());
    assert!(has_object(&broker, &mine).await);
}

/// A caller's request that comes again with another text: the first is what counts, and stays as it was.
pub async fn a_large_entry_under_the_id_of_another_does_not_replace_it(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let first = chat.saying(&large());
    let second = chat.saying_as(first.id(), &format!("{} and more", large()));
    let first = chat.append(first).await;
    let tail = first.seq;
    assert_eq!(broker.append(&second).await, Append::Fenced { tail });
    first.assert_is(&chat.tail().await.unwrap());
    assert_eq!(broker.object(&orchestration(), &object_name(&second)).await, Ok(None));
}

/// One request through two processes at once has one payload, and so one object: the loser does not take it back.
pub async fn a_large_entry_through_another_process_leaves_the_object_to_the_first(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let first = chat.saying(&large());
    let mut second = first.clone();
    second.message.headers.insert(header::PROCESS, "another-process".to_owned());
    assert_eq!(object_name(&first), object_name(&second));
    let first = chat.append(first).await;
    let tail = first.seq;
    assert_eq!(broker.append(&second).await, Append::Fenced { tail });
    first.assert_is(&chat.tail().await.unwrap());
}

fn assert_is_raw(stored: &Stored, lost: &Appended) {
    assert_eq!((stored.seq, &stored.subject), (lost.seq, &lost.prepared.message.subject));
    assert_eq!(stored.headers.get(header::OBJECT), Some(object_name(&lost.prepared).as_str()));
    assert!(matches!(Partial::decode(stored), Err(DecodeError::Malformed(_))));
}

/// Lost, by whatever: a reader is told so and never that there is nothing; work and followers get what can be seen to be
/// broken, and then whatever comes after it.
pub async fn an_entry_whose_object_is_lost_is_told_from_one_that_is_not_there(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let (opened, start) = (chat.seq(), Start::After(chat.seq()));
    let lost = chat.append(chat.transferring_because("refund", Some(large()))).await;
    let object = object_name(&lost.prepared);
    broker.delete_object(&orchestration(), &object).await.unwrap();

    let (id, damaged) = (chat.conversation.id().clone(), ReadError::Damaged { subject: lost.prepared.message.subject.clone(), object });
    assert_eq!(broker.tail(&orchestration(), &id).await, Err(damaged.clone()));
    assert_eq!(broker.at(&orchestration(), &id, 1).await, Err(damaged.clone()));
    assert_eq!(broker.sealed(&orchestration(), &id, &[0, 1]).await, Err(damaged));
    let next = chat.transfer("triage").await;
    let messages = broker.messages(&orchestration(), &id).await.unwrap();
    assert_eq!(messages.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [opened, lost.seq, next.seq]);
    assert_is_raw(&messages[1], &lost);
    next.assert_is(&messages[2]);
    let salvaged = crate::load(&*broker, &orchestration(), &id).await.unwrap().unwrap();
    assert_eq!((salvaged.tail(), salvaged.brief()), (chat.conversation.tail(), chat.conversation.brief()));
    assert_eq!(salvaged.damage().map(|damage| (damage.seq, damage.ordinal)), Some((lost.seq, 1)));
    assert_eq!(salvaged.must_fail().unwrap().code, failure::DAMAGED);
    assert_eq!(crate::load(&*broker, &orchestration(), &"c2".parse().unwrap()).await, Ok::<_, LoadError>(None));

    let mut source = broker.work(&orchestration(), &agent("refund")).await.unwrap();
    let item = within("the item", source.next(1)).await.unwrap();
    assert_is_raw(&item.stored, &lost);
    item.settle.terminate().await;

    let mut entries = broker.follow(&orchestration(), Follow { scope: Scope::All, start, bodies: true }).await.unwrap();
    assert_is_raw(&within("the entry", entries.next()).await.unwrap().unwrap(), &lost);
    next.assert_is(&within("the next one", entries.next()).await.unwrap().unwrap());
}

/// Erased is erased: of this conversation what is below, of others nothing.
pub async fn a_purge_takes_the_objects_along(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let (mut chat, mut other) = (Chat::open(&broker, "c1").await, Chat::open(&broker, "c10").await);
    let (purged, others) = (chat.say(&large()).await, other.say(&large()).await);
    let fenced = Chat::unopened(&broker, "c1").opening_with(&large());
    assert!(matches!(broker.append(&fenced).await, Append::Fenced { .. }));
    let kept = chat.say(&large()).await;
    chat.purge(kept.seq).await;
    assert!(!has_object(&broker, &purged).await);
    kept.assert_is(&chat.tail().await.unwrap());
    others.assert_is(&other.tail().await.unwrap());
    chat.purge(Seq(kept.seq.0 + 1)).await;
    assert!(!has_object(&broker, &kept).await);
    assert!(has_object(&broker, &others).await);
}

/// A conversation with a large entry that its last one does not carry.
pub async fn a_conversation_with_large_entries_loads_whole(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    for n in 0..3 {
        chat.say(&large()).await;
        chat.say(&n.to_string()).await;
    }
    let last = Partial::decode(&chat.tail().await.unwrap()).map_err(FoldError::from).unwrap();
    assert_eq!(last.sealed(), [1, 3, 5]);
    let loaded = crate::load(&*broker, &orchestration(), chat.conversation.id()).await.unwrap();
    assert_eq!(loaded.unwrap(), chat.conversation);
}
