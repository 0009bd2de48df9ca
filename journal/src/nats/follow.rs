//! Following entries in order, through consumers that come and go: the position is the follower's own.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy};
use futures::stream::{self, BoxStream, StreamExt};
use protocol::ids::{OrchestrationName, Seq};
use protocol::subject;
use protocol::wire::Stored;
use serde::Deserialize;
use serde_json::json;

use super::message::delivered;
use super::pull::{Pull, Pulled};
use super::request::{SharedLink, code};
use crate::claim::{claimed, without_payload};
use crate::{Follow, FollowError, ReadError, Scope, Start};

/// Deliveries ordered at once; half of them come before more are ordered.
const BATCH: usize = 256;

/// The broker forgets a consumer that nobody has pulled from for so long.
const FORGET_AFTER: Duration = Duration::from_secs(60);

const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Entries from some place on.
pub(super) async fn follow(
    link: &SharedLink,
    orchestration: &OrchestrationName,
    follow: &Follow,
) -> Result<BoxStream<'static, Result<Stored, FollowError>>, FollowError> {
    let filter = match &follow.scope {
        Scope::All => subject::entries(orchestration),
        Scope::Conversation(conversation) => subject::fence(orchestration, conversation),
    };
    let mut follower = Follower {
        link: link.clone(),
        orchestration: orchestration.clone(),
        stream: subject::stream(orchestration),
        filter,
        has_bodies: follow.bodies,
        seen: match follow.start {
            Start::First => Some(Seq(0)),
            Start::After(seq) => Some(seq),
            Start::New => None,
        },
        feed: None,
    };
    follower.feed = Some(follower.open().await?);
    let entries = stream::unfold(Some(follower), |follower| async {
        let mut follower = follower?;
        match follower.next().await {
            Ok(entry) => Some((Ok(entry), Some(follower))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(entries.boxed())
}

struct Follower {
    link: SharedLink,
    orchestration: OrchestrationName,
    stream: String,
    filter: String,
    has_bodies: bool,
    /// Everything up to here has been seen, or was not asked for; none until "from now on" has become a number.
    seen: Option<Seq>,
    feed: Option<Feed>,
}

/// A consumer and how far it has been read. Its deliveries are numbered without a gap: a gap is a loss.
struct Feed {
    pull: Pull,
    last_number: u64,
}

impl Follower {
    /// The next entry, whatever happens to consumers and connections meanwhile.
    async fn next(&mut self) -> Result<Stored, FollowError> {
        loop {
            let feed = match &mut self.feed {
                Some(feed) => feed,
                None => match self.open().await {
                    Ok(feed) => self.feed.insert(feed),
                    Err(FollowError::Unavailable(why)) => {
                        tracing::debug!(stream = self.stream, "following waits: {why}");
                        tokio::time::sleep(RETRY_AFTER).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            if feed.pull.outstanding() * 2 < BATCH && feed.pull.order(BATCH - feed.pull.outstanding()).await.is_err() {
                self.feed = None;
                continue;
            }
            match feed.pull.next().await {
                Pulled::Message(message) => {
                    let Some((entry, token, _)) = delivered(message) else { continue };
                    if token.number != feed.last_number + 1 {
                        self.feed = None;
                        continue;
                    }
                    feed.last_number = token.number;
                    if self.seen.is_none_or(|seen| entry.seq > seen) {
                        self.seen = Some(entry.seq);
                        return self.redeem(entry).await;
                    }
                }
                // The last deliveries were lost on the way, and no later one shows the gap.
                Pulled::Idle(number) if number > feed.last_number => self.feed = None,
                Pulled::Idle(_) | Pulled::Expired => {}
                Pulled::Void(void) => {
                    tracing::debug!(stream = self.stream, ?void, "following goes on with another consumer");
                    self.feed = None;
                }
            }
        }
    }

    /// The entry as its writer prepared it. One whose payload is lost comes as it is stored, which nobody can decode: who
    /// follows many conversations must see that, and see the others go on.
    async fn redeem(&self, entry: Stored) -> Result<Stored, FollowError> {
        if !self.has_bodies {
            return Ok(without_payload(entry));
        }
        if claimed(&entry).is_none() {
            return Ok(entry);
        }
        loop {
            match self.link.redeem(&self.orchestration, entry.clone()).await {
                Ok(entry) => return Ok(entry),
                Err(ReadError::Unavailable(why)) => {
                    tracing::debug!(stream = self.stream, "following waits for a payload: {why}");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(ReadError::Refused(why)) => return Err(FollowError::Refused(why)),
                Err(ReadError::Damaged { .. } | ReadError::Incomplete { .. }) => return Ok(entry),
            }
        }
    }

    /// A consumer that begins after what has been seen.
    async fn open(&mut self) -> Result<Feed, FollowError> {
        #[derive(Deserialize)]
        struct Created {
            delivered: Position,
        }
        #[derive(Deserialize)]
        struct Position {
            stream_seq: u64,
        }
        let inbox = self.link.client.new_inbox();
        let name = format!("follow-{}", inbox.rsplit('.').next().unwrap_or_default());
        let config = Config {
            name: Some(name.clone()),
            deliver_policy: match self.seen {
                None => DeliverPolicy::New,
                Some(Seq(0)) => DeliverPolicy::All,
                Some(seen) => DeliverPolicy::ByStartSequence { start_sequence: seen.0 + 1 },
            },
            ack_policy: AckPolicy::None,
            filter_subject: self.filter.clone(),
            headers_only: !self.has_bodies,
            inactive_threshold: FORGET_AFTER,
            memory_storage: true,
            num_replicas: 1,
            ..Config::default()
        };
        let verb = format!("CONSUMER.CREATE.{}.{name}.{}", self.stream, self.filter);
        let body = json!({ "stream_name": self.stream, "config": config, "action": "create" });
        let created: Created = match self.link.api(&verb, &body).await {
            Ok(created) => created,
            Err(failure) if failure.is(code::STREAM_NOT_FOUND) => return Err(FollowError::NoStream(self.stream.clone())),
            Err(failure) => return Err(failure.into()),
        };
        // "From now on" is a number from here on: whatever happens to this consumer, the next begins where it did.
        self.seen.get_or_insert(Seq(created.delivered.stream_seq));
        let pull = Pull::new(&self.link, &self.stream, &name).await?;
        Ok(Feed { pull, last_number: 0 })
    }
}
