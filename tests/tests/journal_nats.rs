//! What every broker promises, kept by NATS JetStream; and what only a real server and a real network can show.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, where a panic is the failure"
)]

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use journal::nats::{Login, Nats, Settings};
use journal::{
    Append, Bus, Follow, Journal, LoadError, Plan, Provision, ReadError, Refusal, RequestError, Scope, Shared, Start, WorkError, WorkItem,
    WorkSource,
};
use protocol::brief::Fixed;
use protocol::conversation::{Conversation, Draft, Partial, Prepared};
use protocol::entry::Trace;
use protocol::event::{Event, Opened, Said};
use protocol::ids::{AgentName, EntryId, OrchestrationName, Revision, Seq, Writer};
use protocol::subject::{Class, EntrySubject};
use protocol::wire::{Stored, header};
use tests::nats::{Server, cluster_of_three, server, server_with};
use tests::processes::eventually;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

#[path = "journal_nats/asserted.rs"]
mod asserted;
#[path = "journal_nats/claim.rs"]
mod claims;
#[path = "journal_nats/objects.rs"]
mod objects;
#[path = "journal_nats/proxy.rs"]
mod proxy;
use proxy::{Network, Proxy};

async fn fresh() -> (Shared, Server) {
    let server = server().await;
    (Arc::new(connect(server.url()).await), server)
}

journal::contract_tests!(fresh, ());

async fn connect(url: &str) -> Nats {
    Nats::connect(&Settings::new(url, "tests".parse().unwrap())).await.unwrap()
}

fn orchestration() -> OrchestrationName {
    "support".parse().unwrap()
}

fn triage() -> AgentName {
    "triage".parse().unwrap()
}

fn plan() -> Plan {
    Plan::new(orchestration(), vec![triage()])
}

fn draft(class: Class, event: Event) -> Draft {
    Draft {
        class,
        from: Writer::Gateway,
        id: EntryId::from_random(fastrand::u128(..).to_be_bytes()),
        process: "tests".parse().unwrap(),
        revision: Revision::of(b"tests"),
        events: vec![event],
        trace: None,
    }
}

fn unopened(id: &str) -> Conversation {
    Conversation::empty(orchestration(), id.parse().unwrap())
}

/// A work item for triage.
fn opening(id: &str) -> Prepared {
    let to = Class::To { agent: triage(), revision: Revision::of(b"tests") };
    unopened(id).prepare_opening(draft(to, Opened::default().into()), Fixed::default()).unwrap()
}

fn saying(conversation: &Conversation, text: &str) -> Prepared {
    conversation.prepare(draft(Class::In, Said { text: text.to_owned() }.into())).unwrap()
}

/// Appends what must not fail.
async fn append(broker: &impl Journal, prepared: &Prepared) -> Seq {
    match broker.append(prepared).await {
        Append::Appended(seq) => seq,
        other => panic!("{}: {other:?}", prepared.message.subject),
    }
}

async fn opened(broker: &impl Journal, id: &str) -> Conversation {
    let (mut conversation, opening) = (unopened(id), opening(id));
    let seq = append(broker, &opening).await;
    conversation.commit(opening, seq).unwrap();
    conversation
}

/// The entry at an ordinal, as soon as it is there.
async fn stored_at(broker: &impl Journal, conversation: &Conversation, ordinal: u64) -> Stored {
    let look = async {
        loop {
            if let Some(stored) = broker.at(&orchestration(), conversation.id(), ordinal).await.unwrap() {
                return stored;
            }
        }
    };
    timeout(Duration::from_secs(10), look).await.unwrap()
}

fn ordinal(stored: &Stored) -> u64 {
    stored.subject.parse::<EntrySubject>().unwrap().ordinal
}

async fn next(source: &mut Box<dyn WorkSource>, free: usize) -> WorkItem {
    timeout(Duration::from_secs(30), source.next(free)).await.expect("work in time").unwrap()
}

// The unknown outcome.

/// A worker on a network of its own, and the broker as everybody else sees it.
async fn on_a_network(server: &Server) -> (Nats, Nats, Proxy) {
    let direct = connect(server.url()).await;
    direct.provision(&plan()).await.unwrap();
    let proxy = Proxy::to(server.url()).await;
    (direct, connect(&proxy.url).await, proxy)
}

