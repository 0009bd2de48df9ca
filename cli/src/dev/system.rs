//! A broker, a coordinator and workers as one thing that is started, watched and stopped.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use client::{Client, Side};
use protocol::ids::{AgentName, ProcessId};
use protocol::orchestration::Orchestration;
use protocol::query::Status;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::args::BrokerArgs;
use crate::broker::{self, Fsync, Server, Stderr};
use crate::connect;
use crate::dev::child::{self, Process, SharedProcess, Spec};
use crate::output;

/// How long the parts may take to drain; what is unfinished then is handed back and done the next time.
const GRACE: Duration = Duration::from_secs(10);
/// How long everything may take to be ready.
const READY: Duration = Duration::from_secs(60);
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
    processes: Vec<SharedProcess>,
    agents: BTreeSet<AgentName>,
    orchestration: Orchestration,
    logs: PathBuf,
    stop_programs: CancellationToken,
    programs: TaskTracker,
    stop_broker: CancellationToken,
    broker: TaskTracker,
}

impl System {
    /// Starts everything. It may take a moment until it is [`ready`](Self::ready).
    ///
    /// # Errors
    /// That there is no broker to be had, or that it does not start.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let data = std::path::absolute(&config.data)?;
        let logs = data.join("logs");
        std::fs::create_dir_all(&logs).with_context(|| format!("{} cannot be made", logs.display()))?;
        let server = start_broker(&config, &data).await?;
        let mut system = Self {
            url: server.url().to_owned(),
            processes: Vec::new(),
            agents: config.orchestration.agents().map(|agent| agent.name.clone()).collect(),
            orchestration: config.orchestration.clone(),
            logs,
            stop_programs: CancellationToken::new(),
            programs: TaskTracker::new(),
            stop_broker: CancellationToken::new(),
            broker: TaskTracker::new(),
        };
        let state = system.process("nats-server");
        system.broker.spawn(keep_broker(server, state, system.stop_broker.clone(), config.restarts));
        for spec in system.specs(&config)? {
            let state = system.process(&spec.name);
            system.programs.spawn(child::supervise(spec, state, system.stop_programs.clone(), GRACE));
        }
        Ok(system)
    }

    fn process(&mut self, name: &str) -> SharedProcess {
        let state = Arc::new(Mutex::new(Process { name: name.to_owned(), ..Process::default() }));
        self.processes.push(state.clone());
        state
    }

    fn specs(&self, config: &Config) -> anyhow::Result<Vec<Spec>> {
        let executable = std::env::current_exe().context("this program cannot be found again")?;
        let spec = |name: String, arguments: Vec<String>| Spec {
            log: self.logs.join(format!("{name}.log")),
            name,
            executable: executable.clone(),
            arguments: arguments.into_iter().chain(["--tied".to_owned(), "--nats".to_owned(), self.url.clone()]).collect(),
            // The programs cannot see how the broker syncs; whoever started it vouches for it.
            environment: if config.fsync == Fsync::Always { vec![("BATON_NATS_SYNCED", "true")] } else { Vec::new() },
            echoes: config.echoes,
            restarts: config.restarts,
        };
        let manifest = std::path::absolute(&config.manifest)?.display().to_string();
        let mut specs = vec![spec("coordinator".to_owned(), vec!["coordinator".to_owned(), "--manifest".to_owned(), manifest])];
        for agent in &self.agents {
            for n in 1..=config.workers {
                let name = if config.workers == 1 { agent.to_string() } else { format!("{agent}-{n}") };
                let arguments = ["worker", "--orchestration", self.orchestration.name().as_str(), "--agent", agent.as_str()];
                specs.push(spec(name, arguments.map(str::to_owned).into()));
            }
        }
        Ok(specs)
    }

    /// What the models of this orchestration have to say before they play: that a script stands in, above all.
    pub fn announcements(&self) -> BTreeSet<String> {
        let environment = |name: &str| std::env::var(name).ok();
        let Ok(http) = agent_worker::model::build::http_client() else { return BTreeSet::new() };
        let models = self.orchestration.agents().map(|agent| agent_worker::model::build(&agent.model, &self.orchestration, &environment, &http));
        models.filter_map(|built| built.ok()?.1).collect()
    }

    /// The broker's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every process as it is now.
    pub fn processes(&self) -> Vec<Process> {
        self.processes.iter().map(|process| process.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }

    /// A client of the system's orchestration, for the process `process`.
    ///
    /// # Errors
    /// That the broker cannot be reached.
    pub async fn client(&self, process: ProcessId) -> anyhow::Result<Client> {
        let broker = connect::connect(&BrokerArgs { nats: Some(self.url.clone()) }, &process).await?;
        Ok(Client::new(broker, self.orchestration.name().clone(), Side::Client, process))
    }

    /// Waits until the coordinator answers and a worker of every agent is heard.
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
            if heard(&status).is_superset(&self.agents) {
                return;
            }
        }
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
        self.stop_programs.cancel();
        self.programs.close();
        self.programs.wait().await;
        self.stop_broker.cancel();
        self.broker.close();
        self.broker.wait().await;
    }
}

/// The agents of which a worker is heard.
fn heard(status: &Status) -> BTreeSet<AgentName> {
    status.workers.iter().filter(|worker| !worker.is_draining).map(|worker| worker.agent.clone()).collect()
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
async fn keep_broker(mut server: Server, state: SharedProcess, stop: CancellationToken, restarts: bool) {
    let set = |pid, restarted: bool| {
        let mut process = state.lock().unwrap_or_else(PoisonError::into_inner);
        process.pid = pid;
        process.restarts += u32::from(restarted);
    };
    set(server.pid(), false);
    loop {
        let status = tokio::select! {
            status = server.wait() => status,
            () = stop.cancelled() => break,
        };
        set(None, false);
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        output::note(&format!("nats-server ended ({how})"));
        if !restarts {
            return;
        }
        while let Err(error) = server.restart().await {
            output::note(&format!("nats-server cannot be started again: {error}"));
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = stop.cancelled() => return,
            }
        }
        output::note(&format!("nats-server runs again at {}", server.url()));
        set(server.pid(), true);
    }
    if let Err(error) = server.stop(GRACE).await {
        output::note(&format!("nats-server did not stop in order: {error}"));
    }
    set(None, false);
}
