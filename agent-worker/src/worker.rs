//! A worker process: takes work items for its agents, runs many turns at once, says that it is there, and drains.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use journal::registry::{self, RegistryError};
use journal::{Shared, WorkError, WorkSource};
use protocol::ids::{AgentName, OrchestrationName, ProcessId};
use protocol::subject;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::Cache;
use crate::driver::{Driver, SharedDriver};
use crate::held::Held;
use crate::live::Speaker;
use crate::model;
use crate::presence;
use crate::role::{Environment, Role, RoleError, Roles};
use crate::tools::{Functions, McpServers, Means};

/// Between two attempts at a broker that has no work to give, at most.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long an entry of a newer version waits for a worker that knows it.
pub const NEWER_WAIT: Duration = Duration::from_secs(600);

/// A worker as it is configured.
pub struct Worker {
    broker: Shared,
    process: ProcessId,
    serves: Vec<(OrchestrationName, AgentName)>,
    functions: Functions,
    environment: Environment,
    concurrency: Option<usize>,
    drain: Duration,
    newer_wait: Duration,
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
    /// A programming error.
    #[error("the worker crashed: {0}")]
    Crashed(#[from] JoinError),
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
        let (functions, drain) = (Functions::default(), Duration::from_secs(20));
        Self { broker, process, serves: Vec::new(), functions, environment, concurrency: None, drain, newer_wait: NEWER_WAIT }
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

    /// Keeps what it does not understand for a newer worker for so long, by the broker's clock, before it is a dead letter.
    #[must_use]
    pub const fn newer_wait(mut self, wait: Duration) -> Self {
        self.newer_wait = wait;
        self
    }

    /// Serves until `stop` is cancelled, then drains. `ready` becomes true once every agent can take work: one that the
    /// current revision lacks is waited for.
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
        let agents = self.serves.len();
        // An agent that cannot be played stops the others too.
        let stop = stop.child_token();
        let shared = Arc::new(Process {
            means: Means { functions: self.functions, environment: self.environment, http, broker: self.broker.clone(), servers },
            speaker: Speaker::new(self.broker),
            process: self.process,
            concurrency: self.concurrency,
            newer_wait: self.newer_wait,
            hand_back: CancellationToken::new(),
            drained: CancellationToken::new(),
            presence: TaskTracker::new(),
            turns: TaskTracker::new(),
            served: watch::channel(0).0,
            stop: stop.clone(),
        });
        let mut loops = JoinSet::new();
        for (orchestration, agent) in self.serves {
            loops.spawn(shared.clone().attend(orchestration, agent));
        }
        let mut all_served = shared.served.subscribe();
        let all_served = async {
            // Ready means that every consumer has been seen once; stopping before that is fine too.
            if all_served.wait_for(|served| *served == agents).await.is_ok() {
                ready.send_replace(true);
            }
            std::future::pending().await
        };
        let began = tokio::select! {
            ended = ended(&mut loops, &stop) => ended,
            never = all_served => never,
        };
        ready.send_replace(false);
        let handed_back = shared.drain(self.drain).await;
        began.map(|()| Drained { handed_back })
    }
}

/// Waits until no loop runs any more; the first that failed has told the others to stop.
async fn ended(loops: &mut JoinSet<Result<(), StartError>>, stop: &CancellationToken) -> Result<(), StartError> {
    let mut result = Ok(());
    while let Some(ended) = loops.join_next().await {
        let ended = ended?;
        if ended.is_err() {
            stop.cancel();
        }
        result = result.and(ended);
    }
    result
}

/// What the agents of one process share.
struct Process {
    means: Means,
    speaker: Speaker,
    process: ProcessId,
    concurrency: Option<usize>,
    newer_wait: Duration,
    hand_back: CancellationToken,
    drained: CancellationToken,
    presence: TaskTracker,
    turns: TaskTracker,
    /// Agents whose consumer was seen.
    served: watch::Sender<usize>,
    stop: CancellationToken,
}

