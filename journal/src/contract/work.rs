//! What work sources promise.

use std::collections::BTreeMap;

use futures::FutureExt;
use protocol::ids::Seq;
use tokio::time::{Duration, Instant, interval};

use super::chat::Appended;
use super::{Chat, LONG, SHORT, agent, orchestration, plan, provisioned, until, within};
use crate::{Plan, Shared, WorkError, WorkItem, WorkSource};

async fn source(broker: &Shared, name: &str) -> Box<dyn WorkSource> {
    broker.work(&orchestration(), &agent(name)).await.unwrap()
}

async fn take(source: &mut Box<dyn WorkSource>, free: usize) -> WorkItem {
    within("a work item", source.next(free)).await.unwrap()
}

/// Openings of so many conversations: work items for `triage`.
async fn openings(broker: &Shared, n: usize) -> Vec<Appended> {
    let mut openings = Vec::new();
    for n in 0..n {
        let mut chat = Chat::unopened(broker, &format!("c{n}"));
        openings.push(chat.append(chat.opening()).await);
    }
    openings
}

fn assert_is(item: &WorkItem, appended: &Appended, delivered: u64) {
    appended.assert_is(&item.stored);
    assert_eq!(item.delivered, delivered);
}

/// Work items of two agents, and entries that are no work items, mixed.
pub async fn items_come_in_order_and_to_their_agent_only(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let (mut of_triage, mut of_refund) = (Vec::new(), Vec::new());
    for n in 0..4 {
        let mut chat = Chat::unopened(&broker, &format!("c{n}"));
        of_triage.push(chat.append(chat.opening()).await);
        chat.say("hello").await;
        of_refund.push(chat.transfer("refund").await);
        of_triage.push(chat.transfer("triage").await);
    }
    let (mut triage, mut refund) = (source(&broker, "triage").await, source(&broker, "refund").await);
    for appended in &of_triage {
        let item = take(&mut triage, 3).await;
        assert_is(&item, appended, 1);
        item.settle.ack().await;
    }
    for appended in &of_refund {
        assert_is(&take(&mut refund, 10).await, appended, 1);
    }
}

/// A process with two free slots gets two items; the next process gets the rest.
pub async fn no_more_is_taken_than_there_is_room_for(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let items = openings(&broker, 5).await;
    let (mut small, mut large) = (source(&broker, "triage").await, source(&broker, "triage").await);
    assert_is(&take(&mut small, 2).await, &items[0], 1);
    assert_is(&take(&mut small, 1).await, &items[1], 1);
    assert_eq!(in_flight(&broker).await, 2);
    for appended in &items[2..] {
        assert_is(&take(&mut large, 10).await, appended, 1);
    }
}

async fn in_flight(broker: &Shared) -> u64 {
    broker.consumer_state(&orchestration(), &agent("triage")).await.unwrap().unwrap().ack_pending
}

/// Someone waits before there is work.
pub async fn whoever_waits_gets_what_is_appended_later(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut triage = source(&broker, "triage").await;
    let (item, items) = futures::join!(take(&mut triage, 1), openings(&broker, 1));
    assert_is(&item, &items[0], 1);
}

/// A call that was given up has asked the broker already: what it asked for is kept for the next call.
pub async fn whoever_stops_waiting_loses_nothing(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut triage = source(&broker, "triage").await;
    assert!(triage.next(2).now_or_never().is_none());
    let items = openings(&broker, 3).await;
    assert!(triage.next(2).now_or_never().is_none_or(|item| item.is_ok_and(|item| item.stored.seq == items[0].seq)));
    let mut seen = Vec::new();
    while seen.last() != Some(&items[2].seq) {
        let item = take(&mut triage, 2).await;
        assert_eq!(item.delivered, 1);
        seen.push(item.stored.seq);
    }
    // The second look may have taken the first item; nothing else may be missing.
    let all: Vec<Seq> = items.iter().map(|item| item.seq).collect();
    assert!(all.ends_with(&seen) && seen.len() >= 2, "{seen:?} of {all:?}");
}

