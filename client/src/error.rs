//! What can go wrong, operation by operation. Each error says the way out; [`Classified`] says in a word what a gateway
//! answers, and names the error for programs.

use std::error::Error;

use journal::registry::RegistryError;
use journal::{LoadError, ReadError, Refusal, StoreError};
use protocol::brief::Phase;
use protocol::conversation::{FoldError, PrepareError};
use protocol::event::{RequestKind, Verdict};
use protocol::ids::{AgentName, ConversationId, Ordinal, RequestId};

/// What kind of error it is; a gateway has one HTTP status for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// The call makes no sense as it is.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// It was there, and nothing is left of it.
    Gone,
    /// It cannot happen now: somebody was faster, or it is over.
    Conflict,
    /// It is larger than the broker takes.
    TooLarge,
    /// It did not happen within the time it was given.
    Timeout,
    /// The broker or coordinator cannot be asked now: the same call may be repeated.
    Unavailable,
    /// Something is wrong with the system itself.
    Internal,
}

/// An error that a gateway can answer with.
pub trait Classified: Error {
    /// Its kind, and its name: a stable word.
    fn classify(&self) -> (Status, &'static str);

    /// Its kind.
    fn status(&self) -> Status {
        self.classify().0
    }

    /// Its name: a stable word.
    fn code(&self) -> &'static str {
        self.classify().1
    }
}

/// Why a conversation could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// There is none.
    #[error("there is no conversation {0}: check the id, or start one")]
    NotFound(ConversationId),
    /// Nothing is left of it.
    #[error("conversation {0} has been erased: start another one")]
    Erased(ConversationId),
    /// The journal did not answer.
    #[error("the journal cannot be read now, try again: {0}")]
    Unavailable(String),
    /// Something of it is lost: reading it again will not bring it back.
    #[error("the conversation cannot be read any more: {0}")]
    Damaged(String),
    /// What was read is no conversation to this version.
    #[error("the conversation cannot be read by this version; is there a newer one? {0}")]
    Unreadable(#[from] FoldError),
}

impl From<LoadError> for Unread {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Read(error @ ReadError::Damaged { .. }) => Self::Damaged(error.to_string()),
            LoadError::Read(error) => Self::Unavailable(error.to_string()),
            LoadError::Fold(error) => Self::Unreadable(error),
        }
    }
}

impl Classified for Unread {
    fn classify(&self) -> (Status, &'static str) {
        match self {
            Self::NotFound(_) => (Status::NotFound, "unknown_conversation"),
            Self::Erased(_) => (Status::Gone, "erased"),
            Self::Unavailable(_) => (Status::Unavailable, "unavailable"),
            Self::Damaged(_) => (Status::Internal, "damaged"),
            Self::Unreadable(_) => (Status::Internal, "unreadable"),
        }
    }
}

/// Why an entry was not written, whatever it was to say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritten {
    /// The conversation it belongs to could not be read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// It cannot follow the entries before it.
    #[error("this cannot follow what happened in the conversation: {0}")]
    Illegal(#[from] PrepareError),
    /// The broker does not take it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody could say in time what became of it.
    #[error("it is not known whether this was stored: repeat the same call with the same key, and it happens once ({0})")]
    Unknown(String),
    /// The key was used for another request.
    #[error("key {key:?} was used for another request, entry {ordinal} of the conversation: use a new key for a new request")]
    KeyReused {
        /// The key.
        key: String,
        /// The entry that was written under it.
        ordinal: Ordinal,
    },
}

impl Classified for Unwritten {
    fn classify(&self) -> (Status, &'static str) {
        match self {
            Self::Unread(error) => error.classify(),
            Self::Illegal(_) => (Status::Internal, "illegal"),
            Self::Refused(Refusal::TooLarge { .. }) => (Status::TooLarge, "too_large"),
            Self::Refused(Refusal::NoSpace(_)) => (Status::Unavailable, "no_space"),
            Self::Refused(Refusal::NotPermitted { .. }) => (Status::Internal, "not_permitted"),
            Self::Refused(Refusal::Other(_)) => (Status::Internal, "refused"),
            Self::Unknown(_) => (Status::Unavailable, "unknown_outcome"),
            Self::KeyReused { .. } => (Status::Conflict, "key_reused"),
        }
    }
}

