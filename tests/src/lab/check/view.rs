//! A recording, put in order once: the journal decoded, operations with their ends, model requests with their answers.
//! What is checked is never taken from the fold: positions, writers, epochs and owners are read off subjects, headers and
//! sequences here, and events are only decoded.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64;
use protocol::entry::Entry;
use protocol::event::{Event, Message, RequestKind};
use protocol::ids::{AgentName, EventId, Ordinal, Seq, Writer};
use protocol::orchestration::Orchestration;
use protocol::subject::{Class, EntrySubject};
use protocol::wire::{self, DecodeError, Headers, Stored, header};
use serde_json::Value as Json;

use super::Setup;
use super::reach::is_fault;
use crate::lab::record::{Act, Ended, Record, Seen};

/// See the module.
#[derive(Debug)]
pub struct View<'a> {
    /// What was deployed.
    pub setup: &'a Setup,
    /// The recording.
    pub records: &'a [Record],
    /// Every copy of every entry, in the order of the recording.
    pub copies: Vec<Line<'a>>,
    /// The conversations, by id: places in `copies` in the order of the stream, each entry once.
    pub journal: BTreeMap<String, Vec<usize>>,
    /// What clients asked for, by number.
    pub operations: BTreeMap<u64, Operation<'a>>,
    /// What models were asked, by number.
    pub requests: BTreeMap<u64, ModelRequest<'a>>,
    /// What tools were asked, in order.
    pub calls: Vec<ToolCall<'a>>,
    /// Clients' streams of events, in order.
    pub streams: Vec<Stream<'a>>,
    /// What struck, in order; trials without a fault are not among it.
    pub faults: Vec<Fault<'a>>,
    /// Whose canary a word is.
    pub canaries: BTreeMap<String, String>,
    /// When the recording ends.
    pub end_us: u64,
    clock: Vec<(u64, u64)>,
}

/// One copy of an entry, as a replica has it.
#[derive(Debug)]
pub struct Line<'a> {
    /// Its record.
    pub record: usize,
    /// Whose copy it is.
    pub replica: &'a str,
    /// Its sequence.
    pub seq: u64,
    /// When the broker stored it.
    pub time_ms: u64,
    /// Its subject, taken apart.
    pub subject: EntrySubject,
    /// Its headers.
    pub headers: Headers,
    /// Its body as it was recorded.
    pub payload: &'a str,
    /// What it records; none where a claim check has the body, or where no version writes such bytes.
    pub entry: Result<Entry, Unreadable>,
}

/// Why an entry's events are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Its body is an object that is not in the recording.
    Elsewhere,
    /// A newer version wrote it.
    Newer,
    /// No version writes such bytes.
    Malformed(String),
}

impl Line<'_> {
    /// Its number in the conversation.
    pub const fn ordinal(&self) -> Ordinal {
        self.subject.ordinal
    }

    /// What it records; nothing where that is not known.
    pub fn events(&self) -> &[Event] {
        self.entry.as_ref().map_or(&[], |entry| &entry.events)
    }

    /// Its events with their ids.
    pub fn numbered(&self) -> impl Iterator<Item = (EventId, &Event)> {
        let ordinal = self.ordinal();
        (0..).zip(self.events()).map(move |(index, event)| (EventId { ordinal, index }, event))
    }

    /// A header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_default()
    }

    /// The kind that its headers state.
    pub fn kind(&self) -> &str {
        self.header(header::KIND)
    }

    /// The process that wrote it.
    pub fn process(&self) -> &str {
        self.header(header::PROCESS)
    }

    /// The epoch that its headers state.
    pub fn epoch(&self) -> Option<u64> {
        self.header(header::EPOCH).parse().ok()
    }

    /// Whether an epoch begins with it.
    pub fn begins_epoch(&self) -> bool {
        matches!(self.subject.class, Class::To { .. }) || self.kind() == "taken"
    }

    /// The agent that wrote it, if one did.
    pub const fn agent(&self) -> Option<&AgentName> {
        self.subject.from.agent()
    }

    /// Whether no version writes such bytes.
    const fn is_poison(&self) -> bool {
        matches!(self.entry, Err(Unreadable::Malformed(_)))
    }

    /// Whether it is the one outcome of a turn.
    pub fn is_outcome(&self) -> bool {
        self.agent().is_some() && !matches!(self.subject.class, Class::Note | Class::In)
    }
}

