//! The fold: a conversation as its entries make it, and the only place where a new entry is built.
//!
//! A reader can start from any entry: its headers hold the state in brief, its carry the entries since the last that
//! sealed. [`Partial`] is what one message gives; [`Partial::complete`] adds the sealing entries that are read for a
//! long conversation, and only then is there a [`Conversation`].

mod damage;

use std::sync::Arc;

use crate::brief::{Brief, Fixed, Illegal, OpenRequest, Phase, Step};
use crate::entry::{Entry, Head, Trace, VERSION, hash};
use crate::event::{Deferred, Event, Numbered};
use crate::ids::{AgentName, ConversationId, EntryId, EventId, Hash, OrchestrationName, Ordinal, ProcessId, Revision, Seq, Writer};
use crate::next;
use crate::subject::{Class, EntrySubject};
use crate::wire::v1::{Carried, Payload, Record, State};
use crate::wire::{DecodeError, HEADER_BYTES_MAX, Headers, Message, RECENT_MAX, SEAL_BYTES, Stored, header};

pub use damage::Damage;

/// A conversation as far as this reader knows it: complete from ordinal 0 to its tail.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    orchestration: OrchestrationName,
    id: ConversationId,
    entries: Vec<Arc<Entry>>,
    tail: Tail,
    /// The first entry with an event of a kind that this program does not know.
    unknown: Option<Ordinal>,
    /// About how many bytes its entries take.
    bytes: usize,
    damage: Option<Damage>,
}

/// The last entry a reader has seen, or what lies behind it and is none. Every append is fenced by its sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Its sequence; 0 before the first entry.
    pub seq: Seq,
    /// The ordinal of the entry that would follow.
    pub next: Ordinal,
    /// Its hash.
    pub hash: Option<Hash>,
    /// The epoch after it.
    pub epoch: Seq,
}

impl Tail {
    /// The tail once `entry` has followed.
    fn after(&self, entry: &Entry) -> Result<Self, FoldError> {
        let conversation = || entry.head.subject.conversation.clone();
        if entry.ordinal() != self.next {
            return Err(FoldError::Gap { conversation: conversation(), missing: self.next });
        }
        if entry.previous() != self.hash {
            return Err(FoldError::Chain { conversation: conversation(), ordinal: entry.ordinal() });
        }
        Ok(Self { seq: entry.seq, next: entry.ordinal() + 1, hash: Some(entry.hash), epoch: entry.epoch() })
    }
}

/// An entry about to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// What it is to its readers.
    pub class: Class,
    /// Who writes it.
    pub from: Writer,
    /// Its identity, chosen before the append.
    pub id: EntryId,
    /// The process that writes it.
    pub process: ProcessId,
    /// The revision it is written under.
    pub revision: Revision,
    /// What it records, at least one event.
    pub events: Vec<Event>,
    /// The trace it belongs to.
    pub trace: Option<Trace>,
}

/// A draft at its place behind the tail: the message to publish, and what it makes of the conversation once stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// What to publish.
    pub message: Message,
    /// The sequence that fences it.
    pub expected: Seq,
    entry: Entry,
}

impl Prepared {
    /// Its ordinal.
    pub const fn ordinal(&self) -> Ordinal {
        self.entry.ordinal()
    }

    /// Its identity.
    pub const fn id(&self) -> EntryId {
        self.entry.head.id
    }

    /// Its subject.
    pub const fn subject(&self) -> &EntrySubject {
        &self.entry.head.subject
    }

    /// Whether what is stored is this very entry. Its id does not tell: a caller's request that is repeated with other
    /// words, or through another process, has the first one's. Its headers do, with the hash of its record among them.
    pub fn is_stored_as(&self, stored: &Stored) -> bool {
        let mut headers = self.message.headers.iter();
        self.message.subject == stored.subject && headers.all(|(name, value)| stored.headers.get(name) == Some(value))
    }
}

/// Why a draft cannot become an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// It cannot follow the entries before it.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// It cannot be written down.
    #[error(transparent)]
    Encode(#[from] DecodeError),
}

/// Why entries do not make a conversation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// A message is no entry.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An entry is missing between the ones that were read.
    #[error("entry {missing} of conversation {conversation} is missing")]
    Gap {
        /// Which conversation.
        conversation: ConversationId,
        /// The first ordinal that is not there.
        missing: Ordinal,
    },
    /// An entry does not name the one before it.
    #[error("entry {ordinal} of conversation {conversation} does not follow the one before it: its previous hash differs")]
    Chain {
        /// Which conversation.
        conversation: ConversationId,
        /// The entry.
        ordinal: Ordinal,
    },
    /// An entry of another conversation.
    #[error("{found} is not an entry of conversation {conversation}")]
    Foreign {
        /// Which conversation was read.
        conversation: ConversationId,
        /// What was found.
        found: String,
    },
}

