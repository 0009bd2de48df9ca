//! What people say: replies, messages, decisions, claims.

use std::sync::Arc;

use protocol::event::{CompletedBecause, DeskAction, Event, Json, Verdict};
use protocol::ids::{ConversationId, Hash, RequestId};
use protocol::orchestration::Orchestration;
use tokio::time::Instant;

use crate::definitions::in_time;
use crate::write::Request;
use crate::{Accepted, ClaimError, Client, DecideError, ReplyError, Unread, Unwritten, decide, desk};

/// A person's message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The question it answers. Without one it answers the question that is open to the caller, if there is one; if
    /// not, it is something said, and the orchestration's policy says what comes of it.
    pub request: Option<RequestId>,
    /// What is said. Nothing at all, to a question to the caller, ends the conversation.
    pub text: String,
    /// What a person at a desk does instead of answering: the text is then why, or the summary.
    pub action: Option<DeskAction>,
    /// What goes with the action, where the definition has a schema for it: see [`Wanted`](crate::Wanted).
    pub value: Option<Json>,
    /// Who says it, at a desk: nobody else answers what they have claimed.
    pub by: String,
    /// Makes the call idempotent: a repeat with the same key returns the first answer.
    pub key: Option<String>,
}

impl Reply {
    /// The reply to a request.
    pub fn to(request: RequestId, text: impl Into<String>) -> Self {
        Self { request: Some(request), ..Self::bare(text) }
    }

    /// Something said, whatever is open.
    pub fn bare(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// The same, idempotent under `key`.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

/// A decision on an approval, or on a call of which nobody knows whether it ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is decided.
    pub request: RequestId,
    /// The decision.
    pub verdict: Verdict,
    /// The hash of the arguments that the decider saw, to be held against the request's.
    pub arguments_hash: Option<Hash>,
    /// In the decider's words; for a call that happened, its result.
    pub note: String,
    /// Who decides.
    pub by: String,
    /// Makes the call idempotent.
    pub key: Option<String>,
}

impl Decision {
    /// A decision without further words.
    pub const fn new(request: RequestId, verdict: Verdict) -> Self {
        Self { request, verdict, arguments_hash: None, note: String::new(), by: String::new(), key: None }
    }
}

/// A person takes a desk's request, so that nobody else serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which.
    pub request: RequestId,
    /// Who.
    pub by: String,
    /// Whether they take it, also from somebody else, or put it back.
    pub how: Claiming,
    /// Makes the call idempotent.
    pub key: Option<String>,
}

/// What a person does with a desk's request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Claiming {
    /// Takes it, if it is free.
    #[default]
    Take,
    /// Takes it, whoever has it.
    TakeOver,
    /// Puts it back for others.
    Release,
}

impl Claim {
    /// Somebody takes a request that is free.
    pub fn take(request: RequestId, by: impl Into<String>) -> Self {
        Self { request, by: by.into(), how: Claiming::Take, key: None }
    }

    /// Who has the request afterwards, as it is recorded.
    pub(crate) fn holder(&self) -> &str {
        if self.how == Claiming::Release { "" } else { &self.by }
    }
}

impl Client {
    /// Passes a person's message on: as the reply to a question, or as something said.
    ///
    /// # Errors
    /// [`ReplyError`]; after [`Unknown`](crate::Unwritten::Unknown) only the same call with the same key is safe.
    pub async fn reply(&self, conversation: &ConversationId, reply: &Reply) -> Result<Accepted, ReplyError> {
        let deadline = self.deadline();
        // A conversation keeps its revision, so what that says of an action holds whatever is written meanwhile.
        let definition = match reply.action {
            Some(_) => Some(self.definition_of(conversation, deadline).await?),
            None => None,
        };
        let request = Request {
            key: reply.key.as_deref(),
            decide: |known: decide::Known<'_>| {
                let proposal = decide::reply(known, reply)?;
                definition.as_ref().map_or(Ok(()), |definition| desk::check(definition, known, reply))?;
                Ok(proposal)
            },
            records: |event: &Event| match event {
                Event::Replied(replied) => {
                    let is_same = replied.text == reply.text && replied.action == reply.action && replied.value == reply.value;
                    is_same && reply.request.is_none_or(|request| request == replied.request)
                }
                Event::Said(said) => said.text == reply.text && reply.request.is_none(),
                Event::Interrupted(interrupted) => interrupted.text == reply.text && reply.request.is_none(),
                Event::Completed(completed) => completed.because == CompletedBecause::UserEnded && reply.text.trim().is_empty(),
                _ => false,
            },
        };
        self.write(conversation, request, deadline).await
    }

    async fn definition_of(&self, id: &ConversationId, deadline: Instant) -> Result<Arc<Orchestration>, ReplyError> {
        let conversation = self.load(id, deadline).await.map_err(Unwritten::from)?.conversation;
        let revision = conversation.revision().ok_or_else(|| Unwritten::from(Unread::NotFound(id.clone())))?;
        Ok(in_time(deadline, self.definition(revision)).await?)
    }

    /// Passes on a message that names no request.
    ///
    /// # Errors
    /// As [`reply`](Self::reply).
    pub async fn say(&self, conversation: &ConversationId, text: &str, key: Option<&str>) -> Result<Accepted, ReplyError> {
        let reply = Reply { key: key.map(str::to_owned), ..Reply::bare(text) };
        self.reply(conversation, &reply).await
    }

    /// Decides an approval, or a call in doubt.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn decide(&self, conversation: &ConversationId, decision: &Decision) -> Result<Accepted, DecideError> {
        let request = Request {
            key: decision.key.as_deref(),
            decide: |known: decide::Known<'_>| decide::decide(known, decision),
            records: |event: &Event| matches!(event, Event::Decided(decided) if decided.request == decision.request && decided.verdict == decision.verdict),
        };
        self.write(conversation, request, self.deadline()).await
    }

    /// Takes a desk's request for somebody, or puts it back; to take it again changes nothing for them.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub async fn claim(&self, conversation: &ConversationId, claim: &Claim) -> Result<Accepted, ClaimError> {
        let request = Request {
            key: claim.key.as_deref(),
            decide: |known: decide::Known<'_>| decide::claim(known, claim),
            records: |event: &Event| matches!(event, Event::Claimed(claimed) if claimed.request == claim.request && claimed.by == claim.holder()),
        };
        self.write(conversation, request, self.deadline()).await
    }
}
