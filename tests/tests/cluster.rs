//! Three servers, three replicas: the fence holds whoever leads, and a conversation goes on whoever dies.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests, where a panic is the failure")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{Opening, Outcome};
use coordinator::{Config, Coordinator, Served};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use journal::nats::{Nats, Settings};
use journal::{Append, Journal, Plan, Provision, ProvisionError, ReadError};
use protocol::brief::Fixed;
use protocol::builder::AgentDef;
use protocol::conversation::{Conversation, Draft, Prepared};
use protocol::event::{Event, Opened, Said};
use protocol::ids::{AgentName, EntryId, OrchestrationName, Revision, Seq, Writer};
use protocol::manifest::{ModelSpec, Provider};
use protocol::orchestration::Orchestration;
use protocol::subject::Class;
use serde_json::Value as Json;
use tests::in_process::{Programs, Talk, client, connect, load, replies, support, talk};
use tests::lab::broker::{Broker, leader};
use tests::nats::{Cluster, cluster_of_three};
use tests::processes::{PATIENCE, eventually};
use tests::service::Service;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

const WRITERS: usize = 4;
const ROUNDS: usize = 200;
/// Rounds between two leaders, where they step down.
const REIGN: usize = 10;

fn orchestration() -> OrchestrationName {
    "support".parse().unwrap()
}

fn triage() -> AgentName {
    "triage".parse().unwrap()
}

fn settings(cluster: &Cluster, process: &str) -> Settings {
    Settings::new(cluster.urls().join(","), process.parse().unwrap())
}

// Provisioning.

/// Two coordinators of a new orchestration usually begin at the same moment, soon after the cluster itself. What has just been made is not
/// seen everywhere for a while: nobody gives up for that.
#[tokio::test]
async fn those_who_provision_a_new_cluster_at_once_all_find_it_as_it_must_be() {
    for _ in 0..3 {
        let cluster = cluster_of_three().await;
        let mut brokers = Vec::new();
        for number in 0..2 {
            brokers.push(Nats::connect(&settings(&cluster, &format!("coordinator-{number}"))).await.unwrap());
        }
        let plan = Plan { replicas: 3, ..Plan::new(orchestration(), vec![triage(), "refund".parse().unwrap()]) };
        let provisioned = join_all(brokers.iter().map(|broker| provision(broker, &plan))).await;
        let created: usize = provisioned.into_iter().sum();
        assert!(created >= 7, "five streams and two consumers were made, by whomever: {created}");
    }
}

/// Provisions as a coordinator does, as long as the broker is merely away; how many things it made.
async fn provision(broker: &Nats, plan: &Plan) -> usize {
    let done = async {
        loop {
            match broker.provision(plan).await {
                Ok(provisioned) => return provisioned.created.len(),
                Err(ProvisionError::Unavailable(_)) => {}
                Err(error) => panic!("{}: {error}", plan.orchestration),
            }
        }
    };
    timeout(PATIENCE, done).await.expect("provisioning that ends")
}

// Racing writers.

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

/// Appends until it is known what became of it, as every program does.
async fn append(writer: &Nats, prepared: &Prepared) -> Append {
    let known = async {
        loop {
            match writer.append(prepared).await {
                Append::Unknown(_) => {}
                known => return known,
            }
        }
    };
    timeout(PATIENCE, known).await.expect("an append whose outcome becomes known")
}

/// A conversation that has begun, and those who will write into it.
async fn race(cluster: &Cluster, id: &str) -> (Vec<Nats>, Conversation) {
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        writers.push(Nats::connect(&settings(cluster, &format!("writer-{number}"))).await.unwrap());
    }
    provision(&writers[0], &Plan { replicas: 3, ..Plan::new(orchestration(), vec![triage()]) }).await;
    let mut conversation = Conversation::empty(orchestration(), id.parse().unwrap());
    let to = Class::To { agent: triage(), revision: Revision::of(b"tests") };
    let opening = conversation.prepare_opening(draft(to, Opened::default().into()), Fixed::default()).unwrap();
    let Append::Appended(seq) = append(&writers[0], &opening).await else { panic!("the opening is not stored") };
    conversation.commit(opening, seq).unwrap();
    (writers, conversation)
}

