//! A worker process: takes work items for its agents, runs many turns at once, says that it is there, and drains.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use journal::registry::{self, RegistryError};
use journal::{Shared, WorkError, WorkSource};
use protocol::ids::{AgentName, OrchestrationName, ProcessId};
use protocol::subject;
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::Cache;
use crate::driver::{Driver, SharedDriver};
use crate::held::Held;
use crate::live::Speaker;
use crate::model;
use crate::presence;
use crate::role::{Environment, RoleError, Roles};
use crate::tools::{Functions, McpServers, Means};

/// Between two attempts at a broker that has no work to give, at most.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A worker as it is configured.
pub struct Worker {
    broker: Shared,
    process: ProcessId,
    serves: Vec<(OrchestrationName, AgentName)>,
    functions: Functions,
    environment: Environment,
    concurrency: Option<usize>,
    drain: Duration,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("process", &self.process).field("serves", &self.serves).finish_non_exhaustive()
    }
}

/// Why a worker cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It serves nobody.
    #[error("a worker serves at least one agent")]
    NothingToServe,
    /// An agent cannot be played here.
    #[error("agent {agent} cannot be served: {error}")]
    Role {
        /// Which.
        agent: AgentName,
        /// Why.
        error: RoleError,
    },
    /// The HTTP client cannot be made.
    #[error("no HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Turns that were given back unfinished when the time to drain was over.
    pub handed_back: usize,
}

impl Worker {
    /// A worker that serves nobody yet. `environment` is where models and tools look their variables up.
    pub fn new(broker: Shared, process: ProcessId, environment: Environment) -> Self {
        let functions = Functions::default();
        Self { broker, process, serves: Vec::new(), functions, environment, concurrency: None, drain: Duration::from_secs(20) }
    }

    /// Serves an agent of an orchestration.
    #[must_use]
    pub fn serve(mut self, orchestration: OrchestrationName, agent: AgentName) -> Self {
        self.serves.push((orchestration, agent));
        self
    }

    /// Has these Rust functions as code tools.
    #[must_use]
    pub fn functions(mut self, functions: Functions) -> Self {
        self.functions = functions;
        self
    }

    /// Runs so many turns of each agent at once, whatever the definition says.
    #[must_use]
    pub const fn concurrency(mut self, turns: usize) -> Self {
        self.concurrency = Some(turns);
        self
    }

    /// Lets running turns finish for so long once it is told to stop.
    #[must_use]
    pub const fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Serves until `stop` is cancelled, then drains. `ready` becomes true once every agent can take work.
    ///
    /// # Errors
    /// [`StartError`] before anything is taken; afterwards a worker waits out whatever the broker does.
    pub async fn run(self, stop: CancellationToken, ready: watch::Sender<bool>) -> Result<Drained, StartError> {
        if self.serves.is_empty() {
            return Err(StartError::NothingToServe);
        }
        let http = model::build::http_client()?;
        let servers = Arc::new(McpServers::new(http.clone()));
        let drained = self.run_with(http, servers.clone(), stop, ready).await;
        servers.close().await;
        drained
    }

    async fn run_with(
        self,
        http: reqwest::Client,
        servers: Arc<McpServers>,
        stop: CancellationToken,
        ready: watch::Sender<bool>,
    ) -> Result<Drained, StartError> {
        let speaker = Speaker::new(self.broker.clone());
        let hand_back = CancellationToken::new();
        let presence = TaskTracker::new();
        let turns = TaskTracker::new();
        let loops = TaskTracker::new();
        let (served, mut all_served) = watch::channel(0_usize);
        for (orchestration, agent) in &self.serves {
            let means = Means {
                functions: self.functions.clone(),
                environment: self.environment.clone(),
                http: http.clone(),
                broker: self.broker.clone(),
                servers: servers.clone(),
            };
            let roles = Roles::new((orchestration.clone(), agent.clone()), means);
            let concurrency = tokio::select! {
                concurrency = self.first_role(&roles, orchestration, agent) => concurrency?,
                () = stop.cancelled() => return Ok(Drained { handed_back: 0 }),
            };
            let driver = Arc::new(Driver {
                broker: self.broker.clone(),
                orchestration: orchestration.clone(),
                agent: agent.clone(),
                consumer: subject::consumer(agent),
                process: self.process.clone(),
                roles,
                cache: Cache::default(),
                held: Held::default(),
                speaker: speaker.clone(),
                hand_back: hand_back.clone(),
            });
            presence.spawn(presence::run(driver.clone(), concurrency, stop.clone()));
            loops.spawn(serve(driver, concurrency, turns.clone(), stop.clone(), served.clone()));
        }
        let agents = self.serves.len();
        // Ready means that every consumer has been seen once; stopping before that is fine too.
        tokio::select! {
            seen = all_served.wait_for(|served| *served == agents) => if seen.is_ok() { ready.send_replace(true); },
            () = stop.cancelled() => {}
        }
        stop.cancelled().await;
        ready.send_replace(false);
        loops.close();
        loops.wait().await;
        turns.close();
        let drained = tokio::time::timeout(self.drain, turns.wait()).await;
        let handed_back = if drained.is_ok() { 0 } else { turns.len() };
        hand_back.cancel();
        turns.wait().await;
        presence.close();
        presence.wait().await;
        Ok(Drained { handed_back })
    }

