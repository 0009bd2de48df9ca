//! Small values (revisions, lease, checkpoint), objects (claim check), dead letters, purging, the broker's clock.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::ids::{AgentName, ConversationId, OrchestrationName, Seq, Writer};
use protocol::wire::Stored;

use crate::Refusal;

/// A value as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its revision, for compare-and-set.
    pub revision: u64,
}

/// What a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// No value, or one that has expired or was deleted.
    Absent,
    /// The value of this revision.
    Revision(u64),
}

/// An agent's consumer, as the broker sees it: what the sweep and the autoscaler look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerState {
    /// The last stream sequence that was delivered to anybody: later work is backlog, and nobody's fault.
    pub delivered: Seq,
    /// Every work item up to here is settled.
    pub ack_floor: Seq,
    /// Delivered and not settled.
    pub ack_pending: u64,
    /// Not yet delivered.
    pub pending: u64,
    /// The broker's time of this answer, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// What the broker keeps beside the journal.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// A value of the orchestration's bucket.
    async fn value(&self, orchestration: &OrchestrationName, key: &str) -> Result<Option<Value>, StoreError>;

    /// Writes a value if what is there is as expected; the new revision. With `ttl` the broker itself forgets it.
    async fn put_value(
        &self,
        orchestration: &OrchestrationName,
        key: &str,
        bytes: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Result<u64, StoreError>;

    /// Deletes a value.
    async fn delete_value(&self, orchestration: &OrchestrationName, key: &str, expect: Expect) -> Result<(), StoreError>;

    /// The keys that begin with `prefix`.
    async fn keys(&self, orchestration: &OrchestrationName, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Keeps an object, of any size and under any name of 1 to 255 bytes, whole or not at all. It replaces one of the
    /// same name. It is read and deleted by its name; nothing lists objects.
    async fn put_object(&self, orchestration: &OrchestrationName, name: &str, bytes: Bytes) -> Result<(), StoreError>;

    /// An object as it was put, or [`StoreError::Damaged`]; none where there is none.
    async fn object(&self, orchestration: &OrchestrationName, name: &str) -> Result<Option<Bytes>, StoreError>;

    /// Deletes an object, if there is one.
    async fn delete_object(&self, orchestration: &OrchestrationName, name: &str) -> Result<(), StoreError>;

    /// Keeps an entry nobody could use, with the reason.
    async fn dead_letter(
        &self,
        orchestration: &OrchestrationName,
        agent: &AgentName,
        entry: &Stored,
        reason: &str,
    ) -> Result<(), StoreError>;

    /// An agent's consumer; none where it does not exist.
    async fn consumer_state(&self, orchestration: &OrchestrationName, agent: &AgentName) -> Result<Option<ConsumerState>, StoreError>;

    /// The number of the newest entry that an orchestration's stream has had, purged or not.
    async fn last_seq(&self, orchestration: &OrchestrationName) -> Result<Seq, StoreError>;

    /// The first message above `after` that is an end, or says that a conversation was erased, as it is stored: an object is not looked
    /// up. By one writer, or by anybody. From the leader.
    async fn next_end(&self, orchestration: &OrchestrationName, by: Option<&Writer>, after: Seq) -> Result<Option<Stored>, StoreError>;

    /// Deletes a conversation's entries below `below`, and their objects.
    async fn purge(&self, orchestration: &OrchestrationName, conversation: &ConversationId, below: Seq) -> Result<(), StoreError>;

    /// Publishes a tick and returns the broker's timestamp of it, in milliseconds since the Unix epoch: `now`.
    async fn tick(&self, orchestration: &OrchestrationName) -> Result<u64, StoreError>;
}

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// What was found was not what was expected.
    #[error("{key} is not as expected: somebody else wrote it")]
    Conflict {
        /// The key.
        key: String,
    },
    /// An object's bytes are not those that were put.
    #[error("the object {name} is damaged: its bytes are not those that were put")]
    Damaged {
        /// Its name.
        name: String,
    },
    /// It cannot be written as it is.
    #[error(transparent)]
    NotStored(#[from] Refusal),
    /// There is no bucket or stream.
    #[error("{0} does not exist: is the orchestration provisioned? (`baton coordinator` does it)")]
    Missing(String),
    /// The broker did not answer; it may have happened.
    #[error("the broker did not answer: {0}")]
    Unavailable(String),
    /// The broker refused.
    #[error("the broker refused: {0}")]
    Refused(String),
}

/// An object's name, in bytes: encoded it is one token of a subject.
const OBJECT_NAME_BYTES_MAX: usize = 255;

/// Every broker's rule for the names of objects.
pub(crate) fn check_object_name(name: &str) -> Result<(), StoreError> {
    if (1..=OBJECT_NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(StoreError::Refused(format!("{name:?} is no name of an object: use 1 to {OBJECT_NAME_BYTES_MAX} bytes")))
}
