//! What a definition permits, read from its file form: a second opinion on what the catalogue judges.

use std::collections::BTreeSet;

use protocol::event::{Audience, Call, Effect, Json};
use protocol::manifest::{CodeToolSpec, HandoffSpec};

use super::definition::{Demands, FOR_GOLD};

/// Nesting of a payload beyond which no journal takes it.
const DEPTH_MAX: usize = 24;

/// What a call may lead to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Means<'a> {
    Run(&'a CodeToolSpec),
    Transfer(&'a HandoffSpec),
    End,
    Nothing,
}

impl Demands {
    pub(super) fn is_played_at(&self, agent: &str, audience: &Audience) -> bool {
        let desk = self.spec.agents[agent].desk.as_ref().and_then(|desk| desk.name.as_ref());
        matches!(audience, Audience::Desk(name) if Some(name) == desk)
    }

    pub(super) fn tool(&self, name: &str) -> Option<&CodeToolSpec> {
        self.spec.tools.values().find_map(|set| set.code.as_ref()?.tools.get(name))
    }

    pub(super) fn effect(&self, name: &str) -> Effect {
        self.tool(name).and_then(|tool| tool.effect).unwrap_or(Effect::SideEffect)
    }

    fn tools_of(&self, agent: &str) -> BTreeSet<String> {
        let taken = &self.spec.agents[agent].tools;
        let all = |set: &str| self.spec.tools[set].code.iter().flat_map(|code| code.tools.keys().cloned()).collect();
        taken.iter().flat_map(|taken| if taken.names.is_empty() { all(&taken.from) } else { taken.names.clone() }).collect()
    }

    fn edges(&self, agent: &str) -> impl Iterator<Item = &HandoffSpec> {
        let holds = |condition: &str| condition == FOR_GOLD && self.opened.metadata["tier"] == "gold";
        self.spec.agents[agent].handoffs.iter().filter(move |edge| edge.condition.as_deref().is_none_or(holds))
    }

    /// All that an agent may call.
    pub(super) fn offered(&self, agent: &str) -> BTreeSet<String> {
        let edges = self.edges(agent).map(|edge| format!("transfer_to_{}", edge.to));
        self.tools_of(agent).into_iter().chain(edges).chain(["complete_task".to_owned()]).collect()
    }

    pub(super) fn means(&self, agent: &str, call: &Call) -> Means<'_> {
        let text = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
        let arguments: Option<Json> = serde_json::from_str(text).ok();
        let field = |name: &str| arguments.as_ref().and_then(|arguments| arguments.get(name));
        if call.name == "complete_task" {
            let is_told = field("task_summary").or(field("summary")).is_some_and(Json::is_string);
            return if is_told && (self.spec.output.is_none() || field("result").is_some_and(is_result)) {
                Means::End
            } else {
                Means::Nothing
            };
        }
        if let Some(edge) = self.edges(agent).find(|edge| call.name == format!("transfer_to_{}", edge.to)) {
            let fits = edge.payload.is_none() || field("payload").is_some_and(is_order);
            return if fits { Means::Transfer(edge) } else { Means::Nothing };
        }
        if !self.tools_of(agent).contains(&call.name) || !arguments.as_ref().is_some_and(Json::is_object) {
            return Means::Nothing;
        }
        let fits = call.name != "count" || field("n").is_none_or(is_integer);
        self.tool(&call.name).filter(|_| fits).map_or(Means::Nothing, Means::Run)
    }

    /// The transfer that a response leads to: its first that can be.
    pub(super) fn transfer<'a>(&'a self, agent: &str, calls: &'a [Call]) -> Option<(&'a Call, &'a HandoffSpec)> {
        calls.iter().find_map(|call| match self.means(agent, call) {
            Means::Transfer(edge) => Some((call, edge)),
            Means::Run(_) | Means::End | Means::Nothing => None,
        })
    }

    pub(super) fn ends(&self, agent: &str, calls: &[Call]) -> bool {
        calls.iter().any(|call| matches!(self.means(agent, call), Means::End))
    }
}

/// The typed result of the orchestrations that have one.
pub(super) fn is_result(value: &Json) -> bool {
    value.is_string() || is_integer(value)
}

/// The payload of edges that have one.
pub(super) fn is_order(payload: &Json) -> bool {
    payload.get("order").is_some_and(is_integer) && depth(payload) <= DEPTH_MAX
}

fn is_integer(value: &Json) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn depth(value: &Json) -> usize {
    match value {
        Json::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Json::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
