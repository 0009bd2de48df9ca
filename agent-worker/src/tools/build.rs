//! From an agent's tools to tools that can be run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use journal::Shared;
use protocol::ids::AgentName;
use protocol::orchestration::{Agent, Tool as Definition, ToolSource};

use super::http::HttpTool;
use super::mcp::{McpServers, McpTool, Server};
use super::nats::NatsTool;
use super::template::TemplateTool;
use super::{Functions, Tool};
use crate::role::Environment;

/// A tool that this worker cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("agent {agent}, tool {tool}: {reason}")]
pub struct Unusable {
    /// Whose tool.
    pub agent: AgentName,
    /// Which.
    pub tool: String,
    /// Why, and the way out.
    pub reason: Reason,
}

/// Why a tool cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It is a Rust function, and the worker has none of that name.
    #[error("this worker has no function of that name{}: add it with `Functions::add`, or run the agent in a worker that has it", had(.has))]
    NoFunction {
        /// The functions that the worker has.
        has: Vec<String>,
    },
    /// Its texts cannot be used in this worker's environment.
    #[error("{0}")]
    Invalid(String),
    /// Its MCP server cannot be reached now.
    #[error("the MCP server {server} cannot be reached: {problem}")]
    Unreachable {
        /// Which, as the definition has it.
        server: String,
        /// Why.
        problem: String,
    },
    /// Its MCP server has no such tool.
    #[error("the MCP server {server} has no tool of that name{}: correct the name, or run a version of the server that has it", had(.has))]
    NotOffered {
        /// Which, as the definition has it.
        server: String,
        /// The tools that the server has.
        has: Vec<String>,
    },
}

impl Reason {
    /// Whether the tool may be usable later without anybody changing this worker.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// The servers for which these tools cannot be had, where that is all that keeps them from being used. Only by their names in the
/// definition: what a server says for itself, its address above all, may hold secrets.
pub fn away(unusable: &[Unusable]) -> Option<String> {
    let server = |tool: &Unusable| match &tool.reason {
        Reason::Unreachable { server, .. } => Some(server.clone()),
        Reason::NoFunction { .. } | Reason::Invalid(_) | Reason::NotOffered { .. } => None,
    };
    let servers: Option<BTreeSet<_>> = unusable.iter().map(server).collect();
    let servers: Vec<_> = servers?.into_iter().map(|server| format!("the MCP server {server} cannot be reached")).collect();
    Some(servers.join(", ")).filter(|servers| !servers.is_empty())
}

/// What tools are made with.
#[derive(Clone)]
pub struct Means {
    /// The Rust functions of the worker.
    pub functions: Functions,
    /// Where texts are resolved.
    pub environment: Environment,
    /// For HTTP services.
    pub http: reqwest::Client,
    /// For NATS services.
    pub broker: Shared,
    /// For MCP servers.
    pub servers: Arc<McpServers>,
}

impl fmt::Debug for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Means").field("functions", &self.functions).finish_non_exhaustive()
    }
}

/// Everything an agent's calls may run, by name: what its model may call, transfers and `complete_task` excepted, and what undoes that.
///
/// # Errors
/// All tools that this worker cannot run: an agent that lacks one is not served, rather than failing when its model calls it.
pub async fn build(agent: &Agent, means: &Means) -> Result<BTreeMap<String, Arc<dyn Tool>>, Vec<Unusable>> {
    let (mut tools, mut unusable) = (BTreeMap::new(), Vec::new());
    for definition in agent.runnable() {
        match tool(definition, means).await {
            Ok(tool) => _ = tools.insert(definition.name.clone(), tool),
            Err(reason) => unusable.push(Unusable { agent: agent.name.clone(), tool: definition.name.clone(), reason }),
        }
    }
    if unusable.is_empty() { Ok(tools) } else { Err(unusable) }
}

async fn tool(definition: &Definition, means: &Means) -> Result<Arc<dyn Tool>, Reason> {
    match &definition.source {
        ToolSource::Code => {
            let function = means.functions.tools.get(&definition.name).cloned();
            function.ok_or_else(|| Reason::NoFunction { has: means.functions.names().map(str::to_owned).collect() })
        }
        ToolSource::Http(endpoint) => {
            let tool = HttpTool::new(endpoint, &*means.environment, means.http.clone()).map_err(Reason::Invalid)?;
            Ok(Arc::new(tool))
        }
        ToolSource::Mcp { server, .. } => {
            let server = Server::find(server, &*means.environment, &means.servers)?;
            Ok(Arc::new(McpTool::new(server, &definition.name).await?))
        }
        ToolSource::Nats { subject } => {
            Ok(Arc::new(NatsTool::new(subject, Duration::from_secs(definition.timeout_secs), means.broker.clone())))
        }
        ToolSource::Template { reply } => Ok(Arc::new(TemplateTool::new(reply))),
    }
}

