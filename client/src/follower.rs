//! What somebody who follows a conversation is shown: its events in order, each once, and live tokens beside them. Pure:
//! whoever has the entries and the pieces feeds them in, one conversation of its own or many from one subscription.

use std::sync::Arc;

use protocol::brief::Phase;
use protocol::conversation::{Conversation, FoldError, Partial};
use protocol::entry::{Entry, Head};
use protocol::event::Event;
use protocol::ids::{AgentName, EventId, Ordinal, Writer};
use protocol::live::Live;
use protocol::wire::Stored;

use crate::tokens::{Token, Tokens};

/// One event, as it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its id: whoever comes back names the last one seen, and goes on after it.
    pub id: EventId,
    /// What happened.
    pub event: Event,
    /// The entry that records it: its writer, revision, epoch, trace, and the conversation's state after it.
    pub entry: Arc<Entry>,
    /// When the broker stored the entry, in milliseconds since the Unix epoch; unknown for one that was read from
    /// another's carry.
    pub time_ms: Option<u64>,
}

impl Recorded {
    /// Who wrote it.
    pub fn from(&self) -> &Writer {
        &self.entry.head.subject.from
    }
}

/// What somebody who follows a conversation is shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Followed {
    /// The next event of the journal.
    Event(Box<Recorded>),
    /// The next piece of a response. The response's event comes after its last piece.
    Token(Token),
}

/// One who follows a conversation.
#[derive(Debug)]
pub struct Follower {
    conversation: Conversation,
    after: Option<EventId>,
    tokens: Option<Tokens>,
    is_erased: bool,
}

impl Follower {
    /// One who has seen a conversation up to `after`, and what there is to show since. With `live`, tokens too.
    /// `time_ms` is when the conversation's last entry was stored.
    pub fn new(conversation: Conversation, time_ms: u64, after: Option<EventId>, live: bool) -> (Self, Vec<Followed>) {
        let tokens = live.then(Tokens::default);
        let mut follower = Self { conversation, after, tokens, is_erased: false };
        let shown = follower.show_from(0, time_ms);
        (follower, shown)
    }

    /// The conversation as far as it has been followed.
    pub const fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// Whether there is nothing more to come.
    pub fn is_ended(&self) -> bool {
        self.is_erased || self.conversation.phase().is_some_and(Phase::is_ended)
    }

    /// The journal stored an entry; one that was seen before shows nothing.
    ///
    /// # Errors
    /// [`FoldError::Gap`] when entries before it were missed: then the conversation must be read again, for
    /// [`replace`](Self::replace).
    pub fn stored(&mut self, stored: &Stored) -> Result<Vec<Followed>, FoldError> {
        let head = Head::decode(&stored.subject, &stored.headers)?;
        if head.brief.phase == Phase::Erased {
            self.is_erased = true;
            return Ok(Vec::new());
        }
        let from = self.conversation.tail().next;
        self.conversation.extend(&Partial::decode(stored)?)?;
        Ok(self.show_from(from, stored.time_ms))
    }

    /// The conversation was read again, and is newer. `time_ms` is when its last entry was stored.
    pub fn replace(&mut self, newer: Conversation, time_ms: u64) -> Vec<Followed> {
        let from = self.conversation.tail().next;
        if newer.tail().next <= from {
            return Vec::new();
        }
        self.conversation = newer;
        self.show_from(from, time_ms)
    }

    /// An agent's worker said a piece of an answer.
    pub fn said(&mut self, agent: AgentName, live: Live) -> Vec<Followed> {
        let mut shown = Vec::new();
        // Before the journal has caught up with what this follower saw elsewhere, nothing is news.
        let is_behind = self.after.is_some_and(|after| after.ordinal >= self.conversation.tail().next);
        if let Some(tokens) = self.tokens.as_mut().filter(|_| !is_behind) {
            tokens.said(agent, live, &mut shown);
        }
        shown.into_iter().map(Followed::Token).collect()
    }

    fn show_from(&mut self, from: Ordinal, time_ms: u64) -> Vec<Followed> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let entries = self.conversation.entries().get(from..).unwrap_or_default().to_vec();
        let last = entries.len().saturating_sub(1);
        let mut shown = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            self.show(entry, (place == last).then_some(time_ms), &mut shown);
        }
        shown
    }

    fn show(&mut self, entry: &Arc<Entry>, time_ms: Option<u64>, shown: &mut Vec<Followed>) {
        for (id, event) in entry.numbered() {
            let mut tokens = Vec::new();
            if let (Some(state), Event::Responded(response), Some(agent)) = (&mut self.tokens, event, entry.head.subject.from.agent()) {
                state.recorded(agent, &response.text, &mut tokens);
            }
            // What this follower saw elsewhere is folded, and not shown again.
            if self.after.is_none_or(|after| id > after) {
                shown.extend(tokens.into_iter().map(Followed::Token));
                shown.push(Followed::Event(Box::new(Recorded { id, event: event.clone(), entry: Arc::clone(entry), time_ms })));
            }
        }
        if let Some(state) = &mut self.tokens {
            let mut tokens = Vec::new();
            state.reached(entry.epoch(), entry.head.brief.phase == Phase::Working, &mut tokens);
            shown.extend(tokens.into_iter().map(Followed::Token));
        }
    }
}
