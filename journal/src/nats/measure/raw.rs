//! The raw loop: what any durable handoff costs at least. Two clients take deliveries, answer each with one fenced publish that is the other's
//! next delivery, and ack. The same stream settings, fence, consumers and sizes as Baton's; no model, no fold, nobody else who listens.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, AckKind, stream};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use protocol::ids::Seq;
use tokio::sync::mpsc;

use super::{Kept, MeasureError, kept, last_seq};
use crate::nats::append::fencing;
use crate::nats::message::header_bytes;
use crate::nats::pull::EXPIRES;

const STREAM: &str = "raw";
const AGENTS: [&str; 2] = ["ping", "pong"];
/// Deliveries that may be in flight, as Baton's consumers have it.
const ACK_PENDING_MAX: i64 = 100_000;

/// Openings under way at once: a hundred thousand would wait for one another longer than any of them is waited for.
const OPENINGS_AT_ONCE: usize = 64;

/// For an answer of the broker.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Conversations at once.
    pub conversations: usize,
    /// Handoffs of each.
    pub handoffs: usize,
    /// Bytes of each message's headers, the fence's among them.
    pub header_bytes: usize,
    /// Bytes of each message's payload.
    pub payload_bytes: usize,
    /// Deliveries that each agent works on at once.
    pub slots: usize,
}

/// A connection for each of the two agents, and what they need at the broker.
#[derive(Debug)]
pub struct Raw {
    agents: [Agent; 2],
    /// Distinguishes the conversations of one run from those of the one before.
    runs: AtomicUsize,
}

#[derive(Debug)]
struct Agent {
    jetstream: jetstream::Context,
    consumer: PullConsumer,
}

/// What one delivery led to.
struct Step {
    delivery_ns: u64,
    ended: bool,
}

impl Raw {
    /// Connects, and makes a stream and consumers with the settings of Baton's.
    ///
    /// # Errors
    /// That the broker does not let it.
    pub async fn open(url: &str) -> Result<Self, MeasureError> {
        let [ping, pong] = AGENTS;
        Ok(Self { agents: [Agent::open(url, ping).await?, Agent::open(url, pong).await?], runs: AtomicUsize::default() })
    }

    /// The last sequence of its stream.
    ///
    /// # Errors
    /// That the broker cannot be read.
    pub async fn last_seq(&self) -> Result<Seq, MeasureError> {
        let [first, _] = &self.agents;
        last_seq(&first.jetstream, STREAM).await
    }

    /// Its messages behind `after`, in order.
    ///
    /// # Errors
    /// That the broker cannot be read.
    pub async fn kept(&self, after: Seq) -> Result<Vec<Kept>, MeasureError> {
        let [first, _] = &self.agents;
        kept(&first.jetstream, STREAM, after).await
    }

    /// Plays a load to its end. For each delivery, the nanoseconds from when its message was stored, by the broker's clock, to when it was at
    /// hand, by this process's.
    ///
    /// # Errors
    /// That the broker fails it.
    pub async fn play(&self, load: &Load) -> Result<Vec<u64>, MeasureError> {
        let [first, second] = &self.agents;
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let (sender, mut steps) = mpsc::unbounded_channel();
        let taking = futures::future::try_join(first.take(load, 1, sender.clone()), second.take(load, 0, sender));
        let all = async {
            let openings = futures::stream::iter((0..load.conversations).map(|n| first.publish(load, format!("{run}x{n}"), 0, Seq(0), 0)));
            openings.buffer_unordered(OPENINGS_AT_ONCE).try_collect::<Vec<()>>().await?;
            let (mut deliveries_ns, mut ended) = (Vec::new(), 0);
            while ended < load.conversations {
                let step: Step = steps.recv().await.ok_or_else(|| MeasureError::of("the raw loop has stopped"))?;
                deliveries_ns.push(step.delivery_ns);
                ended += usize::from(step.ended);
            }
            Ok(deliveries_ns)
        };
        tokio::select! {
            deliveries_ns = all => deliveries_ns,
            stopped = taking => Err(stopped.err().unwrap_or_else(|| MeasureError::of("the raw loop's deliveries have stopped"))),
        }
    }
}

