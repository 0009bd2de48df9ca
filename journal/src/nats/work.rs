//! Work items from an agent's consumer.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, SystemTime};

use async_nats::Message;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use protocol::ids::{AgentName, OrchestrationName};
use protocol::subject;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::message::delivered;
use super::pull::{Pull, Pulled, Void};
use super::request::{Link, SharedLink, code};
use crate::claim::claimed;
use crate::{ReadError, Settle, WorkError, WorkItem, WorkSource};

/// How long a slot that became free waits for others: many slots then cost one order. A turn of a model takes a
/// thousand times as long; only items that take no time at all come together like this.
const COALESCE: Duration = Duration::from_millis(2);

/// After an order that came to nothing.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How often the broker is told, while an item's payload is fetched, that the item is alive: what a worker does later.
const EXTEND_EACH: Duration = Duration::from_secs(1);

/// Before an item whose payload cannot be fetched is offered again, to whoever can.
const OFFER_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// The work items of one agent.
pub(super) async fn work(
    link: &SharedLink,
    orchestration: &OrchestrationName,
    agent: &AgentName,
) -> Result<Box<dyn WorkSource>, WorkError> {
    let (stream, consumer) = (subject::stream(orchestration), subject::consumer(agent));
    let ack_wait = ack_wait(link, &stream, &consumer).await?;
    let pull = Pull::new(link, &stream, &consumer).await?;
    let ages = Ages { ack_wait_ms: i64::try_from(ack_wait.as_millis()).unwrap_or(i64::MAX), freshest_ms: None };
    Ok(Box::new(Source {
        link: link.clone(),
        orchestration: orchestration.clone(),
        stream,
        consumer,
        pull,
        kept: VecDeque::new(),
        redeeming: FuturesUnordered::new(),
        unredeemed: Vec::new(),
        orders: Orders::default(),
        ages,
        trouble: None,
    }))
}

/// The consumer's ack wait; asked once, and again only when orders come to nothing: it tells whether there is a consumer.
async fn ack_wait(link: &SharedLink, stream: &str, consumer: &str) -> Result<Duration, WorkError> {
    #[derive(Deserialize)]
    struct Info {
        config: Config,
    }
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        ack_wait: u64,
    }
    match link.api::<Info>(&format!("CONSUMER.INFO.{stream}.{consumer}"), &json!({})).await {
        Ok(info) => Ok(Duration::from_nanos(info.config.ack_wait)),
        Err(failure) if failure.is(code::CONSUMER_NOT_FOUND) || failure.is(code::STREAM_NOT_FOUND) => {
            Err(WorkError::NoConsumer { stream: stream.to_owned(), consumer: consumer.to_owned() })
        }
        Err(failure) => Err(failure.into()),
    }
}

struct Source {
    link: SharedLink,
    orchestration: OrchestrationName,
    stream: String,
    consumer: String,
    pull: Pull,
    /// Delivered to an earlier inbox, and not yet taken.
    kept: VecDeque<Message>,
    /// Delivered, and their payloads, too large for a message, not yet here.
    redeeming: FuturesUnordered<BoxFuture<'static, Redeemed>>,
    /// Where these are settled.
    unredeemed: Vec<String>,
    orders: Orders,
    ages: Ages,
    /// Why the orders are void, until new ones can be placed.
    trouble: Option<Trouble>,
}

/// Where an item is settled, and the item with its payload, or why it was given back.
type Redeemed = (String, Result<WorkItem, ReadError>);

