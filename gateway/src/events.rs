//! `GET …/events`: a conversation as it happens. One reader each; see `session` for what they get, `hub` for how it comes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use client::{Followed, Follower, Unread};
use futures::stream;
use journal::planted;
use protocol::conversation::FoldError;
use protocol::ids::{ConversationId, EventId};
use protocol::wire::{DecodeError, Stored};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::Edge;
use crate::hub::{Piece, Watch};
use crate::problem::Problem;
use crate::session::Session;

/// How often a reader hears something, if only that the stream is alive.
const BEAT: Duration = Duration::from_secs(15);

/// What a reader asks for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) conversation: ConversationId,
    pub(crate) after: Option<EventId>,
    pub(crate) tokens: bool,
}

/// Answers a reader: with a stream, or that there is nothing more to come.
pub(crate) async fn answer(
    edge: Arc<Edge>,
    wanted: Wanted,
    permit: OwnedSemaphorePermit,
    stop: CancellationToken,
) -> Result<Response, Problem> {
    let (session, after) = (Session::begin(wanted.after), wanted.after);
    let (reader, shown) = Reader::join(edge, wanted, after, session, stop).await?;
    if let Some(after) = after.filter(|after| after.ordinal >= reader.follower.tail().next) {
        let detail = format!("there is no event {after} in this conversation yet: follow it without Last-Event-ID, from its beginning");
        return Err(Problem::invalid("unknown_event", detail));
    }
    if reader.follower.is_ended() && shown.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let reader = Stream { reader, shown, _permit: permit };
    let body = Body::from_stream(stream::unfold(reader, async |mut stream| {
        let frames = stream.next().await?;
        Some((Ok::<_, std::convert::Infallible>(frames), stream))
    }));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies that would hold events back until there are many.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

#[derive(Debug)]
struct Stream {
    reader: Reader,
    shown: VecDeque<Followed>,
    /// One of the streams that a process may serve at a time.
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Reader {
    edge: Arc<Edge>,
    wanted: Wanted,
    session: Session,
    follower: Follower,
    watch: Watch,
    beat: Interval,
    stop: CancellationToken,
}

impl Stream {
    /// The next frames; none when the stream is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.reader.show(&mut self.shown).await;
            if let Some(frames) = self.reader.session.take() {
                self.reader.beat.reset();
                return Some(frames);
            }
            if self.reader.follower.is_ended() {
                return None;
            }
            match self.reader.advance().await {
                Ok(Heard::Shown(shown)) => self.shown.extend(shown),
                Ok(Heard::Nothing) => return Some(Bytes::from_static(b":\n\n")),
                Ok(Heard::Stopped) => return None,
                // The reader comes back, here or elsewhere, and is told what is the matter.
                Err(error) => {
                    tracing::debug!(conversation = %self.reader.wanted.conversation, "a stream ends: {error}");
                    return None;
                }
            }
        }
    }
}

enum Heard {
    Shown(Vec<Followed>),
    /// For so long that the reader should be told that the stream is alive.
    Nothing,
    Stopped,
}

impl Reader {
    /// Watches first and reads then: what happens in between comes twice rather than never, and a follower shows it once.
    async fn join(
        edge: Arc<Edge>,
        wanted: Wanted,
        after: Option<EventId>,
        session: Session,
        stop: CancellationToken,
    ) -> Result<(Self, VecDeque<Followed>), Unread> {
        let (watch, follower, shown) = join(&edge, &wanted, after).await?;
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.reset();
        Ok((Self { edge, wanted, session, follower, watch, beat, stop }, shown))
    }

    async fn advance(&mut self) -> Result<Heard, Unread> {
        let piece = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Ok(Heard::Stopped),
            piece = self.watch.next() => piece,
            _ = self.beat.tick() => return Ok(Heard::Nothing),
        };
        let shown = match piece {
            Some(Piece::Live(agent, live)) => {
                let from = live.index;
                self.follower.said(agent, live, from)
            }
            Some(Piece::Stored(stored)) => self.stored(&stored).await?,
            Some(Piece::Look(ordinal)) if ordinal >= self.follower.tail().next => self.rejoin().await?,
            Some(Piece::Look(_)) => Vec::new(),
            None => self.rejoin().await?,
        };
        Ok(Heard::Shown(shown))
    }

    async fn stored(&mut self, stored: &Stored) -> Result<Vec<Followed>, Unread> {
        match self.follower.stored(stored) {
            Err(error @ FoldError::Decode(DecodeError::Newer { .. })) => Err(error.into()),
            Err(_) => {
                let client = self.edge.client.clone();
                client.catch_up(&self.wanted.conversation, &mut self.follower, stored.seq).await
            }
            Ok(shown) => Ok(shown),
        }
    }

    /// Goes on from the last event shown, as somebody who comes back would.
    async fn rejoin(&mut self) -> Result<Vec<Followed>, Unread> {
        let (watch, follower, shown) = join(&self.edge, &self.wanted, self.session.last()).await?;
        (self.watch, self.follower) = (watch, follower);
        self.session.reset(None);
        Ok(shown.into())
    }

    async fn show(&mut self, shown: &mut VecDeque<Followed>) {
        while let Some(followed) = shown.pop_front() {
            if let Followed::Event(recorded) = &followed {
                let revision = &recorded.entry.head.revision;
                if self.session.names().is_none_or(|names| names.revision() != revision) {
                    match self.edge.client.definition(revision).await {
                        Ok(names) => self.session.name_by(names),
                        Err(error) => tracing::warn!(%revision, "agents cannot be named: {error}"),
                    }
                }
            }
            self.session.show(&followed, shown.front());
        }
    }
}

async fn join(edge: &Arc<Edge>, wanted: &Wanted, after: Option<EventId>) -> Result<(Watch, Follower, VecDeque<Followed>), Unread> {
    // A crowd that comes back at once does not read all its conversations at once.
    let _turn = edge.hub.reading().await;
    let (watch, draft) = Watch::begin(edge, &wanted.conversation);
    let (mut follower, mut shown) = edge.client.follower(&wanted.conversation, after, wanted.tokens).await?;
    if planted::is("resume-skips-an-event") && after.is_some() && !shown.is_empty() {
        shown.remove(0);
    }
    if let Some(draft) = draft {
        shown.extend(follower.said(draft.agent, draft.live, 0));
    }
    Ok((watch, follower, shown.into()))
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
