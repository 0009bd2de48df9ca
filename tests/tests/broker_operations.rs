//! What a handoff costs the broker: counted by what is said on the wire, and by the server's own statistics.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests, where a panic is the failure")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use client::{Opening, Outcome};
use journal::nats::Settings;
use protocol::builder::AgentDef;
use protocol::event::failure;
use protocol::manifest::{LimitsSpec, ModelSpec};
use protocol::orchestration::{Orchestration, ScriptLine};
use serde_json::Value as Json;
use tests::in_process::{Programs, client, load};
use tests::nats::{Server, server};
use tests::processes::PATIENCE;
use tokio::time::{interval, timeout};

#[path = "broker_operations/tap.rs"]
mod tap;
use tap::{Tally, Tap, What};

const SHORT: u32 = 200;
const LONG: u32 = 400;

/// One worker for each agent, named after it.
const WORKERS: [&str; 2] = ["ping", "pong"];
const COORDINATOR: &str = "coordinator-1";
const CALLER: &str = "caller-1";

const SENT: [What; 8] = [What::Publish, What::Ack, What::Extend, What::GiveBack, What::Pull, What::Read, What::Api, What::Beat];
const RECEIVED: [What; 3] = [What::Delivery, What::Answer, What::Status];

/// Two agents that hand over to each other until the limit ends it.
fn orchestration(handoffs: u32) -> Orchestration {
    let transfer = |from: &str, to: &str| ScriptLine { agent: Some(from.into()), transfer: Some(to.into()), ..ScriptLine::default() };
    let agent = |name: &str| AgentDef::new(name).description("Plays.").instructions("Return the ball.");
    let limits = LimitsSpec { handoffs_per_user_turn: Some(handoffs), ..LimitsSpec::default() };
    let builder =
        Orchestration::builder("rally").model("default", ModelSpec::scripted([transfer("ping", "pong"), transfer("pong", "ping")]));
    builder.agents([&agent("ping"), &agent("pong")]).start_with("ping").mesh().limits(limits).build().unwrap().orchestration
}

/// What a connection has sent and received, in the server's own words.
#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
}

async fn connections(server: &Server) -> BTreeMap<String, Connection> {
    let connz = server.monitor("/connz?limit=1024").await.unwrap();
    let number = |connection: &Json, key: &str| connection[key].as_u64().unwrap();
    let connection = |connection: &Json| Connection {
        in_msgs: number(connection, "in_msgs"),
        out_msgs: number(connection, "out_msgs"),
        in_bytes: number(connection, "in_bytes"),
        out_bytes: number(connection, "out_bytes"),
    };
    let connections = connz["connections"].as_array().unwrap();
    connections.iter().map(|found| (found["name"].as_str().unwrap_or_default().to_owned(), connection(found))).collect()
}

/// What a conversation with so many handoffs has cost.
struct Cost {
    /// What was said from when everybody was ready.
    steady: Tally,
    /// What the server counted, from the beginning.
    connections: BTreeMap<String, Connection>,
    time: Duration,
}

impl Cost {
    /// What both workers together sent or received.
    fn workers(&self, what: What) -> u64 {
        WORKERS.iter().map(|worker| self.steady.of(worker, what).messages).sum()
    }

    /// Bytes of both workers' connections.
    fn bytes(&self) -> [u64; 2] {
        let sum = |bytes: fn(&Connection) -> u64| WORKERS.iter().map(|worker| bytes(&self.connections[*worker])).sum();
        [sum(|connection| connection.in_bytes), sum(|connection| connection.out_bytes)]
    }
}

/// Plays a conversation of `handoffs` handoffs on a server of its own.
async fn rally(handoffs: u32) -> Cost {
    let server = server().await;
    let tap = Tap::open(server.url(), &[WORKERS[0], WORKERS[1], COORDINATOR, CALLER]).await;
    let settings = |process: &str| Settings::new(server.url(), process.parse().unwrap());
    let mut programs = Programs::of(orchestration(handoffs));
    programs.coordinator(&settings(COORDINATOR), 1).await;
    for agent in WORKERS {
        programs.worker(&settings(agent), agent).await;
    }
    let client = client(&settings(CALLER), &"rally".parse().unwrap()).await;
    let ready = tap.tally();

    let began = Instant::now();
    let started = client.start(&Opening::new("tests", "Serve!")).await.unwrap();
    let outcome = client.result(&started.conversation, Some(PATIENCE)).await.unwrap();
    let time = began.elapsed();
    assert!(matches!(&outcome, Outcome::Failed(failed) if failed.code == failure::HANDOFF_LIMIT), "{outcome}");
    let conversation = load(&client, &started.conversation).await;
    assert_eq!(conversation.verify(), Ok(()));
    // The opening, the handoffs, the end.
    assert_eq!(conversation.entries().len() as u32, handoffs + 2);

    let (all, connections) = settled(&server, &tap, u64::from(handoffs) + 1).await;
    check_consumers(&server, started.conversation.as_str(), u64::from(handoffs) + 1).await;
    programs.stop().await;
    Cost { steady: all.since(&ready), connections, time }
}

