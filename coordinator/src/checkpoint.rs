//! The ledger as it is stored, so that a coordinator need not read the whole stream when it starts. Never needed: without
//! one, or with one of another version, the stream is read from its first entry on.
//!
//! Two slots are written in turn, chunk by chunk and the head last: whoever is interrupted leaves the other slot whole.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use journal::{Expect, Store, StoreError};
use protocol::ids::{ConversationId, OrchestrationName, Seq};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ledger::{Common, Packed};

/// The version that this program writes, and the only one it reads: an unknown one costs time, not correctness.
const VERSION: u32 = 2;
/// A chunk is full beyond this; with its last row it stays below 512 KiB, since a head's headers are bounded.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that are read at once.
const READ_AT_ONCE: usize = 4;
/// Nesting beyond this is refused.
const DEPTH_MAX: usize = 32;

/// How far a coordinator had come: what is stored beside the open conversations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// The last sequence that its ledger held.
    pub seq: Seq,
    /// The first entry it passed over because a newer version may read it.
    pub unread: Option<Seq>,
    /// The newest end.
    pub ended: Seq,
    /// The newest tombstone of an erased conversation.
    pub erased: Seq,
    /// Tombstones of conversations that may not have been purged yet.
    pub unpurged: Vec<(Seq, ConversationId)>,
    /// Up to where what has ended and what was erased has been cleared away.
    pub cleared: (Seq, Seq),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    version: u32,
    chunks: u32,
    #[serde(flatten)]
    place: Place,
}

#[derive(Debug, Serialize, Deserialize)]
struct Chunk {
    seq: Seq,
    /// What rows have in common.
    commons: Vec<Bytes>,
    /// Each with the place of what it has in common with others.
    rows: Vec<(usize, Bytes)>,
}

/// Why a checkpoint was not stored.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The broker did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be written down.
    #[error("the ledger cannot be written down: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

fn head_key(slot: u8) -> String {
    format!("checkpoint.{slot}")
}

fn chunk_key(slot: u8, chunk: u32) -> String {
    format!("checkpoint.{slot}.{chunk}")
}

/// The newest whole checkpoint; none when there is none that this version can read.
///
/// # Errors
/// [`StoreError`] when the broker could not be asked.
pub async fn load(store: &(impl Store + ?Sized), name: &OrchestrationName) -> Result<Option<(Place, Vec<Packed>)>, StoreError> {
    let mut heads = Vec::new();
    for slot in 0..2 {
        heads.extend(head(store, name, slot).await?.map(|head| (slot, head)));
    }
    heads.sort_by_key(|(_, head)| head.place.seq);
    while let Some((slot, Head { place, chunks, .. })) = heads.pop() {
        if let Some(rows) = rows(store, name, slot, place.seq, chunks).await? {
            return Ok(Some((place, rows)));
        }
        tracing::warn!(orchestration = %name, slot, "a checkpoint is not whole: it is passed over");
    }
    Ok(None)
}

async fn head(store: &(impl Store + ?Sized), name: &OrchestrationName, slot: u8) -> Result<Option<Head>, StoreError> {
    let value = store.value(name, &head_key(slot)).await?;
    Ok(value.and_then(|value| decode::<Head>(&value.bytes)).filter(|head| head.version == VERSION))
}

async fn rows(
    store: &(impl Store + ?Sized),
    name: &OrchestrationName,
    slot: u8,
    seq: Seq,
    chunks: u32,
) -> Result<Option<Vec<Packed>>, StoreError> {
    let chunk = async |chunk| store.value(name, &chunk_key(slot, chunk)).await;
    let mut values = pin!(stream::iter(0..chunks).map(chunk).buffered(READ_AT_ONCE));
    let mut rows = Vec::new();
    while let Some(value) = values.next().await {
        let chunk = value?.and_then(|value| decode::<Chunk>(&value.bytes)).filter(|chunk| chunk.seq == seq);
        let Some(unpacked) = chunk.and_then(|chunk| chunk.unpack()) else { return Ok(None) };
        rows.extend(unpacked);
    }
    Ok(Some(rows))
}

impl Chunk {
    /// Its rows; none when any cannot be read.
    fn unpack(&self) -> Option<Vec<Packed>> {
        let commons = self.commons.iter().map(|common| decode::<Common>(common).map(Arc::new)).collect::<Option<Vec<_>>>()?;
        self.rows.iter().map(|(common, own)| Packed::from_parts(Arc::clone(commons.get(*common)?), own)).collect()
    }
}

/// Stores the open conversations as of a place, instead of the older of the two checkpoints.
///
/// # Errors
/// [`CheckpointError`]; the newer one then still stands.
pub async fn store(
    store: &(impl Store + ?Sized),
    name: &OrchestrationName,
    place: Place,
    rows: Vec<Packed>,
) -> Result<(), CheckpointError> {
    let (first, second) = (head(store, name, 0).await?, head(store, name, 1).await?);
    let slot = u8::from(second.map(|head| head.place.seq) < first.map(|head| head.place.seq));
    let mut chunks = 0;
    let mut rest = rows.into_iter();
    while let Some(chunk) = next_chunk(place.seq, &mut rest)? {
        store.put_value(name, &chunk_key(slot, chunks), chunk, Expect::Any, None).await?;
        chunks += 1;
    }
    let head = rmp_serde::to_vec_named(&Head { version: VERSION, place, chunks })?;
    store.put_value(name, &head_key(slot), head.into(), Expect::Any, None).await?;
    forget_chunks(store, name, slot, chunks).await?;
    Ok(())
}

/// Deletes what is left of a longer checkpoint.
async fn forget_chunks(store: &(impl Store + ?Sized), name: &OrchestrationName, slot: u8, from: u32) -> Result<(), StoreError> {
    let prefix = format!("{}.", head_key(slot));
    for key in store.keys(name, &prefix).await? {
        let chunk = key.strip_prefix(&prefix).and_then(|chunk| chunk.parse::<u32>().ok());
        if chunk.is_some_and(|chunk| chunk >= from) {
            store.delete_value(name, &key, Expect::Any).await?;
        }
    }
    Ok(())
}

/// As many rows as fill a chunk: one at a time, so that a large ledger is never held twice.
fn next_chunk(seq: Seq, rest: &mut impl Iterator<Item = Packed>) -> Result<Option<Bytes>, rmp_serde::encode::Error> {
    let mut chunk = Chunk { seq, commons: Vec::new(), rows: Vec::new() };
    let (mut places, mut bytes) = (HashMap::new(), 0);
    for packed in rest {
        let (common, own) = packed.parts();
        let place = match places.get(common) {
            Some(place) => *place,
            None => {
                let encoded = Bytes::from(rmp_serde::to_vec_named(&**common)?);
                bytes += encoded.len();
                chunk.commons.push(encoded);
                places.insert(Arc::clone(common), chunk.commons.len() - 1);
                chunk.commons.len() - 1
            }
        };
        bytes += own.len();
        chunk.rows.push((place, Bytes::copy_from_slice(own)));
        if bytes >= CHUNK_BYTES {
            break;
        }
    }
    if chunk.rows.is_empty() { Ok(None) } else { Ok(Some(rmp_serde::to_vec_named(&chunk)?.into())) }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut decoder = rmp_serde::Deserializer::new(bytes);
    decoder.set_max_depth(DEPTH_MAX);
    T::deserialize(&mut decoder).ok()
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