/// All write behind the same tail; exactly one wins, and the others are told where the winner's entry is.
async fn round(writers: &[Nats], conversation: &mut Conversation, number: usize) {
    let prepare =
        |writer: usize| conversation.prepare(draft(Class::In, Said { text: format!("{writer} in round {number}") }.into())).unwrap();
    let prepared: Vec<Prepared> = (0..writers.len()).map(prepare).collect();
    let appended = join_all(writers.iter().zip(&prepared).map(|(writer, prepared)| append(writer, prepared))).await;
    let winners: Vec<(usize, Seq)> = appended
        .iter()
        .enumerate()
        .filter_map(|(writer, append)| match append {
            Append::Appended(seq) => Some((writer, *seq)),
            _ => None,
        })
        .collect();
    let [(winner, seq)] = winners[..] else { panic!("round {number}: not one winner: {appended:?}") };
    let losers = appended.iter().filter(|append| **append == Append::Fenced { tail: seq }).count();
    assert_eq!(losers, WRITERS - 1, "round {number}: the losers are not told {seq}: {appended:?}");
    conversation.commit(prepared.into_iter().nth(winner).unwrap(), seq).unwrap();
}

/// Whoever reads the journal finds the winners' entries, in order, and nothing else.
async fn check(reader: &Nats, winners: &Conversation) {
    let loaded = async {
        loop {
            let loaded = journal::load(reader, winners.orchestration(), winners.id()).await.unwrap().unwrap();
            // A replica may lag.
            if loaded.tail().seq >= winners.tail().seq {
                return loaded;
            }
        }
    };
    let loaded = timeout(PATIENCE, loaded).await.unwrap();
    let entries = |conversation: &Conversation| conversation.entries().iter().map(|entry| (entry.seq, entry.head.id)).collect::<Vec<_>>();
    assert_eq!(entries(&loaded), entries(winners));
    assert_eq!(loaded.verify(), Ok(()));
}

#[tokio::test]
async fn of_four_racing_writers_exactly_one_wins_whoever_leads() {
    let began = Instant::now();
    let cluster = cluster_of_three().await;
    let started = began.elapsed();
    let (writers, mut calm) = race(&cluster, "calm").await;
    for number in 0..ROUNDS {
        round(&writers, &mut calm, number).await;
    }
    check(&writers[1], &calm).await;
    let calm_took = began.elapsed() - started;

    let (_, mut disturbed) = race(&cluster, "disturbed").await;
    let admin = async_nats::connect(cluster.urls()).await.unwrap();
    let mut deposed = 0;
    for number in 0..ROUNDS {
        if number % REIGN == 0 {
            let (_, stepped_down) =
                tokio::join!(round(&writers, &mut disturbed, number), step_down(&admin, "STREAM.LEADER.STEPDOWN.baton-support"));
            deposed += usize::from(stepped_down);
        } else {
            round(&writers, &mut disturbed, number).await;
        }
    }
    check(&writers[2], &disturbed).await;
    assert!(deposed * 2 >= ROUNDS / REIGN, "only {deposed} leaders have stepped down");
    let took = began.elapsed();
    println!(
        "cluster up in {started:?}; {ROUNDS} rounds in {calm_took:?}; {ROUNDS} with {deposed} step-downs in {:?}",
        took - calm_took - started
    );
}

