//! The broker: NATS JetStream.
//!
//! One file for each contract (`append`, `read`, `work`, `follow`, `bus`, `store` with `objects`, `provision`) over five that they
//! share: `connect` makes and watches the connection, `quorum` leaves a server that stores nothing, `request` asks and knows every
//! way in which an answer can fail to come, `pull` keeps count of what was ordered from a consumer, `claim` keeps what is too large
//! for a message.

mod append;
mod bus;
mod claim;
mod connect;
mod follow;
mod inspect;
pub mod measure;
mod message;
mod objects;
mod provision;
mod pull;
mod quorum;
mod read;
mod request;
mod settings;
mod store;
mod things;
mod version;
mod work;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use protocol::conversation::Prepared;
use protocol::ids::{AgentName, ConversationId, OrchestrationName, Ordinal};
use protocol::subject;
use protocol::wire::Stored;

pub use connect::{ConnectError, RECONNECT_DELAY_MAX};
pub use inspect::{Backlog, DeadLetters, Difference, Found, Inspected, Permissions, Rule, Server, There, User};
pub use settings::{DEFAULT_URL, Login, Settings, SettingsError, Tls};

use crate::{Append, Follow, FollowError, Journal, ReadError, WorkError, WorkSource};
use request::Link;

/// A connection to a nats-server or a cluster of them. Cheap to clone: all clones share it.
#[derive(Clone, Debug)]
pub struct Nats {
    link: Arc<Link>,
}

impl Nats {
    /// Connects, and makes sure that the server is new enough.
    ///
    /// # Errors
    /// [`ConnectError`], which says what to do about it.
    pub async fn connect(settings: &Settings) -> Result<Self, ConnectError> {
        let (client, events) = connect::connect(settings).await?;
        Ok(Self { link: Arc::new(Link::new(client, events, settings.is_synced)) })
    }
}

#[async_trait]
impl Journal for Nats {
    async fn append(&self, prepared: &Prepared) -> Append {
        append::append(&self.link, prepared).await
    }

    async fn tail(&self, orchestration: &OrchestrationName, conversation: &ConversationId) -> Result<Option<Stored>, ReadError> {
        let tail = self.link.last(&subject::stream(orchestration), &subject::fence(orchestration, conversation)).await?;
        self.link.redeem_found(orchestration, tail).await
    }

    async fn at(
        &self,
        orchestration: &OrchestrationName,
        conversation: &ConversationId,
        ordinal: Ordinal,
    ) -> Result<Option<Stored>, ReadError> {
        let entry = self.link.entry_at(orchestration, conversation, ordinal).await?;
        self.link.redeem_found(orchestration, entry).await
    }

    async fn sealed(
        &self,
        orchestration: &OrchestrationName,
        conversation: &ConversationId,
        ordinals: &[Ordinal],
    ) -> Result<Vec<Stored>, ReadError> {
        read::sealed(&self.link, orchestration, conversation, ordinals).await
    }

    async fn messages(&self, orchestration: &OrchestrationName, conversation: &ConversationId) -> Result<Vec<Stored>, ReadError> {
        read::messages(&self.link, orchestration, conversation).await
    }

    async fn work(&self, orchestration: &OrchestrationName, agent: &AgentName) -> Result<Box<dyn WorkSource>, WorkError> {
        work::work(&self.link, orchestration, agent).await
    }

    async fn follow(
        &self,
        orchestration: &OrchestrationName,
        follow: Follow,
    ) -> Result<BoxStream<'static, Result<Stored, FollowError>>, FollowError> {
        follow::follow(&self.link, orchestration, &follow).await
    }
}
