//! The conversations that this process works on now: what it tells the coordinator, and where notices that a
//! conversation moved on reach the turn that should stop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::ids::ConversationId;
use tokio::sync::Notify;

/// The turns of one agent that run in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held(Arc<Mutex<HashMap<ConversationId, Arc<Notify>>>>);

/// One of them; it counts as held until this is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    held: Held,
    conversation: ConversationId,
    moved: Arc<Notify>,
}

impl Held {
    /// Holds a conversation. A second delivery of the same one shares the notices.
    pub(crate) fn hold(&self, conversation: ConversationId) -> Hold {
        let moved = self.lock().entry(conversation.clone()).or_default().clone();
        Hold { held: self.clone(), conversation, moved }
    }

    /// Tells the turn of a conversation, if one runs here, to look at the journal.
    pub(crate) fn notify(&self, conversation: &ConversationId) {
        if let Some(moved) = self.lock().get(conversation) {
            moved.notify_one();
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Those of `asked` that are held here.
    pub(crate) fn among(&self, asked: Vec<ConversationId>) -> Vec<ConversationId> {
        let held = self.lock();
        asked.into_iter().filter(|conversation| held.contains_key(conversation)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ConversationId, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Waits for a notice.
    pub(crate) async fn moved(&self) {
        self.moved.notified().await;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // The map and this hold are the last two: no other delivery of the conversation runs here.
        let mut held = self.held.lock();
        if Arc::strong_count(&self.moved) <= 2 {
            held.remove(&self.conversation);
        }
    }
}
