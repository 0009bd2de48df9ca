//! What a driver does not wait for: requests to the broker and to workers that come back as a [`Done`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use journal::{ConsumerState, Plan, RequestError, StoreError};
use protocol::ids::{AgentName, ConversationId, ProcessId, Seq};
use protocol::presence::{HoldsAnswer, HoldsQuestion};
use protocol::query::ForwardedRequest;
use protocol::subject;

use crate::act::{ActError, Acted, Actor};
use crate::checkpoint::{self, CheckpointError, Rows};
use crate::forward;
use crate::presence::{PROBE_TIMEOUT, Probe};
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
        conversation: ConversationId,
        acted: Result<Acted, ActError>,
    },
    Forwarded {
        gateway: ProcessId,
        is_there: bool,
    },
    Provisioned,
    Stored {
        seq: Seq,
        stored: Result<(), CheckpointError>,
    },
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
    let asked = HoldsQuestion { conversations: question.suspects.iter().map(|(id, _)| id.clone()).collect() };
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
    Done::Acted { conversation: proposal.conversation, acted }
}

pub(crate) async fn forward(actor: Arc<Actor>, gateway: ProcessId, request: ForwardedRequest) -> Done {
    let is_there = forward::deliver(&*actor.broker, &actor.orchestration, &gateway, &request).await;
    Done::Forwarded { gateway, is_there }
}

pub(crate) async fn provision(actor: Arc<Actor>, plan: Plan) -> Done {
    match actor.broker.provision(&plan).await {
        Ok(provisioned) => tracing::warn!(orchestration = %plan.orchestration, created = ?provisioned.created, "something was missing"),
        Err(error) => tracing::error!(orchestration = %plan.orchestration, "{error}"),
    }
    Done::Provisioned
}

pub(crate) async fn store(actor: Arc<Actor>, seq: Seq, rows: Rows) -> Done {
    let stored = checkpoint::store(&*actor.broker, &actor.orchestration, seq, rows).await;
    Done::Stored { seq, stored }
}
