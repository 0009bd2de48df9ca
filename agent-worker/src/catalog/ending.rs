//! How a conversation may end: with what kind of value, and on which words.

use std::collections::BTreeMap;

use jsonschema::Validator;
use protocol::condition::{Condition, ConditionError};
use protocol::event::Json;
use protocol::ids::AgentName;
use protocol::orchestration::{Orchestration, TERMINATE_VARIABLES};

use super::{PAYLOAD_DEPTH_MAX, depth};

/// Complaints of a schema that a model is shown at once.
const COMPLAINTS_MAX: usize = 5;

/// What an orchestration says of the end of its conversations.
#[derive(Debug, Default)]
pub(super) struct Ending {
    pub(super) output: Option<Output>,
    terminate_when: Option<Condition>,
}

/// The schema of results.
#[derive(Debug)]
pub struct Output {
    schema: Json,
    validator: Validator,
}

impl Ending {
    /// # Errors
    /// The key of the definition that cannot be used, and why.
    pub(super) fn of(orchestration: &Orchestration) -> Result<Self, (&'static str, String)> {
        let terminate_when = orchestration.terminate_when().map(|text| Condition::parse(text, &TERMINATE_VARIABLES)).transpose();
        let output = orchestration.output().map(Output::new).transpose();
        Ok(Self {
            output: output.map_err(|problem| ("output", problem))?,
            terminate_when: terminate_when.map_err(|error| ("terminateWhen", error.to_string()))?,
        })
    }

    /// Whether a plain answer of an agent ends the conversation.
    ///
    /// # Errors
    /// [`ConditionError::NoAnswer`] for these words and this metadata.
    pub(super) fn is_terminated(&self, agent: &AgentName, text: &str, metadata: &BTreeMap<String, Json>) -> Result<bool, ConditionError> {
        let Some(condition) = &self.terminate_when else { return Ok(false) };
        condition.holds(&BTreeMap::from([
            ("agent", agent.as_str().into()),
            ("metadata", metadata.clone().into_iter().collect()),
            ("text", text.into()),
        ]))
    }
}

impl Output {
    fn new(schema: &Json) -> Result<Self, String> {
        let validator = jsonschema::validator_for(schema).map_err(|error| format!("it is no JSON Schema: {error}"))?;
        Ok(Self { schema: schema.clone(), validator })
    }

    /// The schema.
    pub const fn schema(&self) -> &Json {
        &self.schema
    }

    /// A value that matches.
    ///
    /// # Errors
    /// What is wrong with it, for the model.
    pub fn check(&self, value: &Json) -> Result<(), String> {
        if depth(value) > PAYLOAD_DEPTH_MAX {
            return Err("it is nested too deeply".to_owned());
        }
        let complaints = self.validator.iter_errors(value).take(COMPLAINTS_MAX);
        let complaints: Vec<String> = complaints.map(|error| format!("at {:?}: {error}", error.instance_path().to_string())).collect();
        if complaints.is_empty() { Ok(()) } else { Err(complaints.join("; ")) }
    }

    /// The value that a model has written in plain words: JSON, perhaps in a Markdown fence.
    ///
    /// # Errors
    /// What is wrong with it, for the model.
    pub fn parse(&self, text: &str) -> Result<Json, String> {
        let text = text.trim();
        let inner = text.strip_prefix("```").and_then(|text| text.strip_suffix("```"));
        let inner = inner.map_or(text, |text| text.strip_prefix("json").unwrap_or(text));
        let value = serde_json::from_str(inner).map_err(|error| format!("it is not JSON: {error}"))?;
        self.check(&value)?;
        Ok(value)
    }
}