/// What one message tells of its conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    last: Entry,
    carry: Vec<Entry>,
}

impl Partial {
    /// A message as the journal read it.
    ///
    /// # Errors
    /// [`DecodeError`] when it is not an entry of a known version.
    pub fn decode(stored: &Stored) -> Result<Self, DecodeError> {
        let (last, carry) = Entry::decode(stored)?;
        Ok(Self { last, carry })
    }

    /// The same, for a reader that knows the conversation up to a tail: what the message carries of that is not decoded. It can
    /// [extend](Conversation::extend) what is known, and [completes](Self::complete) nothing.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_behind(stored: &Stored, tail: &Tail) -> Result<Self, DecodeError> {
        let (last, carry) = Entry::decode_from(stored, tail.next)?;
        Ok(Self { last, carry })
    }

    /// The message's own entry.
    pub const fn last(&self) -> &Entry {
        &self.last
    }

    /// The ordinals of the sealing entries that hold the rest; none for the usual, short conversation.
    pub fn sealed(&self) -> &[Ordinal] {
        &self.last.state.sealed
    }

    /// What the message tells beyond `tail`, in order, and the tail after it: for whoever passes entries on and keeps none.
    ///
    /// # Errors
    /// [`FoldError::Gap`] as for [`Conversation::extend`].
    pub fn beyond(self, tail: &Tail) -> Result<(Vec<Arc<Entry>>, Tail), FoldError> {
        let (mut after, mut entries) = (*tail, Vec::new());
        for entry in self.carry.into_iter().chain([self.last]).skip_while(|entry| entry.ordinal() < tail.next) {
            after = after.after(&entry)?;
            entries.push(Arc::new(entry));
        }
        Ok((entries, after))
    }

    /// The conversation, with the sealing entries as they were read, in any order.
    ///
    /// # Errors
    /// [`FoldError`] when a stretch is missing or an entry does not belong.
    pub fn complete(self, sealed: &[Stored]) -> Result<Conversation, FoldError> {
        let mut entries = Vec::with_capacity(self.carry.len() + 1);
        let mut unreadable = None;
        for stored in sealed {
            match Entry::decode(stored) {
                Ok((entry, carry)) => {
                    entries.extend(carry);
                    entries.push(entry);
                }
                // Anybody's bytes may lie under the subject of an entry: they matter only where that one is missing.
                Err(error) => unreadable = unreadable.or(Some(error)),
            }
        }
        entries.extend(self.carry);
        let subject = &self.last.head.subject;
        let mut conversation = Conversation::empty(subject.orchestration.clone(), subject.conversation.clone());
        entries.push(self.last);
        entries.sort_by_key(Entry::ordinal);
        // A snapshot's carry repeats stretches that others hold too.
        entries.dedup_by_key(|entry| entry.ordinal());
        for entry in entries {
            if let Err(missing) = conversation.push(Arc::new(entry)) {
                return Err(unreadable.map_or(missing, FoldError::from));
            }
        }
        Ok(conversation)
    }
}

impl Conversation {
    /// A conversation without entries: what an opening is prepared on.
    pub const fn empty(orchestration: OrchestrationName, id: ConversationId) -> Self {
        let tail = Tail { seq: Seq(0), next: 0, hash: None, epoch: Seq(0) };
        Self { orchestration, id, entries: Vec::new(), tail, unknown: None, bytes: 0, damage: None }
    }

    /// The orchestration whose stream it lies in.
    pub const fn orchestration(&self) -> &OrchestrationName {
        &self.orchestration
    }

    /// Its id.
    pub const fn id(&self) -> &ConversationId {
        &self.id
    }

    /// Its entries from ordinal 0.
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// The last entry seen.
    pub const fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The last entry; none before the opening.
    pub fn last(&self) -> Option<&Entry> {
        self.entries.last().map(Arc::as_ref)
    }

    /// The state in brief; none before the opening.
    pub fn brief(&self) -> Option<&Brief> {
        self.last().map(|entry| &entry.head.brief)
    }

    /// Who must act or be answered.
    pub fn owner(&self) -> Option<&AgentName> {
        self.brief().map(|brief| &brief.owner)
    }