/// A node that is cut off from the others keeps its clients, and nothing that they write is stored: they leave it.
#[tokio::test]
async fn whoever_is_connected_to_a_node_that_is_cut_off_writes_through_another() {
    let broker = Broker::three().await;
    let Broker::Three(cluster, _) = &broker else { panic!("three nodes") };
    let (writers, mut conversation) = race(cluster, "cut-off").await;
    round(&writers, &mut conversation, 0).await;
    let mut crowded = (0, 0);
    for node in 0..broker.nodes() {
        crowded = crowded.max((broker.connections(node).await, node));
    }
    broker.cut_off(crowded.1, true);
    round(&writers, &mut conversation, 1).await;
    check(&writers[0], &conversation).await;
    assert_eq!(broker.connections(crowded.1).await, 0, "of {} somebody is still there", crowded.0);
}

/// A leader that is cut off does not know for up to ten seconds that there is another one. What has been stored since is unknown to it, which
/// is no reason to tell anybody that it is not there.
#[tokio::test]
async fn a_leader_that_is_cut_off_denies_nothing() {
    let broker = Broker::three().await;
    let Broker::Three(cluster, _) = &broker else { panic!("three nodes") };
    let (writers, mut conversation) = race(cluster, "denied").await;
    let leads = leader(&broker.operator(None).await, "baton-support").await;
    // With no other address it stays where it is.
    let reader = Nats::connect(&Settings::new(cluster.nodes[leads].url(), "reader-1".parse().unwrap())).await.unwrap();
    broker.cut_off(leads, true);
    let next = conversation.tail().next;
    round(&writers, &mut conversation, 0).await;
    let denied = async {
        loop {
            match reader.at(conversation.orchestration(), conversation.id(), next).await {
                Err(ReadError::Unavailable(why)) if why.contains("temporarily unavailable") => return,
                answer => assert!(!matches!(answer, Ok(None)), "the entry is stored"),
            }
        }
    };
    timeout(PATIENCE, denied).await.expect("it notices that it does not lead");
}

/// What a leader takes that has just lost its followers may be stored or not, once they are back: it is unknown, and not erased.
#[tokio::test]
async fn an_opening_that_is_left_without_a_quorum_is_unknown_and_never_gone() {
    let mut cluster = cluster_of_three().await;
    let (_, other) = race(&cluster, "other").await;
    let admin = async_nats::connect(cluster.urls()).await.unwrap();
    let leads = leader(&admin, "baton-support").await;
    let writer = Nats::connect(&Settings::new(cluster.nodes[leads].url(), "writer-1".parse().unwrap())).await.unwrap();
    for follower in (0..3).filter(|node| *node != leads) {
        cluster.nodes[follower].kill().await.unwrap();
    }
    let conversation = Conversation::empty(other.orchestration().clone(), "left".parse().unwrap());
    let to = Class::To { agent: triage(), revision: Revision::of(b"tests") };
    let opening = conversation.prepare_opening(draft(to, Opened::default().into()), Fixed::default()).unwrap();
    assert!(matches!(writer.append(&opening).await, Append::Unknown(_)));
}

/// Asks a leader to step down; whether there was one that did.
async fn step_down(admin: &async_nats::Client, verb: &str) -> bool {
    let answer = admin.request(format!("$JS.API.{verb}"), "".into()).await;
    let answer: Option<Json> = answer.ok().and_then(|answer| serde_json::from_slice(&answer.payload).ok());
    answer.is_some_and(|answer| answer["success"] == true)
}

// A conversation.

const AGENTS: [&str; 4] = ["triage", "refund", "order-status", "order-return"];

/// What happens to the cluster while the person's answers are given.
struct Trouble {
    cluster: Mutex<Cluster>,
    admin: async_nats::Client,
    killed: Mutex<Option<usize>>,
    under_way: Mutex<JoinSet<()>>,
}

