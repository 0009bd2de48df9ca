//! One load: a deployment of its own, played several times, each time followed by the raw loop on the same broker.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use journal::nats::measure::{Asked, Load, Raw, Tap};
use protocol::ids::{ConversationId, Seq};
use protocol::subject;
use serde::de::DeserializeOwned;
use tokio::time::{interval, timeout};

use super::cache;
use super::crowd::Crowd;
use super::endpoint::Endpoint;
use super::figures::Percentiles;
use super::listener::Listeners;
use super::report::{BrokerWork, Case, Compared, Growth, Ideal, Latency, Run, Wake, medians, over};
use super::shape::{Plan, Shape};
use super::traffic::{Deliveries, Jsz, Traffic};
use super::trail::Trail;
use super::watch::{Pids, Watch};
use crate::broker::{self, Fsync};
use crate::dev::system::{Config, System};
use crate::{dev, manifest, ports};

/// How long acknowledgements may be on their way once everything is over.
const ACKED: Duration = Duration::from_secs(5);
/// Between two looks at whether they have come.
const LOOK: Duration = Duration::from_millis(20);
/// The handoffs that are held against one another where a conversation has so many.
const EARLY: usize = 10;
const LATE: usize = 500;

/// Plays a plan `runs` times.
pub(super) async fn measure(plan: &Plan, runs: usize, fsync: Fsync) -> anyhow::Result<Case> {
    let directory = tempfile::Builder::new().prefix("baton-bench-").tempdir()?;
    let endpoint = match &plan.answers {
        Some(answers) => Some(Endpoint::start(answers.clone()).await.context("no port is free")?),
        None => None,
    };
    let (endpoint, url) = endpoint.unzip();
    let system = System::start(config(&plan.files(url.as_deref()), directory.path(), fsync)?).await?;
    let measured = match Bench::open(plan, &system, endpoint).await {
        Ok(mut bench) => bench.measure(runs).await,
        Err(error) => Err(error),
    };
    system.stop().await;
    let cacheable_share =
        if plan.shape == Shape::Support && plan.answers.is_none() { Some(cache::measure(plan, fsync).await?) } else { None };
    Ok(Case { cacheable_share, ..measured? })
}

/// A deployment of the definition in these files, of which the first is the manifest.
pub(super) fn config(files: &[(&str, String)], directory: &Path, fsync: Fsync) -> anyhow::Result<Config> {
    for (name, text) in files {
        std::fs::write(directory.join(name), text)?;
    }
    let manifest = directory.join(files.first().map_or("bench.yaml", |(name, _)| *name));
    Ok(Config {
        orchestration: manifest::load(&manifest)?.orchestration,
        manifest,
        data: directory.join("data"),
        workers: 1,
        port: None,
        http: Some(ports::free_address().context("no port is free")?),
        fsync,
        echoes: false,
        restarts: false,
    })
}

/// A deployment that is being measured.
struct Bench<'a> {
    plan: &'a Plan,
    endpoint: Option<Endpoint>,
    crowd: Crowd,
    raw: Raw,
    tap: Tap,
    monitor: String,
    pids: Pids,
    /// The names by which the workers ask the broker.
    workers: Vec<String>,
    /// The number of the next conversation.
    next: usize,
    /// Who hears models speak, where they do.
    listeners: Option<Listeners>,
}

/// What counts up by itself.
struct Counters {
    seq: Seq,
    cpu: BTreeMap<String, Duration>,
    traffic: Traffic,
    deliveries: Deliveries,
    asked: Asked,
}

/// What was seen of a play while it was played.
struct Played {
    /// When each conversation's requests arrived at their model.
    arrivals_ns: BTreeMap<ConversationId, Vec<u64>>,
    /// Those that have waited longest, as many as are to be woken.
    oldest: Vec<ConversationId>,
}

