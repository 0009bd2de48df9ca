//! A broker, a coordinator, a gateway and workers as one thing that is started, watched and stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_worker::{Functions, model};
use anyhow::{Context, ensure};
use client::{Client, Side};
use protocol::ids::{AgentName, ProcessId};
use protocol::orchestration::Orchestration;
use protocol::query::Status;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::{self, Fsync, Server, Stderr};
use crate::connect::{self, Address};
use crate::dev::child::{self, GRACE, Spec};
use crate::dev::guard;
use crate::dev::table::{BROKER, Place, Process, Table};
use crate::{check, output};

/// How long running turns may take to finish when everything is stopped; the rest is handed back, and done the next time.
const DRAIN: Duration = Duration::from_secs(5);
/// How long everything may take to be ready.
const READY: Duration = Duration::from_secs(60);
/// Before a broker that could not be started again is started once more.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the gateway may take to say whether it is.
const ANSWER: Duration = Duration::from_secs(1);
/// Between two looks at whether it is.
const LOOK: Duration = Duration::from_millis(50);

/// What is to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The orchestration, checked.
    pub orchestration: Orchestration,
    /// The file it came from: the coordinator reads it again.
    pub manifest: PathBuf,
    /// Where data and logs are kept.
    pub data: PathBuf,
    /// Worker processes per agent.
    pub workers: u32,
    /// The broker's port; a free one by default.
    pub port: Option<u16>,
    /// Where a gateway listens; without, there is none.
    pub http: Option<SocketAddr>,
    /// How the broker syncs.
    pub fsync: Fsync,
    /// Whether the processes' output is shown.
    pub echoes: bool,
    /// Whether processes that die are started again.
    pub restarts: bool,
}

/// A running system.
#[derive(Debug)]
pub struct System {
    url: String,
    monitor_url: String,
    http: Option<SocketAddr>,
    table: Table,
    executable: PathBuf,
    config: Config,
    /// What stops the workers of each agent.
    workers: BTreeMap<AgentName, CancellationToken>,
    announcements: BTreeSet<String>,
    logs: PathBuf,
    programs: Group,
    broker: Group,
    guard: Group,
}

/// Tasks that are stopped together.
#[derive(Debug, Default)]
struct Group {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Group {
    async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl System {
    /// Starts everything. It may take a moment until it is [`ready`](Self::ready).
    ///
    /// # Errors
    /// That a model cannot be asked from here, that there is no broker to be had, or that it does not start.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        ensure!(config.manifest.as_os_str() != "-", "the manifest must be a file: the coordinator reads it too");
        // The workers are this program too, which has no code of anybody's.
        let announcements = cast(&config.orchestration, &Functions::new())?;
        let data = std::path::absolute(&config.data)?;
        let logs = data.join("logs");
        std::fs::create_dir_all(&logs).with_context(|| format!("{} cannot be made", logs.display()))?;
        let executable = std::env::current_exe().context("this program cannot be found again")?;
        let server = start_broker(&config, &data).await?;
        let mut system = Self {
            url: server.url().to_owned(),
            monitor_url: server.monitor_url().to_owned(),
            http: config.http,
            table: Table::default(),
            executable,
            config,
            workers: BTreeMap::new(),
            announcements,
            logs,
            programs: Group::default(),
            broker: Group::default(),
            guard: Group::default(),
        };
        let guard = guard::start(&system.executable).context("the guard cannot be started")?;
        system.guard.tasks.spawn(guard::tell(guard, system.table.watch(), system.guard.stop.clone()));
        let place = system.table.place(BROKER);
        system.broker.tasks.spawn(keep_broker(server, place, system.broker.stop.clone(), system.config.clone()));
        for spec in system.specs()? {
            system.keep(spec, system.programs.stop.clone());
        }
        for agent in system.agents() {
            system.attend(&agent);
        }
        Ok(system)
    }

