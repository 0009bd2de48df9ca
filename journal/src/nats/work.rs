//! Work items from an agent's consumer.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

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

use super::inspect::broker_ms;
use super::message::{Token, delivered};
use super::pull::{Pull, Pulled, Void};
use super::request::{Link, SharedLink, code};
use crate::claim::claimed;
use crate::work::old_after;
use crate::{ReadError, Settle, WorkError, WorkItem, WorkSource};

/// How many items may be on their way at once, however many slots are free: one that waits here for the processor tells nobody that it is
/// alive, and is delivered again after the ack wait.
const ORDERED_MAX: usize = 256;

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
    let known = known(link, &stream, &consumer).await?;
    let pull = Pull::new(link, &stream, &consumer).await?;
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
        pasts: Pasts::new(&known, Instant::now()),
        trouble: None,
    }))
}

/// What is known of a consumer from the start.
struct Known {
    ack_wait: Duration,
    /// When it was made, and when it said so, by the broker's clock.
    created_ms: u64,
    now_ms: u64,
}

/// Asked once, and again only when orders come to nothing: it tells whether there is a consumer.
async fn known(link: &SharedLink, stream: &str, consumer: &str) -> Result<Known, WorkError> {
    #[derive(Deserialize)]
    struct Info {
        config: Config,
        created: String,
        ts: String,
    }
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        ack_wait: u64,
    }
    match link.api::<Info>(&format!("CONSUMER.INFO.{stream}.{consumer}"), &json!({})).await {
        Ok(info) => {
            let time = |text: &str| broker_ms(text).ok_or_else(|| WorkError::Refused(format!("{text:?} is no time")));
            let ack_wait = Duration::from_nanos(info.config.ack_wait);
            Ok(Known { ack_wait, created_ms: time(&info.created)?, now_ms: time(&info.ts)? })
        }
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
    pasts: Pasts,
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
            Void::NoResponders | Void::Deleted => known(&self.link, &self.stream, &self.consumer).await.map(drop),
            Void::Refused(why) => Err(WorkError::Refused(why)),
        };
        let fresh = Pull::new(&self.link, &self.stream, &self.consumer).await?;
        self.kept.extend(self.pull.arrived());
        self.pull = fresh;
        self.pasts.count_anew(Instant::now());
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
        let Past { is_old, is_recounted } = self.pasts.of(token, Instant::now());
        let settle = Box::new(Ack { link: self.link.clone(), reply: reply.clone() });
        Some((WorkItem { stored, delivered: token.delivered, is_old, is_recounted, settle }, reply))
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
    /// The most items that were ever wanted: the process's capacity, as far as seen and ordered at once.
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
    /// Orders never exceed the free slots, and are placed when they have fallen below half of what is wanted: then at once if they
    /// are worth a request (a quarter of the capacity), or a moment later for whatever has come together.
    fn next(&mut self, free: usize, outstanding: usize, now: Instant) -> Order {
        let wanted = free.min(ORDERED_MAX);
        self.most = self.most.max(wanted);
        if outstanding * 2 >= wanted {
            self.wait_until = None;
            return Order::None;
        }
        let count = wanted - outstanding;
        let is_worth_it = count * 4 >= self.most;
        let wait_until = *self.wait_until.get_or_insert(now + COALESCE);
        if is_worth_it || now >= wait_until {
            self.wait_until = None;
            return Order::Now(count);
        }
        Order::At(wait_until)
    }
}

/// What may have become of an item before it was delivered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Past {
    is_old: bool,
    is_recounted: bool,
}

/// Judges items by the broker's clock, as far as a process can know it without asking for each. The fence makes good what is
/// judged wrongly: wrongly old costs a read and wrongly recounted an entry, the opposite a model call that nobody needs.
#[derive(Debug)]
struct Pasts {
    old_after_ms: i64,
    /// The broker's time at an instant of this process's.
    clock: (u64, Instant),
    /// The smallest age seen, which is below zero where the clock of the server that stores is ahead of the one that was asked.
    freshest_ms: i64,
    /// An item that was stored by then may have been delivered before, whatever its count says: the consumer was made
    /// then, or orders to it were void, as they are when its broker has died and may have forgotten what it delivered.
    anew_ms: u64,
    /// The newest delivery's number in the consumer.
    number: u64,
}

impl Pasts {
    fn new(known: &Known, now: Instant) -> Self {
        let old_after_ms = i64::try_from(old_after(known.ack_wait).as_millis()).unwrap_or(i64::MAX);
        Self { old_after_ms, clock: (known.now_ms, now), freshest_ms: 0, anew_ms: known.created_ms, number: 0 }
    }

