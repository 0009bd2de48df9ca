//! A coordinator's shell: it makes the moves of `coordinator/src/driver.rs` around the same ledger, presence and watch.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use coordinator::clock::Clock;
use coordinator::ledger::{Ledger, Packed};
use coordinator::presence::{Presence, Probe};
use coordinator::watch::{Act, Intent, Proposal, Question, Watch, judge};
use futures::{FutureExt, StreamExt};
use journal::{Append, Bus, ConsumerState, Follow, Journal, Plan, Provision, Scope, Start, Store, load};
use protocol::brief::Phase;
use protocol::conversation::Draft;
use protocol::entry::Head;
use protocol::ids::{AgentName, EntryId, ProcessId, Writer};
use protocol::presence::{Heartbeat, Holding, HoldsAnswer};
use protocol::subject;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::plant::Plant;
use super::world::{Process, World};

const TICK: Duration = Duration::from_secs(1);
const SWEEP_TICKS: u64 = 5;
const SENDS_MAX: u32 = 3;
/// Twice the ack wait.
const HUNG_SECS: u32 = 8;
/// How long others may take to reconnect after this process did.
const SETTLE: Duration = Duration::from_secs(4);
/// Much sooner than it would be: stories are short.
const SNAPSHOT_AFTER_MS: u64 = 1_500;
const RETENTION_MS: u64 = 600_000;

pub(crate) struct Coordinator {
    world: Rc<World>,
    process: Rc<Process>,
    ledger: Ledger,
    presence: Presence,
    watch: Watch,
    began: Instant,
    clock: Clock,
    now_ms: u64,
}

impl Coordinator {
    pub(crate) fn new(world: &Rc<World>, process: &Rc<Process>) -> Self {
        Self {
            world: Rc::clone(world),
            process: Rc::clone(process),
            ledger: Ledger::new(RETENTION_MS),
            presence: Presence::new(SETTLE, HUNG_SECS),
            watch: Watch::new(u64::from(HUNG_SECS) * 1000, SNAPSHOT_AFTER_MS),
            began: Instant::now(),
            clock: Clock::default(),
            now_ms: 0,
        }
    }

    pub(crate) async fn run(mut self) {
        let name = self.world.definition.orchestration.name().clone();
        let mut connection = self.process.broker.connection();
        let mut generation = connection.borrow_and_update().generation;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let follow = Follow { scope: Scope::All, start: Start::First, bodies: false };
        let mut entries = loop {
            match self.process.broker.follow(&name, follow.clone()).await {
                Ok(entries) => break entries,
                Err(_) => tokio::time::sleep(TICK).await,
            }
        };
        let mut count = 0;
        loop {
            ticks.tick().await;
            if connection.borrow_and_update().generation != generation {
                generation = connection.borrow().generation;
                self.presence.reconnected(self.at());
            }
            self.listen();
            let ticked = self.process.broker.tick(&name).await;
            while let Some(Some(Ok(stored))) = entries.next().now_or_never() {
                match Head::decode(&stored.subject, &stored.headers) {
                    Ok(head) => self.ledger.apply(stored.seq, stored.time_ms, &head, stored.size),
                    Err(_) => self.ledger.skip(stored.seq),
                }
            }
            let Ok(now_ms) = ticked else {
                self.presence.tick_missed();
                continue;
            };
            count += 1;
            self.now_ms = self.clock.ticked(now_ms, self.at());
            self.presence.ticked();
            self.ledger.expire(self.now_ms);
            self.probe().await;
            let agents = if count % SWEEP_TICKS == 0 { self.world.definition.agents() } else { Vec::new() };
            let consumers = self.consumers(agents).await;
            let acts = self.watch.acts(&self.ledger, &self.presence, &consumers, self.now_ms);
            self.perform(acts).await;
            if self.world.has(Plant::RedispatchesByOwnClock) {
                self.redispatch_by_own_clock().await;
            }
        }
    }

    fn at(&self) -> Duration {
        self.began.elapsed()
    }

    /// Hears the workers that can be heard.
    fn listen(&mut self) {
        let at = self.at();
        let audible = self.world.processes.borrow().clone();
        for process in audible {
            if !process.is_worker || process.is_paused.get() || !self.reaches(&process) {
                continue;
            }
            let is_draining = process.drain.is_cancelled();
            for agent in self.world.definition.catalogs.keys() {
                let held = process.held.borrow().iter().filter(|(serving, _)| serving == agent).count();
                let beat =
                    Heartbeat { process: process.id.clone(), pid: 1, agent: agent.clone(), held, slots: 1, is_draining, server: None };
                self.presence.heard(beat, at);
            }
        }
    }

    /// Whether a question gets to a process.
    fn reaches(&self, process: &Process) -> bool {
        process.is_alive.get() && process.is_connected.get() && self.process.is_connected.get()
    }

