//! What a worker needs to play an agent under one revision: the definition, the catalogue, the model, the tools.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use journal::registry::{self, RegistryError};
use protocol::ids::{AgentName, OrchestrationName, Revision};
use protocol::orchestration::Orchestration;

use crate::catalog::{Catalog, CatalogError};
use crate::model::{self, ConfigError, Model};
use crate::tools::{self, Filter, Means, Tool, Unusable};

/// Looks a variable up in the worker's environment.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// An agent under one revision, ready to play.
#[derive(Debug)]
pub(crate) struct Role {
    pub(crate) orchestration: Arc<Orchestration>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) model: Arc<dyn Model>,
    pub(crate) tools: BTreeMap<String, Arc<dyn Tool>>,
    /// Tools that cannot be had for now: without them it puts its work off, and does nothing else.
    lacks: Vec<Unusable>,
}

impl Role {
    /// What it waits for, in words for people, where it lacks anything.
    pub(crate) fn waits_for(&self) -> Option<String> {
        tools::away(&self.lacks)
    }

    /// The role, if it lacks nothing.
    pub(crate) fn whole(self: Arc<Self>) -> Result<Arc<Self>, RoleError> {
        if self.lacks.is_empty() { Ok(self) } else { Err(RoleError::Tools(self.lacks.clone())) }
    }

    fn is_current(&self) -> bool {
        self.tools.values().all(|tool| tool.is_current())
    }
}

/// Why an agent cannot be played under a revision.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The definition could not be had.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The revision has no such agent.
    #[error("revision {revision} of orchestration {orchestration} has no agent {agent}: it has {}", names(.has))]
    NoAgent {
        /// Which orchestration.
        orchestration: OrchestrationName,
        /// Which revision.
        revision: Revision,
        /// Which agent.
        agent: AgentName,
        /// The agents that there are.
        has: Vec<AgentName>,
    },
    /// A tool is missing or wrong.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Tools cannot be run in this worker.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Tools(Vec<Unusable>),
    /// The program lacks a filter of a handoff to the agent.
    #[error(
        "a handoff to {agent} has the filter `{filter}`, and this program has {}: add it with `Functions::add_filter`, or run {agent} in \
         a worker that has it",
        if .has.is_empty() { "none".to_owned() } else { format!("only {}", .has.join(", ")) }
    )]
    NoFilter {
        /// To whom.
        agent: AgentName,
        /// Which.
        filter: String,
        /// Those that there are.
        has: Vec<String>,
    },
    /// The model cannot be built in this environment.
    #[error(transparent)]
    Model(#[from] ConfigError),
}

impl RoleError {
    /// Whether the same attempt may succeed later without anybody changing this worker.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Registry(_) => true,
            Self::Tools(unusable) => tools::away(unusable).is_some(),
            Self::NoAgent { .. } | Self::Catalog(_) | Self::NoFilter { .. } | Self::Model(_) => false,
        }
    }
}

fn names(agents: &[AgentName]) -> String {
    agents.iter().map(AgentName::as_str).collect::<Vec<_>>().join(", ")
}

/// Roles of one agent that are kept: conversations run on a few revisions at a time, and whichever is asked for again is made
/// again.
const KEPT_MAX: usize = 8;

/// The roles that are kept, the one that was asked for last at the end.
#[derive(Debug)]
struct Kept<T>(VecDeque<(Revision, T)>);

impl<T: Clone> Kept<T> {
    fn get(&mut self, revision: &Revision) -> Option<T> {
        let place = self.0.iter().position(|(known, _)| known == revision)?;
        let (revision, role) = self.0.remove(place)?;
        self.0.push_back((revision, role.clone()));
        Some(role)
    }

    fn put(&mut self, revision: &Revision, role: T) {
        self.0.retain(|(known, _)| known != revision);
        self.0.push_back((revision.clone(), role));
        if self.0.len() > KEPT_MAX {
            self.0.pop_front();
        }
    }
}

/// One agent's roles, made once per revision for as long as they are asked for.
pub(crate) struct Roles {
    orchestration: OrchestrationName,
    agent: AgentName,
    means: Means,
    kept: Mutex<Kept<Arc<Role>>>,
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roles").field("orchestration", &self.orchestration).field("agent", &self.agent).finish_non_exhaustive()
    }
}