/// The agent with everything said that its definition leaves to the tools: schemas, descriptions, effects.
pub fn completed(agent: &Agent, tools: &BTreeMap<String, Arc<dyn Tool>>) -> Agent {
    let mut agent = agent.clone();
    let undo = |tool: &mut Definition| {
        if let Some(undo) = tool.undo.as_deref_mut() {
            complete(undo, tools);
        }
    };
    agent.tools.iter_mut().for_each(undo);
    agent.tools.iter_mut().for_each(|tool| complete(tool, tools));
    agent
}

fn complete(definition: &mut Definition, tools: &BTreeMap<String, Arc<dyn Tool>>) {
    if let Some(tool) = tools.get(&definition.name) {
        if definition.parameters.is_none() {
            definition.parameters = tool.parameters();
        }
        if definition.description.is_empty() {
            tool.description().unwrap_or_default().clone_into(&mut definition.description);
        }
        let is_left_to_it = !matches!(definition.source, ToolSource::Mcp { is_effect_said: true, .. });
        if let Some(effect) = tool.effect().filter(|_| is_left_to_it) {
            definition.effect = effect;
        }
    }
}

fn had(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" (it has {})", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use protocol::event::{Effect, InDoubt};
    use protocol::orchestration::HttpEndpoint;
    use serde_json::json;

    use super::*;
    use crate::model::test_support::http;
    use crate::tools::test_support::call;

    fn agent(tools: impl IntoIterator<Item = (&'static str, ToolSource)>) -> Agent {
        let tools = tools.into_iter().map(|(name, source)| Definition {
            name: name.to_owned(),
            description: String::new(),
            parameters: None,
            source,
            effect: Effect::ReadOnly,
            in_doubt: InDoubt::Ask,
            undo: None,
            approval: None,
            timeout_secs: 1,
        });
        Agent {
            name: "refund".parse().unwrap(),
            display_name: String::new(),
            description: String::new(),
            instructions: String::new(),
            player: protocol::orchestration::Player::Model(String::new()),
            tools: tools.collect(),
            handoffs: Vec::new(),
            concurrency: 1,
        }
    }

    fn means(functions: Functions) -> Means {
        let (http, broker) = (http(), Arc::new(journal::memory::Memory::new()));
        Means { functions, environment: Arc::new(|_| None), servers: Arc::new(McpServers::new(http.clone())), http, broker }
    }

    fn get(url: &str) -> ToolSource {
        ToolSource::Http(HttpEndpoint { method: "GET".to_owned(), url: url.to_owned(), ..HttpEndpoint::default() })
    }

    #[test]
    fn servers_that_are_away_are_named_once_and_without_what_they_say_for_themselves() {
        let unusable = |tool: &str, reason| Unusable { agent: "refund".parse().unwrap(), tool: tool.to_owned(), reason };
        let away_from =
            |server: &str| Reason::Unreachable { server: server.to_owned(), problem: "http://x?key=secret is not there".to_owned() };
        let mut lacks = vec![unusable("a", away_from("${B}/mcp")), unusable("b", away_from("a")), unusable("c", away_from("${B}/mcp"))];
        assert_eq!(away(&lacks).as_deref(), Some("the MCP server ${B}/mcp cannot be reached, the MCP server a cannot be reached"));
        lacks.push(unusable("d", Reason::NoFunction { has: Vec::new() }));
        assert_eq!((away(&lacks), away(&[])), (None, None), "that does not mend itself");
    }

    #[tokio::test]
    async fn tools_of_every_source_are_found_under_their_names() {
        let functions = Functions::new().add("pay", "", |_: serde_json::Value| async { Ok::<_, String>("paid") });
        let agent = agent([
            ("pay", ToolSource::Code),
            ("stock", ToolSource::Template { reply: "{n} left".to_owned() }),
            ("order", get("http://orders/{id}")),
        ]);
        let tools = build(&agent, &means(functions)).await.unwrap();
        assert_eq!(tools.keys().collect::<Vec<_>>(), ["order", "pay", "stock"]);
        assert_eq!(tools["pay"].run(call("pay", json!({}))).await.unwrap(), "paid");
        assert_eq!(tools["stock"].run(call("stock", json!({ "n": 3 }))).await.unwrap(), "3 left");
    }

    #[tokio::test]
    async fn all_that_a_worker_lacks_is_named_with_the_way_out() {
        let functions = Functions::new().add("pay", "", |_: serde_json::Value| async { Ok::<_, String>("paid") });
        let agent = agent([("ship", ToolSource::Code), ("pay", ToolSource::Code), ("order", get("${ORDERS}/{id}"))]);
        let unusable = build(&agent, &means(functions)).await.unwrap_err();
        assert_eq!(
            unusable.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "agent refund, tool ship: this worker has no function of that name (it has pay): \
                 add it with `Functions::add`, or run the agent in a worker that has it",
                "agent refund, tool order: its URL: the environment variable ORDERS is not set: set it, or write ${ORDERS:-default}",
            ]
        );
    }
}