/// Two items are delivered, one is settled: only the other one comes again.
async fn settled_items_never_come_again(broker: Shared, settle: impl AsyncFn(&WorkItem)) {
    let broker = provisioned(broker, SHORT).await;
    let items = openings(&broker, 2).await;
    let mut triage = source(&broker, "triage").await;
    let settled = take(&mut triage, 2).await;
    assert_is(&settled, &items[0], 1);
    settle(&settled).await;
    for delivered in 1..=3 {
        assert_is(&take(&mut triage, 2).await, &items[1], delivered);
    }
}

/// Done is done.
pub async fn an_acked_item_never_comes_again(broker: Shared) {
    settled_items_never_come_again(broker, async |item| item.settle.ack().await).await;
}

/// Given up is given up.
pub async fn a_terminated_item_never_comes_again(broker: Shared) {
    settled_items_never_come_again(broker, async |item| item.settle.terminate().await).await;
}

/// At once, or after a delay, long before the ack wait.
pub async fn an_item_given_back_comes_again_after_the_delay(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let items = openings(&broker, 1).await;
    let (mut one, mut other) = (source(&broker, "triage").await, source(&broker, "triage").await);
    let item = take(&mut one, 1).await;
    item.settle.give_back(Duration::ZERO).await;
    let again = take(&mut other, 1).await;
    assert_is(&again, &items[0], 2);
    let (since, delay) = (Instant::now(), Duration::from_millis(500));
    again.settle.give_back(delay).await;
    let last = take(&mut one, 1).await;
    assert_is(&last, &items[0], 3);
    // The broker's clock and ours may disagree by a little.
    assert!(since.elapsed() >= delay - Duration::from_millis(20), "{:?}", since.elapsed());
}

/// Its process died, or hangs.
pub async fn an_item_nobody_settles_comes_again_after_the_ack_wait(broker: Shared) {
    let broker = provisioned(broker, SHORT).await;
    let items = openings(&broker, 1).await;
    let mut triage = source(&broker, "triage").await;
    let since = Instant::now();
    drop(take(&mut triage, 1).await);
    assert_is(&take(&mut triage, 1).await, &items[0], 2);
    assert!(since.elapsed() >= SHORT - Duration::from_millis(20), "{:?}", since.elapsed());
}

/// Of two items one is extended: only the other one comes again, twice.
pub async fn an_extended_item_does_not_come_again(broker: Shared) {
    let broker = provisioned(broker, SHORT).await;
    let items = openings(&broker, 2).await;
    let mut triage = source(&broker, "triage").await;
    let held = take(&mut triage, 2).await;
    assert_is(&held, &items[0], 1);
    assert_is(&take(&mut triage, 1).await, &items[1], 1);
    let extend = async {
        let mut each = interval(SHORT / 10);
        loop {
            each.tick().await;
            held.settle.extend().await;
        }
    };
    let others = async {
        for delivered in 2..=3 {
            assert_is(&take(&mut triage, 1).await, &items[1], delivered);
        }
    };
    tokio::select! {
        () = extend => {}
        () = others => {}
    }
    // Once nobody extends it any more, it comes.
    let again = until("the item comes", async || Some(take(&mut triage, 1).await).filter(|item| item.stored.seq == items[0].seq)).await;
    assert_is(&again, &items[0], 2);
}

/// A draining process: another one has the rest long before the ack wait.
pub async fn closing_gives_back_what_was_not_taken(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let items = openings(&broker, 3).await;
    let (mut leaving, mut staying) = (source(&broker, "triage").await, source(&broker, "triage").await);
    assert_is(&take(&mut leaving, 3).await, &items[0], 1);
    until("all items are out", async || (in_flight(&broker).await == 3).then_some(())).await;
    leaving.close().await;
    let mut rest: Vec<Seq> = Vec::new();
    for _ in 0..2 {
        rest.push(take(&mut staying, 2).await.stored.seq);
    }
    rest.sort();
    assert_eq!(rest, [items[1].seq, items[2].seq]);
}