/// What a client asked for, and what became of it.
#[derive(Debug)]
pub struct Operation<'a> {
    /// Its records: the call, and the answer if there was one.
    pub evidence: Vec<usize>,
    /// Who.
    pub client: &'a str,
    /// What.
    pub act: Act,
    /// In which conversation, as far as anybody said.
    pub conversation: Option<&'a str>,
    /// Its idempotency key.
    pub key: &'a str,
    /// What was said.
    pub text: &'a str,
    /// Which request it answers.
    pub request: Option<&'a str>,
    /// When it was made.
    pub at_us: u64,
    /// When it was answered, and how; nobody knows, if not.
    pub ended: Option<(u64, &'a Ended)>,
    /// After how many seconds the answer says to try again.
    pub retry_after_secs: Option<u64>,
}

impl Operation<'_> {
    /// Whether it was accepted.
    pub const fn is_accepted(&self) -> bool {
        matches!(self.ended, Some((_, Ended::Ok { .. })))
    }

    /// Whether it was refused.
    pub const fn is_refused(&self) -> bool {
        matches!(self.ended, Some((_, Ended::Fail { .. })))
    }

    /// The status that it was answered with.
    pub fn status(&self) -> Option<u16> {
        match self.ended?.1 {
            Ended::Ok { status, .. } | Ended::Fail { status, .. } => Some(*status),
            Ended::Unknown { status, .. } => *status,
        }
    }

    /// The message's id, where it has one.
    pub fn message(&self) -> Option<&str> {
        marks(self.text, "m").next()
    }
}

/// What a model was asked, and what came of it.
#[derive(Debug)]
pub struct ModelRequest<'a> {
    /// Its records: the question, and how it ended.
    pub evidence: Vec<usize>,
    /// When it was asked.
    pub at_us: u64,
    /// Which agent's model.
    pub agent: &'a str,
    /// What it was shown.
    pub messages: &'a Json,
    /// The conversation whose canary it was shown; none if there is none, or several.
    pub conversation: Option<String>,
    /// When it was over, if it was.
    pub over_us: Option<u64>,
    /// The token of its whole answer.
    pub token: Option<&'a str>,
    /// Whether the laboratory broke it off.
    pub is_cut: bool,
}

/// A call of a tool.
#[derive(Debug)]
pub struct ToolCall<'a> {
    /// Its record.
    pub record: usize,
    /// When.
    pub at_us: u64,
    /// The tool.
    pub tool: &'a str,
    /// The key it was given.
    pub key: &'a str,
    /// The epoch it was given.
    pub epoch: u64,
    /// The conversation it was given.
    pub conversation: &'a str,
    /// The arguments.
    pub arguments: &'a Json,
    /// Whether it took effect.
    pub is_effect: bool,
}

/// A client's stream, from one opening of it to the next.
#[derive(Debug)]
pub struct Stream<'a> {
    /// Who.
    pub client: &'a str,
    /// Which conversation.
    pub conversation: &'a str,
    /// Its record.
    pub record: usize,
    /// After which event it was to begin.
    pub after: Option<EventId>,
    /// What came of what is stored: the record, the id, the kind, the data.
    pub received: Vec<(usize, EventId, &'a str, &'a Json)>,
}

/// Something that the laboratory did.
#[derive(Debug)]
pub struct Fault<'a> {
    /// Its records.
    pub evidence: Vec<usize>,
    /// Its name.
    pub name: &'a str,
    /// What it hit.
    pub target: &'a str,
    /// Which conversation it was aimed at.
    pub conversation: Option<&'a str>,
    /// When it began.
    pub at_us: u64,
    /// When it was over, if that was recorded.
    pub healed_us: Option<u64>,
    /// When the broker had got over it, if that was recorded.
    pub settled_us: Option<u64>,
}

impl Fault<'_> {
    /// Whether any of it lies between two times.
    pub fn touches(&self, from_us: u64, to_us: u64) -> bool {
        self.at_us <= to_us && self.healed_us.is_none_or(|healed| healed >= from_us)
    }
}

/// A human request, as the journal has it.
#[derive(Debug)]
pub struct HumanRequest {
    /// Its id.
    pub id: EventId,
    /// What is asked.
    pub kind: RequestKind,
    /// The record of the entry that asks.
    pub asked: usize,
    /// The entries that answer it, in order.
    pub answers: Vec<usize>,
}

impl<'a> View<'a> {
    /// The recording, in order.
    pub fn new(setup: &'a Setup, records: &'a [Record]) -> Self {
        let mut view = Self {
            setup,
            records,
            copies: Vec::new(),
            journal: BTreeMap::new(),
            operations: BTreeMap::new(),
            requests: BTreeMap::new(),
            calls: Vec::new(),
            streams: Vec::new(),
            faults: Vec::new(),
            canaries: BTreeMap::new(),
            end_us: records.iter().map(|record| record.at_us).max().unwrap_or_default(),
            clock: Vec::new(),
        };
        let mut faults = BTreeMap::new();
        for (place, record) in records.iter().enumerate() {
            view.take_in(place, record, &mut faults);
        }
        view.clock.sort_unstable();
        view.order_journal();
        view.find_canaries();
        view
    }

