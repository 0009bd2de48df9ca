//! Following entries in order, for those who watch: coordinators (headers only), gateways and callers (with bodies).

use protocol::ids::{ConversationId, Seq};

/// What to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// Which entries.
    pub scope: Scope,
    /// From where on.
    pub start: Start,
    /// Whether payloads come along; a follower of headers gets them empty.
    pub bodies: bool,
}

/// Which entries are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every conversation of the orchestration.
    All,
    /// One conversation.
    Conversation(ConversationId),
}

/// From where on entries are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From the first that the stream still has.
    First,
    /// From the one after this sequence.
    After(Seq),
    /// Only what is stored from now on.
    New,
}

/// Why following ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// The orchestration has no stream.
    #[error("there is no stream {0}: is the orchestration provisioned? (`baton coordinator` does it)")]
    NoStream(String),
    /// The broker refused.
    #[error("the broker refused to let the stream be followed: {0}")]
    Refused(String),
    /// The broker did not answer when following began; an interruption later on is waited out.
    #[error("the broker did not answer: {0}")]
    Unavailable(String),
}