/// A source that is gone, with items on the way to it and requests for more.
pub async fn what_was_on_its_way_to_the_dead_comes_to_the_living(broker: Shared) {
    let broker = provisioned(broker, SHORT).await;
    let mut dead = source(&broker, "triage").await;
    let mut items = openings(&broker, 2).await;
    take(&mut dead, 5).await;
    drop(dead);
    let mut late = Chat::unopened(&broker, "late");
    items.push(late.append(late.opening()).await);
    let mut living = source(&broker, "triage").await;
    let mut seen: Vec<Seq> = Vec::new();
    for _ in &items {
        let item = take(&mut living, 3).await;
        item.settle.ack().await;
        seen.push(item.stored.seq);
    }
    seen.sort();
    assert_eq!(seen, items.iter().map(|item| item.seq).collect::<Vec<_>>());
}

/// What it had asked for is asked for no more.
pub async fn a_source_that_is_gone_takes_nothing_more(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let (mut gone, mut staying) = (source(&broker, "triage").await, source(&broker, "triage").await);
    let first = openings(&broker, 1).await;
    assert_is(&take(&mut gone, 5).await, &first[0], 1);
    drop(gone);
    // The broker hears of it with the next thing it is told.
    broker.tick(&orchestration()).await.unwrap();
    let mut late = Chat::unopened(&broker, "late");
    let opened = late.append(late.opening()).await;
    assert_is(&take(&mut staying, 1).await, &opened, 1);
}

/// Two processes of one agent.
pub async fn two_sources_share_without_doubling(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let items = openings(&broker, 40).await;
    let (mut one, mut other) = (source(&broker, "triage").await, source(&broker, "triage").await);
    let mut seen: BTreeMap<Seq, u64> = BTreeMap::new();
    while seen.len() < items.len() {
        let item = within("a work item", async {
            tokio::select! {
                item = one.next(3) => item.unwrap(),
                item = other.next(3) => item.unwrap(),
            }
        });
        let item = item.await;
        assert_eq!(item.delivered, 1);
        *seen.entry(item.stored.seq).or_default() += 1;
        item.settle.ack().await;
    }
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    until("all are acked", async || (in_flight(&broker).await == 0).then_some(())).await;
}

/// The plan's `ack_pending_max`.
pub async fn no_more_is_in_flight_than_the_plan_allows(broker: Shared) {
    broker.provision(&Plan { ack_pending_max: 2, ..plan(LONG) }).await.unwrap();
    let items = openings(&broker, 4).await;
    let mut triage = source(&broker, "triage").await;
    let first = take(&mut triage, 4).await;
    take(&mut triage, 3).await;
    let state = broker.consumer_state(&orchestration(), &agent("triage")).await.unwrap().unwrap();
    assert_eq!((state.ack_pending, state.pending), (2, 2));
    first.settle.ack().await;
    assert_is(&take(&mut triage, 2).await, &items[2], 1);
    assert_eq!(in_flight(&broker).await, 2);
}

/// Passes time until the newest item is older than `age`, and takes it.
async fn take_at(broker: &Shared, age: Duration) -> WorkItem {
    openings(broker, 1).await;
    let stored = Chat::unopened(broker, "c0").tail().await.unwrap();
    let old = stored.time_ms + u64::try_from(age.as_millis()).unwrap() + 100;
    until("the item is old", async || (broker.tick(&orchestration()).await.unwrap() > old).then_some(())).await;
    take(&mut source(broker, "triage").await, 1).await
}

/// Its process may have died with it, and the broker with its count.
pub async fn an_item_older_than_the_ack_wait_says_so(broker: Shared) {
    let half = SHORT / 2;
    let broker = provisioned(broker, half).await;
    let item = take_at(&broker, half).await;
    assert_eq!((item.delivered, item.is_old, item.is_recounted), (1, true, false));
    assert!(item.may_be_stale());
}

/// Longer than a person takes to call it off, however patient the broker is.
pub async fn an_item_that_has_waited_for_a_second_says_so(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let item = take_at(&broker, Duration::from_secs(1)).await;
    assert_eq!((item.delivered, item.is_old, item.is_recounted), (1, true, false));

    let mut triage = source(&broker, "triage").await;
    let mut chat = Chat::unopened(&broker, "c1");
    chat.append(chat.opening()).await;
    let item = take(&mut triage, 1).await;
    assert_eq!((item.delivered, item.is_old, item.is_recounted), (1, false, false));
    assert!(!item.may_be_stale(), "nothing is read for it");
}

