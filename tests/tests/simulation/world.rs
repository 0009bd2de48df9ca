//! One story: processes, people and fate around one broker in memory, all in one thread, one step at a time.
//!
//! Everybody is a future. A step is one poll, of one of those that are ready, chosen by the story's only random generator. To die
//! is to be dropped, to hang is not to be polled. Time passes when nobody is ready, or when fate says so. So the seed is the story.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use fastrand::Rng;
use journal::memory::{Faults, Memory};
use protocol::ids::{AgentName, ConversationId, ProcessId};
use protocol::presence::Holding;
use tokio_util::sync::CancellationToken;

use super::definition::Definition;
use super::plant::Plant;
use super::record::{Record, Seen};
use super::tools::Tools;

/// What everybody in a story shares.
#[derive(Debug)]
pub(crate) struct World {
    rng: RefCell<Rng>,
    pub(crate) definition: &'static Definition,
    /// The broker; nobody's connection.
    pub(crate) memory: Memory,
    pub(crate) tools: RefCell<Tools>,
    pub(crate) plant: Option<Plant>,
    pub(crate) is_calm: bool,
    /// The conversation whose turns kill their workers.
    pub(crate) poisoned: Option<ConversationId>,
    /// No fault will happen any more.
    pub(crate) is_healed: Cell<bool>,
    /// Processes that have to die before the next step.
    pub(crate) doomed: RefCell<Vec<ProcessId>>,
    /// Those whose state matters to others.
    pub(crate) processes: RefCell<Vec<Rc<Process>>>,
    pub(crate) records: RefCell<Vec<Record>>,
    pub(crate) lines: Option<RefCell<Vec<String>>>,
    last_number: Cell<u64>,
}

/// A process, as long as it lives.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    /// Its connection.
    pub(crate) broker: Memory,
    pub(crate) is_worker: bool,
    pub(crate) is_alive: Cell<bool>,
    pub(crate) is_paused: Cell<bool>,
    pub(crate) is_connected: Cell<bool>,
    /// What it works on.
    pub(crate) held: RefCell<Vec<(AgentName, Holding)>>,
    /// Cancelled when it drains.
    pub(crate) drain: CancellationToken,
}

impl World {
    pub(crate) fn new(rng: Rng, definition: &'static Definition, memory: Memory, plant: Option<Plant>, is_told: bool) -> Self {
        let mut world = Self {
            rng: RefCell::new(rng),
            definition,
            memory,
            tools: RefCell::default(),
            plant,
            is_calm: false,
            poisoned: None,
            is_healed: Cell::new(false),
            doomed: RefCell::default(),
            processes: RefCell::default(),
            records: RefCell::default(),
            lines: is_told.then(RefCell::default),
            last_number: Cell::new(0),
        };
        world.is_calm = world.chance(100);
        world.poisoned = (!world.is_calm && world.chance(50)).then(|| "c0".parse().unwrap());
        world
    }

    /// Whether something happens that happens in `per_mille` of a thousand cases.
    pub(crate) fn chance(&self, per_mille: u32) -> bool {
        self.rng.borrow_mut().u32(0..1000) < per_mille
    }

    pub(crate) fn below(&self, n: usize) -> usize {
        if n == 0 { 0 } else { self.rng.borrow_mut().usize(0..n) }
    }

