//! One list of tools that all agents are shown whose prompts begin alike
//! ([`Prompt::SharedPrefix`](protocol::orchestration::Prompt::SharedPrefix)), and what one of them is told of its part in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::ids::AgentName;
use protocol::orchestration::{Handoff, Orchestration, Tool};
use serde_json::json;

use super::{definition, transfer_parameters};
use crate::model::ToolDefinition;

/// What the list says of a tool that only the workers of its agents know.
const TOLD_TO_ITS_AGENTS: &str = "What it takes is told to those who may call it.";

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) list: Arc<[ToolDefinition]>,
    /// What is to be said of an agent's own tools besides, by their names.
    remarks: BTreeMap<String, String>,
}

/// An agent's part in the list, in one conversation.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// What it may call.
    pub(super) allowed: Arc<[String]>,
    /// The same for its model, in words.
    pub(super) briefing: String,
}

impl Shared {
    /// The list, of which `own` is one agent's part; none, if its prompts begin as no other's. It is the same for all agents: made of the
    /// definition alone, in the order of names.
    pub(super) fn of(
        orchestration: &Orchestration,
        agent: &AgentName,
        own: &[ToolDefinition],
        complete_task: &ToolDefinition,
    ) -> Option<Self> {
        orchestration.alike().find(|alike| alike.name == *agent)?;
        let tools = orchestration.alike().flat_map(|agent| &agent.tools);
        let tools: BTreeMap<&str, ToolDefinition> = tools.map(|tool| (tool.name.as_str(), listed(tool))).collect();
        let mut handoffs: BTreeMap<&AgentName, Vec<&Handoff>> = BTreeMap::new();
        for handoff in orchestration.alike().flat_map(|agent| &agent.handoffs) {
            handoffs.entry(&handoff.to).or_default().push(handoff);
        }
        let transfers = handoffs.into_values().filter_map(|handoffs| transfer(orchestration, &handoffs));
        let list: Arc<[ToolDefinition]> = tools.into_values().chain(transfers).chain([complete_task.clone()]).collect();
        let remark = |own: &ToolDefinition| {
            let listed = list.iter().find(|listed| listed.name == own.name)?;
            Some((own.name.clone(), remark(own, listed)?))
        };
        let remarks = own.iter().filter_map(remark).collect();
        Some(Self { list, remarks })
    }

    /// The part of an agent that may call these.
    pub(super) fn part(&self, may: &[ToolDefinition]) -> Part {
        let allowed: Arc<[String]> = may.iter().map(|tool| tool.name.clone()).collect();
        let remarks = allowed.iter().filter_map(|name| Some(format!("\n- {name}: {}", self.remarks.get(name)?)));
        let briefing = format!("You may call only: {}.{}", allowed.join(", "), remarks.collect::<String>());
        Part { allowed, briefing }
    }
}

/// A tool as the definition has it. What code takes and what MCP servers say is known to the workers of its agents only.
fn listed(tool: &Tool) -> ToolDefinition {
    match &tool.parameters {
        Some(parameters) => definition(&tool.name, &tool.description, parameters.clone()),
        None => definition(&tool.name, TOLD_TO_ITS_AGENTS, json!({ "type": "object", "additionalProperties": true })),
    }
}

/// The tool by which all agents hand over to one target. They agree on its payload, but not always on when to do it.
fn transfer(orchestration: &Orchestration, handoffs: &[&Handoff]) -> Option<ToolDefinition> {
    let (first, others) = handoffs.split_first()?;
    let description = if others.iter().all(|other| other.when == first.when) {
        first.when.clone()
    } else {
        format!("Hands the conversation over to {}.", orchestration.display_name(&first.to))
    };
    Some(definition(&first.tool_name(), &description, transfer_parameters(first)))
}

/// What an agent must know of its tool beyond what the list says.
fn remark(own: &ToolDefinition, listed: &ToolDefinition) -> Option<String> {
    let does = (own.description != listed.description).then(|| own.description.clone());
    let takes = (own.parameters != listed.parameters).then(|| format!("Its arguments match the JSON Schema {}", own.parameters));
    let said: Vec<String> = [does, takes].into_iter().flatten().filter(|text| !text.is_empty()).collect();
    (!said.is_empty()).then(|| said.join(" "))
}