#[tokio::test]
async fn an_append_whose_acknowledgement_is_lost_is_found_again() {
    let server = server().await;
    let (direct, worker, proxy) = on_a_network(&server).await;
    let mut conversation = opened(&worker, "c1").await;
    let said = saying(&conversation, "hello");

    proxy.is(Network::LosesAnswers);
    let appending = tokio::spawn({
        let (worker, said) = (worker.clone(), said.clone());
        async move { worker.append(&said).await }
    });
    let stored = stored_at(&direct, &conversation, 1).await;
    // Others write on meanwhile: its own entry is the tail no longer.
    conversation.commit(said, stored.seq).unwrap();
    append(&direct, &saying(&conversation, "and more")).await;
    proxy.breaks();
    assert_eq!(timeout(Duration::from_secs(10), appending).await.unwrap().unwrap(), Append::Appended(stored.seq));
}

#[tokio::test]
async fn an_append_that_is_lost_and_overtaken_is_fenced() {
    let server = server().await;
    let (direct, worker, proxy) = on_a_network(&server).await;
    let conversation = opened(&worker, "c1").await;

    proxy.is(Network::LosesQuestions);
    let appending = tokio::spawn({
        let (worker, said) = (worker.clone(), saying(&conversation, "mine"));
        async move { worker.append(&said).await }
    });
    let tail = append(&direct, &saying(&conversation, "theirs")).await;
    proxy.breaks();
    assert_eq!(timeout(Duration::from_secs(10), appending).await.unwrap().unwrap(), Append::Fenced { tail });
}

#[tokio::test]
async fn an_append_without_any_broker_is_unknown_and_never_failed() {
    let mut server = server().await;
    let broker = connect(server.url()).await;
    broker.provision(&plan()).await.unwrap();
    let conversation = opened(&broker, "c1").await;
    server.kill().await.unwrap();
    let said = saying(&conversation, "hello");
    let outcome = timeout(Duration::from_secs(10), broker.append(&said)).await.unwrap();
    assert!(matches!(outcome, Append::Unknown(_)), "{outcome:?}");
    server.restart().await.unwrap();
    append(&broker, &said).await;
}

