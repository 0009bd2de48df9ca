//! What following promises.

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::BoxStream;
use protocol::wire::Stored;

use super::chat::Appended;
use super::{Chat, LONG, orchestration, provisioned, within};
use crate::{Follow, FollowError, Scope, Shared, Start};

type Entries = BoxStream<'static, Result<Stored, FollowError>>;

async fn follow(broker: &Shared, scope: Scope, start: Start) -> Entries {
    within("following", broker.follow(&orchestration(), Follow { scope, start, bodies: true })).await.unwrap()
}

async fn next(entries: &mut Entries) -> Stored {
    within("an entry", entries.next()).await.unwrap().unwrap()
}

async fn assert_comes(entries: &mut Entries, appended: &Appended) {
    appended.assert_is(&next(entries).await);
}

/// Two followers, one from the beginning, while four writers write.
pub async fn everything_comes_in_order_without_gap_while_others_append(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut first = follow(&broker, Scope::All, Start::First).await;
    let writers = (0..4).map(|n| {
        let broker = broker.clone();
        async move {
            let mut chat = Chat::unopened(&broker, &format!("c{n}"));
            let mut appended = vec![chat.append(chat.opening()).await];
            for n in 0..25 {
                appended.push(chat.say(&n.to_string()).await);
            }
            appended
        }
    });
    let follower = async {
        let mut seen = Vec::new();
        while seen.len() < 4 * 26 {
            seen.push(next(&mut first).await);
        }
        seen
    };
    let (appended, seen) = futures::join!(join_all(writers), follower);
    let mut appended: Vec<_> = appended.into_iter().flatten().collect();
    appended.sort_by_key(|appended| appended.seq);
    let mut second = follow(&broker, Scope::All, Start::First).await;
    for (appended, stored) in appended.iter().zip(&seen) {
        appended.assert_is(stored);
        assert_eq!(next(&mut second).await, *stored);
    }
}

/// From a checkpoint, and from one that nothing has passed yet.
pub async fn from_after_a_place_on(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let (first, second) = (chat.say("first").await, chat.say("second").await);
    let mut entries = follow(&broker, Scope::All, Start::After(first.seq)).await;
    let mut later = follow(&broker, Scope::All, Start::After(second.seq)).await;
    assert_comes(&mut entries, &second).await;
    let third = chat.say("third").await;
    assert_comes(&mut entries, &third).await;
    assert_comes(&mut later, &third).await;
}

/// What was there before is not told; what comes right after is.
pub async fn from_now_on(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let mut entries = follow(&broker, Scope::All, Start::New).await;
    for text in ["one", "two"] {
        assert_comes(&mut entries, &chat.say(text).await).await;
    }
}

/// Of one conversation everything, of others nothing, whatever their ids begin with.
pub async fn one_conversation_only(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut mine = Chat::open(&broker, "c1").await;
    let mut others = Chat::open(&broker, "c10").await;
    let scope = Scope::Conversation(mine.conversation.id().clone());
    let mut entries = follow(&broker, scope.clone(), Start::After(mine.seq())).await;
    for text in ["one", "two", "three"] {
        others.say(text).await;
        assert_comes(&mut entries, &mine.say(text).await).await;
    }
    let mut again = follow(&broker, scope, Start::First).await;
    for ordinal in 0..=3 {
        assert_eq!(Some(next(&mut again).await), mine.at(ordinal).await);
    }
}

/// What a ledger needs.
pub async fn headers_come_without_bodies_where_they_are_enough(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let start = Start::After(chat.seq());
    let mut entries = broker.follow(&orchestration(), Follow { scope: Scope::All, start, bodies: false }).await.unwrap();
    for text in ["before", "after"] {
        let said = chat.say(text).await;
        let stored = next(&mut entries).await;
        let payload = said.prepared.message.payload.clone();
        assert_eq!((stored.payload.len(), stored.size), (0, payload.len()));
        said.assert_is(&Stored { payload, ..stored });
    }
}

/// Nothing was provisioned.
pub async fn without_a_stream_there_is_nothing_to_follow(broker: Shared) {
    let nowhere = Follow { scope: Scope::All, start: Start::First, bodies: false };
    let Err(error) = within("an answer", broker.follow(&orchestration(), nowhere)).await else { panic!("it follows nothing") };
    assert_eq!(error, FollowError::NoStream("baton-support".to_owned()));
}
