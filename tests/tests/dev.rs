//! `baton dev`: the whole system on one machine, whatever of it is killed.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "helpers of tests: a panic is how a test fails")]

use std::path::{Path, PathBuf};

use cli::broker::signal;
use serde_json::{Value as Json, json};
use tests::dev::Dev;
use tests::processes::{Process, all_gone, command, output};
use tests::sample::{SAMPLE, manifest};
use tests::service::Service;

/// A conversation of the support example through `baton run`, line by line.
struct Talk {
    process: Process,
    id: String,
}

impl Talk {
    async fn start(dev: &Dev) -> Self {
        let mut process = Process::start(dev.command(&["run", "A customer is on the line."]).await);
        let id = process.line("conversation ").await;
        Self { process, id: id.trim_start_matches("conversation ").to_owned() }
    }

    /// Goes through the sample's lines from `from` up to `to`: types the person's, waits for the others.
    async fn go(&mut self, from: usize, to: usize) {
        for line in &SAMPLE[from..to] {
            if let Some(reply) = line.strip_prefix("User: ") {
                self.process.type_line(reply).await;
            }
            assert_eq!(self.process.line(line.split(' ').next().unwrap()).await, *line);
        }
    }

    async fn ends_well(mut self) {
        let (status, said) = self.process.end().await;
        assert!(status.success(), "{said}");
    }
}

/// Not in the middle of an answer, nor of a question: between a person's line and its answer.
fn replies() -> Vec<usize> {
    (0..SAMPLE.len()).filter(|place| SAMPLE[*place].starts_with("User: ")).collect()
}

#[tokio::test]
async fn whatever_is_killed_the_conversation_goes_on_to_its_end() {
    let data = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&manifest(), data.path()).await;
    // At the fourth reply the owner is order-return.
    let place = replies()[3];
    for victim in ["order-return", "triage", "coordinator", "nats-server"] {
        let mut talk = Talk::start(&dev).await;
        talk.go(0, place).await;
        signal::kill(dev.pid(victim)).unwrap();
        talk.go(place, SAMPLE.len()).await;
        talk.ends_well().await;
        dev.process.line(&format!("{victim} ended (signal: 9 (SIGKILL)); starting it again")).await;
    }
}

#[tokio::test]
async fn a_worker_killed_in_the_instant_of_a_reply_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&manifest(), data.path()).await;
    let mut talk = Talk::start(&dev).await;
    for (number, place) in replies().into_iter().enumerate() {
        talk.go(if number == 0 { 0 } else { replies()[number - 1] + 1 }, place).await;
        let Some(reply) = SAMPLE[place].strip_prefix("User: ") else { unreachable!() };
        talk.process.type_line(reply).await;
        // Whose turn this reply begins: each is killed once at most, as its number is known only for the first.
        let owner = match number {
            0 => "order-status",
            2 => "triage",
            4 => "order-return",
            _ => "",
        };
        if !owner.is_empty() {
            signal::kill(dev.pid(owner)).unwrap();
            dev.process.line(&format!("{owner} ended")).await;
        }
        assert_eq!(talk.process.line("User: ").await, SAMPLE[place]);
    }
    talk.go(SAMPLE.len() - 1, SAMPLE.len()).await;
    talk.ends_well().await;
}

#[tokio::test]
async fn told_to_stop_it_ends_everything_in_order_and_keeps_the_conversations() {
    let data = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&manifest(), data.path()).await;
    let mut talk = Talk::start(&dev).await;
    talk.go(0, 3).await;
    talk.process.close_input();
    let (status, said) = talk.process.end().await;
    assert!(status.success(), "{said}");

    let second =
        output(command(&["dev", manifest().to_str().unwrap(), "--data", data.path().to_str().unwrap()]).await.env("NO_COLOR", "1")).await;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    let shown = data.path().display();
    assert!(said.contains(&format!("a `baton dev` runs in {shown} already, with support at nats://127.0.0.1:")), "{said}");
    assert!(said.contains("choose another directory with --data"), "{said}");

    dev.process.interrupt().await;
    ended_in_order(&mut dev, data.path()).await;

    // The next one goes on with what the first has kept, and ends as well when it is asked to.
    let mut dev = Dev::start(&manifest(), data.path()).await;
    let shown = dev.json(&["show", &talk.id]).await;
    assert_eq!(shown["isConsistent"], true);
    assert_eq!(shown["brief"]["phase"], "waiting");
    let mut again = Process::start(dev.command(&["run", "--conversation", &talk.id]).await);
    again.line("OrderStatusAgent: Sure, I can help you with that.").await;
    again.type_line("My order ID is 123").await;
    again.line("OrderStatusAgent: Your order with ID 123 has been shipped").await;
    drop(again);
    dev.process.terminate();
    ended_in_order(&mut dev, data.path()).await;
}

