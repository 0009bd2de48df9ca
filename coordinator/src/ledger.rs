//! The ledger: what every open conversation is doing, as the heads of its entries say. Pure: entries go in, questions are
//! answered from indexes, and nothing is ever asked of a clock. It may be behind the journal, so nothing is *decided* here.

mod packed;
mod row;
mod rows;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use protocol::brief::Phase;
use protocol::entry::Head;
use protocol::ids::{AgentName, ConversationId, ProcessId, Revision, Seq};

use self::rows::{Rows, Slot};
use crate::checkpoint::Place;
use crate::retention::Newest;

pub use self::packed::{Common, Packed};
pub use self::row::{Expired, Row};

/// Every open conversation, and those that ended a short while ago.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    seq: Seq,
    retention_ms: u64,
    rows: Rows,
    /// Open conversations by their first deadline.
    deadlines: BTreeSet<(u64, Slot)>,
    /// Conversations whose owner must act, by the owner's work item.
    working: BTreeMap<AgentName, BTreeSet<(Seq, Slot)>>,
    /// Conversations that wait for somebody, by the gateway that serves their caller.
    waiting: BTreeMap<ProcessId, BTreeSet<Slot>>,
    /// Open conversations with bytes in them that no version writes.
    damaged: BTreeSet<Slot>,
    /// Those that need a snapshot, by when something last happened in them.
    unsnapped: BTreeSet<(u64, Slot)>,
    /// Conversations that are over, by when they ended.
    ended: BTreeSet<(u64, Slot)>,
    /// The first entry that a newer version may read, of those passed over.
    unread: Option<Seq>,
    /// The newest end and the newest tombstone.
    newest: Newest,
    /// Tombstones whose conversations may not have been purged yet, and when they were stored.
    unpurged: BTreeMap<Seq, (u64, ConversationId)>,
    /// How many open conversations run on each revision.
    used: BTreeMap<Revision, usize>,
}

impl Ledger {
    /// A ledger that has seen nothing. Ended conversations stay in it for `retention_ms`.
    pub fn new(retention_ms: u64) -> Self {
        Self { retention_ms, ..Self::default() }
    }

    /// The ledger of a checkpoint: from its place and the rows that were open then.
    pub fn restore(retention_ms: u64, place: Place, rows: impl IntoIterator<Item = Packed>) -> Self {
        let Place { seq, unread, ended, erased, unpurged, .. } = place;
        let unpurged = unpurged.into_iter().map(|(seq, id)| (seq, (0, id))).collect();
        let mut ledger = Self { unread, newest: Newest { ended, erased }, unpurged, ..Self::new(retention_ms) };
        for packed in rows {
            if let Some(row) = packed.row() {
                let slot = ledger.rows.put(packed);
                ledger.index(slot, &row);
            }
        }
        ledger.seq = seq;
        ledger
    }

    /// Takes an entry of `size` bytes in. Entries come in stream order; one that was seen before changes nothing.
    pub fn apply(&mut self, seq: Seq, time_ms: u64, head: &Head, size: usize) {
        if seq <= self.seq {
            return;
        }
        self.seq = seq;
        let id = &head.subject.conversation;
        let slot = self.rows.find(id);
        let before = slot.and_then(|slot| Some((slot, self.rows.row(slot)?)));
        if let Some((slot, row)) = &before {
            self.unindex(*slot, row);
        }
        if head.brief.phase.is_ended() {
            self.newest.ended = seq;
        }
        // Nothing is left of it, here as in the journal.
        if head.brief.phase == Phase::Erased {
            self.newest.erased = seq;
            self.unpurged.insert(seq, (time_ms, id.clone()));
            slot.into_iter().for_each(|slot| self.rows.remove(slot));
        } else {
            self.put(&Row::after(before.as_ref().map(|(_, row)| row), seq, time_ms, head, size));
        }
    }

    /// Passes over bytes that no version writes, and remembers where they lie until an entry follows them.
    pub fn damage(&mut self, seq: Seq, id: &ConversationId) {
        if seq > self.seq
            && let Some(row) = self.row(id).filter(|row| !row.brief.phase.is_ended() && !row.is_damaged)
        {
            let slot = self.rows.put(Packed::new(&Row { is_damaged: true, ..row }));
            self.damaged.insert(slot);
        }
        self.seq = self.seq.max(seq);
    }

