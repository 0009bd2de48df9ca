//! What is said and not stored.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::faults::Fault;
use super::{Link, Memory, State, pause};
use crate::{Answer, Bus, Connection, Delivery, Headers, RequestError};

#[derive(Debug)]
pub(super) struct Subscription {
    filter: String,
    queue: Option<String>,
    link: Link,
    inbox: mpsc::UnboundedSender<Delivery>,
}

impl State {
    pub(super) const fn fresh_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Gives a message to those who listen: all, but of each queue group one. Returns how many that are.
    fn deliver(&mut self, delivery: &Delivery) -> usize {
        self.subscriptions.retain(|subscription| !subscription.inbox.is_closed());
        let mut everybody = Vec::new();
        let mut groups: BTreeMap<&str, Vec<&Subscription>> = BTreeMap::new();
        for subscription in &self.subscriptions {
            if matches(&subscription.filter, &delivery.subject) && subscription.link.borrow().is_up {
                match &subscription.queue {
                    None => everybody.push(subscription),
                    Some(queue) => groups.entry(queue).or_default().push(subscription),
                }
            }
        }
        for members in groups.values() {
            everybody.extend(members.get(self.chance.below(members.len())));
        }
        for subscription in &everybody {
            if !self.chance.strikes(Fault::SaidLost) {
                // A listener that has just gone misses it, as it would on a wire.
                let _ = subscription.inbox.send(delivery.clone());
            }
        }
        everybody.len()
    }
}

impl Memory {
    /// Ends whatever listens to exactly this, as a broker does that permits it no longer. Whoever listens anew is permitted again.
    pub fn end_listening(&self, filter: &str) {
        self.lock().subscriptions.retain(|subscription| subscription.filter != filter);
    }

    fn subscribe(&self, filter: &str, queue: Option<&str>) -> mpsc::UnboundedReceiver<Delivery> {
        let (inbox, deliveries) = mpsc::unbounded_channel();
        let (filter, queue) = (filter.to_owned(), queue.map(str::to_owned));
        self.lock().subscriptions.push(Subscription { filter, queue, link: self.link.clone(), inbox });
        deliveries
    }

    /// Asks, and says where the answers arrive.
    async fn send_request(
        &self,
        subject: &str,
        (headers, payload): (Headers, Bytes),
        wait: Duration,
    ) -> Result<mpsc::UnboundedReceiver<Delivery>, RequestError> {
        check(subject)?;
        let latency = self.lock().chance.latency();
        pause(latency).await;
        if !self.is_up() {
            sleep(wait).await;
            return Err(RequestError::Timeout(subject.to_owned()));
        }
        let reply = format!("_INBOX.{}", self.lock().fresh_id());
        let answers = self.subscribe(&reply, None);
        match self.lock().deliver(&Delivery { subject: subject.to_owned(), headers, payload, reply: Some(reply) }) {
            0 => Err(RequestError::NoResponders(subject.to_owned())),
            _ => Ok(answers),
        }
    }
}

#[async_trait]
impl Bus for Memory {
    async fn say_with(&self, subject: &str, headers: Headers, payload: Bytes) {
        if self.is_up() {
            self.lock().deliver(&Delivery { subject: subject.to_owned(), headers, payload, reply: None });
        }
    }

    async fn listen(&self, subject: &str, queue: Option<&str>) -> Result<BoxStream<'static, Delivery>, RequestError> {
        check(subject)?;
        Ok(UnboundedReceiverStream::new(self.subscribe(subject, queue)).boxed())
    }

    async fn ask_with(&self, subject: &str, headers: Headers, payload: Bytes, wait: Duration) -> Result<Answer, RequestError> {
        let mut answers = self.send_request(subject, (headers, payload), wait).await?;
        match timeout(wait, answers.recv()).await {
            Ok(Some(Delivery { headers, payload, .. })) => Ok(Answer { headers, payload }),
            Ok(None) | Err(_) => Err(RequestError::Timeout(subject.to_owned())),
        }
    }

    async fn ask_all(&self, subject: &str, payload: Bytes, wait: Duration) -> Result<Vec<Bytes>, RequestError> {
        let deadline = Instant::now() + wait;
        let mut arriving = match self.send_request(subject, (Headers::new(), payload), wait).await {
            Err(RequestError::NoResponders(_)) => return Ok(Vec::new()),
            arriving => arriving?,
        };
        let mut answers = Vec::new();
        while let Ok(Some(answer)) = timeout_at(deadline, arriving.recv()).await {
            answers.push(answer.payload);
        }
        Ok(answers)
    }

    fn connection(&self) -> watch::Receiver<Connection> {
        self.link.subscribe()
    }

    fn server_name(&self) -> Option<String> {
        None
    }

    async fn drain(&self) {
        // Nothing waits to be sent: what is said here has been delivered already.
        self.disconnect();
        self.lock().subscriptions.retain(|subscription| !std::sync::Arc::ptr_eq(&subscription.link, &self.link));
    }
}

fn check(subject: &str) -> Result<(), RequestError> {
    let is_valid = subject.split('.').all(|token| !token.is_empty() && !token.contains(char::is_whitespace));
    if is_valid { Ok(()) } else { Err(RequestError::Refused(format!("{subject:?} is not a subject"))) }
}

/// Whether a subject is among those that a filter with `*` (one token) and `>` (all that follow) means.
fn matches(filter: &str, subject: &str) -> bool {
    let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
    loop {
        match (filter.next(), subject.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some(wanted), Some(token)) if wanted == "*" || wanted == token => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_mean_what_they_mean_to_the_broker() {
        for (filter, subject) in [("a.b", "a.b"), ("a.*", "a.b"), ("*.b", "a.b"), ("a.>", "a.b"), ("a.>", "a.b.c"), (">", "a")] {
            assert!(matches(filter, subject), "{filter} {subject}");
        }
        for (filter, subject) in [("a", "a.b"), ("a.b", "a"), ("a.*", "a"), ("a.*", "a.b.c"), ("a.>", "a"), ("a.b", "a.c")] {
            assert!(!matches(filter, subject), "{filter} {subject}");
        }
    }
}
