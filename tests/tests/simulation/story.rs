//! A seed's story: who is there, what fate does to them, and the time that everything has, once all is well, to come to an end.

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use journal::memory::{Fault, Faults, Memory};
use journal::{Journal, Plan, Provision};
use protocol::brief::Phase;
use protocol::entry::Head;
use tokio::time::Instant;

use super::cache::Cache;
use super::definition::Definition;
use super::person::Person;
use super::plant::Plant;
use super::record::{Recording, Seen};
use super::timekeeper::Coordinator;
use super::worker::Slot;
use super::world::{Process, Stage, World};

/// Conversations of a story, at most.
const CONVERSATIONS_MAX: usize = 3;
/// Steps while things go wrong, at most.
const STEPS_MAX: usize = 700;
/// Within so long after the last fault has healed, everything accepted must have come to an outcome that people see.
const REST: Duration = Duration::from_secs(60);
/// Once it has, whatever is still on its way has so long to show itself: a redelivery takes the ack wait.
const CALM: Duration = Duration::from_secs(9);
/// Steps that this may take: more means that something never comes to an end.
const REST_STEPS_MAX: usize = 20_000;

/// What the story was, and its lines where they were wanted.
pub(crate) fn run(seed: u64, plant: Option<Plant>, is_told: bool) -> (Recording, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut story = Story::begin(seed, plant, is_told).await;
        story.go_wrong().await;
        story.come_to_rest().await;
        story.end().await
    })
}

struct Story {
    world: Rc<World>,
    stage: Stage,
    places: Vec<Place>,
    faults: Faults,
    /// Until then a new leader is found.
    leaderless_until: Option<Instant>,
    has_coordinator: bool,
    steps: u64,
}

/// Where a process runs, and another one after it has died.
struct Place {
    kind: Kind,
    process: Rc<Process>,
    generation: u32,
    /// Paused until then, or cut off.
    resumes: Option<Instant>,
    rejoins: Option<Instant>,
    /// Dead until then.
    restarts: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Worker,
    Coordinator,
    Gateway,
}

impl Story {
    async fn begin(seed: u64, plant: Option<Plant>, is_told: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let definition = Definition::of(rng.u64(..));
        let memory = Memory::with_faults(rng.u64(..), Faults::default());
        memory.provision(&Plan::new(definition.orchestration.name().clone(), definition.agents())).await.unwrap();
        let world = Rc::new(World::new(rng, definition, memory, plant, is_told));
        let faults = if world.is_calm { calm(&world) } else { weather(&world) };
        world.set_faults(faults.clone());
        let has_coordinator = world.chance(750);
        let mut story =
            Self { world, stage: Stage::default(), places: Vec::new(), faults, leaderless_until: None, has_coordinator, steps: 0 };
        story.settle();
        story
    }

    fn settle(&mut self) {
        let workers = 2 + self.world.below(2);
        let coordinators = if self.has_coordinator { 1 + self.world.below(2) } else { 0 };
        let conversations = CONVERSATIONS_MAX - self.world.below(2);
        for _ in 0..workers {
            self.place(Kind::Worker);
        }
        for _ in 0..coordinators {
            self.place(Kind::Coordinator);
        }
        for n in 0..conversations {
            self.place(Kind::Gateway);
            self.attend(n, true);
            if self.world.chance(250) {
                self.place(Kind::Gateway);
                self.attend(n, false);
            }
        }
    }

    /// The newest place's person takes part in a conversation.
    fn attend(&mut self, conversation: usize, opens: bool) {
        let process = &self.places.last().unwrap().process;
        let person = Person::new(&self.world, process, format!("c{conversation}").parse().unwrap(), opens);
        self.stage.enter(process, person.live());
    }

    fn place(&mut self, kind: Kind) {
        let name = format!("{}-{}-0", kind.word(), self.places.len());
        let process = self.world.process(name.parse().unwrap(), kind == Kind::Worker);
        self.places.push(Place { kind, process, generation: 0, resumes: None, rejoins: None, restarts: None });
        self.start(self.places.len() - 1);
    }

