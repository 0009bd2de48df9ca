//! Erasing: the entry that says so, and then the purge of all before it. Whoever is interrupted between the two, or not alone, does
//! no harm: each is done once, and done again changes nothing.

use std::time::Duration;

use journal::{LoadError, load};
use protocol::brief::Phase;
use protocol::entry::Head;
use protocol::event::{Cancelled, Erased, Event};
use protocol::ids::{ConversationId, Ordinal, Seq};
use protocol::query::Erasure;
use protocol::subject::Class;
use protocol::wire::Stored;
use telemetry::spans;
use tokio::time::sleep;
use tracing::Instrument;

use crate::act::{ActError, Actor};

/// How often it is tried while others write, or replicas are behind: for five seconds.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Why an operator's conversation was cancelled.
const REASON: &str = "it is to be erased";

/// A conversation as it was found.
enum Step {
    Over(Erasure),
    /// Written, or somebody was faster: it is looked at again.
    Again,
}

impl Actor {
    /// Leaves nothing of a conversation but the entry that says so; none where there is no conversation. An open one is called off
    /// first, or stays.
    pub(crate) async fn erase(&self, id: &ConversationId, cancel: bool) -> Result<Option<Erasure>, ActError> {
        for _ in 0..TRIES {
            let Some(tail) = self.broker.tail(&self.orchestration, id).await.map_err(LoadError::from)? else {
                // To a replica that lags there is none. What is left of one that was erased need not be where it began.
                if self.leader_has(id, 0).await? {
                    sleep(PAUSE).await;
                    continue;
                }
                return Ok(None);
            };
            let span = spans::act("erase", id.as_str());
            match self.step(id, &tail, cancel).instrument(span).await? {
                Step::Over(erasure) => return Ok(Some(erasure)),
                Step::Again => sleep(PAUSE).await,
            }
        }
        Err(ActError::Unsettled("others go on writing, or the replicas are behind"))
    }

    async fn step(&self, id: &ConversationId, tail: &Stored, cancel: bool) -> Result<Step, ActError> {
        if let Ok(head) = Head::decode(&tail.subject, &tail.headers)
            && head.brief.phase == Phase::Erased
        {
            self.broker.purge(&self.orchestration, id, tail.seq).await?;
            return Ok(Step::Over(Erasure::Erased(head.subject.ordinal)));
        }
        let Some(conversation) = load(&*self.broker, &self.orchestration, id).await? else { return Ok(Step::Again) };
        let Some(phase) = conversation.phase() else { return Ok(Step::Again) };
        let event: Event = match conversation.must_fail() {
            _ if phase.is_ended() => Erased {}.into(),
            _ if !cancel && self.leader_has(id, conversation.tail().next).await? => return Ok(Step::Again),
            _ if !cancel => return Ok(Step::Over(Erasure::Open(phase))),
            Some(failed) => failed.into(),
            None => Cancelled { reason: REASON.to_owned() }.into(),
        };
        let kind = event.kind().to_owned();
        if self.write(&conversation, Class::End, event).await?.is_some() {
            tracing::info!(orchestration = %self.orchestration, conversation = %id, "{kind}");
        }
        Ok(Step::Again)
    }

    async fn leader_has(&self, id: &ConversationId, ordinal: Ordinal) -> Result<bool, ActError> {
        let found = self.broker.at(&self.orchestration, id, ordinal).await.map_err(LoadError::from)?;
        Ok(found.is_some())
    }

    /// Takes away what says that a conversation was erased.
    pub(crate) async fn bury(&self, id: &ConversationId, tombstone: Seq) -> Result<(), ActError> {
        Ok(self.broker.purge(&self.orchestration, id, Seq(tombstone.0 + 1)).await?)
    }
}