    /// Passes over an entry that a newer version may read: it may be anything, work above all.
    pub fn skip(&mut self, seq: Seq) {
        if seq > self.seq {
            self.unread.get_or_insert(seq);
            self.seq = seq;
        }
    }

    /// Forgets conversations that ended longer ago than they are kept.
    pub fn expire(&mut self, now_ms: u64) {
        while let Some((ended_ms, _)) = self.ended.first()
            && ended_ms.saturating_add(self.retention_ms) <= now_ms
            && let Some((_, slot)) = self.ended.pop_first()
        {
            self.rows.remove(slot);
        }
    }

    fn put(&mut self, row: &Row) {
        let slot = self.rows.put(Packed::new(row));
        self.index(slot, row);
    }

    fn index(&mut self, slot: Slot, row: &Row) {
        if !row.brief.phase.is_ended() {
            *self.used.entry(row.revision.clone()).or_default() += 1;
        }
        if row.is_damaged {
            self.damaged.insert(slot);
        }
        if row.needs_snapshot() {
            self.unsnapped.insert((row.last_ms, slot));
        }
        if let Some((at_ms, _)) = row.deadline() {
            self.deadlines.insert((at_ms, slot));
        }
        match (row.brief.phase, &row.brief.fixed.gateway) {
            (Phase::Working, _) => {
                self.working.entry(row.brief.owner.clone()).or_default().insert((row.item, slot));
            }
            (Phase::Waiting, Some(gateway)) => {
                self.waiting.entry(gateway.clone()).or_default().insert(slot);
            }
            (Phase::Waiting, None) => {}
            (Phase::Completed | Phase::Failed | Phase::Cancelled | Phase::Erased, _) => {
                self.ended.insert((row.last_ms, slot));
            }
        }
    }

    fn unindex(&mut self, slot: Slot, row: &Row) {
        if !row.brief.phase.is_ended()
            && let Entry::Occupied(mut used) = self.used.entry(row.revision.clone())
        {
            *used.get_mut() -= 1;
            if *used.get() == 0 {
                used.remove();
            }
        }
        self.damaged.remove(&slot);
        self.unsnapped.remove(&(row.last_ms, slot));
        if let Some((at_ms, _)) = row.deadline() {
            self.deadlines.remove(&(at_ms, slot));
        }
        match (row.brief.phase, &row.brief.fixed.gateway) {
            (Phase::Working, _) => remove(&mut self.working, &row.brief.owner, &(row.item, slot)),
            (Phase::Waiting, Some(gateway)) => remove(&mut self.waiting, gateway, &slot),
            (Phase::Waiting, None) => {}
            (Phase::Completed | Phase::Failed | Phase::Cancelled | Phase::Erased, _) => {
                self.ended.remove(&(row.last_ms, slot));
            }
        }
    }

    /// The last sequence it holds.
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// One conversation.
    pub fn row(&self, id: &ConversationId) -> Option<Row> {
        self.rows.row(self.rows.find(id)?)
    }

    /// All conversations, ended ones among them.
    pub fn rows(&self) -> impl Iterator<Item = &Packed> {
        self.rows.iter()
    }

    /// The open conversations, to be stored: sharing the bytes, so that it is quick.
    pub fn open(&self) -> Vec<Packed> {
        self.rows().filter(|packed| !packed.brief().phase.is_ended()).cloned().collect()
    }

    /// How many conversations are open.
    pub fn open_count(&self) -> usize {
        self.rows.len() - self.ended.len()
    }

    /// Open conversations that have passed a bound, the most overdue first.
    pub fn expired(&self, now_ms: u64) -> impl Iterator<Item = (Row, Expired)> {
        let passed = self.deadlines.iter().take_while(move |(at_ms, _)| *at_ms <= now_ms);
        passed.filter_map(|(_, slot)| {
            let row = self.rows.row(*slot)?;
            let (_, expired) = row.deadline()?;
            Some((row, expired))
        })
    }

