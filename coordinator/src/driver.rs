//! Moves what comes in to the pure parts, and carries out what they say. It waits for nothing but its inputs: whatever
//! takes time is a job, and comes back as one more input.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use journal::registry::RegistryError;
use journal::{Delivery, Plan, StoreError};
use protocol::entry::Head;
use protocol::ids::{AgentName, Seq};
use protocol::query::verb;
use protocol::subject::{self, Class, gateway_of_hello};
use protocol::wire::{DecodeError, Stored};
use tokio::sync::watch::{Receiver, Sender};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::act::{ActError, Acted, Actor};
use crate::agenda::Agenda;
use crate::checkpoint::Place;
use crate::clear;
use crate::clock::Clock;
use crate::declare::Declaring;
use crate::forward::Outbox;
use crate::input::Inputs;
use crate::job::{self, Consumers, Done};
use crate::ledger::Ledger;
use crate::presence::Presence;
use crate::query::View;
use crate::retention::Retention;
use crate::revisions::{Change, Learnt, Revisions};
use crate::start::Begun;
use crate::watch::{Act, Intent, Proposal, Watch};

const TICK: Duration = Duration::from_secs(1);
/// Ticks between two sweeps: they are the slow net, deaths are noticed at once.
const SWEEP_TICKS: u64 = 5;
/// Without an entry for so long, the ledger has caught up with a stream that was quiet when it began.
const QUIET: Duration = Duration::from_millis(500);
/// How much longer others may take to be back after their longest pause between two attempts.
const SETTLE: Duration = Duration::from_secs(2);
/// After so long whoever erased a conversation has purged it, or never will.
const PURGE_MS: u64 = 2000;
/// Ticks after which whoever acts has done it, where this process has not acted since it began.
const LEFT_TICKS: u64 = 600;
/// Purges under way at once.
const PURGING_MAX: usize = 16;
/// How long what is under way may take once the coordinator is told to stop.
const FINISH: Duration = Duration::from_secs(5);

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One orchestration's coordinator.
#[derive(Debug)]
pub(crate) struct Driver {
    actor: Arc<Actor>,
    config: Config,
    ledger: Ledger,
    revisions: Revisions,
    declaring: Declaring,
    presence: Presence,
    watch: Watch,
    outbox: Outbox,
    leads: Receiver<bool>,
    began: Instant,
    progress: Progress,
    /// Whether this process acted when it last looked.
    acted: bool,
    clock: Clock,
    now_ms: u64,
    ticks: u64,
    is_ticking: bool,
    is_learning: bool,
    jobs: JoinSet<Done>,
    agenda: Agenda,
    checkpoint: Checkpoint,
    retention: Retention,
    /// Tombstones whose conversations are being purged.
    purging: BTreeSet<Seq>,
}

/// How far the ledger has come.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// Nobody knows yet what time it is.
    Began,
    /// It catches up with what was stored before this time, by the broker's clock. It has, once an entry is newer, or when
    /// none comes any more until then.
    Behind {
        began_ms: u64,
        quiet_at: Instant,
    },
    CaughtUp,
}

#[derive(Debug)]
struct Checkpoint {
    seq: Seq,
    entries: usize,
    at: Instant,
    is_under_way: bool,
}

impl Driver {
    pub(crate) fn new(actor: Arc<Actor>, config: Config, begun: Begun, leads: Receiver<bool>) -> Self {
        let Begun { ledger, retention, learnt, declaring } = begun;
        // Whoever is silent for twice the ack wait has lost its work items to somebody else.
        let hung = config.ack_wait * 2;
        let hung_ticks = u32::try_from(hung.as_secs().max(1)).unwrap_or(u32::MAX);
        let now = Instant::now();
        let seq = ledger.seq();
        Self {
            actor,
            presence: Presence::new(config.reconnect_pause_max + SETTLE, hung_ticks),
            watch: Watch::new(millis(hung), millis(config.snapshot_after)),
            revisions: Revisions::new(learnt, millis(config.retire_after)),
            declaring,
            config,
            ledger,
            outbox: Outbox::default(),
            leads,
            began: now,
            progress: Progress::Began,
            acted: false,
            clock: Clock::default(),
            now_ms: 0,
            ticks: 0,
            is_ticking: false,
            is_learning: false,
            jobs: JoinSet::new(),
            agenda: Agenda::default(),
            checkpoint: Checkpoint { seq, entries: 0, at: now, is_under_way: false },
            retention,
            purging: BTreeSet::new(),
        }
    }

