//! Values in a key-value bucket (as `nats kv` shows it), objects, dead letters, purging, the broker's clock.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID, NATS_MESSAGE_TTL};
use async_trait::async_trait;
use bytes::Bytes;
use protocol::ids::{AgentName, ConversationId, OrchestrationName, Seq, Writer};
use protocol::subject;
use protocol::wire::Stored;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::time::sleep;

use super::Nats;
use super::append::Verdict;
use super::inspect::broker_ms;
use super::message::{header_bytes, outgoing};
use super::objects::{Place, bounded};
use super::read::ordinal;
use super::request::{Failure, Link, TRY_AT_MOST, code};
use super::things::{MESSAGE_BYTES_MAX, bucket_stream, dead_stream, tick_stream};
use crate::{ConsumerState, Expect, Store, StoreError, Value};

/// The header by which a bucket marks a key as deleted.
const OPERATION: &str = "KV-Operation";

/// A mark needs to outlive only the request that makes it: the key is purged right after.
const MARK_SECS: &str = "1";

/// A leader may still be settling the write before: 1, 2, 4 … ms.
const SETTLE_DOUBLINGS: u32 = 8;

#[async_trait]
impl Store for Nats {
    async fn value(&self, orchestration: &OrchestrationName, key: &str) -> Result<Option<Value>, StoreError> {
        let key = Key::new(orchestration, key)?;
        let found = self.link.last_value(&key).await?;
        Ok(found.filter(|found| !is_mark(found)).map(|found| Value { bytes: found.payload, revision: found.seq.0 }))
    }

    async fn put_value(
        &self,
        orchestration: &OrchestrationName,
        key: &str,
        bytes: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Result<u64, StoreError> {
        let key = Key::new(orchestration, key)?;
        let mut headers = HeaderMap::new();
        if let Some(ttl) = ttl {
            headers.insert(NATS_MESSAGE_TTL, whole_secs(ttl).to_string());
        }
        self.link.write(&key, &headers, bytes, expect).await
    }

    async fn delete_value(&self, orchestration: &OrchestrationName, key: &str, expect: Expect) -> Result<(), StoreError> {
        let key = Key::new(orchestration, key)?;
        if expect == Expect::Absent {
            let found = self.link.last_value(&key).await?;
            return if found.is_none_or(|found| is_mark(&found)) { Ok(()) } else { Err(key.conflict()) };
        }
        // The mark is what compare-and-set can be asked of; purging it leaves no trace of the key.
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, "DEL");
        headers.insert(NATS_MESSAGE_TTL, MARK_SECS);
        let mark = self.link.write(&key, &headers, Bytes::new(), expect).await?;
        Ok(self.link.purge(&key.stream, &key.subject, mark + 1).await?)
    }

