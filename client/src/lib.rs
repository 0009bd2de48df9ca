//! What a caller may do: start a conversation, reply, decide, cancel, follow it, and await its result.
//!
//! A [`Client`] reads the conversation, decides (in the pure module `decide`), and appends behind the tail it saw. Whoever
//! was faster fences it off; then it reads again and decides again: its own entry found is success, a request still open
//! is another try, anything else is a typed error. Calls with a key are idempotent through any process: the entry's id
//! is derived from the key, and a repeat returns the first answer.
//!
//! Nothing here talks to an agent or a worker; the journal is the only place where the two sides meet.
//!
//! ```
//! use client::{Client, Opening, Side};
//! # use std::sync::Arc;
//! # use journal::{Plan, Provision, memory::Memory};
//! # use protocol::{builder::AgentDef, manifest::ModelSpec, orchestration::Orchestration};
//! # let orchestration = Orchestration::builder("support")
//! #     .model("default", ModelSpec::openai("gpt-5-mini"))
//! #     .agent(&AgentDef::new("TriageAgent").instructions("Help."))
//! #     .start_with("TriageAgent").build().unwrap().orchestration;
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! # let broker = Arc::new(Memory::new());
//! # let agents = orchestration.agents().map(|agent| agent.name.clone()).collect();
//! # broker.provision(&Plan::new(orchestration.name().clone(), agents)).await.unwrap();
//! # journal::registry::register(&*broker, &orchestration).await.unwrap();
//! let client = Client::new(broker, "support".parse()?, Side::Client, "shop-1".parse()?);
//! let opening = Opening::new("alice", "I want a refund").with_key("order-123");
//! let started = client.start(&opening).await?;
//!
//! let again = client.start(&opening).await?;
//! assert!(again.is_repeat && again.conversation == started.conversation);
//!
//! client.cancel(&started.conversation, "changed my mind").await?;
//! let outcome = client.result(&started.conversation, None).await?;
//! assert_eq!(outcome.to_string(), "cancelled: changed my mind");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod answer;
mod cancel;
mod converse;
mod decide;
mod definitions;
mod desk;
mod erase;
mod error;
mod follow;
mod follower;
mod query;
mod question;
mod read;
mod result;
mod start;
#[cfg(test)]
mod testing;
mod tokens;
mod trace;
mod transcript;
mod write;

use std::sync::Arc;
use std::time::Duration;

use journal::Shared;
use protocol::ids::{OrchestrationName, ProcessId, Writer};
use tokio::time::Instant;

pub use answer::{Claim, Claiming, Decision, Reply};
pub use converse::{Answer, BoxError, Callbacks, ConverseError, GetError, Handle};
pub use desk::Wanted;
pub use erase::EraseError;
pub use error::{CancelError, ClaimError, Classified, DecideError, EndError, NotOpen, ReplyError, StartError, Status, Unread, Unwritten};
pub use follow::FollowError;
pub use follower::{Followed, Follower, Recorded};
pub use query::{Inspected, QueryError};
pub use question::Question;
pub use result::{Outcome, ResultError, ValueError};
pub use start::{Input, Opening, Started};
pub use tokens::Token;
pub use transcript::{Content, Line, Transcript};
pub use write::Accepted;

use definitions::Definitions;

/// How long an operation may take in all, unless something else is said.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// On whose behalf a client writes: the broker's permissions tell the two apart by their subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A program that uses this library.
    Client,
    /// The human edge.
    Gateway,
}

impl From<Side> for Writer {
    fn from(side: Side) -> Self {
        match side {
            Side::Client => Self::Client,
            Side::Gateway => Self::Gateway,
        }
    }
}

/// A caller's access to the conversations of one orchestration. Clones are cheap and share what they know.
#[derive(Clone, Debug)]
pub struct Client {
    broker: Shared,
    orchestration: OrchestrationName,
    side: Side,
    process: ProcessId,
    patience: Duration,
    definitions: Arc<Definitions>,
}

impl Client {
    /// A client of `process`, which writes as `side`.
    pub fn new(broker: Shared, orchestration: OrchestrationName, side: Side, process: ProcessId) -> Self {
        Self { broker, orchestration, side, process, patience: PATIENCE, definitions: Arc::default() }
    }

    /// The same client, whose reads and writes take so long at most, however slow the broker is: then it says that the journal cannot be
    /// read now, or, once an entry was sent, that it is unknown whether that is stored.
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// By when what begins now must have come to something: every step of it is bounded by this.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// The orchestration whose conversations these are.
    pub const fn orchestration(&self) -> &OrchestrationName {
        &self.orchestration
    }

    /// The broker that this client acts through.
    pub const fn broker(&self) -> &Shared {
        &self.broker
    }
}