impl Classified for RegistryError {
    fn classify(&self) -> (Status, &'static str) {
        match self {
            Self::Missing { .. } => (Status::NotFound, "unknown_orchestration"),
            Self::Store(StoreError::Unavailable(_)) => (Status::Unavailable, "unavailable"),
            Self::Store(_) | Self::Unreadable { .. } => (Status::Internal, "registry"),
        }
    }
}

/// Why a request cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOpen {
    /// It was never asked.
    #[error("there is no request {0} in this conversation: take the id from the event that asks")]
    Unknown(RequestId),
    /// It has its answer.
    #[error("request {0} has been answered already: follow the conversation to see how it goes on")]
    Answered(RequestId),
    /// It was taken back without an answer.
    #[error("request {0} is not open any more, the conversation went on without an answer to it: follow it to see how")]
    Withdrawn(RequestId),
    /// The conversation is over.
    #[error("the conversation has ended ({}): nothing can be answered any more", .0.as_str())]
    Ended(Phase),
}

impl Classified for NotOpen {
    fn classify(&self) -> (Status, &'static str) {
        match self {
            Self::Unknown(_) => (Status::NotFound, "unknown_request"),
            Self::Answered(_) => (Status::Conflict, "already_answered"),
            Self::Withdrawn(_) => (Status::Conflict, "withdrawn"),
            Self::Ended(_) => (Status::Conflict, "ended"),
        }
    }
}

/// Why a conversation was not started.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StartError {
    /// There is no definition to start on.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It could not be written.
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
    /// There is nothing to do.
    #[error("an opening needs at least one message with a text, or a value")]
    Empty,
    /// The orchestration begins with a value that matches a schema, and this is none.
    #[error("this orchestration begins with a value that matches its input schema: {0}")]
    InvalidInput(String),
    /// The orchestration's input schema cannot be used, so nothing can be said of any value.
    #[error("the orchestration's input schema is no JSON Schema, correct the definition: {0}")]
    InputSchema(String),
    /// The conversation's id is taken by somebody else's opening.
    #[error("conversation {0} was opened by another request: use a new key")]
    Foreign(ConversationId),
}

impl Classified for StartError {
    fn classify(&self) -> (Status, &'static str) {
        match self {
            Self::Registry(error) => error.classify(),
            Self::Unwritten(error) => error.classify(),
            Self::Empty => (Status::Invalid, "empty"),
            Self::InvalidInput(_) => (Status::Invalid, "invalid_input"),
            Self::InputSchema(_) => (Status::Internal, "input_schema"),
            Self::Foreign(_) => (Status::Conflict, "foreign"),
        }
    }
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// It could not be written.
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
    /// The request cannot be answered.
    #[error(transparent)]
    NotOpen(#[from] NotOpen),
    /// The request wants a decision.
    #[error("request {0} needs a decision, not a text: approve or deny it, or say what became of it")]
    NeedsDecision(RequestId),
    /// There is nothing in it.
    #[error("an empty message ends a conversation only as the reply to a question to the caller: say something")]
    Empty,
    /// The orchestration takes no messages while an agent works.
    #[error("agent {owner} is working, and this orchestration takes no messages meanwhile: send it again once a question is asked")]
    Rejected {
        /// Who works.
        owner: AgentName,
    },
    /// Somebody at the desk serves it.
    #[error("request {request} is being served by {by}: nobody else answers it until they release it, or it is taken over")]
    Claimed {
        /// The request.
        request: RequestId,
        /// Who has it.
        by: String,
    },
    /// The definition that says what people at a desk may do could not be had.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Only people who play an agent act as it does.
    #[error("this is not the turn of an agent that people play: it takes an answer, and nothing else")]
    NotATurn,
    /// The agent that they play does not hand over to that one.
    #[error("{from} hands over to {targets}, not to {to}")]
    NoHandoff {
        /// Whom they play.
        from: AgentName,
        /// To whom they would have handed over.
        to: AgentName,
        /// To whom they may.
        targets: String,
    },
    /// What was to go along is not what the definition asks for.
    #[error("nothing was done, {what} does not go so: {problem}")]
    InvalidValue {
        /// What was to be done.
        what: String,
        /// What is wrong, and what is expected.
        problem: String,
    },
}

impl Classified for ReplyError {
    fn classify(&self) -> (Status, &'static str) {
        match self {
            Self::Unwritten(error) => error.classify(),
            Self::NotOpen(error) => error.classify(),
            Self::NeedsDecision(_) => (Status::Invalid, "needs_decision"),
            Self::Empty => (Status::Invalid, "empty"),
            Self::Rejected { .. } => (Status::Conflict, "working"),
            Self::Claimed { .. } => (Status::Conflict, "claimed"),
            Self::Registry(error) => error.classify(),
            Self::NotATurn => (Status::Conflict, "not_a_turn"),
            Self::NoHandoff { .. } => (Status::Invalid, "no_handoff"),
            Self::InvalidValue { .. } => (Status::Invalid, "invalid_value"),
        }
    }
}

/// Why a decision was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// It could not be written.
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
    /// The request cannot be decided.
    #[error(transparent)]
    NotOpen(#[from] NotOpen),
    /// The request wants an answer in words.
    #[error("request {0} is a question: reply to it with a text")]
    NeedsReply(RequestId),
    /// The verdict belongs to another kind of request.
    #[error("{verdict:?} is no verdict on request {request}: {}", verdicts(*.kind))]
    Unfit {
        /// The request.
        request: RequestId,
        /// What it asks.
        kind: RequestKind,
        /// What was said.
        verdict: Verdict,
    },
    /// The decision was made on other arguments than those that would run.
    #[error("the decision on request {0} is for other arguments than those it asks about: look at it again")]
    OtherArguments(RequestId),
}

const fn verdicts(kind: RequestKind) -> &'static str {
    match kind {
        RequestKind::Approval => "approve or deny it",
        RequestKind::InDoubt => "say that it happened, is to be tried again, or is given up",
        RequestKind::Question => "reply to it with a text",
    }
}

