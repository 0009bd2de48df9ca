//! Pulling deliveries from a consumer: what is asked for, what of it is still to come, and when it no longer is.
//!
//! A pull request is an order for some deliveries that the broker fills as they come, until it expires. Deliveries do not
//! say which order they fill, so orders are counted together. Whenever orders may be void (a lost connection, another
//! leader, silence) a new [`Pull`] with an inbox of its own takes over: the broker drops orders whose inbox nobody reads,
//! so old and new ones never add up to more than was asked for.

use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::{FutureExt, StreamExt};
use serde_json::json;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep_until};

use super::connect::Violation;
use super::request::{Failure, SharedLink, broken, violated};
use crate::Connection;

/// How long an order stands.
const EXPIRES: Duration = Duration::from_secs(30);

/// How often the broker shows, while it has nothing to deliver, that it knows of an order.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Silence after which an order is no longer believed in.
const SILENCE: Duration = Duration::from_millis(2_500);

/// How long what is on its way may take when the subscription ends.
const END_AT_MOST: Duration = Duration::from_millis(500);

/// What comes of waiting.
#[derive(Debug)]
pub(super) enum Pulled {
    /// A delivery.
    Message(Message),
    /// All orders are void.
    Void(Void),
}

/// Why orders are void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Void {
    /// The connection was lost, the consumer has another leader, or nothing was heard: order anew.
    Lost(&'static str),
    /// Nobody takes orders: the consumer does not exist, or has no leader now.
    NoResponders,
    /// The consumer was deleted.
    Deleted,
    /// The broker does not take the order, in its words.
    Refused(String),
}

/// Orders to one consumer and the inbox that they are delivered to.
#[derive(Debug)]
pub(super) struct Pull {
    link: SharedLink,
    to: String,
    inbox: String,
    deliveries: Subscriber,
    connection: watch::Receiver<Connection>,
    generation: u64,
    violations: broadcast::Receiver<Violation>,
    forbidden: Violation,
    outstanding: usize,
    heard: Instant,
}

impl Pull {
    /// No orders yet. Waits for a connection.
    pub(super) async fn new(link: &SharedLink, stream: &str, consumer: &str) -> Result<Self, Failure> {
        let (mut connection, violations) = (link.connection(), link.violations());
        let up = connection.wait_for(|connection| connection.is_up).await.map(|connection| connection.generation);
        let generation = up.map_err(|_| Failure::Unanswered("the connection has ended".to_owned()))?;
        let inbox = link.client.new_inbox();
        let deliveries = link.client.subscribe(inbox.clone()).await.map_err(|error| Failure::Unanswered(error.to_string()))?;
        let to = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        let (forbidden, outstanding, heard) = (Violation::Publish(to.as_str().into()), 0, Instant::now());
        Ok(Self { link: link.clone(), to, inbox, deliveries, connection, generation, violations, forbidden, outstanding, heard })
    }

    /// Deliveries that are ordered and have not come.
    pub(super) const fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Orders `count` more. Cancelled, it has ordered nothing.
    pub(super) async fn order(&mut self, count: usize) -> Result<(), Failure> {
        let order = json!({ "batch": count, "expires": nanos(EXPIRES), "idle_heartbeat": nanos(HEARTBEAT) }).to_string();
        let sent = self.link.client.publish_with_reply(self.to.clone(), self.inbox.clone(), order.into()).await;
        sent.map_err(|error| Failure::Unanswered(error.to_string()))?;
        if self.outstanding == 0 {
            self.heard = Instant::now();
        }
        self.outstanding += count;
        Ok(())
    }

    /// The next delivery, or why there will be none. Cancel-safe.
    pub(super) async fn next(&mut self) -> Pulled {
        loop {
            let (silence, is_waiting) = (sleep_until(self.heard + SILENCE), self.outstanding > 0);
            let Self { deliveries, connection, violations, forbidden, generation, .. } = &mut *self;
            let message = tokio::select! {
                biased;
                message = deliveries.next() => message,
                () = broken(connection, *generation) => return Pulled::Void(Void::Lost("the connection")),
                () = violated(violations, forbidden) => {
                    return Pulled::Void(Void::Refused(format!("this login is not permitted to publish to {}", self.to)));
                }
                () = silence, if is_waiting => return Pulled::Void(Void::Lost("the broker's heartbeats")),
            };
            let Some(message) = message else { return Pulled::Void(Void::Lost("the subscription")) };
            self.heard = Instant::now();
            if let Some(pulled) = self.take(message) {
                return pulled;
            }
        }
    }

    /// What a message means; none if only that the broker is alive, or that an order has ended.
    fn take(&mut self, message: Message) -> Option<Pulled> {
        let Some(status) = message.status else {
            self.outstanding = self.outstanding.saturating_sub(1);
            return Some(Pulled::Message(message));
        };
        let description = message.description.as_deref().unwrap_or_default();
        let unfilled = || message.headers.as_ref()?.get("Nats-Pending-Messages")?.as_str().parse::<usize>().ok();
        let void = match status.as_u16() {
            100 => return None,
            503 => Void::NoResponders,
            409 if description == "Consumer Deleted" => Void::Deleted,
            409 if description == "Leadership Change" || description == "Server Shutdown" => Void::Lost("the consumer's leader"),
            status => match unfilled() {
                Some(unfilled) => {
                    self.outstanding = self.outstanding.saturating_sub(unfilled);
                    return None;
                }
                None => Void::Refused(format!("{description} ({status})")),
            },
        };
        Some(Pulled::Void(void))
    }

    /// Deliveries that have arrived and that nobody waited for.
    pub(super) fn arrived(&mut self) -> Vec<Message> {
        let waiting = std::iter::from_fn(|| self.deliveries.next().now_or_never().flatten());
        waiting.filter(|message| message.status.is_none()).collect()
    }

    /// Takes no more deliveries, and returns those that were on their way.
    pub(super) async fn end(&mut self) -> Vec<Message> {
        if self.deliveries.drain().await.is_err() {
            return Vec::new();
        }
        let rest = self.deliveries.by_ref().filter(|message| futures::future::ready(message.status.is_none()));
        tokio::time::timeout(END_AT_MOST, rest.collect()).await.unwrap_or_default()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