    fn broker_ms(&self, now: Instant) -> u64 {
        let (then_ms, then) = self.clock;
        then_ms.saturating_add(u64::try_from((now - then).as_millis()).unwrap_or(u64::MAX))
    }

    /// From now on nothing is known of the deliveries of what is stored by now.
    fn count_anew(&mut self, now: Instant) {
        (self.anew_ms, self.number) = (self.broker_ms(now), 0);
    }

    fn of(&mut self, delivery: Token, now: Instant) -> Past {
        // Numbers only grow, unless the consumer is another one, or has forgotten some.
        if delivery.number <= self.number {
            self.count_anew(now);
        }
        self.number = delivery.number;
        let age_ms = i64::try_from(self.broker_ms(now)).unwrap_or(i64::MAX).saturating_sub_unsigned(delivery.time_ms);
        self.freshest_ms = self.freshest_ms.min(age_ms);
        Past { is_old: age_ms.saturating_sub(self.freshest_ms) > self.old_after_ms, is_recounted: delivery.time_ms <= self.anew_ms }
    }
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
    fn a_process_with_many_slots_orders_no_more_than_it_can_begin_soon() {
        let now = Instant::now();
        let mut orders = Orders::default();
        assert_eq!(orders.next(10_000, 0, now), Order::Now(ORDERED_MAX));
        assert_eq!(orders.next(9_872, 128, now), Order::None);
        assert_eq!(orders.next(9_871, 127, now), Order::Now(129));
        assert_eq!(orders.next(20, 0, now), Order::At(now + COALESCE));
    }

    #[test]
    fn a_process_with_one_slot_does_not_wait() {
        assert_eq!(Orders::default().next(1, 0, Instant::now()), Order::Now(1));
    }

    /// A consumer made at 100,000, known since 200,000, with an ack wait of four seconds.
    fn pasts(now: Instant) -> Pasts {
        Pasts::new(&Known { ack_wait: Duration::from_secs(4), created_ms: 100_000, now_ms: 200_000 }, now)
    }

    const fn delivery(number: u64, time_ms: u64) -> Token {
        Token { seq: protocol::ids::Seq(number), number, delivered: 1, time_ms }
    }

    const FRESH: Past = Past { is_old: false, is_recounted: false };
    const OLD: Past = Past { is_old: true, is_recounted: false };
    const RECOUNTED: Past = Past { is_old: true, is_recounted: true };

    #[test]
    fn an_item_that_has_waited_for_a_second_is_old() {
        let start = Instant::now();
        let mut pasts = pasts(start);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(pasts.of(delivery(1, 200_000), at(20)), FRESH);
        assert_eq!(pasts.of(delivery(2, 200_000), at(1_000)), FRESH);
        assert_eq!(pasts.of(delivery(3, 200_000), at(1_001)), OLD);
        assert_eq!(pasts.of(delivery(4, 260_000), at(60_900)), FRESH);
        // The server that stores is three seconds ahead of the one that was asked: as soon as that is seen, it counts.
        assert_eq!(pasts.of(delivery(5, 264_000), at(61_000)), FRESH);
        assert_eq!(pasts.of(delivery(6, 263_000), at(61_500)), OLD);
    }

    #[test]
    fn an_item_from_before_the_consumer_was_made_may_have_been_delivered() {
        let start = Instant::now();
        let mut pasts = pasts(start);
        assert_eq!(pasts.of(delivery(1, 99_999), start), RECOUNTED);
        assert_eq!(pasts.of(delivery(2, 100_001), start), OLD);
    }

    #[test]
    fn an_item_from_before_orders_were_void_may_have_been_delivered() {
        let start = Instant::now();
        let mut pasts = pasts(start);
        let later = start + Duration::from_secs(1);
        pasts.count_anew(later);
        assert_eq!(pasts.of(delivery(1, 200_999), later), Past { is_recounted: true, ..FRESH });
        assert_eq!(pasts.of(delivery(2, 201_001), later), FRESH);
    }

    /// Nobody told this process that the consumer was deleted, or that its broker has forgotten what it delivered.
    #[test]
    fn a_consumer_that_counts_its_deliveries_anew_is_noticed() {
        let start = Instant::now();
        let mut pasts = pasts(start);
        assert_eq!(pasts.of(delivery(7, 199_000), start), FRESH);
        let later = start + Duration::from_secs(3);
        assert_eq!(pasts.of(delivery(1, 202_900), later), Past { is_recounted: true, ..FRESH });
        assert_eq!(pasts.of(delivery(2, 202_950), later), Past { is_recounted: true, ..FRESH });
        assert_eq!(pasts.of(delivery(3, 203_001), later), FRESH);
    }
}