    /// The agents of the orchestration as it is now.
    fn agents(&self) -> BTreeSet<AgentName> {
        self.config.orchestration.agents().map(|agent| agent.name.clone()).collect()
    }

    /// Keeps a process running until `stop`.
    fn keep(&self, spec: Spec, stop: CancellationToken) {
        let place = self.table.place(&spec.name);
        self.programs.tasks.spawn(child::supervise(spec, place, stop, GRACE));
    }

    /// The orchestration as it is now.
    pub(crate) const fn orchestration(&self) -> &Orchestration {
        &self.config.orchestration
    }

    /// It is another one now; the coordinator reads it by itself.
    pub(crate) fn change(&mut self, orchestration: Orchestration) {
        self.config.orchestration = orchestration;
    }

    /// The agents that have workers here.
    pub(crate) fn attended(&self) -> BTreeSet<AgentName> {
        self.workers.keys().cloned().collect()
    }

    /// Starts workers of an agent, if there are none.
    pub(crate) fn attend(&mut self, agent: &AgentName) {
        if self.workers.contains_key(agent) {
            return;
        }
        let stop = self.programs.stop.child_token();
        let count = self.config.workers;
        for n in 1..=count {
            let name = if count == 1 { agent.to_string() } else { format!("{agent}-{n}") };
            let (orchestration, drain) = (self.orchestration().name().as_str(), DRAIN.as_secs().to_string());
            let arguments = ["worker", "--orchestration", orchestration, "--agent", agent.as_str(), "--drain-secs", &drain];
            self.keep(self.spec(name, arguments.map(str::to_owned).into()), stop.clone());
        }
        self.workers.insert(agent.clone(), stop);
    }

    /// Lets the workers of an agent drain and end.
    pub(crate) fn dismiss(&mut self, agent: &AgentName) {
        if let Some(stop) = self.workers.remove(agent) {
            stop.cancel();
        }
    }

    fn spec(&self, name: String, arguments: Vec<String>) -> Spec {
        Spec {
            log: self.logs.join(format!("{name}.log")),
            name,
            executable: self.executable.clone(),
            arguments: arguments.into_iter().chain(["--tied".to_owned(), "--nats".to_owned(), self.url.clone()]).collect(),
            // The programs cannot see how the broker syncs; whoever started it vouches for it.
            environment: if self.config.fsync == Fsync::Always { vec![("BATON_NATS_SYNCED", "true")] } else { Vec::new() },
            echoes: self.config.echoes,
            restarts: self.config.restarts,
        }
    }

    /// The programs that serve every agent.
    fn specs(&self) -> anyhow::Result<Vec<Spec>> {
        let manifest = std::path::absolute(&self.config.manifest)?.display().to_string();
        let mut specs = vec![self.spec("coordinator".to_owned(), vec!["coordinator".to_owned(), "--manifest".to_owned(), manifest])];
        if let Some(http) = self.http {
            let (orchestration, listen) = (self.orchestration().name().as_str(), http.to_string());
            let arguments = ["gateway", "--orchestration", orchestration, "--listen", &listen];
            specs.push(self.spec("gateway".to_owned(), arguments.map(str::to_owned).into()));
        }
        Ok(specs)
    }

    /// What the models of this orchestration have to say before they play: that a script stands in, above all.
    pub const fn announcements(&self) -> &BTreeSet<String> {
        &self.announcements
    }

    /// The broker's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the broker can be monitored: see [`broker::monitor`].
    pub fn monitor_url(&self) -> &str {
        &self.monitor_url
    }

    /// The gateway's address for browsers and programs.
    pub fn http(&self) -> Option<String> {
        self.http.map(|http| format!("http://{http}/"))
    }

    /// Every process as it is now.
    pub fn processes(&self) -> Vec<Process> {
        self.table.processes()
    }

    /// A client of the system's orchestration, for the process `process`.
    ///
    /// # Errors
    /// That the broker cannot be reached.
    pub async fn client(&self, process: ProcessId) -> anyhow::Result<Client> {
        let broker = connect::connect(&Address::Private(self.url.clone()), &process).await?;
        Ok(Client::new(broker, self.orchestration().name().clone(), Side::Client, process))
    }