#[derive(Debug)]
struct Trouble {
    void: Void,
    retry_at: Instant,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("stream", &self.stream)
            .field("consumer", &self.consumer)
            .field("outstanding", &self.pull.outstanding())
            .field("kept", &self.kept.len())
            .field("redeeming", &self.redeeming.len())
            .field("trouble", &self.trouble)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl WorkSource for Source {
    async fn next(&mut self, free: usize) -> Result<WorkItem, WorkError> {
        loop {
            if let Some(message) = self.kept.pop_front() {
                match self.item(message) {
                    Some((item, reply)) if claimed(&item.stored).is_some() => self.redeem(item, reply),
                    Some((item, _)) => return Ok(item),
                    None => {}
                }
                continue;
            }
            if self.trouble.is_some() {
                self.recover().await?;
                continue;
            }
            let ready_at = match self.orders.next(free, self.pull.outstanding() + self.redeeming.len(), Instant::now()) {
                Order::Now(count) => {
                    self.pull.order(count).await?;
                    None
                }
                Order::At(time) => Some(time),
                Order::None => None,
            };
            let pulled = tokio::select! {
                biased;
                pulled = self.pull.next() => pulled,
                Some((reply, redeemed)) = self.redeeming.next(), if !self.redeeming.is_empty() => {
                    self.unredeemed.retain(|unredeemed| *unredeemed != reply);
                    match redeemed {
                        Ok(item) => return Ok(item),
                        Err(ReadError::Refused(why)) => return Err(WorkError::Refused(why)),
                        Err(_) => continue,
                    }
                }
                () = sleep_until(ready_at.unwrap_or_else(Instant::now)), if ready_at.is_some() => continue,
            };
            match pulled {
                Pulled::Message(message) => self.kept.push_back(message),
                Pulled::Idle(_) | Pulled::Expired => {}
                Pulled::Void(void) => {
                    let retry_at = Instant::now() + if matches!(void, Void::Lost(_)) { Duration::ZERO } else { RETRY_AFTER };
                    tracing::debug!(consumer = self.consumer, ?void, "orders for work are void");
                    self.trouble = Some(Trouble { void, retry_at });
                }
            }
        }
    }

    async fn close(&mut self) {
        let on_their_way = self.pull.end().await;
        let untaken = self.kept.drain(..).chain(on_their_way).filter_map(|message| Some(message.reply?.into_string()));
        self.redeeming.clear();
        for reply in self.unredeemed.drain(..).chain(untaken) {
            self.link.send(&reply, Bytes::from_static(b"-NAK")).await;
        }
    }
}

impl Source {
    /// A new inbox, once it is worth a try; what had arrived in the old one is kept. Where the consumer may be missing, the
    /// broker is asked, and its answer is the caller's to see. Cancelled at any point, it begins anew.
    async fn recover(&mut self) -> Result<(), WorkError> {
        let Some(Trouble { void, retry_at }) = &self.trouble else { return Ok(()) };
        let (void, retry_at) = (void.clone(), *retry_at);
        sleep_until(retry_at).await;
        let asked = match void {
            Void::Lost(_) => Ok(()),
            Void::NoResponders | Void::Deleted => ack_wait(&self.link, &self.stream, &self.consumer).await.map(drop),
            Void::Refused(why) => Err(WorkError::Refused(why)),
        };
        let fresh = Pull::new(&self.link, &self.stream, &self.consumer).await?;
        self.kept.extend(self.pull.arrived());
        self.pull = fresh;
        self.trouble = asked.is_err().then(|| Trouble { void: Void::NoResponders, retry_at: Instant::now() + RETRY_AFTER });
        asked
    }

    /// Begins to fetch an item's payload. Whoever stops waiting, as workers do again and again, does not stop that for good:
    /// it goes on when somebody waits again.
    fn redeem(&mut self, item: WorkItem, reply: String) {
        let (link, orchestration) = (self.link.clone(), self.orchestration.clone());
        self.unredeemed.push(reply.clone());
        self.redeeming.push(Box::pin(async move { (reply, redeemed(&link, &orchestration, item).await) }));
    }

