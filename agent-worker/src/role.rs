//! What a worker needs to play an agent under one revision: the definition, the catalogue, the model, the tools.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use journal::Shared;
use journal::registry::{self, RegistryError};
use protocol::ids::{AgentName, OrchestrationName, Revision};
use protocol::orchestration::Orchestration;

use crate::catalog::{Catalog, CatalogError};
use crate::model::{self, ConfigError, Model};
use crate::tools::{self, Functions, Tool, Unusable};

/// Looks a variable up in the worker's environment.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// An agent under one revision, ready to play.
#[derive(Debug)]
pub(crate) struct Role {
    pub(crate) orchestration: Arc<Orchestration>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) model: Arc<dyn Model>,
    pub(crate) tools: BTreeMap<String, Arc<dyn Tool>>,
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
    /// The model cannot be built in this environment.
    #[error(transparent)]
    Model(#[from] ConfigError),
}

impl RoleError {
    /// Whether the same attempt may succeed later without anybody changing this worker.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Registry(_))
    }
}

fn names(agents: &[AgentName]) -> String {
    agents.iter().map(AgentName::as_str).collect::<Vec<_>>().join(", ")
}

/// One agent's roles, made once per revision.
pub(crate) struct Roles {
    broker: Shared,
    orchestration: OrchestrationName,
    agent: AgentName,
    functions: Functions,
    environment: Environment,
    http: reqwest::Client,
    by_revision: Mutex<HashMap<Revision, Arc<Role>>>,
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roles").field("orchestration", &self.orchestration).field("agent", &self.agent).finish_non_exhaustive()
    }
}

impl Roles {
    pub(crate) fn new(
        broker: Shared,
        (orchestration, agent): (OrchestrationName, AgentName),
        functions: Functions,
        environment: Environment,
        http: reqwest::Client,
    ) -> Self {
        Self { broker, orchestration, agent, functions, environment, http, by_revision: Mutex::default() }
    }

    /// The role under a revision, from the registry at first.
    pub(crate) async fn role(&self, revision: &Revision) -> Result<Arc<Role>, RoleError> {
        let known = self.by_revision.lock().unwrap_or_else(PoisonError::into_inner).get(revision).cloned();
        if let Some(role) = known {
            return Ok(role);
        }
        let orchestration = registry::definition(&*self.broker, &self.orchestration, revision).await?;
        let role = Arc::new(self.build(orchestration)?);
        self.by_revision.lock().unwrap_or_else(PoisonError::into_inner).insert(revision.clone(), role.clone());
        Ok(role)
    }

    fn build(&self, orchestration: Orchestration) -> Result<Role, RoleError> {
        let agent = orchestration.agent(&self.agent).ok_or_else(|| RoleError::NoAgent {
            orchestration: self.orchestration.clone(),
            revision: orchestration.revision().clone(),
            agent: self.agent.clone(),
            has: orchestration.agents().map(|agent| agent.name.clone()).collect(),
        })?;
        let tools = tools::build(agent, &self.functions, &*self.environment, &self.http).map_err(RoleError::Tools)?;
        let schemas = tools.iter().filter_map(|(name, tool)| Some((name.clone(), tool.parameters()?))).collect();
        let catalog = Catalog::new(agent, &schemas)?;
        let (model, announcement) = model::build(&agent.model, &orchestration, &*self.environment, &self.http)?;
        if let Some(announcement) = announcement {
            tracing::warn!(agent = %self.agent, "{announcement}");
        }
        Ok(Role { orchestration: Arc::new(orchestration), catalog: Arc::new(catalog), model, tools })
    }
}
