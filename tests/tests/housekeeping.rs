//! What a coordinator does about what is over, on a real broker.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, where a panic is the failure")]

use std::process::Output;

use client::{Client, Opening};
use journal::ConsumerState;
use journal::nats::Settings;
use protocol::ids::{AgentName, ConversationId, Seq};
use serde_json::json;
use tempfile::TempDir;
use tests::http::Http;
use tests::in_process::{Programs, client, support};
use tests::nats::{self, server};
use tests::processes::{Process, command, eventually, output};

fn triage() -> AgentName {
    "triage".parse().unwrap()
}

/// A conversation that nobody takes up.
async fn open(client: &Client) -> ConversationId {
    client.start(&Opening::new("tests", "Hello")).await.unwrap().conversation
}

/// One that is over before anybody does.
async fn finish(client: &Client) {
    client.cancel(&open(client).await, "").await.unwrap();
}

/// Deletes the consumer of `triage` once the coordinator has seen everything, and waits for the next one.
async fn made_anew(client: &Client) -> ConsumerState {
    let (broker, orchestration) = (client.broker(), client.orchestration());
    let last = broker.last_seq(orchestration).await.unwrap().0;
    eventually("the ledger", async || (client.status().await.unwrap().seq == last).then_some(())).await;
    assert_eq!(broker.retire(orchestration, &triage()).await, Ok(true));
    eventually("another consumer", async || broker.consumer_state(orchestration, &triage()).await.unwrap()).await
}

#[tokio::test]
async fn a_consumer_made_anew_delivers_what_is_open_and_nothing_of_what_is_over() {
    let server = server().await;
    let settings = |process: &str| Settings::new(server.url(), process.parse().unwrap());
    let mut programs = Programs::of(support());
    programs.coordinator(&settings("coordinator-1"), 1).await;
    let client = client(&settings("tests"), &"support".parse().unwrap()).await;
    for _ in 0..50 {
        finish(&client).await;
    }
    let begun = made_anew(&client).await;
    assert_eq!((begun.delivered, begun.pending), (Seq(100), 0), "nothing is open");

    let waiting = open(&client).await;
    let begun = made_anew(&client).await;
    assert_eq!((begun.delivered, begun.pending), (Seq(100), 1));
    let later = open(&client).await;
    let mut work = client.broker().work(client.orchestration(), &triage()).await.unwrap();
    for (seq, conversation) in [(101, waiting), (102, later)] {
        let item = work.next(1).await.unwrap();
        assert!(item.stored.seq == Seq(seq) && item.stored.subject.contains(conversation.as_str()), "{}", item.stored.subject);
        item.settle.ack().await;
    }
    programs.stop().await;
}

/// Every program in a process of its own, two coordinators among them.
struct Deployment {
    server: nats::Server,
    http: Http,
    client: Client,
    _processes: Vec<Process>,
    _directory: TempDir,
}

impl Deployment {
    /// Of an agent that asks whoever waits, and helps everybody else; what is over is kept as `retention` says.
    async fn of(retention: serde_json::Value) -> Self {
        let (server, directory) = (server().await, tempfile::tempdir().unwrap());
        let script = json!([{ "user": "wait", "say": "For how long?" }, { "complete": "Helped." }]);
        let manifest = json!({
            "apiVersion": "baton/v1alpha1", "kind": "Orchestration", "metadata": { "name": "help" },
            "spec": {
                "start": "helper", "retention": retention,
                "models": { "default": { "provider": "scripted", "script": script } },
                "agents": { "helper": { "description": "Helps.", "instructions": "Help." } },
            },
        });
        let path = directory.path().join("help.json");
        std::fs::write(&path, manifest.to_string()).unwrap();
        let mut processes = Vec::new();
        let coordinator = ["coordinator", "--manifest", path.to_str().unwrap()];
        let gateway = ["gateway", "--orchestration", "help", "--listen", "127.0.0.1:0"];
        let worker = ["worker", "--agent", "help/helper"];
        let mut address = None;
        for arguments in [&coordinator[..], &coordinator, &gateway, &worker] {
            let mut command = command(arguments).await;
            command.args(["--nats", server.url()]);
            let mut process = Process::start(command);
            if arguments == gateway {
                let line = process.line("listening at http://").await;
                address = line.split_once("http://").and_then(|(_, rest)| rest.split('/').next()?.parse().ok());
            }
            process.line("ready, as ").await;
            processes.push(process);
        }
        let client = client(&Settings::new(server.url(), "tests".parse().unwrap()), &"help".parse().unwrap()).await;
        Self { http: Http::at(address.unwrap()), server, client, _processes: processes, _directory: directory }
    }

