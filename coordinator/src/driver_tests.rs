//! Whole coordinators over the broker in memory. The clock is paused: waiting takes no time, and hours pass in a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use futures::stream::BoxStream;
use journal::memory::{Faults, Memory};
use journal::registry;
use journal::{Append, Bus, Delivery, Follow, Journal, Plan, Provision, Scope, Start, Store, WorkItem, WorkSource, load};
use protocol::brief::{Fixed, Phase};
use protocol::builder::AgentDef;
use protocol::conversation::Conversation;
use protocol::event::{Event, failure};
use protocol::ids::{ConversationId, OrchestrationName};
use protocol::manifest::{LimitsSpec, ModelSpec, RetentionSpec, Seconds};
use protocol::orchestration::Orchestration;
use protocol::presence::{Holding, HoldsAnswer, HoldsQuestion};
use protocol::query::{Answer, EraseWish, Erasure, ForwardedRequest, ListQuery, Listed, Registered, ShowQuery, Shown, Status};
use protocol::subject;
use protocol::wire::{Headers, Message};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::checkpoint::Place;
use crate::story::{
    Line, agent, approvals, asked, beat, completed, conversation, erased, opened, prepare, process, replied, saying, transferred,
};
use crate::{Coordinator, CoordinatorError, Served};

fn name() -> OrchestrationName {
    "support".parse().unwrap()
}

fn definition(attempts: u32) -> Orchestration {
    let (triage, refund) = (AgentDef::new("triage").description("Triages."), AgentDef::new("refund").description("Refunds."));
    let builder = Orchestration::builder("support").model("default", ModelSpec::openai("gpt-5-mini")).agents([&triage, &refund]);
    let limits = LimitsSpec { attempts: Some(attempts), ..LimitsSpec::default() };
    builder.start_with(&triage).add(&triage, &refund).limits(limits).build().unwrap().orchestration
}

/// One running coordinator.
struct Running {
    connection: Memory,
    ready: Receiver<bool>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), CoordinatorError>>,
}

impl Running {
    fn start(memory: &Memory, id: &str, attempts: u32) -> Self {
        Self::start_with(memory, id, Config::new(vec![Served::Definition(Box::new(definition(attempts)))]))
    }

    fn start_with(memory: &Memory, id: &str, config: Config) -> Self {
        let (connection, stop) = (memory.client(), CancellationToken::new());
        let coordinator = Coordinator::new(Arc::new(connection.clone()), process(id), config);
        let ready = coordinator.ready();
        Self { connection, ready, task: tokio::spawn(coordinator.run(stop.clone())), stop }
    }

    async fn ready(mut self) -> Self {
        self.ready.wait_for(|ready| *ready).await.unwrap();
        self
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

async fn broker() -> Memory {
    let memory = Memory::new();
    memory.provision(&Plan::new(name(), vec![agent("triage"), agent("refund")])).await.unwrap();
    memory
}

/// A broker, and a coordinator that is ready.
async fn coordinated() -> (Memory, Running) {
    let memory = broker().await;
    let running = Running::start(&memory, "k-1", 5).ready().await;
    (memory, running)
}

async fn read(memory: &Memory, id: &str) -> Conversation {
    let found = load(memory, &name(), &conversation(id)).await.unwrap();
    found.unwrap_or_else(|| Conversation::empty(name(), conversation(id)))
}

async fn write(memory: &Memory, id: &str, line: Line, fixed: &Fixed) {
    let prepared = prepare(&read(memory, id).await, line, fixed);
    let append = memory.append(&prepared).await;
    assert!(matches!(append, Append::Appended(_)), "{append:?}");
}

fn turn_of(secs: u64) -> Fixed {
    Fixed { turn_secs: Some(secs), ..Fixed::default() }
}

/// Entries that the coordinator writes, as they come.
async fn acts(memory: &Memory) -> BoxStream<'static, (u64, Head)> {
    let follow = Follow { scope: Scope::All, start: Start::First, bodies: false };
    let entries = memory.follow(&name(), follow).await.unwrap();
    let heads = entries.filter_map(async |stored| {
        let stored = stored.unwrap();
        let head = Head::decode(&stored.subject, &stored.headers).unwrap();
        (head.subject.from == protocol::ids::Writer::Coordinator).then_some((stored.time_ms, head))
    });
    Box::pin(heads)
}

/// The next of them: conversation, kind, and how many milliseconds from now it was stored.
async fn next_act(memory: &Memory, acts: &mut BoxStream<'static, (u64, Head)>) -> (String, String, u64) {
    let began_ms = memory.now_ms();
    let (time_ms, head) = acts.next().await.unwrap();
    (head.subject.conversation.to_string(), head.kind, time_ms - began_ms)
}

/// How the last entry of a conversation says that it failed.
async fn failure_of(memory: &Memory, id: &str) -> String {
    match read(memory, id).await.last().and_then(|entry| entry.events.last().cloned()) {
        Some(Event::Failed(failed)) => failed.code.into_owned(),
        other => panic!("{other:?}"),
    }
}

/// A worker process, as far as a coordinator sees it.
struct Worker {
    held: Arc<Mutex<Vec<ConversationId>>>,
    stopped: Sender<bool>,
    source: Box<dyn WorkSource>,
    items: Vec<WorkItem>,
    task: JoinHandle<()>,
}

impl Worker {
    async fn start(memory: &Memory, id: &str) -> Self {
        let connection = memory.client();
        let held = Arc::<Mutex<Vec<ConversationId>>>::default();
        let stopped = Sender::new(false);
        let source = connection.work(&name(), &agent("triage")).await.unwrap();
        let alive = connection.listen(&subject::alive(&name(), &process(id)), None).await.unwrap();
        let holds = connection.listen(&subject::holds(&name(), &agent("triage")), None).await.unwrap();
        let task = tokio::spawn(present(connection, id.to_owned(), held.clone(), stopped.subscribe(), alive, holds));
        Self { held, stopped, source, items: Vec::new(), task }
    }

