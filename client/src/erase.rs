//! Erasing a conversation: an operator's wish, which a coordinator carries out.

use std::time::Duration;

use protocol::brief::Phase;
use protocol::ids::{ConversationId, Ordinal};
use protocol::query::{EraseWish, Erasure, verb};
use protocol::subject;

use crate::query::json;
use crate::{Classified, Client, QueryError, Status, Unread};

/// How long a coordinator may take: it reads, appends and purges, and its broker may be changing leaders.
const ERASE_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a conversation was not erased.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EraseError {
    /// No coordinator did it.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// It is open.
    #[error("the conversation is still open ({}): cancel it first", .0.as_str())]
    Open(Phase),
    /// It may be erased, or half erased. The same call again is safe.
    #[error("it is unknown how far it is erased; the same again is safe: {0}")]
    Failed(String),
}

impl Classified for EraseError {
    fn classify(&self) -> (Status, &'static str) {
        match self {
            Self::Query(error) => error.classify(),
            Self::Open(_) => (Status::Conflict, "open"),
            Self::Failed(_) => (Status::Unavailable, "unknown_outcome"),
        }
    }
}

impl Client {
    /// Leaves nothing of a conversation that has ended but the entry that says so, whose ordinal is returned; an open one is called off
    /// first, or refused. Erased again it is what it was.
    ///
    /// # Errors
    /// [`EraseError`].
    pub async fn erase(&self, conversation: &ConversationId, cancel: bool) -> Result<Ordinal, EraseError> {
        let wish = EraseWish { conversation: conversation.clone(), cancel };
        let subject = subject::operator(&self.orchestration, verb::ERASE);
        match self.ask_at(&subject, json(&wish)?, ERASE_TIMEOUT).await? {
            Some(Erasure::Erased(ordinal)) => Ok(ordinal),
            Some(Erasure::Open(phase)) => Err(EraseError::Open(phase)),
            Some(Erasure::Failed(problem)) => Err(EraseError::Failed(problem)),
            None => Err(QueryError::from(Unread::NotFound(conversation.clone())).into()),
        }
    }
}
