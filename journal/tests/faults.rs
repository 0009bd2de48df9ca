//! Everything that can go wrong in memory goes wrong, and breaks nothing that a careful program relies on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, where a panic is the failure"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use journal::memory::{Fault, Faults, Memory};
use journal::{Append, Bus, Expect, Follow, Journal, Plan, Provision, Scope, Start, Store, WorkItem, WorkSource};
use protocol::brief::Fixed;
use protocol::conversation::{Conversation, Draft, Prepared};
use protocol::event::{Event, Opened, Said};
use protocol::ids::{AgentName, ConversationId, EntryId, OrchestrationName, Revision, Writer};
use protocol::subject::Class;
use protocol::wire::Stored;
use tokio::time::timeout;

fn orchestration() -> OrchestrationName {
    "support".parse().unwrap()
}

fn triage() -> AgentName {
    "triage".parse().unwrap()
}

fn id(text: &str) -> ConversationId {
    text.parse().unwrap()
}

/// A provisioned broker, whose messages hold only the shorter entries. Provisioning itself goes well.
async fn broker(seed: u64, faults: Faults) -> Memory {
    let memory = Memory::with_faults(seed, Faults::default()).with_message_bytes_max(2 * 1024);
    memory.provision(&Plan { ack_wait: Duration::from_secs(4), ..Plan::new(orchestration(), vec![triage()]) }).await.unwrap();
    memory.set_faults(faults);
    memory
}

fn draft(class: Class, event: Event, number: u64) -> Draft {
    Draft {
        class,
        from: Writer::Gateway,
        id: EntryId::from_random(u128::from(number).to_be_bytes()),
        process: "tests".parse().unwrap(),
        revision: Revision::of(b"faults"),
        events: vec![event],
        trace: None,
    }
}

fn opening(conversation: &str, number: u64) -> Prepared {
    let class = Class::To { agent: triage(), revision: Revision::of(b"faults") };
    let draft = draft(class, Opened::default().into(), number);
    Conversation::empty(orchestration(), id(conversation)).prepare_opening(draft, Fixed::default()).unwrap()
}

fn saying(conversation: &Conversation, number: u64) -> Prepared {
    conversation.prepare(draft(Class::In, Said { text: number.to_string() }.into(), number)).unwrap()
}

