//! What somebody who follows a conversation is shown: its events in order, each once, and live tokens beside them. Pure:
//! whoever has the entries and the pieces feeds them in, one conversation of its own or many from one subscription.

use std::sync::Arc;

use protocol::brief::Phase;
use protocol::conversation::{Conversation, FoldError, Partial, Tail};
use protocol::entry::{Entry, Head};
use protocol::event::Event;
use protocol::ids::{AgentName, EventId, Writer};
use protocol::live::Live;
use protocol::wire::{DecodeError, Stored};

use crate::tokens::{Said, Token, Tokens};

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

/// One who follows a conversation. It keeps nothing of what it has shown: ten thousand of them are normal.
#[derive(Debug)]
pub struct Follower {
    tail: Tail,
    is_ended: bool,
    after: Option<EventId>,
    tokens: Option<Tokens>,
}

impl Follower {
    /// One who has seen a conversation up to `after`, and what there is to show since. With `live`, tokens too.
    /// `time_ms` is when the conversation's last entry was stored.
    pub fn new(conversation: &Conversation, time_ms: u64, after: Option<EventId>, live: bool) -> (Self, Vec<Followed>) {
        let tokens = live.then(Tokens::default);
        let mut follower = Self { tail: Tail::default(), is_ended: false, after, tokens };
        let shown = follower.replace(conversation, time_ms);
        (follower, shown)
    }

    /// The last entry that it has seen.
    pub const fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Whether there is nothing more to come.
    pub const fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// The journal stored an entry; one that was seen before shows nothing, and neither do bytes that no version writes: the
    /// failure that follows them says what they are.
    ///
    /// # Errors
    /// A newer version's [`DecodeError`]; any other [`FoldError`] when entries before it were missed, or it is damaged: then the
    /// conversation must be read again, for [`replace`](Self::replace).
    pub fn stored(&mut self, stored: &Stored) -> Result<Vec<Followed>, FoldError> {
        let head = match Head::decode(&stored.subject, &stored.headers) {
            Err(DecodeError::Malformed(_)) => return Ok(Vec::new()),
            head => head?,
        };
        if head.brief.phase == Phase::Erased {
            self.is_ended = true;
            return Ok(Vec::new());
        }
        if head.subject.ordinal < self.tail.next {
            // A failure stands where the first entry is that cannot be read any more, whatever this follower has seen of it.
            let is_news = head.brief.phase.is_ended() && stored.seq > self.tail.seq && !self.is_ended;
            let gap = FoldError::Gap { conversation: head.subject.conversation, missing: head.subject.ordinal };
            return if is_news { Err(gap) } else { Ok(Vec::new()) };
        }
        let (entries, tail) = Partial::decode_behind(stored, &self.tail)?.beyond(&self.tail)?;
        Ok(self.show_all(&entries, tail, stored.time_ms))
    }

    /// The conversation was read again, and may be newer. `time_ms` is when its last entry was stored.
    pub fn replace(&mut self, newer: &Conversation, time_ms: u64) -> Vec<Followed> {
        // Whoever has seen more than can be read now is shown how it ended all the same.
        let is_over = newer.phase().is_some_and(Phase::is_ended) && newer.tail().seq > self.tail.seq && !self.is_ended;
        let next = if is_over { self.tail.next.min(newer.tail().next.saturating_sub(1)) } else { self.tail.next };
        let from = usize::try_from(next).unwrap_or(usize::MAX);
        match newer.entries().get(from..) {
            None | Some([]) => Vec::new(),
            Some(entries) => self.show_all(entries, *newer.tail(), time_ms),
        }
    }

    /// An agent's worker said a piece of an answer; or pieces `from` there on, which somebody has put together.
    pub fn said(&mut self, agent: AgentName, live: Live, from: u32) -> Vec<Followed> {
        let mut shown = Vec::new();
        // Before the journal has caught up with what this follower saw elsewhere, nothing is news.
        let is_behind = self.after.is_some_and(|after| after.ordinal >= self.tail.next);
        if let Some(tokens) = self.tokens.as_mut().filter(|_| !is_behind) {
            tokens.said(Said { agent, live, from }, &mut shown);
        }
        shown.into_iter().map(Followed::Token).collect()
    }

    fn show_all(&mut self, entries: &[Arc<Entry>], tail: Tail, time_ms: u64) -> Vec<Followed> {
        let mut shown = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            let is_last = place + 1 == entries.len();
            self.show(entry, is_last.then_some(time_ms), &mut shown);
            self.is_ended = entry.head.brief.phase.is_ended();
        }
        self.tail = tail;
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