    /// Waits until the coordinator answers, the gateway is ready, and a worker of every agent is heard.
    ///
    /// # Errors
    /// That it takes too long; with the logs' last lines.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let client = self.client(connect::process_id("ready")?).await?;
        timeout(READY, self.all_heard(&client)).await.map_err(|_| {
            let tails: Vec<String> = self.processes().iter().map(|process| self.tail(&process.name)).collect();
            anyhow::anyhow!("not everything is ready after {} s\n{}", READY.as_secs(), tails.join(""))
        })?;
        Ok(())
    }

    async fn all_heard(&self, client: &Client) {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            // Nobody answers yet: the coordinator is still on its way.
            let Ok(status) = client.status().await else { continue };
            if heard(&status).is_superset(&self.agents()) && self.is_served().await {
                return;
            }
        }
    }

    async fn is_served(&self) -> bool {
        let Some(url) = self.http().and_then(|http| format!("{http}readyz").parse().ok()) else { return true };
        check::check(&url, ANSWER).await.is_ok()
    }

    /// The last lines that a process has written.
    fn tail(&self, name: &str) -> String {
        let log = self.logs.join(format!("{name}.log"));
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().map(|line| format!("  {name}: {line}\n")).collect()
    }

    /// Lets every program drain, and ends the broker last.
    pub async fn stop(self) {
        for group in [&self.programs, &self.broker, &self.guard] {
            group.end().await;
        }
    }
}

/// The agents of which a worker is heard.
fn heard(status: &Status) -> BTreeSet<AgentName> {
    status.workers.iter().filter(|worker| !worker.is_draining).map(|worker| worker.agent.clone()).collect()
}

/// Sees that every agent's model can be asked with this environment, before anything is started: the workers will have the
/// same. Gives what the models announce.
pub(crate) fn cast(orchestration: &Orchestration, functions: &Functions) -> anyhow::Result<BTreeSet<String>> {
    let environment = |name: &str| std::env::var(name).ok();
    let http = model::build::http_client()?;
    let mut announcements = BTreeSet::new();
    for agent in orchestration.agents() {
        let built = model::build(&agent.player, orchestration, functions, &environment, &http);
        let (_, announcement) = built.with_context(|| format!("agent {} cannot be played here", agent.name))?;
        announcements.extend(announcement);
    }
    Ok(announcements)
}

async fn start_broker(config: &Config, data: &Path) -> anyhow::Result<Server> {
    let found = broker::find(&Stderr::new()).await?;
    output::note(&format!("broker: {found}"));
    let mut broker = broker::Config::new(found.path);
    broker.directory = Some(data.join("nats"));
    broker.port = config.port;
    broker.fsync = config.fsync;
    Ok(Server::start(broker).await?)
}

/// Starts the broker again when it dies: the same port, the same store.
async fn keep_broker(mut server: Server, place: Place, stop: CancellationToken, config: Config) {
    place.runs_as(server.pid());
    loop {
        let status = tokio::select! {
            status = server.wait() => status,
            () = stop.cancelled() => break,
        };
        place.runs_as(None);
        child::say_how(BROKER, config.restarts, status);
        if !config.restarts {
            return;
        }
        while let Err(error) = server.restart().await {
            output::note(&format!("{BROKER} cannot be started again: {error}"));
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = stop.cancelled() => return,
            }
        }
        output::note(&format!("{BROKER} runs again at {}", server.url()));
        place.runs_as(server.pid());
        place.restarted();
    }
    match server.stop(GRACE).await {
        Ok(_) if config.echoes => output::note(&format!("{BROKER} stopped")),
        Ok(_) => {}
        Err(error) => output::note(&format!("{BROKER} did not stop in order: {error}")),
    }
    place.runs_as(None);
}