    pub(crate) fn pick<T: Clone>(&self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    pub(crate) fn millis(&self, max: u64) -> Duration {
        Duration::from_millis(self.rng.borrow_mut().u64(0..=max))
    }

    pub(crate) fn bytes(&self) -> [u8; 16] {
        self.rng.borrow_mut().u128(..).to_be_bytes()
    }

    /// A number that nothing else in the story has.
    pub(crate) fn number(&self) -> u64 {
        self.last_number.set(self.last_number.get() + 1);
        self.last_number.get()
    }

    pub(crate) fn record(&self, seen: Seen) {
        let seq = self.memory.last_seq(self.definition.orchestration.name());
        self.records.borrow_mut().push(Record { at_ms: self.memory.now_ms(), seq, seen });
    }

    /// Adds a line to the story, where somebody reads it.
    pub(crate) fn tell<L: Display>(&self, line: impl FnOnce() -> L) {
        if let Some(lines) = &self.lines {
            let now_ms = self.memory.now_ms() % 10_000_000;
            lines.borrow_mut().push(format!("{:>5}.{:03} {}", now_ms / 1000, now_ms % 1000, line()));
        }
    }

    /// Lets the others act.
    pub(crate) async fn step(&self) {
        let mut has_waited = false;
        poll_fn(|context| {
            if std::mem::replace(&mut has_waited, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Something takes up to so many milliseconds, unless everything is well by now.
    pub(crate) async fn takes(&self, millis: u64) {
        let duration = self.millis(millis);
        if !self.is_healed.get() {
            tokio::time::sleep(duration).await;
        }
    }

    pub(crate) fn has(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    /// From now on the network is as good as this.
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.memory.set_faults(faults);
    }

    pub(crate) fn process(&self, id: ProcessId, is_worker: bool) -> Rc<Process> {
        let process = Rc::new(Process {
            id,
            broker: self.memory.client(),
            is_worker,
            is_alive: Cell::new(true),
            is_paused: Cell::new(false),
            is_connected: Cell::new(true),
            held: RefCell::default(),
            drain: CancellationToken::new(),
        });
        self.processes.borrow_mut().push(Rc::clone(&process));
        process
    }
}

impl Process {
    pub(crate) fn cut(&self) {
        self.is_connected.set(false);
        self.broker.disconnect();
    }

    pub(crate) fn join(&self) {
        if !self.is_connected.replace(true) {
            self.broker.reconnect();
        }
    }
}

/// Told when an actor can go on; it tells the stage.
#[derive(Debug)]
struct Flag {
    is_ready: AtomicBool,
    stage: Arc<Bell>,
}

#[derive(Debug, Default)]
struct Bell(Mutex<Option<Waker>>);

impl Bell {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_ready.store(true, Ordering::Relaxed);
        if let Some(stage) = self.stage.lock().take() {
            stage.wake();
        }
    }
}

type Part = Pin<Box<dyn Future<Output = ()>>>;

struct Actor {
    process: Rc<Process>,
    flag: Arc<Flag>,
    waker: Waker,
    part: Part,
}

/// Where all act, one at a time.
#[derive(Default)]
pub(crate) struct Stage {
    actors: Vec<Actor>,
    bell: Arc<Bell>,
}

impl Stage {
    pub(crate) fn enter(&mut self, process: &Rc<Process>, part: impl Future<Output = ()> + 'static) {
        let flag = Arc::new(Flag { is_ready: AtomicBool::new(true), stage: Arc::clone(&self.bell) });
        let waker = Waker::from(Arc::clone(&flag));
        self.actors.push(Actor { process: Rc::clone(process), flag, waker, part: Box::pin(part) });
    }

    /// Whether anybody of this process still acts.
    pub(crate) fn has(&self, process: &Process) -> bool {
        self.actors.iter().any(|actor| actor.process.id == process.id)
    }

    /// A process dies on the spot.
    pub(crate) fn kill(&mut self, process: &Process) {
        process.is_alive.set(false);
        process.held.borrow_mut().clear();
        self.actors.retain(|actor| actor.process.id != process.id);
    }

    fn ready(&self) -> Vec<usize> {
        let is_ready = |actor: &Actor| !actor.process.is_paused.get() && actor.flag.is_ready.load(Ordering::Relaxed);
        (0..self.actors.len()).filter(|n| is_ready(&self.actors[*n])).collect()
    }

    /// One step of one actor, or time passes until somebody is ready, `patience` at most.
    pub(crate) async fn go_on(&mut self, world: &World, patience: Duration) {
        let ready = self.ready();
        if ready.is_empty() {
            let until_ready = poll_fn(|context| {
                *self.bell.lock() = Some(context.waker().clone());
                if self.ready().is_empty() { Poll::Pending } else { Poll::Ready(()) }
            });
            let _ = tokio::time::timeout(patience, until_ready).await;
            return;
        }
        let chosen = world.pick(&ready);
        let actor = &mut self.actors[chosen];
        actor.flag.is_ready.store(false, Ordering::Relaxed);
        // What the runtime allows one task at a time is meant for others than a stage full of actors.
        let poll = tokio::task::unconstrained(poll_fn(|_| Poll::Ready(actor.part.as_mut().poll(&mut Context::from_waker(&actor.waker)))));
        if poll.await.is_ready() {
            drop(self.actors.remove(chosen));
        }
    }
}
