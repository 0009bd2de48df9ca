//! The connection: made, watched, made again.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError};
use tokio::sync::{broadcast, watch};

use super::settings::{Login, Settings, Tls};
use super::version;
use crate::{Connection, ProvisionError};

/// The longest a client waits between two attempts to reconnect.
pub const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(2);

const RECONNECT_DELAY_BASE: Duration = Duration::from_millis(100);

/// A connection on which nothing arrives is given up after two pings without an answer.
const PING_INTERVAL: Duration = Duration::from_secs(2);

const CONNECT_AT_MOST: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// That is no address.
    #[error("{url:?} is not the address of a nats-server, as nats://host:4222 is: {why}")]
    Address {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file that the settings name cannot be used.
    #[error("{path} cannot be read: {why}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        why: String,
    },
    /// No server is there.
    #[error(
        "no nats-server answers at {url}: {why}. Start one there, say where it is with --nats or NATS_URL, or use `baton dev`, which \
         brings its own"
    )]
    Unreachable {
        /// The address.
        url: String,
        /// What was tried.
        why: String,
    },
    /// The server does not let this process in.
    #[error("the nats-server at {url} refuses the login: {why}. Set NATS_CREDS, NATS_NKEY, or NATS_USER and NATS_PASSWORD")]
    Login {
        /// The address.
        url: String,
        /// What it said.
        why: String,
    },
    /// The server is too old.
    #[error(transparent)]
    TooOld(ProvisionError),
}

/// What the server told without having been asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// This process may not publish to that subject.
    Publish(Arc<str>),
    /// Nor listen there.
    Subscribe(Arc<str>),
}

impl Violation {
    /// The violation in the text of an error: the server sends nothing else.
    fn parse(error: &str) -> Option<Self> {
        let quoted = |prefix| error.strip_prefix(prefix)?.split('"').next().map(Arc::from);
        let publish = quoted("Permissions Violation for Publish to \"").map(Self::Publish);
        publish.or_else(|| quoted("Permissions Violation for Subscription to \"").map(Self::Subscribe))
    }
}

/// The connection's state and the server's complaints, for everybody to watch.
#[derive(Clone)]
pub(super) struct Events {
    pub(super) connection: watch::Sender<Connection>,
    pub(super) violations: broadcast::Sender<Violation>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("connection", &*self.connection.borrow()).finish_non_exhaustive()
    }
}

impl Events {
    fn new() -> Self {
        Self { connection: watch::Sender::new(Connection::default()), violations: broadcast::Sender::new(256) }
    }

    fn take(&self, event: &Event) {
        match event {
            Event::Connected => self.connection.send_modify(|connection| {
                *connection = Connection { is_up: true, generation: connection.generation + 1 };
            }),
            Event::Disconnected | Event::Closed => self.connection.send_modify(|connection| connection.is_up = false),
            Event::ServerError(ServerError::Other(error)) => match Violation::parse(error) {
                Some(violation) => {
                    tracing::warn!("the broker refuses: {error}");
                    // Nobody may be waiting for it.
                    let _ = self.violations.send(violation);
                }
                None => tracing::warn!("the broker says: {error}"),
            },
            Event::SlowConsumer(_) => tracing::warn!("messages are lost: this process does not keep up with a subscription"),
            _ => tracing::debug!("the broker's client says: {event}"),
        }
    }
}

/// A connected client and its events.
pub(super) async fn connect(settings: &Settings) -> Result<(async_nats::Client, Events), ConnectError> {
    let servers = addresses(settings)?;
    let events = Events::new();
    let mut options = options(settings, &events);
    options = login(options, &settings.login, &servers).await?;
    options = tls(options, &settings.tls);
    if settings.waits_for_broker {
        options = options.retry_on_initial_connect();
    }
    let client = options.connect(servers).await.map_err(|error| explain(settings, &error))?;
    let mut connection = events.connection.subscribe();
    // The event of the first connection may come a moment later than the client itself.
    if connection.wait_for(|connection| connection.is_up).await.is_err() {
        return Err(ConnectError::Unreachable { url: settings.shown_url(), why: "the client has ended".to_owned() });
    }
    version::check(&client.server_info().version).map_err(ConnectError::TooOld)?;
    Ok((client, events))
}

