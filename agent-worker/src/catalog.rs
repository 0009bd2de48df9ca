//! What an agent's model may call in a turn, and the judgement of each call: pure, and made once per revision and agent. A
//! conversation sees it through an [`Offer`].

mod ending;
mod offer;
mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use jsonschema::Validator;
use protocol::condition::{Condition, ConditionError};
use protocol::event::{Audience, Call, Effect, InDoubt, Json};
use protocol::history::PromptMessage;
use protocol::ids::AgentName;
use protocol::orchestration::{Agent, COMPLETE_TASK, Handoff, Orchestration, Tool};
use serde_json::json;

use self::ending::Ending;
pub use self::ending::Output;
pub use self::offer::Offer;
use self::shared::Shared;
use crate::model::ToolDefinition;
use crate::tools::Filter;

/// Nesting of a payload; what is deeper than a journal's reader goes (`protocol::wire::DEPTH_MAX`) could not be stored.
const PAYLOAD_DEPTH_MAX: usize = 24;

/// The calls that an agent's model can make: none, by default.
#[derive(Debug, Default)]
pub struct Catalog {
    definitions: Arc<[ToolDefinition]>,
    /// What is shown in their place where prompts begin alike.
    shared: Option<Shared>,
    tools: BTreeMap<String, Entry>,
    handoffs: BTreeMap<String, Edge>,
    ending: Ending,
    filters: BTreeMap<String, Filter>,
    /// The definitions without hidden edges, by the names of these.
    reduced: Mutex<BTreeMap<BTreeSet<String>, Arc<[ToolDefinition]>>>,
}

#[derive(Debug)]
struct Entry {
    tool: Tool,
    validator: Validator,
    /// Whether the model may call it: what only undoes calls, it may not.
    is_offered: bool,
}

#[derive(Debug)]
struct Edge {
    handoff: Handoff,
    validator: Option<Validator>,
    condition: Option<Condition>,
}

/// What a call turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// An ordinary tool with arguments that match its schema.
    Tool {
        /// What a repeated run may do.
        effect: Effect,
        /// What is done when it is unknown whether it ran.
        in_doubt: InDoubt,
        /// The tool that undoes it then.
        undo: Option<String>,
        /// Who must approve it.
        approval: Option<Audience>,
    },
    /// A permitted transfer.
    Transfer(Box<Transfer>),
    /// The end.
    Complete {
        /// The summary.
        summary: String,
        /// The result, where the orchestration has an output schema: it matches that.
        value: Option<Json>,
    },
    /// Nothing that can be done; the model is told why.
    Invalid(String),
}

/// A permitted transfer.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    /// The edge.
    pub handoff: Handoff,
    /// Why, in the model's words.
    pub reason: Option<String>,
    /// The typed payload.
    pub payload: Option<Json>,
}

/// Why a catalogue cannot be made of a definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("agent {agent}, tool {tool}: {problem}")]
pub struct CatalogError {
    /// Whose tool.
    pub agent: AgentName,
    /// Which.
    pub tool: String,
    /// What is wrong with it, and the way out.
    pub problem: String,
}

impl Catalog {
    /// The catalogue of an agent. `schemas` are those of its code tools, whose definition leaves them to the function.
    ///
    /// # Errors
    /// [`CatalogError`] when a schema or condition is none, or a code tool has none.
    pub fn new(orchestration: &Orchestration, agent: &Agent, schemas: &BTreeMap<String, Json>) -> Result<Self, CatalogError> {
        let error = |tool: &str, problem: String| CatalogError { agent: agent.name.clone(), tool: tool.to_owned(), problem };
        let mut definitions = Vec::new();
        let mut tools = BTreeMap::new();
        let offered = agent.tools.len();
        for (place, tool) in agent.runnable().enumerate() {
            let error = |problem: String| error(&tool.name, problem);
            let parameters = tool.parameters.as_ref().or_else(|| schemas.get(&tool.name));
            let parameters =
                parameters.ok_or_else(|| error("this worker has no function of that name; register it with the worker".to_owned()))?;
            let validator = jsonschema::validator_for(parameters).map_err(|e| error(format!("its parameters are no JSON Schema: {e}")))?;
            let is_offered = place < offered;
            definitions.extend(is_offered.then(|| definition(&tool.name, &tool.description, parameters.clone())));
            tools.insert(tool.name.clone(), Entry { tool: tool.clone(), validator, is_offered });
        }
        let mut handoffs = BTreeMap::new();
        for handoff in &agent.handoffs {
            let name = handoff.tool_name();
            let edge = Edge::new(handoff).map_err(|problem| error(&name, problem))?;
            definitions.push(definition(&name, &handoff.when, transfer_parameters(handoff)));
            handoffs.insert(name, edge);
        }
        let ending = Ending::of(orchestration).map_err(|(key, problem)| error(COMPLETE_TASK, format!("spec.{key}: {problem}")))?;
        let parameters = complete_parameters(ending.output.as_ref());
        let complete_task = definition(COMPLETE_TASK, "Ends the conversation: call it when the task is done.", parameters);
        definitions.push(complete_task.clone());
        let shared = Shared::of(orchestration, &agent.name, &definitions, &complete_task);
        Ok(Self { definitions: definitions.into(), shared, tools, handoffs, ending, filters: BTreeMap::new(), reduced: Mutex::default() })
    }

    /// The same, with the filters of the handoffs to its agent.
    #[must_use]
    pub(crate) fn with_filters(mut self, filters: BTreeMap<String, Filter>) -> Self {
        self.filters = filters;
        self
    }

