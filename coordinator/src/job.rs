//! What a driver does not wait for: requests to the broker and to workers that come back as a [`Done`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use journal::registry::{self, RegistryError};
use journal::{ConsumerState, Plan, ProvisionError, Provisioned, RequestError, Shared, StoreError};
use protocol::ids::{AgentName, OrchestrationName, ProcessId, Revision, Seq};
use protocol::orchestration::{Orchestration, Retention};
use protocol::presence::{HoldsAnswer, HoldsQuestion};
use protocol::query::ForwardedRequest;
use protocol::subject;

use crate::act::{ActError, Acted, Actor};
use crate::checkpoint::{self, CheckpointError, Place};
use crate::forward;
use crate::ledger::Packed;
use crate::presence::{PROBE_TIMEOUT, Probe};
use crate::retention::{Look, Looked};
use crate::revisions::{Known, Learnt};
use crate::watch::{Proposal, Question};

/// How long workers may take to say what they hold: those who have not are asked again, for longer.
const HOLDS_TIMEOUTS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400)];

/// The consumers of some agents; none where one does not exist.
pub(crate) type Consumers = BTreeMap<AgentName, Option<ConsumerState>>;

/// A job that came back.
#[derive(Debug)]
pub(crate) enum Done {
    /// The broker's time, in milliseconds since the Unix epoch.
    Ticked(Result<u64, StoreError>),
    Probed {
        process: ProcessId,
        probe: Probe,
        delivered: BTreeMap<AgentName, Seq>,
    },
    Looked(Consumers),
    Answered {
        question: Question,
        answers: Vec<HoldsAnswer>,
    },
    Acted {
        proposal: Proposal,
        acted: Result<Acted, ActError>,
    },
    Forwarded {
        gateway: ProcessId,
        is_there: bool,
    },
    Provisioned,
    Learnt(Result<Learnt, RegistryError>),
    Declared(Result<Revision, DeclareError>),
    Retired,
    Cleared(Look, Looked),
    Purged {
        tombstone: Seq,
        purged: Result<(), StoreError>,
    },
    Erased,
    Stored {
        seq: Seq,
        stored: Result<(), CheckpointError>,
    },
}

/// Why a definition could not be declared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeclareError {
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

pub(crate) async fn tick(actor: Arc<Actor>) -> Done {
    Done::Ticked(actor.broker.tick(&actor.orchestration).await)
}

/// Asks a process whether it is alive; if it is not there, what its agents had been delivered by now.
pub(crate) async fn probe(actor: Arc<Actor>, process: ProcessId, agents: Vec<AgentName>) -> Done {
    let subject = subject::alive(&actor.orchestration, &process);
    let (probe, agents) = match actor.broker.ask(&subject, Bytes::new(), PROBE_TIMEOUT).await {
        Ok(_) => (Probe::Answered, Vec::new()),
        Err(RequestError::NoResponders(_)) => (Probe::NoResponders, agents),
        Err(RequestError::Timeout(_) | RequestError::Refused(_)) => (Probe::Unanswered, Vec::new()),
    };
    let consumers = consumers(&actor, agents).await;
    let delivered = consumers.into_iter().filter_map(|(agent, state)| Some((agent, state?.delivered))).collect();
    Done::Probed { process, probe, delivered }
}

pub(crate) async fn look(actor: Arc<Actor>, agents: Vec<AgentName>) -> Done {
    Done::Looked(consumers(&actor, agents).await)
}

/// The consumers that the broker tells of; one it cannot be asked about is left out.
async fn consumers(actor: &Actor, agents: Vec<AgentName>) -> Consumers {
    let mut states = Consumers::new();
    for agent in agents {
        match actor.broker.consumer_state(&actor.orchestration, &agent).await {
            Ok(state) => drop(states.insert(agent, state)),
            Err(error) => tracing::warn!(orchestration = %actor.orchestration, %agent, "its consumer cannot be looked at: {error}"),
        }
    }
    states
}

/// Asks all workers of an agent what they hold, until all those have answered without whom nothing is known.
pub(crate) async fn ask(actor: Arc<Actor>, question: Question) -> Done {
    let subject = subject::holds(&actor.orchestration, &question.agent);
    let asked = HoldsQuestion { conversations: question.suspects.iter().map(|suspect| suspect.conversation.clone()).collect() };
    let payload = Bytes::from(serde_json::to_vec(&asked).unwrap_or_default());
    let mut answers: Vec<HoldsAnswer> = Vec::new();
    for timeout in HOLDS_TIMEOUTS {
        match actor.broker.ask_all(&subject, payload.clone(), timeout).await {
            Ok(replies) => answers.extend(replies.iter().filter_map(|reply| serde_json::from_slice(reply).ok())),
            Err(error) => tracing::debug!(orchestration = %actor.orchestration, "{error}"),
        }
        if question.awaited.iter().all(|process| answers.iter().any(|answer| answer.process == *process)) {
            break;
        }
    }
    Done::Answered { question, answers }
}

