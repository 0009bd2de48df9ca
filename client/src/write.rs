//! The one way in which a caller's entry gets into a conversation: read, decide, append behind the tail that was read;
//! fenced: read up to whatever was faster, and decide again. Where something cannot be read, that is said first: then it is over.

use std::time::Duration;

use bytes::Bytes;
use journal::{Append, planted};
use protocol::conversation::{Conversation, Draft, Prepared};
use protocol::event::Event;
use protocol::ids::{ConversationId, EntryId, Ordinal, Seq};
use protocol::subject::{self, Class};
use telemetry::spans;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{Instrument, Span};

use crate::decide::{Known, Proposal};
use crate::{Client, Unread, Unwritten, trace};

const RESEND: Duration = Duration::from_millis(50);
const RESEND_MAX: Duration = Duration::from_secs(1);

/// What a caller wrote is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The entry that records it.
    pub ordinal: Ordinal,
    /// Whether it had been recorded before: this is the first call's answer.
    pub is_repeat: bool,
}

/// A caller's request, as the write loop sees it.
pub(crate) struct Request<'a, D, R> {
    /// Makes repeats of it recognisable.
    pub(crate) key: Option<&'a str>,
    /// What it becomes.
    pub(crate) decide: D,
    /// Whether an event records this very request, and not another one under the same key.
    pub(crate) records: R,
}

/// What became of an append, once that is known.
pub(crate) enum Settled {
    Stored(Seq),
    Fenced { tail: Seq },
}

impl Client {
    pub(crate) async fn write<E, D, R>(&self, id: &ConversationId, request: Request<'_, D, R>, deadline: Instant) -> Result<Accepted, E>
    where
        E: From<Unwritten>,
        D: Fn(Known<'_>) -> Result<Proposal, E>,
        R: Fn(&Event) -> bool,
    {
        let entry = entry_id(id, request.key);
        let unread = |error: Unread| E::from(Unwritten::Unread(error));
        let mut conversation = self.load(id, deadline).await.map_err(unread)?.conversation;
        loop {
            if let Some(ordinal) = conversation.find_request(entry) {
                return repeated(&conversation, ordinal, &request).map_err(E::from);
            }
            if let Some(failed) = conversation.must_fail() {
                let failed = Proposal { class: Class::End, event: failed.into() };
                let settled = self.append_proposal(&conversation, entry_id(id, None), failed, deadline).await.map_err(E::from)?;
                let (Settled::Stored(seq) | Settled::Fenced { tail: seq }) = settled;
                conversation = self.load_up_to(id, seq, deadline).await.map_err(unread)?.conversation;
                continue;
            }
            let known = Known::of(&conversation).ok_or_else(|| unread(Unread::NotFound(id.clone())))?;
            let tail = match (request.decide)(known) {
                Ok(proposal) => match self.append_proposal(&conversation, entry, proposal, deadline).await.map_err(E::from)? {
                    Settled::Stored(_) => return Ok(Accepted { ordinal: conversation.tail().next, is_repeat: false }),
                    Settled::Fenced { tail } => tail,
                },
                // What a replica that lags makes impossible may be possible: nobody is refused on the strength of it.
                Err(refusal) => match self.newer(&conversation, deadline).await.map_err(unread)? {
                    Some(seq) => seq,
                    None if planted::is("second-reply-accepted") => {
                        return Ok(Accepted { ordinal: conversation.tail().next, is_repeat: false });
                    }
                    None => return Err(refusal),
                },
            };
            conversation = self.load_up_to(id, tail, deadline).await.map_err(unread)?.conversation;
        }
    }

    async fn append_proposal(
        &self,
        conversation: &Conversation,
        id: EntryId,
        proposal: Proposal,
        deadline: Instant,
    ) -> Result<Settled, Unwritten> {
        let Proposal { class, event } = proposal;
        let span = trace::span(conversation, &class, &event);
        // Where the owner may be at work without knowing yet that its turn is over.
        let fenced_off = match event {
            Event::Interrupted(_) | Event::Completed(_) | Event::Failed(_) | Event::Cancelled(_) => conversation.owner(),
            _ => None,
        };
        let draft = Draft {
            class,
            from: self.side.into(),
            id,
            process: self.process.clone(),
            revision: conversation.revision().cloned().ok_or_else(|| Unread::NotFound(conversation.id().clone()))?,
            events: vec![event],
            trace: trace::of(&span),
        };
        spans::entry(&span, &id.to_string(), conversation.tail().epoch.0);
        let prepared = conversation.prepare(draft)?;
        let settled = self.append(&prepared, &span, deadline).await?;
        if let (Settled::Stored(seq), Some(owner)) = (&settled, fenced_off) {
            let moved = subject::moved(&self.orchestration, owner, conversation.id());
            self.broker.say(&moved, Bytes::from(seq.to_string())).await;
        }
        Ok(settled)
    }

    /// Appends until the broker has said what became of it, or the deadline has passed: then it is unknown.
    pub(crate) async fn append(&self, prepared: &Prepared, span: &Span, deadline: Instant) -> Result<Settled, Unwritten> {
        if planted::is("ack-before-commit") {
            let (broker, prepared) = (self.broker.clone(), prepared.clone());
            tokio::spawn(async move { broker.append(&prepared).await });
            return Ok(Settled::Stored(Seq(0)));
        }
        let mut pause = RESEND;
        loop {
            let append = timeout_at(deadline, self.broker.append(prepared).instrument(span.clone())).await;
            let (error, word) = match append.unwrap_or_else(|_| Append::Unknown("the broker did not answer in time".to_owned())) {
                Append::Appended(seq) => return Ok(Settled::Stored(seq)),
                Append::Fenced { tail } => {
                    spans::failed(span, "fenced", "another entry was written first");
                    return Ok(Settled::Fenced { tail });
                }
                Append::Gone => (Unread::Erased(prepared.subject().conversation.clone()).into(), "gone"),
                Append::Refused(refusal) => (Unwritten::Refused(refusal), "refused"),
                // Only the same append, repeated, can tell.
                Append::Unknown(_) if Instant::now() + pause < deadline => {
                    sleep(pause).await;
                    pause = (pause * 2).min(RESEND_MAX);
                    continue;
                }
                Append::Unknown(problem) => (Unwritten::Unknown(problem), "unknown"),
            };
            spans::failed(span, word, &error);
            return Err(error);
        }
    }
}

/// The first answer, to the same request again.
fn repeated<D, R: Fn(&Event) -> bool>(
    conversation: &Conversation,
    ordinal: Ordinal,
    request: &Request<'_, D, R>,
) -> Result<Accepted, Unwritten> {
    let entry = usize::try_from(ordinal).ok().and_then(|place| conversation.entries().get(place));
    match (request.key, entry) {
        (Some(key), Some(entry)) if !entry.events.iter().any(&request.records) => {
            Err(Unwritten::KeyReused { key: key.to_owned(), ordinal })
        }
        _ => Ok(Accepted { ordinal, is_repeat: true }),
    }
}

/// An entry's id: from the key, so that a repeat through any process has the same one; else a fresh one.
pub(crate) fn entry_id(conversation: &ConversationId, key: Option<&str>) -> EntryId {
    key.map_or_else(|| EntryId::from_random(random()), |key| EntryId::of_request(conversation, key))
}

pub(crate) fn random() -> [u8; 16] {
    uuid::Uuid::new_v4().into_bytes()
}