    fn take_in(&mut self, place: usize, record: &'a Record, faults: &mut BTreeMap<u64, usize>) {
        let at_us = record.at_us;
        match &record.seen {
            Seen::Entry { .. } => self.copies.extend(line(place, &record.seen)),
            Seen::Invoked { .. } | Seen::Ended { .. } => self.take_operation(place, record),
            Seen::Asked { .. } | Seen::Answered { .. } | Seen::Aborted { .. } => self.take_request(place, record),
            Seen::Called { call: _, tool, key, epoch, conversation, arguments, is_effect } => {
                self.calls.push(ToolCall { record: place, at_us, tool, key, epoch: *epoch, conversation, arguments, is_effect: *is_effect })
            }
            Seen::Watching { client, conversation, gateway: _, after } => {
                let after = after.as_ref().and_then(|id| id.parse().ok());
                self.streams.push(Stream { client, conversation, record: place, after, received: Vec::new() });
            }
            Seen::Received { client, conversation, id: Some(id), event, data } => {
                let is_it = |stream: &&mut Stream<'_>| stream.client == client && stream.conversation == conversation;
                let stream = self.streams.iter_mut().rev().find(is_it);
                if let (Some(stream), Ok(id)) = (stream, id.parse()) {
                    stream.received.push((place, id, event, data));
                }
            }
            Seen::Struck { name, .. } if !is_fault(name) => {}
            Seen::Struck { fault, name, target, conversation } => {
                faults.insert(*fault, self.faults.len());
                let conversation = conversation.as_deref();
                self.faults.push(Fault { evidence: vec![place], name, target, conversation, at_us, healed_us: None, settled_us: None });
            }
            Seen::Healed { fault } => {
                if let Some(fault) = faults.get(fault).and_then(|place| self.faults.get_mut(*place)) {
                    fault.healed_us = Some(at_us);
                    fault.evidence.push(place);
                }
            }
            Seen::Settled { fault } => {
                if let Some(fault) = faults.get(fault).and_then(|place| self.faults.get_mut(*place)) {
                    fault.settled_us = Some(at_us);
                }
            }
            Seen::Clock { time_ms } => self.clock.push((*time_ms, at_us)),
            Seen::Received { .. } | Seen::Logged { .. } | Seen::Started { .. } | Seen::Gone { .. } | Seen::Span { .. } => {}
        }
    }

    fn take_operation(&mut self, place: usize, record: &'a Record) {
        match &record.seen {
            Seen::Invoked { op, client, act, conversation, key, text, request } => {
                let operation = Operation {
                    evidence: vec![place],
                    client,
                    act: *act,
                    conversation: conversation.as_deref(),
                    key,
                    text,
                    request: request.as_deref(),
                    at_us: record.at_us,
                    ended: None,
                    retry_after_secs: None,
                };
                self.operations.insert(*op, operation);
            }
            Seen::Ended { op, how, conversation, retry_after_secs } => {
                if let Some(operation) = self.operations.get_mut(op) {
                    operation.evidence.push(place);
                    operation.ended = Some((record.at_us, how));
                    operation.retry_after_secs = *retry_after_secs;
                    operation.conversation = operation.conversation.or(conversation.as_deref());
                }
            }
            _ => {}
        }
    }

    fn take_request(&mut self, place: usize, record: &'a Record) {
        match &record.seen {
            Seen::Asked { request, agent, messages } => {
                let asked = ModelRequest {
                    evidence: vec![place],
                    at_us: record.at_us,
                    agent,
                    messages,
                    conversation: None,
                    over_us: None,
                    token: None,
                    is_cut: false,
                };
                self.requests.insert(*request, asked);
            }
            Seen::Answered { request, token, .. } => {
                if let Some(asked) = self.requests.get_mut(request) {
                    asked.evidence.push(place);
                    asked.over_us = Some(record.at_us);
                    asked.token = Some(token.strip_prefix("[[t:").and_then(|word| word.strip_suffix("]]")).unwrap_or(token));
                }
            }
            Seen::Aborted { request, is_fault } => {
                if let Some(asked) = self.requests.get_mut(request) {
                    asked.evidence.push(place);
                    asked.over_us = Some(record.at_us);
                    asked.is_cut = *is_fault;
                }
            }
            _ => {}
        }
    }

