//! Where faults strike: a deployment under load. Each strike waits for its moment, records itself, waits until it is got over,
//! and heals.

mod patience;
mod rollout;
mod split;

use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::broker::{ask, leader, stream};
use super::collector::Mood;
use super::deployment::Deployment;
use super::faults::{Aim, Blow, Deed, Fault, Role};
use super::link::Carrying;
use super::model::Misbehaviour;
use super::orchestration::AGENTS;
use super::poison;
use super::recorder::What;
use super::struck::{Struck, strike};
use super::tap::Progress;
use crate::processes::eventually;

mod call_off;
mod opening;

/// How long a strike waits for the moment it is aimed at.
const MOMENT_AT_MOST: Duration = Duration::from_secs(30);
/// How long it waits for a conversation to get over it.
const RECOVERED_AT_MOST: Duration = Duration::from_secs(60);
/// How long anything lasts that has no length of its own.
const WHILE: Duration = Duration::from_secs(2);

/// A deployment under load, and what is known of its progress.
pub struct Field {
    /// The deployment.
    pub deployment: Deployment,
    progress: Progress,
    random: Rng,
}

impl Field {
    /// A deployment, watched from now on.
    pub fn new(deployment: Deployment, seed: u64) -> Self {
        let progress = Progress::follow(&deployment.operator);
        Self { deployment, progress, random: Rng::with_seed(seed) }
    }

    /// Waits until so many steps have been taken: a fault that meets nobody tells nothing.
    pub async fn busy(&self, steps: u64) {
        self.progress.beyond(None, steps, RECOVERED_AT_MOST).await;
    }

    /// Injects a fault once, and heals it; an error says why it could not be.
    pub async fn strike(&mut self, fault: &Fault) -> Result<(), String> {
        match fault.deed {
            Deed::Nothing => self.nothing(fault).await,
            Deed::Worker(aim, blow) => return self.worker(fault, aim, blow).await,
            Deed::Coordinators(count, gone) => self.coordinators(fault, count, gone).await,
            Deed::Gateway => self.gateway(fault).await,
            Deed::Opening => return self.opening(fault).await,
            Deed::CallOff => return self.call_off(fault).await,
            Deed::Broker => {
                let gone = Duration::from_millis(self.random.u64(0..1500));
                self.broker(fault, gone).await;
            }
            Deed::BrokerAway(gone) => self.broker(fault, gone).await,
            Deed::Consumer => self.consumer(fault).await,
            Deed::Model(trouble, times) => return self.model(fault, trouble, times).await,
            Deed::Tool(trouble) => {
                let hit = self.deployment.tools.order(trouble);
                let conversation = timeout(MOMENT_AT_MOST, hit).await.ok().and_then(Result::ok);
                self.deployment.tools.relent();
                let conversation = conversation.ok_or("no tool was called")?;
                self.got_over(fault, "tool", &conversation).await;
            }
            Deed::Partition(role, long) => return self.partition(fault, role, long).await,
            Deed::KillLeader(_) | Deed::FreezeLeader(_) | Deed::StepDown | Deed::Rolling => self.cluster(fault).await,
            Deed::Poison => return self.poison(fault).await,
            Deed::DiskFull(long) => return self.disk_full(fault, long).await,
            Deed::Collector(is_away, long) => {
                let struck = strike(&self.deployment.recorder, fault, "collector", None);
                self.deployment.collector.is(if is_away { Mood::Away } else { Mood::Slow(WHILE) });
                sleep(long).await;
                self.deployment.collector.is(Mood::Prompt);
                struck.healed();
            }
            Deed::Mixed(long) => return self.mixed_versions(fault, long).await,
            Deed::Minority(long) => self.minority(fault, long).await,
            Deed::LostQuorum(gone) => self.lost_quorum(fault, gone).await,
            Deed::RestartEverything => return self.restart_everything(fault).await,
            Deed::Storm => {
                let struck = strike(&self.deployment.recorder, fault, "every link", None);
                self.deployment.members.iter().for_each(|member| member.link.is(Carrying::Refused));
                sleep(Duration::from_millis(500)).await;
                self.deployment.members.iter().for_each(|member| member.link.is(Carrying::Whole));
                struck.healed();
                self.moved_on().await;
            }
        }
        Ok(())
    }

    async fn nothing(&mut self, fault: &Fault) {
        let struck = strike(&self.deployment.recorder, fault, "nothing", None);
        sleep(WHILE).await;
        struck.healed();
    }

