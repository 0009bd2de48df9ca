//! Awaiting the end of a conversation.

use std::fmt;
use std::time::Duration;

use futures::StreamExt;
use protocol::event::{Cancelled, Completed, Event, Failed};
use protocol::ids::ConversationId;

use crate::{Classified, Client, FollowError, Status, Unread};

/// How a conversation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Well.
    Completed(Completed),
    /// Badly.
    Failed(Failed),
    /// It was called off.
    Cancelled(Cancelled),
}

impl Outcome {
    /// The outcome that an event is, if it is one.
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Completed(completed) => Some(Self::Completed(completed.clone())),
            Event::Failed(failed) => Some(Self::Failed(failed.clone())),
            Event::Cancelled(cancelled) => Some(Self::Cancelled(cancelled.clone())),
            _ => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed(completed) => write!(f, "completed: {}", completed.result),
            Self::Failed(failed) => write!(f, "failed ({}): {}", failed.code, failed.detail),
            Self::Cancelled(cancelled) => write!(f, "cancelled: {}", cancelled.reason),
        }
    }
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    /// The conversation could not be followed to its end.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// It has not ended in time.
    #[error("the conversation has not ended within the {0:?} that were waited; it goes on, wait again")]
    TimedOut(Duration),
}

impl Classified for ResultError {
    fn classify(&self) -> (Status, &'static str) {
        match self {
            Self::Follow(error) => error.classify(),
            Self::TimedOut(_) => (Status::Timeout, "not_ended"),
        }
    }
}

impl Client {
    /// How a conversation ends; waits until it does, or until `timeout` has passed. The conversation goes on meanwhile,
    /// and after the wait.
    ///
    /// # Errors
    /// [`ResultError`].
    pub async fn result(&self, conversation: &ConversationId, timeout: Option<Duration>) -> Result<Outcome, ResultError> {
        let Some(timeout) = timeout else { return self.outcome(conversation).await };
        tokio::time::timeout(timeout, self.outcome(conversation)).await.unwrap_or(Err(ResultError::TimedOut(timeout)))
    }

    async fn outcome(&self, conversation: &ConversationId) -> Result<Outcome, ResultError> {
        let mut events = self.follow(conversation, None).await?;
        while let Some(recorded) = events.next().await {
            if let Some(outcome) = Outcome::of(&recorded?.event) {
                return Ok(outcome);
            }
        }
        // Only erasure ends the events without an outcome.
        Err(FollowError::from(Unread::Erased(conversation.clone())).into())
    }
}
