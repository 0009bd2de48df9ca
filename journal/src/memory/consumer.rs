//! An agent's durable consumer: who gets which work item, and when again. Pure: time and chance come from outside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use protocol::ids::{AgentName, Seq};
use protocol::wire::Stored;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::faults::{Chance, Fault};
use super::log::Log;
use crate::ConsumerState;

/// One process that takes work items.
pub(super) type SourceId = u64;

/// A work item on its way to a process.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) stored: Stored,
    pub(super) delivered: u64,
    pub(super) is_recounted: bool,
}

#[derive(Debug, Default)]
struct Pending {
    delivered: u64,
    /// When it is delivered again; none once it is queued for that.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Pull {
    source: SourceId,
    open: usize,
}

#[derive(Debug)]
pub(super) struct Consumer {
    agent: AgentName,
    pub(super) ack_wait: Duration,
    pub(super) ack_pending_max: u64,
    /// Rung when an inbox got something, or a due time moved.
    pub(super) changed: Arc<Notify>,
    /// The stream's last sequence when this consumer was made: what is not above may be another one's work.
    made_after: Seq,
    /// The first sequence that has not been looked at.
    next: Seq,
    last_delivered: Seq,
    pending: BTreeMap<Seq, Pending>,
    timers: BTreeSet<(Instant, Seq)>,
    again: VecDeque<Seq>,
    /// Held back, or to come once more: only faults put something here.
    strays: VecDeque<Seq>,
    pulls: VecDeque<Pull>,
    inboxes: BTreeMap<SourceId, VecDeque<Handed>>,
}

impl Consumer {
    /// A consumer of the work from `from` on, made when the last entry was `made_after`.
    pub(super) fn new(agent: AgentName, ack_wait: Duration, ack_pending_max: u64, made_after: Seq, from: Option<Seq>) -> Self {
        let next = from.unwrap_or_default().max(Seq(1));
        Self {
            agent,
            made_after,
            ack_wait,
            ack_pending_max,
            changed: Arc::default(),
            next,
            last_delivered: Seq(next.0 - 1),
            pending: BTreeMap::new(),
            timers: BTreeSet::new(),
            again: VecDeque::new(),
            strays: VecDeque::new(),
            pulls: VecDeque::new(),
            inboxes: BTreeMap::new(),
        }
    }

    /// Asks for as many work items as bring those asked for and those not yet taken to `free`.
    pub(super) fn pull(&mut self, source: SourceId, free: usize) {
        let open: usize = self.pulls.iter().filter(|pull| pull.source == source).map(|pull| pull.open).sum();
        let untaken = self.inboxes.entry(source).or_default().len();
        let more = free.saturating_sub(open + untaken);
        if more > 0 {
            self.pulls.push_back(Pull { source, open: more });
        }
    }

    pub(super) fn take(&mut self, source: SourceId) -> Option<Handed> {
        self.inboxes.get_mut(&source)?.pop_front()
    }

    /// Forgets a process. What was on its way to it is returned: it is still pending.
    pub(super) fn leave(&mut self, source: SourceId) -> VecDeque<Handed> {
        self.pulls.retain(|pull| pull.source != source);
        self.inboxes.remove(&source).unwrap_or_default()
    }

    /// Hands out what there is to those who asked, in turns.
    pub(super) fn pump(&mut self, log: &Log, now: Instant, chance: &mut Chance) {
        while let Some((due, seq)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, seq));
            self.queue_again(seq);
        }
        while !self.pulls.is_empty() {
            let Some(stored) = self.pick(log, chance).and_then(|seq| log.get(seq)) else { return };
            self.hand(log.redeem_or_raw(stored), now);
            if chance.strikes(Fault::DeliveryTwice) {
                self.strays.push_back(stored.seq);
            }
            self.changed.notify_waiters();
        }
    }

    fn pick(&mut self, log: &Log, chance: &mut Chance) -> Option<Seq> {
        while let Some(seq) = self.again.pop_front() {
            // It may have been settled while it waited.
            if self.pending.contains_key(&seq) {
                return Some(seq);
            }
        }
        if self.pending.len() as u64 >= self.ack_pending_max {
            return None;
        }
        if !self.strays.is_empty() && chance.coin() {
            return self.strays.pop_front();
        }
        let mut fresh = self.advance(log);
        if let Some(seq) = fresh.filter(|_| chance.strikes(Fault::DeliveryReordered)) {
            self.strays.push_back(seq);
            fresh = self.advance(log);
        }
        fresh.or_else(|| self.strays.pop_front())
    }

    fn advance(&mut self, log: &Log) -> Option<Seq> {
        let found = log.work(&self.agent, self.next).next();
        self.next = self.next.max(Seq(found.unwrap_or_else(|| log.last()).0 + 1));
        found
    }

    fn hand(&mut self, stored: Stored, now: Instant) {
        let Some(mut pull) = self.pulls.pop_front() else { return };
        let seq = stored.seq;
        self.last_delivered = self.last_delivered.max(seq);
        self.schedule(seq, now + self.ack_wait);
        let pending = self.pending.entry(seq).or_default();
        pending.delivered += 1;
        let handed = Handed { stored, delivered: pending.delivered, is_recounted: seq <= self.made_after };
        self.inboxes.entry(pull.source).or_default().push_back(handed);
        pull.open -= 1;
        if pull.open > 0 {
            self.pulls.push_back(pull);
        }
    }

    fn schedule(&mut self, seq: Seq, due: Instant) {
        let pending = self.pending.entry(seq).or_default();
        if let Some(before) = pending.due.replace(due) {
            self.timers.remove(&(before, seq));
        }
        self.timers.insert((due, seq));
    }

    fn queue_again(&mut self, seq: Seq) {
        if let Some(pending) = self.pending.get_mut(&seq) {
            pending.due = None;
            self.again.push_back(seq);
        }
    }

    /// Settled: acked or terminated, by whoever it was delivered to.
    pub(super) fn settle(&mut self, seq: Seq) {
        if let Some(Pending { due: Some(due), .. }) = self.pending.remove(&seq) {
            self.timers.remove(&(due, seq));
        }
    }

    /// What has been purged is nobody's work any more.
    pub(super) fn purged(&mut self, log: &Log) {
        let gone: Vec<Seq> = self.pending.keys().copied().filter(|seq| log.get(*seq).is_none()).collect();
        for seq in gone {
            self.settle(seq);
        }
        self.strays.retain(|seq| log.get(*seq).is_some());
    }

    /// It comes again at `due`: extended, or given back. What is queued to come again stays queued.
    pub(super) fn postpone(&mut self, seq: Seq, due: Instant) {
        if self.pending.get(&seq).is_some_and(|pending| pending.due.is_some()) {
            self.schedule(seq, due);
        }
    }

    /// When something comes again that nobody has asked for yet.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    pub(super) fn state(&self, log: &Log) -> ConsumerState {
        let held_back = self.strays.iter().filter(|seq| !self.pending.contains_key(seq)).count();
        let open = self.pending.keys().chain(&self.strays).min();
        ConsumerState {
            delivered: self.last_delivered,
            ack_floor: open.map_or(self.last_delivered, |seq| Seq(seq.0 - 1)),
            ack_pending: self.pending.len() as u64,
            pending: (log.work(&self.agent, self.next).count() + held_back) as u64,
            ..ConsumerState::default()
        }
    }
}
