//! One agent with tools, played by a real worker; the test is its model.
#![allow(clippy::expect_used, clippy::panic, reason = "used by tests only: a panic is how a test says that it cannot go on")]

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::nats;
use crate::processes::{Process, command, output};
use crate::service::Service;

/// A broker, a coordinator, a worker for the agent `clerk`, and the service that is its model.
#[derive(Debug)]
pub struct Clerk {
    /// The broker.
    pub server: nats::Server,
    /// The model.
    pub model: Service,
    /// The worker.
    pub worker: Process,
    _coordinator: Process,
    directory: TempDir,
}

impl Clerk {
    /// The clerk with one toolset.
    pub async fn with(tools: Json) -> Self {
        let (server, model) = (nats::server().await, Service::start().await);
        let directory = tempfile::tempdir().expect("a directory");
        let manifest = written(directory.path(), &model, &tools);
        let start = async |arguments: &[&str]| {
            let mut command = command(arguments).await;
            command.args(["--nats", server.url()]).env("NO_COLOR", "1").env("OPENAI_API_KEY", "test");
            Process::start(command)
        };
        let mut coordinator = start(&["coordinator", "--manifest", manifest.to_str().expect("a path of UTF-8")]).await;
        coordinator.line("ready, as coordinator-").await;
        let mut worker = start(&["worker", "--orchestration", "office", "--agent", "clerk"]).await;
        worker.line("ready, as clerk-").await;
        Self { server, model, worker, _coordinator: coordinator, directory }
    }

    /// From now on conversations begin with another toolset.
    pub async fn is_given(&self, tools: &Json) {
        let manifest = written(self.directory.path(), &self.model, tools);
        let mut register = command(&["register", manifest.to_str().expect("a path of UTF-8"), "--nats", self.server.url()]).await;
        let registered = output(&mut register).await;
        assert!(registered.status.success(), "{}", String::from_utf8_lossy(&registered.stderr));
    }

    /// A conversation, by `baton run`, and its id.
    pub async fn run(&self) -> (Process, String) {
        let mut run = command(&["run", "--orchestration", "office", "Go on.", "--no-human", "--nats", self.server.url()]).await;
        let mut run = Process::start({
            run.env("NO_COLOR", "1");
            run
        });
        let id = run.line("conversation ").await.trim_start_matches("conversation ").to_owned();
        (run, id)
    }

    /// What a conversation has recorded so far, event by event.
    pub async fn events(&self, conversation: &str) -> Vec<Json> {
        let mut show = command(&["show", conversation, "--orchestration", "office", "--output", "json", "--nats", self.server.url()]).await;
        let shown = output(&mut show).await;
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        let shown: Json = serde_json::from_slice(&shown.stdout).expect("JSON");
        let events = |entry: &Json| entry["events"].as_array().cloned().unwrap_or_default();
        shown["entries"].as_array().into_iter().flatten().flat_map(events).collect()
    }

    /// A conversation in which the model calls one tool: what the model was offered, and what it was told then.
    pub async fn calls(&mut self, tool: &str, arguments: &Json) -> (Json, String) {
        let (mut run, _) = self.run().await;
        let asked = self.model.next().await;
        let offered = asked.body["tools"].clone();
        asked.call(tool, arguments);
        let asked = self.model.next().await;
        let told = asked.body["messages"].as_array().and_then(|messages| messages.last()).expect("messages").clone();
        asked.say("Done.");
        run.line("Done.").await;
        assert_eq!(told["role"], "tool", "{told}");
        (offered, told["content"].as_str().unwrap_or_default().to_owned())
    }
}

/// The definition, as a file.
fn written(directory: &Path, model: &Service, tools: &Json) -> PathBuf {
    let manifest = directory.join("office.yaml");
    let definition = json!({
        "apiVersion": "baton/v1alpha1",
        "kind": "Orchestration",
        "metadata": { "name": "office" },
        "spec": {
            "start": "clerk",
            "models": { "default": { "provider": "openai", "name": "test", "baseUrl": format!("{}/v1", model.url()), "stream": false } },
            "agents": { "clerk": { "instructions": "Help.", "tools": [{ "from": "things" }] } },
            "tools": { "things": tools },
        },
    });
    std::fs::write(&manifest, definition.to_string()).expect("the manifest can be written");
    manifest
}
