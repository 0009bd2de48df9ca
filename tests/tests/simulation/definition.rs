//! The orchestrations that the stories are about: made once, because every story only reads them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use agent_worker::catalog::Catalog;
use protocol::builder::AgentDef;
use protocol::event::{Audience, Effect, HistoryOption};
use protocol::ids::AgentName;
use protocol::manifest::{CodeToolSpec, HandoffSpec, HumanSpec, InDoubtSpec, LimitsSpec, ModelSpec};
use protocol::orchestration::{OnMessage, Orchestration};
use serde_json::json;

/// The agents, the first of which speaks first.
pub(crate) const AGENTS: [&str; 3] = ["triage", "refund", "order"];
/// The tools that an agent's model may call.
pub(crate) const TOOLS: [&str; 7] = ["look", "put", "pay", "mail", "log", "refund_money", "wire"];

/// An orchestration, and what each of its agents' models may call.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) orchestration: Arc<Orchestration>,
    pub(crate) catalogs: BTreeMap<AgentName, Arc<Catalog>>,
}

impl Definition {
    /// The `n`-th of a few, over and over: they differ in what a person's message does to a running turn, and in where replies go.
    pub(crate) fn of(n: u64) -> &'static Self {
        static DEFINITIONS: OnceLock<[Definition; 3]> = OnceLock::new();
        let all = DEFINITIONS
            .get_or_init(|| [(OnMessage::Enqueue, false), (OnMessage::Interrupt, false), (OnMessage::Enqueue, true)].map(Self::new));
        &all[usize::try_from(n % all.len() as u64).unwrap()]
    }

    fn new((on_message, return_to_start): (OnMessage, bool)) -> Self {
        let orchestration = orchestration(on_message, return_to_start);
        let schemas = TOOLS.iter().map(|name| ((*name).to_owned(), json!({ "type": "object" }))).collect();
        let catalogs = orchestration.agents().map(|agent| {
            let catalog = Catalog::new(&orchestration, agent, &schemas).unwrap();
            (agent.name.clone(), Arc::new(catalog))
        });
        Self { catalogs: catalogs.collect(), orchestration: Arc::new(orchestration) }
    }

    pub(crate) fn agents(&self) -> Vec<AgentName> {
        self.catalogs.keys().cloned().collect()
    }

    /// What a repeated run of a tool may do.
    pub(crate) fn effect(&self, tool: &str) -> Effect {
        let agent = self.orchestration.agent(self.orchestration.start()).unwrap();
        agent.tools.iter().find(|found| found.name == tool).map_or(Effect::SideEffect, |found| found.effect)
    }
}

fn tool(effect: Effect, in_doubt: InDoubtSpec, approval: Option<&str>) -> CodeToolSpec {
    let approval: Option<Audience> = approval.map(|audience| audience.parse().unwrap());
    let description = Some("does".to_owned());
    CodeToolSpec { effect: Some(effect), in_doubt: Some(in_doubt), approval, description, ..CodeToolSpec::default() }
}

fn orchestration(on_message: OnMessage, return_to_start: bool) -> Orchestration {
    let specs = [
        tool(Effect::ReadOnly, InDoubtSpec::Ask, None),
        tool(Effect::Idempotent, InDoubtSpec::Ask, None),
        tool(Effect::SideEffect, InDoubtSpec::Ask, None),
        tool(Effect::SideEffect, InDoubtSpec::Retry, None),
        tool(Effect::SideEffect, InDoubtSpec::Abandon, None),
        tool(Effect::SideEffect, InDoubtSpec::Ask, Some("caller")),
        tool(Effect::SideEffect, InDoubtSpec::Ask, Some("role:manager")),
    ];
    let agents = AGENTS.map(|name| {
        let agent = AgentDef::new(name).description("Works.").instructions("Work.");
        TOOLS.iter().fold(agent, |agent, tool| agent.tool(*tool))
    });
    let mut builder = Orchestration::builder("support").model("default", ModelSpec::openai("m"));
    for (name, spec) in TOOLS.iter().zip(specs) {
        builder = builder.code_tool(*name, spec);
    }
    let folded = HandoffSpec { history: Some(HistoryOption::Summary), ..HandoffSpec::to("order") };
    let shared = HandoffSpec { history: Some(HistoryOption::Tools), ..HandoffSpec::to("order") };
    let human = HumanSpec { on_message: Some(on_message), return_to_start: Some(return_to_start), ..HumanSpec::default() };
    let builder = builder.agents(&agents).start_with("triage").human(human).limits(LimitsSpec::default());
    let builder = builder.add("triage", "refund").add_handoff("triage", shared).add("refund", "triage").add_handoff("refund", folded);
    builder.build().unwrap_or_else(|problems| panic!("{problems:?}")).orchestration
}
