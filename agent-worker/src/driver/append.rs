//! Storing what a turn decided, however often the broker has to be asked.

use std::time::Duration;

use journal::{Append, LoadError, has_reached, load};
use protocol::conversation::{Draft, PrepareError, Prepared};
use protocol::entry::Trace;
use protocol::event::Event;
use protocol::ids::{ConversationId, Seq};
use protocol::subject::Class;
use telemetry::{context, spans};
use tokio::time::{Instant, sleep};
use tracing::{Instrument, Span};

use super::{Driver, RETRY};
use crate::turn::loss::{Behind, must_look};
use crate::turn::{Finish, Input, Turn};

impl Driver {
    /// Appends until the broker has said what became of it, or the worker gives up what it has not finished; gives the turn's
    /// next input, or how the turn is over.
    pub(super) async fn append(&self, turn: &mut Turn, mut draft: Draft) -> Result<Input, Finish> {
        let conversation = turn.conversation().id().clone();
        let transfer = self.transfer_span(&draft, &conversation);
        let template = template(&draft.class);
        let span = transfer.in_scope(|| spans::publish(template, conversation.as_str(), turn.conversation().tail().next));
        draft.trace = span.in_scope(current_trace);
        spans::entry(&span, &draft.id.to_string(), turn.epoch().0);
        let (asked_at, class) = (Instant::now(), draft.class.clone());
        let prepared = match turn.conversation().prepare(draft) {
            Ok(prepared) => prepared,
            Err(PrepareError::Encode(error)) => {
                tracing::error!(%conversation, agent = %self.agent, "an entry that cannot be written was decided: {error}");
                return Ok(Input::Unwritable(error.to_string()));
            }
            Err(PrepareError::Illegal(error)) => {
                tracing::error!(%conversation, agent = %self.agent, "an entry that cannot follow was decided: {error}");
                return Err(Finish::GiveBack { delay: RETRY, reason: error.to_string() });
            }
        };
        let mut pause = Duration::from_millis(100);
        loop {
            match self.broker.append(&prepared).instrument(span.clone()).await {
                Append::Appended(seq) => {
                    let input = stored(turn, prepared, seq)?;
                    let must_look = must_look(&class, asked_at.elapsed());
                    return if must_look && self.is_overtaken(turn).await? { Err(Finish::Dropped) } else { Ok(input) };
                }
                Append::Fenced { tail } => {
                    let after = Box::pin(self.after_fence(turn, prepared, tail)).await;
                    if matches!(after, Ok(Input::Fenced(_))) {
                        spans::failed(&span, "fenced", "another entry was written first");
                    }
                    return after;
                }
                Append::Gone => return Err(Finish::Settled),
                Append::Refused(refusal) => {
                    spans::failed(&span, "refused", &refusal);
                    return Ok(Input::Refused(refusal));
                }
                // It may be stored: only the same append can tell, however long the broker is away.
                Append::Unknown(problem) => tracing::warn!(%conversation, "not yet known to be stored, asking again: {problem}"),
            }
            self.pause(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await?;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    fn transfer_span(&self, draft: &Draft, conversation: &ConversationId) -> Span {
        match draft.events.last() {
            Some(Event::Transferred(event)) => {
                spans::transfer(spans::Target::Agent(event.to.as_str()), event.call.as_deref(), conversation.as_str())
            }
            Some(Event::Asked(_)) => spans::transfer(spans::Target::Human, None, conversation.as_str()),
            _ => Span::none(),
        }
    }

    /// Somebody wrote first. It may have been this very append, sent twice.
    async fn after_fence(&self, turn: &mut Turn, prepared: Prepared, tail: Seq) -> Result<Input, Finish> {
        let conversation = turn.conversation().id().clone();
        let mut pause = Duration::from_millis(2);
        loop {
            match load(&*self.broker, &self.orchestration, &conversation).await {
                // Nothing is left of it, or a replica has nothing of it yet: only the leader can tell.
                Ok(None) => match self.broker.at(&self.orchestration, &conversation, prepared.ordinal()).await {
                    Ok(None) => return Err(Finish::Settled),
                    Ok(Some(_)) | Err(_) => self.pause(pause).await?,
                },
                Ok(Some(refolded)) if has_reached(&refolded, tail) => {
                    let at = usize::try_from(prepared.ordinal()).ok().and_then(|ordinal| refolded.entries().get(ordinal));
                    return match at.filter(|entry| entry.head.id == prepared.id()) {
                        Some(own) => stored(turn, prepared, own.seq),
                        None => match refolded.must_fail() {
                            Some(failed) => Err(self.failing(refolded, failed).await),
                            None => Ok(Input::Fenced(refolded)),
                        },
                    };
                }
                // A replica that lags, or a broker that is away: the answer is there, only not yet here.
                Ok(Some(_)) | Err(LoadError::Read(_)) => self.pause(pause).await?,
                Err(LoadError::Fold(error)) => return Err(Finish::GiveBack { delay: RETRY, reason: error.to_string() }),
            }
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Whether anybody has gone on behind this turn's tail, where its entry was stored and it did not hear of that for a while. Only
    /// the leader knows, and until it has answered nothing is done that cannot be undone.
    async fn is_overtaken(&self, turn: &Turn) -> Result<bool, Finish> {
        let (conversation, mut ordinal) = (turn.conversation().id(), turn.conversation().tail().next);
        let mut pause = Duration::from_millis(2);
        loop {
            match self.broker.at(&self.orchestration, conversation, ordinal).await.map(|next| Behind::of(next.as_ref())) {
                Ok(Behind::Nothing) => return Ok(false),
                Ok(Behind::Message) => ordinal += 1,
                Ok(Behind::Successor) => return Ok(true),
                Err(error) => {
                    tracing::debug!(%conversation, "not yet known whether the turn is still this worker's: {error}");
                    self.pause(pause).await?;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
            }
        }
    }

    /// Waits before the same question is put to the broker again. A worker that drains does not: nobody may ever answer, and
    /// whether the entry is stored is as plain to its successor.
    async fn pause(&self, pause: Duration) -> Result<(), Finish> {
        tokio::select! {
            () = sleep(pause) => Ok(()),
            () = self.hand_back.cancelled() => Err(Finish::Dropped),
        }
    }

    /// Gives a running turn back while it is still this worker's.
    pub(super) async fn give_back(&self, mut turn: Turn) -> Finish {
        let reason = "the worker is shutting down";
        let draft = turn.hand_back(reason);
        if let Ok(prepared) = turn.conversation().prepare(draft)
            && let Append::Fenced { .. } = self.broker.append(&prepared).await
        {
            // Something is behind the tail: people's messages, or a successor. The next one to look at the item knows.
            tracing::debug!(conversation = %turn.conversation().id(), "handed back without a note");
        }
        Finish::GiveBack { delay: Duration::ZERO, reason: reason.to_owned() }
    }
}

fn stored(turn: &mut Turn, prepared: Prepared, seq: Seq) -> Result<Input, Finish> {
    match turn.commit(prepared, seq) {
        Ok(()) => Ok(Input::Appended(seq)),
        Err(error) => Err(Finish::GiveBack { delay: RETRY, reason: error.to_string() }),
    }
}

/// The low-cardinality form of a subject, for traces.
pub(super) const fn template(class: &Class) -> &'static str {
    match class {
        Class::To { .. } => "baton.{orchestration}.c.{conversation}.{ordinal}.to.{agent}.{revision}.{from}",
        Class::Note => "baton.{orchestration}.c.{conversation}.{ordinal}.note.{from}",
        Class::In => "baton.{orchestration}.c.{conversation}.{ordinal}.in.{from}",
        Class::Ask => "baton.{orchestration}.c.{conversation}.{ordinal}.ask.{from}",
        Class::End => "baton.{orchestration}.c.{conversation}.{ordinal}.end.{from}",
    }
}

pub(super) fn current_trace() -> Option<Trace> {
    context::current().map(|current| Trace { parent: current.traceparent, state: current.tracestate })
}
