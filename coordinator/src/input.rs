//! Everything that reaches a driver from outside: entries, heartbeats, announcements, questions. None of these streams
//! ends for good or fails: what goes wrong is logged, waited out and begun again.

use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use journal::{Connection, Delivery, Follow, FollowError, Scope, Shared, Start};
use protocol::ids::{OrchestrationName, Seq};
use protocol::query::verb;
use protocol::subject;
use protocol::wire::Stored;
use tokio::sync::watch::Receiver;
use tokio::time::sleep;

use crate::query::VERBS;

/// Before something that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Entries taken in before anything else is looked at.
const ENTRIES_MAX: usize = 512;
/// The replicas that answer share the questions.
pub(crate) const QUEUE: &str = "coordinator";

/// What comes in.
pub(crate) struct Inputs {
    pub(crate) entries: BoxStream<'static, Vec<Stored>>,
    pub(crate) beats: BoxStream<'static, Delivery>,
    pub(crate) hellos: BoxStream<'static, Delivery>,
    pub(crate) queries: BoxStream<'static, (&'static str, Delivery)>,
    pub(crate) link: Link,
}

/// The connection to the broker.
pub(crate) struct Link {
    connection: Receiver<Connection>,
    generation: u64,
}

impl Inputs {
    /// Everything but questions, with the entries after `last`.
    pub(crate) async fn open(broker: &Shared, name: &OrchestrationName, last: Seq) -> Self {
        let mut connection = broker.connection();
        let generation = connection.borrow_and_update().generation;
        Self {
            beats: listen(broker, subject::heartbeats(name), None).await,
            hellos: listen(broker, subject::gateway_hellos(name), None).await,
            entries: entries(broker.clone(), name.clone(), last).ready_chunks(ENTRIES_MAX).boxed(),
            queries: stream::pending().boxed(),
            link: Link { connection, generation },
        }
    }

    /// Questions and wishes too: only once they can be answered, because another replica may know more.
    pub(crate) async fn take_queries(&mut self, broker: &Shared, name: &OrchestrationName) {
        let mut verbs = Vec::new();
        for verb in VERBS {
            let questions = listen(broker, subject::coordinator(name, verb), Some(QUEUE)).await;
            verbs.push(questions.map(move |question| (verb, question)).boxed());
        }
        let wishes = listen(broker, subject::operator(name, verb::ERASE), Some(QUEUE)).await;
        verbs.push(wishes.map(|wish| (verb::ERASE, wish)).boxed());
        self.queries = stream::select_all(verbs).boxed();
    }
}

impl Link {
    /// Waits until the connection was lost and is there again.
    pub(crate) async fn reconnected(&mut self) {
        let generation = self.generation;
        let is_another = |connection: &Connection| connection.is_up && connection.generation != generation;
        let generation = self.connection.wait_for(is_another).await.map(|connection| connection.generation);
        match generation {
            Ok(generation) => self.generation = generation,
            // The connection is closed for good.
            Err(_) => std::future::pending().await,
        }
    }
}

/// The headers of all entries after `last`.
fn entries(broker: Shared, orchestration: OrchestrationName, last: Seq) -> BoxStream<'static, Stored> {
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
async fn listen(broker: &Shared, subject: String, queue: Option<&'static str>) -> BoxStream<'static, Delivery> {
    match broker.listen(&subject, queue).await {
        Ok(deliveries) => deliveries.fuse().boxed(),
        Err(error) => {
            tracing::warn!(subject, "cannot listen: {error}");
            listen_again(broker.clone(), subject, queue).into_stream().flatten().fuse().boxed()
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
