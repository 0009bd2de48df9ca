//! What a worker does with entries that it cannot use: with time for a newer worker, by the broker's clock, and then for people to see.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use journal::memory::{Fault, Faults, Memory};
use journal::{Append, Bus, Journal, Plan, Provision, Shared, Store, load, registry};
use protocol::brief::{Fixed, Phase};
use protocol::builder::AgentDef;
use protocol::conversation::{Conversation, Draft};
use protocol::event::{Event, Failed, Message, Opened, Role, failure};
use protocol::ids::{EntryId, Writer};
use protocol::manifest::ModelSpec;
use protocol::orchestration::Orchestration;
use protocol::subject::Class;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::test_support::http;
use crate::tools::Functions;
use crate::worker::{NEWER_WAIT, Worker};

/// A journal in memory with one agent, and a worker of it that is of this version. Time is paused: it passes when nobody has anything to do.
struct Stage {
    memory: Arc<Memory>,
    orchestration: Orchestration,
    stop: CancellationToken,
}

impl Stage {
    async fn new() -> Self {
        Self::with(AgentDef::new("writer"), "- say: Hello.\n").await
    }

    /// An agent that pays, with effect, and completes then.
    async fn that_pays() -> Self {
        Self::with(AgentDef::new("writer").tool("pay"), "- { tool: pay, complete: Paid. }\n- call: pay\n").await
    }

    async fn with(writer: AgentDef, script: &str) -> Self {
        let writer = writer.description("Writes.").instructions("Write.");
        let model = ModelSpec::script(script).unwrap();
        let builder = Orchestration::builder("desk").model("default", model).agents([&writer]).start_with("writer");
        let orchestration = builder.build().unwrap_or_else(|problems| panic!("{problems:?}")).orchestration;
        let memory = Arc::new(Memory::new());
        let agents = orchestration.agents().map(|agent| agent.name.clone()).collect();
        memory.provision(&Plan::new(orchestration.name().clone(), agents)).await.unwrap();
        registry::register(&*memory, &orchestration).await.unwrap();
        Self { memory, orchestration, stop: CancellationToken::new() }
    }

    fn work(&self) {
        self.work_with(Functions::new());
    }

    fn work_with(&self, functions: Functions) {
        // Whoever makes an HTTP client has chosen its TLS.
        drop(http());
        let broker: Shared = Arc::new(self.memory.client());
        let worker = Worker::new(broker, "writer-1".parse().unwrap(), Arc::new(|_: &str| None));
        let worker = worker.serve(self.orchestration.name().clone(), self.orchestration.start().clone());
        let worker = worker.functions(functions).drain(Duration::from_secs(1));
        tokio::spawn(worker.run(self.stop.clone(), watch::Sender::new(false)));
    }

    /// Until something holds, which it does before long.
    async fn until(&self, mut holds: impl FnMut() -> bool) {
        for _ in 0..6_000 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never does");
    }

    fn draft(&self, class: Class, from: Writer, event: Event) -> Draft {
        let (process, revision) = ("p".parse().unwrap(), self.orchestration.revision().clone());
        Draft { class, from, id: EntryId::from_random([7; 16]), process, revision, events: vec![event], trace: None }
    }

    fn opening(&self) -> (Conversation, protocol::conversation::Prepared) {
        self.opening_with("Hi.")
    }

    fn opening_with(&self, text: &str) -> (Conversation, protocol::conversation::Prepared) {
        let class = Class::To { agent: self.orchestration.start().clone(), revision: self.orchestration.revision().clone() };
        let input = vec![Message { role: Role::User, name: None, text: text.to_owned() }];
        let conversation = Conversation::empty(self.orchestration.name().clone(), "c1".parse().unwrap());
        let draft = self.draft(class, Writer::Client, Opened { input, ..Opened::default() }.into());
        let prepared = conversation.prepare_opening(draft, Fixed::default()).unwrap();
        (conversation, prepared)
    }