    async fn probe(&mut self) {
        for (id, agents) in self.presence.probe(self.at()) {
            self.world.step().await;
            let (probe, agents) = self.ask_alive(&id, agents);
            let states = self.consumers(agents).await;
            let delivered = states.into_iter().filter_map(|(agent, state)| Some((agent, state?.delivered))).collect();
            if let Some(death) = self.presence.probed(&id, probe, delivered, self.at()) {
                self.world.tell(|| format!("{} finds {} dead", self.process.id, death.process));
                let acts = self.watch.died(&self.ledger, &self.presence, &death, self.now_ms);
                self.perform(acts).await;
            }
        }
    }

    fn ask_alive(&self, id: &ProcessId, agents: Vec<AgentName>) -> (Probe, Vec<AgentName>) {
        let processes = self.world.processes.borrow();
        let process = processes.iter().find(|process| process.id == *id);
        if !self.process.is_connected.get() {
            return (Probe::Unanswered, Vec::new());
        }
        match process {
            Some(process) if self.reaches(process) && process.is_paused.get() => (Probe::Unanswered, Vec::new()),
            Some(process) if self.reaches(process) => (Probe::Answered, Vec::new()),
            _ => (Probe::NoResponders, agents),
        }
    }

    async fn consumers(&self, agents: Vec<AgentName>) -> BTreeMap<AgentName, Option<ConsumerState>> {
        let mut states = BTreeMap::new();
        for agent in agents {
            if let Ok(state) = self.process.broker.consumer_state(self.world.definition.orchestration.name(), &agent).await {
                states.insert(agent, state);
            }
        }
        states
    }

    async fn perform(&mut self, acts: Vec<Act>) {
        let mut acts: Vec<Act> = acts.into_iter().rev().collect();
        while let Some(act) = acts.pop() {
            match act {
                Act::Append(proposal) => self.append(&proposal).await,
                Act::Ask(question) => {
                    let answers = self.ask(&question).await;
                    acts.extend(self.watch.answered(&self.presence, question, &answers));
                }
                Act::Provision(agents) => {
                    let plan = Plan::new(self.world.definition.orchestration.name().clone(), agents.into_iter().collect());
                    let _ = self.process.broker.provision(&plan).await;
                }
            }
        }
    }

    /// What the workers that can be reached say they hold.
    async fn ask(&self, question: &Question) -> Vec<HoldsAnswer> {
        let answers = {
            let processes = self.world.processes.borrow();
            let heard = processes.iter().filter(|process| process.is_worker && self.reaches(process) && !process.is_paused.get());
            let answer = |process: &Rc<Process>| {
                let held = process.held.borrow();
                let is_asked = |held: &Holding| question.suspects.iter().any(|suspect| suspect.conversation == held.conversation);
                let held = held.iter().filter(|(agent, held)| *agent == question.agent && is_asked(held));
                HoldsAnswer { process: process.id.clone(), held: held.map(|(_, held)| held.clone()).collect() }
            };
            heard.map(answer).collect()
        };
        self.world.step().await;
        answers
    }

    /// The moves of `coordinator/src/act.rs`.
    async fn append(&self, proposal: &Proposal) {
        let (broker, orchestration) = (&self.process.broker, &self.world.definition.orchestration);
        self.world.step().await;
        let Ok(Some(conversation)) = load(broker, orchestration.name(), &proposal.conversation).await else { return };
        let Some((class, event)) = judge(&conversation, proposal, orchestration.limits().attempts) else { return };
        let draft = Draft {
            class,
            from: Writer::Coordinator,
            id: EntryId::from_random(self.world.bytes()),
            process: self.process.id.clone(),
            revision: conversation.revision().unwrap().clone(),
            events: vec![event],
            trace: None,
        };
        let Ok(prepared) = conversation.prepare(draft) else { panic!("an act that cannot follow was decided: {proposal:?}") };
        for _ in 0..SENDS_MAX {
            self.world.step().await;
            let append = broker.append(&prepared).await;
            self.world.tell(|| format!("{} writes {}: {append:?}", self.process.id, prepared.subject()));
            match append {
                Append::Appended(_) => break,
                Append::Unknown(_) => {}
                Append::Fenced { .. } | Append::Gone | Append::Refused(_) => return,
            }
        }
        let owner = conversation.owner().unwrap();
        broker.say(&subject::moved(orchestration.name(), owner, conversation.id()), bytes::Bytes::new()).await;
    }

    /// The bug that is planted: nobody is asked, and this process's own absence is everybody else's silence.
    async fn redispatch_by_own_clock(&self) {
        let silent_ms = 3_000;
        let proposals: Vec<Proposal> = self
            .ledger
            .rows()
            .filter_map(Packed::row)
            .filter(|row| row.brief.phase == Phase::Working && row.last_ms + silent_ms < self.world.memory.now_ms())
            .map(|row| {
                let intent = Intent::Redispatch { reason: "silence".to_owned() };
                Proposal { conversation: row.conversation, tail: row.seq, intent }
            })
            .collect();
        for proposal in &proposals {
            self.append(proposal).await;
        }
    }
}