pub(crate) async fn act(actor: Arc<Actor>, proposal: Proposal) -> Done {
    let acted = actor.act(&proposal).await;
    Done::Acted { proposal, acted }
}

pub(crate) async fn forward(actor: Arc<Actor>, gateway: ProcessId, request: ForwardedRequest) -> Done {
    let is_there = forward::deliver(&*actor.broker, &actor.orchestration, &gateway, &request).await;
    Done::Forwarded { gateway, is_there }
}

pub(crate) async fn provision(actor: Arc<Actor>, plan: Plan, seen: Seq) -> Done {
    match make(&actor.broker, plan.clone(), seen).await {
        Ok(provisioned) => tracing::info!(orchestration = %plan.orchestration, created = ?provisioned.created, "made what was missing"),
        Err(error) => tracing::error!(orchestration = %plan.orchestration, "{error}"),
    }
    Done::Provisioned
}

/// Makes what is missing, by a ledger that has `seen` so much. Where the stream has lost some of that, its numbers are given to others,
/// and work begins with the oldest item there is.
async fn make(broker: &Shared, mut plan: Plan, seen: Seq) -> Result<Provisioned, ProvisionError> {
    let is_known = broker.last_seq(&plan.orchestration).await.is_ok_and(|last| last >= seen);
    if !is_known {
        plan.work_from.clear();
    }
    broker.provision(&plan).await
}

/// Which revision is current, and revisions that are not known yet: all of them, once anything new is among those `used`.
pub(crate) async fn learn(actor: Arc<Actor>, known: BTreeSet<Revision>, used: Vec<Revision>) -> Done {
    Done::Learnt(registered(&actor.broker, &actor.orchestration, &known, used).await)
}

pub(crate) async fn registered(
    broker: &Shared,
    orchestration: &OrchestrationName,
    known: &BTreeSet<Revision>,
    used: Vec<Revision>,
) -> Result<Learnt, RegistryError> {
    let current = registry::current(&**broker, orchestration).await?;
    let mut unknown: BTreeSet<_> = used.into_iter().chain([current.clone()]).filter(|revision| !known.contains(revision)).collect();
    if !unknown.is_empty() {
        let registered = registry::revisions(&**broker, orchestration).await?;
        unknown.extend(registered.into_iter().filter(|revision| !known.contains(revision)));
    }
    let mut revisions = BTreeMap::new();
    for revision in unknown {
        let read = match registry::registered(&**broker, orchestration, &revision).await {
            Ok((number, definition)) => {
                let agents = definition.agents().map(|agent| agent.name.clone()).collect();
                Known { number, agents: Some(agents), retention: definition.retention() }
            }
            Err(RegistryError::Store(error)) => return Err(error.into()),
            Err(error @ (RegistryError::Missing { .. } | RegistryError::Unreadable { .. })) => {
                tracing::warn!(%orchestration, "{error}; no agent retires while a conversation runs on it");
                Known { number: 0, agents: None, retention: Retention::default() }
            }
        };
        revisions.insert(revision, read);
    }
    Ok(Learnt { current, revisions })
}

/// Declares a definition, once its agents have consumers. Another coordinator, with the same file, may have been faster, and
/// yet another definition may be current since.
pub(crate) async fn declare(actor: Arc<Actor>, plan: Plan, seen: Seq, definition: Arc<Orchestration>) -> Done {
    let declared = async {
        if registry::is_declared(&*actor.broker, &definition).await? {
            return Ok(definition.revision().clone());
        }
        let provisioned = make(&actor.broker, plan, seen).await?;
        let before = registry::declare(&*actor.broker, &definition).await?;
        let (orchestration, revision, created) = (&actor.orchestration, definition.revision(), provisioned.created);
        tracing::info!(%orchestration, ?before, %revision, ?created, "the definition has changed: registered");
        Ok(revision.clone())
    };
    Done::Declared(declared.await)
}

pub(crate) async fn retire(actor: Arc<Actor>, agent: AgentName) -> Done {
    let orchestration = &actor.orchestration;
    match actor.broker.retire(orchestration, &agent).await {
        Ok(true) => tracing::info!(%orchestration, %agent, "retired: no revision in use has it, and its consumer is deleted"),
        Ok(false) => {}
        Err(error) => tracing::warn!(%orchestration, %agent, "it cannot retire: {error}"),
    }
    Done::Retired
}

pub(crate) async fn store(actor: Arc<Actor>, place: Place, rows: Vec<Packed>) -> Done {
    let seq = place.seq;
    let stored = checkpoint::store(&*actor.broker, &actor.orchestration, place, rows).await;
    Done::Stored { seq, stored }
}
