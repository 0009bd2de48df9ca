//! A row in few bytes: a million people may be waited for. Most of what a row says is said by many others too, word for word,
//! and is held once; its own are an id and a dozen numbers.

use std::borrow::Cow;
use std::sync::Arc;

use protocol::brief::Brief;
use protocol::ids::{ConversationId, Ordinal, RequestId, Revision, Seq};
use serde::{Deserialize, Serialize};

use super::row::Row;

/// Stands where a request's own id was.
const NO_REQUEST: RequestId = RequestId { ordinal: 0, index: 0 };

/// What conversations have in common that are alike but for when and how often: the brief is without its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Common {
    pub(super) brief: Brief,
    kind: Cow<'static, str>,
    revision: Revision,
    is_damaged: bool,
}

/// What is a conversation's own, but for what lists are sorted by. In MessagePack without names.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Own {
    ordinal: Ordinal,
    epoch: Seq,
    item: Seq,
    turn_ms: u64,
    opened_ms: u64,
    not_before_ms: Option<u64>,
    traceparent: Option<String>,
    turn: Ordinal,
    attempts: u32,
    handoffs: u32,
    user_turns: u32,
    continuations: u32,
    model_calls: u32,
    open_calls: u32,
    wait_secs: Option<u64>,
    stretches: u32,
    snapshot_size: usize,
    /// Each open request's id, and by when it must be answered.
    requests: Vec<(RequestId, Option<u64>)>,
}

/// A row as it is kept and stored. Cloning it shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    pub(super) common: Arc<Common>,
    /// When its last entry was stored and as what, eight bytes each, the id's length in one byte, the id, and the rest: see [`Parts`].
    own: Arc<[u8]>,
}

/// The bytes of a row, taken apart.
struct Parts<'a> {
    last_ms: u64,
    seq: Seq,
    id: &'a str,
    own: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (last_ms, bytes) = bytes.split_first_chunk()?;
        let (seq, bytes) = bytes.split_first_chunk()?;
        let (length, bytes) = bytes.split_first()?;
        let (id, own) = bytes.split_at_checked(usize::from(*length))?;
        let (last_ms, seq) = (u64::from_be_bytes(*last_ms), Seq(u64::from_be_bytes(*seq)));
        Some(Self { last_ms, seq, id: std::str::from_utf8(id).ok()?, own })
    }
}

impl Packed {
    pub(super) fn new(row: &Row) -> Self {
        let due_ms = |id: RequestId| row.due.iter().find(|(due, _)| *due == id).map(|(_, due_ms)| *due_ms);
        let mut brief = row.brief.clone();
        let own = Own {
            ordinal: row.ordinal,
            epoch: row.epoch,
            item: row.item,
            turn_ms: row.turn_ms,
            opened_ms: row.opened_ms,
            not_before_ms: row.not_before_ms,
            traceparent: row.traceparent.clone(),
            turn: std::mem::take(&mut brief.turn),
            attempts: std::mem::take(&mut brief.attempts),
            handoffs: std::mem::take(&mut brief.handoffs),
            user_turns: std::mem::take(&mut brief.user_turns),
            continuations: std::mem::take(&mut brief.continuations),
            model_calls: std::mem::take(&mut brief.model_calls),
            open_calls: std::mem::take(&mut brief.open_calls),
            wait_secs: brief.wait_secs.take(),
            stretches: row.stretches,
            snapshot_size: row.snapshot_size,
            requests: brief
                .requests
                .iter_mut()
                .map(|request| std::mem::replace(&mut request.id, NO_REQUEST))
                .map(|id| (id, due_ms(id)))
                .collect(),
        };
        let id = row.conversation.as_str().as_bytes();
        let mut bytes = Vec::with_capacity(192);
        bytes.extend_from_slice(&row.last_ms.to_be_bytes());
        bytes.extend_from_slice(&row.seq.0.to_be_bytes());
        // An id is of 64 bytes at most, and memory takes whatever is written to it.
        bytes.push(u8::try_from(id.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(id);
        let _ = own.serialize(&mut rmp_serde::Serializer::new(&mut bytes));
        let (kind, revision) = (row.kind.clone(), row.revision.clone());
        Self { common: Arc::new(Common { brief, kind, revision, is_damaged: row.is_damaged }), own: bytes.into() }
    }

    /// From what [`Self::parts`] gave; none where that is damaged.
    pub(crate) fn from_parts(common: Arc<Common>, own: &[u8]) -> Option<Self> {
        let packed = Self { common, own: own.into() };
        let is_whole = packed.id().parse::<ConversationId>().is_ok() && packed.own()?.requests.len() == packed.brief().requests.len();
        is_whole.then_some(packed)
    }

    pub(crate) const fn parts(&self) -> (&Arc<Common>, &Arc<[u8]>) {
        (&self.common, &self.own)
    }

    fn own(&self) -> Option<Own> {
        rmp_serde::from_slice(Parts::of(&self.own)?.own).ok()
    }

    /// Which conversation's.
    pub(super) fn id(&self) -> &str {
        Parts::of(&self.own).map_or("", |parts| parts.id)
    }

    /// Its state in brief, but for the numbers in it.
    pub fn brief(&self) -> &Brief {
        &self.common.brief
    }

    /// When its last entry was stored, and as what.
    pub fn last(&self) -> (u64, Seq) {
        Parts::of(&self.own).map_or_else(Default::default, |parts| (parts.last_ms, parts.seq))
    }

    /// All that was packed: always there, since nothing else is made than what can be read.
    pub fn row(&self) -> Option<Row> {
        let Parts { last_ms, seq, id, .. } = Parts::of(&self.own)?;
        let own = self.own()?;
        let Common { mut brief, kind, revision, is_damaged } = Common::clone(&self.common);
        if own.requests.len() != brief.requests.len() {
            return None;
        }
        for (request, (id, _)) in brief.requests.iter_mut().zip(&own.requests) {
            request.id = *id;
        }
        brief.turn = own.turn;
        brief.attempts = own.attempts;
        brief.handoffs = own.handoffs;
        brief.user_turns = own.user_turns;
        brief.continuations = own.continuations;
        brief.model_calls = own.model_calls;
        brief.open_calls = own.open_calls;
        brief.wait_secs = own.wait_secs;
        Some(Row {
            conversation: id.parse().ok()?,
            brief,
            ordinal: own.ordinal,
            seq,
            epoch: own.epoch,
            item: own.item,
            turn_ms: own.turn_ms,
            last_ms,
            opened_ms: own.opened_ms,
            not_before_ms: own.not_before_ms,
            due: own.requests.iter().filter_map(|(id, due_ms)| Some((*id, (*due_ms)?))).collect(),
            kind,
            revision,
            traceparent: own.traceparent,
            is_damaged,
            stretches: own.stretches,
            snapshot_size: own.snapshot_size,
        })
    }
}