impl Trouble {
    /// Begins what happens with the `number`-th answer, and does not wait for it.
    fn begin(self: &Arc<Self>, number: usize) -> BoxFuture<'static, ()> {
        let trouble = self.clone();
        async move {
            let during = trouble.clone();
            trouble.under_way.lock().await.spawn(async move {
                match number {
                    1 => during.kill_the_leader().await,
                    3 => during.restart().await,
                    _ => during.step_down().await,
                }
            });
        }
        .boxed()
    }

    async fn step_down(&self) {
        let consumers = AGENTS.map(|agent| format!("CONSUMER.LEADER.STEPDOWN.baton-support.agent-{agent}"));
        let verbs = consumers.into_iter().chain(["STREAM.LEADER.STEPDOWN.baton-support".to_owned()]);
        join_all(verbs.map(async |verb| step_down(&self.admin, &verb).await)).await;
    }

    async fn kill_the_leader(&self) {
        let leader = self.leader().await;
        let mut cluster = self.cluster.lock().await;
        cluster.nodes[leader].kill().await.unwrap();
        *self.killed.lock().await = Some(leader);
    }

    async fn restart(&self) {
        let killed = self.killed.lock().await.take().expect("a node was killed");
        self.cluster.lock().await.nodes[killed].restart().await.unwrap();
    }

    /// The node that leads the journal's stream; there is one sooner or later.
    async fn leader(&self) -> usize {
        let look = async {
            let mut again = interval(Duration::from_millis(50));
            loop {
                again.tick().await;
                let Ok(answer) = self.admin.request("$JS.API.STREAM.INFO.baton-support", "".into()).await else { continue };
                let info: Json = serde_json::from_slice(&answer.payload).unwrap();
                // Nodes are called n0, n1, n2.
                if let Some(number) = info["cluster"]["leader"].as_str().and_then(|name| name.strip_prefix('n')?.parse().ok()) {
                    return number;
                }
            }
        };
        timeout(PATIENCE, look).await.expect("a stream with a leader")
    }
}

#[tokio::test]
async fn a_conversation_survives_step_downs_and_the_death_of_a_node() {
    let cluster = cluster_of_three().await;
    let mut programs = Programs::of(support());
    programs.coordinator(&settings(&cluster, "coordinator-1"), 3).await;
    for agent in AGENTS {
        programs.worker(&settings(&cluster, &format!("{agent}-1")), agent).await;
    }
    let client = client(&settings(&cluster, "caller-1"), &orchestration()).await;
    let admin = async_nats::connect(cluster.urls()).await.unwrap();

    let began = Instant::now();
    let calm = talk(&client, replies(), |_| async {}.boxed()).await;
    let calm_took = began.elapsed();
    check_talk(&calm);

    let cluster = Mutex::new(cluster);
    let trouble = Arc::new(Trouble { cluster, admin, killed: Mutex::default(), under_way: Mutex::default() });
    let began = Instant::now();
    let causing = trouble.clone();
    let disturbed = talk(&client, replies(), move |number| causing.begin(number)).await;
    println!("a conversation in {calm_took:?}, and with step-downs, a death and a return in {:?}", began.elapsed());
    check_talk(&disturbed);
    // People see the same conversation.
    assert_eq!((&disturbed.said, &disturbed.outcome), (&calm.said, &calm.outcome));

    let mut under_way = std::mem::take(&mut *trouble.under_way.lock().await);
    while let Some(ended) = under_way.join_next().await {
        ended.unwrap();
    }
    trouble.cluster.lock().await.settled().await;
    programs.stop().await;
}

fn check_talk(talk: &Talk) {
    assert!(matches!(talk.outcome, Outcome::Completed(_)), "{}", talk.outcome);
    assert_eq!(talk.conversation.verify(), Ok(()));
    // The one call with an effect has run once, as far as anybody can tell.
    let returned = talk
        .conversation
        .events()
        .filter(|(_, (_, event))| matches!(event, Event::Returned(returned) if returned.tool == "process_return"));
    assert_eq!(returned.count(), 1);
}