    fn order_journal(&mut self) {
        let mut places: Vec<usize> = (0..self.copies.len()).collect();
        places.sort_by_key(|place| self.copies.get(*place).map(|line| (line.seq, line.ordinal())));
        let mut known = BTreeSet::new();
        for place in places {
            let line = &self.copies[place];
            if known.insert((line.seq, line.subject.to_string())) {
                self.journal.entry(line.subject.conversation.to_string()).or_default().push(place);
            }
        }
    }

    fn find_canaries(&mut self) {
        for operation in self.operations.values() {
            for word in marks(operation.text, "canary") {
                if let Some(conversation) = operation.conversation {
                    self.canaries.insert(word.to_owned(), conversation.to_owned());
                }
            }
        }
        // An opening that nobody answered is found by what it said.
        let mut found = Vec::new();
        for line in &self.copies {
            for text in line.events().iter().flat_map(said) {
                found.extend(marks(text, "canary").map(|word| (word.to_owned(), line.subject.conversation.to_string())));
            }
        }
        for (word, conversation) in found {
            self.canaries.entry(word).or_insert(conversation);
        }
        for request in self.requests.values_mut() {
            let text = request.messages.to_string();
            let shown: BTreeSet<&String> = marks(&text, "canary").filter_map(|word| self.canaries.get(word)).collect();
            let mut shown = shown.into_iter();
            if let (Some(conversation), None) = (shown.next(), shown.next()) {
                request.conversation = Some(conversation.clone());
            }
        }
    }

    /// The entries of a conversation, in the order of the stream; none of an unknown one. Bytes that no version writes are no
    /// entries: they have no ordinal, and nothing that they say counts.
    pub fn lines(&self, conversation: &str) -> impl DoubleEndedIterator<Item = &Line<'a>> + Clone {
        self.messages(conversation).filter(|line| !line.is_poison())
    }

    /// Bytes that no version writes, which lie where a conversation's entries do.
    pub fn poison(&self, conversation: &str) -> impl Iterator<Item = &Line<'a>> {
        self.messages(conversation).filter(|line| line.is_poison())
    }

    fn messages(&self, conversation: &str) -> impl DoubleEndedIterator<Item = &Line<'a>> + Clone {
        let places = self.journal.get(conversation).map(Vec::as_slice).unwrap_or_default();
        places.iter().filter_map(|place| self.copies.get(*place))
    }

    /// All conversations.
    pub fn conversations(&self) -> impl Iterator<Item = &str> {
        self.journal.keys().map(String::as_str)
    }

    /// Whether the broker has been told to forget what the conversation said.
    pub fn is_erased(&self, conversation: &str) -> bool {
        self.lines(conversation).any(|line| line.kind() == "erased")
            || self.lines(conversation).next().is_none_or(|line| line.ordinal() > 0)
    }

    /// Whether something of a conversation is not in the recording: nothing is concluded from what is absent in it.
    pub fn is_partly_unknown(&self, conversation: &str) -> bool {
        self.is_erased(conversation) || self.lines(conversation).any(|line| line.entry.is_err())
    }

    /// An entry as the broker stored it, where the recording has all of it.
    pub fn stored(&self, line: &Line<'a>) -> Option<Stored> {
        let payload = BASE64.decode(line.payload.as_bytes()).ok()?.into();
        let (seq, subject, headers) = (Seq(line.seq), line.subject.to_string(), without_object(&line.headers));
        Some(wire::Message { subject, headers, payload }.stored(seq, line.time_ms))
    }

    /// When the broker stored something, as the recording tells time; the clock's nearest sample decides.
    pub fn at_us(&self, time_ms: u64) -> Option<u64> {
        let after = self.clock.partition_point(|(sample, _)| *sample < time_ms);
        let near = [after.checked_sub(1), Some(after)].into_iter().flatten().filter_map(|place| self.clock.get(place));
        let (sample_ms, sample_us) = near.min_by_key(|(sample, _)| sample.abs_diff(time_ms))?;
        let apart_us = sample_ms.abs_diff(time_ms).saturating_mul(1000);
        Some(if time_ms >= *sample_ms { sample_us.saturating_add(apart_us) } else { sample_us.saturating_sub(apart_us) })
    }

    /// When an entry was stored, as the recording tells time; when it was recorded, where there is no clock.
    pub fn stored_us(&self, line: &Line<'_>) -> u64 {
        self.at_us(line.time_ms).unwrap_or_else(|| self.records.get(line.record).map_or(0, |record| record.at_us))
    }

    /// The last time at which the laboratory did anything.
    pub fn calm_us(&self) -> u64 {
        self.faults.iter().map(|fault| fault.healed_us.unwrap_or(fault.at_us)).max().unwrap_or_default()
    }

    /// Whether a fault may have kept a worker from hearing, until this time, that its conversation was over at that.
    pub fn is_deafened(&self, over_us: u64, until_us: u64) -> bool {
        /// How long it may take to be told.
        const TOLD_US: u64 = 2_000_000;
        let touches = |fault: &Fault<'_>| fault.may_deafen() && fault.touches(over_us.saturating_sub(TOLD_US), until_us);
        self.faults.iter().any(touches)
    }

    /// The definition that an entry was written under.
    pub fn definition(&self, line: &Line<'_>) -> Option<&'a Orchestration> {
        self.setup.definition(line.header(header::REVISION))
    }

    /// The human requests of a conversation, with what answered them.
    pub fn human_requests(&self, conversation: &str) -> Vec<HumanRequest> {
        let mut requests: Vec<HumanRequest> = Vec::new();
        for line in self.lines(conversation) {
            for (id, event) in line.numbered() {
                let answered = match event {
                    Event::Asked(asked) => {
                        requests.push(HumanRequest { id, kind: asked.kind, asked: line.record, answers: Vec::new() });
                        continue;
                    }
                    Event::Replied(reply) => reply.request,
                    Event::Decided(decision) => decision.request,
                    _ => continue,
                };
                // The newest of that number: where two entries have one ordinal, the order of the stream decides.
                if let Some(request) = requests.iter_mut().rev().find(|request| request.id == answered) {
                    request.answers.push(line.record);
                }
            }
        }
        requests
    }
}