    /// Coordinates until `stop`. A job that crashes is a programming error: it ends the coordinator, visibly.
    pub(crate) async fn run(mut self, ready: Sender<bool>, stop: CancellationToken) -> Result<(), JoinError> {
        let mut inputs = Inputs::open(&self.actor.broker, &self.actor.orchestration, self.ledger.seq()).await;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wake = self.wake();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(entries) = inputs.entries.next() => entries.iter().for_each(|stored| self.take(stored)),
                Some(beat) = inputs.beats.next() => self.hear(&beat),
                Some(hello) = inputs.hellos.next() => self.greet(&hello),
                Some((verb, question)) = inputs.queries.next() => self.answer(verb, question).await,
                Some(done) = self.jobs.join_next() => self.done(done?),
                () = inputs.link.reconnected() => self.presence.reconnected(self.at()),
                Ok(()) = self.leads.changed() => {}
                _ = ticks.tick() => self.tick(),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
            if self.catches_up() {
                inputs.take_queries(&self.actor.broker, &self.actor.orchestration).await;
                ready.send_replace(true);
                tracing::info!(orchestration = %self.actor.orchestration, seq = %self.ledger.seq(), "caught up");
            }
            self.go_on();
        }
        ready.send_replace(false);
        self.finish().await;
        Ok(())
    }

    fn at(&self) -> Duration {
        self.began.elapsed()
    }

    fn may_act(&self) -> bool {
        matches!(self.progress, Progress::CaughtUp) && *self.leads.borrow()
    }

    /// When there is something to do even if nothing comes in.
    fn wake(&self) -> Option<Instant> {
        let quiet = match self.progress {
            Progress::Behind { quiet_at, .. } => Some(quiet_at),
            Progress::Began | Progress::CaughtUp => None,
        };
        let timers = [self.presence.next_probe(), self.outbox.wake()].into_iter().flatten().filter(|_| self.may_act());
        timers.map(|at| self.began + at).chain(quiet).min()
    }

    fn take(&mut self, stored: &Stored) {
        match Head::decode(&stored.subject, &stored.headers) {
            Ok(head) => {
                self.ledger.apply(stored.seq, stored.time_ms, &head, stored.size);
                if head.subject.class == Class::Ask
                    && self.may_act()
                    && let Some(row) = self.ledger.row(&head.subject.conversation)
                {
                    self.outbox.add(&row);
                }
            }
            Err(error) => {
                tracing::warn!(subject = stored.subject, seq = %stored.seq, "an entry is passed over: {error}");
                match (error, subject::conversation_of(&stored.subject)) {
                    (DecodeError::Malformed(_), Some(conversation)) => self.ledger.damage(stored.seq, &conversation),
                    // Its conversation is left alone: no proposal holds on a tail the ledger does not have.
                    (DecodeError::Newer { .. }, _) | (DecodeError::Malformed(_), None) => self.ledger.skip(stored.seq),
                }
            }
        }
        self.checkpoint.entries += 1;
        if let Progress::Behind { began_ms, quiet_at } = &mut self.progress {
            let is_newer = stored.time_ms >= *began_ms;
            *quiet_at = if is_newer { Instant::now() } else { Instant::now() + QUIET };
        }
    }

    /// Whether the ledger has just caught up.
    fn catches_up(&mut self) -> bool {
        let catches_up = matches!(self.progress, Progress::Behind { quiet_at, .. } if quiet_at <= Instant::now());
        if catches_up {
            self.progress = Progress::CaughtUp;
        }
        catches_up
    }

    fn hear(&mut self, beat: &Delivery) {
        match serde_json::from_slice(&beat.payload) {
            Ok(heartbeat) => self.presence.heard(heartbeat, self.at()),
            Err(error) => tracing::debug!(subject = beat.subject, "not a heartbeat: {error}"),
        }
    }

    fn greet(&mut self, hello: &Delivery) {
        if let Some(gateway) = gateway_of_hello(&hello.subject).filter(|_| self.may_act()) {
            self.outbox.renew(&gateway, &self.ledger);
        }
    }

    async fn answer(&mut self, verb: &str, question: Delivery) {
        if verb == verb::ERASE {
            self.jobs.spawn(clear::erase(self.actor.clone(), question));
            return;
        }
        let view = View {
            ledger: &self.ledger,
            revisions: &self.revisions,
            presence: &self.presence,
            process: &self.actor.process,
            is_leader: *self.leads.borrow(),
            now_ms: self.now_ms,
        };
        if let Some(reply) = &question.reply {
            self.actor.broker.say(reply, view.answer(verb, &question.payload)).await;
        }
    }

    fn tick(&mut self) {
        self.agenda.wake(self.at());
        if self.is_ticking {
            self.presence.tick_missed();
        } else {
            self.is_ticking = true;
            self.jobs.spawn(job::tick(self.actor.clone()));
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Ticked(Ok(now_ms)) => self.ticked(now_ms),
            Done::Ticked(Err(error)) => {
                self.is_ticking = false;
                self.presence.tick_missed();
                tracing::warn!(orchestration = %self.actor.orchestration, "the tick did not come back: {error}");
                // It lies in memory, and a broker that starts again has forgotten it. Without it there is no time, and nothing
                // else would ever look for what is missing.
                if matches!(error, StoreError::Missing(_)) {
                    self.perform(vec![Act::Provision(self.revisions.needed(&self.ledger).agents)]);
                }
            }
            Done::Probed { process, probe, delivered } => {
                if let Some(death) = self.presence.probed(&process, probe, delivered, self.at()) {
                    tracing::warn!(orchestration = %self.actor.orchestration, process = %death.process, "a worker process died");
                    let acts = self.watch.died(&self.ledger, &self.presence, &death, self.now_ms);
                    self.perform(acts);
                }
            }
            Done::Looked(consumers) => self.looked(consumers),
            Done::Learnt(learnt) => self.learnt(learnt),
            Done::Declared(declared) => {
                if let Err(error) = &declared {
                    tracing::error!(orchestration = %self.actor.orchestration, "the changed definition cannot be registered yet: {error}");
                }
                self.declaring.done(declared.ok());
                self.learn();
            }
            Done::Answered { question, answers } => {
                let acts = self.watch.answered(&self.presence, question, &answers);
                self.perform(acts);
            }
            Done::Acted { proposal, acted } => self.acted(proposal, &acted),
            Done::Forwarded { gateway, is_there } => self.outbox.sent(&gateway, is_there, self.at()),
            Done::Cleared(look, looked) => {
                self.retention.looked(&look, looked, self.now_ms);
                self.clear();
            }
            Done::Purged { tombstone, purged } => {
                self.purging.remove(&tombstone);
                match purged {
                    Ok(()) => self.ledger.purged(tombstone),
                    Err(error) => tracing::warn!(orchestration = %self.actor.orchestration, "what was erased is not purged yet: {error}"),
                }
            }
            Done::Provisioned | Done::Retired | Done::Erased => {}
            Done::Stored { seq, stored } => {
                self.checkpoint.is_under_way = false;
                match stored {
                    Ok(()) => self.checkpoint.seq = seq,
                    Err(error) => tracing::warn!(orchestration = %self.actor.orchestration, "no checkpoint: {error}"),
                }
            }
        }
    }

    fn acted(&mut self, Proposal { conversation, tail, intent }: Proposal, acted: &Result<Acted, ActError>) {
        // Where the ledger has read damage, and the journal has none any more, there is nothing to hurry for.
        let is_undamaged = matches!(acted, Ok(Acted::Moved)) && self.ledger.row(&conversation).is_some_and(|row| row.is_damaged);
        // A snapshot is a convenience: one that is not needed, or not taken, is not tried for ever.
        if intent == Intent::Snapshot && !acted.as_ref().is_err_and(ActError::is_transient) {
            self.ledger.leave_unsnapped(&conversation, tail);
        }
        if let Err(error) = acted {
            tracing::warn!(orchestration = %self.actor.orchestration, %conversation, "could not act: {error}");
        }
        self.agenda.done(conversation, acted.is_err() || is_undamaged, self.at());
    }

    fn ticked(&mut self, broker_ms: u64) {
        self.is_ticking = false;
        self.ticks += 1;
        self.now_ms = self.clock.ticked(broker_ms, self.at());
        self.presence.ticked();
        self.presence.connected_to(self.actor.broker.server_name());
        self.ledger.expire(self.now_ms);
        if matches!(self.progress, Progress::Began) {
            self.progress = Progress::Behind { began_ms: broker_ms, quiet_at: Instant::now() + QUIET };
        }
        self.learn();
        if let Some(definition) = self.declaring.next(self.ticks.is_multiple_of(SWEEP_TICKS)) {
            let agents = definition.agents().map(|agent| agent.name.clone());
            self.jobs.spawn(job::declare(self.actor.clone(), self.plan(agents), self.ledger.seq(), definition));
        }
        if !self.may_act() {
            if self.ticks >= LEFT_TICKS {
                self.ledger.leave_unpurged(self.now_ms.saturating_sub(LEFT_TICKS * 1000));
            }
            return;
        }
        self.clear();
        if self.ticks.is_multiple_of(SWEEP_TICKS) {
            let agents = self.revisions.watched(&self.ledger).into_iter().collect();
            self.jobs.spawn(job::look(self.actor.clone(), agents));
        }
        self.act(&Consumers::new());
        if self.is_checkpoint_due() {
            (self.checkpoint.is_under_way, self.checkpoint.entries, self.checkpoint.at) = (true, 0, Instant::now());
            self.jobs.spawn(job::store(self.actor.clone(), self.place(), self.ledger.open()));
        }
    }

    /// Clears away what has had its time, and purges what whoever erased it may not have.
    fn clear(&mut self) {
        if !self.may_act() {
            return;
        }
        for look in self.retention.looks(self.ledger.newest(), self.revisions.retention(), self.now_ms) {
            self.jobs.spawn(clear::clear(self.actor.clone(), look));
        }
        for (tombstone, id) in self.ledger.unpurged(self.now_ms.saturating_sub(PURGE_MS)) {
            if self.purging.len() < PURGING_MAX && self.purging.insert(tombstone) {
                self.jobs.spawn(clear::purge(self.actor.clone(), tombstone, id.clone()));
            }
        }
    }

    fn place(&self) -> Place {
        Place { cleared: self.retention.places(), ..self.ledger.place() }
    }

    /// A checkpoint costs as much as there are open conversations: it waits until a quarter as many entries have come, so
    /// that an entry's share of it stays the same however many conversations wait for people.
    fn is_checkpoint_due(&self) -> bool {
        let Checkpoint { entries, at, is_under_way, .. } = self.checkpoint;
        !is_under_way && entries > 0 && entries >= self.ledger.open_count() / 4 && at.elapsed() >= self.config.checkpoint_every
    }

    /// Whoever has registered a revision, it is noticed here: the leader makes what it needs, all answer for it.
    fn learn(&mut self) {
        if !std::mem::replace(&mut self.is_learning, true) {
            let used = self.ledger.revisions().map(|(revision, _)| revision.clone()).collect();
            self.jobs.spawn(job::learn(self.actor.clone(), self.revisions.known(), used));
        }
    }

    fn learnt(&mut self, learnt: Result<Learnt, RegistryError>) {
        self.is_learning = false;
        let orchestration = &self.actor.orchestration;
        match learnt.map(|learnt| self.revisions.learn(learnt)) {
            Ok(Some(Change { came, went })) => {
                tracing::info!(%orchestration, revision = %self.revisions.current(), ?came, ?went, "another revision is current");
                self.perform(vec![Act::Provision(came)]);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%orchestration, "the registry cannot be read: {error}"),
        }
    }

    /// What the sweep found. Only consumers that are needed are missed.
    fn looked(&mut self, mut consumers: Consumers) {
        let needed = self.revisions.needed(&self.ledger);
        if self.may_act() {
            for agent in self.revisions.retiring(&needed, &consumers, self.now_ms) {
                self.jobs.spawn(job::retire(self.actor.clone(), agent));
            }
        }
        consumers.retain(|agent, _| needed.agents.contains(agent));
        self.act(&consumers);
    }

    fn act(&mut self, consumers: &Consumers) {
        let acts = self.watch.acts(&self.ledger, &self.presence, consumers, self.now_ms);
        self.perform(acts);
    }

    fn perform(&mut self, acts: Vec<Act>) {
        if !self.may_act() {
            return;
        }
        for act in acts {
            match act {
                Act::Append(proposal) => self.agenda.add(proposal),
                Act::Ask(question) => drop(self.jobs.spawn(job::ask(self.actor.clone(), question))),
                Act::Provision(agents) => {
                    self.jobs.spawn(job::provision(self.actor.clone(), self.plan(agents), self.ledger.seq()));
                }
            }
        }
    }

    /// What these agents need. A consumer that is made begins where work is left that this ledger has seen, or has not.
    fn plan(&self, agents: impl IntoIterator<Item = AgentName>) -> Plan {
        let plan = self.config.plan(self.actor.orchestration.clone(), agents);
        let work_from = plan.agents.iter().map(|agent| (agent.clone(), self.ledger.work_from(agent))).collect();
        Plan { work_from, ..plan }
    }

    /// Begins whatever may begin now.
    fn go_on(&mut self) {
        let may_act = self.may_act();
        match (std::mem::replace(&mut self.acted, may_act), may_act) {
            // Nobody knows what the one before has forwarded, or made.
            (false, true) => {
                self.revisions.doubt();
                let gateways: Vec<_> = self.ledger.waiting_gateways().cloned().collect();
                gateways.iter().for_each(|gateway| self.outbox.renew(gateway, &self.ledger));
            }
            (true, false) => {
                self.outbox.clear();
                self.agenda.clear();
            }
            (false, false) | (true, true) => {}
        }
        if !may_act {
            return;
        }
        let at = self.at();
        for (process, agents) in self.presence.probe(at) {
            self.jobs.spawn(job::probe(self.actor.clone(), process, agents));
        }
        for (gateway, request) in self.outbox.next(&self.ledger, at) {
            self.jobs.spawn(job::forward(self.actor.clone(), gateway, request));
        }
        while let Some(proposal) = self.agenda.next() {
            self.jobs.spawn(job::act(self.actor.clone(), proposal));
        }
    }

    /// What is under way comes to its end, and the one that acts stores what it knows.
    async fn finish(mut self) {
        let actor = self.actor.clone();
        let is_worth_it = self.may_act() && self.ledger.seq() > self.checkpoint.seq;
        let mut finishing = pin!(async {
            while self.jobs.join_next().await.is_some() {}
            if is_worth_it && let Done::Stored { stored: Err(error), .. } = job::store(actor, self.place(), self.ledger.open()).await {
                tracing::warn!(orchestration = %self.actor.orchestration, "no checkpoint: {error}");
            }
        });
        if timeout(FINISH, &mut finishing).await.is_err() {
            tracing::warn!("something was still under way when the coordinator stopped");
        }
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