#[cfg(test)]
mod tests {
    use protocol::builder::AgentDef;
    use protocol::event::Json;
    use protocol::manifest::{CodeToolSpec, ModelSpec, TemplateSpec, TemplateToolSpec, ToolsetSpec};
    use protocol::orchestration::Prompt;

    use super::*;
    use crate::catalog::Catalog;

    fn orchestration() -> Orchestration {
        let agent = |name: &str| AgentDef::new(name).description(format!("Is {name}."));
        let template = |name: &str| {
            let tool =
                TemplateToolSpec { description: Some(format!("Does {name}.")), reply: "Done.".into(), ..TemplateToolSpec::default() };
            (name.to_owned(), tool)
        };
        let texts = TemplateSpec { tools: ["b", "a"].map(template).into() };
        Orchestration::builder("support")
            .model("default", ModelSpec::openai("m"))
            .prompt(Prompt::SharedPrefix)
            .toolset("texts", ToolsetSpec { template: Some(texts), ..ToolsetSpec::default() })
            .code_tool("pay", CodeToolSpec { description: Some("Pays.".into()), ..CodeToolSpec::default() })
            .agents([
                &agent("triage").display_name("Triage").tools_from("texts", ["b"]),
                &agent("refund").tool("pay"),
                &agent("order").tools_from("texts", ["a"]),
                &agent("pricing").code("pricing").tools_from("texts", ["a", "b"]),
            ])
            .start_with("triage")
            .add_many("triage", [("refund", "Money"), ("order", "Goods"), ("pricing", "Prices")])
            .add_many_to("triage", [("refund", "No money"), ("order", "No goods")])
            .build()
            .unwrap()
            .orchestration
    }

    fn shared(agent: &str) -> Option<(Vec<ToolDefinition>, String)> {
        let orchestration = orchestration();
        let schemas = BTreeMap::from([("pay".to_owned(), json!({ "type": "object", "properties": { "cents": { "type": "integer" } } }))]);
        let catalog = Catalog::new(&orchestration, orchestration.agent(&agent.parse().unwrap()).unwrap(), &schemas).unwrap();
        let shared = catalog.shared?;
        Some((shared.list.to_vec(), shared.part(&catalog.definitions).briefing))
    }

    #[test]
    fn the_list_is_that_of_all_agents_that_models_play_and_the_same_for_each() {
        let (list, _) = shared("triage").unwrap();
        let told: Vec<_> = list.iter().map(|tool| (tool.name.as_str(), tool.description.as_str())).collect();
        let expected = [
            ("a", "Does a."),
            ("b", "Does b."),
            ("pay", TOLD_TO_ITS_AGENTS),
            ("transfer_to_order", "Goods"),
            ("transfer_to_pricing", "Prices"),
            ("transfer_to_refund", "Money"),
            ("transfer_to_triage", "Hands the conversation over to Triage."),
            ("complete_task", "Ends the conversation: call it when the task is done."),
        ];
        assert_eq!(told, expected);
        let written = |list: &[ToolDefinition]| list.iter().map(|tool| tool.parameters.to_string()).collect::<Vec<String>>();
        for agent in ["refund", "order"] {
            let (other, _) = shared(agent).unwrap();
            assert_eq!((&other, written(&other)), (&list, written(&list)), "to the byte");
        }
        assert!(shared("pricing").is_none(), "a program's own agents see what they may call");
    }

    #[test]
    fn each_agent_is_told_what_it_may_call_and_what_the_list_leaves_open() {
        let briefing = |agent: &str| shared(agent).unwrap().1;
        assert_eq!(briefing("triage"), "You may call only: b, transfer_to_refund, transfer_to_order, transfer_to_pricing, complete_task.");
        let schema: Json = json!({ "type": "object", "properties": { "cents": { "type": "integer" } } });
        assert_eq!(
            briefing("refund"),
            format!(
                "You may call only: pay, transfer_to_triage, complete_task.\n\
                 - pay: Pays. Its arguments match the JSON Schema {schema}\n\
                 - transfer_to_triage: No money"
            )
        );
    }
}