    async fn keys(&self, orchestration: &OrchestrationName, prefix: &str) -> Result<Vec<String>, StoreError> {
        let stream = bucket_stream(orchestration);
        let root = Key::root(orchestration);
        let subjects = missing_stream(self.link.subjects(&stream, &format!("{root}>")).await, &stream)?;
        let names = subjects.iter().filter_map(|subject| subject.strip_prefix(&root));
        let mut names: Vec<_> = names.filter(|key| key.starts_with(prefix)).map(str::to_owned).collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn put_object(&self, orchestration: &OrchestrationName, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        bounded(self.link.put_object(&Place::new(orchestration, name)?, &bytes)).await
    }

    async fn object(&self, orchestration: &OrchestrationName, name: &str) -> Result<Option<Bytes>, StoreError> {
        bounded(self.link.object(&Place::new(orchestration, name)?, usize::MAX)).await
    }

    async fn delete_object(&self, orchestration: &OrchestrationName, name: &str) -> Result<(), StoreError> {
        bounded(self.link.delete_object(&Place::new(orchestration, name)?)).await
    }

    async fn dead_letter(
        &self,
        orchestration: &OrchestrationName,
        agent: &AgentName,
        entry: &Stored,
        reason: &str,
    ) -> Result<(), StoreError> {
        let stream = dead_stream(orchestration);
        let mut headers = outgoing(&entry.headers)?;
        headers.insert("Baton-Dead-Subject", entry.subject.replace(['\r', '\n'], " "));
        headers.insert("Baton-Dead-Seq", entry.seq.to_string());
        headers.insert("Baton-Dead-Reason", reason.replace(['\r', '\n'], " ").chars().take(1024).collect::<String>());
        // The same entry may be given up twice, by two workers; the broker keeps one of both.
        headers.insert(NATS_MESSAGE_ID, format!("{}", entry.seq));
        let limit = self.link.client.max_payload().min(MESSAGE_BYTES_MAX);
        // What filled a message alone does not fit with the reason added. It is still in the journal.
        let fits = header_bytes(&headers) + entry.payload.len() <= limit;
        let payload = if fits { entry.payload.clone() } else { Bytes::new() };
        let to = subject::dead(orchestration, agent);
        self.link.store(&stream, &to, headers, payload).await.map(drop)
    }

    async fn consumer_state(&self, orchestration: &OrchestrationName, agent: &AgentName) -> Result<Option<ConsumerState>, StoreError> {
        #[derive(Deserialize)]
        struct Info {
            delivered: Position,
            ack_floor: Position,
            num_ack_pending: u64,
            num_pending: u64,
            ts: String,
        }
        #[derive(Deserialize)]
        struct Position {
            stream_seq: Seq,
        }
        let (stream, consumer) = (subject::stream(orchestration), subject::consumer(agent));
        match self.link.api::<Info>(&format!("CONSUMER.INFO.{stream}.{consumer}"), &json!({})).await {
            Ok(info) => Ok(Some(ConsumerState {
                delivered: info.delivered.stream_seq,
                ack_floor: info.ack_floor.stream_seq,
                ack_pending: info.num_ack_pending,
                pending: info.num_pending,
                now_ms: broker_ms(&info.ts).ok_or_else(|| StoreError::Refused(format!("{:?} is no time", info.ts)))?,
            })),
            Err(failure) if failure.is(code::CONSUMER_NOT_FOUND) => Ok(None),
            failed => missing_stream(failed, &stream).map(|_| None),
        }
    }

    async fn last_seq(&self, orchestration: &OrchestrationName) -> Result<Seq, StoreError> {
        let stream = subject::stream(orchestration);
        Ok(missing_stream(self.link.stream_info(&stream).await, &stream)?.state.last_seq)
    }

    async fn next_end(&self, orchestration: &OrchestrationName, by: Option<&Writer>, after: Seq) -> Result<Option<Stored>, StoreError> {
        let (stream, ends) = (subject::stream(orchestration), subject::ends(orchestration, by));
        missing_stream(self.link.next_from_leader(&stream, &ends, Seq(after.0 + 1)).await, &stream)
    }

    async fn purge(&self, orchestration: &OrchestrationName, conversation: &ConversationId, below: Seq) -> Result<(), StoreError> {
        let stream = subject::stream(orchestration);
        // For the broker, 0 is "everything".
        if below.0 == 0 {
            return Ok(());
        }
        let fence = subject::fence(orchestration, conversation);
        // The payloads first: what is interrupted between the two is found again by whoever purges again.
        let first_kept = async || {
            let kept = self.link.next_from_leader(&stream, &fence, below).await?;
            Ok(kept.map(|kept| ordinal(&kept).unwrap_or(0)))
        };
        self.link.purge_claims(orchestration, conversation, first_kept).await?;
        missing_stream(self.link.purge(&stream, &fence, below.0).await, &stream)
    }

    async fn tick(&self, orchestration: &OrchestrationName) -> Result<u64, StoreError> {
        let (stream, subject) = (tick_stream(orchestration), subject::tick(orchestration));
        let seq = self.link.store(&stream, &subject, HeaderMap::new(), Bytes::new()).await?;
        // An acknowledgement bears no time. The leader has this tick, or another coordinator's that came after it.
        let tick = self.link.last_from_leader(&stream, &subject).await?.filter(|tick| tick.seq >= seq);
        tick.map(|tick| tick.time_ms).ok_or_else(|| StoreError::Unavailable("the tick was not kept".to_owned()))
    }
}

/// A key of a bucket, checked: nothing else becomes part of a subject.
struct Key {
    name: String,
    stream: String,
    subject: String,
}

impl Key {
    fn new(orchestration: &OrchestrationName, key: &str) -> Result<Self, StoreError> {
        let is_char = |c: char| c.is_ascii_alphanumeric() || "-_=/.".contains(c);
        let is_key = !key.is_empty() && key.chars().all(is_char) && !key.split('.').any(str::is_empty);
        if !is_key {
            return Err(StoreError::Refused(format!("{key:?} is no key: use A-Z, a-z, 0-9 and '-', '_', '=', '/', with dots between")));
        }
        let subject = format!("{}{key}", Self::root(orchestration));
        Ok(Self { name: key.to_owned(), stream: bucket_stream(orchestration), subject })
    }

    fn root(orchestration: &OrchestrationName) -> String {
        format!("$KV.{}.", subject::bucket(orchestration))
    }

    fn conflict(&self) -> StoreError {
        StoreError::Conflict { key: self.name.clone() }
    }
}

impl Link {
    /// The last thing written under a key, mark or value. The leader's word: a lease must not be read from a replica.
    async fn last_value(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        missing_stream(self.last_from_leader(&key.stream, &key.subject).await, &key.stream)
    }

