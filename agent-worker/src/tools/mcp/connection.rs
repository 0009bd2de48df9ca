//! Connections to MCP servers: one per server and worker, shared by agents and revisions, made again when one breaks.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use protocol::orchestration::McpServer;
use rmcp::model::{ClientConfig, Implementation, Tool};
use rmcp::service::{NotificationContext, Peer, RunningService, ServiceExt};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientHandler, RoleClient};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How long a server may take to begin and to say what it has.
const BEGIN_AT_MOST: Duration = Duration::from_secs(20);
/// How long servers may take to end with the worker: they are asked, told, and then killed.
const END_AT_MOST: Duration = Duration::from_secs(8);
/// Between two attempts at a server that cannot be reached.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The MCP servers that a worker talks to. Dropped, it ends them; [`close`](Self::close) also waits for that.
#[derive(Debug)]
pub struct McpServers {
    known: Mutex<BTreeMap<McpServer, Arc<Connection>>>,
    http: reqwest::Client,
    stop: CancellationToken,
    running: TaskTracker,
    _stop_on_drop: DropGuard,
}

impl McpServers {
    /// None yet. `http` carries those that are behind an address.
    pub fn new(http: reqwest::Client) -> Self {
        let stop = CancellationToken::new();
        Self { known: Mutex::default(), http, _stop_on_drop: stop.clone().drop_guard(), stop, running: TaskTracker::new() }
    }

    /// The connection to a server, its texts resolved.
    pub(super) fn to(&self, server: &McpServer) -> Arc<Connection> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = || {
            Arc::new(Connection {
                server: server.clone(),
                http: self.http.clone(),
                stop: self.stop.clone(),
                running: self.running.clone(),
                changes: Arc::default(),
                state: tokio::sync::Mutex::default(),
            })
        };
        known.entry(server.clone()).or_insert_with(connection).clone()
    }

    /// Ends every connection, and the child processes behind them.
    pub async fn close(&self) {
        self.stop.cancel();
        self.running.close();
        if timeout(END_AT_MOST, self.running.wait()).await.is_err() {
            tracing::warn!("MCP servers were given up before they had ended");
        }
    }
}

/// A server cannot be reached; in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreachable(pub(super) String);

/// One server.
pub(super) struct Connection {
    server: McpServer,
    http: reqwest::Client,
    stop: CancellationToken,
    running: TaskTracker,
    /// Counts whatever may have changed the server's tools: its notices, and connections made anew.
    changes: Arc<AtomicU64>,
    state: tokio::sync::Mutex<State>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The server's texts may hold secrets of the environment.
        f.debug_struct("Connection").field("changes", &self.changes).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    live: Option<Arc<Live>>,
    listed: Option<Listing>,
    /// Why the last attempt failed, when the next one is due, and the pause that follows it.
    failed: Option<(Unreachable, Instant, Duration)>,
}

/// What a server said that it has.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    /// Its tools, by name.
    pub(super) tools: Arc<BTreeMap<String, Tool>>,
    /// The changes that it knows of.
    pub(super) change: u64,
}

/// A connection that works, as far as is known; dropped by everyone, it is closed.
pub(super) struct Live {
    pub(super) peer: Peer<RoleClient>,
    _stop: DropGuard,
}

impl Connection {
    /// The server, made anew if it is gone; while it cannot be reached, attempts are spaced out and whoever comes between is told so.
    pub(super) async fn live(&self) -> Result<Arc<Live>, Unreachable> {
        let mut state = self.state.lock().await;
        self.live_in(&mut state).await
    }

    /// What the server has, asked again only if that may have changed.
    pub(super) async fn listing(&self) -> Result<Listing, Unreachable> {
        let mut state = self.state.lock().await;
        let live = self.live_in(&mut state).await?;
        let change = self.change();
        if let Some(listing) = state.listed.as_ref().filter(|listing| listing.change == change) {
            return Ok(listing.clone());
        }
        let listed = timeout(BEGIN_AT_MOST, live.peer.list_all_tools()).await;
        let tools = match listed {
            Ok(Ok(tools)) => tools.into_iter().map(|tool| (tool.name.to_string(), tool)).collect(),
            Ok(Err(error)) => return Err(Unreachable(format!("it does not list its tools: {error}"))),
            Err(_) => return Err(Unreachable("it does not list its tools in time".to_owned())),
        };
        let listing = Listing { tools: Arc::new(tools), change };
        state.listed = Some(listing.clone());
        Ok(listing)
    }

