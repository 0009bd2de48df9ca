//! What people who play an agent may do with its turn, as the definition says. Pure. A worker judges it again when it
//! carries it out; here nothing is stored that it would only refuse.

use protocol::event::{DeskAction, Json, RequestKind};
use protocol::ids::AgentName;
use protocol::orchestration::{Agent, Orchestration};

use crate::decide::Known;
use crate::{Reply, ReplyError};

/// Complaints of a schema that a person is shown at once.
const COMPLAINTS_MAX: usize = 5;

/// What an action of a desk must carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// Words and nothing else.
    Words,
    /// A value that matches this JSON Schema.
    Value(&'a Json),
}

impl<'a> Wanted<'a> {
    /// What ends a conversation.
    pub fn of_result(orchestration: &'a Orchestration) -> Self {
        orchestration.output().map_or(Self::Words, Self::Value)
    }

    /// What the people who play `agent` hand over with; none where it does not hand over to that one.
    pub fn of_handoff(agent: &'a Agent, to: &AgentName) -> Option<Self> {
        let handoff = agent.handoffs.iter().find(|handoff| handoff.to == *to)?;
        Some(handoff.payload.as_ref().map_or(Self::Words, Self::Value))
    }

    fn check(self, value: Option<&Json>) -> Result<(), String> {
        match (self, value) {
            (Self::Words, None) => Ok(()),
            (Self::Words, Some(_)) => Err("it takes words only".to_owned()),
            (Self::Value(schema), None) => Err(format!("it needs a value that matches {schema}")),
            (Self::Value(schema), Some(value)) => {
                // A schema that cannot be used says nothing of any value: the agent's worker tells.
                let Ok(validator) = jsonschema::validator_for(schema) else { return Ok(()) };
                let complaints = complaints(&validator, value);
                complaints.map_or(Ok(()), |complaints| Err(format!("{complaints}; a value matches {schema}")))
            }
        }
    }
}

/// What a schema says against a value, if anything.
pub(crate) fn complaints(validator: &jsonschema::Validator, value: &Json) -> Option<String> {
    let complaints = validator.iter_errors(value).take(COMPLAINTS_MAX);
    let complaints: Vec<String> = complaints.map(|error| format!("at {:?}: {error}", error.instance_path().to_string())).collect();
    (!complaints.is_empty()).then(|| complaints.join("; "))
}

/// Refuses an action that the definition does not have, or that does not carry what it must.
pub(crate) fn check(orchestration: &Orchestration, known: Known<'_>, reply: &Reply) -> Result<(), ReplyError> {
    let Some(action) = &reply.action else { return Ok(()) };
    let question = known.brief.requests.iter().find(|open| Some(open.id) == reply.request && open.kind == RequestKind::Question);
    let owner = orchestration.agent(&known.brief.owner);
    let player = owner.filter(|owner| question.is_some_and(|question| owner.is_played_at(&question.audience)));
    let player = player.ok_or(ReplyError::NotATurn)?;
    let (typed, what) = match action {
        DeskAction::Complete => (Wanted::of_result(orchestration), "the end of the conversation".to_owned()),
        DeskAction::Transfer { to } => {
            let targets = || player.handoffs.iter().map(|handoff| handoff.to.as_str()).collect::<Vec<_>>().join(", ");
            let typed = Wanted::of_handoff(player, to);
            let typed = typed.ok_or_else(|| ReplyError::NoHandoff { from: player.name.clone(), to: to.clone(), targets: targets() })?;
            (typed, format!("a handoff to {to}"))
        }
    };
    typed.check(reply.value.as_ref()).map_err(|problem| ReplyError::InvalidValue { what, problem })
}