/// A recorded entry, taken apart; nothing for what is no entry of a conversation.
fn line(place: usize, seen: &Seen) -> Option<Line<'_>> {
    let Seen::Entry { replica, seq, time_ms, subject, headers, payload } = seen else { return None };
    let parsed: EntrySubject = subject.parse().ok()?;
    let headers = Headers::from_pairs(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let is_elsewhere = headers.get(header::OBJECT).is_some() && payload.is_empty();
    let body = BASE64.decode(payload.as_bytes()).map_err(|error| Unreadable::Malformed(error.to_string()));
    let entry = body.and_then(|body| {
        if is_elsewhere {
            return Err(Unreadable::Elsewhere);
        }
        let message = wire::Message { subject: subject.clone(), headers: without_object(&headers), payload: body.into() };
        let stored = message.stored(Seq(*seq), *time_ms);
        match Entry::decode(&stored) {
            Ok((entry, _)) => Ok(entry),
            Err(DecodeError::Newer { .. }) => Err(Unreadable::Newer),
            Err(DecodeError::Malformed(why)) => Err(Unreadable::Malformed(why)),
        }
    });
    Some(Line { record: place, replica, seq: *seq, time_ms: *time_ms, subject: parsed, headers, payload, entry })
}

/// The claim check belongs to the message, not to the entry: a tap that has put the payload back may have left it.
fn without_object(headers: &Headers) -> Headers {
    Headers::from_pairs(headers.iter().filter(|(name, _)| *name != header::OBJECT))
}

/// What the caller's side said in an event.
pub fn said(event: &Event) -> Vec<&str> {
    match event {
        Event::Opened(opened) => opened.input.iter().map(|Message { text, .. }| text.as_str()).collect(),
        Event::Said(said) => vec![&said.text],
        Event::Replied(reply) => vec![&reply.text],
        Event::Interrupted(interrupted) => vec![&interrupted.text],
        Event::Decided(decision) => vec![&decision.note],
        _ => Vec::new(),
    }
}

/// The words of all marks `[[<kind>:<word>]]` in a text.
pub fn marks<'a>(text: &'a str, kind: &'a str) -> impl Iterator<Item = &'a str> {
    text.split("[[").skip(1).filter_map(move |rest| {
        let word = rest.strip_prefix(kind)?.strip_prefix(':')?;
        word.split_once("]]").map(|(word, _)| word)
    })
}

/// The agent that must act or be answered after each entry, by the last work item; before the first there is none.
pub fn owners<'v, 'a>(lines: impl Iterator<Item = &'v Line<'a>>) -> Vec<(&'v Line<'a>, Option<&'v AgentName>)>
where
    'a: 'v,
{
    let mut owner = None;
    let mut before = Vec::new();
    for line in lines {
        before.push((line, owner));
        if let Class::To { agent, .. } = &line.subject.class {
            owner = Some(agent);
        }
    }
    before
}

/// Whether an entry was written by the caller's side.
pub const fn is_callers(line: &Line<'_>) -> bool {
    matches!(line.subject.from, Writer::Client | Writer::Gateway)
}