    fn start(&mut self, n: usize) {
        let Place { kind, process, .. } = &self.places[n];
        match kind {
            Kind::Worker => {
                for agent in self.world.definition.agents() {
                    let slot = Slot { world: Rc::clone(&self.world), process: Rc::clone(process), agent, cache: Cache::default() };
                    self.stage.enter(process, slot.serve());
                }
            }
            Kind::Coordinator => self.stage.enter(process, Coordinator::new(&self.world, process).run()),
            Kind::Gateway => {}
        }
    }

    fn restart(&mut self, n: usize) {
        let place = &mut self.places[n];
        place.generation += 1;
        let name = format!("{}-{n}-{}", place.kind.word(), place.generation);
        place.process = self.world.process(name.parse().unwrap(), place.kind == Kind::Worker);
        (place.resumes, place.rejoins, place.restarts) = (None, None, None);
        self.world.tell(|| format!("{name} begins"));
        self.start(n);
    }

    async fn go_wrong(&mut self) {
        for _ in 0..STEPS_MAX {
            if !self.places.iter().any(|place| place.kind == Kind::Gateway && self.stage.has(&place.process)) {
                break;
            }
            self.recover();
            if !self.world.is_calm && self.world.chance(25) {
                self.strike().await;
            }
            self.go_on(Duration::from_secs(1)).await;
        }
    }

    async fn go_on(&mut self, patience: Duration) {
        self.steps += 1;
        self.stage.go_on(&self.world, patience).await;
        for id in self.world.doomed.take() {
            if let Some(n) = self.places.iter().position(|place| place.process.id == id) {
                self.kill(n);
            }
        }
    }

    /// Whatever is over by now.
    fn recover(&mut self) {
        let now = Instant::now();
        if self.leaderless_until.is_some_and(|until| until <= now) {
            self.leaderless_until = None;
            self.world.set_faults(self.faults.clone());
        }
        for n in 0..self.places.len() {
            let place = &mut self.places[n];
            if place.resumes.is_some_and(|at| at <= now) {
                place.resumes = None;
                place.process.is_paused.set(false);
                self.world.tell(|| format!("{} is resumed", place.process.id));
            }
            if place.rejoins.is_some_and(|at| at <= now) {
                place.rejoins = None;
                place.process.join();
                self.world.tell(|| format!("{} is connected again", place.process.id));
            }
            let is_drained = place.process.drain.is_cancelled() && !self.stage.has(&place.process);
            if place.restarts.is_some_and(|at| at <= now) || (is_drained && place.restarts.is_none()) {
                place.process.is_alive.set(false);
                self.restart(n);
            }
        }
    }

    fn kill(&mut self, n: usize) {
        let place = &mut self.places[n];
        self.stage.kill(&place.process);
        let longest = if self.world.is_healed.get() { 500 } else { 8_000 };
        place.restarts = Some(Instant::now() + self.world.millis(longest));
    }

    async fn strike(&mut self) {
        let n = self.world.below(self.places.len());
        let (kind, process) = (self.places[n].kind, Rc::clone(&self.places[n].process));
        let is_running = self.places[n].restarts.is_none();
        let what = match self.world.below(20) {
            0..=6 if kind != Kind::Gateway && is_running => {
                self.kill(n);
                "dies"
            }
            7..=9 if is_running => {
                process.is_paused.set(true);
                let longest = self.world.pick(&[500, 5_000, 60_000]);
                self.places[n].resumes = Some(Instant::now() + self.world.millis(longest));
                "hangs"
            }
            10..=12 if is_running => {
                process.cut();
                self.places[n].rejoins = Some(Instant::now() + self.world.millis(12_000));
                "is cut off"
            }
            13 if kind == Kind::Worker && is_running => {
                process.drain.cancel();
                "drains"
            }
            14..=15 => {
                let hours = if self.world.chance(100) { 3_600_000 } else { 20_000 };
                tokio::time::advance(self.world.millis(hours)).await;
                "time passes at"
            }
            16..=18 => {
                self.world.set_faults(election());
                self.leaderless_until = Some(Instant::now() + self.world.millis(6_000));
                "another leader is elected, says"
            }
            19 => {
                let agent = self.world.pick(&self.world.definition.agents());
                self.world.memory.delete_consumer(self.world.definition.orchestration.name(), &agent);
                if !self.has_coordinator {
                    self.provision().await;
                }
                "a consumer is lost, says"
            }
            _ => return,
        };
        self.world.tell(|| format!("{what} {}", process.id));
        self.world.record(Seen::Struck);
    }

