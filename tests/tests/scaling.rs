//! What KEDA scales workers by: the numbers that its nats-jetstream scaler reads, with the values that the Helm chart gives it.
//!
//! The scaler asks the broker's monitoring port and no one else, so no cluster is needed to know what it sees. Helm is used
//! where `deploy/helm/check` has put it, or PATH has it; without it the names come from `protocol::subject` alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests, where a panic is the failure")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cli::broker;
use client::{Client, Opening};
use journal::nats::Settings;
use protocol::ids::{AgentName, OrchestrationName};
use protocol::orchestration::Orchestration;
use protocol::query::ListQuery;
use protocol::subject;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tests::in_process::{Programs, client};
use tests::nats::{cluster_of_three, server};
use tests::processes::eventually;
use tests::service::{Request, Service};

/// Turns that a worker runs at once.
const CONCURRENCY: usize = 3;
/// Work items that justify one more worker, of at most so many.
const BACKLOG_PER_REPLICA: u64 = 2;
const REPLICAS_MAX: u64 = 3;
const CONVERSATIONS: u64 = 7;

/// Two agents that are scaled, with a model that the test plays.
fn manifest(service: &Service) -> Json {
    let agent = |name: &str, target: &str| {
        json!({
            "instructions": format!("You are {name}."),
            "handoffs": [{ "to": target, "when": "Always." }],
            "worker": {
                "concurrency": CONCURRENCY,
                "scaling": { "min": 0, "max": REPLICAS_MAX, "backlogPerReplica": BACKLOG_PER_REPLICA },
            },
        })
    };
    json!({
        "apiVersion": "baton/v1alpha1",
        "kind": "Orchestration",
        "metadata": { "name": "support" },
        "spec": {
            "start": "triage",
            "models": { "default": { "provider": "openai", "name": "test", "baseUrl": format!("{}/v1", service.url()), "retries": 0 } },
            "agents": { "triage": agent("triage", "refund"), "refund": agent("refund", "triage") },
        },
    })
}

fn load(directory: &TempDir, manifest: &Json) -> Orchestration {
    let path = directory.path().join("support.yaml");
    std::fs::write(&path, manifest.to_string()).unwrap();
    cli::manifest::load(&path).unwrap().orchestration
}

// What the chart tells KEDA.

/// Settings of a ScaledObject and its trigger, by their names there.
type Trigger = BTreeMap<&'static str, String>;

const SETTINGS: [&str; 8] = [
    "minReplicaCount",
    "maxReplicaCount",
    "natsServerMonitoringEndpoint",
    "account",
    "stream",
    "consumer",
    "lagThreshold",
    "activationLagThreshold",
];

/// The trigger of an agent as it must be.
fn expected(endpoint: &str, orchestration: &OrchestrationName, agent: &AgentName) -> Trigger {
    let (replicas, backlog) = (REPLICAS_MAX.to_string(), BACKLOG_PER_REPLICA.to_string());
    let (stream, consumer) = (subject::stream(orchestration), subject::consumer(agent));
    let values = ["0", &replicas, endpoint, "$G", &stream, &consumer, &backlog, "0"];
    SETTINGS.into_iter().zip(values.map(ToOwned::to_owned)).collect()
}

/// The triggers in what the chart renders for a manifest; none without Helm.
fn rendered(directory: &TempDir, manifest: &Json, endpoint: &str) -> Option<Vec<Trigger>> {
    let values = json!({
        "keda": { "enabled": true },
        "nats": { "monitoring": { "endpoint": endpoint } },
        "orchestrations": { "support": { "manifest": manifest } },
    });
    let file = directory.path().join("values.yaml");
    std::fs::write(&file, values.to_string()).unwrap();
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/helm/baton");
    let mut helm = std::process::Command::new(helm()?);
    let output = helm.args(["template", "tests"]).arg(chart).arg("--values").arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.split("\n---\n").filter(|object| object.contains("\nkind: ScaledObject\n")).map(trigger).collect())
}

fn trigger(object: &str) -> Trigger {
    let pairs = object.lines().filter_map(|line| line.trim().split_once(": "));
    let known = pairs.filter_map(|(key, value)| Some((SETTINGS.into_iter().find(|setting| *setting == key)?, value)));
    known.map(|(setting, value)| (setting, value.trim_matches('"').to_owned())).collect()
}

/// The Helm that `deploy/helm/check` obtained, or one on PATH.
fn helm() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let obtained = cache.map(|cache| cache.join("baton/tools/helm-4.1.4"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path).map(|directory| directory.join("helm")).collect();
    obtained.into_iter().chain(on_path).find(|helm| helm.is_file())
}

