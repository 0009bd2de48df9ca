//! Everything that is said on a server, counted: by whom or to whom, and what it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_nats::Message;
use futures::StreamExt;
use futures::stream::select_all;

/// What one message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// An entry is published.
    Publish,
    /// A work item is acknowledged.
    Ack,
    /// A work item is extended: an in-progress ack.
    Extend,
    /// A work item is given back or terminated.
    GiveBack,
    /// Deliveries are ordered from a consumer.
    Pull,
    /// The journal or the bucket is read, or a consumer or stream is asked about.
    Read,
    /// Anything else that JetStream is asked.
    Api,
    /// A sign of life.
    Beat,
    /// Anything else that is said.
    Said,
    /// A message is delivered by a consumer.
    Delivery,
    /// JetStream answers, a publish above all.
    Answer,
    /// A status of a pull: a heartbeat, or that an order has ended.
    Status,
}

/// How much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) messages: u64,
    pub(crate) payload_bytes: u64,
}

/// What every process has sent and received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// By process, or by the consumer that a process reads from.
    counts: BTreeMap<(String, What), Count>,
    /// Which process has ordered from which consumer.
    readers: BTreeMap<String, String>,
}

impl Tally {
    pub(crate) fn of(&self, process: &str, what: What) -> Count {
        let is_its_own = |name: &String| name == process || self.readers.get(name).is_some_and(|reader| reader == process);
        let own = self.counts.iter().filter(|((name, kind), _)| *kind == what && is_its_own(name));
        own.fold(Count::default(), |sum, (_, count)| Count {
            messages: sum.messages + count.messages,
            payload_bytes: sum.payload_bytes + count.payload_bytes,
        })
    }

    /// What all processes together have sent or received of it.
    pub(crate) fn total(&self, what: What) -> u64 {
        self.counts.iter().filter(|((_, kind), _)| *kind == what).map(|(_, count)| count.messages).sum()
    }

    /// What has been counted since.
    pub(crate) fn since(&self, then: &Self) -> Self {
        let more = |(key, count): (&(String, What), &Count)| {
            let before = then.counts.get(key).copied().unwrap_or_default();
            let more = Count { messages: count.messages - before.messages, payload_bytes: count.payload_bytes - before.payload_bytes };
            (key.clone(), more)
        };
        Self { counts: self.counts.iter().map(more).collect(), readers: self.readers.clone() }
    }

    /// All messages of some kinds.
    pub(crate) fn messages(&self, process: &str, kinds: &[What]) -> u64 {
        kinds.iter().map(|what| self.of(process, *what).messages).sum()
    }

    fn add(&mut self, process: &str, what: What, message: &Message) {
        let count = self.counts.entry((process.to_owned(), what)).or_default();
        count.messages += 1;
        count.payload_bytes += message.payload.len() as u64;
    }

    fn take(&mut self, message: &Message) {
        let subject = message.subject.as_str();
        // A delivery keeps the subject that the entry was published to; where its ack goes tells it apart.
        if let Some(ack) = message.reply.as_deref().and_then(|reply| reply.strip_prefix("$JS.ACK.")) {
            return self.add(consumer(ack), What::Delivery, message);
        }
        if let Some(ack) = subject.strip_prefix("$JS.ACK.") {
            let what = match message.payload.get(..4) {
                Some(b"+ACK") => What::Ack,
                Some(b"+WPI") => What::Extend,
                _ => What::GiveBack,
            };
            return self.add(consumer(ack), what, message);
        }
        if let Some(inbox) = subject.strip_prefix("_INBOX_") {
            let what = if message.status.is_some() { What::Status } else { What::Answer };
            return self.add(first_token(inbox), what, message);
        }
        if let Some((_, process)) = subject.split_once(".beat.").and_then(|(_, beat)| beat.split_once('.')) {
            return self.add(process, What::Beat, message);
        }
        // A question names its asker by where the answer goes.
        let asker = message.reply.as_deref().and_then(|reply| reply.strip_prefix("_INBOX_")).map_or("nobody", first_token);
        let Some(verb) = subject.strip_prefix("$JS.API.") else {
            return self.add(asker, if subject.contains(".c.") { What::Publish } else { What::Said }, message);
        };
        if let Some(names) = verb.strip_prefix("CONSUMER.MSG.NEXT.") {
            self.readers.insert(consumer(names).to_owned(), asker.to_owned());
            return self.add(asker, What::Pull, message);
        }
        let reads = ["DIRECT.GET", "STREAM.MSG.GET", "STREAM.INFO", "CONSUMER.INFO"];
        self.add(asker, if reads.iter().any(|read| verb.starts_with(read)) { What::Read } else { What::Api }, message);
    }
}

/// The consumer in `<stream>.<consumer>.…`.
fn consumer(names: &str) -> &str {
    names.split('.').nth(1).unwrap_or_default()
}

fn first_token(inbox: &str) -> &str {
    inbox.split('.').next().unwrap_or(inbox)
}

/// Listens to a server from before anybody else is connected.
pub(crate) struct Tap {
    tally: Arc<Mutex<Tally>>,
}

impl Tap {
    /// Listens to everything but other processes' inboxes, and to the inboxes of `processes`.
    pub(crate) async fn open(url: &str, processes: &[&str]) -> Self {
        let client = async_nats::ConnectOptions::new().name("tap").connect(url).await.unwrap();
        let mut subjects = vec!["baton.>".to_owned(), "$JS.API.>".to_owned(), "$JS.ACK.>".to_owned(), "$KV.>".to_owned()];
        subjects.extend(processes.iter().map(|process| format!("_INBOX_{process}.>")));
        let mut subscriptions = Vec::new();
        for subject in subjects {
            subscriptions.push(client.subscribe(subject).await.unwrap());
        }
        client.flush().await.unwrap();
        let tally = Arc::new(Mutex::new(Tally::default()));
        let counting = tally.clone();
        tokio::spawn(async move {
            let mut messages = select_all(subscriptions);
            while let Some(message) = messages.next().await {
                counting.lock().unwrap().take(&message);
            }
            drop(client);
        });
        Self { tally }
    }

    /// What was counted so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }
}