impl Agent {
    async fn open(url: &str, name: &str) -> Result<Self, MeasureError> {
        let client = async_nats::ConnectOptions::new().name(format!("raw-{name}")).connect(url).await.map_err(MeasureError::of)?;
        let config = stream::Config {
            name: STREAM.to_owned(),
            subjects: vec![format!("{STREAM}.c.>")],
            discard: stream::DiscardPolicy::New,
            max_message_size: i32::try_from(crate::nats::things::MESSAGE_BYTES_MAX).unwrap_or(i32::MAX),
            allow_direct: true,
            deny_delete: true,
            ..stream::Config::default()
        };
        let mut jetstream = jetstream::new(client);
        // A disk may stall for as long as it likes: nothing is published twice.
        jetstream.set_timeout(PATIENCE);
        let stream = jetstream.get_or_create_stream(config).await.map_err(MeasureError::of)?;
        let config = pull::Config {
            durable_name: Some(name.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(4),
            max_ack_pending: ACK_PENDING_MAX,
            filter_subject: format!("{STREAM}.c.*.*.to.{name}.>"),
            ..pull::Config::default()
        };
        let consumer = stream.get_or_create_consumer(name, config).await.map_err(MeasureError::of)?;
        Ok(Self { jetstream, consumer })
    }

    /// Works on deliveries until nobody hears of it any more; `next` is the agent who gets what it publishes.
    async fn take(&self, load: &Load, next: usize, steps: mpsc::UnboundedSender<Step>) -> Result<(), MeasureError> {
        let messages = self.consumer.stream().max_messages_per_batch(load.slots).expires(EXPIRES).messages();
        let messages = messages.await.map_err(MeasureError::of)?;
        let mut taken = messages.map(|message| self.step(load, next, message)).buffer_unordered(load.slots);
        while let Some(step) = taken.next().await {
            if let Some(step) = step?
                && steps.send(step).is_err()
            {
                break;
            }
        }
        Ok(())
    }

    /// Hands one delivery on. What is delivered again is in hand already, or done: a disk stalled for longer than the ack wait.
    async fn step(
        &self,
        load: &Load,
        next: usize,
        message: Result<jetstream::Message, pull::MessagesError>,
    ) -> Result<Option<Step>, MeasureError> {
        let message = message.map_err(MeasureError::of)?;
        let now_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_nanos());
        let info = message.info().map_err(MeasureError::of)?;
        if info.delivered > 1 {
            return Ok(None);
        }
        let delivery_ns = now_ns.saturating_sub(u128::try_from(info.published.unix_timestamp_nanos()).unwrap_or_default());
        let mut tokens = message.subject.split('.').skip(2);
        let (conversation, ordinal) = (tokens.next().unwrap_or_default().to_owned(), tokens.next().and_then(|token| token.parse().ok()));
        let ordinal: usize = ordinal.ok_or_else(|| MeasureError::of("a message of somebody else"))?;
        let ended = ordinal >= load.handoffs;
        if !ended {
            self.publish(load, conversation, ordinal + 1, Seq(info.stream_sequence), next).await?;
        }
        message.ack_with(AckKind::Ack).await.map_err(MeasureError::of)?;
        Ok(Some(Step { delivery_ns: u64::try_from(delivery_ns).unwrap_or(u64::MAX), ended }))
    }

    /// One fenced publish, and the broker's word that it is stored.
    async fn publish(&self, load: &Load, conversation: String, ordinal: usize, expected: Seq, to: usize) -> Result<(), MeasureError> {
        let mut headers = HeaderMap::new();
        fencing(&mut headers, expected, &format!("{STREAM}.c.{conversation}.>"));
        let filler = load.header_bytes.saturating_sub(header_bytes(&headers) + "Raw: \r\n".len());
        headers.insert("Raw", "x".repeat(filler).as_str());
        let [ping, pong] = AGENTS;
        let (agent, from) = if to == 0 { (ping, pong) } else { (pong, ping) };
        let subject = format!("{STREAM}.c.{conversation}.{ordinal}.to.{agent}.0123456789ab.{from}");
        let payload = Bytes::from(vec![b'x'; load.payload_bytes]);
        let stored = self.jetstream.publish_with_headers(subject, headers, payload).await.map_err(MeasureError::of)?;
        stored.await.map(drop).map_err(MeasureError::of)
    }
}
