//! What measuring takes of a broker and running does not: when entries were stored, to the nanosecond and by the broker's own clock; which
//! conversations stop; what is asked of JetStream, and by whom; and a loop beside which Baton can be held. Nothing here writes into a
//! conversation.

mod raw;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::Message;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::{self, Context};
use futures::StreamExt;
use futures::stream::BoxStream;
use protocol::ids::{OrchestrationName, Seq};
use protocol::subject::{self, EntrySubject};

use super::Nats;
use super::message::header_bytes;

pub use raw::{Load, Raw};

const SIZE: &str = "Nats-Msg-Size";

/// Something could not be measured, in the words of whoever failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot be measured: {0}")]
pub struct MeasureError(String);

impl MeasureError {
    fn of(why: impl Into<async_nats::Error>) -> Self {
        Self(why.into().to_string())
    }
}

/// A stored message, as its headers and its place in the stream tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number in the stream.
    pub seq: Seq,
    /// Where it lies.
    pub subject: String,
    /// When the broker began to store it: nanoseconds since the Unix epoch, by the broker's clock.
    pub time_ns: u64,
    /// Bytes of its headers on the wire.
    pub header_bytes: usize,
    /// Bytes of its payload.
    pub payload_bytes: usize,
}

/// What a process has asked of JetStream's API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Orders for deliveries of an agent's work.
    pub pulls: u64,
    /// Reads of stored messages.
    pub reads: u64,
    /// Anything else.
    pub others: u64,
}

/// Counts what is asked, by process, for as long as it is kept.
#[derive(Debug)]
pub struct Tap {
    asked: Arc<Mutex<BTreeMap<String, Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Tap {
    /// What has been asked since it began, by the process that asked.
    pub fn asked(&self) -> BTreeMap<String, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Nats {
    /// The entries of an orchestration behind `after`, in order, up to what is its last one now.
    ///
    /// # Errors
    /// That the broker cannot be read.
    pub async fn kept(&self, orchestration: &OrchestrationName, after: Seq) -> Result<Vec<Kept>, MeasureError> {
        kept(&self.jetstream(), &subject::stream(orchestration), after).await
    }

    /// The last sequence of an orchestration's stream.
    ///
    /// # Errors
    /// That the broker cannot be read.
    pub async fn last_seq(&self, orchestration: &OrchestrationName) -> Result<Seq, MeasureError> {
        last_seq(&self.jetstream(), &subject::stream(orchestration)).await
    }

    /// The questions to people and the ends of conversations, from now on: few entries, so that watching a load costs nothing per handoff.
    ///
    /// # Errors
    /// That the broker cannot be read.
    pub async fn pauses(&self, orchestration: &OrchestrationName) -> Result<BoxStream<'static, EntrySubject>, MeasureError> {
        let entries = format!("baton.{orchestration}.c.*.*");
        let config = OrderedConfig {
            filter_subjects: vec![format!("{entries}.ask.>"), format!("{entries}.end.>")],
            deliver_policy: DeliverPolicy::New,
            headers_only: true,
            ..OrderedConfig::default()
        };
        let messages = ordered(&self.jetstream(), &subject::stream(orchestration), config).await?;
        Ok(messages.filter_map(async |message| message.ok()?.subject.parse().ok()).boxed())
    }

    fn jetstream(&self) -> Context {
        jetstream::new(self.link.client.clone())
    }

    /// Begins to count what is asked of JetStream. It hears of each request once more than the broker, and of nothing else.
    ///
    /// # Errors
    /// That this login may not listen there.
    pub async fn tap(&self) -> Result<Tap, MeasureError> {
        let mut requests = self.link.client.subscribe("$JS.API.>").await.map_err(MeasureError::of)?;
        self.link.client.flush().await.map_err(MeasureError::of)?;
        let asked = Arc::<Mutex<BTreeMap<String, Asked>>>::default();
        let counts = asked.clone();
        let task = tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                count(&mut counts.lock().unwrap_or_else(PoisonError::into_inner), &request);
            }
        });
        Ok(Tap { asked, task })
    }
}

