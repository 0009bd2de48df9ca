//! What people and their programs say: the bodies of requests. Pure.

use std::collections::BTreeMap;

use protocol::event::{DeskAction, Json, Message, Role, Verdict};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::problem::Problem;

/// A conversation to be started: with exactly one of `message`, `messages` and `value`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Opening {
    /// The task, as a text.
    pub(crate) message: Option<String>,
    /// The task, as messages.
    pub(crate) messages: Option<Vec<Said>>,
    /// The task, as any JSON value.
    pub(crate) value: Option<Json>,
    /// Which orchestration; may be left out where the gateway serves one.
    pub(crate) orchestration: Option<String>,
    /// What conditional handoffs may look at.
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, Json>,
    /// Whether somebody answers questions; if nobody does, a plain answer completes the conversation.
    #[serde(default = "is_human")]
    #[schema(default = true)]
    pub(crate) human: bool,
    /// Whose conversation it is: the same key of two callers means two conversations.
    #[serde(default)]
    #[schema(max_length = 256)]
    pub(crate) caller: String,
    /// Who pays for it.
    #[schema(max_length = 256)]
    pub(crate) tenant: Option<String>,
}

const fn is_human() -> bool {
    true
}

/// One message of an opening.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    /// Who speaks.
    #[serde(default)]
    role: Speaker,
    /// What is said.
    text: String,
    /// The speaker's name.
    name: Option<String>,
}

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Speaker {
    #[default]
    User,
    Assistant,
    System,
}

impl From<Said> for Message {
    fn from(Said { role, text, name }: Said) -> Self {
        let role = match role {
            Speaker::User => Role::User,
            Speaker::Assistant => Role::Assistant,
            Speaker::System => Role::System,
        };
        Self { role, text, name }
    }
}

/// A person's message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reply {
    /// What is said. Nothing at all, to a question, ends the conversation.
    pub(crate) text: String,
    /// The question it answers; without one it answers what is open to the caller.
    #[schema(example = "3.1")]
    pub(crate) request: Option<String>,
}

/// The answer to a request: `text` to a question, `verdict` to anything else.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    /// To a question: these words; with an action its reason, or the summary.
    pub(crate) text: Option<String>,
    /// To a desk's question: what is done instead of answering.
    pub(crate) action: Option<Action>,
    /// With an action: what goes along where the definition has a schema for it, a handoff's payload or the result.
    pub(crate) value: Option<Json>,
    /// To an approval, or a call in doubt: the decision.
    pub(crate) verdict: Option<Decision>,
    /// The hash of the arguments that were seen: needed to approve.
    pub(crate) arguments_hash: Option<String>,
    /// In the decider's words; for a call that happened, its result.
    #[serde(default)]
    pub(crate) note: String,
    /// Who decides; at a desk, who answers.
    #[serde(default)]
    pub(crate) by: String,
}

/// What a person at a desk does, as an agent would.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Action {
    /// Hands the conversation over.
    Transfer {
        /// To which agent.
        to: String,
    },
    /// Ends the conversation, well.
    Complete,
}

impl Action {
    pub(crate) fn read(self) -> Result<DeskAction, Problem> {
        Ok(match self {
            Self::Transfer { to } => DeskAction::Transfer { to: crate::extract::id(&to)? },
            Self::Complete => DeskAction::Complete,
        })
    }
}

/// What somebody does with a desk's request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claim {
    /// Who.
    pub(crate) by: String,
    /// What they do; `take` if nothing is said.
    #[serde(default)]
    #[schema(inline)]
    pub(crate) how: Claiming,
}

/// Takes it if it is free, takes it whoever has it, or puts it back.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Claiming {
    #[default]
    Take,
    TakeOver,
    Release,
}

impl From<Claiming> for client::Claiming {
    fn from(how: Claiming) -> Self {
        match how {
            Claiming::Take => Self::Take,
            Claiming::TakeOver => Self::TakeOver,
            Claiming::Release => Self::Release,
        }
    }
}

/// A decision: on an approval the first two, on a call in doubt the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Decision {
    /// The call runs.
    Approved,
    /// The call does not run.
    Denied,
    /// It runs (again) with the same key.
    Retry,
    /// It happened; the note is its result.
    Happened,
    /// It is given up.
    Abandoned,
}

impl From<Decision> for Verdict {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Approved => Self::Approved,
            Decision::Denied => Self::Denied,
            Decision::Retry => Self::Retry,
            Decision::Happened => Self::Happened,
            Decision::Abandoned => Self::Abandoned,
        }
    }
}
