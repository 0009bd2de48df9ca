//! A worker's cache of conversations, as `agent-worker/src/cache.rs` keeps it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use protocol::brief::Phase;
use protocol::conversation::{Conversation, Partial};
use protocol::history::PromptMessage;
use protocol::ids::ConversationId;
use protocol::wire::Stored;

#[derive(Debug, Default)]
pub(crate) struct Cache {
    conversations: RefCell<BTreeMap<ConversationId, Conversation>>,
    /// Only a planted bug looks here.
    prompts: RefCell<BTreeMap<ConversationId, Vec<PromptMessage<'static>>>>,
}

impl Cache {
    pub(crate) fn put(&self, conversation: Conversation) {
        let is_long = conversation.last().is_some_and(|entry| entry.state.seals || !entry.state.sealed.is_empty());
        let phase = conversation.phase();
        let is_open = phase.is_some_and(|phase| !phase.is_ended());
        let mut conversations = self.conversations.borrow_mut();
        conversations.remove(conversation.id());
        if is_open && conversation.must_fail().is_none() && (is_long || phase == Some(Phase::Working)) {
            conversations.insert(conversation.id().clone(), conversation);
        }
    }

    pub(crate) fn extended(&self, id: &ConversationId, newest: &Stored) -> Option<Conversation> {
        let mut conversation = self.conversations.borrow_mut().remove(id)?;
        conversation.extend(Partial::decode_behind(newest, conversation.tail()).ok()?).ok()?;
        let is_there = conversation.tail().seq == newest.seq;
        is_there.then_some(conversation)
    }

    /// What is remembered of the last prompt, with the newest message: whatever others did in between is forgotten.
    pub(crate) fn remembered(&self, id: &ConversationId, messages: Vec<PromptMessage<'static>>) -> Vec<PromptMessage<'static>> {
        let mut prompts = self.prompts.borrow_mut();
        let mut remembered = prompts.remove(id).unwrap_or_default();
        match messages.last() {
            Some(last) if !remembered.is_empty() => remembered.push(last.clone()),
            _ => remembered = messages,
        }
        prompts.insert(id.clone(), remembered.clone());
        remembered
    }
}