    /// Open conversations with bytes in them that no version writes.
    pub fn damaged(&self) -> impl Iterator<Item = Row> {
        self.damaged.iter().filter_map(|slot| self.rows.row(*slot))
    }

    /// Conversations in which nothing has happened since `quiet_since_ms` and that need a snapshot, the quietest first.
    pub fn unsnapped(&self, quiet_since_ms: u64) -> impl Iterator<Item = Row> {
        let quiet = self.unsnapped.iter().take_while(move |(last_ms, _)| *last_ms <= quiet_since_ms);
        quiet.filter_map(|(_, slot)| self.rows.row(*slot))
    }

    /// While this is its tail, the conversation gets no snapshot: its own entries say that it needs none, or it cannot be.
    pub fn leave_unsnapped(&mut self, id: &ConversationId, tail: Seq) {
        if let Some(slot) = self.rows.find(id)
            && let Some(row) = self.rows.row(slot).filter(|row| row.seq == tail)
        {
            self.unsnapped.remove(&(row.last_ms, slot));
        }
    }

    /// What a checkpoint holds of it beside the open conversations.
    pub fn place(&self) -> Place {
        let Newest { ended, erased } = self.newest;
        let unpurged = self.unpurged.iter().map(|(seq, (_, id))| (*seq, id.clone())).collect();
        Place { seq: self.seq, unread: self.unread, ended, erased, unpurged, ..Place::default() }
    }

    /// The newest end and the newest tombstone.
    pub const fn newest(&self) -> Newest {
        self.newest
    }

    /// Tombstones stored by `stored_by_ms` whose conversations may not have been purged: whoever wrote them may have died since.
    pub fn unpurged(&self, stored_by_ms: u64) -> impl Iterator<Item = (Seq, &ConversationId)> {
        let old = self.unpurged.iter().filter(move |(_, (stored_ms, _))| *stored_ms <= stored_by_ms);
        old.map(|(seq, (_, id))| (*seq, id))
    }

    /// What this tombstone stands for has been purged.
    pub fn purged(&mut self, tombstone: Seq) {
        self.unpurged.remove(&tombstone);
    }

    /// Leaves what was erased by `stored_by_ms` to whoever acts; at the latest it goes with its tombstone.
    pub fn leave_unpurged(&mut self, stored_by_ms: u64) {
        self.unpurged.retain(|_, (stored_ms, _)| *stored_ms > stored_by_ms);
    }

    /// No work item of `agent` below is still to be done. However far behind the journal this ledger is: what it has not seen
    /// lies above what it has.
    pub fn work_from(&self, agent: &AgentName) -> Seq {
        let oldest = self.working.get(agent).and_then(|working| working.first()).map(|(item, _)| *item);
        oldest.into_iter().chain(self.unread).fold(Seq(self.seq.0 + 1), Seq::min)
    }

    /// Conversations in which `agent` must act and whose work item lies at or below `delivered`, oldest first.
    pub fn delivered(&self, agent: &AgentName, delivered: Seq) -> impl Iterator<Item = Row> {
        let working = self.working.get(agent).into_iter().flatten();
        working.take_while(move |(item, _)| *item <= delivered).filter_map(|(_, slot)| self.rows.row(*slot))
    }

    /// Revisions that open conversations run on, and how many do.
    pub fn revisions(&self) -> impl Iterator<Item = (&Revision, usize)> {
        self.used.iter().map(|(revision, open)| (revision, *open))
    }

    /// Agents that must act somewhere.
    pub fn working_agents(&self) -> impl Iterator<Item = &AgentName> {
        self.working.keys()
    }

    /// Gateways whose callers are asked something.
    pub fn waiting_gateways(&self) -> impl Iterator<Item = &ProcessId> {
        self.waiting.keys()
    }

    /// Conversations that wait for somebody behind `gateway`.
    pub fn waiting_at(&self, gateway: &ProcessId) -> impl Iterator<Item = Row> {
        self.waiting.get(gateway).into_iter().flatten().filter_map(|slot| self.rows.row(*slot))
    }
}

fn remove<K: Ord, V: Ord>(index: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(values) = index.get_mut(key) {
        values.remove(value);
        if values.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