/// Waits until every work item is acked, and until what was heard on the wire is all that the server counted for the
/// workers' connections: nothing they do escapes these tests.
async fn settled(server: &Server, tap: &Tap, items: u64) -> (Tally, BTreeMap<String, Connection>) {
    let mut last = None;
    let settled = async {
        let mut again = interval(Duration::from_millis(10));
        loop {
            again.tick().await;
            let before = tap.tally();
            let connections = connections(server).await;
            let tally = tap.tally();
            let acks: u64 = WORKERS.iter().map(|worker| tally.of(worker, What::Ack).messages).sum();
            let agrees = |worker: &&str| {
                let Connection { in_msgs, out_msgs, .. } = connections[*worker];
                [&before, &tally]
                    .iter()
                    .all(|tally| tally.messages(worker, &SENT) == in_msgs && tally.messages(worker, &RECEIVED) == out_msgs)
            };
            if acks == items && WORKERS.iter().all(agrees) {
                return (tally, connections);
            }
            last = Some((tally, connections));
        }
    };
    let settled = timeout(PATIENCE, settled).await.ok();
    settled.unwrap_or_else(|| panic!("not everything that the server counted was heard, or not all was acked: {last:?}"))
}

/// Each work item was delivered once and acked once; followers acknowledge nothing, and a coordinator's gets no bodies.
async fn check_consumers(server: &Server, conversation: &str, items: u64) {
    let jsz = server.monitor("/jsz?consumers=true&config=true").await.unwrap();
    let streams = jsz["account_details"][0]["stream_detail"].as_array().unwrap();
    let journal = streams.iter().find(|stream| stream["name"] == "baton-rally").unwrap();
    let consumers = journal["consumer_detail"].as_array().unwrap();
    let (agents, followers): (Vec<_>, Vec<_>) =
        consumers.iter().partition(|consumer| consumer["name"].as_str().unwrap().starts_with("agent-"));

    let sum = |pointer: &str| agents.iter().map(|consumer| consumer.pointer(pointer).unwrap().as_u64().unwrap()).sum::<u64>();
    assert_eq!((agents.len(), sum("/delivered/consumer_seq"), sum("/ack_floor/consumer_seq")), (2, items, items));
    assert_eq!((sum("/num_ack_pending"), sum("/num_redelivered"), sum("/num_pending")), (0, 0, 0));

    let headers_only = |filter: String| {
        let follower = followers.iter().find(|consumer| consumer["config"]["filter_subject"] == filter.as_str());
        follower.unwrap_or_else(|| panic!("nobody follows {filter}: {followers:#?}"))["config"]["headers_only"] == true
    };
    assert!(headers_only("baton.rally.c.>".to_owned()), "the coordinator's");
    assert!(!headers_only(format!("baton.rally.c.{conversation}.>")), "the caller's");
    assert!(followers.iter().all(|consumer| consumer["config"]["ack_policy"] == "none"), "{followers:#?}");
}

#[tokio::test]
async fn a_handoff_is_one_publish_one_delivery_and_one_ack() {
    let (short, long) = (rally(SHORT).await, rally(LONG).await);
    let handoffs = u64::from(LONG - SHORT);
    // What does not depend on the number of handoffs cancels out.
    let more = |what: What| long.workers(what) - short.workers(what);
    for what in [What::Publish, What::Delivery, What::Ack] {
        assert_eq!(more(what), handoffs, "{what:?}");
    }
    assert_eq!(more(What::Answer), handoffs, "an answer to each publish, and to nothing else");
    assert!(more(What::Pull) * 10 <= handoffs, "{} pulls for {handoffs} handoffs", more(What::Pull));
    for what in [What::Read, What::Api, What::Extend, What::GiveBack] {
        assert_eq!((short.workers(what), long.workers(what)), (0, 0), "{what:?}, from when the workers were ready");
    }

    for (Cost { steady, .. }, handoffs) in [(&short, SHORT), (&long, LONG)] {
        let (coordinator, caller) = (steady.of(COORDINATOR, What::Delivery), steady.of(CALLER, What::Delivery));
        let entries = u64::from(handoffs) + 2;
        assert_eq!((coordinator.messages, coordinator.payload_bytes), (entries, 0), "a coordinator follows headers");
        // It reads what there is when it begins, and follows the rest.
        assert!(caller.messages <= entries && caller.messages > entries / 2 && caller.payload_bytes > 0, "{caller:?}");
        let acks = steady.total(What::Ack) + steady.total(What::Extend) + steady.total(What::GiveBack);
        assert_eq!(acks, entries - 1, "only workers acknowledge, one work item each");
    }

    // The cost of a handoff does not grow with the conversation.
    let per_handoff = |bytes: [u64; 2], handoffs: u64| bytes.map(|bytes| bytes as f64 / handoffs as f64);
    let early = per_handoff(short.bytes(), u64::from(SHORT));
    let late = per_handoff(std::array::from_fn(|way| long.bytes()[way] - short.bytes()[way]), handoffs);
    assert!(late.iter().zip(early).all(|(late, early)| *late < early * 1.2), "{late:?} bytes a handoff after {early:?}");

    let per = |what: What| more(what) as f64 / handoffs as f64;
    println!(
        "per handoff, from {SHORT} to {LONG}: {:?}",
        [What::Publish, What::Answer, What::Delivery, What::Ack, What::Pull].map(|what| (what, per(what)))
    );
    println!("per handoff: {late:.0?} bytes in and out (the first {SHORT}: {early:.0?})");
    println!("{SHORT} handoffs in {:?}, {LONG} in {:?}", short.time, long.time);
}
