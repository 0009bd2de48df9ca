//! Which of several coordinators acts: the one that holds a key the broker forgets unless it is renewed. Two that both
//! think so do no harm, because every act is fenced; the lease only spares them the trouble.

use std::time::Duration;

use bytes::Bytes;
use journal::{Expect, Shared, StoreError};
use protocol::ids::{OrchestrationName, ProcessId};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

/// Where the process that acts is written down.
pub const KEY: &str = "lease";

/// A candidate for one orchestration.
#[derive(Debug)]
pub struct Lease {
    broker: Shared,
    orchestration: OrchestrationName,
    process: ProcessId,
    ttl: Duration,
    held: Option<Held>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    revision: u64,
    /// When the broker may have forgotten it: counted from before the write was sent.
    until: Instant,
}

impl Lease {
    /// A candidate that holds nothing yet. The lease is lost `ttl` after it was last renewed.
    pub const fn new(broker: Shared, orchestration: OrchestrationName, process: ProcessId, ttl: Duration) -> Self {
        Self { broker, orchestration, process, ttl, held: None }
    }

    /// Stands for election until `stop`, then gives up what it holds. `leads` says at every moment whether it leads.
    pub async fn stand(mut self, leads: watch::Sender<bool>, stop: CancellationToken) {
        // Three attempts before it runs out.
        let round = self.ttl / 4;
        loop {
            let until = self.held.map(|held| held.until);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // A renewal that does not come back in time is as good as lost.
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => self.held = None,
                () = self.keep() => {}
            }
            self.say(&leads);
            let due = Instant::now() + round;
            let next = self.held.map_or(due, |held| held.until.min(due));
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep_until(next) => {}
            }
        }
        leads.send_replace(false);
        self.give_up().await;
    }

    fn say(&self, leads: &watch::Sender<bool>) {
        let does_lead = self.held.is_some();
        let changed = leads.send_if_modified(|led| std::mem::replace(led, does_lead) != does_lead);
        if changed {
            tracing::info!(orchestration = %self.orchestration, process = %self.process, does_lead, "leadership changed");
        }
    }

    /// Renews the lease, or takes it if nobody has it. While nothing is known it lasts as long as it was granted for.
    async fn keep(&mut self) {
        let expect = self.held.map_or(Expect::Absent, |held| Expect::Revision(held.revision));
        let kept = match self.write(expect).await {
            Err(StoreError::Conflict { .. }) => self.reclaim().await,
            written => written.map(Some),
        };
        match kept {
            Ok(held) => self.held = held,
            Err(error) => tracing::warn!(orchestration = %self.orchestration, "the lease could not be renewed: {error}"),
        }
    }

    /// The value is not as expected. It may still be this process's own: a write whose answer was lost.
    async fn reclaim(&self) -> Result<Option<Held>, StoreError> {
        match self.broker.value(&self.orchestration, KEY).await? {
            Some(value) if value.bytes == self.process.as_str() => self.write(Expect::Revision(value.revision)).await.map(Some),
            Some(_) | None => Ok(None),
        }
    }

    async fn write(&self, expect: Expect) -> Result<Held, StoreError> {
        let until = Instant::now() + self.ttl;
        let bytes = Bytes::copy_from_slice(self.process.as_str().as_bytes());
        let revision = self.broker.put_value(&self.orchestration, KEY, bytes, expect, Some(self.ttl)).await?;
        Ok(Held { revision, until })
    }

    async fn give_up(&mut self) {
        let Some(held) = self.held.take() else { return };
        let deleted = self.broker.delete_value(&self.orchestration, KEY, Expect::Revision(held.revision));
        // The broker forgets it anyway.
        if let Ok(Err(error)) = timeout_at(held.until, deleted).await {
            tracing::debug!(orchestration = %self.orchestration, "the lease was left to run out: {error}");
        }
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
