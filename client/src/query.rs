//! Questions about conversations: the coordinator's ledger answers them; one conversation can be had from the journal too.

use std::time::Duration;

use bytes::Bytes;
use journal::RequestError;
use protocol::ids::ConversationId;
use protocol::query::{Answer, ListQuery, Listed, Registered, ShowQuery, Shown, Status, verb};
use protocol::subject;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::read::Loaded;
use crate::{Classified, Client, Outcome, Question, Unread};

/// How long the coordinator may take: it answers from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a question about conversations has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Neither the ledger nor the journal has it, or it could not be read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// No coordinator runs.
    #[error("no coordinator answers: start one (`baton coordinator`); conversations go on meanwhile")]
    NoCoordinator,
    /// The coordinator did not answer.
    #[error(transparent)]
    Bus(RequestError),
    /// The coordinator did not understand, or was not understood: one of the two is newer.
    #[error("the coordinator and this program do not understand each other; run the same version of both: {0}")]
    Misunderstood(String),
}

impl From<RequestError> for QueryError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::NoResponders(_) => Self::NoCoordinator,
            RequestError::Timeout(_) | RequestError::Refused(_) => Self::Bus(error),
        }
    }
}

impl Classified for QueryError {
    fn classify(&self) -> (crate::Status, &'static str) {
        match self {
            Self::Unread(error) => error.classify(),
            Self::NoCoordinator => (crate::Status::Unavailable, "no_coordinator"),
            Self::Bus(_) => (crate::Status::Unavailable, "unavailable"),
            Self::Misunderstood(_) => (crate::Status::Internal, "misunderstood"),
        }
    }
}

/// One conversation in full.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspected {
    /// As a ledger would show it.
    pub shown: Shown,
    /// What is asked, oldest first.
    pub open: Vec<Question>,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
}

impl Client {
    /// One conversation: from the ledger, or from the journal where no coordinator runs, or its ledger is behind.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn show(&self, conversation: &ConversationId) -> Result<Shown, QueryError> {
        let query = ShowQuery { conversation: conversation.clone() };
        match self.ask(verb::SHOW, json(&query)?).await {
            Ok(Some(shown)) => Ok(shown),
            Ok(None) | Err(QueryError::NoCoordinator | QueryError::Bus(_)) => Ok(self.show_from_journal(conversation).await?),
            Err(error) => Err(error),
        }
    }

    /// Conversations, newest activity first.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn list(&self, query: &ListQuery) -> Result<Listed, QueryError> {
        Ok(self.ask(verb::LIST, json(query)?).await?.unwrap_or_default())
    }

    /// The coordinator's own state.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn status(&self) -> Result<Status, QueryError> {
        let status = self.ask(verb::STATUS, Bytes::new()).await?;
        status.ok_or_else(|| QueryError::Misunderstood("it has no status".to_owned()))
    }

    /// The orchestration's revisions, and how many open conversations run on each.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn revisions(&self) -> Result<Registered, QueryError> {
        let registered = self.ask(verb::REVISIONS, Bytes::new()).await?;
        registered.ok_or_else(|| QueryError::Misunderstood("it has no revisions".to_owned()))
    }

    /// One conversation with what is asked and how it ended: from the journal, as it is now.
    ///
    /// # Errors
    /// [`Unread`].
    pub async fn inspect(&self, conversation: &ConversationId) -> Result<Inspected, Unread> {
        let deadline = self.deadline();
        let loaded = self.load(conversation, deadline).await?;
        let outcome = loaded.conversation.events().next_back().and_then(|(_, (_, event))| Outcome::of(event));
        Ok(Inspected { open: Question::open(&loaded.conversation), outcome, shown: self.shown(&loaded, deadline).await? })
    }

    async fn ask<T: DeserializeOwned>(&self, verb: &str, question: Bytes) -> Result<Option<T>, QueryError> {
        self.ask_at(&subject::coordinator(&self.orchestration, verb), question, ANSWER_TIMEOUT).await
    }

    /// An answer, or that there is no such conversation.
    pub(crate) async fn ask_at<T: DeserializeOwned>(
        &self,
        subject: &str,
        question: Bytes,
        timeout: Duration,
    ) -> Result<Option<T>, QueryError> {
        let answer = self.broker.ask(subject, question, timeout).await?;
        match serde_json::from_slice(&answer).map_err(|error| misunderstood(&error))? {
            Answer::Ok(answer) => Ok(Some(answer)),
            Answer::NotFound => Ok(None),
            Answer::Invalid(problem) => Err(QueryError::Misunderstood(problem)),
        }
    }

    async fn show_from_journal(&self, id: &ConversationId) -> Result<Shown, Unread> {
        let deadline = self.deadline();
        self.shown(&self.load(id, deadline).await?, deadline).await
    }

    async fn shown(&self, Loaded { conversation, time_ms }: &Loaded, deadline: Instant) -> Result<Shown, Unread> {
        let id = conversation.id();
        let entry = conversation.last().ok_or_else(|| Unread::NotFound(id.clone()))?;
        let opening = match self.at(id, 0, deadline).await {
            Err(Unread::Damaged(_)) => None,
            opening => opening?,
        };
        // Nothing happens by a snapshot: what counts is what lies before it.
        let (last, last_ms) = match entry.ordinal().checked_sub(1).filter(|_| entry.head.kind == "snapshotted") {
            Some(before) => (before, self.at(id, before, deadline).await?.map_or(*time_ms, |before| before.time_ms)),
            None => (entry.ordinal(), *time_ms),
        };
        let due = conversation.requests().iter().filter(|request| request.id.ordinal == last);
        let due = due.filter_map(|request| Some((request.id, last_ms.saturating_add(request.due_secs?.saturating_mul(1000)))));
        Ok(Shown {
            conversation: id.clone(),
            brief: entry.head.brief.clone(),
            ordinal: entry.ordinal(),
            kind: entry.head.kind.clone(),
            revision: entry.head.revision.clone(),
            last_ms,
            opened_ms: opening.map_or(*time_ms, |opening| opening.time_ms),
            due: due.collect(),
            traceparent: entry.head.trace.as_ref().map(|trace| trace.parent.clone()),
        })
    }
}

pub(crate) fn json(question: &impl Serialize) -> Result<Bytes, QueryError> {
    serde_json::to_vec(question).map(Bytes::from).map_err(|error| misunderstood(&error))
}

fn misunderstood(error: &serde_json::Error) -> QueryError {
    QueryError::Misunderstood(error.to_string())
}