impl<'a> Bench<'a> {
    async fn open(plan: &'a Plan, system: &System, endpoint: Option<Endpoint>) -> anyhow::Result<Self> {
        let crowd = Crowd::of(system).await?;
        let workers = crowd.client.status().await?.workers.into_iter().map(|worker| worker.process.to_string()).collect();
        let pids = system.processes().into_iter().filter_map(|process| Some((process.name, process.pid?)));
        let (tap, raw) = (crowd.nats.tap().await?, Raw::open(system.url()).await?);
        let monitor = system.monitor_url().to_owned();
        let gateway = system.http().filter(|_| plan.is_told());
        let listeners = gateway.map(|gateway| Listeners::at(&gateway)).transpose()?;
        Ok(Self { plan, endpoint, crowd, raw, tap, monitor, pids: Pids::of(pids), workers, next: 0, listeners })
    }

    async fn measure(&mut self, runs: usize) -> anyhow::Result<Case> {
        let memory_idle_mb = self.pids.memory_mb();
        // Connections, caches and definitions are there once somebody has used them.
        if self.plan.thinking().is_zero() {
            self.play(1).await?;
        }
        let mut measured = Vec::new();
        for _ in 0..runs {
            measured.push(self.run().await?);
        }
        let Plan { shape, conversations, .. } = *self.plan;
        Ok(Case { shape, player: self.plan.player(), conversations, memory_idle_mb, run: medians(&measured)?, cacheable_share: None })
    }

    /// Plays so many conversations.
    async fn play(&mut self, conversations: usize) -> anyhow::Result<Played> {
        let first = self.next;
        self.next += conversations;
        let listeners = &mut self.listeners;
        let begun = |conversation: &ConversationId| listeners.iter_mut().for_each(|listeners| listeners.listen(conversation));
        let numbers = self.crowd.play(self.plan, conversations, first, begun).await?;
        let mut oldest: Vec<_> = if self.plan.woken > 0 { numbers.iter().collect() } else { Vec::new() };
        oldest.sort_unstable_by_key(|(_, number)| **number);
        let oldest = oldest.into_iter().take(self.plan.woken).map(|(conversation, _)| conversation.clone()).collect();
        let mut arrivals = self.endpoint.as_ref().map(Endpoint::arrivals).unwrap_or_default();
        let arrivals_ns =
            numbers.into_iter().filter_map(|(conversation, number)| Some((conversation, arrivals.remove(&number)?))).collect();
        Ok(Played { arrivals_ns, oldest })
    }

    /// Wakes some of those who wait, one at a time and each twice.
    async fn wake(&self, waiting: &[ConversationId]) -> anyhow::Result<Option<Wake>> {
        if waiting.is_empty() {
            return Ok(None);
        }
        let (first, again) = (self.crowd.wake(waiting).await?, self.crowd.wake(waiting).await?);
        Ok(Percentiles::of_ns(first).zip(Percentiles::of_ns(again)).map(|(first, again)| Wake { first, again }))
    }

    async fn run(&mut self) -> anyhow::Result<Run> {
        let before = self.settled().await?;
        let watch = Watch::start(self.pids.clone());
        let Played { arrivals_ns, oldest } = self.play(self.plan.conversations).await?;
        let after = self.settled().await?;
        let memory_peak_mb = watch.stop().await;
        let kept = self.crowd.nats.kept(self.crowd.client.orchestration(), before.seq).await?;
        let trail = Trail::of(&kept);
        let wanted = self.plan.handoffs * self.plan.conversations;
        if self.plan.is_rally() && trail.handoffs() != wanted {
            let conversations: Vec<_> = trail.conversations().collect();
            self.crowd.explain(conversations.into_iter()).await?;
        }
        ensure!(trail.entries() > 0, "nothing was stored");
        let wake_us = self.wake(&oldest).await?;
        let raw = self.raw(&trail).await?;
        let cost = Cost::between(&before, &after, trail.per().1);
        let run = self.figures(&trail, &arrivals_ns, &cost, raw.as_ref(), memory_peak_mb);
        let first_words_ns = match &mut self.listeners {
            Some(listeners) => listeners.delays_ns().await,
            None => Vec::new(),
        };
        Ok(Run { first_word_us: Percentiles::of_ns(first_words_ns), wake_us, ..run })
    }

