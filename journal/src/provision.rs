//! Making an orchestration's streams, consumers, bucket and object store, or finding that they are as they must be.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use protocol::ids::{AgentName, OrchestrationName, Seq};

/// What an orchestration needs of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whose.
    pub orchestration: OrchestrationName,
    /// One durable consumer each.
    pub agents: Vec<AgentName>,
    /// Where a consumer that is made begins: no work item of the agent below is still to be done. Of agents that it does not name
    /// with the oldest item there is. Numbers that the stream has not reached are waited for, and what comes before them is left out.
    /// A consumer that is there began where it was made to, and stays as it is.
    pub work_from: BTreeMap<AgentName, Seq>,
    /// Copies of everything: 1, or 3 or 5 on a cluster.
    pub replicas: usize,
    /// The conversations' share of the disk, in bytes; none for the account's limit.
    pub bytes_max: Option<u64>,
    /// How long the broker waits for a sign of life before it redelivers.
    pub ack_wait: Duration,
    /// Deliveries in flight per agent: at least 10 × workers × concurrency.
    pub ack_pending_max: u64,
}

impl Plan {
    /// A plan with the defaults of the design.
    pub const fn new(orchestration: OrchestrationName, agents: Vec<AgentName>) -> Self {
        Self {
            orchestration,
            agents,
            work_from: BTreeMap::new(),
            replicas: 1,
            bytes_max: None,
            ack_wait: Duration::from_secs(4),
            ack_pending_max: 100_000,
        }
    }
}

/// What provisioning found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provisioned {
    /// What was created.
    pub created: Vec<String>,
    /// What is worth a warning in words, durability above all.
    pub warnings: Vec<String>,
    /// Whether an acknowledged entry survives a power failure: every write is synced, or three replicas hold it.
    pub is_durable: bool,
}

/// Provisioning. Idempotent; it creates and verifies, and never changes or deletes what differs. Only an agent that is asked
/// for by name loses its consumer.
#[async_trait]
pub trait Provision: Send + Sync + fmt::Debug {
    /// Creates what is missing and verifies the rest.
    async fn provision(&self, plan: &Plan) -> Result<Provisioned, ProvisionError>;

    /// Verifies only: for workers, which may not create anything.
    async fn verify(&self, plan: &Plan) -> Result<Provisioned, ProvisionError>;

    /// Deletes an agent's consumer; whether there was one. The entries stay: provisioned again, the agent is offered every
    /// work item from [`Plan::work_from`] on, counted as for the first time, and its workers settle those that are long done.
    async fn retire(&self, orchestration: &OrchestrationName, agent: &AgentName) -> Result<bool, ProvisionError>;
}

/// Why the broker cannot serve the orchestration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionError {
    /// It is too old.
    #[error("nats-server {found} is too old: {why}. Upgrade it to {needed} or newer")]
    TooOld {
        /// Its version.
        found: String,
        /// The oldest that will do.
        needed: String,
        /// What the old one lacks.
        why: String,
    },
    /// JetStream is off.
    #[error("JetStream is not enabled on this nats-server: start it with `-js`, or with a `jetstream {{ }}` block in its configuration")]
    NoJetStream,
    /// JetStream may keep nothing in memory.
    #[error(
        "JetStream has no memory left here, and the orchestration's clock, one message, lies in memory: allow some (`max_memory_store` of \
         the server, `max_mem` of the account)"
    )]
    NoMemory,
    /// Something is missing, and this process may not create it.
    #[error("{0} does not exist: is the orchestration provisioned? (`baton coordinator` does it)")]
    Missing(String),
    /// Something is there and differs.
    #[error(
        "{what} exists, but its {setting} is {found} and must be {expected}: change it with the nats command (`nats stream edit`, \
         `nats consumer edit`; a consumer may also be deleted: it is made anew), or give the orchestration another name"
    )]
    Differs {
        /// The stream, consumer, bucket or object store.
        what: String,
        /// The setting.
        setting: &'static str,
        /// As it is.
        found: String,
        /// As it must be.
        expected: String,
    },
    /// The broker did not answer.
    #[error("the broker did not answer: {0}")]
    Unavailable(String),
    /// The broker refused.
    #[error("the broker refused: {0}")]
    Refused(String),
}
