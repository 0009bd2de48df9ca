//! The conversations that this process works on now: what it tells the coordinator, and where notices that a
//! conversation moved on reach the turn that should stop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::ids::{ConversationId, Seq};
use protocol::presence::Holding;
use tokio::sync::Notify;

/// The turns of one agent that run in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held(Arc<Mutex<HashMap<ConversationId, Turns>>>);

/// Those of one conversation: mostly one, and beside it what a redelivered item begins before it is known to be stale.
#[derive(Debug, Default)]
struct Turns {
    items: Vec<Seq>,
    moved: Arc<Notify>,
}

/// One of them; it counts as held until this is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    held: Held,
    conversation: ConversationId,
    item: Seq,
    moved: Arc<Notify>,
}

impl Held {
    /// Holds a conversation for a work item. A second delivery of the same one shares the notices.
    pub(crate) fn hold(&self, conversation: ConversationId, item: Seq) -> Hold {
        let mut held = self.lock();
        let turns = held.entry(conversation.clone()).or_default();
        turns.items.push(item);
        Hold { held: self.clone(), conversation, item, moved: Arc::clone(&turns.moved) }
    }

    /// Tells the turns of a conversation that run here to look at the journal: those that wait, and the next that does.
    pub(crate) fn notify(&self, conversation: &ConversationId) {
        if let Some(turns) = self.lock().get(conversation) {
            turns.moved.notify_waiters();
            turns.moved.notify_one();
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// What is held here of the conversations `asked`, each by its newest item.
    pub(crate) fn among(&self, asked: &[ConversationId]) -> Vec<Holding> {
        let held = self.lock();
        let newest = |id: &ConversationId| Some(Holding { conversation: id.clone(), item: *held.get(id)?.items.iter().max()? });
        asked.iter().filter_map(newest).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ConversationId, Turns>> {
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
        let mut held = self.held.lock();
        let Some(turns) = held.get_mut(&self.conversation) else { return };
        if let Some(place) = turns.items.iter().position(|item| *item == self.item) {
            turns.items.swap_remove(place);
        }
        if turns.items.is_empty() {
            held.remove(&self.conversation);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn every_turn_of_a_conversation_is_told_that_it_moved() {
        let (held, id) = (Held::default(), "c1".parse().unwrap());
        let turns = [held.hold("c1".parse().unwrap(), Seq(4)), held.hold("c1".parse().unwrap(), Seq(4))];
        let (mut one, mut other) = (Box::pin(turns[0].moved()), Box::pin(turns[1].moved()));
        assert!(one.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
        held.notify(&id);
        assert!(one.now_or_never().is_some() && other.now_or_never().is_some());
        turns[0].moved().now_or_never().expect("who did not wait is told later");
    }

    #[test]
    fn a_conversation_is_held_by_its_newest_item_until_the_last_turn_ends() {
        let held = Held::default();
        let id: ConversationId = "c1".parse().unwrap();
        let items = || held.among(&[id.clone(), "c2".parse().unwrap()]).iter().map(|holding| holding.item.0).collect::<Vec<_>>();
        let stale = held.hold(id.clone(), Seq(4));
        assert_eq!(items(), [4]);
        let live = held.hold(id.clone(), Seq(9));
        let again = held.hold(id.clone(), Seq(9));
        assert_eq!((items(), held.len()), (vec![9], 1));
        drop(again);
        assert_eq!(items(), [9], "the item is there twice");
        drop(live);
        assert_eq!(items(), [4]);
        drop(stale);
        assert_eq!((items(), held.len()), (vec![], 0));
    }
}
