//! Reading a conversation, and not believing a replica that lags.

use std::time::Duration;

use journal::{LoadError, ReadError, complete, has_reached};
use protocol::brief::Phase;
use protocol::conversation::{Conversation, FoldError, Partial};
use protocol::entry::Head;
use protocol::ids::{ConversationId, Seq};
use protocol::wire::Stored;
use tokio::time::{Instant, sleep};

use crate::{Client, Unread};

const PAUSE: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// A conversation, and its last entry as it is stored.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) conversation: Conversation,
    pub(crate) last: Stored,
}

impl Client {
    /// The conversation as some replica has it now.
    pub(crate) async fn load(&self, id: &ConversationId) -> Result<Loaded, Unread> {
        if let Some(loaded) = self.read(id).await? {
            return Ok(loaded);
        }
        // Only the leader can say that there is none: to a replica that lags, a new conversation does not exist yet.
        match self.at(id, 0).await? {
            Some(opening) => self.load_up_to(id, opening.seq, Instant::now() + self.patience).await,
            None => Err(Unread::NotFound(id.clone())),
        }
    }

    /// The conversation up to `tail` at least: read again, until a replica has it.
    pub(crate) async fn load_up_to(&self, id: &ConversationId, tail: Seq, deadline: Instant) -> Result<Loaded, Unread> {
        let mut pause = PAUSE;
        loop {
            let behind = match self.read(id).await {
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

    /// The sequence of the entry after this conversation's tail, if the leader has one: then what was read is old.
    pub(crate) async fn newer(&self, conversation: &Conversation) -> Result<Option<Seq>, Unread> {
        Ok(self.at(conversation.id(), conversation.tail().next).await?.map(|stored| stored.seq))
    }

    /// The entry at one ordinal, from the leader.
    pub(crate) async fn at(&self, id: &ConversationId, ordinal: u64) -> Result<Option<Stored>, Unread> {
        Ok(self.broker.at(&self.orchestration, id, ordinal).await.map_err(LoadError::from)?)
    }

    async fn read(&self, id: &ConversationId) -> Result<Option<Loaded>, Unread> {
        let Some(last) = self.broker.tail(&self.orchestration, id).await.map_err(LoadError::from)? else { return Ok(None) };
        let head = Head::decode(&last.subject, &last.headers).map_err(FoldError::from)?;
        // What an erased conversation consisted of is gone: there is nothing to fold.
        if head.brief.phase == Phase::Erased {
            return Err(Unread::Erased(id.clone()));
        }
        let partial = Partial::decode(&last).map_err(FoldError::from)?;
        match complete(&*self.broker, partial).await {
            Ok(conversation) => Ok(Some(Loaded { conversation, last })),
            // Sealing entries that a replica does not have yet.
            Err(LoadError::Read(ReadError::Incomplete { .. })) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
