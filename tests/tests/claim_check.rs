//! A conversation of which no message could hold the half: it begins, calls a tool, loses its worker and ends like any other.
//! (Answers of tools are cut at 64 KiB; models' texts and arguments are taken up to 1 MiB each, which no message holds.)
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "helpers of tests: a panic is how a test fails")]

use std::collections::BTreeMap;

use client::{Client, Opening, Outcome};
use futures::TryStreamExt;
use journal::nats::Settings;
use protocol::ids::ConversationId;
use protocol::wire::header;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tests::in_process::client;
use tests::nats;
use tests::processes::{PATIENCE, Process, command, output};
use tests::service::{Request, Service};
use tokio::process::Command;

const MIB: usize = 1024 * 1024;
/// Far more than an entry takes that carries none of the large ones.
const SMALL: usize = 64 * 1024;

/// A broker, a coordinator, and a service that is the model and the tool of the agent `clerk`.
struct World {
    server: nats::Server,
    service: Service,
    _directory: TempDir,
    _coordinator: Process,
}

impl World {
    async fn start() -> Self {
        let (server, service) = (nats::server().await, Service::start().await);
        let directory = tempfile::tempdir().unwrap();
        let manifest = json!({
            "apiVersion": "baton/v1alpha1",
            "kind": "Orchestration",
            "metadata": { "name": "archive" },
            "spec": {
                "start": "clerk",
                "models": { "default": { "provider": "openai", "name": "test", "baseUrl": format!("{}/v1", service.url()), "retries": 0 } },
                "agents": { "clerk": { "instructions": "File it.", "tools": [{ "from": "archive" }] } },
                "tools": { "archive": { "http": { "baseUrl": service.url(), "tools": { "file": {
                    "method": "POST",
                    "path": "/file",
                    "parameters": { "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"] },
                } } } } },
            },
        });
        let path = directory.path().join("archive.yaml");
        std::fs::write(&path, manifest.to_string()).unwrap();
        let mut coordinator = Process::start(baton(&server, &["coordinator", "--manifest", path.to_str().unwrap()]).await);
        coordinator.line("ready, as coordinator-").await;
        Self { server, service, _directory: directory, _coordinator: coordinator }
    }

    async fn worker(&self) -> Process {
        let mut worker = Process::start(baton(&self.server, &["worker", "--orchestration", "archive", "--agent", "clerk"]).await);
        worker.line("ready, as clerk-").await;
        worker
    }

    async fn caller(&self) -> Client {
        client(&Settings::new(self.server.url(), "caller".parse().unwrap()), &"archive".parse().unwrap()).await
    }

    async fn show(&self, conversation: &ConversationId) -> Json {
        let mut show = baton(&self.server, &["show", conversation.as_str(), "--orchestration", "archive", "--output", "json"]).await;
        let shown = output(&mut show).await;
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        serde_json::from_slice(&shown.stdout).unwrap()
    }

    /// Of each entry, by its kind, how many bytes its message has and how many the object that the message names.
    async fn stored(&self) -> BTreeMap<String, (usize, Option<usize>)> {
        let admin = async_nats::jetstream::new(async_nats::connect(self.server.url()).await.unwrap());
        let objects = admin.get_object_store("baton-archive").await.unwrap();
        let stream = admin.get_stream("baton-archive").await.unwrap();
        let mut stored = BTreeMap::new();
        let subjects: Vec<_> = stream.info_with_subjects("baton.archive.c.>").await.unwrap().try_collect().await.unwrap();
        for (subject, _) in subjects {
            let message = stream.get_last_raw_message_by_subject(&subject).await.unwrap();
            let object = match message.headers.get(header::OBJECT) {
                Some(name) => Some(objects.info(name.as_str()).await.unwrap().size),
                None => None,
            };
            stored.insert(message.headers.get(header::KIND).unwrap().to_string(), (message.payload.len(), object));
        }
        stored
    }
}

async fn baton(server: &nats::Server, arguments: &[&str]) -> Command {
    let mut command = command(arguments).await;
    command.args(["--nats", server.url()]).env("NO_COLOR", "1");
    command
}

/// What the model is shown of a conversation.
fn messages(request: &Request) -> &Vec<Json> {
    request.body["messages"].as_array().unwrap()
}

