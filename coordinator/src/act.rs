//! Carries a proposal out: asks the journal how things are, lets [`judge`] decide, appends behind the tail it saw. Whoever
//! was faster has the last word: being fenced is not a failure.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use journal::registry::{self, RegistryError};
use journal::{Append, LoadError, Refusal, Shared, StoreError, load};
use protocol::conversation::{Conversation, Draft, PrepareError};
use protocol::entry::Trace;
use protocol::event::Event;
use protocol::ids::{AgentName, EntryId, OrchestrationName, ProcessId, Revision, Seq, Writer};
use protocol::orchestration::Limits;
use protocol::subject::{self, Class};
use telemetry::context::{self, TraceContext};
use telemetry::spans;
use tracing::Instrument;

use crate::watch::{Intent, Proposal, judge};

/// How often the same append is sent while its outcome is unknown.
const SENDS_MAX: u32 = 3;

/// Who acts, and where.
#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) broker: Shared,
    pub(crate) orchestration: OrchestrationName,
    pub(crate) process: ProcessId,
    attempts: Mutex<BTreeMap<Revision, u32>>,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acted {
    /// It is in the journal.
    Done,
    /// Somebody was faster: nothing is left to do.
    Moved,
}

/// Why a proposal could not be carried out. The ledger proposes it again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("it is unknown whether the entry is stored: {0}")]
    Unknown(String),
    #[error("the conversation cannot be read as it is now: {0}")]
    Unsettled(&'static str),
}

impl ActError {
    /// Whether the broker may only have been away.
    pub(crate) const fn is_transient(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Unknown(_) | Self::Load(LoadError::Read(_)))
    }
}

impl Actor {
    pub(crate) const fn new(broker: Shared, orchestration: OrchestrationName, process: ProcessId) -> Self {
        Self { broker, orchestration, process, attempts: Mutex::new(BTreeMap::new()) }
    }

    pub(crate) async fn act(&self, proposal: &Proposal) -> Result<Acted, ActError> {
        let Some(conversation) = load(&*self.broker, &self.orchestration, &proposal.conversation).await? else {
            return Ok(Acted::Moved);
        };
        let attempts = self.attempts(&conversation).await?;
        let Some((class, event)) = judge(&conversation, proposal, attempts) else { return Ok(Acted::Moved) };
        let span = spans::act(event.kind(), conversation.id().as_str());
        let before = conversation.last().and_then(|entry| entry.head.trace.as_ref());
        if let Some(trace) = before {
            context::set_parent(&span, &TraceContext { traceparent: trace.parent.clone(), tracestate: trace.state.clone() });
        }
        let acted = self.append(&conversation, proposal, class, event).instrument(span.clone()).await;
        if let Err(error) = &acted {
            spans::failed(&span, "append", error);
        }
        acted
    }

    async fn append(&self, conversation: &Conversation, proposal: &Proposal, class: Class, event: Event) -> Result<Acted, ActError> {
        let kind = event.kind().to_owned();
        let Some((_, owner)) = self.write(conversation, class, event).await? else { return Ok(Acted::Moved) };
        let (orchestration, id) = (&self.orchestration, conversation.id());
        let reason = match &proposal.intent {
            Intent::Redispatch { reason } => reason.as_str(),
            Intent::Expire(_) => "time is up",
            Intent::Contain => "something in it cannot be read",
            Intent::Snapshot => {
                tracing::debug!(%orchestration, conversation = %id, "{kind}");
                return Ok(Acted::Done);
            }
        };
        tracing::warn!(%orchestration, conversation = %id, agent = %owner, reason, "{kind}");
        Ok(Acted::Done)
    }

    /// Appends an event behind the tail of what was read, and tells its owner; the entry's sequence and the owner, or nothing where somebody
    /// was faster.
    pub(crate) async fn write(
        &self,
        conversation: &Conversation,
        class: Class,
        event: Event,
    ) -> Result<Option<(Seq, AgentName)>, ActError> {
        let Some(last) = conversation.last() else { return Ok(None) };
        let here = context::current().map(|here| Trace { parent: here.traceparent, state: here.tracestate });
        let draft = Draft {
            class,
            from: Writer::Coordinator,
            id: EntryId::from_random(*uuid::Uuid::new_v4().as_bytes()),
            process: self.process.clone(),
            revision: last.head.revision.clone(),
            events: vec![event],
            trace: here.or_else(|| last.head.trace.clone()),
        };
        let prepared = conversation.prepare(draft)?;
        spans::entry(&tracing::Span::current(), &prepared.id().to_string(), conversation.tail().epoch.0);
        let mut sends = 1;
        let seq = loop {
            match self.broker.append(&prepared).await {
                Append::Appended(seq) => break seq,
                Append::Fenced { .. } | Append::Gone => return Ok(None),
                Append::Refused(refusal) => return Err(refusal.into()),
                Append::Unknown(problem) if sends == SENDS_MAX => return Err(ActError::Unknown(problem)),
                Append::Unknown(_) => sends += 1,
            }
        };
        let owner = &last.head.brief.owner;
        self.broker.say(&subject::moved(&self.orchestration, owner, conversation.id()), Bytes::new()).await;
        Ok(Some((seq, owner.clone())))
    }

    /// How often a turn of this conversation may be tried: its own revision says so, and the default where nobody can tell.
    async fn attempts(&self, conversation: &Conversation) -> Result<u32, StoreError> {
        let default = Limits::default().attempts;
        let Some(revision) = conversation.revision() else { return Ok(default) };
        if let Some(attempts) = self.lock().get(revision) {
            return Ok(*attempts);
        }
        match registry::definition(&*self.broker, &self.orchestration, revision).await {
            Ok(definition) => {
                let attempts = definition.limits().attempts;
                self.lock().insert(revision.clone(), attempts);
                Ok(attempts)
            }
            Err(RegistryError::Store(error)) => Err(error),
            Err(error @ (RegistryError::Missing { .. } | RegistryError::Unreadable { .. })) => {
                tracing::warn!(orchestration = %self.orchestration, "{error}; a turn gets {default} attempts");
                Ok(default)
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Revision, u32>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
