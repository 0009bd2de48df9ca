//! The broker of a deployment: one nats-server or a cluster of three, and what an operator may do to it.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use tokio::time::timeout;

use super::link::{Carrying, Link};
use super::orchestration::NAME;
use crate::nats::{self, Cluster};
use crate::processes::eventually;

/// The broker.
#[derive(Debug)]
pub enum Broker {
    /// One server.
    One(Box<nats::Server>),
    /// A cluster of three; everything is stored three times. Its nodes reach one another by the laboratory's links.
    Three(Cluster, Routes),
}

/// The ways of a cluster's nodes to one another: by the one that connects, then by the one that is connected to.
#[derive(Debug)]
pub struct Routes(BTreeMap<(usize, usize), Link>);

impl Routes {
    /// Ways between nodes that listen at these addresses, and what each node's configuration says of them.
    async fn between(urls: &[String]) -> (Self, Vec<String>) {
        // Nodes tell each other of the others: what they tell leads nowhere, or they would find a way around the links.
        let nowhere = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let (mut links, mut plans) = (BTreeMap::new(), Vec::new());
        for from in 0..urls.len() {
            let mut routes = Vec::new();
            for to in (0..urls.len()).filter(|to| *to != from) {
                let link = Link::to(&urls[to..=to]).await;
                routes.push(link.url());
                links.insert((from, to), link);
            }
            plans.push(format!("routes: {routes:?}, advertise: \"{nowhere}\""));
        }
        (Self(links), plans)
    }

    fn of(&self, node: usize) -> impl Iterator<Item = &Link> {
        self.0.iter().filter(move |((from, to), _)| *from == node || *to == node).map(|(_, link)| link)
    }
}

/// The stream of the laboratory's orchestration.
pub fn stream() -> String {
    format!("baton-{NAME}")
}

impl Broker {
    /// One server, which keeps its store in `directory` if one is given.
    pub async fn one(directory: Option<PathBuf>) -> Self {
        Self::One(Box::new(nats::server_with(|config| config.directory = directory).await))
    }

    /// A cluster of three.
    pub async fn three() -> Self {
        let routes = Mutex::new(None);
        let plan = async |urls: &[String]| {
            let (links, plans) = Routes::between(urls).await;
            routes.lock().expect("nobody panics while planning").replace(links);
            plans
        };
        let cluster = nats::cluster_by(plan).await;
        let routes = routes.into_inner().expect("nobody panics while planning");
        Self::Three(cluster, routes.expect("the cluster was planned"))
    }

    /// How many servers it has.
    pub fn nodes(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Three(cluster, _) => cluster.nodes.len(),
        }
    }

    /// Where clients connect.
    pub fn urls(&self) -> Vec<String> {
        match self {
            Self::One(server) => vec![server.url().to_owned()],
            Self::Three(cluster, _) => cluster.urls(),
        }
    }

    /// Kills a server on the spot.
    pub async fn kill(&mut self, node: usize) {
        self.node_mut(node).kill().await.expect("the server can be killed");
    }

    /// Stops a server in order.
    pub async fn stop(&mut self, node: usize) {
        self.node_mut(node).stop(Duration::from_secs(20)).await.expect("the server can be stopped");
    }

    /// Starts a server again, on its store.
    pub async fn restart(&mut self, node: usize) {
        self.node_mut(node).restart().await.expect("the server can be started again");
    }

    /// Freezes a server, or lets it go on.
    pub fn freeze(&self, node: usize, is_frozen: bool) {
        let pid = self.node(node).pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let signal = if is_frozen { Signal::STOP } else { Signal::CONT };
        kill_process(pid.expect("the server runs"), signal).expect("the server can be signalled");
    }

    /// Cuts a node off from the others, or joins it to them again; its clients stay with it.
    pub fn cut_off(&self, node: usize, is_cut: bool) {
        let Self::Three(_, routes) = self else { return };
        routes.of(node).for_each(|link| link.is(if is_cut { Carrying::Nothing } else { Carrying::Whole }));
    }

    /// How many clients are connected to a node.
    pub async fn connections(&self, node: usize) -> u64 {
        let told = self.node(node).monitor("/connz?limit=1").await.ok();
        told.and_then(|told| told["total"].as_u64()).unwrap_or_default()
    }

    /// Waits until all servers agree again.
    pub async fn settled(&self) {
        match self {
            Self::One(server) => {
                let is_well = async || server.monitor("/healthz").await.ok().filter(|health| health["status"] == "ok");
                eventually("a healthy server", is_well).await;
            }
            Self::Three(cluster, _) => cluster.settled().await,
        }
    }

    /// Connects as an operator to one node or all.
    pub async fn operator(&self, node: Option<usize>) -> async_nats::Client {
        let urls = match node {
            Some(node) => vec![self.node(node).url().to_owned()],
            None => self.urls(),
        };
        let options = async_nats::ConnectOptions::new().name("operator").retry_on_initial_connect();
        options.connect(urls).await.expect("a connection")
    }

    fn node(&self, node: usize) -> &cli::broker::Server {
        match self {
            Self::One(server) => server,
            Self::Three(cluster, _) => &cluster.nodes[node],
        }
    }

    fn node_mut(&mut self, node: usize) -> &mut cli::broker::Server {
        match self {
            Self::One(server) => server,
            Self::Three(cluster, _) => &mut cluster.nodes[node],
        }
    }
}

/// Asks JetStream something; none where nobody answers in time.
pub async fn ask(operator: &async_nats::Client, verb: &str) -> Option<Json> {
    let asked = operator.request(format!("$JS.API.{verb}"), "".into());
    let answer = timeout(Duration::from_secs(2), asked).await.ok()?.ok()?;
    serde_json::from_slice(&answer.payload).ok()
}

/// Which node leads a stream.
pub async fn leader(operator: &async_nats::Client, stream: &str) -> usize {
    eventually("a leader of the stream", async || {
        let info = ask(operator, &format!("STREAM.INFO.{stream}")).await?;
        // Nodes are called n0, n1, n2.
        info["cluster"]["leader"].as_str()?.strip_prefix('n')?.parse().ok()
    })
    .await
}

/// JetStream, by an operator's connection.
pub fn jetstream(operator: &async_nats::Client) -> Context {
    jetstream::new(operator.clone())
}
