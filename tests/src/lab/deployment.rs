//! A whole deployment: the broker, two coordinators, two gateways, two workers an agent, and the recorders around it.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use protocol::orchestration::Orchestration;
use tempfile::TempDir;

use super::broker::Broker;
use super::collector::Collector;
use super::disk::Disk;
use super::faults::{Deed, Fault};
use super::link::Link;
use super::member::Member;
use super::model::Models;
use super::orchestration::{AGENTS, NAME, manifest};
use super::recorder::Recorder;
use super::tools::Tools;
use crate::processes::{baton, next_baton};
use cli::ports::free_addresses;

/// How a deployment is to be.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Servers of the broker: 1 or 3.
    pub nodes: usize,
    /// Worker processes of each agent.
    pub workers: usize,
    /// What models do is drawn from it.
    pub seed: u64,
    /// Whether the broker's one server has a small disk of its own.
    pub has_disk: bool,
    /// Whether one process of each pair is a next version's.
    pub is_mixed: bool,
    /// Whether people's time is a minute, [`HUMAN_TIMEOUT`], and not five.
    pub is_short_of_time: bool,
    /// Whether processes reach the broker as it is, and not by links that can be cut.
    pub is_direct: bool,
}

/// What people have to answer in, where they are short of time.
pub const HUMAN_TIMEOUT: Duration = Duration::from_secs(60);

/// Processes that are started at once.
const AT_ONCE: usize = 16;

impl Plan {
    /// What these faults need: two workers an agent.
    pub fn of(faults: &[&Fault], seed: u64) -> Self {
        let any = |is: fn(&Deed) -> bool| faults.iter().any(|fault| is(&fault.deed));
        Self {
            nodes: faults.iter().map(|fault| fault.nodes).max().unwrap_or(1),
            workers: 2,
            seed,
            has_disk: any(|deed| matches!(deed, Deed::DiskFull(_))),
            is_mixed: any(|deed| matches!(deed, Deed::Mixed(_))),
            is_short_of_time: any(|deed| matches!(deed, Deed::RestartEverything)),
            is_direct: false,
        }
    }
}

/// A deployment that runs.
#[derive(Debug)]
pub struct Deployment {
    /// What is recorded.
    pub recorder: Recorder,
    /// The broker.
    pub broker: Broker,
    /// Its processes.
    pub members: Vec<Member>,
    /// Where its gateways listen.
    pub gateways: Vec<SocketAddr>,
    /// The models.
    pub models: Models,
    /// The tools.
    pub tools: Tools,
    /// The collector of spans.
    pub collector: Collector,
    /// An operator's connection to the broker.
    pub operator: async_nats::Client,
    /// What it plays.
    pub orchestration: Orchestration,
    /// The same, as it was written.
    pub manifest: String,
    /// The broker's own disk, if it has one.
    pub disk: Option<Disk>,
    _directory: TempDir,
}

impl Deployment {
    /// Starts one; it is ready. An error says why it cannot be had here.
    pub async fn start(plan: &Plan) -> Result<Self, String> {
        let now = baton().await;
        let next = if plan.is_mixed { next_baton()? } else { now.clone() };
        let disk = if plan.has_disk { Some(Disk::mount()?) } else { None };
        let recorder = Recorder::open();
        let (models, models_url) = Models::start(recorder.clone(), plan.seed).await;
        let (tools, tools_url) = Tools::start(recorder.clone()).await;
        let (collector, collector_url) = Collector::start(recorder.clone()).await;
        let broker =
            if plan.nodes == 1 { Broker::one(disk.as_ref().map(|disk| disk.path().join("nats"))).await } else { Broker::three().await };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("lab.yaml");
        let mut manifest = manifest(&models_url, &tools_url);
        if plan.is_short_of_time {
            manifest["spec"]["limits"]["humanTimeout"] = format!("{}s", HUMAN_TIMEOUT.as_secs()).into();
        }
        let manifest = manifest.to_string();
        std::fs::write(&file, &manifest).expect("a file in it");
        let orchestration = cli::manifest::load(&file).map_err(|error| format!("{error:#}"))?.orchestration;
        let operator = broker.operator(None).await;

        // They are kept across restarts.
        let gateways = free_addresses(2).map_err(|error| format!("no ports are free: {error}"))?;
        let mut members = Vec::new();
        for (name, arguments) in processes(plan, &file.to_string_lossy(), &gateways) {
            let link = if plan.is_direct { Link::none(&broker.urls()) } else { Link::to(&broker.urls()).await };
            let program = if name.ends_with("-1") { next.clone() } else { now.clone() };
            members.push(Member::new(&name, program, arguments, link, &collector_url, recorder.clone()));
        }
        for some in members.chunks_mut(AT_ONCE) {
            for member in &mut *some {
                member.start().await;
            }
            join_all(some.iter().map(Member::ready)).await;
        }
        Ok(Self {
            recorder,
            broker,
            members,
            gateways,
            models,
            tools,
            collector,
            operator,
            orchestration,
            manifest,
            disk,
            _directory: directory,
        })
    }

    /// The process of this name.
    pub fn member(&mut self, name: &str) -> &mut Member {
        self.members.iter_mut().find(|member| member.name == name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// The names of the processes whose names begin like this.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.members.iter().map(|member| member.name.clone()).filter(|name| name.starts_with(prefix)).collect()
    }

    /// The names of all workers.
    pub fn workers(&self) -> Vec<String> {
        AGENTS.iter().flat_map(|(agent, _)| self.names(agent)).collect()
    }

    /// Starts again whatever has ended, and waits until all of it is ready.
    pub async fn restore(&mut self) {
        for member in &mut self.members {
            if !member.is_running() {
                member.start().await;
            }
        }
        join_all(self.members.iter().map(Member::ready)).await;
    }

    /// Ends it.
    pub async fn stop(self) {
        join_all(self.members.iter().map(Member::kill)).await;
    }
}

/// The names and arguments of the deployment's processes.
fn processes(plan: &Plan, manifest: &str, gateways: &[SocketAddr]) -> Vec<(String, Vec<String>)> {
    let owned = |arguments: &[&str]| arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>();
    let mut processes = Vec::new();
    for number in 0..2 {
        let arguments = owned(&["coordinator", "--manifest", manifest, "--replicas", &plan.nodes.to_string()]);
        processes.push((format!("coordinator-{number}"), arguments));
    }
    for (number, address) in gateways.iter().enumerate() {
        processes.push((format!("gateway-{number}"), owned(&["gateway", "--orchestration", NAME, "--listen", &address.to_string()])));
    }
    for (agent, _) in AGENTS {
        for number in 0..plan.workers {
            let arguments = owned(&["worker", "--orchestration", NAME, "--agent", agent, "--drain-secs", "3"]);
            processes.push((format!("{agent}-{number}"), arguments));
        }
    }
    processes
}