    /// The raw loop, with as many handoffs and messages of the same size; none beside models that think.
    async fn raw(&self, trail: &Trail) -> anyhow::Result<Option<Floor>> {
        if !self.plan.thinking().is_zero() {
            return Ok(None);
        }
        let (header_bytes, payload_bytes) = trail.entry_bytes();
        let (conversations, slots) = (self.plan.conversations, self.plan.slots());
        let handoffs = (trail.entries() / conversations).saturating_sub(1).max(1);
        let (first, before) = (self.raw.last_seq().await?, self.counters().await?);
        let deliveries_ns = self.raw.play(&Load { conversations, handoffs, header_bytes, payload_bytes, slots }).await?;
        let cost = Cost::between(&before, &self.counters().await?, conversations * handoffs);
        Ok(Some(Floor { cost, trail: Trail::of_raw(&self.raw.kept(first).await?), deliveries_ns }))
    }

    async fn counters(&self) -> anyhow::Result<Counters> {
        let orchestration = self.crowd.client.orchestration();
        let jsz: Jsz = self.monitored("/jsz?consumers=true").await?;
        let asked = self.tap.asked();
        let asked = self.workers.iter().filter_map(|worker| asked.get(worker)).fold(Asked::default(), |sum, asked| Asked {
            pulls: sum.pulls + asked.pulls,
            reads: sum.reads + asked.reads,
            others: sum.others + asked.others,
        });
        Ok(Counters {
            seq: self.crowd.nats.last_seq(orchestration).await?,
            cpu: self.pids.cpu(),
            traffic: self.monitored("/varz").await?,
            deliveries: jsz.deliveries(&subject::stream(orchestration)),
            asked,
        })
    }

    async fn monitored<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        Ok(serde_json::from_value(broker::monitor(&self.monitor, path).await?)?)
    }

    /// The counters once every work item that was delivered is acknowledged.
    async fn settled(&self) -> anyhow::Result<Counters> {
        let acked = async {
            let mut looks = interval(LOOK);
            loop {
                looks.tick().await;
                let counters = self.counters().await?;
                if counters.deliveries.acked >= counters.deliveries.delivered {
                    return anyhow::Ok(counters);
                }
            }
        };
        // What is not acknowledged by then is shown as such.
        match timeout(ACKED, acked).await {
            Ok(counters) => counters,
            Err(_) => self.counters().await,
        }
    }

    fn figures(
        &self,
        trail: &Trail,
        arrivals_ns: &BTreeMap<ConversationId, Vec<u64>>,
        cost: &Cost,
        raw: Option<&Floor>,
        memory_peak_mb: BTreeMap<String, f64>,
    ) -> Run {
        let seconds = trail.seconds();
        let rate = |count: usize, seconds: f64| over(count as f64, seconds).unwrap_or_default();
        let raw_rate = raw.map(|raw| rate(raw.trail.entries(), raw.trail.seconds()));
        // A turn in which more happens than a handoff is nothing that the raw loop does.
        let rally = raw.filter(|_| self.plan.is_rally());
        let raw_hop = rally.and_then(|raw| Percentiles::of_ns(raw.trail.hops_ns()));
        let raw_delivery = raw.and_then(|raw| Percentiles::of_ns(raw.deliveries_ns.clone()));
        let requests = Percentiles::of_ns(trail.requests_ns(arrivals_ns));
        let (header_bytes, payload_bytes) = trail.entry_bytes();
        let ratio = |of: fn(&Cost) -> f64| Compared::new(of(cost), rally.map(|raw| of(&raw.cost)));
        let system_cpu = cost.cpu.get(TOTAL).copied();
        Run {
            handoffs: trail.handoffs() as f64,
            work_items: trail.work_items() as f64,
            entries: trail.entries() as f64,
            entry_bytes: (header_bytes + payload_bytes) as f64,
            seconds,
            handoffs_per_second: Compared::new(rate(trail.handoffs(), seconds), raw_rate.filter(|_| self.plan.is_rally())),
            entries_per_second: Compared::new(rate(trail.entries(), seconds), raw_rate),
            hop_us: Percentiles::of_ns(trail.hops_ns()).map(|hop| Latency::new(hop, raw_hop)),
            request_us: requests.map(|request| Latency::new(request, raw_delivery)),
            first_word_us: None,
            wake_us: None,
            answer_us: self.plan.has_person().then(|| Percentiles::of_ns(trail.answers_ns())).flatten(),
            growth: growth(trail),
            model_calls: self.ideal(trail, seconds),
            cpu_ratio: rally.zip(system_cpu).and_then(|(raw, cpu)| over(cpu, raw.floor_cpu()?)),
            cpu_seconds_per_1000: cost.cpu.clone(),
            memory_peak_mb,
            broker: BrokerWork {
                per: trail.per().0.to_owned(),
                stored: trail.entries() as f64 / trail.per().1.max(1) as f64,
                deliveries: cost.deliveries,
                acks: cost.acks,
                pulls: cost.pulls,
                reads: cost.reads,
                messages_in: ratio(|cost| cost.messages_in),
                messages_out: ratio(|cost| cost.messages_out),
                bytes_in: ratio(|cost| cost.bytes_in),
                bytes_out: ratio(|cost| cost.bytes_out),
            },
        }
    }

    /// Beside models that take their time: each work item is one call, and all conversations have one in flight always.
    fn ideal(&self, trail: &Trail, seconds: f64) -> Option<Ideal> {
        let thinking = self.plan.thinking().as_secs_f64();
        let per_second = over(trail.work_items() as f64, seconds)?;
        let ideal_per_second = over(self.plan.conversations as f64, thinking)?;
        Some(Ideal { per_second, ideal_per_second, ratio: per_second / ideal_per_second })
    }
}