    /// The reason of the first dead letter, once there is one, and how long that took by the broker's clock.
    async fn buried(&self) -> (String, Duration) {
        let began_ms = self.memory.now_ms();
        loop {
            if let Some(letter) = self.memory.dead_letters(self.orchestration.name()).first() {
                return (letter.reason.clone(), Duration::from_millis(self.memory.now_ms() - began_ms));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Bytes that no version writes, as the work item with this ordinal.
    fn poison(&self, ordinal: u64) {
        let subject = format!("baton.desk.c.c1.{ordinal}.to.writer.000000000000.client");
        let message = protocol::wire::Message { subject, headers: Default::default(), payload: "\u{7f}poison".into() };
        assert!(matches!(self.memory.inject(message), Ok(Append::Appended(_))));
    }

    /// The failure with which the conversation has ended, once it has.
    async fn failure(&self) -> Failed {
        loop {
            let found = load(&*self.memory, self.orchestration.name(), &"c1".parse().unwrap()).await.unwrap();
            match found.as_ref().and_then(|conversation| conversation.last()?.events.last()) {
                Some(Event::Failed(failed)) => return failed.clone(),
                _ => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }

    /// What the agent's worker has written.
    fn written(&self) -> usize {
        self.memory.stored(self.orchestration.name()).iter().filter(|stored| stored.subject.ends_with(".writer")).count()
    }

    /// Nothing of the agent's work is left, once whatever was given back has come again: in this clock's time, which costs none.
    async fn is_settled(&self) -> bool {
        for _ in 0..60 {
            let state = self.memory.consumer_state(self.orchestration.name(), self.orchestration.start()).await.unwrap().unwrap();
            if (state.pending, state.ack_pending) == (0, 0) {
                return true;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        false
    }
}

/// Ten minutes, and as long as it takes until the item comes again.
fn assert_is_the_wait(waited: Duration) {
    assert!((NEWER_WAIT..NEWER_WAIT + Duration::from_secs(30)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn an_entry_of_a_newer_version_waits_ten_minutes_and_is_a_dead_letter_then() {
    let stage = Stage::new().await;
    let (_, opening) = stage.opening();
    let mut message = opening.message;
    message.headers.insert(protocol::wire::header::VERSION, "2".to_owned());
    assert!(matches!(stage.memory.inject(message), Ok(Append::Appended(_))));
    stage.work();
    let (reason, waited) = stage.buried().await;
    assert!(reason.contains("newer version"), "{reason}");
    assert_is_the_wait(waited);
    assert!(stage.is_settled().await, "nobody is given it again");
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_nobody_knows_fails_the_conversation_after_ten_minutes() {
    let stage = Stage::new().await;
    let (mut conversation, opening) = stage.opening();
    let Append::Appended(seq) = stage.memory.append(&opening).await else { panic!("it is not stored") };
    conversation.commit(opening, seq).unwrap();
    let unknown = Event::Unknown { kind: "sung".to_owned(), data: vec![0xc0].into() };
    let note = stage.draft(Class::Note, Writer::Agent(stage.orchestration.start().clone()), unknown);
    let note = conversation.prepare(Draft { id: EntryId::from_random([8; 16]), ..note }).unwrap();
    assert!(matches!(stage.memory.append(&note).await, Append::Appended(_)));
    // However long it has lain there, its time begins when somebody meets it.
    tokio::time::advance(NEWER_WAIT * 2).await;
    stage.work();
    let (reason, waited) = stage.buried().await;
    assert!(reason.contains("sung"), "{reason}");
    assert_is_the_wait(waited);
    let conversation = load(&*stage.memory, stage.orchestration.name(), conversation.id()).await.unwrap().unwrap();
    assert_eq!(conversation.phase(), Some(Phase::Failed));
    let failed = conversation.events().find_map(|(_, (_, event))| match event {
        Event::Failed(failed) => Some(failed.code.clone()),
        _ => None,
    });
    assert_eq!(failed.as_deref(), Some(failure::UNKNOWN_VERSION));
    assert!(stage.is_settled().await, "nobody is given it again");
}

/// Without a coordinator, and whosever turn it is.
#[tokio::test(start_paused = true)]
async fn bytes_that_no_version_writes_are_a_dead_letter_once_and_their_conversation_fails() {
    let stage = Stage::new().await;
    let (_, opening) = stage.opening();
    assert!(matches!(stage.memory.append(&opening).await, Append::Appended(_)));
    stage.poison(1);
    stage.work();
    let failed = stage.failure().await;
    assert_eq!(failed.code, failure::DAMAGED);
    assert!(failed.detail.starts_with("entry 1, message 2 of the stream, cannot be read"), "{}", failed.detail);
    let (reason, _) = stage.buried().await;
    assert_eq!(reason, "its headers are not an entry's");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.memory.dead_letters(stage.orchestration.name()).len(), 1);
    assert_eq!(stage.written(), 1, "nothing but the failure");
    assert!(stage.is_settled().await, "nobody is given it again");
}

/// It has its object no more: its head says who owns the conversation, and that is enough to end it.
#[tokio::test(start_paused = true)]
async fn a_work_item_whose_payload_is_lost_is_a_dead_letter_and_its_conversation_fails() {
    let stage = Stage::new().await;
    let (_, opening) = stage.opening_with(&"x".repeat(2 * 1024 * 1024));
    assert!(matches!(stage.memory.append(&opening).await, Append::Appended(_)));
    let object = journal::claim::object_name(&opening);
    stage.memory.delete_object(stage.orchestration.name(), &object).await.unwrap();
    stage.work();
    let (reason, _) = stage.buried().await;
    assert!(reason.contains(&object) && reason.contains("missing or damaged"), "{reason}");
    assert_eq!(stage.failure().await.code, failure::DAMAGED);
    assert!(stage.is_settled().await, "nobody is given it again");
}

/// Nobody can know such an entry after ten minutes: its conversation does not wait for ever.
#[tokio::test(start_paused = true)]
async fn a_conversation_with_an_entry_of_a_newer_version_fails_after_ten_minutes_and_not_before() {
    let stage = Stage::new().await;
    let (mut conversation, opening) = stage.opening();
    let Append::Appended(seq) = stage.memory.append(&opening).await else { panic!("it is not stored") };
    conversation.commit(opening, seq).unwrap();
    let interrupted = Event::Interrupted(protocol::event::Interrupted { text: "Stop.".to_owned() });
    let class = Class::To { agent: stage.orchestration.start().clone(), revision: stage.orchestration.revision().clone() };
    let mut newer = conversation.prepare(stage.draft(class, Writer::Client, interrupted)).unwrap().message;
    newer.headers.insert(protocol::wire::header::VERSION, "2".to_owned());
    assert!(matches!(stage.memory.inject(newer), Ok(Append::Appended(_))));
    stage.work();
    tokio::time::sleep(NEWER_WAIT - Duration::from_secs(1)).await;
    let unread = load(&*stage.memory, stage.orchestration.name(), conversation.id()).await.unwrap_err();
    assert!(!unread.is_damage(), "a newer worker could still read it: {unread}");
    let (reason, _) = stage.buried().await;
    assert!(reason.contains("newer version"), "{reason}");
    assert_eq!(stage.failure().await.code, failure::UNKNOWN_VERSION);
    assert_eq!(stage.written(), 1, "nothing but the failure");
    assert!(stage.is_settled().await, "nobody is given it again");
}

/// How often it is called; each call takes `takes`.
fn paying(takes: Duration) -> (Functions, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let pay = move |_: serde_json::Value| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::time::sleep(takes).await;
            "Paid."
        }
    };
    (Functions::new().add("pay", "Pays.", pay), calls)
}

/// Its intent is stored, and it hears so late: somebody else has ended the conversation meanwhile, or taken it, and decides what
/// becomes of the call.
#[tokio::test(start_paused = true)]
async fn a_worker_that_hears_late_that_its_intent_is_stored_looks_before_it_acts() {
    let stage = Stage::that_pays().await;
    let (_, opening) = stage.opening();
    assert!(matches!(stage.memory.append(&opening).await, Append::Appended(_)));
    stage.memory.set_faults(Faults::default().with(Fault::AcknowledgementLost, 1000).with(Fault::ResendLost, 1000));
    let (functions, calls) = paying(Duration::from_secs(1));
    stage.work_with(functions);
    stage.until(|| stage.written() == 1).await;
    let conversation = load(&*stage.memory, stage.orchestration.name(), &"c1".parse().unwrap()).await.unwrap().unwrap();
    let cancelled = protocol::event::Cancelled { reason: "Enough.".to_owned() };
    let cancel = conversation.prepare(stage.draft(Class::End, Writer::Client, cancelled.into())).unwrap();
    let _ = stage.memory.append(&cancel).await;
    assert_eq!(stage.memory.stored(stage.orchestration.name()).len(), 3, "opened, intended, cancelled");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(calls.load(Ordering::SeqCst), 0, "nobody has told it that it may");
    stage.memory.set_faults(Faults::default());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(calls.load(Ordering::SeqCst), 0, "the conversation is over");
}

/// Whoever asks is told that it lives as long as a call runs that nobody may cut off.
#[tokio::test(start_paused = true)]
async fn a_worker_that_drains_is_there_until_its_last_call_has_returned() {
    let stage = Stage::that_pays().await;
    let (functions, calls) = paying(Duration::from_secs(30));
    stage.work_with(functions);
    let (_, opening) = stage.opening();
    assert!(matches!(stage.memory.append(&opening).await, Append::Appended(_)));
    stage.until(|| calls.load(Ordering::SeqCst) == 1).await;
    stage.stop.cancel();
    let alive = protocol::subject::alive(stage.orchestration.name(), &"writer-1".parse().unwrap());
    for _ in 0..25 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let answer = stage.memory.ask(&alive, bytes::Bytes::new(), Duration::from_millis(200)).await;
        assert!(answer.is_ok(), "its call is still under way: {answer:?}");
    }
    // Its intent, and what came of it.
    stage.until(|| stage.written() >= 2).await;
}

/// A turn whose call runs, and whether it still does.
async fn while_it_pays(stage: &Stage) -> Arc<()> {
    let running = Arc::new(());
    let held = running.clone();
    let pay = move |_: serde_json::Value| {
        let held = held.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(held);
            "Paid."
        }
    };
    stage.work_with(Functions::new().add("pay", "Pays.", pay));
    let (_, opening) = stage.opening();
    assert!(matches!(stage.memory.append(&opening).await, Append::Appended(_)));
    stage.until(|| Arc::strong_count(&running) == 3).await;
    running
}

impl Stage {
    async fn says_that_it_moved(&self) {
        let (name, agent) = (self.orchestration.name(), self.orchestration.start());
        self.memory.say(&protocol::subject::moved(name, agent, &"c1".parse().unwrap()), bytes::Bytes::new()).await;
    }
}

/// The notice is faster than the replica that is asked.
#[tokio::test(start_paused = true)]
async fn a_turn_that_is_told_that_it_is_over_is_over_although_replicas_lag() {
    let stage = Stage::that_pays().await;
    let running = while_it_pays(&stage).await;
    let id = "c1".parse().unwrap();
    for (n, text) in [(10, "One"), (11, "Two"), (12, "")] {
        let conversation = load(&*stage.memory, stage.orchestration.name(), &id).await.unwrap().unwrap();
        let draft = match text {
            "" => stage.draft(Class::End, Writer::Client, protocol::event::Cancelled { reason: String::new() }.into()),
            text => stage.draft(Class::In, Writer::Client, protocol::event::Said { text: text.to_owned() }.into()),
        };
        let prepared = conversation.prepare(Draft { id: EntryId::from_random([n; 16]), ..draft }).unwrap();
        assert!(matches!(stage.memory.append(&prepared).await, Append::Appended(_)));
    }
    stage.memory.set_faults(Faults::default().with(Fault::ReadStale, 1000));
    stage.says_that_it_moved().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(Arc::strong_count(&running), 3, "no replica knows it yet");
    stage.memory.set_faults(Faults::default());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(Arc::strong_count(&running), 2, "its call is broken off");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_knows_nothing_of_a_conversation_takes_it_from_nobody() {
    let stage = Stage::that_pays().await;
    let running = while_it_pays(&stage).await;
    stage.memory.set_faults(Faults::default().with(Fault::ReadStale, 1000));
    for _ in 0..10 {
        stage.says_that_it_moved().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(Arc::strong_count(&running), 3, "its call goes on");
}

/// A right that its login lacks, or loses: what it means to hear there is not what keeps it alive.
#[tokio::test(start_paused = true)]
async fn a_worker_that_may_not_hear_of_one_thing_is_there_all_the_same() {
    let stage = Stage::that_pays().await;
    let running = while_it_pays(&stage).await;
    let (name, agent) = (stage.orchestration.name(), stage.orchestration.start());
    let mut beats = stage.memory.listen(&protocol::subject::heartbeats(name), None).await.unwrap();
    stage.memory.end_listening(&protocol::subject::moved_all(name, agent));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let alive = protocol::subject::alive(name, &"writer-1".parse().unwrap());
    let answer = stage.memory.ask(&alive, bytes::Bytes::new(), Duration::from_millis(200)).await;
    assert!(answer.is_ok(), "{answer:?}");
    while beats.next().now_or_never().is_some() {}
    tokio::time::timeout(Duration::from_secs(1), beats.next()).await.expect("a heartbeat").unwrap();
    // It is permitted again, and listens again.
    let conversation = load(&*stage.memory, name, &"c1".parse().unwrap()).await.unwrap().unwrap();
    let cancelled = protocol::event::Cancelled { reason: String::new() };
    let cancel = conversation.prepare(stage.draft(Class::End, Writer::Client, cancelled.into())).unwrap();
    assert!(matches!(stage.memory.append(&cancel).await, Append::Appended(_)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.says_that_it_moved().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(Arc::strong_count(&running), 2, "its call is broken off");
}

/// A consumer that is made anew offers every work item that there ever was.
#[tokio::test(start_paused = true)]
async fn what_is_long_done_costs_a_look_and_no_more() {
    const TURNS: u8 = 50;
    let stage = Stage::new().await;
    let (mut conversation, opening) = stage.opening();
    let Append::Appended(seq) = stage.memory.append(&opening).await else { panic!("it is not stored") };
    conversation.commit(opening, seq).unwrap();
    for n in 0..=TURNS {
        let to = Class::To { agent: stage.orchestration.start().clone(), revision: stage.orchestration.revision().clone() };
        let (class, event) = match n {
            TURNS => (Class::End, Event::from(protocol::event::Cancelled { reason: String::new() })),
            _ => (to, protocol::event::Interrupted { text: "x".repeat(3000) }.into()),
        };
        let draft = Draft { id: EntryId::from_random([n + 10; 16]), ..stage.draft(class, Writer::Client, event) };
        let prepared = conversation.prepare(draft).unwrap();
        let Append::Appended(seq) = stage.memory.append(&prepared).await else { panic!("it is not stored") };
        conversation.commit(prepared, seq).unwrap();
    }
    // Nothing of it is fresh.
    tokio::time::advance(Duration::from_secs(3600)).await;
    let before = stage.memory.requests();
    stage.work();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let requests = stage.memory.requests() - before;
    assert!(stage.is_settled().await);
    assert_eq!(stage.written(), 0);
    assert!(requests < u64::from(TURNS) + 20, "{requests} requests for {TURNS} work items");
}
