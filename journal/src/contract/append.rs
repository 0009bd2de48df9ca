//! What an append promises.

use futures::future::join_all;
use protocol::ids::{EntryId, Seq};

use super::{Chat, LONG, orchestration, plan, provisioned, within};
use crate::{Append, Plan, Refusal, Shared};

/// Opens a conversation.
pub async fn the_first_entry_goes_behind_nothing(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::unopened(&broker, "c1");
    let opening = chat.opening();
    assert_eq!(opening.expected, Seq(0));
    let opened = chat.append(opening).await;
    assert!(opened.seq > Seq(0));
    opened.assert_is(&chat.tail().await.unwrap());
}

/// Appends a few.
pub async fn each_entry_goes_behind_the_one_before_it(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let mut before = chat.seq();
    for text in ["one", "two", "three"] {
        let said = chat.say(text).await;
        assert!(said.seq > before);
        said.assert_is(&chat.tail().await.unwrap());
        before = said.seq;
    }
}

/// A writer that has not seen the last entry.
pub async fn a_stale_tail_is_fenced_and_told_the_real_one(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let stale = [chat.saying("late"), chat.transferring("refund"), Chat::unopened(&broker, "c1").opening()];
    chat.say("first").await;
    let said = chat.say("second").await;
    for prepared in stale {
        let Append::Fenced { tail } = broker.append(&prepared).await else { panic!("{} was not fenced", prepared.message.subject) };
        assert!(tail >= said.seq, "{tail} < {}", said.seq);
    }
    said.assert_is(&chat.tail().await.unwrap());
}

/// Four writers that all saw the same tail, for 25 rounds.
pub async fn of_racing_writers_exactly_one_wins_every_round(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    for round in 0..25 {
        let racing: Vec<_> = (0..4).map(|writer| chat.saying(&format!("{round}.{writer}"))).collect();
        let outcomes = join_all(racing.iter().map(|prepared| broker.append(prepared))).await;
        let won: Vec<_> = outcomes.iter().zip(&racing).filter(|(outcome, _)| matches!(outcome, Append::Appended(_))).collect();
        let [(Append::Appended(seq), winner)] = won[..] else { panic!("round {round}: {outcomes:?}") };
        for outcome in outcomes.iter().filter(|outcome| **outcome != Append::Appended(*seq)) {
            assert!(matches!(outcome, Append::Fenced { tail } if tail >= seq), "round {round}: {outcomes:?}");
        }
        chat.conversation.commit((*winner).clone(), *seq).unwrap();
    }
    let loaded = crate::load(&*broker, &orchestration(), chat.conversation.id()).await.unwrap();
    assert_eq!(loaded.unwrap(), chat.conversation);
}

/// Two conversations, their entries interleaved.
pub async fn conversations_do_not_fence_each_other(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let (mut one, mut other) = (Chat::open(&broker, "c1").await, Chat::open(&broker, "c2").await);
    for text in ["a", "b", "c"] {
        let (first, second) = (one.saying(text), other.saying(text));
        one.append(first).await;
        other.append(second).await;
    }
}

/// The same conversation id in two orchestrations: two conversations.
pub async fn orchestrations_do_not_fence_each_other(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let elsewhere = Plan::new("elsewhere".parse().unwrap(), vec!["triage".parse().unwrap()]);
    broker.provision(&elsewhere).await.unwrap();
    let mut here = Chat::open(&broker, "c1").await;
    let mut there = Chat::unopened_in(&broker, elsewhere.orchestration, "c1");
    let opened = there.append(there.opening()).await;
    here.say("here").await;
    opened.assert_is(&there.tail().await.unwrap());
}

/// After an unknown outcome the writer appends the same entry again: it is told that it is stored, wherever the tail is now.
pub async fn the_same_entry_again_is_the_same_entry(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let mine = chat.say("mine").await;
    assert_eq!(broker.append(&mine.prepared).await, Append::Appended(mine.seq));
    let others = chat.say("another's").await;
    assert_eq!(broker.append(&mine.prepared).await, Append::Appended(mine.seq));
    others.assert_is(&chat.tail().await.unwrap());
}

/// One id for two texts at once, as two callers have it that use one key for two requests.
pub async fn the_same_id_with_other_words_is_another_entry(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let id = EntryId::from_random([7; 16]);
    let (first, second) = (chat.saying_as(id, "first"), chat.saying_as(id, "second"));
    let first = chat.append(first).await;
    let tail = first.seq;
    assert_eq!(broker.append(&second).await, Append::Fenced { tail });
    first.assert_is(&chat.tail().await.unwrap());
}

/// A loser that repeats itself does not become a winner.
pub async fn whoever_lost_is_told_so_again(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let losing = chat.saying("loser");
    let winner = chat.say("winner").await;
    for _ in 0..3 {
        assert!(matches!(broker.append(&losing).await, Append::Fenced { tail } if tail >= winner.seq));
    }
    winner.assert_is(&chat.tail().await.unwrap());
}

fn assert_is_over(append: &Append) {
    assert!(matches!(append, Append::Gone | Append::Fenced { .. }), "{append:?}");
}

/// Erased, with the entry that says so still there: nothing revives the conversation.
pub async fn nothing_is_appended_to_an_erased_conversation(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let before = chat.say("before").await;
    let late = [chat.saying("late"), before.prepared, Chat::unopened(&broker, "c1").opening()];
    let erased = chat.erase().await;
    for prepared in &late {
        assert_is_over(&broker.append(prepared).await);
    }
    erased.assert_is(&chat.tail().await.unwrap());
    assert_eq!(chat.at(0).await, None);
}

/// Even the entry that said so is gone: what was written for the old conversation finds no place.
pub async fn nothing_is_appended_where_everything_was_purged(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let late = chat.saying("late");
    let erased = chat.erase().await;
    chat.purge(Seq(erased.seq.0 + 1)).await;
    assert_eq!(broker.append(&late).await, Append::Gone);
    assert_eq!(chat.tail().await, None);
}

/// Nothing was provisioned.
pub async fn without_a_stream_it_is_refused(broker: Shared) {
    let append = within("an answer", broker.append(&Chat::unopened(&broker, "c1").opening())).await;
    assert!(matches!(append, Append::Refused(Refusal::Other(_))), "{append:?}");
}

/// Honest back pressure: what was acknowledged stays.
pub async fn a_full_stream_refuses_and_takes_again_after_a_purge(broker: Shared) {
    broker.provision(&Plan { bytes_max: Some(64 * 1024), ..plan(LONG) }).await.unwrap();
    let mut open: Vec<Chat> = Vec::new();
    let (mut refused, prepared) = loop {
        let mut chat = Chat::unopened(&broker, &format!("c{}", open.len()));
        let opening = chat.opening();
        match broker.append(&opening).await {
            Append::Appended(seq) => chat.conversation.commit(opening, seq).unwrap(),
            Append::Refused(Refusal::NoSpace(_)) => break (chat, opening),
            other => panic!("{other:?}"),
        }
        open.push(chat);
        assert!(open.len() < 1000, "64 KiB hold no thousand entries");
    };
    for chat in &open {
        assert_eq!(chat.tail().await.unwrap().seq, chat.seq());
    }
    assert_eq!(refused.tail().await, None);
    for chat in &open {
        chat.purge(Seq(chat.seq().0 + 1)).await;
    }
    refused.append(prepared).await;
}
