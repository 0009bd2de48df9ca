//! Taking and settling work items.

use std::time::Duration;

use async_trait::async_trait;
use protocol::ids::{AgentName, OrchestrationName, Seq};
use protocol::subject;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, sleep_until};

use super::Memory;
use super::consumer::{Consumer, Handed, SourceId};
use super::faults::{Chance, Fault};
use super::log::Log;
use crate::work::old_after;
use crate::{Settle, WorkError, WorkItem, WorkSource};

/// Whose work items.
#[derive(Clone, Debug)]
struct Place {
    memory: Memory,
    orchestration: OrchestrationName,
    agent: AgentName,
}

impl Place {
    fn with_consumer<T>(&self, act: impl FnOnce(&mut Consumer, &Log, &mut Chance) -> T) -> Option<T> {
        let act = |stream: &mut super::Stream, chance: &mut Chance| {
            let consumer = stream.consumers.get_mut(&self.agent)?;
            Some(act(consumer, &stream.log, chance))
        };
        self.memory.with_stream(&self.orchestration, act).flatten()
    }

    fn no_consumer(&self) -> WorkError {
        WorkError::NoConsumer { stream: subject::stream(&self.orchestration), consumer: subject::consumer(&self.agent) }
    }
}

#[derive(Debug)]
struct Source {
    place: Place,
    id: SourceId,
}

pub(super) fn source(memory: &Memory, orchestration: &OrchestrationName, agent: &AgentName) -> Result<Box<dyn WorkSource>, WorkError> {
    let place = Place { memory: memory.clone(), orchestration: orchestration.clone(), agent: agent.clone() };
    place.with_consumer(|_, _, _| ()).ok_or_else(|| place.no_consumer())?;
    let id = memory.lock().fresh_id();
    Ok(Box::new(Source { place, id }))
}

/// What a look at the consumer gave.
enum Found {
    Item(WorkItem),
    Nothing { changed: OwnedNotified, due: Option<Instant> },
}

impl Source {
    fn look(&self, free: usize) -> Option<Found> {
        let Place { memory, .. } = &self.place;
        let now_ms = memory.now_ms();
        self.place.with_consumer(|consumer, log, chance| {
            consumer.pull(self.id, free);
            consumer.pump(log, Instant::now(), chance);
            if let Some(Handed { stored, delivered, is_recounted }) = consumer.take(self.id) {
                let is_old = Duration::from_millis(now_ms.saturating_sub(stored.time_ms)) > old_after(consumer.ack_wait);
                let settle = Box::new(Settlement { place: self.place.clone(), seq: stored.seq });
                return Found::Item(WorkItem { stored, delivered, is_old, is_recounted, settle });
            }
            Found::Nothing { changed: consumer.changed.clone().notified_owned(), due: consumer.next_due() }
        })
    }
}

#[async_trait]
impl WorkSource for Source {
    async fn next(&mut self, free: usize) -> Result<WorkItem, WorkError> {
        let Place { memory, .. } = &self.place;
        memory.up().await;
        if memory.lock().chance.strikes(Fault::Unavailable) {
            return Err(WorkError::Unavailable("the pull timed out".to_owned()));
        }
        loop {
            memory.up().await;
            match self.look(free.max(1)).ok_or_else(|| self.place.no_consumer())? {
                Found::Item(item) => return Ok(item),
                Found::Nothing { changed, due: None } => changed.await,
                Found::Nothing { changed, due: Some(due) } => tokio::select! {
                    () = changed => {}
                    () = sleep_until(due) => {}
                },
            }
        }
    }

    async fn close(&mut self) {
        let (now, is_up) = (Instant::now(), self.place.memory.is_up());
        self.place.with_consumer(|consumer, log, chance| {
            // What cannot be given back comes again after the ack wait.
            for handed in consumer.leave(self.id).into_iter().filter(|_| is_up) {
                consumer.postpone(handed.stored.seq, now);
            }
            consumer.pump(log, now, chance);
        });
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.place.with_consumer(|consumer, _, _| consumer.leave(self.id));
    }
}

#[derive(Debug)]
struct Settlement {
    place: Place,
    seq: Seq,
}

impl Settlement {
    fn tell(&self, change: impl FnOnce(&mut Consumer, Instant)) {
        if !self.place.memory.is_up() {
            return;
        }
        self.place.with_consumer(|consumer, log, chance| {
            if !chance.strikes(Fault::SettlementLost) {
                let now = Instant::now();
                change(consumer, now);
                consumer.pump(log, now, chance);
                consumer.changed.notify_waiters();
            }
        });
    }
}

#[async_trait]
impl Settle for Settlement {
    async fn ack(&self) {
        self.tell(|consumer, _| consumer.settle(self.seq));
    }

    async fn extend(&self) {
        self.tell(|consumer, now| consumer.postpone(self.seq, now + consumer.ack_wait));
    }

    async fn give_back(&self, delay: Duration) {
        self.tell(|consumer, now| consumer.postpone(self.seq, now + delay));
    }

    async fn terminate(&self) {
        self.tell(|consumer, _| consumer.settle(self.seq));
    }
}
