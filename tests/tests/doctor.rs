//! `baton doctor`: says that all is well where it is, and names each thing that is not.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "helpers of tests: a panic is how a test fails")]

use std::time::Duration;

use journal::nats::{Nats, Settings};
use journal::{Bus, Store};
use protocol::wire::{Headers, Message};
use serde_json::{Value as Json, json};
use tests::dev::Dev;
use tests::nats;
use tests::processes::{Process, command, eventually, output};
use tests::sample::manifest;
use tokio::process::Command;

/// The findings of a deployment, and whether the exit code says that it is well.
async fn examined(command: &mut Command) -> (Vec<Json>, bool) {
    let ended = output(command.args(["--output", "json"])).await;
    let said = String::from_utf8_lossy(&ended.stderr);
    let report: Json = serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(report["isWell"], ended.status.success(), "{report:#}");
    (report["findings"].as_array().unwrap().clone(), ended.status.success())
}

/// The problems, a line each.
fn problems(findings: &[Json]) -> Vec<String> {
    let problems = findings.iter().filter(|finding| finding["level"] == "problem");
    let line = |finding: &Json| {
        assert!(finding["toDo"].as_str().is_some_and(|to_do| !to_do.is_empty()), "{finding}");
        format!("{}: {}", finding["check"].as_str().unwrap(), finding["found"].as_str().unwrap())
    };
    problems.map(line).collect()
}

#[tokio::test]
async fn a_healthy_dev_is_well() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(&manifest(), data.path()).await;
    // The first second belongs to elections and first heartbeats.
    let well = async || {
        let (findings, is_well) = examined(&mut dev.command(&["doctor"]).await).await;
        eprintln!("{:?}", problems(&findings));
        is_well.then_some(findings)
    };
    let findings = eventually("a system that is well", well).await;
    let find = |check: &str| findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("{check}: {findings:#?}"));
    for check in [
        "broker",
        "login",
        "durability",
        "clock",
        "registry",
        "coordinators",
        "writes",
        "workers of triage",
        "backlog of refund",
        "gateways",
        "people",
    ] {
        assert_eq!(find(check)["level"], "ok", "{check}: {findings:#?}");
    }
    let shown = output(dev.command(&["doctor"]).await.env("NO_COLOR", "1")).await;
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(text.contains("✓ workers of order-return: 1 alive") && text.contains("support"), "{text}");
}

#[tokio::test]
async fn each_thing_that_is_wrong_is_named() {
    let server = nats::server().await;
    let on_it = async |arguments: &[&str]| {
        let mut command = command(arguments).await;
        command.args(["--nats", server.url()]).env("NO_COLOR", "1");
        command
    };
    let manifest = manifest();
    let mut coordinator = Process::start(on_it(&["coordinator", "--manifest", manifest.to_str().unwrap()]).await);
    coordinator.line("ready, as coordinator-").await;
    let agents = ["triage", "order-status", "order-return", "refund"];
    let mut worker = on_it(&["worker", "--orchestration", "support"]).await;
    worker.args(agents.iter().flat_map(|agent| ["--agent", agent]));
    let mut worker = Process::start(worker);
    worker.line("ready, as ").await;
    let doctor = async || {
        let mut command = on_it(&["doctor"]).await;
        command.env("BATON_ORCHESTRATION", "support");
        examined(&mut command).await
    };
    eventually("a system that is well", async || doctor().await.1.then_some(())).await;

    // A worker that is killed, a consumer that somebody changes, an entry that nobody could use, no coordinator.
    worker.kill();
    worker.end().await;
    let mut dead = agents.map(|agent| format!("workers of {agent}: none is alive"));
    dead.sort();
    assert_eq!(problems(&doctor().await.0), dead);

    let broker = Nats::connect(&Settings::new(server.url(), "meddler".parse().unwrap())).await.unwrap();
    change_consumer(&broker).await;
    let entry = Message { subject: "s".to_owned(), headers: Headers::default(), payload: "x".into() }.stored(protocol::ids::Seq(7), 0);
    let (support, refund) = ("support".parse().unwrap(), "refund".parse().unwrap());
    broker.dead_letter(&support, &refund, &entry, "its headers are not an entry's").await.unwrap();
    coordinator.kill();
    coordinator.end().await;
    let found = problems(&doctor().await.0);
    for expected in [
        "consumer agent-refund of stream baton-support: its max_deliver is 5 and must be -1",
        "coordinators: none answers",
        "workers of refund: none is alive",
        "dead letters: 1 of refund; the newest is s: its headers are not an entry's",
    ] {
        assert!(found.iter().any(|found| found == expected), "{expected:?} is not among {found:#?}");
    }
}

/// What a person with the nats command might do.
async fn change_consumer(broker: &Nats) {
    let at_most = Duration::from_secs(5);
    let info = broker.ask("$JS.API.CONSUMER.INFO.baton-support.agent-refund", "{}".into(), at_most).await.unwrap();
    let mut config = serde_json::from_slice::<Json>(&info).unwrap()["config"].take();
    config["max_deliver"] = json!(5);
    let to = format!("$JS.API.CONSUMER.CREATE.baton-support.agent-refund.{}", config["filter_subject"].as_str().unwrap());
    let body = json!({ "stream_name": "baton-support", "config": config, "action": "update" });
    let answer = broker.ask(&to, body.to_string().into(), at_most).await.unwrap();
    let answer: Json = serde_json::from_slice(&answer).unwrap();
    assert!(answer.get("error").is_none(), "{answer}");
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_a_finding_too() {
    let mut nobody = command(&["doctor", "--orchestration", "support", "--nats", "nats://127.0.0.1:9", "--output", "json"]).await;
    let ended = output(&mut nobody).await;
    assert_eq!(ended.status.code(), Some(1));
    let report: Json = serde_json::from_slice(&ended.stdout).unwrap();
    let found = report["findings"][0]["found"].as_str().unwrap();
    assert!(found.contains("no nats-server answers at"), "{report:#}");
}