/// A question names its asker by where the answer goes.
fn count(counts: &mut BTreeMap<String, Asked>, request: &Message) {
    let inbox = request.reply.as_deref().and_then(|reply| reply.strip_prefix("_INBOX_"));
    let asker = inbox.and_then(|inbox| inbox.split('.').next()).unwrap_or_default();
    let verb = request.subject.strip_prefix("$JS.API.").unwrap_or_default();
    let is_read = ["DIRECT.GET", "STREAM.MSG.GET", "STREAM.INFO", "CONSUMER.INFO"].iter().any(|read| verb.starts_with(read));
    let asked = counts.entry(asker.to_owned()).or_default();
    match verb.strip_prefix("CONSUMER.MSG.NEXT.") {
        Some(_) => asked.pulls += 1,
        None if is_read => asked.reads += 1,
        None => asked.others += 1,
    }
}

async fn ordered(jetstream: &Context, stream: &str, config: OrderedConfig) -> Result<Ordered, MeasureError> {
    let stream = jetstream.get_stream_no_info(stream).await.map_err(MeasureError::of)?;
    let consumer = stream.create_consumer(config).await.map_err(MeasureError::of)?;
    consumer.messages().await.map_err(MeasureError::of)
}

async fn last_seq(jetstream: &Context, stream: &str) -> Result<Seq, MeasureError> {
    let stream = jetstream.get_stream(stream).await.map_err(MeasureError::of)?;
    Ok(Seq(stream.cached_info().state.last_sequence))
}

async fn kept(jetstream: &Context, stream: &str, after: Seq) -> Result<Vec<Kept>, MeasureError> {
    let last = last_seq(jetstream, stream).await?;
    let mut kept = Vec::new();
    if last <= after {
        return Ok(kept);
    }
    let deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: after.0 + 1 };
    let mut messages = ordered(jetstream, stream, OrderedConfig { deliver_policy, headers_only: true, ..OrderedConfig::default() }).await?;
    while let Some(message) = messages.next().await {
        let message = message.map_err(MeasureError::of)?;
        let info = message.info().map_err(MeasureError::of)?;
        let headers = message.headers.clone().unwrap_or_default();
        // The broker puts the payload's size among the headers of those who get no payload.
        let size = headers.get(SIZE).map_or("", |size| size.as_str());
        let size_line = if size.is_empty() { 0 } else { SIZE.len() + size.len() + ": \r\n".len() };
        kept.push(Kept {
            seq: Seq(info.stream_sequence),
            subject: message.subject.to_string(),
            time_ns: u64::try_from(info.published.unix_timestamp_nanos()).unwrap_or_default(),
            header_bytes: header_bytes(&headers).saturating_sub(size_line),
            payload_bytes: size.parse().unwrap_or_default(),
        });
        if kept.last().is_some_and(|message| message.seq >= last) {
            break;
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(subject: &str, reply: &str) -> Message {
        let (subject, reply) = (subject.into(), Some(reply.into()));
        Message { subject, reply, payload: bytes::Bytes::new(), headers: None, status: None, description: None, length: 0 }
    }

    #[test]
    fn a_request_counts_for_the_process_that_asked() {
        let mut counts = BTreeMap::new();
        for (subject, reply) in [
            ("$JS.API.CONSUMER.MSG.NEXT.baton-bench.agent-ping", "_INBOX_worker-1.AbC.1"),
            ("$JS.API.DIRECT.GET.baton-bench", "_INBOX_worker-1.AbC.2"),
            ("$JS.API.STREAM.MSG.GET.baton-bench", "_INBOX_worker-2.AbC.1"),
            ("$JS.API.CONSUMER.CREATE.baton-bench", "_INBOX_worker-2.AbC.2"),
        ] {
            count(&mut counts, &request(subject, reply));
        }
        let worker = |pulls, reads, others| Asked { pulls, reads, others };
        let expected = [("worker-1", worker(1, 1, 0)), ("worker-2", worker(0, 1, 1))];
        assert_eq!(counts, expected.map(|(name, asked)| (name.to_owned(), asked)).into());
    }
}
