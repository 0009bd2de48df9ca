//! What an agent's model may call in a turn, and the judgement of each call: pure, and made once per revision and agent.

use std::collections::BTreeMap;
use std::sync::Arc;

use jsonschema::Validator;
use protocol::event::{Audience, Call, Effect, InDoubt, Json};
use protocol::ids::AgentName;
use protocol::orchestration::{Agent, COMPLETE_TASK, Handoff, TRANSFER_PREFIX, Tool};
use serde_json::json;

use crate::model::ToolDefinition;

/// Nesting of a payload; what is deeper than a journal's reader goes (`protocol::wire::DEPTH_MAX`) could not be stored.
const PAYLOAD_DEPTH_MAX: usize = 24;

/// The calls that an agent's model can make.
#[derive(Debug)]
pub struct Catalog {
    definitions: Arc<[ToolDefinition]>,
    tools: BTreeMap<String, Entry>,
    handoffs: BTreeMap<String, Edge>,
}

#[derive(Debug)]
struct Entry {
    tool: Tool,
    validator: Validator,
}

#[derive(Debug)]
struct Edge {
    handoff: Handoff,
    validator: Option<Validator>,
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
        /// Who must approve it.
        approval: Option<Audience>,
    },
    /// A permitted transfer.
    Transfer(Transfer),
    /// The end.
    Complete {
        /// The summary.
        summary: String,
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
    /// [`CatalogError`] when a schema is none, or a code tool has none.
    pub fn new(agent: &Agent, schemas: &BTreeMap<String, Json>) -> Result<Self, CatalogError> {
        let mut definitions = Vec::new();
        let mut tools = BTreeMap::new();
        for tool in &agent.tools {
            let error = |problem: String| CatalogError { agent: agent.name.clone(), tool: tool.name.clone(), problem };
            let parameters = tool.parameters.as_ref().or_else(|| schemas.get(&tool.name));
            let parameters =
                parameters.ok_or_else(|| error("this worker has no function of that name; register it with the worker".to_owned()))?;
            let validator = jsonschema::validator_for(parameters).map_err(|e| error(format!("its parameters are no JSON Schema: {e}")))?;
            definitions.push(definition(&tool.name, &tool.description, parameters.clone()));
            tools.insert(tool.name.clone(), Entry { tool: tool.clone(), validator });
        }
        let mut handoffs = BTreeMap::new();
        for handoff in &agent.handoffs {
            let name = handoff.tool_name();
            let error = |problem: String| CatalogError { agent: agent.name.clone(), tool: name.clone(), problem };
            let validator = handoff.payload.as_ref().map(jsonschema::validator_for).transpose();
            let validator = validator.map_err(|e| error(format!("its payload is no JSON Schema: {e}")))?;
            definitions.push(definition(&name, &handoff.when, transfer_parameters(handoff)));
            handoffs.insert(name, Edge { handoff: handoff.clone(), validator });
        }
        definitions.push(definition(COMPLETE_TASK, "Ends the conversation: call it when the task is done.", complete_parameters()));
        Ok(Self { definitions: definitions.into(), tools, handoffs })
    }

    /// What the model is offered.
    pub fn definitions(&self) -> &Arc<[ToolDefinition]> {
        &self.definitions
    }

    /// Wall time of one run of a tool, in seconds.
    pub fn timeout_secs(&self, tool: &str) -> Option<u64> {
        self.tools.get(tool).map(|entry| entry.tool.timeout_secs)
    }

    /// What a call is (semantics 1).
    pub fn judge(&self, call: &Call) -> Judgement {
        let arguments = match arguments(call) {
            Ok(arguments) => arguments,
            // A transfer needs no arguments, so nothing that is wrong with them stops it.
            Err(_) if self.handoffs.get(&call.name).is_some_and(|edge| edge.validator.is_none()) => Json::Null,
            Err(problem) => return Judgement::Invalid(problem),
        };
        if call.name == COMPLETE_TASK {
            return judge_completion(&arguments);
        }
        if let Some(edge) = self.handoffs.get(&call.name) {
            return judge_transfer(edge, &arguments);
        }
        if let Some(target) = call.name.strip_prefix(TRANSFER_PREFIX) {
            return Judgement::Invalid(format!("You cannot transfer to {target:?}. {}", self.offer()));
        }
        let Some(entry) = self.tools.get(&call.name) else {
            return Judgement::Invalid(format!("There is no tool {:?}. {}", call.name, self.offer()));
        };
        match entry.validator.validate(&arguments) {
            Ok(()) => Judgement::Tool { effect: entry.tool.effect, in_doubt: entry.tool.in_doubt, approval: entry.tool.approval.clone() },
            Err(error) => Judgement::Invalid(format!("The arguments do not match the tool's schema: {error}. The tool did not run.")),
        }
    }

    fn offer(&self) -> String {
        let names: Vec<&str> = self.definitions.iter().map(|definition| definition.name.as_str()).collect();
        format!("Available are: {}.", names.join(", "))
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

fn judge_completion(arguments: &Json) -> Judgement {
    let summary = arguments.get("task_summary").or_else(|| arguments.get("summary")).and_then(Json::as_str);
    summary.map_or_else(
        || Judgement::Invalid("complete_task needs the argument task_summary, a text.".to_owned()),
        |summary| Judgement::Complete { summary: summary.to_owned() },
    )
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
    Judgement::Transfer(Transfer { handoff: edge.handoff.clone(), reason, payload })
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
    match &handoff.payload {
        None => json!({ "type": "object", "properties": { "reason": reason } }),
        Some(payload) => json!({ "type": "object", "properties": { "reason": reason, "payload": payload }, "required": ["payload"] }),
    }
}

fn complete_parameters() -> Json {
    json!({
        "type": "object",
        "properties": { "task_summary": { "type": "string", "description": "What was done, in one or two sentences." } },
        "required": ["task_summary"],
    })
}
