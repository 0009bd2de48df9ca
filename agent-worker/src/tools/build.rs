//! From an agent's tools to tools that can be run.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::ids::AgentName;
use protocol::orchestration::{Agent, Tool as Definition, ToolSource};

use super::http::HttpTool;
use super::template::TemplateTool;
use super::{Functions, Tool};
use crate::model::environment::Environment;

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
}

/// Everything an agent's model may call, by name, transfers and `complete_task` excepted.
///
/// # Errors
/// All tools that this worker cannot run: an agent that lacks one is not served, rather than failing when its model calls it.
pub fn build(
    agent: &Agent,
    functions: &Functions,
    environment: Environment<'_>,
    http: &reqwest::Client,
) -> Result<BTreeMap<String, Arc<dyn Tool>>, Vec<Unusable>> {
    let (mut tools, mut unusable) = (BTreeMap::new(), Vec::new());
    for definition in &agent.tools {
        match tool(definition, functions, environment, http) {
            Ok(tool) => _ = tools.insert(definition.name.clone(), tool),
            Err(reason) => unusable.push(Unusable { agent: agent.name.clone(), tool: definition.name.clone(), reason }),
        }
    }
    if unusable.is_empty() { Ok(tools) } else { Err(unusable) }
}

fn tool(
    definition: &Definition,
    functions: &Functions,
    environment: Environment<'_>,
    http: &reqwest::Client,
) -> Result<Arc<dyn Tool>, Reason> {
    match &definition.source {
        ToolSource::Code => {
            let function = functions.0.get(&definition.name).cloned();
            function.ok_or_else(|| Reason::NoFunction { has: functions.names().map(str::to_owned).collect() })
        }
        ToolSource::Http { method, url, headers } => {
            let tool = HttpTool::new(method, url, headers, environment, http.clone()).map_err(Reason::Invalid)?;
            Ok(Arc::new(tool))
        }
        ToolSource::Template { reply } => Ok(Arc::new(TemplateTool::new(reply))),
    }
}

fn had(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" (it has {})", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use protocol::event::{Effect, InDoubt};
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
            approval: None,
            timeout_secs: 1,
        });
        Agent {
            name: "refund".parse().unwrap(),
            display_name: String::new(),
            description: String::new(),
            instructions: String::new(),
            model: String::new(),
            tools: tools.collect(),
            handoffs: Vec::new(),
            concurrency: 1,
        }
    }

    fn get(url: &str) -> ToolSource {
        ToolSource::Http { method: "GET".to_owned(), url: url.to_owned(), headers: BTreeMap::new() }
    }

    #[tokio::test]
    async fn tools_of_every_source_are_found_under_their_names() {
        let functions = Functions::new().add("pay", "", |_: serde_json::Value| async { Ok::<_, String>("paid") });
        let agent = agent([
            ("pay", ToolSource::Code),
            ("stock", ToolSource::Template { reply: "{n} left".to_owned() }),
            ("order", get("http://orders/{id}")),
        ]);
        let tools = build(&agent, &functions, &|_| None, &http()).unwrap();
        assert_eq!(tools.keys().collect::<Vec<_>>(), ["order", "pay", "stock"]);
        assert_eq!(tools["pay"].run(call("pay", json!({}))).await.unwrap(), "paid");
        assert_eq!(tools["stock"].run(call("stock", json!({ "n": 3 }))).await.unwrap(), "3 left");
    }

    #[test]
    fn all_that_a_worker_lacks_is_named_with_the_way_out() {
        let functions = Functions::new().add("pay", "", |_: serde_json::Value| async { Ok::<_, String>("paid") });
        let agent = agent([("ship", ToolSource::Code), ("pay", ToolSource::Code), ("order", get("${ORDERS}/{id}"))]);
        let unusable = build(&agent, &functions, &|_| None, &http()).unwrap_err();
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