    /// Waits for the moment; the worker, and the conversation that it is at work on.
    async fn aim(&mut self, aim: Aim) -> Result<(String, String), String> {
        let (wanted, late_ms) = match aim {
            Aim::At(what, late_ms) => (what, self.random.u64(0..=late_ms)),
            Aim::Any => {
                let what = self.random.choice([What::ModelSpeaks, What::ModelSpoke, What::ToolRuns]).unwrap_or(What::ModelSpeaks);
                (what, self.random.u64(0..60))
            }
        };
        let recorder = self.deployment.recorder.clone();
        let found = async {
            let mut moments = recorder.moments();
            loop {
                let Ok(moment) = moments.recv().await else { continue };
                // Of a conversation that its person does not know yet, nobody could say later what became of it.
                if moment.what == wanted
                    && let Some(conversation) = recorder.conversation(&moment.canary, Duration::from_millis(5)).await
                {
                    return (moment.process, conversation);
                }
            }
        };
        let found = timeout(MOMENT_AT_MOST, found).await.map_err(|_| format!("{wanted:?} has not come in time"))?;
        if late_ms > 0 {
            sleep(Duration::from_millis(late_ms)).await;
        }
        Ok(found)
    }

    async fn worker(&mut self, fault: &Fault, aim: Aim, blow: Blow) -> Result<(), String> {
        let (process, conversation) = self.aim(aim).await?;
        let steps = self.progress.of(Some(&conversation));
        let struck = strike(&self.deployment.recorder, fault, &process, Some(&conversation));
        let worker = self.deployment.members.iter_mut().find(|member| member.name == process).ok_or("no such worker")?;
        match blow {
            Blow::Kill => worker.kill().await,
            Blow::Terminate => worker.terminate(),
            Blow::Freeze(long) => {
                worker.freeze();
                sleep(long).await;
                worker.thaw();
                struck.healed();
            }
        }
        self.progress.beyond(Some(&conversation), steps, RECOVERED_AT_MOST).await;
        if !matches!(blow, Blow::Freeze(_)) {
            worker.ended().await;
            worker.start().await;
            worker.ready().await;
            struck.healed();
        }
        Ok(())
    }

    async fn coordinators(&mut self, fault: &Fault, count: usize, gone: Duration) {
        let mut names = self.deployment.names("coordinator");
        self.random.shuffle(&mut names);
        names.truncate(count);
        let struck = strike(&self.deployment.recorder, fault, &names.join(" "), None);
        self.away(&names, gone).await;
        struck.healed();
    }

    async fn gateway(&mut self, fault: &Fault) {
        let names = self.deployment.names("gateway");
        let name = self.random.choice(names).unwrap_or_default();
        let struck = strike(&self.deployment.recorder, fault, &name, None);
        self.away(&[name], WHILE).await;
        struck.healed();
    }

    /// Kills processes, and starts them again after a while.
    async fn away(&mut self, names: &[String], gone: Duration) {
        for name in names {
            self.deployment.member(name).kill().await;
        }
        sleep(gone).await;
        self.deployment.restore().await;
    }

    async fn broker(&mut self, fault: &Fault, gone: Duration) {
        let struck = strike(&self.deployment.recorder, fault, "every node", None);
        let nodes = self.deployment.broker.nodes();
        for node in 0..nodes {
            self.deployment.broker.kill(node).await;
        }
        sleep(gone).await;
        for node in 0..nodes {
            self.deployment.broker.restart(node).await;
        }
        struck.healed();
        self.settle(&struck).await;
        self.moved_on().await;
    }

    async fn consumer(&mut self, fault: &Fault) {
        let (agent, _) = self.random.choice(AGENTS).unwrap_or(AGENTS[0]);
        let consumer = format!("{}.agent-{agent}", stream());
        let struck = strike(&self.deployment.recorder, fault, &consumer, None);
        ask(&self.deployment.operator, &format!("CONSUMER.DELETE.{consumer}")).await;
        let operator = &self.deployment.operator;
        let is_back = async || ask(operator, &format!("CONSUMER.INFO.{consumer}")).await.filter(|info| info.get("config").is_some());
        eventually("the consumer to be made anew", is_back).await;
        struck.healed();
        self.moved_on().await;
    }

    async fn model(&mut self, fault: &Fault, trouble: Misbehaviour, times: u32) -> Result<(), String> {
        let hit = self.deployment.models.order(trouble, times);
        let canary = timeout(MOMENT_AT_MOST, hit).await.ok().and_then(Result::ok).ok_or("no model was asked")?;
        let conversation = self.deployment.recorder.conversation(&canary, WHILE).await.ok_or("its person never knew it")?;
        self.got_over(fault, "model", &conversation).await;
        self.deployment.models.relent();
        Ok(())
    }