impl Roles {
    pub(crate) fn new((orchestration, agent): (OrchestrationName, AgentName), means: Means) -> Self {
        Self { orchestration, agent, means, kept: Mutex::new(Kept(VecDeque::new())) }
    }

    /// The role under a revision, from the registry at first; made again where a server has other words for its tools. One that lacks
    /// something is not kept.
    pub(crate) async fn role(&self, revision: &Revision) -> Result<Arc<Role>, RoleError> {
        let known = self.lock().get(revision);
        match known {
            Some(role) if role.is_current() => Ok(role),
            known => Box::pin(self.make(revision, known)).await,
        }
    }

    async fn make(&self, revision: &Revision, known: Option<Arc<Role>>) -> Result<Arc<Role>, RoleError> {
        let orchestration = match &known {
            Some(role) => (*role.orchestration).clone(),
            None => registry::definition(&*self.means.broker, &self.orchestration, revision).await?,
        };
        let built = self.build(orchestration).await.map(Arc::new);
        let role = match (built, known) {
            (Ok(role), None) if !role.lacks.is_empty() => return Ok(role),
            (built, known) => match (built.and_then(Role::whole), known) {
                (Ok(role), _) => role,
                // Its calls may fail, one by one; that is better than an agent that is gone.
                (Err(error), Some(known)) => {
                    tracing::warn!(agent = %self.agent, "playing on with what is known of its tools: {error}");
                    return Ok(known);
                }
                (Err(error), None) => return Err(error),
            },
        };
        self.lock().put(revision, role.clone());
        Ok(role)
    }

    fn lock(&self) -> MutexGuard<'_, Kept<Arc<Role>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn build(&self, orchestration: Orchestration) -> Result<Role, RoleError> {
        let agent = orchestration.agent(&self.agent).ok_or_else(|| RoleError::NoAgent {
            orchestration: self.orchestration.clone(),
            revision: orchestration.revision().clone(),
            agent: self.agent.clone(),
            has: orchestration.agents().map(|agent| agent.name.clone()).collect(),
        })?;
        let (tools, catalog, lacks) = match tools::build(agent, &self.means).await {
            Ok(tools) => {
                let catalog = Catalog::new(&orchestration, &tools::completed(agent, &tools), &BTreeMap::new())?;
                (tools, catalog, Vec::new())
            }
            Err(unusable) if tools::away(&unusable).is_some() => (BTreeMap::new(), Catalog::default(), unusable),
            Err(unusable) => return Err(RoleError::Tools(unusable)),
        };
        let functions = &self.means.functions;
        let catalog = catalog.with_filters(self.filters(&orchestration)?);
        let (model, announcement) = model::build(&agent.player, &orchestration, functions, &*self.means.environment, &self.means.http)?;
        if let Some(announcement) = announcement {
            tracing::warn!(agent = %self.agent, "{announcement}");
        }
        Ok(Role { orchestration: Arc::new(orchestration), catalog: Arc::new(catalog), model, tools, lacks })
    }

    /// The filters of the handoffs to this agent.
    fn filters(&self, orchestration: &Orchestration) -> Result<BTreeMap<String, Filter>, RoleError> {
        let edges = orchestration.agents().flat_map(|agent| &agent.handoffs).filter(|edge| edge.to == self.agent);
        let has = &self.means.functions.filters;
        let filter = |name: &String| match has.get(name) {
            Some(filter) => Ok((name.clone(), filter.clone())),
            None => Err(RoleError::NoFilter { agent: self.agent.clone(), filter: name.clone(), has: has.keys().cloned().collect() }),
        };
        edges.filter_map(|edge| edge.filter.as_ref()).map(filter).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_that_nobody_asks_for_are_forgotten() {
        let revision = |n: usize| Revision::of(&n.to_be_bytes());
        let mut kept = Kept(VecDeque::new());
        for n in 0..100 {
            kept.put(&revision(n), n);
            assert_eq!(kept.get(&revision(0)), Some(0), "it is asked for again and again");
        }
        let there: Vec<_> = (0..100).filter(|n| kept.get(&revision(*n)).is_some()).collect();
        assert_eq!(there, [0, 93, 94, 95, 96, 97, 98, 99]);
        kept.put(&revision(99), 990);
        assert_eq!((kept.get(&revision(99)), kept.0.len()), (Some(990), KEPT_MAX), "made again, it takes its own place");
    }
}
