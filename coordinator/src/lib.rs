//! The observer and timekeeper, off the hot path: conversations go on while it is down.
//!
//! It follows the headers of every entry into a [`ledger`], says what silence calls for in [`watch`], and lets a
//! [`driver`](Coordinator) carry that out by fenced appends. Several may run: all follow, one acts ([`lease`]).

pub mod checkpoint;
pub mod clock;
pub mod forward;
pub mod lease;
pub mod ledger;
pub mod presence;
pub mod query;
pub mod retention;
pub mod revisions;
pub mod watch;

mod act;
mod agenda;
mod clear;
mod declare;
mod driver;
mod erase;
mod input;
mod job;
mod start;
#[cfg(test)]
mod story;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use journal::nats::RECONNECT_DELAY_MAX;
use journal::registry::RegistryError;
use journal::{Plan, ProvisionError, Shared};
use protocol::ids::{AgentName, OrchestrationName, ProcessId};
use protocol::orchestration::Orchestration;
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// An orchestration to coordinate.
#[derive(Clone, Debug)]
pub enum Served {
    /// By its definition. It is registered and becomes the current one, unless a coordinator has done so already and another
    /// one was registered since: a restart undoes nothing.
    Definition(Box<Orchestration>),
    /// By the definition that this holds, and by every other one that it comes to hold: see [`journal::registry::declare`].
    Followed(Receiver<Arc<Orchestration>>),
    /// By its name; its current definition is registered already.
    Registered(OrchestrationName),
}

impl Served {
    /// Its name.
    pub fn name(&self) -> OrchestrationName {
        match self {
            Self::Definition(definition) => definition.name().clone(),
            Self::Followed(definitions) => definitions.borrow().name().clone(),
            Self::Registered(name) => name.clone(),
        }
    }

    /// What to keep to, if there is anything.
    fn definition(&self) -> Option<Arc<Orchestration>> {
        match self {
            Self::Definition(definition) => Some(Arc::new((**definition).clone())),
            Self::Followed(definitions) => Some(Arc::clone(&definitions.borrow())),
            Self::Registered(_) => None,
        }
    }
}

/// How a coordinator is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it coordinates, at least one.
    pub orchestrations: Vec<Served>,
    /// Copies of everything that is stored: 1, or 3 or 5 on a cluster.
    pub replicas: usize,
    /// Each orchestration's share of the disk, in bytes; none for the account's limit.
    pub bytes_max: Option<u64>,
    /// How long the broker waits for a worker's sign of life before it redelivers.
    pub ack_wait: Duration,
    /// The longest pause that a worker makes between two attempts to reconnect: for that long after this process itself
    /// was cut off, nobody's absence is taken for its death.
    pub reconnect_pause_max: Duration,
    /// After how long without a sign of life another coordinator acts in this one's place.
    pub lease: Duration,
    /// How long ended conversations are still listed.
    pub ended_kept: Duration,
    /// How long an agent keeps its consumer after nothing needs it any more: longer than callers believe an old revision to
    /// be the current one.
    pub retire_after: Duration,
    /// A long conversation that waits for people for longer gets a snapshot.
    pub snapshot_after: Duration,
    /// The ledger is stored no more often than this.
    pub checkpoint_every: Duration,
}

impl Config {
    /// The defaults of the design.
    pub fn new(orchestrations: Vec<Served>) -> Self {
        Self {
            orchestrations,
            replicas: 1,
            bytes_max: None,
            ack_wait: Duration::from_secs(4),
            reconnect_pause_max: RECONNECT_DELAY_MAX,
            lease: Duration::from_secs(3),
            ended_kept: Duration::from_mins(10),
            retire_after: Duration::from_secs(5),
            snapshot_after: Duration::from_mins(10),
            checkpoint_every: Duration::from_secs(30),
        }
    }

    /// What an orchestration needs of the broker.
    fn plan(&self, orchestration: OrchestrationName, agents: impl IntoIterator<Item = AgentName>) -> Plan {
        let agents = agents.into_iter().collect();
        Plan { replicas: self.replicas, bytes_max: self.bytes_max, ack_wait: self.ack_wait, ..Plan::new(orchestration, agents) }
    }
}

/// Why a coordinator cannot begin, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// There is nothing to do.
    #[error("a coordinator serves at least one orchestration")]
    NothingToServe,
    /// The broker cannot serve the orchestration.
    #[error("orchestration {orchestration} cannot be provisioned: {error}")]
    Provision {
        /// Which.
        orchestration: OrchestrationName,
        /// Why.
        error: ProvisionError,
    },
    /// Its definition cannot be registered or had.
    #[error("orchestration {orchestration}: {error}")]
    Registry {
        /// Which.
        orchestration: OrchestrationName,
        /// Why.
        error: RegistryError,
    },
    /// A programming error.
    #[error("the coordinator crashed: {0}")]
    Crashed(#[from] JoinError),
}

/// A coordinator process.
#[derive(Debug)]
pub struct Coordinator {
    broker: Shared,
    process: ProcessId,
    config: Config,
    ready: Sender<bool>,
}

impl Coordinator {
    /// A coordinator that has not begun. The connection stays the caller's: it is not closed at the end.
    pub fn new(broker: Shared, process: ProcessId, config: Config) -> Self {
        Self { broker, process, config, ready: channel(false).0 }
    }

    /// Becomes true once every orchestration is provisioned and its ledger has caught up with the journal.
    pub fn ready(&self) -> Receiver<bool> {
        self.ready.subscribe()
    }

    /// Coordinates until `shutdown`; then stores what it knows and lets another one act at once.
    ///
    /// # Errors
    /// [`CoordinatorError`] when an orchestration cannot be served. A broker that is away is waited for.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), CoordinatorError> {
        if self.config.orchestrations.is_empty() {
            return Err(CoordinatorError::NothingToServe);
        }
        // One that fails stops the others.
        let stop = shutdown.child_token();
        let mut served = JoinSet::new();
        let mut ready = Vec::new();
        for orchestration in self.config.orchestrations.clone() {
            let is_ready = Sender::new(false);
            ready.push(is_ready.subscribe());
            served.spawn(start::serve(
                self.broker.clone(),
                self.process.clone(),
                self.config.clone(),
                orchestration,
                is_ready,
                stop.clone(),
            ));
        }
        let all_ready = async {
            for is_ready in &mut ready {
                // A sender that is gone has failed, and says so itself.
                if is_ready.wait_for(|is_ready| *is_ready).await.is_err() {
                    return std::future::pending().await;
                }
            }
        }
        .fuse();
        tokio::pin!(all_ready);
        let mut result = Ok(());
        loop {
            tokio::select! {
                () = &mut all_ready => { self.ready.send_replace(true); }
                ended = served.join_next() => match ended {
                    None => break,
                    Some(ended) => {
                        self.ready.send_replace(false);
                        result = result.and(ended.map_err(CoordinatorError::from).and_then(|served| served));
                        stop.cancel();
                    }
                },
            }
        }
        result
    }
}
