//! Who is there: heartbeats of worker processes, the question what they hold, and the people at a desk. JSON, said over core NATS.

use serde::{Deserialize, Serialize};

use crate::ids::{AgentName, ConversationId, ProcessId, Seq};

/// Milliseconds between a worker's heartbeats.
pub const HEARTBEAT_MILLIS: u64 = 250;

/// A worker process says that it serves an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// Which process.
    pub process: ProcessId,
    /// Its number on its machine, for people.
    pub pid: u32,
    /// The agent it serves.
    pub agent: AgentName,
    /// Turns that it runs now.
    pub held: usize,
    /// Turns that it can run at once.
    pub slots: usize,
    /// Whether it takes nothing new: it is draining.
    #[serde(default)]
    pub is_draining: bool,
    /// The broker's server that it is connected to, by name: one that dies takes its clients' voices along, and not their lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

/// The coordinator asks the workers of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldsQuestion {
    /// Which of these do you hold?
    pub conversations: Vec<ConversationId>,
}

/// A worker process answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldsAnswer {
    /// Which process.
    pub process: ProcessId,
    /// The turns of them that it runs.
    pub held: Vec<Holding>,
}

/// A turn that a worker process runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Whose.
    pub conversation: ConversationId,
    /// The work item that it was handed, by its sequence: a process may be busy with a stale one, and that holds nothing.
    pub item: Seq,
}

/// A person at a desk answers who is there. Nobody keeps it: whoever wants to know asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AtDesk {
    /// Their name, as they claim by it.
    pub by: String,
    /// The process that they sit at.
    pub process: ProcessId,
    /// Since when, in milliseconds since the Unix epoch by the broker's clock.
    pub since_ms: u64,
}