impl Process {
    /// Serves one agent, from the moment that there is one.
    async fn attend(self: Arc<Self>, orchestration: OrchestrationName, agent: AgentName) -> Result<(), StartError> {
        let roles = Roles::new((orchestration.clone(), agent.clone()), self.means.clone());
        let concurrency = tokio::select! {
            concurrency = self.first_role(&roles, &orchestration, &agent) => concurrency?,
            () = self.stop.cancelled() => return Ok(()),
        };
        let driver = Arc::new(Driver {
            broker: self.means.broker.clone(),
            consumer: subject::consumer(&agent),
            orchestration,
            agent,
            process: self.process.clone(),
            roles,
            cache: Cache::default(),
            held: Held::default(),
            speaker: self.speaker.clone(),
            newer_wait: self.newer_wait,
            hand_back: self.hand_back.clone(),
            drained: self.drained.clone(),
        });
        self.presence.spawn(presence::run(driver.clone(), concurrency, self.stop.clone()));
        self.serve(driver, concurrency).await;
        Ok(())
    }

    /// The role under the current revision, so that what is missing here is said before any work is taken. Waits for the
    /// orchestration to be registered, and for a revision that has the agent; gives how many turns run at once.
    async fn first_role(&self, roles: &Roles, orchestration: &OrchestrationName, agent: &AgentName) -> Result<usize, StartError> {
        let mut pause = Duration::from_millis(50);
        let (mut told, mut is_late) = (String::new(), false);
        loop {
            let found = match registry::current(&*self.means.broker, orchestration).await {
                Ok(revision) => roles.role(&revision).await.and_then(Role::whole),
                Err(error) => Err(error.into()),
            };
            match found {
                Ok(role) => {
                    let defined = role.orchestration.agent(agent).map_or(1, |agent| agent.concurrency);
                    return Ok(self.concurrency.unwrap_or(defined).max(1));
                }
                Err(error) if error.to_string() == told => {}
                Err(error) => {
                    told = error.to_string();
                    match error {
                        RoleError::NoAgent { .. } => {
                            is_late = true;
                            tracing::warn!("waiting for a revision that has it: {error}");
                        }
                        _ if error.is_transient() => tracing::info!(%orchestration, %agent, "waiting for the orchestration: {error}"),
                        // A revision brought it, when others were at work here: they do not suffer for it.
                        _ if is_late && *self.served.borrow() > 0 => {
                            tracing::error!(%orchestration, %agent, "it cannot be served: {error}")
                        }
                        _ => return Err(StartError::Role { agent: agent.clone(), error }),
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Takes an agent's work items as slots become free, until told to stop.
    async fn serve(&self, driver: SharedDriver, concurrency: usize) {
        let Some(mut source) = open(&driver, &self.stop).await else { return };
        self.served.send_modify(|served| *served += 1);
        let slots = Arc::new(Semaphore::new(concurrency));
        let mut pause = Duration::from_millis(50);
        loop {
            let slot = tokio::select! {
                slot = slots.clone().acquire_owned() => slot,
                () = self.stop.cancelled() => break,
            };
            let Ok(slot) = slot else { break };
            let free = slots.available_permits() + 1;
            let next = tokio::select! {
                next = source.next(free) => next,
                () = self.stop.cancelled() => break,
            };
            match next {
                Ok(item) => {
                    pause = Duration::from_millis(50);
                    let driver = driver.clone();
                    self.turns.spawn(async move {
                        driver.drive(item).await;
                        drop(slot);
                    });
                }
                Err(error @ WorkError::NoConsumer { .. }) => {
                    tracing::warn!(orchestration = %driver.orchestration, agent = %driver.agent, "idle, it has retired: {error}");
                    source.close().await;
                    let Some(again) = open(&driver, &self.stop).await else { return };
                    source = again;
                    tracing::info!(orchestration = %driver.orchestration, agent = %driver.agent, "it is back, and takes work");
                }
                Err(error @ (WorkError::Unavailable(_) | WorkError::Refused(_))) => {
                    tracing::warn!(agent = %driver.agent, "no work for now: {error}");
                    wait(&mut pause, &self.stop).await;
                }
            }
        }
        source.close().await;
    }

    /// Lets what runs finish, for so long; gives how many turns did not.
    async fn drain(&self, patience: Duration) -> usize {
        self.turns.close();
        let drained = tokio::time::timeout(patience, self.turns.wait()).await;
        let handed_back = if drained.is_ok() { 0 } else { self.turns.len() };
        self.hand_back.cancel();
        self.turns.wait().await;
        // Not before: what a call with effects is waited for is held, and whoever were not there any more would be succeeded.
        self.drained.cancel();
        self.presence.close();
        self.presence.wait().await;
        handed_back
    }
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
