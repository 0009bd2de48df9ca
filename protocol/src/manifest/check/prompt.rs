//! What agents must agree on where one list of tools is shown to all of them.

use std::collections::BTreeMap;

use super::agents::{Roster, TOOLS_MAX};
use crate::event::Json;
use crate::ids::AgentName;
use crate::manifest::problem::{Findings, KeyPath};
use crate::orchestration::{Agent, Player, Prompt};

/// What a model is shown of a tool besides its name. When to hand over is told to each agent by itself, so that it may differ.
#[derive(PartialEq)]
struct Shown<'a> {
    description: &'a str,
    schema: Option<&'a Json>,
}

pub(super) fn check(prompt: Option<Prompt>, agents: &BTreeMap<AgentName, Agent>, roster: &Roster<'_>, findings: &mut Findings) -> Prompt {
    if prompt != Some(Prompt::SharedPrefix) {
        return Prompt::Isolated;
    }
    let mut list: BTreeMap<String, (&str, Shown<'_>)> = BTreeMap::new();
    for agent in agents.values().filter(|agent| matches!(agent.player, Player::Model(_))) {
        let key = roster.key(&agent.name);
        let tools = agent.tools.iter().map(|tool| {
            let schema = tool.parameters.as_ref();
            // What code and MCP servers say of themselves is told to each agent by itself, too.
            let description = if schema.is_some() { tool.description.as_str() } else { "" };
            (tool.name.clone(), Shown { description, schema })
        });
        let handoffs =
            agent.handoffs.iter().map(|handoff| (handoff.tool_name(), Shown { description: "", schema: handoff.payload.as_ref() }));
        for (name, shown) in tools.chain(handoffs) {
            if let Some((other, _)) = list.get(&name).filter(|(_, known)| *known != shown) {
                let message = format!(
                    "its {name:?} and that of {other:?} differ (description, parameters or payload), but with prompt: shared-prefix all agents \
                     are shown one list of tools; make them alike, or rename one"
                );
                findings.error(&KeyPath::of(["spec", "agents"]).key(key), message);
            }
            list.entry(name).or_insert((key, shown));
        }
    }
    let count = list.len() + 1;
    if count > TOOLS_MAX {
        let message = format!("the tools of all agents, their handoffs and complete_task make {count}; models take {TOOLS_MAX} at most");
        findings.error(&KeyPath::of(["spec", "prompt"]), message);
    }
    Prompt::SharedPrefix
}
