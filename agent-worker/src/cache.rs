//! Long conversations that this process has seen lately: saves the read of their sealed stretches. Never trusted for
//! anything the journal does not confirm: it is only ever extended by what a newer message carries.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use lru::LruCache;
use protocol::conversation::{Conversation, Partial};
use protocol::ids::ConversationId;

/// Conversations kept.
const CONVERSATIONS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// A bounded cache of conversations.
#[derive(Debug)]
pub(crate) struct Cache(Mutex<LruCache<ConversationId, Conversation>>);

impl Default for Cache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(CONVERSATIONS)))
    }
}

impl Cache {
    /// Keeps a conversation that has sealed stretches; a short one is in every message anyway.
    pub(crate) fn put(&self, conversation: Conversation) {
        let is_long = conversation.last().is_some_and(|entry| entry.state.seals || !entry.state.sealed.is_empty());
        let is_open = conversation.phase().is_some_and(|phase| !phase.is_ended());
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_long && is_open {
            cache.put(conversation.id().clone(), conversation);
        } else {
            cache.pop(conversation.id());
        }
    }

    /// The conversation up to a message, if what is kept and what the message carries meet. It is kept no longer: whoever
    /// goes on with it puts it back.
    pub(crate) fn extended(&self, partial: &Partial) -> Option<Conversation> {
        let id = &partial.last().head.subject.conversation;
        let mut conversation = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop(id)?;
        conversation.extend(partial).ok()?;
        let is_there = conversation.tail().seq == partial.last().seq;
        is_there.then_some(conversation)
    }
}