#[tokio::test]
async fn a_conversation_of_large_entries_survives_its_worker_and_ends_whole() {
    let mut world = World::start().await;
    let (question, document, answer) = ("q".repeat(3 * MIB), "d".repeat(MIB - 64), "a".repeat(MIB - 64));
    let first = world.worker().await;
    let caller = world.caller().await;
    let handle = caller.invoke(&Opening::new("tests", question.as_str()), client::Callbacks::default()).await.unwrap();

    // Larger than a message: the opening, which is a work item, and the intent to call a tool.
    let asked = world.service.next().await;
    assert!(messages(&asked).iter().any(|message| message["content"] == question));
    asked.call("file", &json!({ "text": document }));
    let filing = world.service.next().await;
    assert!(filing.path == "/file" && filing.body["text"] == document);
    filing.answer(&json!({ "filed": true }));

    // The next worker has nothing but the journal.
    let asked = world.service.next().await;
    let (shown, _second) = (messages(&asked).clone(), world.worker().await);
    first.kill();
    asked.abandoned().await;
    let again = world.service.next().await;
    assert!(*messages(&again) == shown, "the second worker shows the model something else");
    again.say(&answer);

    let Outcome::Completed(completed) = handle.get(Some(PATIENCE)).await.unwrap() else { panic!("it has not completed") };
    assert!(completed.result == answer);

    let shown = world.show(handle.conversation()).await;
    assert_eq!(shown["isConsistent"], true);
    let events = shown["entries"].as_array().unwrap().iter().flat_map(|entry| entry["events"].as_array().unwrap());
    let responded = events.filter(|event| event["kind"] == "responded" && event["data"]["text"] == answer);
    assert_eq!(responded.count(), 1);

    // Each large body is stored once, as an object; no later entry carries it.
    let stored = world.stored().await;
    let is_object = |kind: &str, bytes: usize| matches!(stored[kind], (0, Some(size)) if size >= bytes && size < 2 * bytes + SMALL);
    assert!(is_object("opened", question.len()), "{stored:?}");
    assert!(is_object("intended", document.len()), "{stored:?}");
    assert!(is_object("completed", answer.len()), "{stored:?}");
    let small = stored.values().filter(|(_, object)| object.is_none());
    assert!(small.clone().count() >= 2 && small.clone().all(|(bytes, _)| *bytes < SMALL), "{stored:?}");
}

/// Deletes the object that holds the payload of a conversation's first entry.
async fn lose_the_opening(server: &nats::Server, conversation: &ConversationId) {
    let admin = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let stream = admin.get_stream("baton-archive").await.unwrap();
    let opening = stream.get_last_raw_message_by_subject(&format!("baton.archive.c.{conversation}.0.>")).await.unwrap();
    let object = opening.headers.get(header::OBJECT).unwrap().to_string();
    admin.get_object_store("baton-archive").await.unwrap().delete(&object).await.unwrap();
}

#[tokio::test]
async fn a_conversation_whose_payload_is_lost_fails_and_its_worker_goes_on() {
    let mut world = World::start().await;
    let caller = world.caller().await;
    let large = "q".repeat(2 * MIB);
    let lost = caller.invoke(&Opening::new("tests", large.as_str()), client::Callbacks::default()).await.unwrap();
    lose_the_opening(&world.server, lost.conversation()).await;
    let _worker = world.worker().await;
    let Outcome::Failed(failed) = lost.get(Some(PATIENCE)).await.unwrap() else { panic!("it has not failed") };
    assert_eq!(failed.code, "damaged");
    assert!(failed.detail.starts_with("entry 0, message 1 of the stream, cannot be read: not an entry: its object "), "{}", failed.detail);
    let shown = world.show(lost.conversation()).await;
    assert_eq!((&shown["brief"]["phase"], shown["entries"].as_array().unwrap().len()), (&json!("failed"), 2));
    assert!(shown["damage"].as_str().unwrap().starts_with("entry 0, message 1"), "{}", shown["damage"]);

    let well = caller.invoke(&Opening::new("tests", "small"), client::Callbacks::default()).await.unwrap();
    world.service.next().await.say("Filed.");
    assert!(matches!(well.get(Some(PATIENCE)).await.unwrap(), Outcome::Completed(_)));
}