/// It counts from one again, also for those who had a source of the old one and have noticed that this is gone.
pub async fn a_consumer_made_anew_says_what_another_may_have_delivered(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut present = source(&broker, "triage").await;
    let items = openings(&broker, 2).await;
    let held = take(&mut present, 1).await;
    assert_eq!((held.delivered, held.is_recounted), (1, false));
    assert!(broker.retire(&orchestration(), &agent("triage")).await.unwrap());
    assert!(matches!(within("an answer", present.next(1)).await, Err(WorkError::NoConsumer { .. })));
    broker.provision(&plan(LONG)).await.unwrap();
    let mut late = source(&broker, "triage").await;
    let again = take(&mut late, 1).await;
    assert_is(&again, &items[0], 1);
    assert!(again.is_recounted && again.may_be_stale());
    let next = until("the other item", async || present.next(1).await.ok()).await;
    assert_is(&next, &items[1], 1);
    assert!(next.is_recounted);
    let mut chat = Chat::unopened(&broker, "new");
    let opened = chat.append(chat.opening()).await;
    let new = until("a new item", async || present.next(1).await.ok()).await;
    assert_is(&new, &opened, 1);
    assert!(!new.may_be_stale(), "nobody else can have it");
}

/// Work appended before the agent's consumer was made waits for it.
pub async fn a_consumer_made_late_begins_with_the_oldest_item(broker: Shared) {
    broker.provision(&Plan { agents: vec![agent("refund")], ..plan(LONG) }).await.unwrap();
    let items = openings(&broker, 2).await;
    let broker = provisioned(broker, LONG).await;
    let mut triage = source(&broker, "triage").await;
    assert_is(&take(&mut triage, 1).await, &items[0], 1);
    assert_is(&take(&mut triage, 1).await, &items[1], 1);
}

/// Whoever makes it knows what was done: nothing of that comes again, and nothing that is or comes later is missing.
pub async fn a_consumer_made_anew_begins_where_its_work_does(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let items = openings(&broker, 4).await;
    let last = items[3].seq.0;
    for (from, expected) in [(last - 1, &items[2..]), (last, &items[3..]), (last + 1, &[])] {
        assert!(broker.retire(&orchestration(), &agent("triage")).await.unwrap());
        let planned = Plan { work_from: [(agent("triage"), Seq(from))].into(), ..plan(LONG) };
        assert_eq!(broker.provision(&planned).await.unwrap().created.len(), 1);
        for plan in [&planned, &plan(LONG)] {
            broker.verify(plan).await.unwrap();
        }
        let begun = broker.consumer_state(&orchestration(), &agent("triage")).await.unwrap().unwrap();
        assert_eq!((begun.delivered.0, begun.pending), (from - 1, expected.len() as u64), "from {from} on");
        let mut triage = source(&broker, "triage").await;
        for item in expected {
            let taken = take(&mut triage, 1).await;
            assert_is(&taken, item, 1);
            assert!(taken.is_recounted);
        }
    }
    let mut triage = source(&broker, "triage").await;
    let mut chat = Chat::unopened(&broker, "later");
    let later = chat.append(chat.opening()).await;
    assert_is(&take(&mut triage, 1).await, &later, 1);
}

/// Erased work is nobody's work.
pub async fn a_purged_item_is_not_delivered(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let items = openings(&broker, 2).await;
    let purged = Chat::unopened(&broker, "c0");
    purged.purge(Seq(items[0].seq.0 + 1)).await;
    assert_is(&take(&mut source(&broker, "triage").await, 2).await, &items[1], 1);
}

/// Nothing was provisioned, or not for this agent.
pub async fn without_a_consumer_there_is_no_work(broker: Shared) {
    async fn error(broker: &Shared) -> WorkError {
        match within("an answer", broker.work(&orchestration(), &agent("nobody"))).await {
            Ok(mut source) => within("an answer", source.next(1)).await.unwrap_err(),
            Err(error) => error,
        }
    }
    for _ in 0..2 {
        let WorkError::NoConsumer { stream, consumer } = error(&broker).await else { panic!("{:?}", error(&broker).await) };
        assert_eq!((stream.as_str(), consumer.as_str()), ("baton-support", "agent-nobody"));
        broker.provision(&plan(LONG)).await.unwrap();
    }
}
