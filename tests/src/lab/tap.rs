//! The broker, as it looks from outside: what is being committed, and at the end all that is stored, replica by replica.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use data_encoding::BASE64;
use futures::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::broker::{Broker, jetstream, stream};
use super::record::Seen;
use super::recorder::Recorder;

/// Entries that are asked for at once.
const READ_AT_ONCE: usize = 64;
/// Before a consumer that was lost is made anew.
const PAUSE: Duration = Duration::from_millis(100);

/// Follows what is committed: steps of the system, by conversation. What people say is not one, unless it is the last word.
#[derive(Debug)]
pub struct Progress {
    steps: Arc<watch::Sender<BTreeMap<String, u64>>>,
    following: AbortHandle,
}

impl Progress {
    /// From the beginning of the stream.
    pub fn follow(operator: &async_nats::Client) -> Self {
        let steps: Arc<watch::Sender<BTreeMap<String, u64>>> = Arc::default();
        let (operator, told) = (operator.clone(), steps.clone());
        let following = tokio::spawn(async move {
            let mut last = 0;
            loop {
                let _: Result<(), async_nats::Error> = follow(&operator, &mut last, &told).await;
                sleep(PAUSE).await;
            }
        });
        Self { steps, following: following.abort_handle() }
    }

    /// How many steps of this conversation are committed; of all of them, if none is named.
    pub fn of(&self, conversation: Option<&str>) -> u64 {
        count(&self.steps.borrow(), conversation)
    }

    /// Waits until more than `steps` of them are; whether they are within `patience`.
    pub async fn beyond(&self, conversation: Option<&str>, steps: u64, patience: Duration) -> bool {
        let mut told = self.steps.subscribe();
        timeout(patience, told.wait_for(|told| count(told, conversation) > steps)).await.is_ok()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.following.abort();
    }
}

fn count(steps: &BTreeMap<String, u64>, conversation: Option<&str>) -> u64 {
    match conversation {
        Some(conversation) => steps.get(conversation).copied().unwrap_or_default(),
        None => steps.values().sum(),
    }
}

async fn follow(
    operator: &async_nats::Client,
    last: &mut u64,
    steps: &watch::Sender<BTreeMap<String, u64>>,
) -> Result<(), async_nats::Error> {
    let journal = jetstream(operator).get_stream(stream()).await?;
    let config = OrderedConfig {
        headers_only: true,
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: *last + 1 },
        ..OrderedConfig::default()
    };
    let mut messages = journal.create_consumer(config).await?.messages().await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        *last = message.info()?.stream_sequence;
        // Nobody takes a step in a conversation that its person has called off.
        if let Some(conversation) = step(&message.subject).or_else(|| ended(&message.subject)) {
            let add = |steps: &mut BTreeMap<String, u64>| *steps.entry(conversation.to_owned()).or_default() += 1;
            steps.send_modify(add);
        }
    }
    Ok(())
}

/// The conversation that an entry with this subject ends.
fn ended(subject: &str) -> Option<&str> {
    let tokens: Vec<&str> = subject.split('.').collect();
    (tokens.get(5) == Some(&"end")).then(|| tokens.get(3).copied()).flatten()
}

/// The conversation that an entry with this subject takes a step in, unless a person wrote it.
pub fn step(subject: &str) -> Option<&str> {
    let tokens: Vec<&str> = subject.split('.').collect();
    let is_theirs = matches!(tokens.last(), Some(&("client" | "gateway")));
    (!is_theirs && tokens.get(2) == Some(&"c")).then(|| tokens.get(3).copied()).flatten()
}

/// Records all that is stored, as each replica has it.
pub async fn record(broker: &Broker, recorder: &Recorder) -> Result<(), async_nats::Error> {
    for node in 0..broker.nodes() {
        let operator = broker.operator(Some(node)).await;
        let journal = jetstream(&operator).get_stream(stream()).await?;
        let state = journal.get_info().await?.state;
        // Whoever is asked answers for itself: members of a queue group on the same server come first.
        let entries = futures::stream::iter(state.first_sequence..=state.last_sequence);
        let mut entries = entries.map(|seq| journal.direct_get(seq).map(move |entry| (seq, entry))).buffered(READ_AT_ONCE);
        while let Some((seq, entry)) = entries.next().await {
            let Ok(entry) = entry else { continue };
            let headers = entry.headers.iter();
            recorder.note(Seen::Entry {
                replica: format!("n{node}"),
                seq,
                time_ms: u64::try_from(entry.time.unix_timestamp_nanos() / 1_000_000).unwrap_or_default(),
                subject: entry.subject.to_string(),
                headers: headers.flat_map(|(name, values)| values.iter().map(move |value| (name.to_string(), value.to_string()))).collect(),
                payload: BASE64.encode(&entry.payload),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_say_is_no_step_of_the_system() {
        assert_eq!(step("baton.lab.c.conv.3.to.orders.0123456789ab.triage"), Some("conv"));
        assert_eq!(step("baton.lab.c.conv.3.note.coordinator"), Some("conv"));
        assert_eq!(step("baton.lab.c.conv.4.in.gateway"), None);
        assert_eq!(step("baton.lab.tick"), None);
        assert_eq!(ended("baton.lab.c.conv.4.end.gateway"), Some("conv"));
        assert_eq!(ended("baton.lab.c.conv.4.in.gateway"), None);
    }
}
