//! Hundreds of workers that lose the broker at the same moment, while people talk: how long it takes until each of them is back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use cli::bench::process::memory as memory_of;
use futures::StreamExt;
use protocol::presence::Heartbeat;
use tokio::time::{sleep, timeout};

use super::broker::{ask, stream};
use super::crowd::Crowd;
use super::deployment::{Deployment, Plan};
use super::measure::percentile;
use super::orchestration::{AGENTS, NAME};
use super::person::Habits;
use super::tap;
use super::verdict::{Broken, judge};
use super::wish::Caller;

/// How long the broker is away: all of them have tried in vain meanwhile.
const AWAY: Duration = Duration::from_secs(3);
/// How long anybody may take to come back.
const BACK_AT_MOST: Duration = Duration::from_secs(60);
/// How long conversations may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at the consumers.
const LOOK: Duration = Duration::from_millis(100);
/// People who talk at once.
const PEOPLE: usize = 6;

/// What a storm has cost.
#[derive(Clone, Debug, Default)]
pub struct Storm {
    /// Worker processes.
    pub workers: usize,
    /// Seconds until all of them were ready at first.
    pub ready_secs: u64,
    /// Memory of one of them, in KiB: what is its own, and its share of what it shares.
    pub pss_kib: u64,
    /// Milliseconds after the broker's start at which each was heard again.
    pub heard_ms: Vec<u64>,
    /// Milliseconds after it at which as many orders for work stood as there are workers; none, where they never did.
    pub ordered_ms: Option<u64>,
    /// Conversations that ended, and those that did not.
    pub conversations: (usize, usize),
    /// Promises that were not kept.
    pub broken: Vec<Broken>,
}

/// Kills the broker of so many workers and starts it again.
pub async fn storm(workers: usize, seed: u64) -> Result<Storm, String> {
    let began = Instant::now();
    let plan = Plan { nodes: 1, workers: workers / AGENTS.len(), seed, is_direct: true, ..Plan::default() };
    let mut deployment = Deployment::start(&plan).await?;
    let names: BTreeSet<String> = deployment.workers().into_iter().collect();
    let (ready_secs, pss_kib) = (began.elapsed().as_secs(), memory(&deployment, &names));
    let caller = Caller::of(&deployment.gateways, &deployment.recorder);
    let crowd = Crowd::gather(&caller, PEOPLE, usize::MAX, Habits::default(), seed);
    sleep(AWAY).await;

    deployment.broker.kill(0).await;
    sleep(AWAY).await;
    deployment.broker.restart(0).await;
    let back = Instant::now();
    let operator = deployment.broker.operator(None).await;
    let (heard, ordered) = tokio::join!(heard(&operator, names.len(), back), ordered(&operator, names.len(), back));
    let dispersed = crowd.disperse(ENDS_WITHIN).await;
    tap::record(&deployment.broker, &deployment.recorder).await.map_err(|error| error.to_string())?;
    let (broken, _) = judge(&deployment.orchestration, &deployment.recorder.take());
    deployment.stop().await;
    Ok(Storm {
        workers: names.len(),
        ready_secs,
        pss_kib,
        heard_ms: heard,
        ordered_ms: ordered,
        conversations: (dispersed.ended, dispersed.unfinished),
        broken,
    })
}

/// When each process was heard for the first time.
async fn heard(operator: &async_nats::Client, workers: usize, since: Instant) -> Vec<u64> {
    let mut heard: BTreeMap<String, u64> = BTreeMap::new();
    let all = async {
        let mut beats = operator.subscribe(format!("baton.{NAME}.beat.*.*")).await.expect("the operator listens");
        while heard.len() < workers
            && let Some(beat) = beats.next().await
        {
            let Ok(beat) = serde_json::from_slice::<Heartbeat>(&beat.payload) else { continue };
            heard.entry(beat.process.to_string()).or_insert_with(|| millis(since));
        }
    };
    // Who has not been heard by then is missing from what is told.
    let _ = timeout(BACK_AT_MOST, all).await;
    heard.into_values().collect()
}

/// When every worker's order for work stood, all agents together.
async fn ordered(operator: &async_nats::Client, workers: usize, since: Instant) -> Option<u64> {
    let all = async {
        loop {
            let mut orders = 0;
            for (agent, _) in AGENTS {
                let info = ask(operator, &format!("CONSUMER.INFO.{}.agent-{agent}", stream())).await;
                orders += info.and_then(|info| info["num_waiting"].as_u64()).unwrap_or_default();
            }
            if orders >= workers as u64 {
                return millis(since);
            }
            sleep(LOOK).await;
        }
    };
    timeout(BACK_AT_MOST, all).await.ok()
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The middle one of the workers' shares of memory, in KiB; 0 where the system does not tell.
fn memory(deployment: &Deployment, names: &BTreeSet<String>) -> u64 {
    let workers = deployment.members.iter().filter(|member| names.contains(&member.name));
    let shares = workers.filter_map(|worker| Some(memory_of(worker.pid())? / 1024));
    percentile(&shares.collect::<Vec<u64>>(), 50).unwrap_or_default()
}

impl std::fmt::Display for Storm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |percent| percentile(&self.heard_ms, percent).unwrap_or_default();
        let ordered = self.ordered_ms.map_or_else(|| "never".to_owned(), |ms| format!("after {ms} ms"));
        let (ended, unfinished) = self.conversations;
        write!(
            f,
            "{} workers of {} KiB, ready in {} s; {} heard again, p50 {} ms, p99 {} ms, last {} ms; all orders stood {ordered}; {ended} \
             conversations ended, {unfinished} did not; {} violations",
            self.workers,
            self.pss_kib,
            self.ready_secs,
            self.heard_ms.len(),
            at(50),
            at(99),
            at(100),
            self.broken.len()
        )
    }
}
