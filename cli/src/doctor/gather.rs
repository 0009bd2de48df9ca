//! Finds a deployment's facts out. Nothing is changed, and what cannot be seen is a fact too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use client::{Client, Side};
use futures::future::join_all;
use futures::{FutureExt, StreamExt, future, stream};
use journal::nats::Nats;
use journal::{Bus, Plan, Store, registry};
use protocol::brief::Phase;
use protocol::ids::{AgentName, OrchestrationName, ProcessId, Revision, Writer};
use protocol::orchestration::{Agent, Fallback, Orchestration};
use protocol::presence::Heartbeat;
use protocol::query::{ListQuery, Listed};
use protocol::subject;
use serde_json::Value as Json;

use super::facts::{self, Facts, Seen, Waiting};
use super::judge::seen;

/// How long heartbeats and answers are waited for: three heartbeats.
const LISTEN: Duration = Duration::from_millis(800);

pub(crate) async fn gather(
    nats: &Nats,
    orchestration: OrchestrationName,
    role: Option<Writer>,
    process: ProcessId,
) -> anyhow::Result<Facts> {
    let Current { revision, agents: mut names, edges } = current(nats, &orchestration).await;
    let client = Client::new(std::sync::Arc::new(nats.clone()), orchestration.clone(), Side::Client, process);
    names.extend(still_needed(&client, &names).await);
    let plan = Plan::new(orchestration.clone(), names.clone());
    let backlogs = join_all(names.iter().map(|agent| nats.backlog(&orchestration, agent).map(seen)));
    // This clock is read when the broker's is: hearing workers takes its time.
    let inspected = nats.inspect(&plan).map(|things| (things, now_ms()));
    let (user, (things, own_ms), workers, backlogs) = future::join4(nats.user(), inspected, heard(nats, &orchestration), backlogs).await;
    let things = things?;
    let (coordinators, gateways, leader, waiting, dead_letters) = tokio::join!(
        answering(nats, "coordinator", "orchestration", &orchestration),
        answering(nats, "gateway", "orchestrations", &orchestration),
        leader(nats, &orchestration),
        waiting(&client),
        nats.dead_letters(&orchestration).map(seen),
    );
    let agent = |(name, backlog): (AgentName, _)| {
        let workers = workers.values().filter(|worker| worker.agent == name).cloned().collect();
        (name, facts::Agent { workers, backlog })
    };
    let replicas = things.first().and_then(|thing| match &thing.found {
        journal::nats::Found::There(there) => Some(there.replicas),
        _ => None,
    });
    Ok(Facts {
        server: nats.server(),
        user,
        role,
        edges,
        doubts: nats.doubts(replicas.unwrap_or(1)).await,
        things,
        own_ms,
        revision,
        agents: names.into_iter().zip(backlogs).map(agent).collect(),
        coordinators,
        leader,
        waiting,
        gateways,
        dead_letters,
        orchestration,
    })
}

/// The current definition, as far as it is looked at.
struct Current {
    revision: Seen<Revision>,
    agents: Vec<AgentName>,
    edges: BTreeSet<(AgentName, AgentName)>,
}

async fn current(nats: &Nats, orchestration: &OrchestrationName) -> Current {
    let definition = async {
        let revision = registry::current(nats, orchestration).await?;
        registry::definition(nats, orchestration, &revision).await
    };
    match definition.await {
        Ok(definition) => Current {
            revision: Ok(definition.revision().clone()),
            agents: definition.agents().map(|agent| agent.name.clone()).collect(),
            edges: edges(&definition),
        },
        Err(error) => Current { revision: Err(error.to_string()), agents: Vec::new(), edges: BTreeSet::new() },
    }
}

/// Handoffs, and the one to the agent that takes over where others cannot go on.
fn edges(definition: &Orchestration) -> BTreeSet<(AgentName, AgentName)> {
    let fallback = match definition.fallback() {
        Some(Fallback::Agent(agent)) => Some(agent),
        Some(Fallback::Human(_)) | None => None,
    };
    let of = |agent: &Agent| {
        let targets = agent.handoffs.iter().map(|handoff| &handoff.to).chain(fallback);
        targets.map(|to| (agent.name.clone(), to.clone())).collect::<Vec<_>>()
    };
    definition.agents().flat_map(of).collect()
}

/// Agents that the current revision does not have, and conversations on older ones still need; nobody knows them while no
/// coordinator answers.
async fn still_needed(client: &Client, current: &[AgentName]) -> Vec<AgentName> {
    let registered = client.revisions().await.map(|registered| registered.revisions).unwrap_or_default();
    let in_use = registered.into_iter().filter(|revision| revision.open > 0).flat_map(|revision| revision.agents);
    let agents: BTreeSet<AgentName> = in_use.filter(|agent| !current.contains(agent)).collect();
    agents.into_iter().collect()
}

/// The last heartbeat of each worker process and agent that is heard.
async fn heard(nats: &Nats, orchestration: &OrchestrationName) -> BTreeMap<(AgentName, ProcessId), Heartbeat> {
    let beats = match nats.listen(&subject::heartbeats(orchestration), None).await {
        Ok(beats) => beats,
        Err(_) => stream::empty().boxed(),
    };
    let heartbeats = beats.take_until(tokio::time::sleep(LISTEN)).filter_map(|beat| {
        let heartbeat = serde_json::from_slice::<Heartbeat>(&beat.payload).ok();
        future::ready(heartbeat.map(|heartbeat| ((heartbeat.agent.clone(), heartbeat.process.clone()), heartbeat)))
    });
    heartbeats.collect().await
}

/// The processes of a kind that answer discovery, and whose metadata say under `key` that they serve the orchestration.
async fn answering(nats: &Nats, kind: &str, key: &str, orchestration: &OrchestrationName) -> Seen<Vec<ProcessId>> {
    let answers = seen(nats.ask_all(&format!("$SRV.PING.{kind}"), Bytes::new(), LISTEN).await)?;
    let process = |answer: &Bytes| {
        let answer: Json = serde_json::from_slice(answer).ok()?;
        let serves = answer.pointer(&format!("/metadata/{key}"))?.as_str()?.split(',').any(|name| name == orchestration.as_str());
        answer.get("id")?.as_str()?.parse().ok().filter(|_| serves)
    };
    Ok(answers.iter().filter_map(process).collect())
}

async fn leader(nats: &Nats, orchestration: &OrchestrationName) -> Seen<Option<ProcessId>> {
    let lease = seen(nats.value(orchestration, coordinator::lease::KEY).await)?;
    Ok(lease.and_then(|lease| String::from_utf8_lossy(&lease.bytes).parse().ok()))
}

async fn waiting(client: &Client) -> Seen<Waiting> {
    let status = seen(client.status().await)?;
    let query = ListQuery { phase: Some(Phase::Waiting), ..ListQuery::default() };
    let Listed { conversations: shown, total } = seen(client.list(&query).await)?;
    Ok(Waiting { shown, total, now_ms: status.now_ms })
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
