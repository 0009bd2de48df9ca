//! Everything that reaches a driver from outside: entries, heartbeats, announcements, questions. None of these streams
//! ends for good or fails: what goes wrong is logged, waited out and begun again.

use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use journal::{Delivery, Follow, FollowError, Scope, Shared, Start};
use protocol::ids::{OrchestrationName, Seq};
use protocol::wire::Stored;
use tokio::time::sleep;

/// Before something that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The headers of all entries after `last`.
pub(crate) fn entries(broker: Shared, orchestration: OrchestrationName, last: Seq) -> BoxStream<'static, Stored> {
    let follower = Follower { broker, orchestration, last, following: None };
    stream::unfold(follower, async |mut follower| Some((follower.next().await, follower))).boxed()
}

struct Follower {
    broker: Shared,
    orchestration: OrchestrationName,
    last: Seq,
    following: Option<BoxStream<'static, Result<Stored, FollowError>>>,
}

impl Follower {
    async fn next(&mut self) -> Stored {
        loop {
            match self.try_next().await {
                Ok(Some(stored)) => {
                    self.last = stored.seq;
                    return stored;
                }
                Ok(None) => tracing::warn!(orchestration = %self.orchestration, "following the stream ended; it begins again"),
                Err(error) => tracing::warn!(orchestration = %self.orchestration, "{error}"),
            }
            self.following = None;
            sleep(RETRY).await;
        }
    }

    async fn try_next(&mut self) -> Result<Option<Stored>, FollowError> {
        let following = match &mut self.following {
            Some(following) => following,
            None => {
                let start = if self.last == Seq(0) { Start::First } else { Start::After(self.last) };
                let follow = Follow { scope: Scope::All, start, bodies: false };
                self.following.insert(self.broker.follow(&self.orchestration, follow).await?)
            }
        };
        following.next().await.transpose()
    }
}

/// What is said on a subject. Once this returns the subscription is there, unless the broker refuses it for now.
pub(crate) async fn listen(broker: &Shared, subject: String, queue: Option<&'static str>) -> BoxStream<'static, Delivery> {
    match broker.listen(&subject, queue).await {
        Ok(deliveries) => deliveries,
        Err(error) => {
            tracing::warn!(subject, "cannot listen: {error}");
            listen_again(broker.clone(), subject, queue).into_stream().flatten().boxed()
        }
    }
}

async fn listen_again(broker: Shared, subject: String, queue: Option<&'static str>) -> BoxStream<'static, Delivery> {
    loop {
        sleep(RETRY).await;
        if let Ok(deliveries) = broker.listen(&subject, queue).await {
            return deliveries;
        }
    }
}
