//! Conditions in definitions: CEL expressions over what a conversation says of itself. Pure, and bounded: CEL has no loops
//! but over lists that are there.

use std::collections::BTreeMap;
use std::fmt;

use cel::{Context, Program, Value};

use crate::event::Json;

/// A condition that can be asked.
pub struct Condition {
    text: String,
    program: Program,
}

/// Why a condition cannot be asked, or has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// It is no expression.
    #[error("it is not an expression of CEL: {0}")]
    Malformed(String),
    /// It uses something that is not there to be used.
    #[error("there is no {unknown:?} here; there is {}", .known.join(", "))]
    Unknown {
        /// What it uses.
        unknown: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// It has no answer for these values.
    #[error("{text} has no answer: {why}")]
    NoAnswer {
        /// The expression.
        text: String,
        /// Why.
        why: String,
    },
}

impl Condition {
    /// An expression that uses nothing but `known` variables.
    ///
    /// # Errors
    /// [`ConditionError`] when it is none.
    pub fn parse(text: &str, known: &[&'static str]) -> Result<Self, ConditionError> {
        let malformed = |error: cel::ParseErrors| ConditionError::Malformed(error.to_string().lines().collect::<Vec<_>>().join(" "));
        let program = Program::compile(text).map_err(malformed)?;
        let unknown = program.references().variables().into_iter().find(|name| !known.contains(name)).map(str::to_owned);
        match unknown {
            Some(unknown) => Err(ConditionError::Unknown { unknown, known: known.to_vec() }),
            None => Ok(Self { text: text.to_owned(), program }),
        }
    }

    /// Whether it holds with these values. A key that is not there makes it not hold; `has(metadata.tier)` asks for one.
    ///
    /// # Errors
    /// [`ConditionError::NoAnswer`] when it is no question of yes or no for these values.
    pub fn holds(&self, values: &BTreeMap<&'static str, Json>) -> Result<bool, ConditionError> {
        let no_answer = |why: String| ConditionError::NoAnswer { text: self.text.clone(), why };
        let mut context = Context::default();
        for (name, value) in values {
            context.add_variable(*name, value).map_err(|error| no_answer(error.to_string()))?;
        }
        match self.program.execute(&context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(no_answer(format!("it gives {other:?}, and not true or false"))),
            Err(cel::ExecutionError::NoSuchKey(_)) => Ok(false),
            Err(error) => Err(no_answer(error.to_string())),
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.text).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(text: &str, metadata: Json) -> Result<bool, ConditionError> {
        Condition::parse(text, &["metadata"])?.holds(&BTreeMap::from([("metadata", metadata)]))
    }

    #[test]
    fn metadata_can_be_asked_about() {
        assert_eq!(ask("metadata.tier == \"gold\"", json!({ "tier": "gold" })), Ok(true));
        assert_eq!(ask("metadata.tier in [\"gold\", \"silver\"] && metadata.age > 17", json!({ "tier": "silver", "age": 17 })), Ok(false));
        assert_eq!(ask("metadata.name.matches(\"^A\")", json!({ "name": "Ann" })), Ok(true));
    }

    #[test]
    fn what_is_not_there_does_not_hold() {
        assert_eq!(ask("metadata.tier == \"gold\"", json!({})), Ok(false));
        assert_eq!(ask("!has(metadata.tier)", json!({})), Ok(true));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        assert!(matches!(ask("metadata.tier ==", json!({})), Err(ConditionError::Malformed(_))));
        assert!(matches!(ask("customer.tier == 1", json!({})), Err(ConditionError::Unknown { unknown, .. }) if unknown == "customer"));
        assert!(matches!(ask("metadata.age", json!({ "age": 3 })), Err(ConditionError::NoAnswer { .. })));
    }
}
