//! Objects: what is too large for a message, as `nats object` and every NATS client know it.
//!
//! An object is its chunks, under `$O.<bucket>.C.<nuid>`, and a description that names them, under `$O.<bucket>.M.<name>`.
//! The description is written last and read first: an object is there whole or not at all. All of it is asked of the
//! leader, as values are: what was just put must not be missing on a replica that lags. (async-nats's own object store
//! reads from any replica, and makes of a full disk and of silence the same text.)

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_ROLLUP;
use async_nats::jetstream::object_store::{ObjectInfo, ObjectOptions};
use bytes::{Bytes, BytesMut};
use data_encoding::BASE64URL;
use protocol::ids::{OrchestrationName, Seq};
use protocol::subject;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use uuid::Uuid;

use super::request::Link;
use super::store::missing_stream;
use super::things::object_stream;
use crate::StoreError;
use crate::store::check_object_name;

/// The chunks that NATS clients make, where the broker takes messages of that size.
const CHUNK_BYTES: usize = 128 * 1024;

/// How long all the requests that one object takes may last together.
const OBJECT_AT_MOST: Duration = Duration::from_secs(30);

/// An object's place, its name checked.
#[derive(Debug)]
pub(super) struct Place {
    name: String,
    bucket: String,
    stream: String,
    /// Whether its chunks' subject begins with its name.
    is_under_its_name: bool,
}

impl Place {
    pub(super) fn new(orchestration: &OrchestrationName, name: &str) -> Result<Self, StoreError> {
        check_object_name(name)?;
        let (bucket, stream) = (subject::bucket(orchestration), object_stream(orchestration));
        Ok(Self { name: name.to_owned(), bucket, stream, is_under_its_name: false })
    }

    /// The place of an object whose name is tokens of a subject: what is put there can be found by their beginning. To
    /// whoever reads it, it is an object like any other.
    pub(super) fn under_its_name(orchestration: &OrchestrationName, name: &str) -> Result<Self, StoreError> {
        Ok(Self { is_under_its_name: true, ..Self::new(orchestration, name)? })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The subject of its description. Encoded, any name is one token.
    pub(super) fn description(&self) -> String {
        format!("$O.{}.M.{}", self.bucket, BASE64URL.encode(self.name.as_bytes()))
    }

    /// The subject of all its chunks, in order.
    fn chunks(&self, nuid: &str) -> String {
        format!("$O.{}.C.{nuid}", self.bucket)
    }

    fn new_nuid(&self) -> String {
        let unique = Uuid::new_v4().simple();
        if self.is_under_its_name { format!("{}.{unique}", self.name) } else { unique.to_string() }
    }

    fn describe(&self, bytes: &Bytes, chunk_bytes: usize) -> ObjectInfo {
        ObjectInfo {
            name: self.name.clone(),
            description: None,
            metadata: HashMap::new(),
            headers: None,
            options: Some(ObjectOptions { link: None, max_chunk_size: Some(chunk_bytes) }),
            bucket: self.bucket.clone(),
            nuid: self.new_nuid(),
            size: bytes.len(),
            chunks: bytes.len().div_ceil(chunk_bytes),
            modified: Some(async_nats::datetime::now()),
            digest: Some(digest(bytes)),
            deleted: false,
        }
    }
}

/// A message that takes the place of all before it under its subject.
fn replacing() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_ROLLUP, "sub");
    headers
}

fn digest(bytes: &[u8]) -> String {
    format!("SHA-256={}", BASE64URL.encode(&Sha256::digest(bytes)))
}

/// Each request has its own limit; an object takes many.
pub(super) async fn bounded<T>(act: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_| Err(StoreError::Unavailable(format!("the object is not through within {OBJECT_AT_MOST:?}")));
    timeout(OBJECT_AT_MOST, act).await.unwrap_or_else(late)
}

impl Link {
    pub(super) async fn put_object(&self, place: &Place, bytes: &Bytes) -> Result<(), StoreError> {
        let chunk_bytes = CHUNK_BYTES.min(self.client.max_payload()).max(1);
        let info = place.describe(bytes, chunk_bytes);
        let written = self.write_object(place, &info, bytes, chunk_bytes).await;
        let stale = match &written {
            Ok(replaced) => replaced.as_ref().map(|replaced| &replaced.nuid),
            // It may be there, and then it needs its chunks.
            Err(StoreError::Unavailable(_)) => None,
            Err(_) => Some(&info.nuid),
        };
        if let Some(nuid) = stale
            && let Err(failure) = self.purge(&place.stream, &place.chunks(nuid), 0).await
        {
            tracing::warn!("chunks that nobody reads any more are left in {}: {failure}", place.stream);
        }
        written.map(drop)
    }

