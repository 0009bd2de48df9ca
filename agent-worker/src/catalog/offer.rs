//! What an agent can call in one conversation: its catalogue, without the edges whose condition does not hold there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use protocol::event::{Call, Json};
use protocol::orchestration::{COMPLETE_TASK, TRANSFER_PREFIX};

use super::shared::Part;
use super::{Catalog, Judgement, arguments, judge_completion, judge_transfer};
use crate::model::ToolDefinition;

/// A view of a catalogue; it shares the schemas with all other views of it.
#[derive(Clone, Debug)]
pub struct Offer {
    catalog: Arc<Catalog>,
    hidden: BTreeSet<String>,
    definitions: Arc<[ToolDefinition]>,
    part: Option<Part>,
    unanswered: Vec<String>,
}

impl Offer {
    /// What is offered where the conversation's opening has this metadata. A condition without an answer does not hold.
    pub fn new(catalog: Arc<Catalog>, metadata: &BTreeMap<String, Json>) -> Self {
        let (mut hidden, mut unanswered) = (BTreeSet::new(), Vec::new());
        let conditional = catalog.handoffs.iter().filter_map(|(name, edge)| Some((name, edge.condition.as_ref()?)));
        for (name, condition) in conditional {
            let holds = condition.holds(&BTreeMap::from([("metadata", metadata.clone().into_iter().collect())]));
            if !*holds.as_ref().unwrap_or(&false) {
                hidden.insert(name.clone());
            }
            unanswered.extend(holds.err().map(|error| format!("{name} is not offered: {error}")));
        }
        let definitions = catalog.without(&hidden);
        let part = catalog.shared.as_ref().map(|shared| shared.part(&definitions));
        Self { catalog, hidden, definitions, part, unanswered }
    }

    /// The catalogue.
    pub const fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// What the model may call.
    pub const fn definitions(&self) -> &Arc<[ToolDefinition]> {
        &self.definitions
    }

    /// What the model is shown, and the names of what it may call of that, if that is not all of it.
    pub fn shown(&self) -> (Arc<[ToolDefinition]>, Option<Arc<[String]>>) {
        match (&self.catalog.shared, &self.part) {
            (Some(shared), Some(part)) => (shared.list.clone(), Some(part.allowed.clone())),
            _ => (self.definitions.clone(), None),
        }
    }

    /// What it may call of what it is shown, in words, where that is not all of it.
    pub fn briefing(&self) -> Option<&str> {
        self.part.as_ref().map(|part| part.briefing.as_str())
    }

    /// Conditions that had no answer, for people.
    pub fn unanswered(&self) -> &[String] {
        &self.unanswered
    }

    /// What a call is (semantics 1). An edge that is hidden here does not exist.
    pub fn judge(&self, call: &Call) -> Judgement {
        let edge = self.catalog.handoffs.get(&call.name).filter(|_| !self.hidden.contains(&call.name));
        let arguments = match arguments(call) {
            Ok(arguments) => arguments,
            // A transfer needs no arguments, so nothing that is wrong with them stops it.
            Err(_) if edge.is_some_and(|edge| edge.validator.is_none()) => Json::Null,
            Err(problem) => return Judgement::Invalid(problem),
        };
        if call.name == COMPLETE_TASK {
            return judge_completion(self.catalog.output(), &arguments);
        }
        if let Some(edge) = edge {
            return judge_transfer(edge, &arguments);
        }
        if let Some(target) = call.name.strip_prefix(TRANSFER_PREFIX) {
            return Judgement::Invalid(format!("You cannot transfer to {target:?}. {}", self.names()));
        }
        let Some(entry) = self.catalog.tools.get(&call.name).filter(|entry| entry.is_offered) else {
            return Judgement::Invalid(format!("There is no tool {:?}. {}", call.name, self.names()));
        };
        match entry.validator.validate(&arguments) {
            Ok(()) => Judgement::Tool {
                effect: entry.tool.effect,
                in_doubt: entry.tool.in_doubt,
                undo: entry.tool.undo.as_ref().map(|undo| undo.name.clone()),
                approval: entry.tool.approval.clone(),
            },
            Err(error) => Judgement::Invalid(format!("The arguments do not match the tool's schema: {error}. The tool did not run.")),
        }
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.definitions.iter().map(|definition| definition.name.as_str()).collect();
        format!("Available are: {}.", names.join(", "))
    }
}

impl Catalog {
    /// The definitions but those of hidden edges: made once for each set of them that occurs, shared by its conversations.
    fn without(&self, hidden: &BTreeSet<String>) -> Arc<[ToolDefinition]> {
        if hidden.is_empty() {
            return self.definitions.clone();
        }
        let mut known = self.reduced.lock().unwrap_or_else(PoisonError::into_inner);
        let reduced = known.entry(hidden.clone()).or_insert_with(|| {
            let shown = self.definitions.iter().filter(|definition| !hidden.contains(&definition.name));
            shown.cloned().collect()
        });
        reduced.clone()
    }
}