/// Nothing is lost, doubled or fenced off by a broker that dies again and again: a conversation has one writer here.
#[tokio::test]
async fn a_broker_that_dies_loses_nothing_for_writers_followers_and_workers() {
    const ENTRIES: u64 = 300;
    let mut server = server().await;
    let broker = connect(server.url()).await;
    broker.provision(&plan()).await.unwrap();
    let everything = Follow { scope: Scope::All, start: Start::New, bodies: true };
    let mut followed = broker.follow(&orchestration(), everything).await.unwrap();
    let mut source = broker.work(&orchestration(), &triage()).await.unwrap();

    let writer = tokio::spawn({
        let broker = broker.clone();
        async move {
            let mut conversation = opened(&broker, "c1").await;
            while conversation.tail().next < ENTRIES {
                let said = saying(&conversation, "x");
                match broker.append(&said).await {
                    Append::Appended(seq) => conversation.commit(said, seq).unwrap(),
                    Append::Unknown(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            append(&broker, &opening("c2")).await;
        }
    });
    assert_eq!(ordinal(&next(&mut source, 1).await.stored), 0);
    let (mut conversations, mut deaths) = (Vec::new(), 0);
    while conversations.len() as u64 <= ENTRIES {
        let entry = timeout(Duration::from_secs(30), followed.next()).await.expect("entries in time").unwrap().unwrap();
        conversations.push((entry.subject.parse::<EntrySubject>().unwrap().conversation.to_string(), ordinal(&entry)));
        if conversations.len() % 100 == 50 {
            server.restart().await.unwrap();
            deaths += 1;
        }
    }
    writer.await.unwrap();
    let expected = (0..ENTRIES).map(|ordinal| ("c1".to_owned(), ordinal)).chain([("c2".to_owned(), 0)]);
    assert_eq!(conversations, expected.collect::<Vec<_>>());
    assert_eq!(deaths, 3);
    // The first was never settled, so both are still to be worked on.
    let mut conversations = [next(&mut source, 2).await, next(&mut source, 1).await].map(|item| item.stored.subject);
    conversations.sort_unstable();
    assert!(conversations[0].contains(".c1.0.") && conversations[1].contains(".c2.0."), "{conversations:?}");
}

/// Ten entries are lost on their way to a follower, and then `network` happens: it reads them again.
async fn loses_ten_deliveries(network: impl FnOnce(&Proxy)) {
    let server = server().await;
    let (direct, follower, proxy) = on_a_network(&server).await;
    let mut conversation = opened(&direct, "c1").await;
    let one = Follow { scope: Scope::Conversation(conversation.id().clone()), start: Start::First, bodies: false };
    let mut followed = follower.follow(&orchestration(), one).await.unwrap();
    assert_eq!(ordinal(&followed.next().await.unwrap().unwrap()), 0);
    let admin = async_nats::connect(server.url()).await.unwrap();
    let mut delivered = delivered_to_followers(&admin).await;
    assert_eq!(delivered, 1);

    proxy.is(Network::LosesAnswers);
    for _ in 0..10 {
        let said = saying(&conversation, "x");
        let seq = append(&direct, &said).await;
        conversation.commit(said, seq).unwrap();
    }
    while delivered < 11 {
        delivered = delivered_to_followers(&admin).await;
    }
    network(&proxy);
    for expected in 1..=10 {
        let entry = timeout(Duration::from_secs(10), followed.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(ordinal(&entry), expected);
    }
}

async fn delivered_to_followers(admin: &async_nats::Client) -> u64 {
    let stream = async_nats::jetstream::new(admin.clone()).get_stream("baton-support").await.unwrap();
    let consumers: Vec<_> = stream.consumers().try_collect().await.unwrap();
    consumers.iter().filter(|consumer| consumer.name.starts_with("follow-")).map(|consumer| consumer.delivered.consumer_sequence).sum()
}

#[tokio::test]
async fn a_follower_whose_connection_breaks_misses_nothing() {
    loses_ten_deliveries(Proxy::breaks).await;
}

/// The connection lives, and no later entry shows that some are missing.
#[tokio::test]
async fn a_follower_that_misses_the_last_deliveries_notices() {
    loses_ten_deliveries(|proxy| proxy.is(Network::Whole)).await;
}

// Refusals.

#[tokio::test]
async fn what_a_login_may_not_publish_is_refused_at_once() {
    let server = server_with(|config| {
        config.extra = r#"
            authorization { users = [
                { user: admin, password: secret }
                { user: narrow, password: secret, permissions: {
                    publish: ["baton.support.c.*.*.in.gateway", "$JS.API.>"]
                    subscribe: ["_INBOX_tests.>"]
                } }
            ] }"#
            .to_owned();
    })
    .await;
    let login = |user: &str| {
        let login = Login { user: Some(user.to_owned()), password: Some("secret".to_owned()), ..Login::default() };
        Settings { login, ..Settings::new(server.url(), "tests".parse().unwrap()) }
    };
    let admin = Nats::connect(&login("admin")).await.unwrap();
    admin.provision(&plan()).await.unwrap();
    let narrow = Nats::connect(&login("narrow")).await.unwrap();
    let conversation = opened(&admin, "c1").await;
    append(&narrow, &saying(&conversation, "may be said")).await;

    let forbidden = opening("c2");
    let refused = timeout(Duration::from_secs(1), narrow.append(&forbidden)).await.expect("a refusal at once");
    assert_eq!(refused, Append::Refused(Refusal::NotPermitted { subject: forbidden.message.subject.clone() }));
    let asked = timeout(Duration::from_secs(1), narrow.ask("elsewhere", "".into(), Duration::from_secs(5))).await.unwrap();
    assert!(matches!(asked, Err(RequestError::Refused(_))), "{asked:?}");
    let mut listening = narrow.listen("elsewhere", None).await.unwrap();
    assert_eq!(timeout(Duration::from_secs(1), listening.next()).await.unwrap(), None);

    let stranger = Nats::connect(&login("stranger")).await.unwrap_err().to_string();
    assert!(stranger.contains("refuses the login") && stranger.contains("NATS_CREDS"), "{stranger}");
}

#[tokio::test]
async fn headers_larger_than_this_broker_takes_are_refused_before_they_are_sent() {
    let server = server_with(|config| config.max_payload_bytes = 16 * 1024).await;
    let broker = connect(server.url()).await;
    broker.provision(&plan()).await.unwrap();
    let conversation = opened(&broker, "c1").await;
    let generation = broker.connection().borrow().generation;
    // What is in no payload can be put nowhere else.
    let trace = Trace { parent: "00-1-1-01".to_owned(), state: Some("x".repeat(16 * 1024)) };
    let said = draft(Class::In, Said { text: "x".repeat(64 * 1024) }.into());
    let said = conversation.prepare(Draft { trace: Some(trace), ..said }).unwrap();
    match broker.append(&said).await {
        Append::Refused(Refusal::TooLarge { bytes, bytes_max }) => assert!(bytes > bytes_max && bytes_max == 16 * 1024),
        other => panic!("{other:?}"),
    }
    append(&broker, &saying(&conversation, "smaller")).await;
    assert_eq!(broker.connection().borrow().generation, generation, "and the connection has not suffered");
}

// Work.

#[tokio::test]
async fn a_worker_of_a_deleted_consumer_is_told_and_goes_on_when_there_is_one_again() {
    let server = server().await;
    let broker = connect(server.url()).await;
    broker.provision(&plan()).await.unwrap();
    let mut source = broker.work(&orchestration(), &triage()).await.unwrap();
    append(&broker, &opening("c1")).await;
    next(&mut source, 1).await.settle.ack().await;

    let waiting = tokio::spawn(async move { (source.next(4).await.unwrap_err(), source) });
    let admin = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let stream = admin.get_stream("baton-support").await.unwrap();
    stream.delete_consumer("agent-triage").await.unwrap();
    let (error, mut source) = timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert!(matches!(&error, WorkError::NoConsumer { consumer, .. } if consumer == "agent-triage"), "{error:?}");
    assert!(matches!(source.next(4).await, Err(WorkError::NoConsumer { .. })), "it is told again, and not in a hot loop");

    broker.provision(&plan()).await.unwrap();
    let item = loop {
        match source.next(4).await {
            Ok(item) => break item,
            Err(WorkError::NoConsumer { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    };
    assert_eq!((ordinal(&item.stored), item.delivered), (0, 1), "a consumer made anew begins with the oldest item");
}

/// A broker that was killed may have forgotten what it had delivered, and delivers it as if for the first time.
#[tokio::test]
async fn an_item_from_before_its_broker_died_says_that_its_count_may_have_begun_anew() {
    let mut server = server().await;
    let broker = connect(server.url()).await;
    broker.provision(&plan()).await.unwrap();
    let mut source = broker.work(&orchestration(), &triage()).await.unwrap();
    append(&broker, &opening("c1")).await;
    let first = next(&mut source, 1).await;
    assert!(first.delivered == 1 && !first.is_recounted, "{first:?}");
    first.settle.ack().await;
    append(&broker, &opening("c2")).await;
    let held = next(&mut source, 1).await;
    assert!(held.stored.subject.contains(".c2.") && held.delivered == 1 && !held.is_recounted, "{held:?}");
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let again = loop {
        match source.next(1).await {
            Ok(item) if item.stored.subject.contains(".c2.") => break item,
            // The acknowledgement may have died with it.
            Ok(again) => assert!(again.is_recounted, "{again:?}"),
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert!(again.is_recounted, "whatever it is counted as: {again:?}");
    append(&broker, &opening("c3")).await;
    let fresh = next(&mut source, 1).await;
    assert!(fresh.stored.subject.contains(".c3.") && !fresh.is_recounted, "{fresh:?}");
}

/// A process that freezes leaves its orders behind: while they stand, the broker gives it every second item.
#[tokio::test]
async fn what_a_frozen_worker_has_ordered_ends_before_the_first_ack_wait_does() {
    let server = server().await;
    let broker = connect(server.url()).await;
    broker.provision(&plan()).await.unwrap();
    let mut source = broker.work(&orchestration(), &triage()).await.unwrap();
    append(&broker, &opening("c1")).await;
    next(&mut source, 4).await.settle.ack().await;
    assert!(timeout(Duration::ZERO, source.next(4)).await.is_err(), "there is nothing else");

    // From here on nobody waits at the source, as in a process that is stopped.
    let admin = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let stream = admin.get_stream("baton-support").await.unwrap();
    let ended = eventually("the end of the order", async || {
        let consumer = stream.consumer_info("agent-triage").await.unwrap();
        (consumer.num_waiting == 0).then_some(())
    });
    timeout(plan().ack_wait, ended).await.expect("an order that has ended");
}

/// A worker with 64 slots and more to do than it can: what it asks the broker for beside deliveries and acknowledgements.
#[tokio::test]
async fn a_busy_worker_pulls_less_than_once_in_ten_items() {
    const ITEMS: usize = 2_000;
    const SLOTS: usize = 64;
    let server = server().await;
    let broker = connect(server.url()).await;
    broker.provision(&plan()).await.unwrap();
    let observer = async_nats::connect(server.url()).await.unwrap();
    let mut questions = observer.subscribe("$JS.API.>").await.unwrap();
    observer.flush().await.unwrap();
    let mut opening_all = JoinSet::new();
    for number in 0..ITEMS {
        let broker = broker.clone();
        opening_all.spawn(async move { append(&broker, &opening(&format!("c{number}"))).await });
    }
    opening_all.join_all().await;

    let mut source = broker.work(&orchestration(), &triage()).await.unwrap();
    let (mut working, mut done) = (JoinSet::new(), 0);
    while done < ITEMS {
        let free = SLOTS - working.len();
        tokio::select! {
            item = source.next(free.max(1)), if free > 0 => {
                let (item, broker) = (item.unwrap(), broker.clone());
                assert!(working.len() < SLOTS);
                working.spawn(async move {
                    let conversation = Partial::decode(&item.stored).unwrap().complete(&[]).unwrap();
                    append(&broker, &saying(&conversation, "done")).await;
                    item.settle.ack().await;
                    item.delivered
                });
            }
            delivered = working.join_next(), if !working.is_empty() => {
                assert_eq!(delivered.unwrap().unwrap(), 1);
                done += 1;
            }
        }
    }
    source.close().await;
    // Whatever was asked has reached the observer before this has.
    observer.publish("$JS.API.END", "".into()).await.unwrap();
    let (mut pulls, mut infos) = (0, 0);
    while let Some(question) = timeout(Duration::from_secs(5), questions.next()).await.unwrap() {
        match question.subject.as_str() {
            "$JS.API.END" => break,
            subject if subject.contains("CONSUMER.MSG.NEXT") => pulls += 1,
            subject if subject.contains("CONSUMER.INFO") => infos += 1,
            _ => {}
        }
    }
    assert!(pulls > 0 && pulls * 10 <= ITEMS, "{pulls} pulls for {ITEMS} items");
    assert_eq!(infos, 1);
}

// Provisioning.

#[tokio::test]
async fn what_is_durable_is_seen_where_it_may_be_seen_and_vouched_for_where_not() {
    const SHOWN: &str = r#"
        accounts {
            SYS: { users: [{ user: sys, password: secret }], exports: [{ service: "$SYS.REQ.SERVER.PING.JSZ", response_type: stream }] }
            APP: { jetstream: enabled, users: [{ user: app, password: secret }], imports: [{ service: { account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ" } }] }
        }
        system_account: SYS"#;
    let hidden = server().await;
    let settings = Settings::new(hidden.url(), "tests".parse().unwrap());
    let provisioned = Nats::connect(&settings).await.unwrap().provision(&plan()).await.unwrap();
    assert!(!provisioned.is_durable && provisioned.warnings[0].contains("BATON_NATS_SYNCED=true"), "{provisioned:?}");
    let vouched = Settings { is_synced: true, ..settings };
    assert!(Nats::connect(&vouched).await.unwrap().verify(&plan()).await.unwrap().is_durable);
    drop(hidden);

    let shown = server_with(|config| config.extra = SHOWN.to_owned()).await;
    let login = Login { user: Some("app".to_owned()), password: Some("secret".to_owned()), ..Login::default() };
    let settings = Settings { login, ..Settings::new(shown.url(), "tests".parse().unwrap()) };
    let provisioned = Nats::connect(&settings).await.unwrap().provision(&plan()).await.unwrap();
    assert!(!provisioned.is_durable && provisioned.warnings[0].contains("only now and then"), "{provisioned:?}");
}

// A cluster.

/// Four writers of one conversation, on a cluster whose leader is killed under them. Every one of them learns the truth
/// about each of its entries: the journal holds what was reported as appended, once, and nothing else.
#[tokio::test]
async fn racing_writers_of_a_cluster_that_loses_its_leader_all_learn_the_truth() {
    const ENTRIES: u64 = 200;
    let mut cluster = cluster_of_three().await;
    let url = cluster.urls().join(",");
    let broker = connect(&url).await;
    broker.provision(&Plan { replicas: 3, ..plan() }).await.unwrap();
    let conversation = opened(&broker, "c1").await;
    let everything = Follow { scope: Scope::All, start: Start::First, bodies: true };
    let mut followed = broker.follow(&orchestration(), everything).await.unwrap();

    let mut writers = JoinSet::new();
    for _ in 0..4 {
        let (writer, conversation) = (connect(&url).await, conversation.clone());
        writers.spawn(async move { write_until(&writer, conversation, ENTRIES).await });
    }
    let admin = async_nats::jetstream::new(async_nats::connect(cluster.urls()).await.unwrap());
    let (mut entries, mut stall) = (Vec::new(), Duration::ZERO);
    while (entries.len() as u64) < ENTRIES {
        if entries.len() == 50 {
            let leader = admin.get_stream("baton-support").await.unwrap().get_info().await.unwrap().cluster.unwrap().leader.unwrap();
            let leader: usize = leader.trim_start_matches('n').parse().unwrap();
            cluster.nodes[leader].kill().await.unwrap();
        }
        let waiting = Instant::now();
        entries.push(timeout(Duration::from_secs(60), followed.next()).await.expect("entries in time").unwrap().unwrap());
        stall = stall.max(waiting.elapsed());
    }
    assert!(stall < Duration::from_secs(20), "the longest stall was {stall:?}");
    let mut appended: Vec<(Seq, EntryId)> = writers.join_all().await.into_iter().flatten().collect();
    appended.sort_unstable();
    let ordinals: Vec<u64> = entries.iter().map(ordinal).collect();
    assert_eq!(ordinals, (0..ENTRIES).collect::<Vec<_>>());
    let stored = entries.iter().skip(1).map(|entry| (entry.seq, entry.headers.get(header::ID).unwrap().parse().unwrap()));
    assert_eq!(appended, stored.collect::<Vec<_>>());
}

/// Says things until the conversation has so many entries; what of it is this writer's own.
async fn write_until(broker: &Nats, mut conversation: Conversation, entries: u64) -> Vec<(Seq, EntryId)> {
    let mut own = Vec::new();
    while conversation.tail().next < entries {
        let said = saying(&conversation, "x");
        let outcome = loop {
            match broker.append(&said).await {
                Append::Unknown(_) => {}
                outcome => break outcome,
            }
        };
        match outcome {
            Append::Appended(seq) => {
                own.push((seq, said.id()));
                conversation.commit(said, seq).unwrap();
            }
            Append::Fenced { tail } => conversation = loaded(broker, &conversation, tail).await,
            other => panic!("{other:?}"),
        }
    }
    own
}

/// The conversation once a reader has reached `tail`; replicas may lag.
async fn loaded(broker: &Nats, conversation: &Conversation, tail: Seq) -> Conversation {
    loop {
        match journal::load(broker, &orchestration(), conversation.id()).await {
            Ok(Some(loaded)) if journal::has_reached(&loaded, tail) => return loaded,
            Ok(_) | Err(LoadError::Read(ReadError::Unavailable(_))) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
