//! Awaiting the end of a conversation.

use std::fmt;
use std::time::Duration;

use futures::StreamExt;
use protocol::event::{Cancelled, Completed, Event, Failed, Json};
use protocol::ids::ConversationId;
use serde::de::DeserializeOwned;

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

    /// What a conversation ended with, as a value of a type of one's own: its typed value, or its text where it has none.
    ///
    /// ```
    /// use client::Outcome;
    /// use protocol::event::{Completed, CompletedBecause};
    /// use serde_json::json;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Ticket {
    ///     order: u32,
    /// }
    ///
    /// let (because, result) = (CompletedBecause::TaskComplete, "Order 7 is lost.".to_owned());
    /// let outcome = Outcome::Completed(Completed { because, result, value: Some(json!({ "order": 7 })) });
    /// assert_eq!(outcome.value_as::<Ticket>().unwrap().order, 7);
    /// assert!(outcome.value_as::<u32>().unwrap_err().to_string().starts_with("the result does not fit"));
    /// ```
    ///
    /// # Errors
    /// [`ValueError`].
    pub fn value_as<T: DeserializeOwned>(&self) -> Result<T, ValueError> {
        let Self::Completed(completed) = self else { return Err(ValueError::NotCompleted(self.to_string())) };
        let value = completed.value.clone().unwrap_or_else(|| Json::String(completed.result.clone()));
        serde_json::from_value(value.clone()).map_err(|error| ValueError::Unfit { why: error.to_string(), value })
    }
}

/// Why an outcome has no value of a type.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// The conversation did not end well.
    #[error("there is no result: the conversation {0}")]
    NotCompleted(String),
    /// The value is another one.
    #[error("the result does not fit: {why}; it is {value}")]
    Unfit {
        /// How it does not fit.
        why: String,
        /// The value, or the text.
        value: Json,
    },
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
