//! A question to the broker, and every way in which it can stay without an answer.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind, ServerInfo};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::connect::{Events, Violation};
use super::quorum::Quorum;
use crate::{Connection, FollowError, ReadError, RequestError, StoreError, WorkError};

/// How long one question waits for its answer: longer than a healthy cluster ever takes, shorter than anybody's patience.
pub(super) const TRY_AT_MOST: Duration = Duration::from_secs(2);

/// How long a question that may be repeated is repeated.
pub(super) const ANSWER_AT_MOST: Duration = Duration::from_secs(5);

/// Before it is asked again.
pub(super) const REPEAT_AFTER: Duration = Duration::from_millis(100);

/// Error codes of JetStream's answers.
pub(super) mod code {
    pub(in super::super) const ACCOUNT_RESOURCES: u64 = 10002;
    pub(in super::super) const NO_SUITABLE_PEERS: u64 = 10005;
    pub(in super::super) const CONSUMER_NOT_FOUND: u64 = 10014;
    pub(in super::super) const INSUFFICIENT_RESOURCES: u64 = 10023;
    pub(in super::super) const MEMORY_RESOURCES: u64 = 10028;
    pub(in super::super) const MESSAGE_NOT_FOUND: u64 = 10037;
    pub(in super::super) const NOT_ENABLED_FOR_ACCOUNT: u64 = 10039;
    pub(in super::super) const STORAGE_RESOURCES: u64 = 10047;
    pub(in super::super) const MESSAGE_TOO_LARGE: u64 = 10054;
    pub(in super::super) const STREAM_NAME_IN_USE: u64 = 10058;
    pub(in super::super) const STREAM_NOT_FOUND: u64 = 10059;
    pub(in super::super) const WRONG_LAST_SEQUENCE: u64 = 10071;
    pub(in super::super) const NOT_ENABLED: u64 = 10076;
    pub(in super::super) const STORE_FAILED: u64 = 10077;
    pub(in super::super) const HEADER_TOO_LARGE: u64 = 10097;
    pub(in super::super) const CONSUMER_EXISTS: u64 = 10148;
    pub(in super::super) const LAST_SEQUENCE_NOT_READY: u64 = 10163;
    pub(in super::super) const WRONG_LAST_SEQUENCE_IN_FLIGHT: u64 = 10164;
}

/// An error as JetStream answers it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{description} ({err_code}){}", way_out(*.err_code))]
pub(super) struct Denied {
    /// In the manner of HTTP.
    #[serde(default)]
    pub(super) code: u64,
    /// What exactly.
    #[serde(default)]
    pub(super) err_code: u64,
    /// In words.
    #[serde(default)]
    pub(super) description: String,
}

const fn way_out(err_code: u64) -> &'static str {
    match err_code {
        code::STREAM_NOT_FOUND => ": is the orchestration provisioned? (`baton coordinator` does it)",
        _ => "",
    }
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// Nothing came in time, or the connection broke: what was asked for may have been done.
    #[error("{0}")]
    Unanswered(String),
    /// Nobody listens: what was asked for has not been done.
    #[error("nobody answers at {0}{way_out}", way_out = if .0.starts_with("$JS.") { ": is JetStream enabled there? (`nats-server -js`)" } else { "" })]
    NoResponders(String),
    /// This process may not ask that.
    #[error("this login is not permitted to publish to {0}")]
    NotPermitted(String),
    /// The answer is no.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It could not be sent as it is, or the answer makes no sense.
    #[error("{0}")]
    Invalid(String),
}

impl Failure {
    /// Whether the same question may get an answer later.
    pub(super) const fn is_passing(&self) -> bool {
        match self {
            Self::Unanswered(_) | Self::NoResponders(_) => true,
            // 503 and the like: no leader now; too many requests now.
            Self::Denied(denied) => denied.code >= 500 || denied.code == 429,
            Self::NotPermitted(_) | Self::Invalid(_) => false,
        }
    }

    /// Whether there is no room for a thing's copies because a server of the cluster is away, and not because there are too few.
    pub(super) fn is_short_of_a_peer(&self) -> bool {
        matches!(self, Self::Denied(denied) if denied.err_code == code::NO_SUITABLE_PEERS && denied.description.contains("peer offline"))
    }

    /// Whether the answer is no, for this reason.
    pub(super) const fn is(&self, code: u64) -> bool {
        matches!(self, Self::Denied(denied) if denied.err_code == code)
    }
}

/// Each contract tells what passes from what does not.
macro_rules! from_failure {
    ($($error:ident),*) => {
        $(impl From<Failure> for $error {
            fn from(failure: Failure) -> Self {
                if failure.is_passing() { Self::Unavailable(failure.to_string()) } else { Self::Refused(failure.to_string()) }
            }
        })*
    };
}
from_failure!(ReadError, StoreError, WorkError, FollowError);

impl From<Failure> for RequestError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoResponders(subject) => Self::NoResponders(subject),
            Failure::Unanswered(subject) => Self::Timeout(subject),
            Failure::NotPermitted(_) | Failure::Denied(_) | Failure::Invalid(_) => Self::Refused(failure.to_string()),
        }
    }
}

/// The client with what it tells unasked; what every part of this module works with.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) is_synced: bool,
    events: Events,
    quorum: Quorum,
}

impl Link {
    pub(super) fn new(client: Client, events: Events, is_synced: bool) -> Self {
        Self { client, is_synced, events, quorum: Quorum::default() }
    }

    pub(super) fn connection(&self) -> watch::Receiver<Connection> {
        self.events.connection.subscribe()
    }

    pub(super) fn is_up(&self) -> bool {
        self.events.connection.borrow().is_up
    }

    /// The server has told of something stored.
    pub(super) fn is_proven(&self) {
        self.quorum.is_proven();
    }

