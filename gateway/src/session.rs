//! One reader's stream of server-sent events: what a follower shows, in bytes. Pure.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use client::{Followed, Token};
use protocol::event::Event;
use protocol::ids::{AgentName, EventId};
use protocol::orchestration::Orchestration;
use serde::Serialize;

use crate::view;

/// How soon a reader whose stream ended should come back, in milliseconds.
const RETRY_MS: u32 = 500;

/// What has been written to one reader.
#[derive(Debug)]
pub(crate) struct Session {
    names: Option<Arc<Orchestration>>,
    last: Option<EventId>,
    drafts: Drafts,
    frames: BytesMut,
}

/// The live text that has been shown and that no event has confirmed, as its reader counts it.
#[derive(Debug, Default)]
struct Drafts {
    count: usize,
    /// Whether the last of them goes on.
    is_open: bool,
}

impl Drafts {
    fn say(&mut self, is_final: bool) {
        self.count += usize::from(!self.is_open);
        self.is_open = !is_final;
    }

    /// An event has confirmed the oldest.
    fn settle(&mut self) {
        self.count = self.count.saturating_sub(1);
        self.is_open &= self.count > 0;
    }
}

impl Session {
    /// A stream that begins after `after`.
    pub(crate) fn begin(after: Option<EventId>) -> Self {
        let mut frames = BytesMut::new();
        frames.extend_from_slice(format!("retry: {RETRY_MS}\n\n").as_bytes());
        let mut session = Self { names: None, last: after, drafts: Drafts::default(), frames };
        // Whatever live text an earlier stream has shown after that event: what counts of it comes again.
        if after.is_some() {
            session.reset(None);
        }
        session
    }

    /// The last event that was shown.
    pub(crate) const fn last(&self) -> Option<EventId> {
        self.last
    }

    /// The definition by which agents are named.
    pub(crate) const fn names(&self) -> Option<&Arc<Orchestration>> {
        self.names.as_ref()
    }

    /// Agents are named by this definition from here on.
    pub(crate) fn name_by(&mut self, names: Arc<Orchestration>) {
        self.names = Some(names);
    }

    /// The next thing to show; `next` is what comes after it, if that is known.
    pub(crate) fn show(&mut self, shown: &Followed, next: Option<&Followed>) {
        match shown {
            Followed::Event(recorded) => {
                self.last = Some(recorded.id);
                if is_response(shown) {
                    self.drafts.settle();
                }
                let happened = view::Happened::new(recorded, self.names.as_deref());
                self.frame(Some(recorded.id), recorded.event.kind(), &happened);
            }
            // Text that comes at once with the event that holds it need not be said twice.
            Followed::Token(Token::Text { is_final: true, .. }) if self.drafts.count == 0 && next.is_some_and(is_response) => {}
            Followed::Token(Token::Text { agent, text, is_final }) => {
                self.drafts.say(*is_final);
                let token = view::Token { agent: agent.as_str(), name: &self.name_of(agent), text, is_final: *is_final };
                self.frame(None, "token", &token);
            }
            Followed::Token(Token::Withdrawn { agent }) => self.reset(Some(agent)),
        }
    }

    /// Live text that was shown and is not confirmed does not count.
    pub(crate) fn reset(&mut self, agent: Option<&AgentName>) {
        self.drafts = Drafts::default();
        let name = agent.map(|agent| self.name_of(agent));
        self.frame(None, "reset", &view::Reset { agent: agent.map(AgentName::as_str), name: name.as_deref() });
    }

    /// What there is to write, if there is something.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        // The buffer goes along: a stream that waits holds none.
        (!self.frames.is_empty()).then(|| std::mem::take(&mut self.frames).freeze())
    }

    fn name_of(&self, agent: &AgentName) -> String {
        self.names.as_ref().map_or(agent.as_str(), |names| names.display_name(agent)).to_owned()
    }

    fn frame(&mut self, id: Option<EventId>, kind: &str, data: &impl Serialize) {
        // A kind that is not of this version is not trusted to be one line.
        let kind: String = kind.chars().filter(|c| !c.is_control()).collect();
        if let Some(id) = id {
            self.frames.extend_from_slice(format!("id: {id}\n").as_bytes());
        }
        self.frames.extend_from_slice(format!("event: {kind}\ndata: ").as_bytes());
        // JSON is one line, and these values have no map with other keys than texts: writing them to memory cannot fail.
        let _ = serde_json::to_writer((&mut self.frames).writer(), data);
        self.frames.extend_from_slice(b"\n\n");
    }
}

/// Whether it is the event that makes an answer true: one without a text is no answer.
fn is_response(shown: &Followed) -> bool {
    matches!(shown, Followed::Event(recorded) if matches!(&recorded.event, Event::Responded(response) if !response.text.is_empty()))
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