// What KEDA does with it.

/// What one node of the broker says of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    /// Work items that no worker has.
    waiting: u64,
    /// Work items that workers have and have not acknowledged.
    held: u64,
    /// The node that leads the consumer, in a cluster.
    leader: Option<String>,
}

impl Reading {
    const fn lag(&self) -> u64 {
        self.waiting + self.held
    }
}

/// KEDA's scaler of one agent.
#[derive(Debug)]
struct Scaler(Trigger);

impl Scaler {
    fn number(&self, setting: &str) -> u64 {
        self.0[setting].parse().unwrap()
    }

    /// The scaler's request, and what it takes from the answer: none where the node does not have the consumer.
    async fn read(&self, node: &broker::Server) -> Option<Reading> {
        let account = &self.0["account"];
        let path = format!("/jsz?acc={}&config=true&consumers=true", account.replace('$', "%24"));
        let jsz = node.monitor(&path).await.unwrap();
        let named = |list: &Json, key: &str, name: &str| list.as_array()?.iter().find(|one| one[key] == name).cloned();
        let account = named(&jsz["account_details"], "name", account)?;
        let stream = named(&account["stream_detail"], "name", &self.0["stream"])?;
        let consumer = named(&stream["consumer_detail"], "name", &self.0["consumer"])?;
        Some(Reading {
            waiting: consumer["num_pending"].as_u64().unwrap(),
            held: consumer["num_ack_pending"].as_u64().unwrap(),
            leader: consumer["cluster"]["leader"].as_str().map(ToOwned::to_owned),
        })
    }

    /// Waits until so many items wait and so many are held.
    async fn until(&self, node: &broker::Server, waiting: u64, held: u64) -> Reading {
        let what = format!("{}: {waiting} waiting, {held} held", self.0["consumer"]);
        let as_expected = |reading: &Reading| (reading.waiting, reading.held) == (waiting, held);
        eventually(&what, async || self.read(node).await.filter(as_expected)).await
    }

    /// How many workers there would be: none without a reason, else as the autoscaler divides, within bounds.
    fn replicas(&self, reading: &Reading) -> u64 {
        let bounds = (self.number("minReplicaCount"), self.number("maxReplicaCount"));
        if reading.lag() <= self.number("activationLagThreshold") {
            return bounds.0;
        }
        reading.lag().div_ceil(self.number("lagThreshold")).clamp(bounds.0.max(1), bounds.1)
    }
}

/// The scalers of triage and refund, as the chart has them.
fn scalers(directory: &TempDir, manifest: &Json, monitor_url: &str) -> [Scaler; 2] {
    let endpoint = monitor_url.trim_start_matches("http://");
    let orchestration: OrchestrationName = "support".parse().unwrap();
    let expected = ["triage", "refund"].map(|agent| expected(endpoint, &orchestration, &agent.parse().unwrap()));
    match rendered(directory, manifest, endpoint) {
        Some(rendered) => {
            assert_eq!(rendered.len(), 2, "{rendered:?}");
            assert!(expected.iter().all(|trigger| rendered.contains(trigger)), "{rendered:#?} is not {expected:#?}");
        }
        None => println!("there is no Helm here (deploy/helm/check obtains it): the chart's own values are not compared"),
    }
    expected.map(Scaler)
}

async fn open(client: &Client, conversations: u64) {
    for number in 0..conversations {
        client.start(&Opening::new("tests", format!("Problem {number}")).with_human()).await.unwrap();
    }
}

/// The turns of all slots of a worker, held by their model.
async fn turns(service: &mut Service) -> Vec<Request> {
    let mut turns = Vec::new();
    for _ in 0..CONCURRENCY {
        turns.push(service.next().await);
    }
    turns
}

