//! Conversations that this process has seen lately: saves the decoding of what newer messages carry of them, and the read of the
//! sealed stretches of long ones. Never trusted for anything the journal does not confirm: it is only ever extended by a newer
//! message, whose entry names the hash of the one before it.

use std::sync::{Mutex, PoisonError};

use lru::LruCache;
use protocol::brief::Phase;
use protocol::conversation::{Conversation, Partial};
use protocol::ids::ConversationId;
use protocol::wire::Stored;

/// Bytes kept, as they are stored; in memory they take about three times as many.
const BYTES_MAX: usize = 8 << 20;

/// A bounded cache of conversations.
#[derive(Debug)]
pub(crate) struct Cache(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    conversations: LruCache<ConversationId, Conversation>,
    bytes: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self(Mutex::new(Kept { conversations: LruCache::unbounded(), bytes: 0 }))
    }
}

impl Kept {
    fn take(&mut self, id: &ConversationId) -> Option<Conversation> {
        let taken = self.conversations.pop(id)?;
        self.bytes -= taken.bytes();
        Some(taken)
    }

    fn put(&mut self, conversation: Conversation) {
        self.bytes += conversation.bytes();
        self.conversations.put(conversation.id().clone(), conversation);
        while self.bytes > BYTES_MAX
            && let Some((_, oldest)) = self.conversations.pop_lru()
        {
            self.bytes -= oldest.bytes();
        }
    }
}

impl Cache {
    /// Keeps a conversation that is being worked on, or that has sealed stretches: a short one that waits for somebody is in
    /// every message anyway.
    pub(crate) fn put(&self, conversation: Conversation) {
        let is_long = conversation.last().is_some_and(|entry| entry.state.seals || !entry.state.sealed.is_empty());
        let phase = conversation.phase();
        let is_open = phase.is_some_and(|phase| !phase.is_ended());
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take(conversation.id());
        if is_open && conversation.must_fail().is_none() && (is_long || phase == Some(Phase::Working)) {
            kept.put(conversation);
        }
    }

    /// The conversation up to a message, if what is kept and what the message carries meet. It is kept no longer: whoever
    /// goes on with it puts it back.
    pub(crate) fn extended(&self, id: &ConversationId, newest: &Stored) -> Option<Conversation> {
        let mut conversation = self.0.lock().unwrap_or_else(PoisonError::into_inner).take(id)?;
        conversation.extend(Partial::decode_behind(newest, conversation.tail()).ok()?).ok()?;
        let is_there = conversation.tail().seq == newest.seq;
        is_there.then_some(conversation)
    }
}
