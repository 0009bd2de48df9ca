//! What is known of one conversation, and what follows from it.

use std::borrow::Cow;

use protocol::brief::{Brief, Phase};
use protocol::entry::Head;
use protocol::event::{Audience, Event};
use protocol::ids::{ConversationId, Ordinal, RequestId, Revision, Seq};
use protocol::query::Shown;
use protocol::subject::Class;
use protocol::wire::SEAL_BYTES;

/// One conversation. Times are the broker's, in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub conversation: ConversationId,
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
    /// When its last entry was stored, but for a snapshot: nothing happens by that.
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
    pub is_damaged: bool,
    /// About how many sealed stretches it has since its last snapshot, each a read for whoever does not know it.
    pub stretches: u32,
    /// Bytes of its last snapshot; 0 if it has none.
    pub snapshot_size: usize,
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
    /// The row after one more entry of `size` bytes, stored as `seq` at `time_ms`.
    pub(super) fn after(before: Option<&Self>, seq: Seq, time_ms: u64, head: &Head, size: usize) -> Self {
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
        let (stretches, snapshot_size) = before.map_or((0, 0), |row| (row.stretches, row.snapshot_size));
        let is_snapshot = head.kind == "snapshotted";
        Self {
            conversation: head.subject.conversation.clone(),
            ordinal,
            seq,
            epoch: head.epoch_after(seq),
            item: before.filter(|_| !is_item).map_or(seq, |row| row.item),
            turn_ms: before.filter(|_| brief.turn != ordinal).map_or(time_ms, |row| row.turn_ms),
            last_ms: before.filter(|_| is_snapshot).map_or(time_ms, |row| row.last_ms),
            opened_ms: before.map_or(time_ms, |row| row.opened_ms),
            not_before_ms,
            due: due.collect(),
            kind: known_kind(&head.kind),
            revision: head.revision.clone(),
            traceparent: head.trace.as_ref().map(|trace| trace.parent.clone()),
            is_damaged: false,
            stretches: if is_snapshot { 0 } else { stretches.saturating_add(u32::from(size > SEAL_BYTES)) },
            snapshot_size: if is_snapshot { size } else { snapshot_size },
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

    /// Whether a snapshot is worth what it takes: somebody who does not know the conversation would read much besides, and what its
    /// snapshots take in all stays a small multiple of what it takes itself.
    pub fn needs_snapshot(&self) -> bool {
        let since = usize::try_from(self.stretches).unwrap_or(usize::MAX);
        self.brief.phase == Phase::Waiting && since >= 2 && since.saturating_mul(4 * SEAL_BYTES) >= self.snapshot_size
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
    pub fn shown(self) -> Shown {
        let Self { conversation, brief, ordinal, kind, revision, last_ms, opened_ms, due, traceparent, .. } = self;
        Shown { conversation, brief, ordinal, kind: kind.into_owned(), revision, last_ms, opened_ms, due, traceparent }
    }
}

/// The same word without its bytes: there is a handful of kinds.
fn known_kind(kind: &str) -> Cow<'static, str> {
    let known = Event::KINDS.iter().find(|known| **known == kind);
    known.map_or_else(|| Cow::Owned(kind.to_owned()), |known| Cow::Borrowed(*known))
}

const fn later(time_ms: u64, secs: u64) -> u64 {
    time_ms.saturating_add(secs.saturating_mul(1000))
}
