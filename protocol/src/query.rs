//! What the coordinator answers: who owns what. JSON, as a NATS service under `baton.<orchestration>.coordinator.<verb>`.

use serde::{Deserialize, Serialize};

use crate::brief::{Brief, Phase};
use crate::event::{Audience, RequestKind};
use crate::ids::{AgentName, ConversationId, Ordinal, ProcessId, RequestId, Revision};

/// The verbs.
pub mod verb {
    /// [`super::ShowQuery`] → [`super::Answer`] of [`super::Shown`].
    pub const SHOW: &str = "show";
    /// [`super::ListQuery`] → [`super::Answer`] of [`super::Listed`].
    pub const LIST: &str = "list";
    /// Nothing → [`super::Answer`] of [`super::Status`].
    pub const STATUS: &str = "status";
    /// Nothing → [`super::Answer`] of [`super::Registered`].
    pub const REVISIONS: &str = "revisions";
    /// An operator's: [`super::EraseWish`] → [`super::Answer`] of [`super::Erasure`].
    pub const ERASE: &str = "erase";
}

/// Conversations in one answer to a [`ListQuery`]: with briefs of several kilobytes it still fits into a message.
pub const LISTED_MAX: usize = 250;

/// Asks for one conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShowQuery {
    /// Which.
    pub conversation: ConversationId,
}

/// Asks for conversations, newest activity first; with an audience as a queue, the oldest request first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListQuery {
    /// Only those that this agent owns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentName>,
    /// Only those in this phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Only those in which nothing has happened for so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_secs: Option<u64>,
    /// Only those in which these people are asked something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<Audience>,
    /// At most so many, and at most [`LISTED_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// A conversation as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Which.
    pub conversation: ConversationId,
    /// Its state in brief.
    pub brief: Brief,
    /// Its last entry's ordinal.
    pub ordinal: Ordinal,
    /// Its last entry's kind.
    pub kind: String,
    /// The revision it runs on.
    pub revision: Revision,
    /// When its last entry was stored, in milliseconds since the Unix epoch by the broker's clock.
    pub last_ms: u64,
    /// When it was opened, likewise.
    pub opened_ms: u64,
    /// By when each open request must be answered, likewise; as far as whoever shows it knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub due: Vec<(RequestId, u64)>,
    /// The trace of its last entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// Conversations as the ledger has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Those asked for.
    pub conversations: Vec<Shown>,
    /// How many there are in all that match.
    pub total: usize,
}

/// Wants a conversation erased: `baton.<orchestration>.operator.erase`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseWish {
    /// Which.
    pub conversation: ConversationId,
    /// Whether it is called off first, where it is open.
    #[serde(default)]
    pub cancel: bool,
}

/// What became of an [`EraseWish`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Erasure {
    /// Nothing is left but the entry that says so, at this ordinal.
    Erased(Ordinal),
    /// It is open, and stays as it is.
    Open(Phase),
    /// Something went wrong: it may be done, or half done. Wishing again is safe.
    Failed(String),
}

/// A revision of the orchestration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionShown {
    /// Which.
    pub revision: Revision,
    /// Whether new conversations begin on it.
    pub is_current: bool,
    /// Conversations that run on it and have not ended.
    pub open: usize,
    /// Its agents; none where the coordinator cannot read it.
    pub agents: Vec<AgentName>,
}

impl RevisionShown {
    /// `current`, `in use`, or `retired`: nothing open needs it any more.
    pub const fn state(&self) -> &'static str {
        match (self.is_current, self.open) {
            (true, _) => "current",
            (false, 0) => "retired",
            (false, _) => "in use",
        }
    }
}

/// The revisions that were ever registered: the current one, those in use, the others, each the latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// At most [`LISTED_MAX`] of them.
    pub revisions: Vec<RevisionShown>,
    /// How many there are in all.
    pub total: usize,
}

/// The coordinator's own state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Which process answers.
    pub process: ProcessId,
    /// Whether it is the one that acts.
    pub is_leader: bool,
    /// The last stream sequence its ledger holds.
    pub seq: u64,
    /// Open conversations.
    pub open: usize,
    /// The broker's time as of its last tick, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// The worker processes it hears.
    pub workers: Vec<crate::presence::Heartbeat>,
}

/// An answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer<T> {
    /// Here it is.
    Ok(T),
    /// The ledger has no such conversation.
    NotFound,
    /// The question cannot be understood.
    Invalid(String),
}

/// A human request on its way to a gateway: `baton.<orchestration>.gateway.<process>`. At least once, same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardedRequest {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Which request.
    pub request: RequestId,
    /// What is asked.
    pub kind: RequestKind,
    /// Of whom.
    pub audience: Audience,
    /// By whom.
    pub agent: AgentName,
}