    /// The role under the current revision, so that what is missing here is said before any work is taken. Waits for the
    /// orchestration to be registered; gives how many turns run at once.
    async fn first_role(&self, roles: &Roles, orchestration: &OrchestrationName, agent: &AgentName) -> Result<usize, StartError> {
        let mut pause = Duration::from_millis(50);
        let mut told = false;
        loop {
            let found = match registry::current(&*self.broker, orchestration).await {
                Ok(revision) => roles.role(&revision).await,
                Err(error) => Err(error.into()),
            };
            match found {
                Ok(role) => {
                    let defined = role.orchestration.agent(agent).map_or(1, |agent| agent.concurrency);
                    return Ok(self.concurrency.unwrap_or(defined).max(1));
                }
                Err(error) if error.is_transient() => {
                    if !told {
                        tracing::info!(%orchestration, %agent, "waiting for the orchestration: {error}");
                        told = true;
                    }
                }
                Err(error) => return Err(StartError::Role { agent: agent.clone(), error }),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Takes an agent's work items as slots become free, until told to stop.
async fn serve(driver: SharedDriver, concurrency: usize, turns: TaskTracker, stop: CancellationToken, served: watch::Sender<usize>) {
    let Some(mut source) = open(&driver, &stop).await else { return };
    served.send_modify(|served| *served += 1);
    let slots = Arc::new(Semaphore::new(concurrency));
    let mut pause = Duration::from_millis(50);
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot,
            () = stop.cancelled() => break,
        };
        let Ok(slot) = slot else { break };
        let free = slots.available_permits() + 1;
        let next = tokio::select! {
            next = source.next(free) => next,
            () = stop.cancelled() => break,
        };
        match next {
            Ok(item) => {
                pause = Duration::from_millis(50);
                let driver = driver.clone();
                turns.spawn(async move {
                    driver.drive(item).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(agent = %driver.agent, "no work for now: {error}");
                wait(&mut pause, &stop).await;
            }
        }
    }
    source.close().await;
}

async fn open(driver: &Driver, stop: &CancellationToken) -> Option<Box<dyn WorkSource>> {
    let mut pause = Duration::from_millis(50);
    let mut told = false;
    while !stop.is_cancelled() {
        match driver.broker.work(&driver.orchestration, &driver.agent).await {
            Ok(source) => return Some(source),
            Err(error @ (WorkError::NoConsumer { .. } | WorkError::Unavailable(_) | WorkError::Refused(_))) => {
                if !told {
                    tracing::info!(agent = %driver.agent, "waiting for work to take: {error}");
                    told = true;
                }
            }
        }
        wait(&mut pause, stop).await;
    }
    None
}

/// Waits with full jitter, a little longer each time.
async fn wait(pause: &mut Duration, stop: &CancellationToken) {
    tokio::select! {
        () = sleep(pause.mul_f64(fastrand::f64())) => {}
        () = stop.cancelled() => {}
    }
    *pause = (*pause * 2).min(PAUSE_MAX);
}

/// Errors that a program that embeds a worker may want to name.
pub type DefinitionError = RegistryError;
