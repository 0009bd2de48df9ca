//! The same contract in memory: for tests, and for simulations in which everything that can go wrong does.
//!
//! A [`Memory`] behaves as nats-server does, on tokio's clock (a paused one makes hours pass in no time), and keeps the
//! same suite of promises. Faults are drawn from one seed; on a current-thread runtime with a paused clock the same
//! program with the same seed runs the same way every time.

mod bus;
mod consumer;
mod faults;
mod follow;
mod log;
mod provision;
mod store;
mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use protocol::conversation::Prepared;
use protocol::ids::{AgentName, ConversationId, OrchestrationName, Ordinal, Seq};
use protocol::subject::{self, NotAnEntry};
use protocol::wire::{Message, Stored};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::bus::Subscription;
use self::consumer::Consumer;
use self::faults::Chance;
use self::log::Log;
use self::store::Bucket;
use crate::{Append, Connection, Follow, FollowError, Journal, ReadError, Refusal, WorkError, WorkSource};

pub use self::faults::{Fault, Faults};

/// When a memory broker's clock begins: 2026-01-01, in milliseconds since the Unix epoch.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// A connection to a broker in memory. Clones share the connection; [`Memory::client`] makes another one.
#[derive(Clone, Debug)]
pub struct Memory {
    broker: Arc<Broker>,
    link: Link,
}

type Link = Arc<watch::Sender<Connection>>;

#[derive(Debug)]
struct Broker {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    streams: BTreeMap<OrchestrationName, Stream>,
    subscriptions: Vec<Subscription>,
    chance: Chance,
    last_id: u64,
    requests: u64,
    message_bytes_max: usize,
}

/// What one orchestration has.
#[derive(Debug)]
struct Stream {
    log: Log,
    replicas: usize,
    appended: Arc<Notify>,
    consumers: BTreeMap<AgentName, Consumer>,
    bucket: Bucket,
    dead: Vec<DeadLetter>,
}