    /// Writes under a key if what is there is as expected.
    async fn write(&self, key: &Key, headers: &HeaderMap, bytes: Bytes, expect: Expect) -> Result<u64, StoreError> {
        let mut expected = match expect {
            Expect::Any => None,
            Expect::Absent => Some(Seq(0)),
            Expect::Revision(revision) => Some(Seq(revision)),
        };
        let mut unsettled = 0;
        loop {
            let mut headers = headers.clone();
            if let Some(expected) = expected {
                headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
            }
            match self.publish_to(&key.stream, &key.subject, headers, bytes.clone(), expected.unwrap_or_default()).await? {
                Verdict::Stored(seq) => return Ok(seq.0),
                Verdict::Above(_) if expect == Expect::Absent && unsettled < SETTLE_DOUBLINGS => {
                    // A mark counts as absent, and is replaced.
                    let found = self.last_value(key).await?;
                    if found.as_ref().is_some_and(|found| !is_mark(found)) {
                        return Err(key.conflict());
                    }
                    expected = Some(found.map_or(Seq(0), |mark| mark.seq));
                    unsettled += 1;
                }
                Verdict::Above(_) => return Err(key.conflict()),
                // Below what is expected, and it stays so: the value is gone.
                Verdict::Unsettled if unsettled == SETTLE_DOUBLINGS => return Err(key.conflict()),
                Verdict::Unsettled => {
                    sleep(Duration::from_millis(1 << unsettled)).await;
                    unsettled += 1;
                }
                other => return stored(other).map(|seq| seq.0),
            }
        }
    }

    /// Stores a message that nothing is expected of.
    pub(super) async fn store(&self, stream: &str, subject: &str, headers: HeaderMap, bytes: Bytes) -> Result<Seq, StoreError> {
        stored(self.publish_to(stream, subject, headers, bytes, Seq(0)).await?)
    }

    /// One publish to a stream that has to be there.
    async fn publish_to(
        &self,
        stream: &str,
        subject: &str,
        headers: HeaderMap,
        bytes: Bytes,
        expected: Seq,
    ) -> Result<Verdict, StoreError> {
        let verdict = self.publish(subject, headers, bytes, TRY_AT_MOST, expected).await;
        if matches!(verdict, Verdict::Untaken(_)) {
            if self.has_no_stream(stream).await {
                return Err(StoreError::Missing(stream.to_owned()));
            }
            self.is_missed();
        }
        Ok(verdict)
    }

    /// The subjects under a filter that a stream has messages of.
    pub(super) async fn subjects(&self, stream: &str, filter: &str) -> Result<Vec<String>, Failure> {
        let mut subjects: Vec<String> = Vec::new();
        loop {
            let question = json!({ "subjects_filter": filter, "offset": subjects.len() });
            let info: Json = self.api(&format!("STREAM.INFO.{stream}"), &question).await?;
            let page = info.pointer("/state/subjects").and_then(Json::as_object).into_iter().flatten();
            let before = subjects.len();
            subjects.extend(page.map(|(subject, _)| subject.clone()));
            let total = info.get("total").and_then(Json::as_u64).unwrap_or(0);
            if subjects.len() == before || subjects.len() as u64 >= total {
                return Ok(subjects);
            }
        }
    }

    /// Deletes what a filter matches below a sequence; below 0, all of it.
    pub(super) async fn purge(&self, stream: &str, filter: &str, below: u64) -> Result<(), Failure> {
        self.api::<Json>(&format!("STREAM.PURGE.{stream}"), &json!({ "filter": filter, "seq": below })).await.map(drop)
    }
}

fn stored(verdict: Verdict) -> Result<Seq, StoreError> {
    match verdict {
        Verdict::Stored(seq) => Ok(seq),
        Verdict::Untaken(why) | Verdict::NotNow(why) => Err(StoreError::Unavailable(why)),
        Verdict::Refused(refusal) => Err(refusal.into()),
        Verdict::TooLarge => Err(StoreError::Refused("it is larger than the broker takes".to_owned())),
        Verdict::Above(_) | Verdict::Unsettled => Err(StoreError::Refused("the broker expected another sequence".to_owned())),
    }
}

/// A failure of a stream's, where "there is no stream" is said as such.
pub(super) fn missing_stream<T>(result: Result<T, Failure>, stream: &str) -> Result<T, StoreError> {
    result.map_err(|failure| if failure.is(code::STREAM_NOT_FOUND) { StoreError::Missing(stream.to_owned()) } else { failure.into() })
}

fn is_mark(found: &Stored) -> bool {
    found.headers.get(OPERATION).is_some()
}

/// The broker counts lifetimes in whole seconds, from one on.
fn whole_secs(ttl: Duration) -> u64 {
    (ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)).max(1)
}
