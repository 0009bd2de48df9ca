//! Clears away what is over, and carries out operators' wishes to erase: the jobs, and what a driver has to do with them.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream;
use journal::Delivery;
use protocol::entry::Head;
use protocol::ids::{ConversationId, Seq};
use protocol::query::{Answer, EraseWish, Erasure};
use protocol::wire::{DecodeError, Stored};

use crate::act::{ActError, Actor};
use crate::job::Done;
use crate::retention::{Fate, Look, Looked, Remains, Then};

/// Entries read in one look.
const READ_MAX: usize = 1000;
/// How many go in one look, and how many of them at once.
const GO_MAX: usize = 256;
const AT_ONCE: usize = 8;

/// What a look found: up to where nothing has to be done, what goes, and what lies behind.
struct Found {
    going: Vec<(Seq, ConversationId)>,
    place: Seq,
    then: Then,
}

/// Looks at what is over, and clears away what has had its time.
pub(crate) async fn clear(actor: Arc<Actor>, look: Look) -> Done {
    let Found { going, place, then } = find(&actor, &look).await;
    let mut done = look.after;
    let mut cleared = stream::iter(going).map(|(seq, id)| clear_one(&actor, look.remains, seq, id)).buffered(AT_ONCE);
    while let Some((seq, is_cleared)) = cleared.next().await {
        if !is_cleared {
            return Done::Cleared(look, Looked { place: done, then: Then::Failed });
        }
        done = seq;
    }
    Done::Cleared(look, Looked { place, then })
}

async fn find(actor: &Actor, look: &Look) -> Found {
    let writer = look.remains.writer();
    let (mut going, mut place) = (Vec::new(), look.after);
    for _ in 0..READ_MAX {
        let then = match actor.broker.next_end(&actor.orchestration, writer.as_ref(), place).await {
            Ok(None) => Then::Nothing,
            Ok(Some(stored)) => match fate(look, &stored) {
                Some((Fate::Wait, _)) => Then::Later(stored.time_ms),
                Some((fate, id)) => {
                    place = stored.seq;
                    going.extend((fate == Fate::Go).then_some((stored.seq, id)));
                    if going.len() < GO_MAX {
                        continue;
                    }
                    Then::More
                }
                None => Then::Failed,
            },
            Err(error) => {
                tracing::warn!(orchestration = %actor.orchestration, "what is over cannot be looked at: {error}");
                Then::Failed
            }
        };
        return Found { going, place, then };
    }
    Found { going, place, then: Then::More }
}

/// The fate of a message, and whose it is; none of what only a newer version can read: it is left to that.
fn fate(look: &Look, stored: &Stored) -> Option<(Fate, ConversationId)> {
    match Head::decode(&stored.subject, &stored.headers) {
        Ok(head) => Some((look.fate(&head.kind, stored.time_ms), head.subject.conversation)),
        Err(DecodeError::Newer { what }) => {
            tracing::warn!(subject = stored.subject, "what is over is kept: a newer version wrote it ({what})");
            None
        }
        Err(DecodeError::Malformed(_)) => Some((Fate::Pass, protocol::subject::conversation_of(&stored.subject)?)),
    }
}

async fn clear_one(actor: &Actor, remains: Remains, seq: Seq, id: ConversationId) -> (Seq, bool) {
    let cleared = match remains {
        Remains::Conversation => actor.erase(&id, false).await.map(drop),
        Remains::Tombstone => actor.bury(&id, seq).await,
    };
    let orchestration = &actor.orchestration;
    let is_passed = match &cleared {
        Ok(()) => true,
        // Others' time has come too.
        Err(error) if is_hopeless(error) => {
            tracing::error!(%orchestration, conversation = %id, "it cannot be erased and is passed over, use `baton erase`: {error}");
            true
        }
        Err(error) => {
            tracing::warn!(%orchestration, conversation = %id, "it cannot be cleared away yet: {error}");
            false
        }
    };
    (seq, is_passed)
}

/// Whether trying again is no use.
const fn is_hopeless(error: &ActError) -> bool {
    match error {
        ActError::Load(error) => error.is_damage(),
        ActError::Prepare(_) | ActError::Unsettled(_) => true,
        ActError::Store(_) | ActError::Refused(_) | ActError::Unknown(_) => false,
    }
}

/// Purges what was erased: whoever said so may have died before.
pub(crate) async fn purge(actor: Arc<Actor>, tombstone: Seq, id: ConversationId) -> Done {
    Done::Purged { tombstone, purged: actor.broker.purge(&actor.orchestration, &id, tombstone).await }
}

/// An operator's wish, whoever leads: all of it is safe with two at once.
pub(crate) async fn erase(actor: Arc<Actor>, question: Delivery) -> Done {
    let answer = match serde_json::from_slice::<EraseWish>(&question.payload) {
        Err(error) => Answer::Invalid(error.to_string()),
        Ok(wish) => match actor.erase(&wish.conversation, wish.cancel).await {
            Ok(Some(erasure)) => Answer::Ok(erasure),
            Ok(None) => Answer::NotFound,
            Err(error) => Answer::Ok(Erasure::Failed(error.to_string())),
        },
    };
    tracing::info!(orchestration = %actor.orchestration, ?answer, "an operator's wish to erase");
    if let Some(reply) = &question.reply {
        actor.broker.say(reply, serde_json::to_vec(&answer).unwrap_or_default().into()).await;
    }
    Done::Erased
}