    /// The server has not answered what only the majority of its cluster can answer.
    pub(super) fn is_missed(&self) {
        self.quorum.is_missed(&self.client, &self.events.connection);
    }

    pub(super) fn server(&self) -> ServerInfo {
        self.client.server_info()
    }

    pub(super) fn violations(&self) -> broadcast::Receiver<Violation> {
        self.events.violations.subscribe()
    }

    /// Asks once. The broker answers a permission violation with an error that names the subject, not with a reply; and
    /// what is under way when the connection breaks is lost without a word: both end the waiting at once.
    pub(super) async fn request(
        &self,
        subject: &str,
        headers: Option<HeaderMap>,
        payload: Bytes,
        at_most: Duration,
    ) -> Result<Message, Failure> {
        let deadline = Instant::now() + at_most;
        let mut violations = self.violations();
        let mut connection = self.connection();
        let Some(generation) = up(&mut connection, deadline).await else {
            return Err(Failure::Unanswered("there is no connection to the broker".to_owned()));
        };
        let forbidden = Violation::Publish(subject.into());
        let timeout = Some(Some(deadline.saturating_duration_since(Instant::now())));
        let request = Request { payload: Some(payload), headers, timeout, inbox: None };
        tokio::select! {
            biased;
            answer = self.client.send_request(subject.to_owned(), request) => answer.map_err(|error| match error.kind() {
                RequestErrorKind::NoResponders => Failure::NoResponders(subject.to_owned()),
                RequestErrorKind::TimedOut => Failure::Unanswered(format!("no answer from {subject} within {at_most:?}")),
                RequestErrorKind::Other => Failure::Unanswered(error.to_string()),
                RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => Failure::Invalid(error.to_string()),
            }),
            () = violated(&mut violations, &forbidden) => Err(Failure::NotPermitted(subject.to_owned())),
            () = broken(&mut connection, generation) => Err(Failure::Unanswered("the connection to the broker broke".to_owned())),
        }
    }

    /// Asks until there is an answer: only what may be done twice.
    pub(super) async fn request_again(&self, subject: &str, payload: Bytes) -> Result<Message, Failure> {
        let deadline = Instant::now() + ANSWER_AT_MOST;
        loop {
            match self.request(subject, None, payload.clone(), TRY_AT_MOST).await {
                Err(Failure::Unanswered(_)) if Instant::now() < deadline => tokio::time::sleep(REPEAT_AFTER).await,
                answer => return answer,
            }
        }
    }

    /// Asks JetStream, which answers in JSON: `verb` is what follows `$JS.API.`.
    pub(super) async fn api<T: DeserializeOwned>(&self, verb: &str, body: &impl Serialize) -> Result<T, Failure> {
        let subject = format!("$JS.API.{verb}");
        let payload = serde_json::to_vec(body).map_err(|error| Failure::Invalid(error.to_string()))?;
        let answer = self.request_again(&subject, payload.into()).await;
        let answer = answer.and_then(|answer| parse(&answer.payload));
        if answer.as_ref().is_err_and(Failure::is_passing) {
            self.is_missed();
        }
        answer
    }

    /// A plain send. While there is no connection it is dropped rather than queued: what was worth saying then is stale
    /// when it is back, and a full queue would hold up everything else.
    pub(super) async fn send(&self, subject: &str, payload: Bytes) {
        self.send_with(subject, None, payload).await;
    }

    pub(super) async fn send_with(&self, subject: &str, headers: Option<HeaderMap>, payload: Bytes) {
        if !self.is_up() {
            return;
        }
        let sent = match headers {
            None => self.client.publish(subject.to_owned(), payload).await,
            Some(headers) => self.client.publish_with_headers(subject.to_owned(), headers, payload).await,
        };
        if let Err(error) = sent {
            tracing::debug!("not sent to {subject}: {error}");
        }
    }
}

/// The value in an answer, or the error in it.
pub(super) fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Failure> {
    #[derive(Deserialize)]
    struct Fault {
        error: Option<Denied>,
    }
    let senseless = |error: serde_json::Error| Failure::Invalid(format!("the broker's answer makes no sense: {error}"));
    match serde_json::from_slice::<Fault>(payload).map_err(senseless)?.error {
        Some(denied) => Err(Failure::Denied(denied)),
        None => serde_json::from_slice(payload).map_err(senseless),
    }
}

/// The generation of the connection as soon as there is one, if there is before the deadline.
async fn up(connection: &mut watch::Receiver<Connection>, deadline: Instant) -> Option<u64> {
    let up = tokio::time::timeout_at(deadline, connection.wait_for(|connection| connection.is_up)).await;
    up.ok()?.ok().map(|connection| connection.generation)
}

/// Ends when the connection of that generation does.
pub(super) async fn broken(connection: &mut watch::Receiver<Connection>, generation: u64) {
    // The sender lives as long as the client: an error means that everything ends.
    let _ = connection.wait_for(|now| !now.is_up || now.generation != generation).await;
}

/// Ends when the broker complains of exactly this.
pub(super) async fn violated(violations: &mut broadcast::Receiver<Violation>, expected: &Violation) {
    loop {
        match violations.recv().await {
            Ok(violation) if violation == *expected => return,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// A link as it is shared.
pub(super) type SharedLink = Arc<Link>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_away_is_waited_for_and_a_cluster_that_is_too_small_is_not() {
        let denied = |why: &str| {
            let description = format!("no suitable peers for placement, {why}");
            Failure::from(Denied { code: 400, err_code: code::NO_SUITABLE_PEERS, description })
        };
        assert!(denied("peer offline").is_short_of_a_peer());
        assert!(!denied("insufficient storage").is_short_of_a_peer());
    }
}
