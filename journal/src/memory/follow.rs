//! Following entries in order.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use protocol::ids::{OrchestrationName, Seq};
use protocol::subject;
use protocol::wire::Stored;
use tokio::sync::futures::OwnedNotified;

use super::faults::Fault;
use super::{Memory, pause};
use crate::claim::without_payload;
use crate::{Follow, FollowError, Start};

type Entry = Result<Stored, FollowError>;

struct Follower {
    memory: Memory,
    orchestration: OrchestrationName,
    follow: Follow,
    next: Seq,
}

/// What a look at the stream gave.
enum Found {
    Entry { stored: Stored, interruption: Option<Duration> },
    Nothing(OwnedNotified),
}

pub(super) fn entries(
    memory: &Memory,
    orchestration: &OrchestrationName,
    follow: Follow,
) -> Result<BoxStream<'static, Entry>, FollowError> {
    let last = memory.with_stream(orchestration, |stream, _| stream.log.last()).ok_or_else(|| no_stream(orchestration))?;
    let next = match follow.start {
        Start::First => Seq(1),
        Start::After(seq) => Seq(seq.0 + 1),
        Start::New => Seq(last.0 + 1),
    };
    let follower = Follower { memory: memory.clone(), orchestration: orchestration.clone(), follow, next };
    Ok(stream::unfold(follower, async |mut follower| Some((follower.next().await, follower))).boxed())
}

impl Follower {
    async fn next(&mut self) -> Entry {
        loop {
            self.memory.up().await;
            match self.look().ok_or_else(|| no_stream(&self.orchestration))? {
                Found::Nothing(appended) => appended.await,
                Found::Entry { stored, interruption } => {
                    pause(interruption.unwrap_or_default()).await;
                    self.next = Seq(stored.seq.0 + 1);
                    return Ok(stored);
                }
            }
        }
    }

    fn look(&self) -> Option<Found> {
        self.memory.with_stream(&self.orchestration, |stream, chance| match stream.log.first_in(&self.follow.scope, self.next) {
            Some(stored) => {
                let interruption = chance.strikes(Fault::FollowInterrupted).then(|| chance.delay());
                let stored = match self.follow.bodies {
                    true => stream.log.redeem_or_raw(stored),
                    false => without_payload(Stored { payload: Bytes::new(), ..stored.clone() }),
                };
                Found::Entry { stored, interruption }
            }
            None => Found::Nothing(stream.appended.clone().notified_owned()),
        })
    }
}

fn no_stream(orchestration: &OrchestrationName) -> FollowError {
    FollowError::NoStream(subject::stream(orchestration))
}