    /// Something has just hit a conversation; waits until that takes its next step.
    async fn got_over(&mut self, fault: &Fault, target: &str, conversation: &str) {
        let steps = self.progress.of(Some(conversation));
        let struck = strike(&self.deployment.recorder, fault, target, Some(conversation));
        self.progress.beyond(Some(conversation), steps, RECOVERED_AT_MOST).await;
        struck.healed();
    }

    async fn partition(&mut self, fault: &Fault, role: Role, long: Duration) -> Result<(), String> {
        let (process, conversation) = match role {
            Role::Worker => self.aim(Aim::At(What::ModelSpeaks, 0)).await.map(|(process, conversation)| (process, Some(conversation)))?,
            Role::Coordinator => (self.random.choice(self.deployment.names("coordinator")).unwrap_or_default(), None),
        };
        let steps = self.progress.of(conversation.as_deref());
        let struck = strike(&self.deployment.recorder, fault, &process, conversation.as_deref());
        self.deployment.member(&process).link.is(Carrying::Nothing);
        sleep(long).await;
        self.deployment.member(&process).link.is(Carrying::Whole);
        struck.healed();
        self.progress.beyond(conversation.as_deref(), steps, RECOVERED_AT_MOST).await;
        Ok(())
    }

    /// Publishes bytes that no version writes behind the tail of a conversation that is being worked on.
    async fn poison(&mut self, fault: &Fault) -> Result<(), String> {
        let (_, conversation) = self.aim(Aim::At(What::ModelSpeaks, 0)).await?;
        let struck = strike(&self.deployment.recorder, fault, "journal", Some(&conversation));
        let steps = self.progress.of(Some(&conversation));
        let poisoned = poison::inject(&self.deployment.operator, &conversation).await;
        self.progress.beyond(Some(&conversation), steps, RECOVERED_AT_MOST).await;
        struck.healed();
        poisoned
    }

    async fn disk_full(&mut self, fault: &Fault, long: Duration) -> Result<(), String> {
        let disk = self.deployment.disk.as_ref().ok_or("the store has no disk of its own")?;
        let struck = strike(&self.deployment.recorder, fault, "disk", None);
        let filled = disk.fill();
        sleep(long).await;
        disk.free();
        // A nats-server whose disk was full takes JetStream out of service until it is started again.
        self.deployment.broker.restart(0).await;
        struck.healed();
        self.settle(&struck).await;
        self.moved_on().await;
        filled
    }

    async fn cluster(&mut self, fault: &Fault) {
        let leads = leader(&self.deployment.operator, &stream()).await;
        let struck = strike(&self.deployment.recorder, fault, &format!("n{leads}"), None);
        let broker = &mut self.deployment.broker;
        match fault.deed {
            Deed::KillLeader(gone) => {
                broker.kill(leads).await;
                sleep(gone).await;
                broker.restart(leads).await;
            }
            Deed::FreezeLeader(long) => {
                broker.freeze(leads, true);
                sleep(long).await;
                broker.freeze(leads, false);
            }
            Deed::Rolling => {
                for node in 0..broker.nodes() {
                    broker.stop(node).await;
                    broker.restart(node).await;
                    broker.settled().await;
                }
            }
            _ => {
                ask(&self.deployment.operator, &format!("STREAM.LEADER.STEPDOWN.{}", stream())).await;
                sleep(WHILE).await;
            }
        }
        struck.healed();
        self.settle(&struck).await;
        self.moved_on().await;
    }

    /// Waits until the broker's servers agree again on who leads what.
    async fn settle(&self, struck: &Struck) {
        self.deployment.broker.settled().await;
        let operator = &self.deployment.operator;
        for (agent, _) in AGENTS {
            let consumer = format!("CONSUMER.INFO.{}.agent-{agent}", stream());
            let is_led = async || ask(operator, &consumer).await.filter(|info| info.get("config").is_some());
            eventually("a leader of the consumer", is_led).await;
        }
        struck.settled();
    }

    /// Waits until somebody takes a step again, and a little for others to do so.
    async fn moved_on(&self) {
        let (steps, until) = (self.progress.of(None), Instant::now() + WHILE);
        self.progress.beyond(None, steps, RECOVERED_AT_MOST).await;
        tokio::time::sleep_until(until).await;
    }

    /// Ends the deployment.
    pub async fn clear(self) {
        join_all(self.deployment.members.iter().map(super::member::Member::kill)).await;
    }
}