#[tokio::test]
async fn the_scaler_counts_what_waits_for_a_worker_and_what_workers_hold_and_nobody_who_waits_for_a_person() {
    let (server, mut service, directory) = (server().await, Service::start().await, tempfile::tempdir().unwrap());
    let manifest = manifest(&service);
    let orchestration = load(&directory, &manifest);
    let [triage, refund] = scalers(&directory, &manifest, server.monitor_url());
    let settings = |process: &str| Settings::new(server.url(), process.parse().unwrap());
    assert_eq!(triage.read(&server).await, None, "before anything is provisioned there is nothing to scale by");
    let mut coordinator = Programs::of(orchestration.clone());
    coordinator.coordinator(&settings("coordinator-1"), 1).await;
    let client = client(&settings("caller-1"), orchestration.name()).await;
    let reading = triage.until(&server, 0, 0).await;
    assert_eq!(triage.replicas(&reading), 0);

    // Without a worker: what waits.
    open(&client, CONVERSATIONS).await;
    let reading = triage.until(&server, CONVERSATIONS, 0).await;
    assert_eq!((reading.lag(), triage.replicas(&reading)), (CONVERSATIONS, REPLICAS_MAX));

    // A worker has taken what it can run, and nothing besides; what it runs counts like what waits.
    let mut workers = Programs::of(orchestration.clone());
    workers.worker(&settings("triage-1"), "triage").await;
    let mut held = turns(&mut service).await;
    let reading = triage.until(&server, CONVERSATIONS - CONCURRENCY as u64, CONCURRENCY as u64).await;
    assert_eq!(reading.lag(), CONVERSATIONS);

    // A transfer is the target's from then on, whose workers sleep: one item is enough to wake one.
    held.remove(0).call("transfer_to_refund", &json!({}));
    held.push(service.next().await);
    triage.until(&server, CONVERSATIONS - CONCURRENCY as u64 - 1, CONCURRENCY as u64).await;
    let reading = refund.until(&server, 1, 0).await;
    assert_eq!((reading.lag(), refund.replicas(&reading)), (1, 1));

    // All the others ask their person something: no pod waits with them.
    for _ in 0..CONVERSATIONS - 1 - CONCURRENCY as u64 {
        held.remove(0).say("Which order?");
        held.push(service.next().await);
    }
    for turn in held {
        turn.say("Which order?");
    }
    let reading = triage.until(&server, 0, 0).await;
    assert_eq!(triage.replicas(&reading), 0);
    workers.stop().await;

    // A reply is one item, until the worker that it wakes has answered it.
    let all_wait = eventually("everybody else waits", async || {
        let waiting = ListQuery { agent: Some("triage".parse().unwrap()), ..ListQuery::default() };
        let listed = client.list(&waiting).await.ok()?.conversations;
        (listed.len() as u64 == CONVERSATIONS - 1).then_some(listed)
    });
    client.say(&all_wait.await[0].conversation, "Order 123", None).await.unwrap();
    let reading = triage.until(&server, 1, 0).await;
    assert_eq!(triage.replicas(&reading), 1);
    let mut workers = Programs::of(orchestration);
    workers.worker(&settings("triage-2"), "triage").await;
    let turn = service.next().await;
    let reading = triage.until(&server, 0, 1).await;
    assert_eq!(triage.replicas(&reading), 1);
    turn.say("It is on its way. Anything else?");
    let reading = triage.until(&server, 0, 0).await;
    assert_eq!((triage.replicas(&reading), refund.replicas(&refund.until(&server, 1, 0).await)), (0, 1));
    workers.stop().await;
    coordinator.stop().await;
}

/// KEDA finds the node that leads the consumer by what any node says of it, and reads there.
#[tokio::test]
async fn in_a_cluster_every_node_names_the_leader_and_the_leader_knows() {
    let (cluster, mut service, directory) = (cluster_of_three().await, Service::start().await, tempfile::tempdir().unwrap());
    let manifest = manifest(&service);
    let orchestration = load(&directory, &manifest);
    let [triage, _] = scalers(&directory, &manifest, cluster.nodes[0].monitor_url());
    let settings = |process: &str| Settings::new(cluster.urls().join(","), process.parse().unwrap());
    let mut programs = Programs::of(orchestration.clone());
    programs.coordinator(&settings("coordinator-1"), 3).await;
    let client = client(&settings("caller-1"), orchestration.name()).await;
    open(&client, CONVERSATIONS).await;

    // Nodes are called n0, n1, n2.
    let leader = eventually("all nodes name the same leader", async || {
        let mut leaders = Vec::new();
        for node in &cluster.nodes {
            leaders.push(triage.read(node).await?.leader.filter(|leader| !leader.is_empty())?);
        }
        leaders.dedup();
        let [leader] = &leaders[..] else { return None };
        cluster.nodes.get(leader.strip_prefix('n')?.parse::<usize>().ok()?)
    })
    .await;
    triage.until(leader, CONVERSATIONS, 0).await;
    programs.worker(&settings("triage-1"), "triage").await;
    let held = turns(&mut service).await;
    let reading = triage.until(leader, CONVERSATIONS - CONCURRENCY as u64, CONCURRENCY as u64).await;
    assert_eq!(reading.lag(), CONVERSATIONS);
    drop(held);
}
