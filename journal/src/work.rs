//! Work items: taken one by one, no more at once than there are free slots, and settled explicitly.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use protocol::wire::Stored;

/// A work item as it was delivered. Dropped unsettled, it is redelivered once the broker's ack wait has passed.
#[derive(Debug)]
pub struct WorkItem {
    /// The entry.
    pub stored: Stored,
    /// How often the broker has delivered it, this time included.
    pub delivered: u64,
    /// Whether it may have been delivered before without the broker counting it: it is older than the ack wait.
    pub is_old: bool,
    /// How it is settled.
    pub settle: Box<dyn Settle>,
}

/// What can be told the broker about a delivered work item. All are plain sends: none waits for the broker, and none is
/// needed for correctness: a lost one leads to a redelivery that the journal settles.
#[async_trait]
pub trait Settle: Send + Sync + fmt::Debug {
    /// It is done: what it caused is stored.
    async fn ack(&self);
    /// It is still being worked on: the ack wait begins anew.
    async fn extend(&self);
    /// Somebody else should have it, after `delay`.
    async fn give_back(&self, delay: Duration);
    /// Nobody should have it again.
    async fn terminate(&self);
}

/// The work items of one agent.
#[async_trait]
pub trait WorkSource: Send + fmt::Debug {
    /// The next work item. `free` is how many more this process can take now, this one included (at least 1): the broker
    /// is never asked for more than that, because the ack wait runs from delivery. Cancel-safe: an item that arrives
    /// while nobody waits is kept for the next call.
    ///
    /// # Errors
    /// [`WorkError`]; the source stays usable, and the next call tries again.
    async fn next(&mut self, free: usize) -> Result<WorkItem, WorkError>;

    /// Asks for nothing more and gives back what has been delivered and not taken: for draining.
    async fn close(&mut self);
}

/// Why there is no work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// The agent's consumer does not exist (yet): provisioning creates it.
    #[error("consumer {consumer} of stream {stream} does not exist: is the orchestration provisioned? (`baton coordinator` does it)")]
    NoConsumer {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
    },
    /// The broker did not answer.
    #[error("the broker did not answer: {0}")]
    Unavailable(String),
    /// The broker refused.
    #[error("the broker refused: {0}")]
    Refused(String),
}
