//! The rows, each in a slot of its own by which indexes name it: an id in every index would take more than the row.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use protocol::ids::ConversationId;
use slab::Slab;

use super::packed::{Common, Packed};
use super::row::Row;

/// Names a row for as long as it is there.
pub(super) type Slot = usize;

/// Rows by slot and by conversation.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    slots: Slab<Packed>,
    by_id: HashTable<Slot>,
    hasher: RandomState,
    /// What rows have in common, and how many of them.
    commons: HashMap<Arc<Common>, usize>,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Packed> {
        self.slots.iter().map(|(_, packed)| packed)
    }

    pub(super) fn row(&self, slot: Slot) -> Option<Row> {
        self.slots.get(slot)?.row()
    }

    pub(super) fn find(&self, id: &ConversationId) -> Option<Slot> {
        self.lookup(id.as_str())
    }

    fn lookup(&self, id: &str) -> Option<Slot> {
        let is_it = |slot: &Slot| self.slots.get(*slot).is_some_and(|packed| packed.id() == id);
        self.by_id.find(self.hasher.hash_one(id), is_it).copied()
    }

    /// Puts a row where its conversation's last one was, or into a slot of its own.
    pub(super) fn put(&mut self, mut packed: Packed) -> Slot {
        packed.common = self.share(packed.common);
        if let Some(slot) = self.lookup(packed.id())
            && let Some(place) = self.slots.get_mut(slot)
        {
            let before = std::mem::replace(place, packed);
            self.release(&before.common);
            return slot;
        }
        let hash = self.hasher.hash_one(packed.id());
        let slot = self.slots.insert(packed);
        let Self { slots, by_id, hasher, .. } = self;
        by_id.insert_unique(hash, slot, |slot| hasher.hash_one(slots.get(*slot).map_or("", Packed::id)));
        slot
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        let Some(packed) = self.slots.try_remove(slot) else { return };
        if let Ok(place) = self.by_id.find_entry(self.hasher.hash_one(packed.id()), |other| *other == slot) {
            place.remove();
        }
        self.release(&packed.common);
    }

    fn share(&mut self, common: Arc<Common>) -> Arc<Common> {
        let entry = self.commons.entry(common);
        let shared = Arc::clone(entry.key());
        *entry.or_default() += 1;
        shared
    }

    fn release(&mut self, common: &Arc<Common>) {
        if let Some(rows) = self.commons.get_mut(common) {
            *rows -= 1;
            if *rows == 0 {
                self.commons.remove(common);
            }
        }
    }
}

#[cfg(test)]
impl Rows {
    pub(super) fn commons(&self) -> usize {
        self.commons.len()
    }
}
