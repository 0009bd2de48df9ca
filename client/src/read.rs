//! Reading a conversation, and not believing a replica that lags.

use std::time::Duration;

use journal::{LoadError, complete, has_reached, salvage};
use protocol::brief::Phase;
use protocol::conversation::{Conversation, FoldError, Partial};
use protocol::ids::{ConversationId, Seq};
use protocol::wire::Stored;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{Client, Unread};

const PAUSE: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// A conversation, and when its last entry was stored.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) conversation: Conversation,
    pub(crate) time_ms: u64,
}

impl Client {
    /// The conversation as some replica has it now.
    pub(crate) async fn load(&self, id: &ConversationId, deadline: Instant) -> Result<Loaded, Unread> {
        if let Some(loaded) = by(deadline, self.read(id)).await? {
            return Ok(loaded);
        }
        // Only the leader can say that there is none: to a replica that lags, a new conversation does not exist yet.
        match self.at(id, 0, deadline).await? {
            Some(opening) => self.load_up_to(id, opening.seq, deadline).await,
            None => Err(Unread::NotFound(id.clone())),
        }
    }

    /// The conversation up to `tail` at least: read again, until a replica has it.
    pub(crate) async fn load_up_to(&self, id: &ConversationId, tail: Seq, deadline: Instant) -> Result<Loaded, Unread> {
        let mut pause = PAUSE;
        loop {
            let behind = match by(deadline, self.read(id)).await {
                Ok(Some(loaded)) if has_reached(&loaded.conversation, tail) => return Ok(loaded),
                Ok(_) => "its replicas are behind".to_owned(),
                Err(Unread::Unavailable(problem)) => problem,
                Err(error) => return Err(error),
            };
            if Instant::now() + pause > deadline {
                return Err(Unread::Unavailable(behind));
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// The sequence of the entry after this conversation's tail, if the leader has one: then what was read is old. What lies in its
    /// place and is none has been read.
    pub(crate) async fn newer(&self, conversation: &Conversation, deadline: Instant) -> Result<Option<Seq>, Unread> {
        let next = self.at(conversation.id(), conversation.tail().next, deadline).await?;
        Ok(next.map(|stored| stored.seq).filter(|seq| *seq > conversation.tail().seq))
    }

    /// The entry at one ordinal, from the leader.
    pub(crate) async fn at(&self, id: &ConversationId, ordinal: u64, deadline: Instant) -> Result<Option<Stored>, Unread> {
        by(deadline, async { Ok(self.broker.at(&self.orchestration, id, ordinal).await.map_err(LoadError::from)?) }).await
    }

    async fn read(&self, id: &ConversationId) -> Result<Option<Loaded>, Unread> {
        let why = match self.broker.tail(&self.orchestration, id).await {
            Ok(None) => return Ok(None),
            Ok(Some(last)) => match Partial::decode(&last) {
                // What an erased conversation consisted of is gone: there is nothing to fold.
                Ok(partial) if partial.last().head.brief.phase == Phase::Erased => return Err(Unread::Erased(id.clone())),
                Ok(partial) => match complete(&*self.broker, partial).await {
                    Ok(conversation) => return Ok(Some(Loaded { conversation, time_ms: last.time_ms })),
                    Err(why) => why,
                },
                Err(error) => FoldError::from(error).into(),
            },
            Err(error) => error.into(),
        };
        // Whoever only reads is shown what is left: to say that it is over is for those who write.
        let (conversation, time_ms) = salvage(&*self.broker, &self.orchestration, id, why).await?;
        match conversation.last() {
            Some(_) => Ok(Some(Loaded { conversation, time_ms })),
            None => Err(Unread::NotFound(id.clone())),
        }
    }
}

/// What a read gives, where it gives it in time.
async fn by<T>(deadline: Instant, read: impl Future<Output = Result<T, Unread>>) -> Result<T, Unread> {
    timeout_at(deadline, read).await.unwrap_or_else(|_| Err(Unread::Unavailable("it did not answer in time".to_owned())))
}
