//! What is played in the laboratory: four agents in a graph with cycles, every kind of tool, and models of whom nobody knows
//! what they will do next.

use serde_json::{Value as Json, json};

/// Its name.
pub const NAME: &str = "lab";

/// Its agents, the start agent first, and whom each may hand over to.
pub const AGENTS: [(&str, &[&str]); 4] = [
    ("triage", &["orders", "refunds"]),
    ("orders", &["triage", "refunds"]),
    ("refunds", &["billing", "triage"]),
    ("billing", &["triage", "orders"]),
];

/// A tool that only reads.
pub const LOOK: &str = "look_up";
/// A tool with effects that a person decides about when nobody knows whether it ran.
pub const CHARGE: &str = "charge";
/// A tool with effects that may simply be asked again under the same key.
pub const NOTIFY: &str = "notify";
/// A tool with effects that the caller must approve.
pub const PAY: &str = "pay_out";

/// The variable that tells a worker its name in the deployment; its models and tools hear it in their paths.
pub const PROCESS: &str = "LAB_PROCESS";

/// Its manifest: models and tools are at these addresses.
pub fn manifest(models: &str, tools: &str) -> Json {
    let agents: serde_json::Map<String, Json> = AGENTS.iter().map(|(name, targets)| agent(name, targets)).collect();
    let models: serde_json::Map<String, Json> = AGENTS.iter().map(|(name, _)| model(name, models)).collect();
    json!({
        "apiVersion": "baton/v1alpha1",
        "kind": "Orchestration",
        "metadata": { "name": NAME },
        "spec": {
            "start": "triage",
            "agents": agents,
            "models": models,
            "tools": { "shop": { "http": { "baseUrl": format!("{tools}/${{{PROCESS}}}"), "tools": {
                LOOK: tool(LOOK, "GET", &json!({})),
                CHARGE: tool(CHARGE, "POST", &json!({ "inDoubt": "ask" })),
                NOTIFY: tool(NOTIFY, "POST", &json!({ "inDoubt": "retry" })),
                PAY: tool(PAY, "POST", &json!({ "approval": "caller" })),
            } } } },
            "limits": { "turnTimeout": "60s", "humanTimeout": "5m" },
        },
    })
}

fn agent(name: &str, targets: &[&str]) -> (String, Json) {
    let handoffs: Vec<Json> = targets.iter().map(|target| json!({ "to": target, "when": format!("{target} is needed") })).collect();
    let agent = json!({
        "description": format!("It does {name}."),
        "instructions": format!("You do {name}."),
        "model": name,
        "tools": [{ "from": "shop" }],
        "handoffs": handoffs,
    });
    (name.to_owned(), agent)
}

fn model(agent: &str, models: &str) -> (String, Json) {
    let base = format!("{models}/${{{PROCESS}}}/{agent}/v1");
    (agent.to_owned(), json!({ "provider": "compatible", "name": "walker", "baseUrl": base, "timeout": "12s", "retries": 2 }))
}

fn tool(name: &str, method: &str, more: &Json) -> Json {
    let mut tool = json!({
        "description": "It does what it is called.",
        "method": method,
        "path": format!("/{name}"),
        "timeout": "4s",
        "parameters": {
            "type": "object",
            "properties": { "canary": { "type": "string" }, "number": { "type": "integer" } },
            "required": ["canary", "number"],
        },
    });
    if let (Some(tool), Some(more)) = (tool.as_object_mut(), more.as_object()) {
        tool.extend(more.clone());
    }
    tool
}
