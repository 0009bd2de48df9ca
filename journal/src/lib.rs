//! The durable journal of conversations, and what else the broker does for Baton.
//!
//! Three contracts, each kept by [`nats`] and by [`memory`] and tested by the same suite in [`contract`]:
//! [`Journal`] (append, read, work, follow), [`Bus`] (what is said and not stored) and [`Store`] (small values,
//! objects, dead letters, provisioning). This crate moves entries; it never interprets one.

pub mod append;
pub mod bus;
pub mod claim;
#[cfg(feature = "contract")]
pub mod contract;
pub mod follow;
mod load;
pub mod memory;
pub mod nats;
pub mod planted;
pub mod provision;
pub mod registry;
pub mod service;
pub mod store;
pub mod work;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use protocol::conversation::Prepared;
use protocol::ids::{AgentName, ConversationId, OrchestrationName, Ordinal};
use protocol::wire::Stored;

pub use append::{Append, Refusal};
pub use bus::{Answer, Bus, Connection, Delivery, Headers, RequestError};
pub use claim::ENTRY_BYTES_MAX;
pub use follow::{Follow, FollowError, Scope, Start};
pub use load::{LoadError, complete, give_up, has_reached, load, salvage};
pub use provision::{Plan, Provision, ProvisionError, Provisioned};
pub use store::{ConsumerState, Expect, Store, StoreError, Value};
pub use work::{Settle, WorkError, WorkItem, WorkSource};

/// Everything of a broker, as programs hold it.
pub trait Broker: Journal + Bus + Store + Provision {}
impl<T: Journal + Bus + Store + Provision> Broker for T {}

/// A shared handle to a broker.
pub type Shared = Arc<dyn Broker>;

/// The ordered, durable record of conversations.
#[async_trait]
pub trait Journal: Send + Sync + fmt::Debug {
    /// Appends an entry behind the tail it was prepared on. The only way to write into a conversation; it always fences.
    /// What is too large for a message, up to [`ENTRY_BYTES_MAX`], is stored all the same: see [`claim`].
    async fn append(&self, prepared: &Prepared) -> Append;

    /// The last entry of a conversation, from whichever replica answers; none where there is no conversation.
    async fn tail(&self, orchestration: &OrchestrationName, conversation: &ConversationId) -> Result<Option<Stored>, ReadError>;

    /// The entry at one ordinal, from the leader: after an unknown outcome only the leader can tell.
    async fn at(
        &self,
        orchestration: &OrchestrationName,
        conversation: &ConversationId,
        ordinal: Ordinal,
    ) -> Result<Option<Stored>, ReadError>;

    /// The entries at some ordinals, all or [`ReadError::Incomplete`].
    async fn sealed(
        &self,
        orchestration: &OrchestrationName,
        conversation: &ConversationId,
        ordinals: &[Ordinal],
    ) -> Result<Vec<Stored>, ReadError>;

    /// All messages of a conversation, in the order of the stream, from the leader: also what is no entry, and, as it is stored,
    /// an entry whose object is lost. It costs a read for each: for what cannot be read otherwise.
    async fn messages(&self, orchestration: &OrchestrationName, conversation: &ConversationId) -> Result<Vec<Stored>, ReadError>;

    /// The work items of an agent, from its durable consumer.
    async fn work(&self, orchestration: &OrchestrationName, agent: &AgentName) -> Result<Box<dyn WorkSource>, WorkError>;

    /// Entries in stream order from some place on, without acknowledging any. The stream ends only with an error; gaps
    /// (a lost connection) are closed by reading on from the last entry seen.
    async fn follow(
        &self,
        orchestration: &OrchestrationName,
        follow: Follow,
    ) -> Result<BoxStream<'static, Result<Stored, FollowError>>, FollowError>;
}

/// Why a read gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The broker did not answer in time; nothing is known.
    #[error("the broker did not answer: {0}")]
    Unavailable(String),
    /// The broker refused.
    #[error("the broker refused the read: {0}")]
    Refused(String),
    /// Entries that must be there were not found, on any replica in time.
    #[error("entry {missing} of conversation {conversation} cannot be read")]
    Incomplete {
        /// Which conversation.
        conversation: ConversationId,
        /// The first ordinal that is missing.
        missing: Ordinal,
    },
    /// An entry is there, but the object that holds its payload is not, or is not what was put: asking again is no use.
    #[error("the entry {subject} cannot be read: its object {object} is missing or damaged")]
    Damaged {
        /// The entry's subject.
        subject: String,
        /// The object's name.
        object: String,
    },
}
