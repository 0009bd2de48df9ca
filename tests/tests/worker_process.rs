//! A worker process: how it begins, how it stops, and what becomes of its turns when it is killed.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "helpers of tests: a panic is how a test fails")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cli::ports::free_address;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tests::nats;
use tests::processes::{Process, command, eventually, output};
use tests::service::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

/// After so long without a sign of life from a worker, the broker by itself delivers its item again.
const ACK_WAIT: Duration = Duration::from_secs(4);
/// Far below that: somebody has noticed.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A broker, a coordinator, and a service that is the model and the tool of the agent `writer`.
struct World {
    server: nats::Server,
    service: Service,
    directory: TempDir,
    coordinator: Option<Process>,
}

impl World {
    async fn start() -> Self {
        let mut world = Self::without_coordinator().await;
        let mut coordinator = world.coordinator().await;
        coordinator.line("ready, as coordinator-").await;
        world.coordinator = Some(coordinator);
        world
    }

    async fn without_coordinator() -> Self {
        let (server, service) = (nats::server().await, Service::start().await);
        let directory = tempfile::tempdir().unwrap();
        let manifest = json!({
            "apiVersion": "baton/v1alpha1",
            "kind": "Orchestration",
            "metadata": { "name": "desk" },
            "spec": {
                "start": "writer",
                "models": { "default": { "provider": "openai", "name": "test", "baseUrl": format!("{}/v1", service.url()), "retries": 0 } },
                "agents": { "writer": { "instructions": "Write.", "tools": [{ "from": "shop", "names": ["refund", "book"] }] } },
                "tools": { "shop": { "http": { "baseUrl": service.url(), "tools": { "refund": {
                    "method": "POST",
                    "path": "/refund",
                    "parameters": { "type": "object", "properties": { "order": { "type": "string" } }, "required": ["order"] },
                }, "book": {
                    "method": "POST",
                    "path": "/book",
                    "inDoubt": { "compensate": "unbook" },
                    "parameters": { "type": "object", "properties": { "seat": { "type": "string" } }, "required": ["seat"] },
                }, "unbook": {
                    "method": "POST",
                    "path": "/unbook",
                    "effect": "idempotent",
                    "parameters": { "type": "object", "properties": { "seat": { "type": "string" } }, "required": ["seat"] },
                } } } } },
            },
        });
        std::fs::write(directory.path().join("desk.yaml"), manifest.to_string()).unwrap();
        Self { server, service, directory, coordinator: None }
    }

    fn manifest(&self) -> PathBuf {
        self.directory.path().join("desk.yaml")
    }

    async fn coordinator(&self) -> Process {
        let manifest = self.manifest();
        Process::start(self.command(&["coordinator", "--manifest", manifest.to_str().unwrap()]).await)
    }

