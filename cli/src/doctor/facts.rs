//! What was found out about a deployment: plain data, gathered elsewhere and judged elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use journal::nats::{Backlog, DeadLetters, Inspected, Server, User};
use protocol::ids::{AgentName, OrchestrationName, ProcessId, Revision, Writer};
use protocol::presence::Heartbeat;
use protocol::query::Shown;

/// Something that was looked at: what it is, or why it could not be seen.
pub(crate) type Seen<T> = Result<T, String>;

/// A deployment as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) orchestration: OrchestrationName,
    pub(crate) server: Server,
    /// None where the server does not say.
    pub(crate) user: Option<User>,
    /// What this login is meant to be; none to judge by what it may write.
    pub(crate) role: Option<Writer>,
    /// Streams, bucket, object store and consumers, the journal first.
    pub(crate) things: Vec<Inspected>,
    /// What there is to say of durability; nothing where an acknowledged entry survives a power failure.
    pub(crate) doubts: Vec<String>,
    /// This machine's clock when the broker said what its own was, in milliseconds since the Unix epoch.
    pub(crate) own_ms: u64,
    /// The current revision.
    pub(crate) revision: Seen<Revision>,
    /// Its agents.
    pub(crate) agents: BTreeMap<AgentName, Agent>,
    /// From whom to whom a conversation may be handed under it.
    pub(crate) edges: BTreeSet<(AgentName, AgentName)>,
    /// Coordinators of this orchestration that answer.
    pub(crate) coordinators: Seen<Vec<ProcessId>>,
    /// The one that acts.
    pub(crate) leader: Seen<Option<ProcessId>>,
    /// Conversations that wait for people; from the coordinator.
    pub(crate) waiting: Seen<Waiting>,
    /// Gateways that answer and serve this orchestration.
    pub(crate) gateways: Seen<Vec<ProcessId>>,
    /// Entries that nobody could use.
    pub(crate) dead_letters: Seen<Vec<DeadLetters>>,
}

/// See [`Facts::waiting`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    /// As many as one answer holds, those first in which something has happened last.
    pub(crate) shown: Vec<Shown>,
    /// How many there are.
    pub(crate) total: usize,
    /// The broker's time as the coordinator knows it.
    pub(crate) now_ms: u64,
}

/// See [`Facts::agents`].
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    /// Worker processes that were heard.
    pub(crate) workers: Vec<Heartbeat>,
    /// Work that waits; none where there is no consumer.
    pub(crate) backlog: Seen<Option<Backlog>>,
}