    /// Whether an object is there with these bytes, as far as its description says.
    pub(super) async fn has_object(&self, place: &Place, bytes: &Bytes) -> Result<bool, StoreError> {
        let found = self.described(place).await?.filter(|info| !info.deleted && info.size == bytes.len());
        Ok(found.is_some_and(|info| info.digest == Some(digest(bytes))))
    }

    /// An object of at most `bytes_max` bytes; a larger one is damaged.
    pub(super) async fn object(&self, place: &Place, bytes_max: usize) -> Result<Option<Bytes>, StoreError> {
        let mut broken = None;
        loop {
            let Some(info) = self.described(place).await?.filter(|info| !info.deleted) else { return Ok(None) };
            if info.size <= bytes_max
                && let Some(bytes) = self.read_object(place, &info).await?
            {
                return Ok(Some(bytes));
            }
            // If it was replaced or deleted while it was read, there is another description now.
            if broken.as_ref() == Some(&info.nuid) {
                return Err(StoreError::Damaged { name: place.name.clone() });
            }
            broken = Some(info.nuid);
        }
    }

    /// The mark that replaces the description names the chunks until they are gone: whoever is interrupted can begin
    /// again. In the end no trace of the name is left.
    pub(super) async fn delete_object(&self, place: &Place) -> Result<(), StoreError> {
        let Some(info) = self.described(place).await? else { return Ok(()) };
        let chunks = place.chunks(&info.nuid);
        let mark = self.write_description(place, &ObjectInfo { size: 0, chunks: 0, deleted: true, ..info }).await?;
        self.purge(&place.stream, &chunks, 0).await?;
        Ok(self.purge(&place.stream, &place.description(), mark.0 + 1).await?)
    }

    /// Makes an object unreadable and frees its bytes by nothing but what whoever puts objects may do: to purge is to delete
    /// others' too. The mark, and an empty chunk, stay until somebody deletes or purges them.
    pub(super) async fn discard_object(&self, place: &Place) -> Result<(), StoreError> {
        let Some(info) = self.described(place).await?.filter(|info| !info.deleted) else { return Ok(()) };
        let chunks = place.chunks(&info.nuid);
        self.write_description(place, &ObjectInfo { size: 0, chunks: 0, deleted: true, ..info }).await?;
        self.store(&place.stream, &chunks, replacing(), Bytes::new()).await.map(drop)
    }

    /// Writes the chunks and then the description; the description that it replaced.
    async fn write_object(
        &self,
        place: &Place,
        info: &ObjectInfo,
        bytes: &Bytes,
        chunk_bytes: usize,
    ) -> Result<Option<ObjectInfo>, StoreError> {
        let subject = place.chunks(&info.nuid);
        for chunk in bytes.chunks(chunk_bytes) {
            self.store(&place.stream, &subject, HeaderMap::new(), bytes.slice_ref(chunk)).await?;
        }
        let replaced = self.described(place).await?;
        self.write_description(place, info).await?;
        Ok(replaced)
    }

    async fn write_description(&self, place: &Place, info: &ObjectInfo) -> Result<Seq, StoreError> {
        let json = serde_json::to_vec(info).map_err(|error| StoreError::Refused(error.to_string()))?;
        self.store(&place.stream, &place.description(), replacing(), json.into()).await
    }

    async fn described(&self, place: &Place) -> Result<Option<ObjectInfo>, StoreError> {
        let found = missing_stream(self.last_from_leader(&place.stream, &place.description()).await, &place.stream)?;
        let parse = |found: &[u8]| serde_json::from_slice(found).map_err(|_| StoreError::Damaged { name: place.name.clone() });
        found.map(|found| parse(&found.payload)).transpose()
    }

    /// The bytes that were described; none where what is found is something else.
    async fn read_object(&self, place: &Place, info: &ObjectInfo) -> Result<Option<Bytes>, StoreError> {
        let subject = place.chunks(&info.nuid);
        let (mut bytes, mut from) = (BytesMut::new(), Seq(0));
        for _ in 0..info.chunks {
            let Some(chunk) = self.next_from_leader(&place.stream, &subject, from).await? else { return Ok(None) };
            bytes.extend_from_slice(&chunk.payload);
            from = Seq(chunk.seq.0 + 1);
            if bytes.len() > info.size {
                return Ok(None);
            }
        }
        let is_whole = info.digest.as_ref() == Some(&digest(&bytes));
        Ok(is_whole.then(|| bytes.freeze()))
    }
}