    async fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments).await;
        command.args(["--nats", self.server.url()]).env("NO_COLOR", "1");
        command
    }

    /// A worker that can take work.
    async fn worker(&self, arguments: &[&str]) -> Process {
        let mut worker = self.starting_worker(arguments).await;
        worker.line("ready, as writer-").await;
        worker
    }

    async fn starting_worker(&self, arguments: &[&str]) -> Process {
        let mut worker = self.command(&["worker", "--orchestration", "desk", "--agent", "writer"]).await;
        worker.args(arguments);
        Process::start(worker)
    }

    /// A conversation without a person, by `baton run`, and its id.
    async fn run(&self) -> (Process, String) {
        self.run_with(&["--no-human"]).await
    }

    async fn run_with(&self, arguments: &[&str]) -> (Process, String) {
        let mut run = self.command(&["run", "--orchestration", "desk", "Write to us."]).await;
        run.args(arguments);
        let mut run = Process::start(run);
        let id = run.line("conversation ").await.trim_start_matches("conversation ").to_owned();
        (run, id)
    }

    async fn show(&self, conversation: &str) -> Json {
        let mut show = self.command(&["show", conversation, "--orchestration", "desk", "--output", "json"]).await;
        let shown = output(&mut show).await;
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        let shown: Json = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(shown["isConsistent"], true, "{shown:#}");
        shown
    }

    /// The kinds of a conversation's events, in order.
    async fn events(&self, conversation: &str) -> Vec<String> {
        let shown = self.show(conversation).await;
        let entries = shown["entries"].as_array().unwrap().iter();
        entries
            .flat_map(|entry| entry["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned()))
            .collect()
    }
}

async fn ends_with(mut run: Process, text: &str) {
    run.line(text).await;
    let (status, said) = run.end().await;
    assert!(status.success(), "{said}");
}

/// The status that a path answers with.
async fn status(port: u16, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn told_to_stop_it_takes_nothing_more_and_finishes_what_it_has() {
    let mut world = World::start().await;
    let port = free_address().unwrap().port();
    let health = format!("127.0.0.1:{port}");
    let mut worker = world.worker(&["--health", &health]).await;
    assert_eq!((status(port, "/livez").await, status(port, "/readyz").await), (Some(200), Some(200)));
    let (first, _) = world.run().await;
    let asked = world.service.next().await;

    worker.terminate();
    eventually("a worker that is not ready", async || (status(port, "/readyz").await == Some(503)).then_some(())).await;
    assert_eq!(status(port, "/livez").await, Some(200));
    let (second, waiting) = world.run().await;

    asked.say("The first letter.");
    ends_with(first, "The first letter.").await;
    let (exit, said) = worker.end().await;
    assert!(exit.success() && said.contains("stopped; every turn was finished"), "{said}");
    assert!(world.service.is_quiet(), "a worker that stops has taken a turn");
    assert_eq!(world.events(&waiting).await, ["opened"]);

    let _next = world.worker(&[]).await;
    world.service.next().await.say("The second letter.");
    ends_with(second, "The second letter.").await;
}

#[tokio::test]
async fn what_it_cannot_finish_in_time_is_handed_back_and_taken_at_once() {
    let mut world = World::start().await;
    let mut worker = world.worker(&["--drain-secs", "0"]).await;
    let (run, id) = world.run().await;
    let asked = world.service.next().await;
    let _other = world.worker(&[]).await;

    let told = Instant::now();
    worker.terminate();
    asked.abandoned().await;
    let again = world.service.next().await;
    let taken = told.elapsed();
    eprintln!("handed back and asked again after {taken:?}");
    assert!(taken < AT_ONCE, "{taken:?}");
    let (exit, said) = worker.end().await;
    assert!(exit.success() && said.contains("stopped; 1 unfinished turn(s) were handed back after 0 s"), "{said}");

    assert_eq!(world.show(&id).await["brief"]["attempts"].as_u64().unwrap_or_default(), 0, "stopping in order is no failed attempt");
    again.say("The letter.");
    ends_with(run, "The letter.").await;
    assert_eq!(world.events(&id).await, ["opened", "handed-back", "taken", "responded", "completed"]);
}

#[tokio::test]
async fn a_second_signal_ends_it_on_the_spot() {
    let mut world = World::start().await;
    let port = free_address().unwrap().port();
    let mut worker = world.worker(&["--health", &format!("127.0.0.1:{port}")]).await;
    let (_run, _) = world.run().await;
    let _asked = world.service.next().await;
    worker.terminate();
    eventually("a worker that is not ready", async || (status(port, "/readyz").await == Some(503)).then_some(())).await;
    worker.terminate();
    let (exit, said) = worker.end().await;
    assert_eq!(exit.code(), Some(130), "{said}");
    assert!(said.contains("stopped at once, by a second signal"), "{said}");
}

#[tokio::test]
async fn started_before_the_coordinator_it_waits_and_then_serves() {
    let mut world = World::without_coordinator().await;
    let port = free_address().unwrap().port();
    let mut worker = world.starting_worker(&["--health", &format!("127.0.0.1:{port}")]).await;
    worker.line("waiting for the orchestration").await;
    assert_eq!((status(port, "/livez").await, status(port, "/readyz").await), (Some(200), Some(503)));

    let _coordinator = world.coordinator().await;
    worker.line("ready, as writer-").await;
    assert_eq!(status(port, "/readyz").await, Some(200));
    let (run, _) = world.run().await;
    world.service.next().await.say("The letter.");
    ends_with(run, "The letter.").await;
}

#[tokio::test]
async fn a_worker_that_waits_for_the_coordinator_stops_when_it_is_told_to() {
    let world = World::without_coordinator().await;
    let mut worker = world.starting_worker(&[]).await;
    worker.line("waiting for the orchestration").await;
    worker.terminate();
    let (exit, said) = worker.end().await;
    assert!(exit.success(), "{said}");
}

#[tokio::test]
async fn a_worker_whose_broker_is_gone_stops_when_it_is_told_to() {
    let mut world = World::start().await;
    let mut worker = world.worker(&["--drain-secs", "1"]).await;
    let (_run, _) = world.run().await;
    let asked = world.service.next().await;
    world.server.kill().await.unwrap();
    asked.say("A letter that nobody stores.");
    worker.line("not yet known to be stored").await;
    worker.terminate();
    let (exit, said) = timeout(Duration::from_secs(20), worker.end()).await.expect("it ends within what it was given to drain, and a bit");
    assert!(exit.success(), "{said}");

    // And the turn is done by the next.
    world.server.restart().await.unwrap();
    let _next = world.worker(&[]).await;
    world.service.next().await.say("The letter.");
}

#[tokio::test]
async fn killed_while_the_model_thinks_it_is_succeeded_within_a_second_or_two() {
    let mut world = World::start().await;
    let mut first = world.worker(&[]).await;
    let (run, id) = world.run().await;
    let asked = world.service.next().await;
    let _second = world.worker(&[]).await;

    let killed = Instant::now();
    first.kill();
    first.end().await;
    asked.abandoned().await;
    let again = world.service.next().await;
    let taken = killed.elapsed();
    eprintln!("killed in mid model call: the survivor asks the model after {taken:?}");
    assert!(taken < AT_ONCE, "{taken:?}");

    again.say("The letter.");
    ends_with(run, "The letter.").await;
    let events = world.events(&id).await;
    assert_eq!(events.iter().filter(|kind| *kind == "responded").count(), 1, "{events:?}");
    assert_eq!(events.last().map(String::as_str), Some("completed"), "{events:?}");
    assert!(world.service.is_quiet(), "the model was asked more often than needed");
}

#[tokio::test]
async fn killed_while_no_coordinator_runs_it_is_succeeded_once_the_broker_delivers_again() {
    let mut world = World::start().await;
    let first = world.worker(&[]).await;
    let (run, id) = world.run().await;
    let _asked = world.service.next().await;
    let _second = world.worker(&[]).await;
    let mut coordinator = world.coordinator.take().unwrap();
    coordinator.kill();
    coordinator.end().await;

    let killed = Instant::now();
    first.kill();
    let again = world.service.next().await;
    let taken = killed.elapsed();
    eprintln!("killed without a coordinator: the survivor asks the model after {taken:?}");
    assert!(taken < ACK_WAIT + AT_ONCE, "{taken:?}");

    again.say("The letter.");
    ends_with(run, "The letter.").await;
    assert_eq!(world.events(&id).await, ["opened", "taken", "responded", "completed"]);
}

#[tokio::test]
async fn killed_while_a_tool_with_effects_runs_a_person_decides_and_the_key_is_the_same() {
    let mut world = World::start().await;
    let mut first = world.worker(&[]).await;
    let (mut run, id) = world.run_with(&[]).await;
    world.service.next().await.call("refund", &json!({ "order": "321" }));
    let refund = world.service.next().await;
    assert_eq!((refund.path.as_str(), &refund.body), ("/refund", &json!({ "order": "321" })));
    let key = refund.header("idempotency-key").to_owned();
    let _second = world.worker(&[]).await;

    let killed = Instant::now();
    first.kill();
    first.end().await;
    run.line("A worker died while refund({\"order\":\"321\"}) was running. Did it happen? (retry, happened or abandon").await;
    let asked = killed.elapsed();
    eprintln!("killed in mid tool: the person is asked after {asked:?}");
    assert!(asked < AT_ONCE, "{asked:?}");
    assert!(world.service.is_quiet(), "the tool has run again unasked");

    run.type_line("maybe").await;
    run.line("\"maybe\" is none of: retry, happened or abandon").await;
    run.type_line("retry the shop has no trace of it").await;
    let again = world.service.next().await;
    assert_eq!((again.path.as_str(), &again.body), ("/refund", &json!({ "order": "321" })));
    assert_eq!(again.header("idempotency-key"), key);
    assert!(epoch(&again) > epoch(&refund), "the service can tell the dead worker's request from its successor's");
    again.answer(&json!({ "refunded": true }));

    let told = world.service.next().await;
    let result = told.body["messages"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&result["role"], result["content"].as_str().unwrap()), (&json!("tool"), "{\"refunded\":true}"), "{result}");
    told.call("complete_task", &json!({ "task_summary": "Refunded order 321." }));
    ends_with(run, "Task is completed with summary: Refunded order 321.").await;
    let events = world.events(&id).await;
    assert_eq!(events.iter().filter(|kind| *kind == "returned").count(), 1, "{events:?}");
}

#[tokio::test]
async fn killed_while_a_tool_runs_that_another_undoes_it_is_undone_under_one_key_and_the_model_goes_on() {
    let mut world = World::start().await;
    let mut first = world.worker(&[]).await;
    let (run, id) = world.run().await;
    world.service.next().await.call("book", &json!({ "seat": "7a" }));
    let book = world.service.next().await;
    assert_eq!((book.path.as_str(), &book.body), ("/book", &json!({ "seat": "7a" })));
    let mut second = world.worker(&[]).await;
    first.kill();
    first.end().await;

    // The second dies as well, while it undoes: the third undoes again, under the same key.
    let mut keys = Vec::new();
    let mut undone = async |world: &mut World| {
        let undo = world.service.next().await;
        assert_eq!((undo.path.as_str(), &undo.body), ("/unbook", &json!({ "seat": "7a" })));
        assert_eq!(undo.header("baton-undoes"), book.header("idempotency-key"));
        assert!(epoch(&undo) > epoch(&book));
        keys.push(undo.header("idempotency-key").to_owned());
        undo
    };
    let _lost = undone(&mut world).await;
    let _third = world.worker(&[]).await;
    second.kill();
    second.end().await;
    undone(&mut world).await.answer(&json!({ "cancelled": true }));
    assert_eq!(keys, [format!("{}-undo", book.header("idempotency-key")), keys[0].clone()]);

    let told = world.service.next().await;
    let result = told.body["messages"].as_array().unwrap().last().unwrap().clone();
    assert!(result["content"].as_str().unwrap().contains("if it did, unbook has undone it"), "{result}");
    assert_eq!(told.body["tools"].as_array().unwrap().iter().filter(|tool| tool["function"]["name"] == "unbook").count(), 0);
    told.say("No seat was booked.");
    ends_with(run, "No seat was booked.").await;
    let events = world.events(&id).await;
    let count = |kind: &str| events.iter().filter(|event| *event == kind).count();
    // Whoever undoes has said so in its own epoch: the third as well, which has only inherited it.
    assert_eq!((count("intended"), count("withdrawn"), count("returned"), count("asked")), (1, 2, 1, 0), "{events:?}");
    assert!(world.service.is_quiet(), "the tool has run again");
}

fn epoch(request: &tests::service::Request) -> u64 {
    request.header("baton-epoch").parse().unwrap()
}

#[tokio::test]
async fn a_conversation_that_is_called_off_stops_the_model_in_mid_sentence() {
    let mut world = World::start().await;
    let _worker = world.worker(&[]).await;
    let (mut run, id) = world.run().await;
    let answer = world.service.next().await.stream();
    answer.piece("Dear customer, ");

    let cancelled = Instant::now();
    let cancel = output(&mut world.command(&["cancel", &id, "--reason", "wrong number", "--orchestration", "desk"]).await).await;
    assert!(cancel.status.success(), "{}", String::from_utf8_lossy(&cancel.stderr));
    answer.abandoned().await;
    let aborted = cancelled.elapsed();
    eprintln!("called off: the model's stream is closed after {aborted:?}, the command's own start included");
    assert!(aborted < AT_ONCE, "{aborted:?}");

    run.line("The conversation was cancelled: wrong number").await;
    let (exit, _) = run.end().await;
    assert_eq!(exit.code(), Some(1));
    assert_eq!(world.events(&id).await, ["opened", "cancelled"]);
}
