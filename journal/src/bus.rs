//! What is said and not stored: live tokens, notices, heartbeats, questions with an answer.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::sync::watch;

/// What goes along with a message: one line each, by name.
pub type Headers = BTreeMap<String, String>;

/// A message that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where.
    pub subject: String,
    /// What goes along.
    pub headers: Headers,
    /// What.
    pub payload: Bytes,
    /// Where an answer is awaited, if one is.
    pub reply: Option<String>,
}

/// What somebody answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What goes along.
    pub headers: Headers,
    /// What.
    pub payload: Bytes,
}

/// At most once, to whoever listens now.
#[async_trait]
pub trait Bus: Send + Sync + fmt::Debug {
    /// Says something; nobody may be listening, and a broken connection loses it.
    async fn say(&self, subject: &str, payload: Bytes) {
        self.say_with(subject, Headers::new(), payload).await;
    }

    /// Says something with headers.
    async fn say_with(&self, subject: &str, headers: Headers, payload: Bytes);

    /// Listens. With `queue`, each message goes to one of those who listen under that name. Subscriptions survive a
    /// reconnect; what was said meanwhile is lost.
    async fn listen(&self, subject: &str, queue: Option<&str>) -> Result<BoxStream<'static, Delivery>, RequestError>;

    /// Asks one of those who listen, and waits for the answer.
    async fn ask(&self, subject: &str, payload: Bytes, timeout: Duration) -> Result<Bytes, RequestError> {
        Ok(self.ask_with(subject, Headers::new(), payload, timeout).await?.payload)
    }

    /// Asks with headers, and gets those of the answer: how services of others are asked (ADR-32).
    async fn ask_with(&self, subject: &str, headers: Headers, payload: Bytes, timeout: Duration) -> Result<Answer, RequestError>;

    /// Asks all who listen, and collects what they answer until `timeout`.
    async fn ask_all(&self, subject: &str, payload: Bytes, timeout: Duration) -> Result<Vec<Bytes>, RequestError>;

    /// The connection's state, now and at every change; a reconnect counts `generation` up.
    fn connection(&self) -> watch::Receiver<Connection>;

    /// The server that the connection was last made to, by name; none where the broker is no server.
    fn server_name(&self) -> Option<String>;

    /// Sends everything that waits to be sent, and then closes the connection.
    async fn drain(&self);
}

/// The state of the connection to the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Whether there is one.
    pub is_up: bool,
    /// How often it has been made.
    pub generation: u64,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nobody listens there: the broker says so at once.
    #[error("nobody answers at {0}")]
    NoResponders(String),
    /// Somebody may be listening, but no answer came in time.
    #[error("no answer from {0} in time")]
    Timeout(String),
    /// The broker refused or is unreachable.
    #[error("the broker refused: {0}")]
    Refused(String),
}
