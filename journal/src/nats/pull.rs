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

/// How long an order stands. A process that freezes leaves its orders behind, and until they end the broker fills them: with new
/// items, and again with those whose ack wait has run out. So they end well before the first ack wait does. When a stream has another
/// leader, a consumer may not notice what is new until somebody orders: then this is how long work waits.
pub(super) const EXPIRES: Duration = Duration::from_millis(1_500);

/// How often the broker shows, while it has nothing to deliver, that it knows of an order.
const HEARTBEAT: Duration = Duration::from_millis(700);

/// Silence after which an order is no longer believed in.
const SILENCE: Duration = Duration::from_millis(1_750);

/// How long what is on its way may take when the subscription ends.
const END_AT_MOST: Duration = Duration::from_millis(500);

/// What comes of waiting.
#[derive(Debug)]
pub(super) enum Pulled {
    /// A delivery.
    Message(Message),
    /// Nothing to deliver now; so many deliveries have been made to whomever.
    Idle(u64),
    /// An order has ended unfilled: others may be placed.
    Expired,
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

    /// What comes next. Cancel-safe. Whatever it is, the caller looks again at what it wants to order.
    pub(super) async fn next(&mut self) -> Pulled {
        let (silence, is_waiting) = (sleep_until(self.heard + SILENCE), self.outstanding > 0);
        let Self { deliveries, connection, violations, forbidden, generation, .. } = &mut *self;
        let message = tokio::select! {
            biased;
            message = deliveries.next() => message,
            () = broken(connection, *generation) => return Pulled::Void(Void::Lost("the connection")),
            () = violated(violations, forbidden) => {
                return Pulled::Void(Void::Refused(format!("this login is not permitted to publish to {}", self.to)));
            }
            () = silence, if is_waiting => {
                self.link.is_missed();
                return Pulled::Void(Void::Lost("the broker's heartbeats"));
            }
        };
        let Some(message) = message else { return Pulled::Void(Void::Lost("the subscription")) };
        self.heard = Instant::now();
        let (pulled, settled) = meaning(message);
        self.outstanding = self.outstanding.saturating_sub(settled);
        pulled
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

/// What a message in the inbox means, and how many of the ordered deliveries will not come any more because of it.
fn meaning(message: Message) -> (Pulled, usize) {
    let Some(status) = message.status else { return (Pulled::Message(message), 1) };
    let description = message.description.as_deref().unwrap_or_default();
    let number = |header| message.headers.as_ref()?.get(header)?.as_str().parse::<u64>().ok();
    let void = match status.as_u16() {
        100 => return (Pulled::Idle(number("Nats-Last-Consumer").unwrap_or_default()), 0),
        503 => Void::NoResponders,
        409 if description == "Consumer Deleted" => Void::Deleted,
        409 if description == "Leadership Change" || description == "Server Shutdown" => Void::Lost("the consumer's leader"),
        status => match number("Nats-Pending-Messages") {
            Some(unfilled) => return (Pulled::Expired, usize::try_from(unfilled).unwrap_or(usize::MAX)),
            None => Void::Refused(format!("{description} ({status})")),
        },
    };
    (Pulled::Void(void), 0)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use async_nats::{HeaderMap, StatusCode};

    use super::*;

    fn status(code: u16, description: &str, headers: &[(&str, &str)]) -> Message {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        Message {
            subject: "_INBOX.x".into(),
            reply: None,
            payload: Vec::new().into(),
            headers: Some(map),
            status: Some(StatusCode::from_u16(code).unwrap()),
            description: Some(description.to_owned()),
            length: 0,
        }
    }

    /// An order that expired with nobody waking its owner once left an idle worker without work for good.
    #[test]
    fn an_order_that_ends_is_told_and_no_longer_counted() {
        let expired = status(408, "Request Timeout", &[("Nats-Pending-Messages", "64"), ("Nats-Pending-Bytes", "0")]);
        assert!(matches!(meaning(expired), (Pulled::Expired, 64)));
        let completed = status(409, "Batch Completed", &[("Nats-Pending-Messages", "0")]);
        assert!(matches!(meaning(completed), (Pulled::Expired, 0)));
    }

    #[test]
    fn what_voids_all_orders_is_told_from_what_does_not() {
        assert!(matches!(meaning(status(100, "Idle Heartbeat", &[("Nats-Last-Consumer", "7")])), (Pulled::Idle(7), 0)));
        assert!(matches!(meaning(status(409, "Consumer Deleted", &[])), (Pulled::Void(Void::Deleted), 0)));
        assert!(matches!(meaning(status(409, "Leadership Change", &[])), (Pulled::Void(Void::Lost(_)), 0)));
        assert!(matches!(meaning(status(503, "", &[])), (Pulled::Void(Void::NoResponders), 0)));
        assert!(matches!(meaning(status(409, "Exceeded MaxRequestBatch of 1", &[])), (Pulled::Void(Void::Refused(_)), 0)));
    }
}