    async fn provision(&self) {
        let definition = self.world.definition;
        let plan = Plan::new(definition.orchestration.name().clone(), definition.agents());
        // Without a coordinator it is the operator who does it, sooner or later.
        for _ in 0..50 {
            if self.world.memory.provision(&plan).await.is_ok() {
                return;
            }
        }
    }

    /// All faults are over. Nobody says anything new; whatever was accepted comes to an outcome that people see.
    async fn come_to_rest(&mut self) {
        (self.faults, self.leaderless_until) = (Faults::default(), None);
        self.world.set_faults(Faults::default());
        self.world.is_healed.set(true);
        self.world.tell(|| "all is well");
        self.provision().await;
        for place in &mut self.places {
            let now = Instant::now();
            place.resumes = place.resumes.map(|_| now);
            place.rejoins = place.rejoins.map(|_| now);
            place.restarts = place.restarts.map(|_| now);
        }
        let healed = Instant::now();
        let mut until = healed + REST;
        let mut looks_at = Instant::now();
        for _ in 0..REST_STEPS_MAX {
            let now = Instant::now();
            if now >= until {
                return;
            }
            if now >= looks_at {
                looks_at = now + Duration::from_secs(1);
                let is_working = self.is_working().await;
                until = if is_working { until.max(healed + REST) } else { until.min(now + CALM) };
            }
            self.recover();
            self.go_on((until - now).min(Duration::from_secs(1))).await;
        }
        panic!("something never comes to rest");
    }

    /// Whether an agent still has to act somewhere.
    async fn is_working(&self) -> bool {
        let name = self.world.definition.orchestration.name();
        for n in 0..CONVERSATIONS_MAX {
            let tail = self.world.memory.tail(name, &format!("c{n}").parse().unwrap()).await.unwrap();
            let head = tail.map(|tail| Head::decode(&tail.subject, &tail.headers).unwrap());
            if head.is_some_and(|head| head.brief.phase == Phase::Working) {
                return true;
            }
        }
        false
    }

    async fn end(self) -> (Recording, Vec<String>) {
        let Self { world, stage, places, steps, .. } = self;
        drop((stage, places));
        let recording = Recording {
            definition: world.definition,
            records: world.records.take(),
            stored: world.memory.stored(world.definition.orchestration.name()),
            faults: world.memory.faults_injected(),
            is_calm: world.is_calm,
            poisoned: world.poisoned.clone(),
            steps,
        };
        (recording, world.lines.as_ref().map(|lines| lines.take()).unwrap_or_default())
    }
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Coordinator => "coordinator",
            Self::Gateway => "gateway",
        }
    }
}

/// What nobody can call a fault: replicas lag, and acknowledgements take their time.
fn calm(world: &World) -> Faults {
    let [lag, late] = [(); 2].map(|()| world.pick(&[0, 0, 300]));
    Faults::default().with(Fault::ReadStale, lag).with(Fault::AcknowledgementLate, late).delay(Duration::from_secs(3))
}

/// How bad the network is for the whole of a story: some faults never happen, some often.
fn weather(world: &World) -> Faults {
    let mut faults = Faults::default();
    for fault in Fault::ALL {
        faults = faults.with(fault, world.pick(&[0, 0, 10, 50, 150]));
    }
    let latency = world.pick(&[Duration::ZERO, Duration::ZERO, Duration::from_millis(20)]);
    faults.latency(latency).delay(Duration::from_millis(1_500))
}

/// While a cluster elects another leader nobody is answered, and what was sent may be stored all the same.
fn election() -> Faults {
    let faults = [
        (Fault::AppendLost, 300),
        (Fault::AppendLate, 200),
        (Fault::AcknowledgementLost, 400),
        (Fault::ResendLost, 800),
        (Fault::Unavailable, 500),
        (Fault::ReadStale, 300),
        (Fault::SettlementLost, 300),
    ];
    faults.into_iter().fold(Faults::default(), |faults, (fault, per_mille)| faults.with(fault, per_mille)).delay(Duration::from_secs(1))
}