async fn ended_in_order(dev: &mut Dev, data: &Path) {
    dev.process.line("stopping").await;
    let (status, said) = dev.process.end().await;
    assert!(status.success(), "{said}");
    let after = said.split_once("stopping").unwrap().1;
    for program in ["triage", "refund", "order-status", "order-return", "coordinator"] {
        assert!(
            after.lines().any(|line| line.starts_with(program) && line.contains("stopped")),
            "{program} did not stop in order:\n{after}"
        );
    }
    // Nobody missed the broker: it was there to the last.
    assert!(!after.contains("WARN") && !after.contains("ERROR") && !after.contains("disconnected"), "{after}");
    assert!(after.trim_end().ends_with("nats-server stopped"), "{after}");
    all_gone(dev.pids.values().copied()).await;
    let log = std::fs::read_to_string(data.join("support/nats/nats.log")).unwrap();
    assert!(log.trim_end().ends_with("Server Exiting.."), "{log}");
    assert!(!data.join("running.json").exists());
}

/// A manifest with one agent, whose model answers when the test does.
fn slow(directory: &Path, service: &Service) -> PathBuf {
    let path = directory.join("slow.yaml");
    let model = json!({ "provider": "openai", "name": "test", "baseUrl": service.url() });
    let spec = json!({ "start": "writer", "models": { "default": model }, "agents": { "writer": { "instructions": "Write." } } });
    let manifest = json!({ "apiVersion": "baton/v1alpha1", "kind": "Orchestration", "metadata": { "name": "slow" }, "spec": spec });
    std::fs::write(&path, manifest.to_string()).unwrap();
    path
}

#[tokio::test]
async fn a_turn_that_is_not_done_when_it_stops_is_done_the_next_time() {
    let directory = tempfile::tempdir().unwrap();
    let mut service = Service::start().await;
    let path = slow(directory.path(), &service);
    let mut dev = Dev::start(&path, directory.path()).await;
    let mut run = Process::start(dev.command(&["run", "Write to us.", "--no-human", "--key", "letter"]).await);
    let asked = service.next().await;
    dev.process.interrupt().await;
    asked.abandoned().await;
    let (status, said) = dev.process.end().await;
    assert!(status.success() && said.contains("stopped; 1 unfinished turn(s) were handed back after 5 s"), "{said}");
    run.kill();
    run.end().await;

    let dev = Dev::start(&path, directory.path()).await;
    service.next().await.say("The letter.");
    let mut again = Process::start(dev.command(&["run", "Write to us.", "--no-human", "--key", "letter"]).await);
    again.line("The letter.").await;
    let (status, said) = again.end().await;
    assert!(status.success(), "{said}");
}

#[tokio::test]
async fn interrupted_twice_it_ends_on_the_spot_and_its_processes_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut service = Service::start().await;
    let mut dev = Dev::start(&slow(directory.path(), &service), directory.path()).await;
    let mut run = Process::start(dev.command(&["run", "Write to us.", "--no-human"]).await);
    let conversation = run.line("conversation ").await.trim_start_matches("conversation ").to_owned();
    let asked = service.next().await;
    dev.process.interrupt().await;
    dev.process.line("stopping").await;
    dev.process.interrupt().await;
    let (status, said) = dev.process.end().await;
    assert_eq!(status.code(), Some(130), "{said}");

    // The worker could hand its turn back to a broker that waited for it.
    asked.abandoned().await;
    all_gone(dev.pids.values().copied()).await;
    let dev = Dev::start(&slow(directory.path(), &service), directory.path()).await;
    service.next().await.say("The letter.");
    let mut again = Process::start(dev.command(&["run", "--conversation", &conversation]).await);
    again.line("The letter.").await;
    let shown = dev.json(&["show", &conversation]).await;
    assert_eq!(shown["entries"][1]["kind"], "handed-back");
}

#[tokio::test]
async fn killed_itself_it_leaves_no_process_behind() {
    let data = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&manifest(), data.path()).await;
    dev.process.kill();
    all_gone(dev.pids.values().copied()).await;
    dev.process.end().await;

    let gone = output(dev.command(&["list"]).await.env("NO_COLOR", "1")).await;
    let said = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(!gone.status.success());
    assert!(said.contains("seems to be gone: start it again with --data"), "{said}");

    // Nothing that it left stands in the way of the next.
    let dev = Dev::start(&manifest(), data.path()).await;
    assert_eq!(dev.json(&["list"]).await["conversations"], Json::Array(Vec::new()));
}