fn addresses(settings: &Settings) -> Result<Vec<ServerAddr>, ConnectError> {
    let parse = |url: &str| {
        let bad = |why: String| ConnectError::Address { url: settings.shown_url(), why };
        match url.trim() {
            "" => Err(bad("it is empty".to_owned())),
            url => url.parse::<ServerAddr>().map_err(|error| bad(error.to_string())),
        }
    };
    settings.url.split(',').map(parse).collect()
}

fn options(settings: &Settings, events: &Events) -> ConnectOptions {
    let reconnects = events.clone();
    let events = events.clone();
    ConnectOptions::new()
        .name(settings.process.as_str())
        .custom_inbox_prefix(format!("_INBOX_{}", settings.process))
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECT_AT_MOST)
        .reconnect_delay_callback(move |attempts| {
            let had_connection = reconnects.connection.borrow().generation > 0;
            if had_connection || attempts > 1 { full_jitter(attempts) } else { Duration::ZERO }
        })
        .event_callback(move |event| {
            let events = events.clone();
            async move { events.take(&event) }
        })
}

/// Anything up to a bound that doubles: five hundred clients of a server that comes back spread over the whole of it.
fn full_jitter(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let bound = RECONNECT_DELAY_BASE.saturating_mul(1 << doublings).min(RECONNECT_DELAY_MAX);
    bound.mul_f64(fastrand::f64())
}

async fn login(mut options: ConnectOptions, login: &Login, servers: &[ServerAddr]) -> Result<ConnectOptions, ConnectError> {
    // The client does not look for credentials in addresses, where people write them.
    let in_url = servers.iter().find_map(|server| Some((server.username()?.to_owned(), server.password().map(str::to_owned))));
    let (user, password, token) = match in_url {
        Some((user, Some(password))) => (Some(user), Some(password), None),
        Some((token, None)) => (None, None, Some(token)),
        None => (login.user.clone(), login.password.clone(), login.token.clone()),
    };
    if let Some(user) = user {
        options = options.user_and_password(user, password.unwrap_or_default());
    }
    if let Some(token) = token {
        options = options.token(token);
    }
    if let Some(path) = &login.nkey {
        let seed = tokio::fs::read_to_string(path).await.map_err(|error| unreadable(path, &error))?;
        options = options.nkey(seed.trim().to_owned());
    }
    if let Some(path) = &login.creds {
        options = options.credentials_file(path).await.map_err(|error| unreadable(path, &error))?;
    }
    Ok(options)
}

fn unreadable(path: &Path, error: &std::io::Error) -> ConnectError {
    ConnectError::File { path: path.display().to_string(), why: error.to_string() }
}

fn tls(mut options: ConnectOptions, tls: &Tls) -> ConnectOptions {
    if let Some(ca) = &tls.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    if tls.ca.is_some() || tls.cert.is_some() {
        options = options.require_tls(true);
    }
    if tls.is_first { options.tls_first() } else { options }
}

fn explain(settings: &Settings, error: &async_nats::ConnectError) -> ConnectError {
    let (url, why) = (settings.shown_url(), error.to_string());
    match error.kind() {
        ConnectErrorKind::ServerParse => ConnectError::Address { url, why },
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => ConnectError::Login { url, why },
        _ => ConnectError::Unreachable { url, why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_names_its_subject() {
        let violation = |text| Violation::parse(text);
        assert_eq!(violation("Permissions Violation for Publish to \"a.b\""), Some(Violation::Publish("a.b".into())));
        let queued = "Permissions Violation for Subscription to \"a.>\" using queue \"q\"";
        assert_eq!(violation(queued), Some(Violation::Subscribe("a.>".into())));
        assert_eq!(violation("Maximum Payload Violation"), None);
    }

    #[test]
    fn reconnects_are_spread_and_bounded() {
        for attempts in [1, 2, 3, 10, 1000, usize::MAX] {
            assert!((0..100).all(|_| full_jitter(attempts) <= RECONNECT_DELAY_MAX), "{attempts}");
        }
        let spread: std::collections::HashSet<_> = (0..20).map(|_| full_jitter(5)).collect();
        assert!(spread.len() > 10);
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_the_way_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("nats://ann:hunter2@{}", listener.local_addr().unwrap());
        drop(listener);
        let refused = connect(&Settings::new(url, "p".parse().unwrap())).await.unwrap_err().to_string();
        assert!(refused.contains("127.0.0.1") && refused.contains("baton dev") && !refused.contains("hunter2"), "{refused}");
    }
}