impl Classified for DecideError {
    fn classify(&self) -> (Status, &'static str) {
        match self {
            Self::Unwritten(error) => error.classify(),
            Self::NotOpen(error) => error.classify(),
            Self::NeedsReply(_) => (Status::Invalid, "needs_reply"),
            Self::Unfit { .. } => (Status::Invalid, "unfit_verdict"),
            Self::OtherArguments(_) => (Status::Conflict, "other_arguments"),
        }
    }
}

/// Why a request was not claimed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// It could not be written.
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
    /// The request cannot be claimed.
    #[error(transparent)]
    NotOpen(#[from] NotOpen),
    /// The request waits at no desk.
    #[error("request {0} waits at no desk: whoever may answer it can do so without a claim")]
    NoDesk(RequestId),
    /// Nobody can be told from it.
    #[error("say who claims it")]
    Nameless,
    /// Somebody else serves it.
    #[error("request {request} is being served by {by}")]
    Claimed {
        /// The request.
        request: RequestId,
        /// Who has it.
        by: String,
    },
}

impl Classified for ClaimError {
    fn classify(&self) -> (Status, &'static str) {
        match self {
            Self::Unwritten(error) => error.classify(),
            Self::NotOpen(error) => error.classify(),
            Self::NoDesk(_) => (Status::Invalid, "no_desk"),
            Self::Nameless => (Status::Invalid, "nameless"),
            Self::Claimed { .. } => (Status::Conflict, "claimed"),
        }
    }
}

/// Why a conversation was not ended or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndError {
    /// It could not be written.
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
    /// It is over.
    #[error("the conversation has ended already ({})", .0.as_str())]
    Ended(Phase),
}

impl Classified for EndError {
    fn classify(&self) -> (Status, &'static str) {
        match self {
            Self::Unwritten(error) => error.classify(),
            Self::Ended(_) => (Status::Conflict, "ended"),
        }
    }
}

/// Why a conversation was not cancelled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// It could not be written.
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
    /// Somebody did it before.
    #[error("the conversation has been cancelled already")]
    AlreadyCancelled,
    /// It ended otherwise.
    #[error("the conversation has ended already ({}): there is nothing left to cancel", .0.as_str())]
    Ended(Phase),
}

impl Classified for CancelError {
    fn classify(&self) -> (Status, &'static str) {
        match self {
            Self::Unwritten(error) => error.classify(),
            Self::AlreadyCancelled => (Status::Conflict, "already_cancelled"),
            Self::Ended(_) => (Status::Conflict, "ended"),
        }
    }
}
