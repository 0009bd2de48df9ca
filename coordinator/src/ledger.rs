//! The ledger: what every open conversation is doing, as the heads of its entries say. Pure: entries go in, questions are
//! answered from indexes, and nothing is ever asked of a clock. It may be behind the journal, so nothing is *decided* here.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::brief::{Brief, Phase};
use protocol::entry::Head;
use protocol::event::{Audience, Event};
use protocol::ids::{AgentName, ConversationId, Ordinal, ProcessId, RequestId, Revision, Seq};
use protocol::query::Shown;
use protocol::subject::Class;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Place;
use crate::retention::Newest;

/// One conversation. Times are the broker's, in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its state in brief.
    pub brief: Brief,
    /// Its last entry's ordinal.
    pub ordinal: Ordinal,
    /// Its last entry's sequence: whatever is decided from this row holds only while this is the tail.
    pub seq: Seq,
    /// Its epoch.
    pub epoch: Seq,
    /// Its last work item.
    pub item: Seq,
    /// When the work item with which the current turn began was stored.
    pub turn_ms: u64,
    /// When its last entry was stored.
    pub last_ms: u64,
    /// When it was opened.
    pub opened_ms: u64,
    /// Before this nobody is expected to go on: a deferral, a hand-back, something set aside.
    pub not_before_ms: Option<u64>,
    /// By when each open request must be answered, where it must.
    pub due: Vec<(RequestId, u64)>,
    /// Its last entry's kind.
    pub kind: Cow<'static, str>,
    /// The revision its last entry was written under.
    pub revision: Revision,
    /// The trace of its last entry.
    pub traceparent: Option<String>,
    /// Whether bytes that no version writes lie behind its last entry.
    #[serde(default)]
    pub is_damaged: bool,
}

/// A bound that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// This request was not answered in time.
    Request(RequestId),
    /// The turn took too long.
    Turn,
    /// The conversation took too long.
    Conversation,
}

impl Row {
    fn after(before: Option<&Self>, seq: Seq, time_ms: u64, head: &Head) -> Self {
        let (brief, ordinal) = (&head.brief, head.subject.ordinal);
        let is_item = matches!(head.subject.class, Class::To { .. });
        let puts_off = matches!(head.kind.as_str(), "deferred" | "handed-back" | "set-aside");
        let not_before_ms = brief.wait_secs.map(|wait_secs| {
            // The brief repeats the wait after entries that do not begin it, people's messages above all.
            let begun = before.and_then(|row| row.not_before_ms).filter(|_| !puts_off);
            begun.unwrap_or_else(|| later(time_ms, wait_secs))
        });
        let due = brief.requests.iter().filter_map(|request| {
            let known = before.and_then(|row| row.due.iter().find(|(id, _)| *id == request.id)).map(|(_, due_ms)| *due_ms);
            Some((request.id, known.or_else(|| Some(later(time_ms, request.due_secs?)))?))
        });
        Self {
            ordinal,
            seq,
            epoch: head.epoch_after(seq),
            item: before.filter(|_| !is_item).map_or(seq, |row| row.item),
            turn_ms: before.filter(|_| brief.turn != ordinal).map_or(time_ms, |row| row.turn_ms),
            last_ms: time_ms,
            opened_ms: before.map_or(time_ms, |row| row.opened_ms),
            not_before_ms,
            due: due.collect(),
            kind: known_kind(&head.kind),
            revision: head.revision.clone(),
            traceparent: head.trace.as_ref().map(|trace| trace.parent.clone()),
            is_damaged: false,
            brief: brief.clone(),
        }
    }

    /// The first bound that it will pass, and when.
    pub fn deadline(&self) -> Option<(u64, Expired)> {
        let fixed = &self.brief.fixed;
        let turn = match self.brief.phase {
            Phase::Working => fixed.turn_secs.map(|secs| (later(self.turn_ms, secs), Expired::Turn)),
            Phase::Waiting => None,
            Phase::Completed | Phase::Failed | Phase::Cancelled | Phase::Erased => return None,
        };
        let conversation = fixed.conversation_secs.map(|secs| (later(self.opened_ms, secs), Expired::Conversation));
        let requests = self.due.iter().map(|(id, due_ms)| (*due_ms, Expired::Request(*id)));
        requests.chain(turn).chain(conversation).min_by_key(|(at_ms, _)| *at_ms)
    }

    /// Since when these people are asked something.
    pub fn waits_since_ms(&self, audience: &Audience) -> u64 {
        let asked = self.brief.requests.iter().filter(|request| request.audience == *audience);
        let since = asked.filter_map(|request| {
            let (_, due_ms) = self.due.iter().find(|(id, _)| *id == request.id)?;
            Some(due_ms.saturating_sub(request.due_secs?.saturating_mul(1000)))
        });
        since.min().unwrap_or(self.last_ms)
    }