    async fn take(&mut self) -> String {
        let item = self.source.next(1).await.unwrap();
        let id = Head::decode(&item.stored.subject, &item.stored.headers).unwrap().subject.conversation;
        self.held.lock().unwrap().push(id.clone());
        self.items.push(item);
        id.to_string()
    }

    async fn kill(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
    }
}

async fn present(
    connection: Memory,
    id: String,
    held: Arc<Mutex<Vec<ConversationId>>>,
    mut stopped: Receiver<bool>,
    mut alive: BoxStream<'static, Delivery>,
    mut holds: BoxStream<'static, Delivery>,
) {
    let mut beats = interval(Duration::from_millis(250));
    beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        stopped.wait_for(|stopped| !*stopped).await.unwrap();
        let (reply, answer) = tokio::select! {
            _ = beats.tick() => (subject::heartbeat(&name(), &agent("triage"), &process(&id)), serde_json::to_vec(&beat(&id, "triage")).unwrap()),
            Some(probe) = alive.next() => (probe.reply.unwrap(), Vec::new()),
            Some(question) = holds.next() => {
                let HoldsQuestion { conversations } = serde_json::from_slice(&question.payload).unwrap();
                let held = held.lock().unwrap();
                let held = conversations.into_iter().filter(|id| held.contains(id));
                let held = held.map(|conversation| Holding { conversation, item: Seq(u64::MAX) }).collect();
                (question.reply.unwrap(), serde_json::to_vec(&HoldsAnswer { process: process(&id), held }).unwrap())
            }
            Ok(()) = stopped.changed() => continue,
        };
        connection.say(&reply, answer.into()).await;
    }
}

