//! Following a conversation: one read for what has happened, then the journal for what happens, and the bus for tokens.

use std::collections::VecDeque;

use futures::future::ready;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use journal::{Delivery, Follow, RequestError, Scope, Start};
use protocol::conversation::FoldError;
use protocol::ids::{AgentName, ConversationId, EventId, Seq};
use protocol::live::Live;
use protocol::subject;
use protocol::wire::{DecodeError, Stored};

use crate::{Classified, Client, Followed, Follower, Recorded, Status, Unread};

/// Why a conversation cannot be followed (any further).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// It could not be read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// The journal does not let it be followed.
    #[error(transparent)]
    Journal(#[from] journal::FollowError),
    /// Live tokens cannot be listened to.
    #[error("live tokens cannot be listened to: {0}")]
    Bus(#[from] RequestError),
}

impl Classified for FollowError {
    fn classify(&self) -> (Status, &'static str) {
        match self {
            Self::Unread(error) => error.classify(),
            Self::Journal(journal::FollowError::Unavailable(_)) | Self::Bus(_) => (Status::Unavailable, "unavailable"),
            Self::Journal(_) => (Status::Internal, "refused"),
        }
    }
}

type Entries = BoxStream<'static, Result<Stored, journal::FollowError>>;

impl Client {
    /// The events of a conversation after `after` (all, without one), in order, without gap or repeat. The stream ends
    /// after the event that ends the conversation.
    ///
    /// # Errors
    /// [`FollowError`], here and as the stream's last item.
    pub async fn follow(
        &self,
        conversation: &ConversationId,
        after: Option<EventId>,
    ) -> Result<BoxStream<'static, Result<Recorded, FollowError>>, FollowError> {
        let events = self.following(conversation, after, false).await?.into_stream();
        let event = |followed| match followed {
            Ok(Followed::Event(recorded)) => Some(Ok(*recorded)),
            Ok(Followed::Token(_)) => None,
            Err(error) => Some(Err(error)),
        };
        Ok(events.filter_map(move |followed| ready(event(followed))).boxed())
    }

    /// The same, with the live tokens of whoever speaks.
    ///
    /// # Errors
    /// As [`follow`](Self::follow).
    pub async fn follow_live(
        &self,
        conversation: &ConversationId,
        after: Option<EventId>,
    ) -> Result<BoxStream<'static, Result<Followed, FollowError>>, FollowError> {
        Ok(self.following(conversation, after, true).await?.into_stream())
    }

    /// One who follows from `after` on, and what there is to show since: for whoever receives the orchestration's entries
    /// and pieces by a subscription of its own, which must have begun before this call.
    ///
    /// # Errors
    /// [`Unread`].
    pub async fn follower(
        &self,
        conversation: &ConversationId,
        after: Option<EventId>,
        live: bool,
    ) -> Result<(Follower, Vec<Followed>), Unread> {
        let deadline = self.deadline();
        let mut loaded = self.load(conversation, deadline).await?;
        // What the subscription has brought already comes no second time: a replica that lags must not hide it.
        while let Some(seq) = self.newer(&loaded.conversation, deadline).await? {
            loaded = self.load_up_to(conversation, seq, deadline).await?;
        }
        Ok(Follower::new(&loaded.conversation, loaded.time_ms, after, live))
    }

    /// What a follower has missed, up to the entry of sequence `seq` at least.
    ///
    /// # Errors
    /// [`Unread`].
    pub async fn catch_up(&self, conversation: &ConversationId, follower: &mut Follower, seq: Seq) -> Result<Vec<Followed>, Unread> {
        let loaded = self.load_up_to(conversation, seq, self.deadline()).boxed().await?;
        Ok(follower.replace(&loaded.conversation, loaded.time_ms))
    }

    async fn following(&self, id: &ConversationId, after: Option<EventId>, live: bool) -> Result<Following, FollowError> {
        // Listened to before the conversation is read: what is said in between is not lost.
        let pieces = match live {
            true => self.broker.listen(&subject::live_of(&self.orchestration, id), None).await?,
            false => stream::pending().boxed(),
        };
        let loaded = self.load(id, self.deadline()).await?;
        let (follower, shown) = Follower::new(&loaded.conversation, loaded.time_ms, after, live);
        let tail = follower.tail().seq;
        let entries = match follower.is_ended() {
            true => stream::empty().boxed(),
            false => {
                let follow = Follow { scope: Scope::Conversation(id.clone()), start: Start::After(tail), bodies: true };
                self.broker.follow(&self.orchestration, follow).await?
            }
        };
        Ok(Following { client: self.clone(), id: id.clone(), follower, entries, pieces, shown: shown.into(), is_broken: false })
    }
}

struct Following {
    client: Client,
    id: ConversationId,
    follower: Follower,
    entries: Entries,
    pieces: BoxStream<'static, Delivery>,
    shown: VecDeque<Followed>,
    is_broken: bool,
}

impl Following {
    fn into_stream(self) -> BoxStream<'static, Result<Followed, FollowError>> {
        stream::unfold(self, async |mut following| Some((following.next().await?, following))).boxed()
    }

    async fn next(&mut self) -> Option<Result<Followed, FollowError>> {
        loop {
            if let Some(followed) = self.shown.pop_front() {
                return Some(Ok(followed));
            }
            if self.is_broken || self.follower.is_ended() {
                return None;
            }
            if let Err(error) = self.advance().await {
                self.is_broken = true;
                return Some(Err(error));
            }
        }
    }

    async fn advance(&mut self) -> Result<(), FollowError> {
        tokio::select! {
            // Tokens are said before the entry that holds them is stored: taken first, they are in order.
            biased;
            Some(piece) = self.pieces.next() => {
                if let Some((agent, live)) = spoken(&piece) {
                    let from = live.index;
                    self.shown.extend(self.follower.said(agent, live, from));
                }
            }
            Some(stored) = self.entries.next() => self.stored(&stored?).await?,
            else => self.is_broken = true,
        }
        Ok(())
    }

    async fn stored(&mut self, stored: &Stored) -> Result<(), FollowError> {
        match self.follower.stored(stored) {
            Ok(shown) => self.shown.extend(shown),
            Err(error @ FoldError::Decode(DecodeError::Newer { .. })) => return Err(Unread::from(error).into()),
            Err(_) => self.shown.extend(self.client.catch_up(&self.id, &mut self.follower, stored.seq).await?),
        }
        Ok(())
    }
}

/// Who said which piece; what is neither is nobody's.
fn spoken(delivery: &Delivery) -> Option<(AgentName, Live)> {
    let agent = delivery.subject.split('.').nth(3)?.parse().ok()?;
    Some((agent, Live::decode(&delivery.payload).ok()?))
}
