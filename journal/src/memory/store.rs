//! Small values, objects, dead letters, purging, the clock.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::ids::{AgentName, ConversationId, OrchestrationName, Seq, Writer};
use protocol::subject;
use protocol::wire::Stored;
use tokio::time::Instant;

use super::faults::{Chance, Fault};
use super::{DeadLetter, Memory, Stream};
use crate::store::check_object_name;
use crate::{ConsumerState, Expect, Store, StoreError, Value};

/// An orchestration's values. Revisions count every write and deletion in it, as the sequence of a stream does.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    values: BTreeMap<String, (Value, Option<Instant>)>,
    last_revision: u64,
}

impl Bucket {
    fn forget_expired(&mut self) {
        let now = Instant::now();
        self.values.retain(|_, (_, expires)| expires.is_none_or(|expires| expires > now));
    }

    fn check(&mut self, key: &str, expect: Expect) -> Result<(), StoreError> {
        // The broker's rule for keys.
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-/_=.".contains(c);
        if key.split('.').any(str::is_empty) || !key.chars().all(is_allowed) {
            return Err(StoreError::Refused(format!("{key:?} is not a key")));
        }
        self.forget_expired();
        let found = self.values.get(key).map(|(value, _)| value.revision);
        let is_expected = match expect {
            Expect::Any => true,
            Expect::Absent => found.is_none(),
            Expect::Revision(revision) => found == Some(revision),
        };
        if is_expected { Ok(()) } else { Err(StoreError::Conflict { key: key.to_owned() }) }
    }

    fn put(&mut self, key: &str, bytes: Bytes, expect: Expect, ttl: Option<Duration>) -> Result<u64, StoreError> {
        self.check(key, expect)?;
        self.last_revision += 1;
        let revision = self.last_revision;
        // The broker counts in whole seconds.
        let expires = ttl.map(|ttl| Instant::now() + Duration::from_secs(ttl.as_millis().div_ceil(1000).max(1) as u64));
        self.values.insert(key.to_owned(), (Value { bytes, revision }, expires));
        Ok(revision)
    }

    fn delete(&mut self, key: &str, expect: Expect) -> Result<(), StoreError> {
        self.check(key, expect)?;
        self.last_revision += 1;
        self.values.remove(key);
        Ok(())
    }
}

impl Memory {
    /// A request that is carried out where there is a stream. Lost on its way to or from the broker it is unavailable,
    /// and whoever asked cannot tell the two apart.
    async fn ask_stream<T: Send>(
        &self,
        orchestration: &OrchestrationName,
        act: impl FnOnce(&mut Stream, &mut Chance) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        self.request().await.map_err(StoreError::Unavailable)?;
        let (answer, is_lost) = self
            .with_stream(orchestration, |stream, chance| (act(stream, chance), chance.strikes(Fault::Unavailable)))
            .ok_or_else(|| StoreError::Missing(subject::stream(orchestration)))?;
        if is_lost { Err(StoreError::Unavailable("the answer is lost".to_owned())) } else { answer }
    }
}

#[async_trait]
impl Store for Memory {
    async fn value(&self, orchestration: &OrchestrationName, key: &str) -> Result<Option<Value>, StoreError> {
        let read = |stream: &mut Stream, _: &mut Chance| {
            stream.bucket.check(key, Expect::Any)?;
            Ok(stream.bucket.values.get(key).map(|(value, _)| value.clone()))
        };
        self.ask_stream(orchestration, read).await
    }

    async fn put_value(
        &self,
        orchestration: &OrchestrationName,
        key: &str,
        bytes: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Result<u64, StoreError> {
        self.ask_stream(orchestration, |stream, _| stream.bucket.put(key, bytes, expect, ttl)).await
    }

    async fn delete_value(&self, orchestration: &OrchestrationName, key: &str, expect: Expect) -> Result<(), StoreError> {
        self.ask_stream(orchestration, |stream, _| stream.bucket.delete(key, expect)).await
    }

    async fn keys(&self, orchestration: &OrchestrationName, prefix: &str) -> Result<Vec<String>, StoreError> {
        let read = |stream: &mut Stream, _: &mut Chance| {
            stream.bucket.forget_expired();
            Ok(stream.bucket.values.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
        };
        self.ask_stream(orchestration, read).await
    }

    async fn put_object(&self, orchestration: &OrchestrationName, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        check_object_name(name)?;
        let put = |stream: &mut Stream, _: &mut Chance| {
            stream.log.objects.insert(name.to_owned(), bytes);
            Ok(())
        };
        self.ask_stream(orchestration, put).await
    }

    async fn object(&self, orchestration: &OrchestrationName, name: &str) -> Result<Option<Bytes>, StoreError> {
        check_object_name(name)?;
        self.ask_stream(orchestration, |stream, _| Ok(stream.log.objects.get(name).cloned())).await
    }

    async fn delete_object(&self, orchestration: &OrchestrationName, name: &str) -> Result<(), StoreError> {
        check_object_name(name)?;
        let delete = |stream: &mut Stream, _: &mut Chance| {
            stream.log.objects.remove(name);
            Ok(())
        };
        self.ask_stream(orchestration, delete).await
    }

    async fn dead_letter(
        &self,
        orchestration: &OrchestrationName,
        agent: &AgentName,
        entry: &Stored,
        reason: &str,
    ) -> Result<(), StoreError> {
        let letter = DeadLetter { agent: agent.clone(), entry: entry.clone(), reason: reason.to_owned() };
        let keep = |stream: &mut Stream, _: &mut Chance| {
            // Two workers may give the same entry up.
            if stream.dead.iter().all(|dead| dead.entry.seq != letter.entry.seq) {
                stream.dead.push(letter);
            }
            Ok(())
        };
        self.ask_stream(orchestration, keep).await
    }

    async fn consumer_state(&self, orchestration: &OrchestrationName, agent: &AgentName) -> Result<Option<ConsumerState>, StoreError> {
        let now_ms = self.now_ms();
        let read = |stream: &mut Stream, chance: &mut Chance| {
            let Stream { log, consumers, .. } = stream;
            Ok(consumers.get_mut(agent).map(|consumer| {
                consumer.pump(log, Instant::now(), chance);
                ConsumerState { now_ms, ..consumer.state(log) }
            }))
        };
        self.ask_stream(orchestration, read).await
    }

    async fn last_seq(&self, orchestration: &OrchestrationName) -> Result<Seq, StoreError> {
        self.ask_stream(orchestration, |stream, _| Ok(stream.log.last())).await
    }

    async fn next_end(&self, orchestration: &OrchestrationName, by: Option<&Writer>, after: Seq) -> Result<Option<Stored>, StoreError> {
        self.ask_stream(orchestration, |stream, _| Ok(stream.log.next_end(by, after).cloned())).await
    }

    async fn purge(&self, orchestration: &OrchestrationName, conversation: &ConversationId, below: Seq) -> Result<(), StoreError> {
        let purge = |stream: &mut Stream, _: &mut Chance| {
            stream.log.purge(conversation, below);
            for consumer in stream.consumers.values_mut() {
                consumer.purged(&stream.log);
            }
            Ok(())
        };
        self.ask_stream(orchestration, purge).await
    }

    async fn tick(&self, orchestration: &OrchestrationName) -> Result<u64, StoreError> {
        self.ask_stream(orchestration, |_, _| Ok(self.now_ms())).await
    }
}