/// An entry nobody could use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Whose work item it was.
    pub agent: AgentName,
    /// The entry.
    pub entry: Stored,
    /// Why nobody could use it.
    pub reason: String,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// A broker with which nothing goes wrong, and a connection to it.
    pub fn new() -> Self {
        Self::with_faults(0, Faults::default())
    }

    /// A broker with which things go wrong as `seed` has it.
    pub fn with_faults(seed: u64, faults: Faults) -> Self {
        let state = State {
            streams: BTreeMap::new(),
            subscriptions: Vec::new(),
            chance: Chance::new(seed, faults),
            last_id: 0,
            requests: 0,
            message_bytes_max: log::MESSAGE_BYTES_MAX,
        };
        let broker = Arc::new(Broker { started: Instant::now(), state: Mutex::new(state) });
        Self { broker, link: connected() }
    }

    /// The same broker with another limit for a message, headers included, in the streams that are provisioned from now on:
    /// what is larger is kept as an object. It is nats-server's default, a mebibyte, unless this says otherwise.
    #[must_use]
    pub fn with_message_bytes_max(self, bytes_max: usize) -> Self {
        self.lock().message_bytes_max = bytes_max;
        self
    }

    /// Another connection to the same broker: that of another process.
    #[must_use]
    pub fn client(&self) -> Self {
        Self { broker: Arc::clone(&self.broker), link: connected() }
    }

    /// Cuts this connection: appends are unknown, requests unanswered, what is said is lost, and work and entries wait.
    pub fn disconnect(&self) {
        self.link.send_modify(|link| link.is_up = false);
    }

    /// Makes the connection again.
    pub fn reconnect(&self) {
        self.link.send_modify(|link| *link = Connection { is_up: true, generation: link.generation + 1 });
    }

    /// From now on other things go wrong, or nothing any more.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().chance.set_faults(faults);
    }

    /// How often each fault has struck.
    pub fn faults_injected(&self) -> BTreeMap<Fault, u64> {
        self.lock().chance.injected().clone()
    }

    /// Everything in an orchestration's stream, in order: for those who check afterwards.
    pub fn stored(&self, orchestration: &OrchestrationName) -> Vec<Stored> {
        self.with_stream(orchestration, |stream, _| stream.log.all().map(|stored| stream.log.redeem_or_raw(stored)).collect())
            .unwrap_or_default()
    }

    /// How often anything but an append has been asked for: what somebody's work costs the broker.
    pub fn requests(&self) -> u64 {
        self.lock().requests
    }

    /// The sequence of the last entry in an orchestration's stream, which is 0 before the first.
    pub fn last_seq(&self, orchestration: &OrchestrationName) -> Seq {
        self.with_stream(orchestration, |stream, _| stream.log.last()).unwrap_or_default()
    }

    /// An orchestration's dead letters, in order.
    pub fn dead_letters(&self, orchestration: &OrchestrationName) -> Vec<DeadLetter> {
        self.with_stream(orchestration, |stream, _| stream.dead.clone()).unwrap_or_default()
    }

    /// Stores whatever `message` is, unfenced, as somebody with a broken or newer program would.
    ///
    /// # Errors
    /// [`NotAnEntry`] where the subject is not one of the orchestration's stream.
    pub fn inject(&self, message: Message) -> Result<Append, NotAnEntry> {
        let subject: subject::EntrySubject = message.subject.parse()?;
        let now_ms = self.now_ms();
        let append = self.with_stream(&subject.orchestration.clone(), |stream, chance| {
            let append = stream.log.store(subject, message, now_ms);
            stream.woken(chance);
            append
        });
        Ok(append.unwrap_or_else(|| Append::Refused(Refusal::Other("there is no such stream".to_owned()))))
    }

    /// Deletes an agent's consumer, as a mistaken operator would, whatever the faults; whether there was one. Provisioning
    /// creates it anew, and it then delivers from the oldest work item on, counted as for the first time.
    pub fn delete_consumer(&self, orchestration: &OrchestrationName, agent: &AgentName) -> bool {
        let deleted = self.with_stream(orchestration, |stream, _| stream.consumers.remove(agent)).flatten();
        if let Some(consumer) = &deleted {
            consumer.changed.notify_waiters();
        }
        deleted.is_some()
    }

    /// The broker's clock, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        let since = self.broker.started.elapsed().as_millis();
        EPOCH_MS + u64::try_from(since).unwrap_or(u64::MAX - EPOCH_MS)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.broker.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_stream<T>(&self, orchestration: &OrchestrationName, act: impl FnOnce(&mut Stream, &mut Chance) -> T) -> Option<T> {
        let mut state = self.lock();
        let State { streams, chance, .. } = &mut *state;
        streams.get_mut(orchestration).map(|stream| act(stream, chance))
    }

    fn is_up(&self) -> bool {
        self.link.borrow().is_up
    }

    /// Waits until the connection is there.
    async fn up(&self) {
        // The sender is this value's own: it cannot be gone.
        let _ = self.link.subscribe().wait_for(|link| link.is_up).await;
    }

    /// A request other than an append on its way to the broker.
    async fn request(&self) -> Result<(), String> {
        let (latency, is_lost) = {
            let mut state = self.lock();
            state.requests += 1;
            (state.chance.latency(), state.chance.strikes(Fault::Unavailable))
        };
        pause(latency).await;
        if is_lost || !self.is_up() { Err("the request timed out".to_owned()) } else { Ok(()) }
    }

    fn publish(&self, prepared: &Prepared) -> Append {
        let now_ms = self.now_ms();
        let append = self.with_stream(&prepared.subject().orchestration, |stream, chance| {
            let append = stream.log.append(prepared, now_ms);
            stream.woken(chance);
            append
        });
        append.unwrap_or_else(|| {
            let stream = subject::stream(&prepared.subject().orchestration);
            Append::Refused(Refusal::Other(format!("there is no stream {stream}")))
        })
    }

    /// What the network makes of one append.
    fn fate(&self) -> Fate {
        let chance = &mut self.lock().chance;
        if !self.is_up() {
            Fate::Unknown
        } else if chance.strikes(Fault::AppendLate) {
            Fate::Late(chance.delay())
        } else if chance.strikes(Fault::AppendLost) {
            if chance.strikes(Fault::ResendLost) { Fate::Unknown } else { Fate::Resent(chance.delay()) }
        } else if chance.strikes(Fault::AcknowledgementLost) {
            if chance.strikes(Fault::ResendLost) { Fate::StoredUnknown } else { Fate::StoredResent(chance.delay()) }
        } else if chance.strikes(Fault::AcknowledgementLate) {
            Fate::StoredLate(chance.delay())
        } else {
            Fate::Stored
        }
    }
}

/// What becomes of one append on its way.
enum Fate {
    Stored,
    StoredLate(Duration),
    StoredResent(Duration),
    StoredUnknown,
    Resent(Duration),
    Late(Duration),
    Unknown,
}

impl Stream {
    /// Wakes all who wait for entries.
    fn woken(&mut self, chance: &mut Chance) {
        self.appended.notify_waiters();
        for consumer in self.consumers.values_mut() {
            consumer.pump(&self.log, Instant::now(), chance);
        }
    }
}