async fn ask<T: serde::de::DeserializeOwned>(memory: &Memory, verb: &str, question: &impl serde::Serialize) -> T {
    let payload = serde_json::to_vec(question).unwrap().into();
    let answer = memory.ask(&subject::coordinator(&name(), verb), payload, Duration::from_secs(1)).await.unwrap();
    match serde_json::from_slice(&answer).unwrap() {
        Answer::Ok(answer) => answer,
        Answer::NotFound => panic!("not found"),
        Answer::Invalid(problem) => panic!("{problem}"),
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_passes_its_bound_fails_visibly_and_in_time() {
    let (memory, _running) = coordinated().await;
    let mut acts = acts(&memory).await;
    write(&memory, "turn", opened("triage"), &turn_of(600)).await;
    write(&memory, "human", opened("triage"), &turn_of(600)).await;
    write(&memory, "human", approvals("triage", &[Some(86_400)]), &Fixed::default()).await;
    write(&memory, "whole", opened("triage"), &Fixed { conversation_secs: Some(3600), ..Fixed::default() }).await;
    write(&memory, "whole", asked("triage", None), &Fixed::default()).await;
    write(&memory, "fine", opened("triage"), &turn_of(600)).await;
    write(&memory, "fine", completed("triage"), &Fixed::default()).await;
    let began_ms = memory.now_ms();
    for (id, code, due_ms) in [
        ("turn", failure::TURN_TIMEOUT, 600_000),
        ("whole", crate::watch::CONVERSATION_TIMEOUT, 3_600_000),
        ("human", failure::HUMAN_TIMEOUT, 86_400_000),
    ] {
        let (time_ms, head) = acts.next().await.unwrap();
        assert_eq!((head.subject.conversation.as_str(), head.kind.as_str()), (id, "failed"));
        assert!((due_ms..due_ms + 2000).contains(&(time_ms - began_ms)), "{id} after {} ms", time_ms - began_ms);
        assert_eq!(failure_of(&memory, id).await, code);
        read(&memory, id).await.verify().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_conversation_that_waits_for_people_gets_a_snapshot_once() {
    let (memory, _running) = coordinated().await;
    let mut acts = acts(&memory).await;
    for (id, text) in [("short", "x"), ("long", &"x".repeat(9000))] {
        write(&memory, id, opened("triage"), &turn_of(600)).await;
        for _ in 0..3 {
            write(&memory, id, saying(text.to_owned()), &Fixed::default()).await;
        }
        write(&memory, id, asked("triage", Some(3600)), &Fixed::default()).await;
    }
    assert_eq!(read(&memory, "long").await.stretches(), 3);
    let (id, kind, after_ms) = next_act(&memory, &mut acts).await;
    assert_eq!((id.as_str(), kind.as_str()), ("long", "snapshotted"));
    assert!((600_000..602_000).contains(&after_ms), "after {after_ms} ms");
    let snapshot = read(&memory, "long").await;
    snapshot.verify().unwrap();
    assert_eq!((snapshot.stretches(), snapshot.entries().len()), (1, 6));
    write(&memory, "long", replied("triage", "4.0"), &Fixed::default()).await;
    write(&memory, "long", asked("triage", Some(3600)), &Fixed::default()).await;
    write(&memory, "short", replied("triage", "4.0"), &Fixed::default()).await;
    // Nothing more, until time is up: hours later.
    let next = next_act(&memory, &mut acts).await;
    assert_eq!((next.0.as_str(), next.1.as_str()), ("short", "failed"));
    let next = next_act(&memory, &mut acts).await;
    assert_eq!((next.0.as_str(), next.1.as_str()), ("long", "failed"));
}

#[tokio::test(start_paused = true)]
async fn workers_are_told_that_a_conversation_went_on_without_them() {
    let (memory, _running) = coordinated().await;
    let mut notices = memory.listen(&subject::moved_all(&name(), &agent("triage")), None).await.unwrap();
    write(&memory, "c1", opened("triage"), &turn_of(10)).await;
    assert_eq!(notices.next().await.unwrap().subject, subject::moved(&name(), &agent("triage"), &conversation("c1")));
}

#[tokio::test(start_paused = true)]
async fn of_two_coordinators_one_acts_and_the_other_takes_over() {
    let memory = broker().await;
    let first = Running::start(&memory, "k-1", 5).ready().await;
    let _second = Running::start(&memory, "k-2", 5).ready().await;
    let mut acts = acts(&memory).await;
    for n in 0..20 {
        write(&memory, &format!("early-{n}"), opened("triage"), &turn_of(10)).await;
        write(&memory, &format!("late-{n}"), opened("triage"), &turn_of(30)).await;
    }
    for _ in 0..20 {
        assert_eq!(acts.next().await.unwrap().1.process, process("k-1"));
    }
    sleep(Duration::from_secs(15)).await;
    first.task.abort();
    let due_ms = memory.now_ms();
    for _ in 0..20 {
        let (time_ms, head) = acts.next().await.unwrap();
        assert_eq!((head.process, head.kind), (process("k-2"), "failed".to_owned()));
        assert!(time_ms - due_ms < 10_000, "a takeover takes a lease and a tick: {} ms", time_ms - due_ms);
    }
    assert_eq!(memory.stored(&name()).len(), 80, "each ended once");
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_is_cut_off_leaves_the_field_to_the_other() {
    let memory = broker().await;
    let first = Running::start(&memory, "k-1", 5).ready().await;
    let _second = Running::start(&memory, "k-2", 5).ready().await;
    let mut acts = acts(&memory).await;
    first.connection.disconnect();
    write(&memory, "c1", opened("triage"), &turn_of(20)).await;
    assert_eq!(acts.next().await.unwrap().1.process, process("k-2"));
    first.connection.reconnect();
    write(&memory, "c2", opened("triage"), &turn_of(20)).await;
    assert_eq!(acts.next().await.unwrap().1.process, process("k-2"));
    assert_eq!(memory.stored(&name()).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_work_of_a_worker_that_was_killed_is_handed_out_again_within_a_second() {
    let (memory, _running) = coordinated().await;
    let mut acts = acts(&memory).await;
    let (mut killed, mut survivor) = (Worker::start(&memory, "w-1").await, Worker::start(&memory, "w-2").await);
    for id in ["lost", "held", "backlog"] {
        write(&memory, id, opened("triage"), &Fixed::default()).await;
    }
    assert_eq!((killed.take().await, survivor.take().await), ("lost".to_owned(), "held".to_owned()));
    sleep(Duration::from_secs(20)).await;
    killed.kill().await;
    let (id, kind, after_ms) = next_act(&memory, &mut acts).await;
    assert_eq!((id.as_str(), kind.as_str()), ("lost", "redispatched"));
    assert!(after_ms < 1000, "{after_ms} ms");
    let lost = read(&memory, "lost").await;
    lost.verify().unwrap();
    assert!(
        matches!(lost.last().unwrap().events[..], [Event::Redispatched(ref event)] if event.turn == 0 && event.reason == "worker process w-1 died")
    );
    // Held work, backlog, and what was handed out again and not delivered yet are left alone.
    sleep(Duration::from_mins(5)).await;
    assert_eq!(memory.stored(&name()).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn without_survivors_the_work_waits_for_the_next_worker() {
    let (memory, _running) = coordinated().await;
    let mut acts = acts(&memory).await;
    let mut worker = Worker::start(&memory, "w-1").await;
    write(&memory, "c1", opened("triage"), &Fixed::default()).await;
    worker.take().await;
    sleep(Duration::from_secs(3)).await;
    worker.kill().await;
    assert_eq!(next_act(&memory, &mut acts).await.1, "redispatched");
    sleep(Duration::from_mins(5)).await;
    assert_eq!(memory.stored(&name()).len(), 2, "one redispatch is enough");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_hangs_for_a_while_keeps_its_work() {
    let (memory, _running) = coordinated().await;
    let mut worker = Worker::start(&memory, "w-1").await;
    write(&memory, "c1", opened("triage"), &Fixed::default()).await;
    worker.take().await;
    sleep(Duration::from_secs(20)).await;
    worker.stopped.send_replace(true);
    sleep(Duration::from_secs(6)).await;
    worker.stopped.send_replace(false);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(memory.stored(&name()).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_coordinators_own_absence_is_nobodys_death() {
    let (memory, running) = coordinated().await;
    let mut worker = Worker::start(&memory, "w-1").await;
    write(&memory, "c1", opened("triage"), &Fixed::default()).await;
    worker.take().await;
    sleep(Duration::from_secs(20)).await;
    running.connection.disconnect();
    sleep(Duration::from_mins(10)).await;
    running.connection.reconnect();
    sleep(Duration::from_mins(1)).await;
    assert_eq!(memory.stored(&name()).len(), 1);
    // And it notices a death again.
    let mut acts = acts(&memory).await;
    worker.kill().await;
    assert_eq!(next_act(&memory, &mut acts).await.1, "redispatched");
}

#[tokio::test(start_paused = true)]
async fn work_that_nobody_holds_is_found_even_if_its_worker_was_never_heard() {
    let memory = broker().await;
    let mut nobody = memory.work(&name(), &agent("triage")).await.unwrap();
    for id in ["lost", "held", "moved", "asked"] {
        write(&memory, id, opened("triage"), &Fixed::default()).await;
    }
    let items =
        [nobody.next(4).await.unwrap(), nobody.next(3).await.unwrap(), nobody.next(2).await.unwrap(), nobody.next(1).await.unwrap()];
    write(&memory, "moved", transferred("triage", "refund"), &Fixed::default()).await;
    write(&memory, "asked", asked("triage", None), &Fixed::default()).await;
    let survivor = Worker::start(&memory, "w-1").await;
    survivor.held.lock().unwrap().push(conversation("held"));
    let _running = Running::start(&memory, "k-1", 5).ready().await;
    let mut acts = acts(&memory).await;
    let (id, kind, after_ms) = next_act(&memory, &mut acts).await;
    assert_eq!((id.as_str(), kind.as_str()), ("lost", "redispatched"));
    assert!((8000..30_000).contains(&after_ms), "{after_ms} ms");
    sleep(Duration::from_mins(5)).await;
    assert_eq!((memory.stored(&name()).len(), items.len()), (7, 4));
}

#[tokio::test(start_paused = true)]
async fn the_definition_says_how_often_a_turn_is_tried() {
    let memory = broker().await;
    let _running = Running::start(&memory, "k-1", 1).ready().await;
    let mut acts = acts(&memory).await;
    let mut worker = Worker::start(&memory, "w-1").await;
    let (class, from, events) = opened("triage");
    let draft = protocol::conversation::Draft {
        class,
        from,
        id: protocol::ids::EntryId::from_random([7; 16]),
        process: process("gw-1"),
        revision: definition(1).revision().clone(),
        events,
        trace: None,
    };
    let prepared = Conversation::empty(name(), conversation("c1")).prepare_opening(draft, Fixed::default()).unwrap();
    assert!(matches!(memory.append(&prepared).await, Append::Appended(_)));
    worker.take().await;
    sleep(Duration::from_secs(3)).await;
    worker.kill().await;
    assert_eq!(next_act(&memory, &mut acts).await.1, "failed");
    assert_eq!(failure_of(&memory, "c1").await, failure::POISON);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_was_deleted_is_made_again() {
    let (memory, _running) = coordinated().await;
    for (id, is_over) in [("old", true), ("open", false)] {
        write(&memory, id, opened("triage"), &Fixed::default()).await;
        if is_over {
            write(&memory, id, completed("triage"), &Fixed::default()).await;
        }
    }
    for name in ["triage", "refund"] {
        memory.delete_consumer(&self::name(), &agent(name));
    }
    sleep(Duration::from_secs(7)).await;
    // What is over is not delivered again, and what is open is.
    for (agent, begun, pending) in [(agent("triage"), 2, 1), (agent("refund"), 3, 0)] {
        let state = memory.consumer_state(&name(), &agent).await.unwrap().unwrap();
        assert_eq!((state.delivered, state.pending), (Seq(begun), pending), "{agent}");
    }
}

/// It was restored from a backup, say: what the ledger has seen and it has lost says nothing of what it has now.
#[tokio::test(start_paused = true)]
async fn work_begins_with_the_oldest_item_of_a_stream_that_has_less_than_was_seen() {
    let (memory, lost) = (broker().await, Seq(7));
    write(&memory, "c1", opened("triage"), &Fixed::default()).await;
    memory.delete_consumer(&name(), &agent("triage"));
    let actor = Arc::new(Actor::new(Arc::new(memory.client()), name(), process("k-1")));
    let plan = Plan { work_from: [(agent("triage"), Seq(2))].into(), ..Plan::new(name(), vec![agent("triage")]) };
    job::provision(actor, plan, lost).await;
    assert_eq!(memory.consumer_state(&name(), &agent("triage")).await.unwrap().unwrap().pending, 1);
}

/// The definition, by which what is over is kept for so many seconds, and tombstones for so many.
fn keeping(ended_secs: Option<u64>, erased_secs: u64) -> Config {
    let triage = AgentDef::new("triage").description("Triages.");
    let retention = RetentionSpec { ended: ended_secs.map(Seconds), erased: Some(Seconds(erased_secs)) };
    let builder = Orchestration::builder("support").model("default", ModelSpec::openai("gpt-5-mini")).agent(&triage);
    let definition = builder.start_with(&triage).retention(retention).build().unwrap().orchestration;
    Config::new(vec![Served::Definition(Box::new(definition))])
}

/// What is left of a conversation: the kinds of its entries.
fn left(memory: &Memory, id: &str) -> Vec<String> {
    let of_it = memory.stored(&name()).into_iter().map(|stored| Head::decode(&stored.subject, &stored.headers).unwrap());
    of_it.filter(|head| head.subject.conversation == conversation(id)).map(|head| head.kind).collect()
}

async fn finish(memory: &Memory, id: &str) {
    write(memory, id, opened("triage"), &Fixed::default()).await;
    write(memory, id, completed("triage"), &Fixed::default()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_kept_for_its_time_then_erased_and_later_forgotten() {
    let memory = broker().await;
    finish(&memory, "before").await;
    let _running = Running::start_with(&memory, "k-1", keeping(Some(100), 50)).ready().await;
    sleep(Duration::from_secs(60)).await;
    finish(&memory, "later").await;
    write(&memory, "open", opened("triage"), &Fixed::default()).await;
    let kinds = |id| left(&memory, id);
    sleep(Duration::from_secs(36)).await;
    assert_eq!((kinds("before"), kinds("later")), (vec!["opened".to_owned(), "completed".to_owned()], kinds("before")));
    sleep(Duration::from_secs(8)).await;
    assert_eq!((kinds("before"), kinds("later").len()), (vec!["erased".to_owned()], 2));
    sleep(Duration::from_secs(44)).await;
    assert_eq!((kinds("before").len(), kinds("later").len()), (1, 2), "its key is remembered for a while");
    sleep(Duration::from_secs(10)).await;
    assert_eq!((kinds("before").len(), kinds("later").len()), (0, 2));
    sleep(Duration::from_secs(1000)).await;
    assert_eq!((kinds("later").len(), kinds("open"), memory.stored(&name()).len()), (0, vec!["opened".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_erased_that_nobody_said_is_to_be() {
    let (memory, _running) = coordinated().await;
    finish(&memory, "c1").await;
    sleep(Duration::from_hours(48)).await;
    assert_eq!(left(&memory, "c1"), ["opened", "completed"]);
}

async fn wish(memory: &Memory, id: &str, cancel: bool) -> Answer<Erasure> {
    let wish = serde_json::to_vec(&EraseWish { conversation: conversation(id), cancel }).unwrap();
    let answer = memory.ask(&subject::operator(&name(), verb::ERASE), wish.into(), Duration::from_secs(20)).await.unwrap();
    serde_json::from_slice(&answer).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_operators_wish_erases_what_has_ended_and_with_another_word_what_is_open() {
    let (memory, _running) = coordinated().await;
    finish(&memory, "over").await;
    write(&memory, "open", opened("triage"), &Fixed::default()).await;
    assert_eq!(wish(&memory, "never", true).await, Answer::NotFound);
    assert_eq!(wish(&memory, "open", false).await, Answer::Ok(Erasure::Open(Phase::Working)));
    assert_eq!(left(&memory, "open"), ["opened"]);
    for _ in 0..2 {
        assert_eq!(wish(&memory, "over", false).await, Answer::Ok(Erasure::Erased(2)));
        assert_eq!(wish(&memory, "open", true).await, Answer::Ok(Erasure::Erased(2)));
        assert_eq!((left(&memory, "over"), left(&memory, "open")), (vec!["erased".to_owned()], vec!["erased".to_owned()]));
    }
    // A day later nobody remembers.
    sleep(Duration::from_hours(24) + Duration::from_mins(1)).await;
    assert_eq!(memory.stored(&name()).len(), 0);
}

/// Whoever erased it died in between: before the one that acts had begun, or beside it.
#[tokio::test(start_paused = true)]
async fn what_was_erased_and_not_purged_is_purged_by_whoever_acts() {
    let memory = broker().await;
    finish(&memory, "before").await;
    write(&memory, "before", erased(), &Fixed::default()).await;
    let running = Running::start(&memory, "k-1", 5).ready().await;
    finish(&memory, "beside").await;
    write(&memory, "beside", erased(), &Fixed::default()).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!((left(&memory, "before").len(), left(&memory, "beside").len()), (1, 1));
    // It ends before it can do it, and leaves it to the next.
    finish(&memory, "last").await;
    write(&memory, "last", erased(), &Fixed::default()).await;
    while ask::<Status>(&memory, verb::STATUS, &()).await.seq < 9 {}
    running.stop().await;
    assert_eq!(left(&memory, "last").len(), 3);
    let (place, _) = crate::checkpoint::load(&memory, &name()).await.unwrap().unwrap();
    assert_eq!(place.unpurged, [(Seq(9), conversation("last"))]);
    let _running = Running::start(&memory, "k-2", 5).ready().await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(left(&memory, "last"), ["erased"]);
}

/// Coordinators that die, and two at once, on a broker that loses requests and answers: all goes, and nothing goes that is open.
async fn clearing_storm(seed: u64) {
    let memory = Memory::with_faults(seed, Faults::default());
    memory.provision(&Plan::new(name(), vec![agent("triage")])).await.unwrap();
    for n in 0..10 {
        finish(&memory, &format!("c{n}")).await;
        write(&memory, &format!("open-{n}"), opened("triage"), &Fixed::default()).await;
    }
    memory.set_faults(Faults::all(60));
    let mut running: Vec<_> = ["k-1", "k-2"].iter().map(|id| Running::start_with(&memory, id, keeping(Some(20), 3600))).collect();
    for n in 0..4 {
        sleep(Duration::from_secs(11)).await;
        running.remove(0).task.abort();
        running.push(Running::start_with(&memory, &format!("k-{}", n + 3), keeping(Some(20), 3600)));
    }
    memory.set_faults(Faults::default());
    sleep(Duration::from_mins(5)).await;
    for n in 0..10 {
        assert_eq!(left(&memory, &format!("c{n}")), ["erased"], "seed {seed}, c{n}");
        assert_eq!(left(&memory, &format!("open-{n}")), ["opened"], "seed {seed}, open-{n}");
    }
    sleep(Duration::from_hours(1)).await;
    assert_eq!(memory.stored(&name()).len(), 10, "seed {seed}");
}

#[test]
fn whatever_goes_wrong_what_is_over_is_erased_once_and_for_all() {
    let only = std::env::var("SEED").ok().map(|seed| seed.parse().unwrap());
    for seed in only.map_or(0..20, |seed: u64| seed..seed + 1) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(clearing_storm(seed));
    }
}

/// Bytes that no version writes, wherever they belong.
fn poison(memory: &Memory, id: &str, rest: &str) {
    let subject = format!("baton.support.c.{id}.{rest}");
    let message = Message { subject, headers: Headers::default(), payload: "\u{7f}poison".into() };
    assert!(matches!(memory.inject(message), Ok(Append::Appended(_))));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_no_version_writes_fail_their_conversation_and_no_other() {
    let memory = broker().await;
    for id in ["before", "working", "waiting", "foreign", "well"] {
        write(&memory, id, opened("triage"), &Fixed::default()).await;
    }
    write(&memory, "waiting", asked("triage", None), &Fixed::default()).await;
    poison(&memory, "before", "1.to.triage.000000000000.client");
    let _running = Running::start(&memory, "k-1", 5).ready().await;
    poison(&memory, "working", "1.note.triage");
    poison(&memory, "working", "2.note.triage");
    poison(&memory, "waiting", "2.in.gateway");
    poison(&memory, "foreign", "77.end.coordinator");
    poison(&memory, "unheard-of", "0.to.triage.000000000000.client");
    let ended = memory.stored(&name()).len() + 4;
    sleep(Duration::from_secs(3)).await;
    for id in ["before", "working", "waiting", "foreign"] {
        assert_eq!(failure_of(&memory, id).await, failure::DAMAGED, "{id}");
    }
    assert_eq!(read(&memory, "well").await.phase(), Some(Phase::Working));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(memory.stored(&name()).len(), ended, "each is failed once, and nothing else is written");
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_version_wrote_is_left_alone() {
    let (memory, _running) = coordinated().await;
    write(&memory, "c1", opened("triage"), &turn_of(5)).await;
    let mut message = prepare(&read(&memory, "c1").await, transferred("triage", "refund"), &Fixed::default()).message;
    message.headers.insert(protocol::wire::header::VERSION, "2".to_owned());
    assert!(matches!(memory.inject(message), Ok(Append::Appended(_))));
    sleep(Duration::from_mins(20)).await;
    assert_eq!(memory.stored(&name()).len(), 2);
}

fn retired() -> Orchestration {
    let triage = AgentDef::new("triage").description("Triages.");
    let builder = Orchestration::builder("support").model("default", ModelSpec::openai("gpt-5-mini"));
    builder.agent(&triage).start_with(&triage).build().unwrap().orchestration
}

async fn has_consumer(memory: &Memory, name: &str) -> bool {
    memory.consumer_state(&self::name(), &agent(name)).await.unwrap().is_some()
}

/// An opening on a revision.
async fn open_on(memory: &Memory, id: &str, definition: &Orchestration) {
    let (class, from, events) = opened("triage");
    let id_of_entry = protocol::ids::EntryId::of_request(&conversation(id), "0");
    let revision = definition.revision().clone();
    let draft = protocol::conversation::Draft { class, from, id: id_of_entry, process: process("gw-1"), revision, events, trace: None };
    let prepared = Conversation::empty(name(), conversation(id)).prepare_opening(draft, Fixed::default()).unwrap();
    assert!(matches!(memory.append(&prepared).await, Append::Appended(_)));
}

#[tokio::test(start_paused = true)]
async fn another_revision_brings_agents_and_lets_others_retire_once_nothing_open_needs_them() {
    let memory = broker().await;
    let definitions = Sender::new(Arc::new(definition(5)));
    let config = Config::new(vec![Served::Followed(definitions.subscribe())]);
    let _running = Running::start_with(&memory, "k-1", config).ready().await;
    open_on(&memory, "c1", &definition(5)).await;

    definitions.send_replace(Arc::new(retired()));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(registry::current(&memory, &name()).await.as_ref(), Ok(retired().revision()));
    sleep(Duration::from_mins(2)).await;
    assert!(has_consumer(&memory, "refund").await, "a conversation may still be handed to it");
    let shown: Registered = ask(&memory, verb::REVISIONS, &()).await;
    assert_eq!(shown.revisions.iter().map(|shown| (shown.state(), shown.open)).collect::<Vec<_>>(), [("current", 0), ("in use", 1)]);

    write(&memory, "c1", completed("triage"), &Fixed::default()).await;
    sleep(Duration::from_secs(4)).await;
    assert!(has_consumer(&memory, "refund").await, "a caller may still take the old revision for the current one");
    sleep(Duration::from_secs(12)).await;
    assert!(!has_consumer(&memory, "refund").await && has_consumer(&memory, "triage").await);

    // Somebody had it in memory all the same: as if nobody had retired.
    open_on(&memory, "late", &definition(5)).await;
    write(&memory, "late", transferred("triage", "refund"), &Fixed::default()).await;
    sleep(Duration::from_secs(7)).await;
    let mut source = memory.work(&name(), &agent("refund")).await.unwrap();
    assert!(source.next(1).await.unwrap().stored.subject.contains(".late."));

    definitions.send_replace(Arc::new(definition(5)));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(registry::current(&memory, &name()).await.as_ref(), Ok(definition(5).revision()), "and back");
}

#[tokio::test(start_paused = true)]
async fn whoever_registers_the_leader_makes_what_the_new_agents_need() {
    let memory = Memory::new();
    memory.provision(&Plan::new(name(), vec![agent("triage")])).await.unwrap();
    registry::register(&memory, &retired()).await.unwrap();
    let _running = Running::start_with(&memory, "k-1", Config::new(vec![Served::Registered(name())])).ready().await;
    assert!(!has_consumer(&memory, "refund").await);
    registry::register(&memory, &definition(5)).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    assert!(has_consumer(&memory, "refund").await);
}

#[tokio::test(start_paused = true)]
async fn a_restart_undoes_no_registration_and_a_change_made_meanwhile_counts() {
    let memory = broker().await;
    Running::start(&memory, "k-1", 5).ready().await.stop().await;
    registry::register(&memory, &retired()).await.unwrap();
    let current = async || registry::current(&memory, &name()).await.unwrap();
    // The same definition as before: it was declared once.
    Running::start(&memory, "k-1", 5).ready().await.stop().await;
    assert_eq!(&current().await, retired().revision());
    // Another one, then the first again: a way back.
    Running::start(&memory, "k-1", 7).ready().await.stop().await;
    assert_eq!(&current().await, definition(7).revision());
    Running::start(&memory, "k-1", 5).ready().await.stop().await;
    assert_eq!(&current().await, definition(5).revision());
}

#[tokio::test(start_paused = true)]
async fn two_coordinators_with_different_files_do_not_fight() {
    let memory = broker().await;
    let (old, new) = (Running::start(&memory, "k-1", 5).ready().await, Running::start(&memory, "k-2", 7).ready().await);
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        sleep(Duration::from_secs(1)).await;
        seen.insert(registry::current(&memory, &name()).await.unwrap());
    }
    assert_eq!(seen, [definition(7).revision().clone()].into());
    old.stop().await;
    new.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_could_not_be_registered_is_registered_later() {
    let memory = broker().await;
    let definitions = Sender::new(Arc::new(definition(5)));
    let config = Config::new(vec![Served::Followed(definitions.subscribe())]);
    let running = Running::start_with(&memory, "k-1", config).ready().await;
    running.connection.disconnect();
    definitions.send_replace(Arc::new(retired()));
    sleep(Duration::from_mins(1)).await;
    assert_eq!(registry::current(&memory, &name()).await.as_ref(), Ok(definition(5).revision()));
    running.connection.reconnect();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(registry::current(&memory, &name()).await.as_ref(), Ok(retired().revision()));
}

#[tokio::test(start_paused = true)]
async fn questions_are_answered() {
    let (memory, _running) = coordinated().await;
    let _worker = Worker::start(&memory, "w-1").await;
    write(&memory, "c1", opened("triage"), &Fixed::default()).await;
    write(&memory, "c2", opened("triage"), &Fixed::default()).await;
    write(&memory, "c2", transferred("triage", "refund"), &Fixed::default()).await;
    sleep(Duration::from_secs(2)).await;
    let shown: Shown = ask(&memory, verb::SHOW, &ShowQuery { conversation: conversation("c2") }).await;
    assert_eq!((shown.brief.owner, shown.kind.as_str(), shown.ordinal), (agent("refund"), "transferred", 1));
    let listed: Listed = ask(&memory, verb::LIST, &ListQuery { agent: Some(agent("triage")), ..ListQuery::default() }).await;
    assert_eq!((listed.conversations[0].conversation.as_str(), listed.total), ("c1", 1));
    let status: Status = ask(&memory, verb::STATUS, &()).await;
    assert_eq!((status.process, status.is_leader, status.seq, status.open), (process("k-1"), true, 3, 2));
    assert_eq!(status.workers, [beat("w-1", "triage")]);
    assert!(memory.now_ms() - status.now_ms <= 1000);
}

#[tokio::test(start_paused = true)]
async fn requests_reach_the_gateway_and_reach_it_again_when_it_announces_itself() {
    let (memory, _running) = coordinated().await;
    let fixed = Fixed { gateway: Some(process("gw-1")), ..Fixed::default() };
    write(&memory, "absent", opened("triage"), &fixed).await;
    write(&memory, "absent", asked("triage", None), &fixed).await;
    sleep(Duration::from_mins(1)).await;
    let mut requests = memory.listen(&subject::gateway(&name(), &process("gw-1")), None).await.unwrap();
    memory.say(&subject::gateway_hello(&name(), &process("gw-1")), bytes::Bytes::new()).await;
    let first = received(&memory, &mut requests).await;
    assert_eq!((first.conversation, first.agent), (conversation("absent"), agent("triage")));
    write(&memory, "there", opened("triage"), &fixed).await;
    let began_ms = memory.now_ms();
    write(&memory, "there", asked("triage", None), &fixed).await;
    assert_eq!(received(&memory, &mut requests).await.conversation, conversation("there"));
    assert!(memory.now_ms() - began_ms < 100, "at once");
    // It forgets everything, and asks again.
    memory.say(&subject::gateway_hello(&name(), &process("gw-1")), bytes::Bytes::new()).await;
    assert_eq!(received(&memory, &mut requests).await.conversation, conversation("absent"));
    assert_eq!(received(&memory, &mut requests).await.conversation, conversation("there"));
}

/// The next request that a gateway gets; it says that it has it.
async fn received(memory: &Memory, requests: &mut BoxStream<'static, Delivery>) -> ForwardedRequest {
    let request = requests.next().await.unwrap();
    memory.say(&request.reply.unwrap(), bytes::Bytes::new()).await;
    serde_json::from_slice(&request.payload).unwrap()
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_next_forwards_what_may_not_have_been() {
    let memory = broker().await;
    let fixed = Fixed { gateway: Some(process("gw-1")), ..Fixed::default() };
    write(&memory, "c1", opened("triage"), &fixed).await;
    write(&memory, "c1", asked("triage", None), &fixed).await;
    let mut requests = memory.listen(&subject::gateway(&name(), &process("gw-1")), None).await.unwrap();
    let _running = Running::start(&memory, "k-1", 5);
    assert_eq!(received(&memory, &mut requests).await.conversation, conversation("c1"));
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_goes_on_from_what_the_one_before_stored() {
    let (memory, running) = coordinated().await;
    let opened_ms = memory.now_ms();
    write(&memory, "c1", opened("triage"), &Fixed { conversation_secs: Some(3600), ..Fixed::default() }).await;
    sleep(Duration::from_secs(100)).await;
    write(&memory, "c1", asked("triage", None), &Fixed::default()).await;
    while ask::<Status>(&memory, verb::STATUS, &()).await.seq < 2 {}
    running.stop().await;
    assert_eq!(memory.value(&name(), "lease").await.unwrap(), None);
    // What is gone from the stream can only be known from the checkpoint.
    memory.purge(&name(), &conversation("c1"), Seq(2)).await.unwrap();
    let _running = Running::start(&memory, "k-2", 5).ready().await;
    let shown: Shown = ask(&memory, verb::SHOW, &ShowQuery { conversation: conversation("c1") }).await;
    assert_eq!(shown.opened_ms, opened_ms);
}

#[tokio::test(start_paused = true)]
async fn the_one_that_acts_stores_the_ledger_now_and_then() {
    let (memory, running) = coordinated().await;
    write(&memory, "c1", opened("triage"), &Fixed::default()).await;
    sleep(Duration::from_secs(35)).await;
    running.task.abort();
    let (place, rows) = crate::checkpoint::load(&memory, &name()).await.unwrap().unwrap();
    assert_eq!((place.seq, rows.len()), (Seq(1), 1));
}

/// The stream lost what had not reached the disk, or was restored from an older backup: the numbers of what it lost are given to others.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_is_ahead_of_its_stream_hides_nothing() {
    let (memory, running) = coordinated().await;
    running.stop().await;
    crate::checkpoint::store(&memory, &name(), Place { seq: Seq(100), ..Place::default() }, Vec::new()).await.unwrap();
    let _running = Running::start(&memory, "k-2", 5).ready().await;
    write(&memory, "c1", opened("triage"), &Fixed::default()).await;
    while ask::<Status>(&memory, verb::STATUS, &()).await.seq < 1 {}
    let shown: Shown = ask(&memory, verb::SHOW, &ShowQuery { conversation: conversation("c1") }).await;
    assert_eq!(shown.conversation, conversation("c1"));
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_waits_for_its_broker() {
    let memory = Memory::new();
    memory.disconnect();
    let connection = memory.client();
    connection.disconnect();
    let config = Config::new(vec![Served::Definition(Box::new(definition(5)))]);
    let coordinator = Coordinator::new(Arc::new(connection.clone()), process("k-1"), config);
    let mut ready = coordinator.ready();
    let task = tokio::spawn(coordinator.run(CancellationToken::new()));
    sleep(Duration::from_mins(1)).await;
    assert!(!*ready.borrow() && !task.is_finished());
    connection.reconnect();
    ready.wait_for(|ready| *ready).await.unwrap();
}

/// A driver that nobody runs.
async fn idle(memory: &Memory) -> Driver {
    let definition = definition(5);
    let actor = Arc::new(Actor::new(Arc::new(memory.client()), name(), process("k-1")));
    let learnt = Learnt { current: definition.revision().clone(), revisions: BTreeMap::new() };
    let declaring = Declaring::new(&Served::Registered(name()), None);
    let begun = Begun { ledger: Ledger::new(0), retention: Retention::default(), learnt, declaring };
    let config = Config::new(vec![Served::Registered(name())]);
    Driver::new(actor, config, begun, tokio::sync::watch::channel(true).1)
}

/// A server whose clock was ahead, and led for a moment: what begins after that has its whole time.
#[tokio::test(start_paused = true)]
async fn a_time_that_was_wrong_once_is_not_believed_for_ever() {
    let memory = broker().await;
    let (mut driver, now_ms) = (idle(&memory).await, memory.now_ms());
    driver.ticked(now_ms + 3_600_000);
    driver.ticked(now_ms + 1000);
    write(&memory, "c1", opened("triage"), &turn_of(600)).await;
    driver.take(&memory.stored(&name())[0]);
    assert_eq!(driver.watch.acts(&driver.ledger, &driver.presence, &Consumers::new(), driver.now_ms), []);
}

/// A server whose clock is ahead leads from now on: what began before that has its whole time, too.
#[tokio::test(start_paused = true)]
async fn a_time_that_jumps_ends_nothing_that_has_time_left() {
    let memory = broker().await;
    let mut driver = idle(&memory).await;
    write(&memory, "c1", opened("triage"), &turn_of(300)).await;
    driver.take(&memory.stored(&name())[0]);
    driver.ticked(memory.now_ms());
    for _ in 0..299 {
        sleep(Duration::from_secs(1)).await;
        driver.ticked(memory.now_ms() + 3_600_000);
        assert_eq!(driver.watch.acts(&driver.ledger, &driver.presence, &Consumers::new(), driver.now_ms), []);
    }
    sleep(Duration::from_secs(2)).await;
    driver.ticked(memory.now_ms() + 3_600_000);
    assert_eq!(driver.watch.acts(&driver.ledger, &driver.presence, &Consumers::new(), driver.now_ms).len(), 1, "now it is late");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_registered_is_an_error_with_a_way_out() {
    let memory = broker().await;
    let run = |orchestrations| {
        Coordinator::new(Arc::new(memory.client()), process("k-1"), Config::new(orchestrations)).run(CancellationToken::new())
    };
    let error = run(vec![Served::Registered(name())]).await.unwrap_err().to_string();
    assert!(error.contains("baton coordinator --manifest"), "{error}");
    assert!(matches!(run(Vec::new()).await, Err(CoordinatorError::NothingToServe)));
    Running::start(&memory, "k-1", 5).ready().await.stop().await;
    let coordinator = Coordinator::new(Arc::new(memory.client()), process("k-2"), Config::new(vec![Served::Registered(name())]));
    let mut ready = coordinator.ready();
    let _task = tokio::spawn(coordinator.run(CancellationToken::new()));
    ready.wait_for(|ready| *ready).await.unwrap();
}

/// Deadlines and deaths while everything goes wrong: every conversation ends exactly once, nothing illegal is written.
async fn storm(seed: u64) {
    let memory = Memory::with_faults(seed, Faults::default());
    memory.provision(&Plan::new(name(), vec![agent("triage"), agent("refund")])).await.unwrap();
    let ids: Vec<_> = (0..10).map(|n| format!("c{n}")).collect();
    for (n, id) in ids.iter().enumerate() {
        write(&memory, id, opened("triage"), &turn_of(20 + 5 * n as u64)).await;
    }
    let mut worker = Worker::start(&memory, "w-1").await;
    for _ in 0..5 {
        worker.take().await;
    }
    memory.set_faults(Faults::all(60));
    let (first, second) = (Running::start(&memory, "k-1", 5), Running::start(&memory, "k-2", 5));
    sleep(Duration::from_secs(15)).await;
    worker.kill().await;
    sleep(Duration::from_secs(15)).await;
    first.task.abort();
    sleep(Duration::from_mins(3)).await;
    memory.set_faults(Faults::default());
    second.stop().await;
    for id in &ids {
        let read = read(&memory, id).await;
        assert_eq!(read.verify(), Ok(()), "seed {seed}, {id}");
        let ends = read.entries().iter().filter(|entry| entry.head.subject.class == Class::End).count();
        assert_eq!(ends, 1, "seed {seed}, {id}");
        assert_eq!(failure_of(&memory, id).await, failure::TURN_TIMEOUT, "seed {seed}, {id}");
    }
}

#[test]
fn whatever_goes_wrong_every_conversation_ends_once() {
    let only = std::env::var("SEED").ok().map(|seed| seed.parse().unwrap());
    for seed in only.map_or(0..20, |seed: u64| seed..seed + 1) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(storm(seed));
    }
}