    /// What a filter leaves of messages; all of them, where there is no such filter.
    pub(crate) fn filtered<'a>(&self, filter: &str, messages: Vec<PromptMessage<'a>>) -> Vec<PromptMessage<'a>> {
        match self.filters.get(filter) {
            Some(Filter(filter)) => filter(messages),
            None => messages,
        }
    }

    /// Wall time of one run of a tool, in seconds.
    pub fn timeout_secs(&self, tool: &str) -> Option<u64> {
        self.tools.get(tool).map(|entry| entry.tool.timeout_secs)
    }

    /// Whether a tool takes these arguments, which a model has written for another.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self, tool: &str, arguments: &Json) -> Result<(), String> {
        let Some(entry) = self.tools.get(tool) else { return Ok(()) };
        entry.validator.validate(arguments).map_err(|error| format!("the arguments do not match its schema: {error}."))
    }

    /// The schema of results, where there is one.
    pub const fn output(&self) -> Option<&Output> {
        self.ending.output.as_ref()
    }

    /// Whether a plain answer of `agent` ends the conversation (`terminateWhen`).
    ///
    /// # Errors
    /// [`ConditionError::NoAnswer`] where that cannot be told of this text and metadata.
    pub fn is_terminated(&self, agent: &AgentName, text: &str, metadata: &BTreeMap<String, Json>) -> Result<bool, ConditionError> {
        self.ending.is_terminated(agent, text, metadata)
    }
}

impl Edge {
    fn new(handoff: &Handoff) -> Result<Self, String> {
        let validator = handoff.payload.as_ref().map(jsonschema::validator_for).transpose();
        let condition = handoff.condition.as_ref().map(|text| Condition::parse(text, &["metadata"])).transpose();
        Ok(Self {
            handoff: handoff.clone(),
            validator: validator.map_err(|error| format!("its payload is no JSON Schema: {error}"))?,
            condition: condition.map_err(|error| format!("its condition cannot be asked: {error}"))?,
        })
    }
}

/// A call's arguments as JSON; a model that has none to give may write nothing.
///
/// # Errors
/// What is wrong, for the model.
pub fn arguments(call: &Call) -> Result<Json, String> {
    if call.arguments.trim().is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_str(&call.arguments).map_err(|error| format!("The arguments are not valid JSON: {error}. The tool did not run."))
}

fn judge_completion(output: Option<&Output>, arguments: &Json) -> Judgement {
    let summary = arguments.get("task_summary").or_else(|| arguments.get("summary")).and_then(Json::as_str);
    let Some(summary) = summary else {
        return Judgement::Invalid("complete_task needs the argument task_summary, a text.".to_owned());
    };
    let value = output.map(|output| {
        let result = arguments.get("result").unwrap_or(&Json::Null);
        output.check(result).map(|()| result.clone())
    });
    match value.transpose() {
        Ok(value) => Judgement::Complete { summary: summary.to_owned(), value },
        Err(problem) => Judgement::Invalid(format!("The argument result does not match its schema: {problem}. Nothing was completed.")),
    }
}

fn judge_transfer(edge: &Edge, arguments: &Json) -> Judgement {
    let reason = arguments.get("reason").and_then(Json::as_str).filter(|reason| !reason.is_empty()).map(str::to_owned);
    let payload = match &edge.validator {
        None => None,
        Some(validator) => {
            let payload = arguments.get("payload").unwrap_or(&Json::Null);
            if depth(payload) > PAYLOAD_DEPTH_MAX {
                return Judgement::Invalid("The payload is nested too deeply. Nothing was transferred.".to_owned());
            }
            if let Err(error) = validator.validate(payload) {
                return Judgement::Invalid(format!("The payload does not match its schema: {error}. Nothing was transferred."));
            }
            Some(payload.clone())
        }
    };
    Judgement::Transfer(Box::new(Transfer { handoff: edge.handoff.clone(), reason, payload }))
}

fn depth(json: &Json) -> usize {
    match json {
        Json::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Json::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or_default(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => 0,
    }
}

fn definition(name: &str, description: &str, parameters: Json) -> ToolDefinition {
    ToolDefinition { name: name.to_owned(), description: description.to_owned(), parameters }
}

fn transfer_parameters(handoff: &Handoff) -> Json {
    let reason = json!({ "type": "string", "description": "Why, in one sentence." });
    let mut parameters = json!({ "type": "object", "properties": { "reason": reason } });
    if let Some(payload) = &handoff.payload {
        require(&mut parameters, "payload", payload);
    }
    parameters
}

fn complete_parameters(output: Option<&Output>) -> Json {
    let summary = json!({ "type": "string", "description": "What was done, in one or two sentences." });
    let mut parameters = json!({ "type": "object", "properties": { "task_summary": summary }, "required": ["task_summary"] });
    if let Some(output) = output {
        require(&mut parameters, "result", output.schema());
    }
    parameters
}

/// Adds an argument that every call has. References within its schema are read from the root of the whole.
fn require(parameters: &mut Json, name: &str, schema: &Json) {
    let Some(parameters) = parameters.as_object_mut() else { return };
    for key in ["$defs", "definitions"] {
        parameters.extend(schema.get(key).map(|definitions| (key.to_owned(), definitions.clone())));
    }
    if let Some(Json::Object(properties)) = parameters.get_mut("properties") {
        properties.insert(name.to_owned(), schema.clone());
    }
    if let Json::Array(required) = parameters.entry("required").or_insert_with(|| json!([])) {
        required.push(name.into());
    }
}