fn connected() -> Link {
    Arc::new(watch::Sender::new(Connection { is_up: true, generation: 1 }))
}

async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

#[async_trait]
impl Journal for Memory {
    async fn append(&self, prepared: &Prepared) -> Append {
        let latency = self.lock().chance.latency();
        pause(latency).await;
        let unknown = || Append::Unknown("the publish timed out".to_owned());
        match self.fate() {
            Fate::Stored => self.publish(prepared),
            Fate::StoredLate(delay) => {
                let append = self.publish(prepared);
                pause(delay).await;
                append
            }
            Fate::StoredResent(delay) => {
                // Nobody hears the first answer; the resend finds the entry at its own ordinal.
                let _ = self.publish(prepared);
                pause(delay).await;
                self.publish(prepared)
            }
            Fate::StoredUnknown => {
                let _ = self.publish(prepared);
                unknown()
            }
            Fate::Resent(delay) => {
                pause(delay).await;
                self.publish(prepared)
            }
            Fate::Late(delay) => {
                let (broker, prepared) = (self.clone(), prepared.clone());
                tokio::spawn(async move {
                    pause(delay).await;
                    // Its writer has given up on this one: the outcome is nobody's.
                    let _ = broker.publish(&prepared);
                });
                unknown()
            }
            Fate::Unknown => unknown(),
        }
    }

    async fn tail(&self, orchestration: &OrchestrationName, conversation: &ConversationId) -> Result<Option<Stored>, ReadError> {
        self.request().await.map_err(ReadError::Unavailable)?;
        self.with_stream(orchestration, |stream, chance| {
            let lag = if chance.strikes(Fault::ReadStale) { 1 + chance.below(3) } else { 0 };
            stream.log.entries(conversation).rev().nth(lag).map(|stored| stream.log.redeem(stored)).transpose()
        })
        .unwrap_or_else(|| Err(no_stream(orchestration)))
    }

    async fn at(
        &self,
        orchestration: &OrchestrationName,
        conversation: &ConversationId,
        ordinal: Ordinal,
    ) -> Result<Option<Stored>, ReadError> {
        self.request().await.map_err(ReadError::Unavailable)?;
        self.with_stream(orchestration, |Stream { log, .. }, _| log.at(conversation, ordinal).map(|stored| log.redeem(stored)).transpose())
            .unwrap_or_else(|| Err(no_stream(orchestration)))
    }

    async fn sealed(
        &self,
        orchestration: &OrchestrationName,
        conversation: &ConversationId,
        ordinals: &[Ordinal],
    ) -> Result<Vec<Stored>, ReadError> {
        self.request().await.map_err(ReadError::Unavailable)?;
        let incomplete = |missing| ReadError::Incomplete { conversation: conversation.clone(), missing };
        self.with_stream(orchestration, |stream, chance| {
            if let Some(missing) = ordinals.last().filter(|_| chance.strikes(Fault::ReadStale)) {
                return Err(incomplete(*missing));
            }
            let entry = |n: &Ordinal| stream.log.at(conversation, *n).ok_or_else(|| incomplete(*n));
            ordinals.iter().map(|n| stream.log.redeem(entry(n)?)).collect()
        })
        .unwrap_or_else(|| Err(no_stream(orchestration)))
    }

    async fn messages(&self, orchestration: &OrchestrationName, conversation: &ConversationId) -> Result<Vec<Stored>, ReadError> {
        self.request().await.map_err(ReadError::Unavailable)?;
        self.with_stream(orchestration, |Stream { log, .. }, _| log.entries(conversation).map(|stored| log.redeem_or_raw(stored)).collect())
            .ok_or_else(|| no_stream(orchestration))
    }

    async fn work(&self, orchestration: &OrchestrationName, agent: &AgentName) -> Result<Box<dyn WorkSource>, WorkError> {
        self.request().await.map_err(WorkError::Unavailable)?;
        work::source(self, orchestration, agent)
    }

    async fn follow(
        &self,
        orchestration: &OrchestrationName,
        follow: Follow,
    ) -> Result<BoxStream<'static, Result<Stored, FollowError>>, FollowError> {
        self.request().await.map_err(FollowError::Unavailable)?;
        follow::entries(self, orchestration, follow)
    }
}

fn no_stream(orchestration: &OrchestrationName) -> ReadError {
    ReadError::Refused(format!("there is no stream {}", subject::stream(orchestration)))
}