    /// A delivery, and where it is settled.
    fn item(&mut self, message: Message) -> Option<(WorkItem, String)> {
        let Some((stored, token, reply)) = delivered(message) else {
            tracing::warn!(consumer = self.consumer, "something was delivered that is no delivery of a consumer");
            return None;
        };
        let is_old = self.ages.is_old(stored.time_ms, now_ms());
        let settle = Box::new(Ack { link: self.link.clone(), reply: reply.clone() });
        Some((WorkItem { stored, delivered: token.delivered, is_old, settle }, reply))
    }
}

/// An item with its payload. One whose payload is lost comes as it is stored, and its worker buries it: it cannot be
/// decoded. Where the payload cannot be fetched, the item is given back: the broker keeps it for another time, or another
/// worker.
async fn redeemed(link: &Link, orchestration: &OrchestrationName, item: WorkItem) -> Result<WorkItem, ReadError> {
    let fetch = link.redeem(orchestration, item.stored.clone());
    tokio::pin!(fetch);
    let found = loop {
        tokio::select! {
            found = &mut fetch => break found,
            () = sleep(EXTEND_EACH) => item.settle.extend().await,
        }
    };
    match found {
        Ok(stored) => Ok(WorkItem { stored, ..item }),
        Err(ReadError::Damaged { .. }) => Ok(item),
        Err(error) => {
            tracing::warn!(subject = item.stored.subject, "given back: {error}");
            item.settle.give_back(OFFER_AGAIN_AFTER).await;
            Err(error)
        }
    }
}

/// What to order, and when.
#[derive(Debug, Default)]
struct Orders {
    /// The most slots that were ever free: the process's capacity, as far as seen.
    most: usize,
    /// Until when a small order waits to become a larger one.
    wait_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    None,
    Now(usize),
    At(Instant),
}

impl Orders {
    /// Orders never exceed the free slots, and are placed when they have fallen below half of them: then at once if they
    /// are worth a request (a quarter of the capacity), or a moment later for whatever has come together.
    fn next(&mut self, free: usize, outstanding: usize, now: Instant) -> Order {
        self.most = self.most.max(free);
        if outstanding * 2 >= free {
            self.wait_until = None;
            return Order::None;
        }
        let count = free - outstanding;
        let is_worth_it = count * 4 >= self.most;
        let wait_until = *self.wait_until.get_or_insert(now + COALESCE);
        if is_worth_it || now >= wait_until {
            self.wait_until = None;
            return Order::Now(count);
        }
        Order::At(wait_until)
    }
}

/// Whether an item is older than the ack wait, as far as a process without the broker's clock can tell: by its own clock,
/// or compared with the freshest item it has seen, whichever says so. Nothing depends on it but one read: wrongly old
/// costs that read, wrongly young leads to work on a stale item, whose first append the fence then refuses.
#[derive(Debug)]
struct Ages {
    ack_wait_ms: i64,
    /// The smallest age seen: the difference of the clocks plus the time of one delivery.
    freshest_ms: Option<i64>,
}

impl Ages {
    fn is_old(&mut self, stored_ms: u64, now_ms: u64) -> bool {
        let age = i64::try_from(now_ms).unwrap_or(i64::MAX).saturating_sub(i64::try_from(stored_ms).unwrap_or(i64::MAX));
        let freshest = age.min(self.freshest_ms.unwrap_or(age));
        self.freshest_ms = Some(freshest);
        age > self.ack_wait_ms || age.saturating_sub(freshest) > self.ack_wait_ms
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Where a delivery is settled.
struct Ack {
    link: SharedLink,
    reply: String,
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ack").field(&self.reply).finish()
    }
}

#[async_trait]
impl Settle for Ack {
    async fn ack(&self) {
        self.link.send(&self.reply, Bytes::from_static(b"+ACK")).await;
    }

    async fn extend(&self) {
        self.link.send(&self.reply, Bytes::from_static(b"+WPI")).await;
    }

    async fn give_back(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let payload = if delay == 0 { "-NAK".to_owned() } else { format!("-NAK {}", json!({ "delay": delay })) };
        self.link.send(&self.reply, payload.into()).await;
    }

    async fn terminate(&self) {
        self.link.send(&self.reply, Bytes::from_static(b"+TERM")).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_never_exceed_the_free_slots_and_come_in_batches() {
        let now = Instant::now();
        let mut orders = Orders::default();
        assert_eq!(orders.next(64, 0, now), Order::Now(64));
        for outstanding in 32..64 {
            assert_eq!(orders.next(64, outstanding, now), Order::None);
        }
        assert_eq!(orders.next(64, 31, now), Order::Now(33));
        assert_eq!(orders.next(1, 0, now), Order::At(now + COALESCE));
        assert_eq!(orders.next(5, 0, now + COALESCE / 2), Order::At(now + COALESCE));
        assert_eq!(orders.next(5, 0, now + COALESCE), Order::Now(5));
        assert_eq!(orders.next(1, 1, now), Order::None);
        assert_eq!(orders.next(16, 0, now), Order::Now(16));
    }

    #[test]
    fn a_process_with_one_slot_does_not_wait() {
        assert_eq!(Orders::default().next(1, 0, Instant::now()), Order::Now(1));
    }

    #[test]
    fn age_is_judged_by_the_own_clock_and_by_what_was_seen() {
        let mut ages = Ages { ack_wait_ms: 4_000, freshest_ms: None };
        assert!(!ages.is_old(100_000, 100_050));
        assert!(ages.is_old(90_000, 100_060), "ten seconds by a clock that is right");
        let mut behind = Ages { ack_wait_ms: 4_000, freshest_ms: None };
        assert!(!behind.is_old(100_000, 70_000), "a clock that is half a minute behind");
        assert!(behind.is_old(90_000, 70_010), "knows it from the first fresh item");
        let mut ahead = Ages { ack_wait_ms: 4_000, freshest_ms: None };
        assert!(ahead.is_old(100_000, 130_000), "a clock ahead costs a read");
    }
}