    /// What it is doing.
    pub fn phase(&self) -> Option<Phase> {
        self.brief().map(|brief| brief.phase)
    }

    /// The revision that its last entry was written under.
    pub fn revision(&self) -> Option<&Revision> {
        self.last().map(|entry| &entry.head.revision)
    }

    /// The open human requests.
    pub fn requests(&self) -> &[OpenRequest] {
        self.brief().map_or(&[], |brief| &brief.requests)
    }

    /// All events in order, with the writer of each.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = (&Entry, Numbered<'_>)> {
        self.entries.iter().flat_map(|entry| {
            let events: Vec<_> = entry.numbered().collect();
            events.into_iter().map(move |event| (entry.as_ref(), event))
        })
    }

    /// How many messages whoever does not know it reads beside the next one.
    pub fn stretches(&self) -> usize {
        self.next_state().sealed.len()
    }

    /// About how many bytes its entries take, as they are stored.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The event with an id.
    pub fn event(&self, id: EventId) -> Option<&Event> {
        let entry = self.entries.get(usize::try_from(id.ordinal).ok()?)?;
        entry.events.get(usize::try_from(id.index).ok()?)
    }

    /// The first kind in it that this program does not know: it must be set aside for a newer one.
    pub fn unknown(&self) -> Option<(Ordinal, &str)> {
        let entry = self.entries.get(usize::try_from(self.unknown?).ok()?)?;
        entry.unknown().map(|kind| (entry.ordinal(), kind))
    }

    /// Where a caller's request was recorded, if it was: a repeat returns the first answer.
    pub fn find_request(&self, id: EntryId) -> Option<Ordinal> {
        let visible = self.entries.iter().rev().find(|entry| entry.head.id == id).map(|entry| entry.ordinal());
        visible.or_else(|| self.last()?.state.recent.iter().find(|(recent, _)| *recent == id).map(|(_, ordinal)| *ordinal))
    }

    /// Takes in whatever a newer message tells, without reading: its carry begins before this conversation's tail, or at it.
    ///
    /// # Errors
    /// [`FoldError::Gap`] when the message sealed stretches this reader has not seen: then it must be completed.
    pub fn extend(&mut self, newer: Partial) -> Result<(), FoldError> {
        let (known, before) = (self.entries.len(), (self.tail, self.unknown, self.bytes));
        for entry in newer.carry.into_iter().chain([newer.last]) {
            if entry.ordinal() >= self.tail.next
                && let Err(error) = self.push(Arc::new(entry))
            {
                self.entries.truncate(known);
                (self.tail, self.unknown, self.bytes) = before;
                return Err(error);
            }
        }
        Ok(())
    }

    /// The conversation as it was before an entry, for those who look back; all of it, where there is no such entry.
    #[must_use]
    pub fn before(&self, ordinal: Ordinal) -> Self {
        let entries: Vec<_> = self.entries.iter().take_while(|entry| entry.ordinal() < ordinal).cloned().collect();
        let tail = entries.last().map_or_else(Tail::default, |last| Tail {
            seq: last.seq,
            next: last.ordinal() + 1,
            hash: Some(last.hash),
            epoch: last.epoch(),
        });
        let unknown = self.unknown.filter(|first| *first < tail.next);
        let bytes = entries.iter().map(|entry| entry.carried_bytes()).sum();
        Self { orchestration: self.orchestration.clone(), id: self.id.clone(), entries, tail, unknown, bytes, damage: None }
    }

    fn push(&mut self, entry: Arc<Entry>) -> Result<(), FoldError> {
        let subject = &entry.head.subject;
        if subject.orchestration != self.orchestration || subject.conversation != self.id {
            return Err(FoldError::Foreign { conversation: self.id.clone(), found: subject.to_string() });
        }
        self.tail = self.tail.after(&entry)?;
        self.unknown = self.unknown.or_else(|| entry.unknown().map(|_| entry.ordinal()));
        self.bytes += entry.carried_bytes();
        self.entries.push(entry);
        Ok(())
    }

    /// Whether every entry says of the conversation what the entries before it make of it. Readers trust the stated
    /// brief, so that one entry is enough to start from; this is how an auditor checks the writers.
    ///
    /// # Errors
    /// The ordinal of the first entry that could not follow, or states something else.
    pub fn verify(&self) -> Result<(), (Ordinal, Option<Illegal>)> {
        let mut before: Option<&Brief> = None;
        for entry in &self.entries {
            let stated = &entry.head.brief;
            let expected = match before {
                None => Brief::opening(entry.step(), stated.fixed.clone()),
                Some(brief) => self.check_before(entry.ordinal(), &entry.events).and_then(|()| brief.after(entry.step())),
            };
            match expected {
                Ok(expected) if expected.known() == stated.known() => before = Some(stated),
                Ok(_) => return Err((entry.ordinal(), None)),
                Err(illegal) => return Err((entry.ordinal(), Some(illegal))),
            }
        }
        Ok(())
    }

    /// What the brief alone cannot judge: a decision is about the exact arguments that the request was about, and nobody
    /// interrupts a turn whose calls may have run.
    fn check_before(&self, ordinal: Ordinal, events: &[Event]) -> Result<(), Illegal> {
        for event in events {
            match event {
                Event::Decided(decision) => {
                    let asked = match self.event(decision.request) {
                        Some(Event::Asked(asked)) => asked.arguments_hash,
                        _ => None,
                    };
                    if asked.is_some() && decision.arguments_hash != asked {
                        return Err(Illegal::Answer(decision.request));
                    }
                }
                Event::Interrupted(_) if self.has_unresolved_intent_before(ordinal) => {
                    return Err(Illegal::Phase { kind: event.kind().to_owned(), phase: Phase::Working });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// How its turn was put off when that last happened; none where it was not, or where its model has answered since.
    pub fn deferral(&self) -> Option<&Deferred> {
        let turn = self.brief()?.turn;
        let mut recent = self.events().rev().take_while(|(entry, _)| entry.ordinal() >= turn).map(|(_, (_, event))| event);
        match recent.find(|event| matches!(event, Event::Deferred(_) | Event::Responded(_)))? {
            Event::Deferred(deferred) => Some(deferred),
            _ => None,
        }
    }

    /// Whether calls of the owner's last response may have run, and nobody has recorded what became of them: until that
    /// is known, nothing but its owner may begin another turn.
    pub fn has_unresolved_intent(&self) -> bool {
        self.has_unresolved_intent_before(self.tail.next)
    }

    fn has_unresolved_intent_before(&self, ordinal: Ordinal) -> bool {
        let before = self.entries.iter().rev().skip_while(|entry| entry.ordinal() >= ordinal);
        if before.clone().next().is_none_or(|entry| entry.head.brief.open_calls == 0) {
            return false;
        }
        let mut returned: Vec<&str> = Vec::new();
        for event in before.flat_map(|entry| entry.events.iter().rev()) {
            match event {
                Event::Returned(event) => returned.push(&event.call),
                Event::Intended(event) if event.calls.iter().any(|intended| !returned.contains(&intended.call.as_str())) => return true,
                Event::Responded(_) => return false,
                _ => {}
            }
        }
        false
    }

    /// A draft, behind this reader's tail.
    ///
    /// # Errors
    /// [`PrepareError::Illegal`] when it cannot follow; behind [damage](Self::damage) nothing can but the failure that says so.
    pub fn prepare(&self, draft: Draft) -> Result<Prepared, PrepareError> {
        self.prepare_fixed(draft, Fixed::default())
    }

    /// An opening, with what it fixes for the whole conversation.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn prepare_opening(&self, draft: Draft, fixed: Fixed) -> Result<Prepared, PrepareError> {
        self.prepare_fixed(draft, fixed)
    }

    fn prepare_fixed(&self, draft: Draft, fixed: Fixed) -> Result<Prepared, PrepareError> {
        if self.must_fail().is_some() && !matches!(draft.events.as_slice(), [Event::Failed(failed)] if failed.is_about_damage()) {
            return Err(Illegal::Damaged.into());
        }
        let draft = next::draft(draft);
        let step = Step { ordinal: self.tail.next, class: &draft.class, from: &draft.from, events: &draft.events };
        let mut brief = match self.brief() {
            None => Brief::opening(step, fixed)?,
            Some(brief) => brief.after(step)?,
        };
        next::brief(&mut brief, self.tail.next);
        self.check_before(self.tail.next, &draft.events)?;
        let subject = EntrySubject {
            orchestration: self.orchestration.clone(),
            conversation: self.id.clone(),
            ordinal: self.tail.next,
            class: draft.class,
            from: draft.from,
        };
        let kind = draft.events.last().map_or_else(String::new, |event| event.kind().to_owned());
        let head = Head {
            subject,
            id: draft.id,
            kind,
            epoch: self.tail.epoch,
            process: draft.process,
            revision: draft.revision,
            brief,
            trace: draft.trace,
        };
        let (record, carry) = self.record(draft.events)?;
        let bytes = record.encode()?;
        // What no reader takes must never be written: it would hold its conversation up for ever.
        Record::decode(&bytes)?;
        let headers = self.headers(&head, &bytes)?;
        let payload = Payload { record: bytes.clone(), carry }.encode()?;
        let message = Message { subject: head.subject.to_string(), headers: headers.clone(), payload };
        let hash = hash(&head.subject, &headers);
        let entry = Entry { head, seq: Seq(0), events: record.events, state: record.state, hash, headers, record: bytes };
        Ok(Prepared { message, expected: self.tail.seq, entry })
    }

    /// The entry's record, and the entries it carries. A snapshot carries everything and replaces all sealed stretches;
    /// an erasure carries nothing, or it would keep what it erases.
    fn record(&self, events: Vec<Event>) -> Result<(Record, Vec<Carried<'_>>), DecodeError> {
        let is_snapshot = matches!(events.last(), Some(Event::Snapshotted(_)));
        if matches!(events.last(), Some(Event::Erased(_))) {
            return Ok((Record { events, state: State::default() }, Vec::new()));
        }
        // A snapshot lists no sealing entry before it: it has absorbed them.
        let state = if is_snapshot { State::default() } else { self.next_state() };
        let from = state.sealed.last().map_or(0, |sealed| sealed.saturating_add(1));
        let carried = self.entries.get(usize::try_from(from).unwrap_or(usize::MAX)..).unwrap_or_default();
        let carry_bytes: usize = carried.iter().map(|entry| entry.carried_bytes()).sum();
        let mut record = Record { events, state };
        record.state.seals = is_snapshot || carry_bytes + record.encode()?.len() > SEAL_BYTES;
        Ok((record, carried.iter().map(|entry| entry.carried()).collect()))
    }

    /// What the next entry says of those that it does not carry.
    fn next_state(&self) -> State {
        let Some(last) = self.last() else { return State::default() };
        let mut state = State { seals: false, ..last.state.clone() };
        if last.state.seals {
            state.sealed.push(last.ordinal());
            state.recent = self.recent_until(last);
        }
        state
    }

    /// Callers' entry ids that no carry will show any more.
    fn recent_until(&self, last: &Entry) -> Vec<(EntryId, Ordinal)> {
        let by_callers = self.entries.iter().filter(|entry| entry.head.subject.from.is_caller() && entry.ordinal() <= last.ordinal());
        let mut recent: Vec<_> = by_callers.rev().take(RECENT_MAX).map(|entry| (entry.head.id, entry.ordinal())).collect();
        recent.reverse();
        recent
    }

    fn headers(&self, head: &Head, record: &[u8]) -> Result<Headers, DecodeError> {
        let mut headers = Headers::default();
        headers.insert(header::VERSION, VERSION.to_owned());
        headers.insert(header::ID, head.id.to_string());
        headers.insert(header::KIND, head.kind.clone());
        if let Some(previous) = self.tail.hash {
            headers.insert(header::PREVIOUS, previous.to_string());
        }
        headers.insert(header::RECORD, Hash::of(record).to_string());
        headers.insert(header::EPOCH, head.epoch.to_string());
        headers.insert(header::PROCESS, head.process.to_string());
        headers.insert(header::REVISION, head.revision.to_string());
        let brief = serde_json::to_string(&head.brief).map_err(DecodeError::malformed)?;
        if brief.len() > HEADER_BYTES_MAX {
            return Err(DecodeError::malformed(format_args!("header {} would be too large", header::BRIEF)));
        }
        headers.insert(header::BRIEF, brief);
        if let Some(trace) = &head.trace {
            headers.insert(header::TRACEPARENT, trace.parent.clone());
            if let Some(state) = &trace.state {
                headers.insert(header::TRACESTATE, state.clone());
            }
        }
        next::headers(&mut headers);
        Ok(headers)
    }

    /// The conversation once the journal has stored a prepared entry as `seq`.
    ///
    /// # Errors
    /// [`FoldError::Gap`] when the entry was prepared on another tail.
    pub fn commit(&mut self, prepared: Prepared, seq: Seq) -> Result<(), FoldError> {
        let Prepared { mut entry, .. } = prepared;
        entry.seq = seq;
        self.push(Arc::new(entry))
    }
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