    /// The row as it is shown to people.
    pub fn shown(&self, conversation: &ConversationId) -> Shown {
        Shown {
            conversation: conversation.clone(),
            brief: self.brief.clone(),
            ordinal: self.ordinal,
            kind: self.kind.clone().into_owned(),
            revision: self.revision.clone(),
            last_ms: self.last_ms,
            opened_ms: self.opened_ms,
            due: self.due.clone(),
            traceparent: self.traceparent.clone(),
        }
    }
}

/// The same word without its bytes: a million conversations share a handful of kinds.
fn known_kind(kind: &str) -> Cow<'static, str> {
    let known = Event::KINDS.iter().find(|known| **known == kind);
    known.map_or_else(|| Cow::Owned(kind.to_owned()), |known| Cow::Borrowed(*known))
}

const fn later(time_ms: u64, secs: u64) -> u64 {
    time_ms.saturating_add(secs.saturating_mul(1000))
}

/// Every open conversation, and those that ended a short while ago.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    seq: Seq,
    retention_ms: u64,
    rows: BTreeMap<ConversationId, Arc<Row>>,
    /// Open conversations by their first deadline.
    deadlines: BTreeSet<(u64, ConversationId)>,
    /// Conversations whose owner must act, by the owner's work item.
    working: BTreeMap<AgentName, BTreeSet<(Seq, ConversationId)>>,
    /// Conversations that wait for somebody, by the gateway that serves their caller.
    waiting: BTreeMap<ProcessId, BTreeSet<ConversationId>>,
    /// Open conversations with bytes in them that no version writes.
    damaged: BTreeSet<ConversationId>,
    /// Conversations that are over, by when they ended.
    ended: BTreeSet<(u64, ConversationId)>,
    /// The first entry that a newer version may read, of those passed over.
    unread: Option<Seq>,
    /// The newest end and the newest tombstone.
    newest: Newest,
    /// Tombstones whose conversations may not have been purged yet, and when they were stored.
    unpurged: BTreeMap<Seq, (u64, ConversationId)>,
    /// How many open conversations run on each revision.
    used: BTreeMap<Revision, usize>,
    owners: BTreeSet<AgentName>,
    revisions: BTreeSet<Revision>,
}

impl Ledger {
    /// A ledger that has seen nothing. Ended conversations stay in it for `retention_ms`.
    pub fn new(retention_ms: u64) -> Self {
        Self { retention_ms, ..Self::default() }
    }

    /// The ledger of a checkpoint: from its place and the rows that were open then.
    pub fn restore(retention_ms: u64, place: Place, rows: impl IntoIterator<Item = (ConversationId, Row)>) -> Self {
        let Place { seq, unread, ended, erased, unpurged, .. } = place;
        let unpurged = unpurged.into_iter().map(|(seq, id)| (seq, (0, id))).collect();
        let mut ledger = Self { unread, newest: Newest { ended, erased }, unpurged, ..Self::new(retention_ms) };
        for (id, row) in rows {
            ledger.put(id, row);
        }
        ledger.seq = seq;
        ledger
    }

    /// Takes an entry in. Entries come in stream order; one that was seen before changes nothing.
    pub fn apply(&mut self, seq: Seq, time_ms: u64, head: &Head) {
        if seq <= self.seq {
            return;
        }
        self.seq = seq;
        let id = &head.subject.conversation;
        let before = self.rows.remove_entry(id);
        if let Some((id, row)) = &before {
            self.unindex(id, row);
        }
        if head.brief.phase.is_ended() {
            self.newest.ended = seq;
        }
        // Nothing is left of it, here as in the journal.
        if head.brief.phase == Phase::Erased {
            self.newest.erased = seq;
            self.unpurged.insert(seq, (time_ms, id.clone()));
        } else {
            let row = Row::after(before.as_ref().map(|(_, row)| &**row), seq, time_ms, head);
            self.put(before.map_or_else(|| id.clone(), |(id, _)| id), row);
        }
    }