fn growth(trail: &Trail) -> Option<Growth> {
    let at = |handoff: usize| Percentiles::of_ns(trail.hops_around_ns(handoff)).map(|around| around.p50);
    let (at10_us, at500_us) = (at(EARLY)?, at(LATE)?);
    Some(Growth { at10_us, at500_us, ratio: over(at500_us, at10_us)? })
}

/// What is said of all processes of the system together.
const TOTAL: &str = super::watch::TOTAL;

/// What a load has cost, per what was done; CPU per 1,000 of it.
struct Cost {
    cpu: BTreeMap<String, f64>,
    deliveries: f64,
    acks: f64,
    pulls: f64,
    reads: f64,
    messages_in: f64,
    messages_out: f64,
    bytes_in: f64,
    bytes_out: f64,
}

impl Cost {
    fn between(before: &Counters, after: &Counters, done: usize) -> Self {
        let per = |count: u64| count as f64 / done.max(1) as f64;
        let used = |(name, after): (&String, &Duration)| {
            let used = after.saturating_sub(before.cpu.get(name).copied()?);
            Some((name.clone(), used.as_secs_f64() * 1000.0 / done.max(1) as f64))
        };
        let (traffic, deliveries) = (after.traffic - before.traffic, after.deliveries - before.deliveries);
        Self {
            cpu: after.cpu.iter().filter_map(used).collect(),
            deliveries: per(deliveries.delivered),
            acks: per(deliveries.acked),
            pulls: per(after.asked.pulls - before.asked.pulls),
            reads: per(after.asked.reads - before.asked.reads),
            messages_in: per(traffic.in_msgs),
            messages_out: per(traffic.out_msgs),
            bytes_in: per(traffic.in_bytes),
            bytes_out: per(traffic.out_bytes),
        }
    }
}

/// What the raw loop has made of the same load.
struct Floor {
    trail: Trail,
    deliveries_ns: Vec<u64>,
    cost: Cost,
}

impl Floor {
    /// The broker's part and that of this process, which is the raw loop's client.
    fn floor_cpu(&self) -> Option<f64> {
        Some(self.cost.cpu.get(dev::table::BROKER)? + self.cost.cpu.get(super::watch::THIS)?)
    }
}
