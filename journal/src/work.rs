//! Work items: taken one by one, no more at once than there are free slots, and settled explicitly.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use protocol::wire::Stored;

/// An item that has waited so long is old, or one that has waited for the ack wait, if that is shorter.
const OLD_AFTER: Duration = Duration::from_secs(1);

/// The age at which an item is old.
pub(crate) fn old_after(ack_wait: Duration) -> Duration {
    ack_wait.min(OLD_AFTER)
}

/// A work item as it was delivered. Dropped unsettled, it is redelivered once the broker's ack wait has passed.
#[derive(Debug)]
pub struct WorkItem {
    /// The entry.
    pub stored: Stored,
    /// How often the broker has delivered it, this time included.
    pub delivered: u64,
    /// Whether it has waited long enough, a second or the ack wait, for its conversation to have moved on meanwhile.
    pub is_old: bool,
    /// Whether the broker may have delivered it before without counting that: it was stored before its consumer was made, or
    /// before this process's connection to the consumer last broke. Somebody may be working on it.
    pub is_recounted: bool,
    /// How it is settled.
    pub settle: Box<dyn Settle>,
}

impl WorkItem {
    /// Whether the conversation may have gone on without this item: the tail tells, and costs a read. Of a fresh item its first
    /// append does.
    pub const fn may_be_stale(&self) -> bool {
        self.delivered > 1 || self.is_old || self.is_recounted
    }
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
