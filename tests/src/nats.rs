//! Private nats-servers for tests: one for a test, or a cluster of three.
//!
//! ```no_run
//! # async fn example() {
//! let server = tests::nats::server().await;
//! let client = async_nats::connect(server.url()).await.unwrap();
//! # }
//! ```
//!
//! The servers run on the loopback interface on free ports, sync nothing to the disk (a test's machine loses no power;
//! ask for it with [`server_with`] where syncing is the point), and are gone, with their files, when the value is dropped.
#![allow(clippy::expect_used, clippy::panic, reason = "used by tests only: a panic is how a test says that it cannot go on")]

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::Duration;

use cli::broker::{self, Config, Found, Fsync, StartError, Stderr};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::time::{interval, timeout};

use cli::ports::free_addresses;

/// How many nats-servers run at once. Cargo runs test programs one after another, and the tests of one in threads.
/// A test takes all the servers that it needs in one call: two tests that each held some and waited for more would wait
/// for ever.
const AT_ONCE: u32 = 4;

const NODES: u32 = 3;
const ELECTED_AT_MOST: Duration = Duration::from_secs(30);

static PLACES: Semaphore = Semaphore::const_new(AT_ONCE as usize);

/// The nats-server that tests run: found or obtained as `baton dev` does, once.
pub async fn executable() -> PathBuf {
    static FOUND: OnceCell<Found> = OnceCell::const_new();
    let find = async || broker::find(&Stderr::new()).await.unwrap_or_else(|error| panic!("{error}"));
    FOUND.get_or_init(find).await.path.clone()
}

/// A private server.
#[derive(Debug)]
pub struct Server {
    server: broker::Server,
    _place: SemaphorePermit<'static>,
}

/// A server with JetStream.
pub async fn server() -> Server {
    server_with(|_| {}).await
}

/// A server whose configuration `change` has changed.
pub async fn server_with(change: impl FnOnce(&mut Config)) -> Server {
    let place = places(1).await;
    let mut config = config().await;
    change(&mut config);
    let server = broker::Server::start(config).await.unwrap_or_else(|error| panic!("{error}"));
    Server { server, _place: place }
}

impl Deref for Server {
    type Target = broker::Server;

    fn deref(&self) -> &broker::Server {
        &self.server
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut broker::Server {
        &mut self.server
    }
}

/// A cluster of three servers with JetStream; killing and restarting its nodes keeps ports and stores.
#[derive(Debug)]
pub struct Cluster {
    /// Its servers.
    pub nodes: Vec<broker::Server>,
    _places: SemaphorePermit<'static>,
}

/// A cluster that has elected its meta leader: streams with three replicas can be made at once.
pub async fn cluster_of_three() -> Cluster {
    cluster_by(async |urls| vec![format!("routes: {urls:?}"); urls.len()]).await
}

/// The same, whose nodes reach one another as `plan` says: given the addresses that they listen at for one another, what stands in each one's
/// configuration about its routes.
pub async fn cluster_by(plan: impl AsyncFn(&[String]) -> Vec<String>) -> Cluster {
    let places = places(NODES).await;
    // Nodes must know each other's ports before they start; between choosing and listening somebody may take one.
    let nodes = loop {
        match nodes(&plan).await {
            Err(StartError::PortTaken { .. }) => {}
            nodes => break nodes.unwrap_or_else(|error| panic!("{error}")),
        }
    };
    let cluster = Cluster { nodes, _places: places };
    cluster.settled().await;
    cluster
}

impl Cluster {
    /// The addresses of all its nodes, for one client.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.url().to_owned()).collect()
    }

    /// Waits until all its nodes are healthy and agree on who leads JetStream.
    ///
    /// # Panics
    /// If they do not within 30 s.
    pub async fn settled(&self) {
        let settled = async {
            let mut again = interval(Duration::from_millis(50));
            loop {
                again.tick().await;
                let leaders = futures::future::join_all(self.nodes.iter().map(leader)).await;
                if leaders.iter().all(|leader| leader.is_some() && leaders.first() == Some(leader)) {
                    return;
                }
            }
        };
        timeout(ELECTED_AT_MOST, settled).await.expect("the cluster to elect its leader");
    }
}

/// Who leads JetStream, as a node that is healthy and sees the whole cluster has it.
async fn leader(node: &broker::Server) -> Option<String> {
    let health = node.monitor("/healthz").await.ok()?;
    let jetstream = node.monitor("/jsz").await.ok()?;
    let meta = jetstream.get("meta_cluster")?;
    let ready = health.get("status")? == "ok" && meta.get("cluster_size")? == NODES;
    let leader = meta.get("leader")?.as_str().filter(|name| ready && !name.is_empty());
    leader.map(ToOwned::to_owned)
}

async fn nodes(plan: &impl AsyncFn(&[String]) -> Vec<String>) -> Result<Vec<broker::Server>, StartError> {
    let addresses = free_addresses(NODES as usize).expect("free ports");
    let urls: Vec<String> = addresses.iter().map(|address| format!("nats://{address}")).collect();
    let routes = plan(&urls).await;
    let mut starting = Vec::new();
    // Clients learn of no other addresses than those they were given: what lies between them and the nodes stays between.
    for (number, (address, routes)) in addresses.iter().zip(routes).enumerate() {
        starting.push(broker::Server::start(Config {
            name: format!("n{number}"),
            extra: format!("cluster {{ name: baton, listen: \"{address}\", no_advertise: true, {routes} }}"),
            ..config().await
        }));
    }
    futures::future::try_join_all(starting).await
}

/// What tests change from what `baton dev` runs: no syncing, and Ctrl-C ends the servers together with the tests.
async fn config() -> Config {
    let never = Fsync::Every(Duration::from_secs(3600));
    Config { fsync: never, survives_interrupt: false, ..Config::new(executable().await) }
}

async fn places(count: u32) -> SemaphorePermit<'static> {
    PLACES.acquire_many(count).await.expect("a semaphore that is never closed")
}
