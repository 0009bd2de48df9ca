//! What no worker can use: kept for a newer one for a while, and then for people, with the reason; and the end of its conversation,
//! for nothing can follow it.

use std::time::Duration;

use journal::{Append, WorkItem, give_up, planted};
use protocol::conversation::{Conversation, Partial};
use protocol::ids::ConversationId;
use protocol::subject;
use protocol::wire::DecodeError;

use super::{Driver, RETRY};
use crate::turn::Finish;

/// Before an entry of a newer version is offered again.
const NEWER: Duration = Duration::from_secs(10);
/// How often somebody else may be faster while a conversation is ended.
const FAILS_MAX: u32 = 5;

impl Driver {
    /// An entry this program cannot read: kept for a newer one for a while, and, if no version can, for people.
    pub(super) async fn set_aside_or_bury(&self, item: &WorkItem) {
        let reason = match Partial::decode(&item.stored) {
            Err(DecodeError::Newer { what }) if self.has_waited(item.stored.time_ms).await => {
                format!("{what} is of a newer version, and no worker that knows it came in time")
            }
            Err(DecodeError::Newer { what }) => {
                tracing::warn!(subject = item.stored.subject, "set aside: {what}");
                return item.settle.give_back(NEWER).await;
            }
            Ok(_) | Err(DecodeError::Malformed(_)) => "its headers are not an entry's".to_owned(),
        };
        if let Some(conversation) = subject::conversation_of(&item.stored.subject)
            && let Finish::GiveBack { delay, reason } = self.end_damaged(&conversation).await
        {
            tracing::info!(%conversation, ?delay, "given back: {reason}");
            return item.settle.give_back(delay).await;
        }
        self.bury(item, &reason).await;
    }

    /// Ends a conversation in which something cannot be read, unless somebody was faster. Whose turn it is does not matter: nobody's
    /// will be.
    async fn end_damaged(&self, conversation: &ConversationId) -> Finish {
        for _ in 0..FAILS_MAX {
            let salvaged = match give_up(&*self.broker, &self.orchestration, conversation).await {
                Ok((salvaged, _)) if !planted::is("poison-hangs") => salvaged,
                Ok(_) => return Finish::Settled,
                Err(error) => return Finish::GiveBack { delay: RETRY, reason: error.to_string() },
            };
            let Some(failed) = salvaged.must_fail() else { return Finish::Settled };
            match self.fail(salvaged, failed).await {
                Ok(()) => return Finish::Settled,
                Err(Append::Fenced { .. }) => {}
                Err(append) => return Finish::GiveBack { delay: RETRY, reason: format!("it cannot be ended: {append:?}") },
            }
        }
        Finish::GiveBack { delay: RETRY, reason: "somebody else was always faster".to_owned() }
    }

    /// Whether what was stored then has waited long enough for a newer worker. As long as the broker does not say what time it is,
    /// it has not: no process's own clock may give work up.
    async fn has_waited(&self, since_ms: u64) -> bool {
        let state = self.broker.consumer_state(&self.orchestration, &self.agent).await;
        let waited_ms = state.ok().flatten().map(|state| state.now_ms.saturating_sub(since_ms));
        waited_ms.is_some_and(|ms| Duration::from_millis(ms) >= self.newer_wait)
    }

    /// The kind for which the conversation was set aside, if that was too long ago: the note about it is its last entry.
    pub(super) async fn given_up(&self, conversation: &Conversation) -> Option<String> {
        let (_, kind) = conversation.unknown()?;
        let last = conversation.last().filter(|last| last.head.kind == "set-aside")?;
        let noted = self.broker.at(&self.orchestration, conversation.id(), last.ordinal()).await.ok()??;
        self.has_waited(noted.time_ms).await.then(|| kind.to_owned())
    }

    pub(super) async fn bury(&self, item: &WorkItem, reason: &str) {
        if planted::is("poison-exits") {
            std::process::exit(1);
        }
        tracing::error!(subject = item.stored.subject, "dead letter: {reason}");
        match self.broker.dead_letter(&self.orchestration, &self.agent, &item.stored, reason).await {
            Ok(()) => item.settle.terminate().await,
            // Nothing is dropped before it is kept.
            Err(error) => {
                tracing::error!("the dead letter could not be kept: {error}");
                item.settle.give_back(RETRY).await;
            }
        }
    }

    /// The conversation of a work item cannot go on: it ends, and the item is a dead letter if it is what cannot be read.
    pub(super) async fn contain(&self, item: &WorkItem, conversation: &ConversationId) -> Finish {
        let ended = self.end_damaged(conversation).await;
        match Partial::decode(&item.stored) {
            Err(error) if ended == Finish::Settled => {
                self.bury(item, &error.to_string()).await;
                Finish::Dropped
            }
            _ => ended,
        }
    }
}