    /// A conversation that is in some phase now.
    async fn conversation(&self, key: &str, message: &str, phase: &str) -> String {
        let begun = self.http.post_once("/v1/conversations", key, &json!({ "message": message })).await.expect(201);
        let id = begun.body.get("conversation").and_then(|id| id.as_str()).unwrap().to_owned();
        eventually(phase, async || {
            let shown = self.http.get(&format!("/v1/conversations/{id}")).await.expect(200);
            (shown.body.get("phase")?.as_str()? == phase).then_some(())
        })
        .await;
        id
    }

    /// The ends of the subjects that the stream has of it.
    async fn left(&self, id: &str) -> Vec<String> {
        let messages = self.client.broker().messages(self.client.orchestration(), &id.parse().unwrap()).await.unwrap();
        messages.iter().map(|message| message.subject.split_once(id).unwrap().1.to_owned()).collect()
    }

    async fn baton(&self, verb: &str, arguments: &[&str]) -> Output {
        let mut baton = command(&[verb, "--orchestration", "help", "--nats", self.server.url()]).await;
        output(baton.args(arguments)).await
    }

    async fn erase(&self, arguments: &[&str]) -> Output {
        self.baton("erase", arguments).await
    }

    /// Nobody is told anything of it but that it was erased, and nobody starts it again.
    async fn check_gone(&self, id: &str, key: &str) {
        let path = format!("/v1/conversations/{id}");
        self.http.get(&path).await.problem(410, "erased");
        self.http.get(&format!("{path}/events")).await.problem(410, "erased");
        self.http.delete(&path).await.problem(410, "erased");
        self.http.post(&format!("{path}/messages"), &json!({ "text": "Hello?" })).await.problem(410, "erased");
        self.http.post_once("/v1/conversations", key, &json!({ "message": "Help me." })).await.problem(410, "erased");
        let shown = self.baton("show", &[id]).await;
        let said = String::from_utf8_lossy(&shown.stderr).into_owned();
        assert!(!shown.status.success() && said.contains("was erased"), "{said}");
        assert_eq!(self.left(id).await.len(), 1, "{:?}", self.left(id).await);
    }
}

#[tokio::test]
async fn what_an_operator_erases_is_gone_and_is_not_begun_again() {
    let deployment = Deployment::of(json!({ "erased": "1h" })).await;
    let over = deployment.conversation("over", "Help me.", "completed").await;
    let open = deployment.conversation("open", "Please wait.", "waiting").await;
    let refused = deployment.erase(&[&open]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("still open (waiting)") && said.contains("--cancel"), "{said}");
    assert_eq!(deployment.left(&open).await.len(), 2);
    assert!(!deployment.erase(&["never-begun"]).await.status.success());

    for arguments in [&[over.as_str()][..], &[&over], &[&open, "--cancel"], &[&open]] {
        let erased = deployment.erase(arguments).await;
        assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    }
    assert_eq!(
        (deployment.left(&over).await, deployment.left(&open).await),
        (vec![".2.end.coordinator".into()], vec![".3.end.coordinator".into()])
    );
    deployment.check_gone(&over, "over").await;
    deployment.check_gone(&open, "open").await;
}

#[tokio::test]
async fn what_is_over_is_erased_in_time_and_then_forgotten() {
    let deployment = Deployment::of(json!({ "ended": "2s", "erased": "15s" })).await;
    let open = deployment.conversation("open", "Please wait.", "waiting").await;
    let over = deployment.conversation("over", "Help me.", "completed").await;
    eventually("its erasure", async || (deployment.left(&over).await == [".2.end.coordinator"]).then_some(())).await;
    deployment.check_gone(&over, "over").await;
    eventually("its tombstone to go", async || deployment.left(&over).await.is_empty().then_some(())).await;
    let again = deployment.conversation("over", "Help me.", "completed").await;
    assert_eq!(again, over, "by then its key means nothing any more");
    assert_eq!(deployment.left(&open).await.len(), 2);
}