/// The conversation as the journal has it, asked until it answers and has reached what is known of it.
async fn load(memory: &Memory, conversation: &str, reached: impl Fn(&Conversation) -> bool) -> Conversation {
    for _ in 0..10_000 {
        // Whatever is wrong with an answer, another one is asked for: nothing is lost by waiting.
        if let Ok(Some(found)) = journal::load(memory, &orchestration(), &id(conversation)).await
            && reached(&found)
        {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{conversation} cannot be read, or not as far as it goes");
}

/// Appends until it is known to be stored.
async fn open(memory: &Memory, conversation: &str, number: u64) {
    let opening = opening(conversation, number);
    loop {
        match memory.append(&opening).await {
            Append::Appended(_) => return,
            Append::Unknown(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A careful writer: it repeats what is unknown as it is, and refolds where it is fenced.
async fn write(memory: Memory, numbers: impl Iterator<Item = u64>) {
    let mut conversation = load(&memory, "c1", |_| true).await;
    for number in numbers {
        let mut prepared = saying(&conversation, number);
        loop {
            match memory.append(&prepared).await {
                Append::Appended(seq) => {
                    conversation.commit(prepared, seq).unwrap();
                    break;
                }
                Append::Unknown(_) => {}
                Append::Fenced { tail } => {
                    conversation = load(&memory, "c1", |found| journal::has_reached(found, tail)).await;
                    prepared = saying(&conversation, number);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// What the entries of `c1` say.
fn said(stored: &[Stored]) -> Vec<u64> {
    let entries = stored.iter().map(|stored| protocol::entry::Entry::decode(stored).unwrap().0);
    let texts = entries.flat_map(|entry| entry.events).filter_map(|event| match event {
        Event::Said(said) => Some(said.text.parse().unwrap()),
        _ => None,
    });
    texts.collect()
}

/// Two writers with everything against them, and the seed's trace of what was stored.
async fn two_writers(seed: u64) -> (Memory, Vec<Stored>) {
    let memory = broker(seed, Faults::all(80)).await;
    open(&memory, "c1", 0).await;
    futures::join!(write(memory.client(), 1..=5), write(memory.client(), 101..=105));
    // Whatever is still under way arrives, and is refused.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stored = memory.stored(&orchestration());
    (memory, stored)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[test]
fn careful_writers_lose_and_double_nothing() {
    let mut injected: BTreeMap<Fault, u64> = BTreeMap::new();
    for seed in 0..500 {
        let (memory, stored) = runtime().block_on(two_writers(seed));
        let all = said(&stored);
        for writer in [1..=5, 101..=105] {
            let of_one: Vec<u64> = all.iter().copied().filter(|number| writer.contains(number)).collect();
            assert_eq!(of_one, writer.collect::<Vec<_>>(), "seed {seed}");
        }
        assert_eq!((all.len(), stored.len()), (10, 11), "seed {seed}");
        for (fault, times) in memory.faults_injected() {
            *injected.entry(fault).or_default() += times;
        }
    }
    for fault in
        [Fault::AppendLost, Fault::AppendLate, Fault::AcknowledgementLost, Fault::AcknowledgementLate, Fault::ResendLost, Fault::ReadStale]
    {
        assert!(injected.get(&fault).is_some_and(|times| *times > 50), "{fault:?}: {injected:?}");
    }
}

/// Without this a failing seed is no use.
#[test]
fn a_seed_runs_the_same_way_every_time() {
    for seed in 0..20 {
        let runs = [(); 2].map(|()| runtime().block_on(two_writers(seed)));
        assert_eq!(runs[0].1, runs[1].1, "seed {seed}");
        assert_eq!(runs[0].0.faults_injected(), runs[1].0.faults_injected(), "seed {seed}");
    }
    let (one, other) = (runtime().block_on(two_writers(1)), runtime().block_on(two_writers(2)));
    assert_ne!(one.1, other.1);
}

/// A writer that takes "unknown" for "failed" and writes anew doubles its message: the faults can tell the careful from the careless.
#[test]
fn a_careless_writer_is_caught() {
    let doubled = |seed: u64| async move {
        let memory = broker(seed, Faults::all(80)).await;
        open(&memory, "c1", 0).await;
        for number in 1..=8 {
            let mut conversation = load(&memory, "c1", |_| true).await;
            while !matches!(memory.append(&saying(&conversation, number)).await, Append::Appended(_)) {
                conversation = load(&memory, "c1", |_| true).await;
            }
        }
        let said = said(&memory.stored(&orchestration()));
        said.len() != said.iter().collect::<BTreeSet<_>>().len()
    };
    assert!((0..50).any(|seed| runtime().block_on(doubled(seed))));
}

#[test]
fn no_fault_loses_a_work_item() {
    for seed in 0..200 {
        runtime().block_on(async {
            let memory = broker(seed, Faults::all(100)).await;
            for number in 0..10 {
                open(&memory, &format!("c{number}"), number).await;
            }
            let mut sources = Vec::new();
            while sources.len() < 2 {
                sources.extend(memory.client().work(&orchestration(), &triage()).await);
            }
            let mut seen = BTreeSet::new();
            let take_all = async {
                while seen.len() < 10 {
                    for source in &mut sources {
                        // A source that got nothing for a while lets the other one try.
                        if let Ok(Ok(item)) = timeout(Duration::from_secs(5), source.next(2)).await {
                            seen.insert(item.stored.seq);
                            item.settle.ack().await;
                        }
                    }
                }
            };
            assert_eq!(timeout(Duration::from_secs(3600), take_all).await, Ok(()), "seed {seed}: {seen:?}");
        });
    }
}

#[test]
fn no_fault_makes_a_follower_miss_or_repeat_an_entry() {
    for seed in 0..100 {
        runtime().block_on(async {
            let memory = broker(seed, Faults::all(100)).await;
            let follow = Follow { scope: Scope::All, start: Start::First, bodies: true };
            let entries = loop {
                if let Ok(entries) = memory.client().follow(&orchestration(), follow.clone()).await {
                    break entries;
                }
            };
            let append = async {
                for number in 0..20 {
                    open(&memory, &format!("c{number}"), number).await;
                }
            };
            let ((), seen) = futures::join!(append, entries.take(20).map(Result::unwrap).collect::<Vec<_>>());
            assert_eq!(seen, memory.stored(&orchestration()), "seed {seed}");
        });
    }
}

async fn take(source: &mut Box<dyn WorkSource>) -> WorkItem {
    timeout(Duration::from_secs(60), source.next(1)).await.expect("a work item must come").unwrap()
}

/// A broker on which only this fault strikes, always.
async fn always(fault: Fault) -> Memory {
    broker(7, Faults::default().with(fault, 1000).delay(Duration::from_secs(1))).await
}

fn times(memory: &Memory, fault: Fault) -> u64 {
    memory.faults_injected().get(&fault).copied().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn a_lost_append_is_not_stored_and_a_late_one_is_later() {
    let memory = broker(7, Faults::default().with(Fault::AppendLost, 1000).with(Fault::ResendLost, 1000)).await;
    assert!(matches!(memory.append(&opening("c1", 1)).await, Append::Unknown(_)));
    assert_eq!((memory.stored(&orchestration()).len(), times(&memory, Fault::AppendLost)), (0, 1));

    let memory = always(Fault::AppendLate).await;
    let mut entries = memory.follow(&orchestration(), Follow { scope: Scope::All, start: Start::First, bodies: true }).await.unwrap();
    let late = opening("c1", 1);
    assert!(matches!(memory.append(&late).await, Append::Unknown(_)));
    assert_eq!(memory.stored(&orchestration()), []);
    let arrived = timeout(Duration::from_secs(60), entries.next()).await.unwrap();
    assert_eq!(arrived.unwrap().unwrap().payload, late.message.payload);
    memory.set_faults(Faults::default());
    assert_eq!(memory.append(&late).await, Append::Appended(memory.stored(&orchestration())[0].seq));
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_is_settled_by_the_resend_or_by_the_writer() {
    let memory = always(Fault::AcknowledgementLost).await;
    let prepared = opening("c1", 1);
    let Append::Appended(seq) = memory.append(&prepared).await else { panic!("the resend finds its own entry") };
    assert_eq!((memory.stored(&orchestration()).len(), times(&memory, Fault::AcknowledgementLost)), (1, 1));

    memory.set_faults(Faults::default().with(Fault::AcknowledgementLost, 1000).with(Fault::ResendLost, 1000));
    assert!(matches!(memory.append(&prepared).await, Append::Unknown(_)));
    memory.set_faults(Faults::default());
    assert_eq!(memory.append(&prepared).await, Append::Appended(seq));
    assert_eq!(memory.stored(&orchestration()).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_settlement_that_is_lost_brings_the_item_again() {
    let memory = always(Fault::SettlementLost).await;
    open(&memory, "c1", 1).await;
    let mut source = memory.work(&orchestration(), &triage()).await.unwrap();
    for delivered in 1..=3 {
        let item = take(&mut source).await;
        assert_eq!(item.delivered, delivered);
        item.settle.ack().await;
    }
    assert_eq!(times(&memory, Fault::SettlementLost), 3);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_comes_twice_even_after_its_ack_and_counts_as_the_first() {
    let memory = always(Fault::DeliveryTwice).await;
    open(&memory, "c1", 1).await;
    let mut source = memory.work(&orchestration(), &triage()).await.unwrap();
    for _ in 0..2 {
        let item = take(&mut source).await;
        assert_eq!(item.delivered, 1);
        item.settle.ack().await;
    }
}

#[tokio::test(start_paused = true)]
async fn deliveries_change_places_and_none_is_lost() {
    let memory = always(Fault::DeliveryReordered).await;
    for number in 0..4 {
        open(&memory, &format!("c{number}"), number).await;
    }
    let mut source = memory.work(&orchestration(), &triage()).await.unwrap();
    let mut seqs = Vec::new();
    for _ in 0..4 {
        seqs.push(take(&mut source).await.stored.seq.0);
    }
    assert_ne!(seqs, [1, 2, 3, 4]);
    seqs.sort_unstable();
    assert_eq!(seqs, [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_shows_an_older_tail() {
    let memory = always(Fault::ReadStale).await;
    open(&memory, "c1", 1).await;
    assert_eq!(memory.tail(&orchestration(), &id("c1")).await, Ok(None));
    assert!(memory.at(&orchestration(), &id("c1"), 0).await.unwrap().is_some(), "the leader is never stale");
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_write_may_have_happened() {
    let happened = async |seed| {
        let memory = broker(seed, Faults::default().with(Fault::Unavailable, 500)).await;
        let put = memory.put_value(&orchestration(), "key", "x".into(), Expect::Any, None).await;
        memory.set_faults(Faults::default());
        (put.is_ok(), memory.value(&orchestration(), "key").await.unwrap().is_some())
    };
    let mut outcomes = BTreeSet::new();
    for seed in 0..100 {
        outcomes.insert(happened(seed).await);
    }
    assert_eq!(outcomes, BTreeSet::from([(false, false), (false, true), (true, true)]));
}

#[tokio::test(start_paused = true)]
async fn a_cut_connection_loses_what_is_said_and_work_waits_for_it() {
    let memory = broker(7, Faults::default()).await;
    let cut = memory.client();
    let mut heard = cut.listen("news", None).await.unwrap();
    let mut source = cut.work(&orchestration(), &triage()).await.unwrap();
    cut.disconnect();
    memory.say("news", "lost".into()).await;
    let prepared = opening("c1", 1);
    assert!(matches!(cut.append(&prepared).await, Append::Unknown(_)));
    cut.tail(&orchestration(), &id("c1")).await.unwrap_err();
    let Append::Appended(seq) = memory.append(&prepared).await else { panic!("another connection is not cut") };
    let (item, ()) = futures::join!(source.next(1), async { cut.reconnect() });
    assert_eq!(item.unwrap().stored.seq, seq);
    memory.say("news", "heard".into()).await;
    assert_eq!(heard.next().await.unwrap().payload, "heard");
    assert_eq!(cut.connection().borrow().generation, memory.connection().borrow().generation + 1);
}

#[tokio::test(start_paused = true)]
async fn a_recreated_consumer_delivers_again_as_if_for_the_first_time() {
    let memory = broker(7, Faults::default()).await;
    open(&memory, "c1", 1).await;
    let mut source = memory.work(&orchestration(), &triage()).await.unwrap();
    take(&mut source).await.settle.ack().await;
    let (lost, ()) = futures::join!(source.next(1), async { assert!(memory.delete_consumer(&orchestration(), &triage())) });
    assert!(matches!(lost, Err(journal::WorkError::NoConsumer { .. })), "{lost:?}");
    memory.provision(&Plan::new(orchestration(), vec![triage()])).await.unwrap();
    assert_eq!(take(&mut source).await.delivered, 1);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_injects_is_delivered_as_it_is() {
    let memory = broker(7, Faults::default()).await;
    let mut message = opening("c1", 1).message;
    message.payload = "garbage".into();
    assert!(matches!(memory.inject(message.clone()), Ok(Append::Appended(_))));
    let item = take(&mut memory.work(&orchestration(), &triage()).await.unwrap()).await;
    assert_eq!(item.stored.payload, "garbage");
    for _ in 0..2 {
        memory.dead_letter(&orchestration(), &triage(), &item.stored, "it is garbage").await.unwrap();
    }
    let dead = memory.dead_letters(&orchestration());
    assert_eq!((dead.len(), &dead[0].entry, dead[0].reason.as_str()), (1, &item.stored, "it is garbage"));
    message.subject = "elsewhere".to_owned();
    memory.inject(message).unwrap_err();
}
