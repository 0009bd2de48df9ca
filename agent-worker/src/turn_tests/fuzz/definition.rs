//! Definitions with every option that bears on outcomes, each in one story of a few.

use std::collections::BTreeMap;

use protocol::event::{Audience, HistoryOption, Opened};
use protocol::manifest::{AutonomousSpec, DeskSpec, FallbackSpec, HandoffSpec, HumanSpec, LimitsSpec, RemoteSpec, Spec};
use protocol::orchestration::{OnMessage, Prompt};
use serde_json::json;

use super::super::stage::Stage;
use super::replies::one_in;

/// Of the edges to order: they are there for half of the callers.
pub(super) const FOR_GOLD: &str = "metadata.tier == 'gold'";
/// Has no answer anywhere: what it is asked of is not there.
pub(super) const UNANSWERED: &str = "metadata.nothing == 1";
/// Ends a conversation.
pub(super) const ENDING: &str = "text.contains('that is all')";

/// What the caller and the definition want.
#[derive(Clone, Debug)]
pub(super) struct Demands {
    pub(super) spec: Spec,
    pub(super) opened: Opened,
    /// The agent that a service plays.
    pub(super) remote: Option<String>,
}

/// Stories that share a definition: it takes longer to check one than to tell a story.
const STORIES: u64 = 16;

/// The definition of the last story.
#[derive(Debug, Default)]
pub(super) struct Definitions(Option<(u64, Stage, Demands)>);

impl Definitions {
    /// The definition that a story's seed stands for, and a conversation of it that has not begun.
    pub(super) fn of(&mut self, seed: u64) -> (Stage, Demands) {
        let number = seed / STORIES;
        if self.0.as_ref().is_none_or(|(known, ..)| *known != number) {
            let (stage, demands) = definition(&mut fastrand::Rng::with_seed(number));
            self.0 = Some((number, stage, demands));
        }
        let (_, stage, demands) = self.0.as_ref().unwrap();
        (stage.clone(), demands.clone())
    }
}

fn definition(rng: &mut fastrand::Rng) -> (Stage, Demands) {
    let (human, is_gold) = (!one_in(rng, 3), rng.bool());
    let mut remote = None;
    let metadata = BTreeMap::from([("tier".to_owned(), if is_gold { "gold" } else { "silver" }.into())]);
    let opened = Opened { human, metadata, ..Opened::default() };
    let stage = Stage::of(|spec| remote = demand(rng, spec), opened.clone());
    let spec = stage.orchestration.manifest().spec.clone();
    (stage, Demands { spec, opened, remote })
}

fn demand(rng: &mut fastrand::Rng, spec: &mut Spec) -> Option<String> {
    let on_message = [OnMessage::Enqueue, OnMessage::Interrupt, OnMessage::Reject][rng.usize(..3)];
    spec.human = Some(HumanSpec {
        on_message: Some(on_message),
        return_to_start: Some(one_in(rng, 4)),
        autonomous: one_in(rng, 3).then(|| AutonomousSpec { turns: Some(2), prompt: Some("Go on.".to_owned()) }),
    });
    spec.terminate_when = one_in(rng, 3).then(|| if one_in(rng, 4) { UNANSWERED } else { ENDING }.to_owned());
    spec.input = one_in(rng, 4).then(|| json!({ "type": "object" }));
    spec.output = one_in(rng, 3).then(|| json!({ "type": ["integer", "string"] }));
    spec.fallback = one_in(rng, 2).then(|| {
        let people = [Audience::Caller, Audience::Role("manager".to_owned()), Audience::Desk("billing".to_owned())];
        match rng.usize(..6) {
            3 => FallbackSpec { human: None, agent: Some("order".to_owned()) },
            4.. => FallbackSpec { human: None, agent: Some("refund".to_owned()) },
            place => FallbackSpec { human: Some(people[place].clone()), agent: None },
        }
    });
    spec.limits = Some(LimitsSpec {
        model_calls_per_turn: one_in(rng, 2).then_some(5),
        handoffs_per_user_turn: one_in(rng, 2).then_some(3),
        attempts: one_in(rng, 3).then_some(2),
        ..LimitsSpec::default()
    });
    if one_in(rng, 2) {
        spec.agents.get_mut("order").unwrap().handoffs.push(HandoffSpec { to: "triage".to_owned(), ..HandoffSpec::default() });
    }
    let (is_conditional, is_unanswered, history) = (one_in(rng, 2), one_in(rng, 6), rng.u8(..3));
    spec.prompt = one_in(rng, 2).then_some(Prompt::SharedPrefix);
    if spec.prompt.is_some() {
        // One list of tools has one schema for each.
        let payload = spec.agents["triage"].handoffs.iter().find_map(|edge| edge.payload.clone());
        let edges = spec.agents.values_mut().flat_map(|agent| &mut agent.handoffs);
        edges.filter(|edge| edge.to == "order").for_each(|edge| edge.payload.clone_from(&payload));
    }
    for edge in spec.agents.values_mut().flat_map(|agent| &mut agent.handoffs) {
        edge.history = [None, Some(HistoryOption::Tools), Some(HistoryOption::Summary)][usize::from(history)];
        edge.condition = match edge.to.as_str() {
            "order" if is_conditional => Some(FOR_GOLD.to_owned()),
            "triage" if is_unanswered => Some(UNANSWERED.to_owned()),
            _ => None,
        };
    }
    played_by_others(rng, spec)
}

/// People or a service in place of a model. The agent that a service plays.
fn played_by_others(rng: &mut fastrand::Rng, spec: &mut Spec) -> Option<String> {
    let desk = if one_in(rng, 5) { Some("order") } else { one_in(rng, 4).then_some("refund") };
    let remote = one_in(rng, 4).then_some("order").filter(|agent| desk != Some(agent));
    for (name, agent) in &mut spec.agents {
        let (is_desk, is_remote) = (desk == Some(name), remote == Some(name));
        if is_desk || is_remote {
            (agent.model, agent.tools, agent.instructions) = (None, Vec::new(), None);
        }
        agent.desk = is_desk.then(|| DeskSpec { name: Some("billing".to_owned()), timeout: None });
        agent.remote = is_remote.then(|| RemoteSpec { url: "http://127.0.0.1:1/".to_owned(), ..RemoteSpec::default() });
    }
    remote.map(str::to_owned)
}