    /// Passes over bytes that no version writes, and remembers where they lie until an entry follows them.
    pub fn damage(&mut self, seq: Seq, id: &ConversationId) {
        if seq > self.seq
            && let Some(row) = self.rows.get(id).filter(|row| !row.brief.phase.is_ended() && !row.is_damaged)
        {
            let row = Row { is_damaged: true, ..Row::clone(row) };
            self.damaged.insert(id.clone());
            self.rows.insert(id.clone(), Arc::new(row));
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
            && let Some((_, id)) = self.ended.pop_first()
        {
            self.rows.remove(&id);
        }
    }

    fn put(&mut self, id: ConversationId, mut row: Row) {
        row.brief.owner = intern(&mut self.owners, &row.brief.owner);
        row.revision = intern(&mut self.revisions, &row.revision);
        self.index(&id, &row);
        self.rows.insert(id, Arc::new(row));
    }

    fn index(&mut self, id: &ConversationId, row: &Row) {
        if !row.brief.phase.is_ended() {
            *self.used.entry(row.revision.clone()).or_default() += 1;
        }
        if row.is_damaged {
            self.damaged.insert(id.clone());
        }
        if let Some((at_ms, _)) = row.deadline() {
            self.deadlines.insert((at_ms, id.clone()));
        }
        match (row.brief.phase, &row.brief.fixed.gateway) {
            (Phase::Working, _) => {
                self.working.entry(row.brief.owner.clone()).or_default().insert((row.item, id.clone()));
            }
            (Phase::Waiting, Some(gateway)) => {
                self.waiting.entry(gateway.clone()).or_default().insert(id.clone());
            }
            (Phase::Waiting, None) => {}
            (Phase::Completed | Phase::Failed | Phase::Cancelled | Phase::Erased, _) => {
                self.ended.insert((row.last_ms, id.clone()));
            }
        }
    }

    fn unindex(&mut self, id: &ConversationId, row: &Row) {
        if !row.brief.phase.is_ended()
            && let Entry::Occupied(mut used) = self.used.entry(row.revision.clone())
        {
            *used.get_mut() -= 1;
            if *used.get() == 0 {
                used.remove();
            }
        }
        self.damaged.remove(id);
        if let Some((at_ms, _)) = row.deadline() {
            self.deadlines.remove(&(at_ms, id.clone()));
        }
        match (row.brief.phase, &row.brief.fixed.gateway) {
            (Phase::Working, _) => remove(&mut self.working, &row.brief.owner, &(row.item, id.clone())),
            (Phase::Waiting, Some(gateway)) => remove(&mut self.waiting, gateway, id),
            (Phase::Waiting, None) => {}
            (Phase::Completed | Phase::Failed | Phase::Cancelled | Phase::Erased, _) => {
                self.ended.remove(&(row.last_ms, id.clone()));
            }
        }
    }

    /// The last sequence it holds.
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// One conversation.
    pub fn row(&self, id: &ConversationId) -> Option<&Row> {
        self.rows.get(id).map(Arc::as_ref)
    }

    /// All conversations, ended ones among them.
    pub fn rows(&self) -> impl Iterator<Item = (&ConversationId, &Row)> {
        self.rows.iter().map(|(id, row)| (id, row.as_ref()))
    }

    /// The open conversations, to be stored: sharing the rows, so that it is quick.
    pub fn open(&self) -> Vec<(ConversationId, Arc<Row>)> {
        let open = self.rows.iter().filter(|(_, row)| !row.brief.phase.is_ended());
        open.map(|(id, row)| (id.clone(), row.clone())).collect()
    }

    /// How many conversations are open.
    pub fn open_count(&self) -> usize {
        self.rows.len() - self.ended.len()
    }

    /// Open conversations that have passed a bound, the most overdue first.
    pub fn expired(&self, now_ms: u64) -> impl Iterator<Item = (&ConversationId, &Row, Expired)> {
        let passed = self.deadlines.iter().take_while(move |(at_ms, _)| *at_ms <= now_ms);
        passed.filter_map(|(_, id)| {
            let row = self.row(id)?;
            Some((id, row, row.deadline()?.1))
        })
    }

    /// Open conversations with bytes in them that no version writes.
    pub fn damaged(&self) -> impl Iterator<Item = (&ConversationId, &Row)> {
        self.damaged.iter().filter_map(|id| Some((id, self.row(id)?)))
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
    pub fn delivered(&self, agent: &AgentName, delivered: Seq) -> impl Iterator<Item = (&ConversationId, &Row)> {
        let working = self.working.get(agent).into_iter().flatten();
        working.take_while(move |(item, _)| *item <= delivered).filter_map(|(_, id)| Some((id, self.row(id)?)))
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
    pub fn waiting_at(&self, gateway: &ProcessId) -> impl Iterator<Item = (&ConversationId, &Row)> {
        self.waiting.get(gateway).into_iter().flatten().filter_map(|id| Some((id, self.row(id)?)))
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

/// The value as it is known already: names repeat in every row, their bytes need not.
fn intern<T: Ord + Clone>(known: &mut BTreeSet<T>, value: &T) -> T {
    known.get(value).cloned().unwrap_or_else(|| {
        known.insert(value.clone());
        value.clone()
    })
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