    /// How often the server's tools may have changed so far.
    pub(super) fn change(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Makes the next call begin anew. Calls that are under way keep what they have.
    pub(super) async fn give_up(&self, live: &Arc<Live>) {
        let mut state = self.state.lock().await;
        if state.live.as_ref().is_some_and(|current| Arc::ptr_eq(current, live)) {
            state.live = None;
        }
    }

    async fn live_in(&self, state: &mut State) -> Result<Arc<Live>, Unreachable> {
        if let Some(live) = state.live.as_ref().filter(|live| !live.peer.is_transport_closed()) {
            return Ok(live.clone());
        }
        state.live = None;
        if let Some((why, _, _)) = state.failed.as_ref().filter(|(_, due, _)| Instant::now() < *due) {
            return Err(why.clone());
        }
        let begun = timeout(BEGIN_AT_MOST, self.begin()).await;
        match begun.unwrap_or_else(|_| Err(Unreachable(format!("it did not begin within {} s", BEGIN_AT_MOST.as_secs())))) {
            Ok(live) => {
                self.changes.fetch_add(1, Ordering::AcqRel);
                state.failed = None;
                Ok(state.live.insert(Arc::new(live)).clone())
            }
            Err(why) => {
                let pause = state.failed.as_ref().map_or(PAUSE_MIN, |(_, _, pause)| (*pause * 2).min(PAUSE_MAX));
                // With jitter: the workers of a fleet lose a server at the same time.
                let due = Instant::now() + pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                state.failed = Some((why.clone(), due, pause));
                Err(why)
            }
        }
    }

    async fn begin(&self) -> Result<Live, Unreachable> {
        let stop = self.stop.child_token();
        let listener = Listener { changes: self.changes.clone() };
        let unreachable = |error: &dyn fmt::Display| Unreachable(error.to_string());
        let running = match &self.server {
            McpServer::Http { url, headers } => {
                let headers = headers.iter().map(|(name, value)| header(name, value)).collect::<Result<_, _>>()?;
                let config = StreamableHttpClientTransportConfig::with_uri(url.as_str()).custom_headers(headers);
                let transport = StreamableHttpClientTransport::with_client(self.http.clone(), config);
                listener.serve_with_ct(transport, stop.clone()).await.map_err(|error| unreachable(&error))?
            }
            McpServer::Child { command, env } => {
                let (child, stderr) = child(command, env).map_err(|error| Unreachable(format!("it cannot be started: {error}")))?;
                if let Some(stderr) = stderr {
                    let program = command.first().cloned().unwrap_or_default();
                    // Not waited for at the end: a process that the server leaves behind may hold it open.
                    tokio::spawn(pass_on(program, stderr));
                }
                listener.serve_with_ct(child, stop.clone()).await.map_err(|error| unreachable(&error))?
            }
        };
        let peer = running.peer().clone();
        self.running.spawn(until_ended(running));
        Ok(Live { peer, _stop: stop.drop_guard() })
    }
}

/// Ends when the server does, its child process waited for.
async fn until_ended(running: RunningService<RoleClient, Listener>) {
    if let Err(error) = running.waiting().await {
        tracing::warn!("the connection to an MCP server ended badly: {error}");
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Unreachable> {
    let key = HeaderName::try_from(name).map_err(|_| Unreachable(format!("{name:?} is no name of an HTTP header")))?;
    // The value may be a secret: the error does not repeat it.
    let value = HeaderValue::try_from(value).map_err(|_| Unreachable(format!("its header `{name}` has characters that none may have")))?;
    Ok((key, value))
}

fn child(command: &[String], env: &BTreeMap<String, String>) -> std::io::Result<(TokioChildProcess, Option<tokio::process::ChildStderr>)> {
    let (program, arguments) = command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).envs(env).kill_on_drop(true);
    // Ctrl-C is the worker's to see: it may still need the server for the turns that it finishes.
    #[cfg(unix)]
    command.process_group(0);
    TokioChildProcess::builder(command).stderr(Stdio::piped()).spawn()
}

/// What a server writes beside the protocol, for whoever looks for a mistake.
async fn pass_on(program: String, stderr: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(program, "MCP server: {line}");
    }
}

/// Hears what a server says unasked.
#[derive(Debug)]
struct Listener {
    changes: Arc<AtomicU64>,
}

impl ClientHandler for Listener {
    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    fn get_info(&self) -> ClientConfig {
        let mut info = ClientConfig::default();
        info.client_info = Implementation::new("baton", env!("CARGO_PKG_VERSION"));
        info
    }
}
