//! What the gateway's tests run on: a broker of their own, an orchestration in the test's process, and as many gateways as
//! they want.

use client::Client;
use journal::nats::Settings;
use protocol::orchestration::Orchestration;
use serde_json::{Value as Json, json};
use tests::http::{Http, View};
use tests::in_process::{self, Programs};
use tests::nats;
use tests::service::Service;

pub(crate) struct Stage {
    pub(crate) server: nats::Server,
    pub(crate) programs: Programs,
    pub(crate) orchestration: Orchestration,
    gateways: usize,
}

impl Stage {
    /// A coordinator alone.
    pub(crate) async fn without_workers(orchestration: Orchestration) -> Self {
        let server = nats::server().await;
        let mut stage = Self { server, programs: Programs::of(orchestration.clone()), orchestration, gateways: 0 };
        stage.programs.coordinator(&stage.settings("coordinator-1"), 1).await;
        stage
    }

    /// A coordinator, and a worker of every agent.
    pub(crate) async fn of(orchestration: Orchestration) -> Self {
        let mut stage = Self::without_workers(orchestration).await;
        for agent in stage.orchestration.clone().agents() {
            let settings = stage.settings(&format!("{}-1", agent.name));
            stage.programs.worker(&settings, agent.name.as_str()).await;
        }
        stage
    }

    pub(crate) fn settings(&self, process: &str) -> Settings {
        Settings::new(self.server.url(), process.parse().unwrap())
    }

    /// One more gateway.
    pub(crate) async fn gateway(&mut self) -> Http {
        let settings = self.next_gateway();
        Http::at(self.programs.gateway(&settings).await)
    }

    pub(crate) fn next_gateway(&mut self) -> Settings {
        self.gateways += 1;
        self.settings(&format!("gateway-{}", self.gateways))
    }

    /// A caller who uses no gateway.
    pub(crate) async fn client(&self) -> Client {
        in_process::client(&self.settings("caller-1"), self.orchestration.name()).await
    }

    /// How many entries of a conversation have an event of this kind, as the journal has it.
    pub(crate) async fn count(&self, path: &str, kind: &str) -> usize {
        let client = self.client().await;
        let conversation = journal::load(&**client.broker(), client.orchestration(), &id(path).parse().unwrap()).await.unwrap().unwrap();
        conversation.events().filter(|(_, (_, event))| event.kind() == kind).count()
    }
}

/// The id of the conversation at `path`.
pub(crate) fn id(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

fn parse(name: &str, spec: &Json) -> Orchestration {
    let manifest = json!({ "apiVersion": "baton/v1alpha1", "kind": "Orchestration", "metadata": { "name": name }, "spec": spec });
    protocol::manifest::parse(&manifest.to_string(), "test.yaml", &mut |_| Err("no files".to_owned())).unwrap().orchestration
}

/// An agent that always asks what it can do: at "refund" it wants to call a tool that the caller must approve, at "bye" it
/// completes.
pub(crate) fn desk() -> Orchestration {
    let order = json!({ "type": "object", "properties": { "order": { "type": "string" } }, "required": ["order"] });
    let refund = json!({
        "description": "Refunds an order.", "parameters": order, "reply": "Order {order} is refunded.",
        "effect": "side-effect", "approval": "caller",
    });
    let script = json!([
        { "tool": "refund", "say": "So much for that." },
        { "user": "bye", "complete": "Said goodbye." },
        { "user": "refund", "call": "refund", "arguments": { "order": "7" } },
        { "say": "What can I do?" },
    ]);
    parse(
        "desk",
        &json!({
            "start": "clerk",
            "models": { "default": { "provider": "scripted", "script": script } },
            "agents": { "clerk": { "displayName": "Clerk", "instructions": "Help.", "tools": [{ "from": "shop" }] } },
            "tools": { "shop": { "template": { "tools": { "refund": refund } } } },
        }),
    )
}

/// Two agents that hand over to each other, with a tool that is run at once and one that is recorded before; their model is
/// the test's.
pub(crate) fn office(service: &Service) -> Orchestration {
    let tool = |effect: &str| json!({ "description": "Does something.", "reply": "Done.", "effect": effect });
    let agent = |name: &str, other: &str| {
        json!({
            "displayName": name, "instructions": "Write.", "tools": [{ "from": "desk" }],
            "handoffs": [{ "to": other, "when": "Always." }],
        })
    };
    parse(
        "office",
        &json!({
            "start": "writer",
            "models": { "default": { "provider": "openai", "name": "test", "baseUrl": format!("{}/v1", service.url()), "retries": 0 } },
            "agents": { "writer": agent("Writer", "editor"), "editor": agent("Editor", "writer") },
            "tools": { "desk": { "template": { "tools": { "look": tool("read-only"), "file": tool("side-effect") } } } },
        }),
    )
}

/// Whether the conversation waits for an answer to a question.
pub(crate) fn is_asked(view: &View) -> bool {
    view.asked().is_some_and(|request| request["kind"] == "question")
}

/// The id of the request that is open.
pub(crate) fn request(view: &View) -> String {
    view.asked().unwrap()["id"].as_str().unwrap().to_owned()
}
