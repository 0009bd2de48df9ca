//! The human edge: conversations over HTTP, as `docs/gateway.md` describes them.
//!
//! A gateway holds nothing that the journal does not: any of them serves any conversation, and a client may change
//! gateways with every request. Each process follows its orchestrations with one consumer each (`hub`), fans out in
//! memory to whoever watches a conversation (`events`), and lets those who come late, or read slowly, catch up by
//! reading. What a watcher is shown is decided by `client`'s `Follower`; how that looks on the wire by `session`.
//! Handlers (`http`) extract, call `client`, and convert (`said`, `view`, `problem`).

mod drafts;
mod events;
mod extract;
mod forward;
mod guard;
#[allow(unused_qualifications, reason = "utoipa's macro qualifies the types it is given")]
mod http;
mod hub;
mod origin;
mod page;
mod problem;
mod said;
mod serve;
mod session;
#[cfg(test)]
mod slow_tests;
mod view;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use client::{Client, Side};
use futures::StreamExt;
use futures::stream::{self, BoxStream, select_all};
use journal::{Connection, Shared};
use protocol::ids::{OrchestrationName, ProcessId};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;
pub use crate::origin::{NotAnOrigin, Origin};

/// Streams of events that one process serves at a time, where nothing else is said.
pub const STREAMS_MAX: usize = 20_000;

/// What a gateway is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The group of gateways that serve the same people: human requests are forwarded to the group, so that they reach
    /// people through whichever of its processes they are connected to.
    pub group: ProcessId,
    /// Origins, other than its own, whose pages may use it: `https://shop.example`.
    pub origins: Vec<Origin>,
    /// Where a trace can be looked at, with `{trace}` for its id; pages link to it.
    pub trace_url: Option<String>,
    /// Streams of events at a time.
    pub streams_max: usize,
    /// Connections at a time; streams have one each.
    pub connections_max: usize,
}

/// One orchestration, as a gateway serves it.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) client: Client,
    pub(crate) hub: Hub,
}

/// What all handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) edges: BTreeMap<OrchestrationName, Arc<Edge>>,
    pub(crate) config: Config,
    /// The address that was bound.
    pub(crate) address: SocketAddr,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) ready: watch::Receiver<bool>,
    /// Ends the streams.
    pub(crate) stop: CancellationToken,
}

/// A gateway that listens, and answers once it is [`run`](Self::run).
#[derive(Debug)]
pub struct Gateway {
    app: Arc<App>,
    broker: Shared,
    process: ProcessId,
    listener: TcpListener,
    is_ready: watch::Sender<bool>,
}

impl Gateway {
    /// Listens; from here on its address is known.
    ///
    /// # Errors
    /// That the address cannot be listened at.
    pub async fn bind(
        broker: Shared,
        process: ProcessId,
        orchestrations: impl IntoIterator<Item = OrchestrationName>,
        config: Config,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let edge = |name: OrchestrationName| {
            let client = Client::new(Arc::clone(&broker), name.clone(), Side::Gateway, process.clone());
            (name, Arc::new(Edge { client, hub: Hub::default() }))
        };
        let edges = orchestrations.into_iter().map(edge).collect();
        let (is_ready, ready) = watch::channel(false);
        let streams = Arc::new(Semaphore::new(config.streams_max.min(Semaphore::MAX_PERMITS)));
        let app = Arc::new(App { edges, config, address, streams, ready, stop: CancellationToken::new() });
        Ok(Self { app, broker, process, listener, is_ready })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.app.address
    }

    /// All that it answers, as a service: for a program that has a listener of its own, and for tests.
    pub fn router(&self) -> axum::Router {
        http::router(Arc::clone(&self.app))
    }

    /// Whether it is connected and follows all its orchestrations.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.app.ready.clone()
    }

    /// Serves until `stop`; then streams end (their readers go on elsewhere) and requests under way are finished.
    pub async fn run(self, stop: CancellationToken) {
        let Self { app, broker, process, listener, is_ready } = self;
        // Dropped at the end, and its tasks with it.
        let mut tasks = JoinSet::new();
        for edge in app.edges.values() {
            tasks.spawn(hub::run(Arc::clone(edge)));
            tasks.spawn(forward::run(Arc::clone(edge), app.config.group.clone()));
        }
        tasks.spawn(forward::discovery(Arc::clone(&broker), forward::service(&app, process)));
        tasks.spawn(report_readiness(Arc::clone(&app), broker.connection(), is_ready, stop.clone()));
        serve::serve(listener, &app, stop).await;
    }
}

async fn report_readiness(
    app: Arc<App>,
    connection: watch::Receiver<Connection>,
    is_ready: watch::Sender<bool>,
    stopping: CancellationToken,
) {
    let followed = || app.edges.values().map(|edge| edge.hub.following());
    let mut changes = select_all(followed().map(changes).chain([changes(connection.clone())]));
    loop {
        let is_followed = followed().all(|following| *following.borrow());
        is_ready.send_replace(connection.borrow().is_up && is_followed);
        if stopping.run_until_cancelled(changes.next()).await.is_none() {
            is_ready.send_replace(false);
            return;
        }
    }
}

/// A beat at every change.
fn changes<T: Send + Sync + 'static>(watched: watch::Receiver<T>) -> BoxStream<'static, ()> {
    stream::unfold(watched, async |mut watched| watched.changed().await.ok().map(|()| ((), watched))).boxed()
}

/// The description of the interface, as OpenAPI 3.1 in JSON.
pub fn openapi() -> String {
    http::openapi()
}