/// A node that dies takes its clients' voices along: whoever works on goes on with it, once it is heard through a node again.
#[tokio::test]
async fn the_death_of_a_node_is_not_that_of_the_workers_connected_to_it() {
    let mut cluster = cluster_of_three().await;
    let mut service = Service::start().await;
    let model = ModelSpec { base_url: Some(format!("{}/v1", service.url())), retries: Some(0), ..ModelSpec::openai("test") };
    let model = ModelSpec { provider: Provider::Compatible, ..model };
    let agent = AgentDef::new("triage").description("Helps.").instructions("Help.");
    let definition =
        Orchestration::builder("support").model("default", model).agent(&agent).start_with(&agent).build().unwrap().orchestration;
    let admin = async_nats::connect(cluster.urls()).await.unwrap();
    let at = |cluster: &Cluster, node: usize, process: &str| Settings::new(cluster.nodes[node].url(), process.parse().unwrap());

    // However slow this machine is, nobody can be expected to be back within so much.
    let served = vec![Served::Definition(Box::new(definition.clone()))];
    let config = Config { replicas: 3, reconnect_pause_max: Duration::from_mins(2), ..Config::new(served) };
    let broker = connect(&at(&cluster, 0, "coordinator-1")).await;
    let coordinator = Coordinator::new(broker, "coordinator-1".parse().unwrap(), config);
    let (mut ready, stop) = (coordinator.ready(), CancellationToken::new());
    let coordinating = tokio::spawn(coordinator.run(stop.clone()));
    timeout(PATIENCE, ready.wait_for(|ready| *ready)).await.unwrap().unwrap();

    // What tells the coordinator of the work that was delivered goes on.
    let leaders = [leads(&admin, "STREAM.INFO.baton-support").await, leads(&admin, "CONSUMER.INFO.baton-support.agent-triage").await];
    let dies = (1..3).find(|node| !leaders.contains(node)).unwrap_or(1);
    let mut programs = Programs::of(definition);
    programs.worker(&at(&cluster, dies, "triage-1"), "triage").await;
    let client = client(&at(&cluster, 0, "caller-1"), &orchestration()).await;
    let heard_through = async || client.status().await.ok().map(|status| status.workers.first().and_then(|beat| beat.server.clone()));
    let conversation = client.start(&Opening::new("tests", "Help!")).await.unwrap().conversation;
    let asked = service.next().await;
    eventually("the worker to be heard", async || heard_through().await.flatten().filter(|server| *server == format!("n{dies}"))).await;

    cluster.nodes[dies].kill().await.unwrap();
    eventually("silence", async || heard_through().await.filter(Option::is_none)).await;
    cluster.nodes[dies].restart().await.unwrap();
    eventually("the worker to be heard again", async || heard_through().await.flatten()).await;
    asked.say("Here you are.");
    // Where the node took longer to be back than a worker may be silent, its item was delivered to it again, and it asks again.
    let answering = async {
        loop {
            service.next().await.say("Here you are.");
        }
    };
    let outcome = tokio::select! {
        outcome = client.result(&conversation, Some(PATIENCE)) => outcome.unwrap(),
        () = answering => unreachable!("as long as anybody asks"),
    };
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome}");
    let kinds: Vec<_> = load(&client, &conversation).await.entries().iter().map(|entry| entry.head.kind.clone()).collect();
    assert!(!kinds.contains(&"redispatched".to_owned()), "{kinds:?}");
    programs.stop().await;
    stop.cancel();
    coordinating.await.unwrap().unwrap();
}

/// The number of the node that leads a stream or a consumer.
async fn leads(admin: &async_nats::Client, info: &str) -> usize {
    eventually(info, async || {
        let answer = admin.request(format!("$JS.API.{info}"), "".into()).await.ok()?;
        let info: Json = serde_json::from_slice(&answer.payload).ok()?;
        info["cluster"]["leader"].as_str()?.strip_prefix('n')?.parse().ok()
    })
    .await
}
