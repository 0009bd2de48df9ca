//! Changing a running orchestration, with every part of it a process that is never restarted: conversations that run finish on
//! the revision they began with, new ones take the new one, and agents come and go.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "helpers of tests: a panic is how a test fails")]

use std::path::PathBuf;

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tests::dev::Dev;
use tests::nats;
use tests::processes::{Process, command, eventually, output};
use tests::service::{Request, Service};
use tokio::process::Command;

/// An agent: its name, what it is told, and whom it may hand over to.
type Agent<'a> = (&'a str, &'a str, &'a [&'a str]);

/// A broker, a service that plays every agent, and manifests in a directory.
struct World {
    server: nats::Server,
    service: Service,
    directory: TempDir,
}

impl World {
    async fn new() -> Self {
        Self { server: nats::server().await, service: Service::start().await, directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.json"))
    }

    /// Writes the manifest of an orchestration; the first agent starts.
    fn define(&self, name: &str, agents: &[Agent<'_>]) {
        let agent = |(name, told, edges): &Agent<'_>| {
            let handoffs: Vec<_> = edges.iter().map(|to| json!({ "to": to })).collect();
            ((*name).to_owned(), json!({ "description": "Helps.", "instructions": told, "handoffs": handoffs }))
        };
        let model = json!({ "provider": "openai", "name": "test", "baseUrl": format!("{}/v1", self.service.url()), "retries": 0 });
        let agents_by_name: serde_json::Map<_, _> = agents.iter().map(agent).collect();
        let spec = json!({ "start": agents[0].0, "models": { "default": model }, "agents": agents_by_name });
        let manifest = json!({ "apiVersion": "baton/v1alpha1", "kind": "Orchestration", "metadata": { "name": name }, "spec": spec });
        std::fs::write(self.path(name), manifest.to_string()).unwrap();
    }

    async fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments).await;
        command.args(["--nats", self.server.url()]).env("NO_COLOR", "1");
        command
    }

    async fn start(&self, arguments: &[&str]) -> Process {
        Process::start(self.command(arguments).await)
    }

    async fn coordinator(&self, names: &[&str]) -> Process {
        let paths: Vec<_> = names.iter().map(|name| self.path(name).to_str().unwrap().to_owned()).collect();
        let mut coordinator = self.start(&["coordinator", "--manifest", &paths.join(",")]).await;
        coordinator.line("ready, as coordinator-").await;
        coordinator
    }

    async fn worker(&self, agents: &str) -> Process {
        let mut worker = self.start(&["worker", "--agent", agents]).await;
        worker.line("ready, as ").await;
        worker
    }

    /// A conversation, and its id.
    async fn run(&self, orchestration: &str, task: &str) -> (Process, String) {
        let mut run = self.start(&["run", "--orchestration", orchestration, task]).await;
        let id = run.line("conversation ").await.trim_start_matches("conversation ").to_owned();
        (run, id)
    }

    async fn json(&self, arguments: &[&str]) -> Json {
        let output = output(self.command(arguments).await.args(["--output", "json"])).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The revisions as they are shown: whether each is the current one, how many open conversations run on it, its agents.
    async fn revisions(&self) -> Vec<(bool, u64, Vec<String>)> {
        let shown = self.json(&["revisions", "--orchestration", "desk"]).await;
        let agents = |shown: &Json| shown["agents"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
        let shown = shown["revisions"].as_array().unwrap().iter();
        shown.map(|shown| (shown["isCurrent"] == true, shown["open"].as_u64().unwrap(), agents(shown))).collect()
    }

    async fn has_consumer(&self, agent: &str) -> bool {
        let broker = async_nats::jetstream::new(async_nats::connect(self.server.url()).await.unwrap());
        let stream = broker.get_stream("baton-desk").await.unwrap();
        stream.consumer_info(&format!("agent-{agent}")).await.is_ok()
    }

    /// What an agent was told, and whom it may hand over to; and the request, to be answered.
    async fn asked(&mut self, told: &str, transfers: &[&str]) -> Request {
        let request = self.service.next().await;
        let system = request.body["messages"][0]["content"].as_str().unwrap();
        assert!(system.contains(told), "{system:?} does not contain {told:?}");
        let tools = request.body["tools"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
        let tools = tools.filter_map(|tool| tool["function"]["name"].as_str().unwrap().strip_prefix("transfer_to_"));
        assert_eq!(tools.collect::<Vec<_>>(), transfers);
        request
    }
}

async fn completes(mut run: Process) {
    let (status, said) = run.end().await;
    assert!(status.success(), "{said}");
}

fn complete(request: Request) {
    request.call("complete_task", &json!({ "task_summary": "It is done." }));
}

#[tokio::test]
async fn a_running_conversation_finishes_as_it_began_and_its_agents_stay_until_then() {
    let mut world = World::new().await;
    let old: &[Agent<'_>] = &[("triage", "Old words.", &["refund"]), ("refund", "You refund.", &[])];
    world.define("desk", old);
    let mut coordinator = world.coordinator(&["desk"]).await;
    let _triage = world.worker("desk/triage").await;
    let mut refund = world.worker("desk/refund").await;
    // There is no such agent yet.
    let mut billing = world.start(&["worker", "--orchestration", "desk", "--agent", "billing"]).await;
    billing.line("has no agent billing: it has refund, triage").await;

    let (mut first, id) = world.run("desk", "Hello").await;
    world.asked("Old words.", &["refund"]).await.say("Which order?");
    first.line("Which order?").await;

    // One agent goes, another one comes, and with them the edges.
    world.define("desk", &[("triage", "New words.", &["billing"]), ("billing", "You bill.", &[])]);
    coordinator.line("another revision is current").await;
    billing.line("ready, as billing-").await;
    let (second, _) = world.run("desk", "Hello").await;
    world.asked("New words.", &["billing"]).await.call("transfer_to_billing", &json!({}));
    complete(world.asked("You bill.", &[]).await);
    completes(second).await;

    // Meanwhile the first one waits for its person, then for another one, and nobody has gone.
    first.type_line("Order 7").await;
    world.asked("Old words.", &["refund"]).await.call("transfer_to_refund", &json!({}));
    world.asked("You refund.", &[]).await.say("Are you sure?");
    first.line("Are you sure?").await;
    assert!(world.has_consumer("refund").await);
    let open = eventually("the ledger to have both", async || Some(world.revisions().await).filter(|shown| shown[0].1 == 0)).await;
    let both = [(true, 0, vec!["billing".to_owned(), "triage".to_owned()]), (false, 1, vec!["refund".to_owned(), "triage".to_owned()])];
    assert_eq!(open, both);
    first.type_line("Yes").await;
    complete(world.asked("You refund.", &[]).await);
    completes(first).await;

    // Then nothing needs the agent that went.
    coordinator.line("retired: no revision in use has it").await;
    refund.line("idle, it has retired").await;
    assert!(!world.has_consumer("refund").await && world.has_consumer("triage").await && world.has_consumer("billing").await);
    let shown = world.json(&["show", &id, "--orchestration", "desk"]).await;
    assert_eq!(shown["isConsistent"], true, "what ended on a retired revision can be looked at");

    // And back: the same processes serve it.
    world.define("desk", old);
    refund.line("it is back, and takes work").await;
    let (third, _) = world.run("desk", "Hello").await;
    world.asked("Old words.", &["refund"]).await.call("transfer_to_refund", &json!({}));
    complete(world.asked("You refund.", &[]).await);
    completes(third).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing_and_a_good_one_can_be_registered_by_hand() {
    let mut world = World::new().await;
    world.define("desk", &[("triage", "Old words.", &[])]);
    let mut coordinator = world.coordinator(&["desk"]).await;
    let _triage = world.worker("desk/triage").await;
    let before = world.revisions().await;

    world.define("desk", &[("triage", "New words.", &["nobody"])]);
    let said = coordinator.line("the manifest has changed and cannot be used; the old revision goes on").await;
    assert!(said.contains("ERROR"), "{said}");
    coordinator.line("nobody").await;
    let path = world.path("desk");
    let refused = output(&mut world.command(&["register", path.to_str().unwrap()]).await).await;
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("nobody"), "{refused:?}");
    assert_eq!(world.revisions().await, before);
    let (first, _) = world.run("desk", "Hello").await;
    complete(world.asked("Old words.", &[]).await);
    completes(first).await;

    // From a file that the coordinator does not read.
    let by_hand = world.directory.path().join("by-hand.json");
    world.define("desk", &[("triage", "By hand.", &[])]);
    std::fs::rename(&path, &by_hand).unwrap();
    let registered = world.json(&["register", by_hand.to_str().unwrap()]).await;
    assert!(registered["before"].is_string() && registered["before"] != registered["revision"], "{registered}");
    coordinator.line("another revision is current").await;
    let again = world.json(&["register", by_hand.to_str().unwrap()]).await;
    assert_eq!(again["before"], registered["revision"]);
    // Callers believe for a moment what was current.
    let (second, _) = world.run("desk", "Hello").await;
    complete(world.asked("By hand.", &[]).await);
    completes(second).await;
}

#[tokio::test]
async fn one_worker_serves_agents_of_two_orchestrations_on_one_broker() {
    let mut world = World::new().await;
    world.define("desk", &[("triage", "You are the desk.", &[])]);
    world.define("shop", &[("triage", "You are the shop.", &[])]);
    let _coordinator = world.coordinator(&["desk", "shop"]).await;
    let ambiguous = output(&mut world.command(&["worker", "--agent", "triage"]).await).await;
    assert!(String::from_utf8_lossy(&ambiguous.stderr).contains("of which orchestration is triage?"), "{ambiguous:?}");
    let _worker = world.worker("desk/triage,shop/triage").await;

    let (mut desk, of_desk) = world.run("desk", "Hello, desk").await;
    let at_desk = world.asked("You are the desk.", &[]).await;
    let (mut shop, of_shop) = world.run("shop", "Hello, shop").await;
    let at_shop = world.asked("You are the shop.", &[]).await;
    assert!(!at_shop.body.to_string().contains("Hello, desk"), "{}", at_shop.body);
    at_shop.say("Here is the shop.");
    at_desk.say("Here is the desk.");
    shop.line("Here is the shop.").await;
    desk.line("Here is the desk.").await;
    for (orchestration, conversation) in [("desk", of_desk), ("shop", of_shop)] {
        let listed = eventually("the ledger to have it", async || {
            let listed = world.json(&["list", "--orchestration", orchestration, "--phase", "waiting"]).await;
            (listed["total"] != 0).then_some(listed)
        })
        .await;
        assert_eq!((&listed["total"], &listed["conversations"][0]["conversation"]), (&json!(1), &json!(conversation)));
    }
}

#[tokio::test]
async fn baton_dev_follows_its_manifest() {
    let mut world = World::new().await;
    world.define("desk", &[("triage", "Old words.", &["refund"]), ("refund", "You refund.", &[])]);
    let data = world.directory.path().join("data");
    let mut dev = Dev::start(&world.path("desk"), &data).await;

    world.define("desk", &[("triage", "New words.", &["billing"]), ("billing", "You bill.", &[])]);
    // Who sees the change first, `dev` or the coordinator, decides what is said first.
    let different = ["+ agent billing", "- agent refund", "+ triage → billing", "- triage → refund", "~ agent triage"];
    let done = ["starting a worker of billing", "refund has retired: ending its worker"];
    dev.process.lines(&[&different[..], &done].concat()).await;
    tests::processes::all_gone([dev.pid("refund")]).await;
    let mut run = Process::start(dev.command(&["run", "Hello"]).await);
    run.line("conversation ").await;
    world.asked("New words.", &["billing"]).await.call("transfer_to_billing", &json!({}));
    complete(world.asked("You bill.", &[]).await);
    completes(run).await;

    world.define("desk", &[("triage", "Newer words.", &["nobody"])]);
    dev.process.line("the manifest has changed and cannot be used").await;
    let mut run = Process::start(dev.command(&["run", "Hello"]).await);
    run.line("conversation ").await;
    complete(world.asked("New words.", &["billing"]).await);
    completes(run).await;
}
