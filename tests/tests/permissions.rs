//! The permissions that Baton is deployed with (`deploy/nats/permissions.conf`): everything works under them, nothing more
//! is permitted, and the broker itself refuses a transfer along an edge that the graph does not have.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests, where a panic is the failure")]

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{EraseError, Opening, Outcome};
use futures::FutureExt;
use journal::claim::object_name;
use journal::nats::{Login, Settings};
use journal::{Append, Refusal};
use protocol::brief::Fixed;
use protocol::conversation::{Conversation, Draft, Prepared};
use protocol::event::{Event, HistoryOption, Opened, Transferred, failure};
use protocol::ids::{AgentName, EntryId, Revision, Seq, Writer};
use protocol::manifest;
use protocol::orchestration::Orchestration;
use protocol::subject::{self, Class};
use serde_json::Value as Json;
use tests::in_process::{Programs, client, connect, replies, support, talk};
use tests::nats::{Server, server_with};
use tests::processes::{PATIENCE, command, output};
use tests::sample;

#[path = "permissions/probe.rs"]
mod probe;
use probe::{Probe, Try};

const AGENTS: [&str; 4] = ["triage", "refund", "order-status", "order-return"];
const COORDINATOR: &str = "coordinator-1";
const CALLER: &str = "caller-1";
const GATEWAY: &str = "gateway-1";
const OPERATOR: &str = "operator-1";

/// A server with the permissions as they are deployed, and passwords of its own.
async fn guarded() -> Server {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/nats/permissions.conf");
    let permissions = std::fs::read_to_string(file).unwrap();
    server_with(|config| {
        for (user, password) in users().map(|user| (user.clone(), password(&user))) {
            let variable = user.trim_end_matches("-1").replace('-', "_").to_uppercase();
            writeln!(config.extra, "{variable}_PASSWORD: \"{password}\"").unwrap();
        }
        config.extra += &permissions;
    })
    .await
}

fn users() -> impl Iterator<Item = String> {
    AGENTS.iter().map(|agent| format!("{agent}-1")).chain([COORDINATOR, CALLER, GATEWAY, OPERATOR].map(ToOwned::to_owned))
}

fn password(user: &str) -> String {
    format!("the password of {user}")
}

fn settings(server: &Server, user: &str) -> Settings {
    let login = Login { user: Some(user.to_owned()), password: Some(password(user)), ..Login::default() };
    Settings { login, ..Settings::new(server.url(), user.parse().unwrap()) }
}

async fn start(server: &Server, orchestration: Orchestration) -> Programs {
    let mut programs = Programs::of(orchestration);
    programs.coordinator(&settings(server, COORDINATOR), 1).await;
    for agent in AGENTS {
        programs.worker(&settings(server, &format!("{agent}-1")), agent).await;
    }
    programs
}

/// What the server has refused, as it says in its log.
fn violations(server: &Server) -> Vec<String> {
    let log = std::fs::read_to_string(server.log()).unwrap();
    log.lines().filter(|line| line.contains("Violation")).map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn the_support_conversation_needs_nothing_more() {
    let server = guarded().await;
    let programs = start(&server, support()).await;
    let client = client(&settings(&server, CALLER), support().name()).await;
    let talk = talk(&client, replies(), |_| async {}.boxed()).await;
    assert!(matches!(talk.outcome, Outcome::Completed(_)), "{}", talk.outcome);
    assert_eq!(talk.conversation.verify(), Ok(()));
    let status = client.status().await.unwrap();
    assert_eq!(status.workers.len(), AGENTS.len(), "{status:?}");
    // Workers may answer whoever may ask, although nobody's inbox is theirs to publish to.
    let asker = connect(&settings(&server, COORDINATOR)).await;
    for agent in AGENTS {
        let alive = subject::alive(support().name(), &format!("{agent}-1").parse().unwrap());
        assert_eq!(asker.ask(&alive, Bytes::new(), PATIENCE).await, Ok(Bytes::new()), "{agent}");
    }
    programs.stop().await;
    assert_eq!(violations(&server), Vec::<String>::new());
}

/// The example, with an edge that the permissions do not know: an author was faster than an operator.
fn with_a_new_edge() -> Orchestration {
    let read = |file: &str| std::fs::read_to_string(sample::manifest().with_file_name(file)).unwrap();
    let edge = "        - to: triage\n          when: Transfer to this agent if the issue is not order status related\n";
    let manifest = read("support.yaml");
    assert!(manifest.contains(edge));
    let manifest = manifest.replace(edge, &format!("{edge}        - to: refund\n          when: Transfer to this agent for cash\n"));
    let script = format!("- {{ agent: order-status, user: cash, transfer: refund }}\n{}", read("script.yaml"));
    manifest::parse(&manifest, "support.yaml", &mut |_| Ok(script.clone())).unwrap().orchestration
}

#[tokio::test]
async fn a_transfer_without_an_edge_fails_visibly() {
    let server = guarded().await;
    let programs = start(&server, with_a_new_edge()).await;
    let client = client(&settings(&server, CALLER), support().name()).await;
    let began = Instant::now();
    let lines = ["Where is my order? Track it.", "Never mind. I want cash."].map(ToOwned::to_owned);
    let talk = talk(&client, lines.to_vec(), |_| async {}.boxed()).await;
    let Outcome::Failed(failed) = &talk.outcome else { panic!("{}", talk.outcome) };
    assert_eq!(failed.code, failure::NOT_PERMITTED);
    assert!(failed.detail.contains("order-status") && failed.detail.contains(".to.refund."), "{}", failed.detail);
    assert_eq!(talk.conversation.verify(), Ok(()));
    programs.stop().await;
    assert_eq!(violations(&server).len(), 1, "{:?}", violations(&server));
    println!("the conversation failed visibly {:?} after it began", began.elapsed());
}

fn draft(from: Writer, class: Class, event: Event) -> Draft {
    Draft {
        class,
        from,
        id: EntryId::from_random(fastrand::u128(..).to_be_bytes()),
        process: "tests".parse().unwrap(),
        revision: Revision::of(b"tests"),
        events: vec![event],
        trace: None,
    }
}

fn to(agent: &AgentName) -> Class {
    Class::To { agent: agent.clone(), revision: Revision::of(b"tests") }
}

fn transfer(conversation: &Conversation, from: &AgentName, target: &AgentName) -> Prepared {
    let history = HistoryOption::default();
    let event = Transferred { to: target.clone(), call: None, reason: None, payload: None, history, summary: None };
    conversation.prepare(draft(Writer::Agent(from.clone()), to(target), event.into())).unwrap()
}

#[tokio::test]
async fn the_broker_knows_the_edges() {
    let server = guarded().await;
    let orchestration = support();
    let mut programs = Programs::of(orchestration.clone());
    programs.coordinator(&settings(&server, COORDINATOR), 1).await;
    let caller = connect(&settings(&server, CALLER)).await;
    let mut slowest = Duration::ZERO;
    for source in orchestration.agents() {
        let worker = connect(&settings(&server, &format!("{}-1", source.name))).await;
        for target in orchestration.agents().filter(|target| target.name != source.name) {
            // A conversation that the source owns.
            let mut conversation =
                Conversation::empty(orchestration.name().clone(), format!("{}-{}", source.name, target.name).parse().unwrap());
            let opening = draft(Writer::Client, to(&source.name), Opened::default().into());
            let opening = conversation.prepare_opening(opening, Fixed::default()).unwrap();
            let Append::Appended(seq) = caller.append(&opening).await else { panic!("the opening is not stored") };
            conversation.commit(opening, seq).unwrap();

            let transfer = transfer(&conversation, &source.name, &target.name);
            let (began, edge) = (Instant::now(), format!("{} -> {}", source.name, target.name));
            let appended = worker.append(&transfer).await;
            if source.handoffs.iter().any(|handoff| handoff.to == target.name) {
                assert!(matches!(appended, Append::Appended(_)), "{edge}: {appended:?}");
            } else {
                let subject = transfer.message.subject.clone();
                assert_eq!(appended, Append::Refused(Refusal::NotPermitted { subject }), "{edge}");
                slowest = slowest.max(began.elapsed());
            }
        }
    }
    assert!(slowest < Duration::from_secs(1), "the slowest refusal took {slowest:?}");
    println!("the slowest refusal took {slowest:?}");
    programs.stop().await;
}

/// An opening, a handoff and a loser, all larger than a message: stored, read and taken back without another permission.
#[tokio::test]
async fn entries_larger_than_a_message_need_nothing_more() {
    let server = guarded().await;
    let orchestration = support();
    let mut programs = Programs::of(orchestration.clone());
    programs.coordinator(&settings(&server, COORDINATOR), 1).await;
    let (gateway, worker) = (connect(&settings(&server, GATEWAY)).await, connect(&settings(&server, "triage-1")).await);
    let (name, triage): (_, AgentName) = (orchestration.name(), "triage".parse().unwrap());
    let mut conversation = Conversation::empty(name.clone(), "large".parse().unwrap());
    let large = || "x".repeat(1_200_000);

    let opened = Opened { value: Some(large().into()), ..Opened::default() };
    let opening = conversation.prepare_opening(draft(Writer::Gateway, to(&triage), opened.into()), Fixed::default()).unwrap();
    let Append::Appended(seq) = gateway.append(&opening).await else { panic!("the opening is not stored") };
    conversation.commit(opening.clone(), seq).unwrap();
    let mut work = worker.work(name, &triage).await.unwrap();
    let item = work.next(1).await.unwrap();
    assert!(item.stored.payload == opening.message.payload);

    let transferred = |because: &str| {
        let event = Transferred {
            to: "refund".parse().unwrap(),
            call: None,
            reason: Some(format!("{because} {}", large())),
            payload: None,
            history: HistoryOption::default(),
            summary: None,
        };
        let class = to(&event.to);
        conversation.prepare(draft(Writer::Agent(triage.clone()), class, event.into())).unwrap()
    };
    let (won, lost) = (transferred("first"), transferred("second"));
    let Append::Appended(seq) = worker.append(&won).await else { panic!("the transfer is not stored") };
    assert_eq!(worker.append(&lost).await, Append::Fenced { tail: seq });
    for (entry, is_kept) in [(&opening, true), (&won, true), (&lost, false)] {
        let object = gateway.object(name, &object_name(entry)).await.unwrap();
        assert_eq!(object.is_some(), is_kept);
    }
    let refund = connect(&settings(&server, "refund-1")).await;
    assert!(refund.tail(name, conversation.id()).await.unwrap().unwrap().payload == won.message.payload);

    let coordinator = connect(&settings(&server, COORDINATOR)).await;
    coordinator.purge(name, conversation.id(), Seq(seq.0 + 1)).await.unwrap();
    assert_eq!(gateway.object(name, &object_name(&won)).await, Ok(None));
    programs.stop().await;
    assert_eq!(violations(&server), Vec::<String>::new());
}

/// Under the permissions that it is deployed with: the operator's login may have it erased, a caller's may not.
#[tokio::test]
async fn erasing_is_the_operators_to_wish_and_the_coordinators_to_do() {
    let server = guarded().await;
    let mut programs = Programs::of(support());
    programs.coordinator(&settings(&server, COORDINATOR), 1).await;
    let (name, caller) = (support().name().clone(), client(&settings(&server, CALLER), support().name()).await);
    let large = "x".repeat(1_200_000);
    let conversation = caller.start(&Opening::new("tests", large)).await.unwrap().conversation;
    caller.cancel(&conversation, "").await.unwrap();
    let refused = caller.erase(&conversation, false).await.unwrap_err();
    assert!(matches!(refused, EraseError::Query(_)), "{refused:?}");
    assert_eq!(violations(&server).len(), 1);
    let before = caller.broker().messages(&name, &conversation).await.unwrap();
    assert_eq!(before.len(), 2);

    let operator = client(&settings(&server, OPERATOR), &name).await;
    assert_eq!(operator.erase(&conversation, false).await, Ok(2));
    let left = caller.broker().messages(&name, &conversation).await.unwrap();
    assert!(matches!(&left[..], [tombstone] if tombstone.subject.ends_with(".2.end.coordinator")), "{left:?}");
    programs.stop().await;
    assert_eq!(violations(&server).len(), 1, "{:?}", violations(&server));
}

/// With each role's login, and without a word of what that is for; and with one that was given to another role.
#[tokio::test]
async fn the_doctor_finds_every_login_as_its_role_needs_it() {
    let server = guarded().await;
    let programs = start(&server, support()).await;
    let rights = async |user: &str, more: &[&str]| {
        let mut doctor = command(&["doctor", "--orchestration", "support", "--nats", server.url(), "--output", "json"]).await;
        doctor.args(more).env("NATS_USER", user).env("NATS_PASSWORD", password(user)).env("BATON_PROCESS", user);
        let ended = output(&mut doctor).await;
        let said = String::from_utf8_lossy(&ended.stderr);
        let report: Json = serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{user}: {error}: {said}"));
        let findings = report["findings"].as_array().unwrap().iter();
        let rights: Vec<&Json> = findings.filter(|finding| finding["check"].as_str().unwrap().starts_with("rights")).collect();
        assert_eq!(rights.len(), 1, "{user}: {report:#}");
        let text = |key: &str| rights[0][key].as_str().unwrap().to_owned();
        (text("check"), text("level"), text("found"))
    };
    for user in users() {
        let writer = match role(&user) {
            Role::Worker(agent) => agent,
            Role::Coordinator => "coordinator",
            Role::Caller => "client",
            Role::Gateway => "gateway",
            Role::Operator => "one who only looks",
        };
        let (check, level, found) = rights(&user, &[]).await;
        assert_eq!((check, level.as_str()), (format!("rights of {writer}"), "ok"), "{user}: {found}");
    }
    let (check, level, found) = rights("triage-1", &["--role", "refund"]).await;
    assert_eq!((check.as_str(), level.as_str()), ("rights of refund", "problem"), "{found}");
    assert!(found.starts_with("it may not publish to baton.support.c.c.1.to."), "{found}");
    programs.stop().await;
}

// The matrix.

/// Who a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Worker(&'static str),
    Coordinator,
    Caller,
    Gateway,
    Operator,
}

/// Starts conversations, answers and follows.
const fn is_callers_side(role: Role) -> bool {
    matches!(role, Role::Caller | Role::Gateway)
}

fn role(user: &str) -> Role {
    match user {
        COORDINATOR => Role::Coordinator,
        CALLER => Role::Caller,
        GATEWAY => Role::Gateway,
        OPERATOR => Role::Operator,
        worker => Role::Worker(AGENTS.iter().find(|agent| worker == format!("{agent}-1")).unwrap()),
    }
}

/// What may be tried, and who may.
type Cells = Vec<(Try, Box<dyn Fn(Role) -> bool>)>;

fn publish(cells: &mut Cells, subject: impl Into<String>, who: impl Fn(Role) -> bool + 'static) {
    cells.push((Try::Publish(subject.into()), Box::new(who)));
}

fn subscribe(cells: &mut Cells, subject: impl Into<String>, who: impl Fn(Role) -> bool + 'static) {
    cells.push((Try::Subscribe(subject.into()), Box::new(who)));
}

/// Entries: every writer's under its own name only, transfers along edges only.
fn entries(cells: &mut Cells) {
    let orchestration = support();
    let has_edge = |from: &str, to: &str| {
        let agent = orchestration.agent(&from.parse().unwrap()).unwrap();
        from == to || agent.handoffs.iter().any(|handoff| handoff.to.as_str() == to)
    };
    for to in AGENTS {
        for from in AGENTS {
            let is_edge = has_edge(from, to);
            publish(cells, format!("baton.support.c.c1.1.to.{to}.0123456789ab.{from}"), move |role| is_edge && role == Role::Worker(from));
        }
        publish(cells, format!("baton.support.c.c1.1.to.{to}.0123456789ab.client"), |role| role == Role::Caller);
        publish(cells, format!("baton.support.c.c1.1.to.{to}.0123456789ab.coordinator"), |role| role == Role::Coordinator);
        publish(cells, format!("baton.support.c.c1.1.to.{to}.0123456789ab.gateway"), |role| role == Role::Gateway);
        publish(cells, format!("baton.other.c.c1.1.to.{to}.0123456789ab.{to}"), |_| false);
    }
    for agent in AGENTS {
        for class in ["note", "ask", "end"] {
            publish(cells, format!("baton.support.c.c1.1.{class}.{agent}"), move |role| role == Role::Worker(agent));
        }
        publish(cells, format!("baton.support.c.c1.1.in.{agent}"), |_| false);
    }
    for (class, from, who) in [
        ("in", "client", Some(Role::Caller)),
        ("end", "client", Some(Role::Caller)),
        ("note", "client", None),
        ("ask", "client", None),
        ("note", "coordinator", Some(Role::Coordinator)),
        ("end", "coordinator", Some(Role::Coordinator)),
        ("ask", "coordinator", None),
        ("in", "coordinator", None),
        ("in", "gateway", Some(Role::Gateway)),
        ("end", "gateway", Some(Role::Gateway)),
        ("note", "gateway", None),
        ("ask", "gateway", None),
    ] {
        publish(cells, format!("baton.support.c.c1.1.{class}.{from}"), move |role| Some(role) == who);
    }
}

/// Work: every agent's own only.
fn work(cells: &mut Cells) {
    for agent in AGENTS {
        let is_its_worker = move |role| role == Role::Worker(agent);
        publish(cells, format!("$JS.API.CONSUMER.MSG.NEXT.baton-support.agent-{agent}"), is_its_worker);
        publish(cells, format!("$JS.ACK.baton-support.agent-{agent}.1.1.1.1.0"), is_its_worker);
        publish(cells, format!("$JS.ACK._.hash.baton-support.agent-{agent}.1.1.1.1.0"), is_its_worker);
        publish(cells, format!("$JS.API.CONSUMER.INFO.baton-support.agent-{agent}"), move |role| {
            is_its_worker(role) || role == Role::Coordinator
        });
        let create = format!("$JS.API.CONSUMER.CREATE.baton-support.agent-{agent}.baton.support.c.*.*.to.{agent}.>");
        publish(cells, create, |role| role == Role::Coordinator);
        publish(cells, format!("$JS.API.CONSUMER.DELETE.baton-support.agent-{agent}"), |role| role == Role::Coordinator);
        publish(cells, format!("$JS.API.CONSUMER.PAUSE.baton-support.agent-{agent}"), |_| false);
        publish(cells, format!("baton.support.beat.{agent}.{agent}-1"), is_its_worker);
        publish(cells, format!("baton.support.beat.{agent}.{agent}-2"), |_| false);
        publish(cells, format!("baton.support.live.{agent}.c1"), is_its_worker);
        publish(cells, format!("baton.support.dead.{agent}"), is_its_worker);
        publish(cells, format!("baton.support.moved.{agent}.c1"), |role| role == Role::Coordinator || is_callers_side(role));
        publish(cells, format!("baton.support.holds.{agent}"), |role| role == Role::Coordinator);
        subscribe(cells, format!("baton.support.holds.{agent}"), is_its_worker);
        subscribe(cells, format!("baton.support.alive.{agent}-1"), is_its_worker);
        subscribe(cells, format!("baton.support.moved.{agent}.*"), is_its_worker);
        subscribe(cells, format!("$SRV.PING.{agent}.{agent}-1"), is_its_worker);
    }
}

/// Streams: provisioned by the coordinator, read by all, changed by nobody.
fn streams(cells: &mut Cells) {
    let is_follower = |role| role == Role::Coordinator || is_callers_side(role);
    publish(cells, "$JS.API.CONSUMER.CREATE.baton-support.follow-x.baton.support.c.c1.>", is_follower);
    publish(cells, "$JS.API.CONSUMER.MSG.NEXT.baton-support.follow-x", is_follower);
    publish(cells, "$JS.API.CONSUMER.CREATE.baton-support", |_| false);
    publish(cells, "$JS.API.CONSUMER.DURABLE.CREATE.baton-support.agent-refund", |_| false);
    for verb in [
        "DIRECT.GET.baton-support",
        "STREAM.MSG.GET.baton-support",
        "STREAM.INFO.baton-support",
        "STREAM.MSG.GET.KV_baton-support",
        "STREAM.MSG.GET.OBJ_baton-support",
        "STREAM.INFO.OBJ_baton-support",
    ] {
        publish(cells, format!("$JS.API.{verb}"), |role| role != Role::Operator);
        publish(cells, format!("$JS.API.{}", verb.replace("support", "other")), |_| false);
    }
    for stream in ["baton-support", "KV_baton-support", "OBJ_baton-support"] {
        publish(cells, format!("$JS.API.STREAM.CREATE.{stream}"), |role| role == Role::Coordinator);
        publish(cells, format!("$JS.API.STREAM.PURGE.{stream}"), |role| role == Role::Coordinator);
        for verb in ["UPDATE", "DELETE", "MSG.DELETE", "SNAPSHOT", "RESTORE"] {
            publish(cells, format!("$JS.API.STREAM.{verb}.{stream}"), |_| false);
        }
    }
    publish(cells, "$SYS.REQ.USER.INFO", |_| true);
    for subject in ["$KV.baton-support.current", "$KV.baton-support.lease", "baton.support.tick"] {
        publish(cells, subject, |role| role == Role::Coordinator);
    }
    // Everybody here writes entries, and any entry may be too large for a message.
    for subject in ["$O.baton-support.C.c1.1.x.y.z", "$O.baton-support.M.x"] {
        publish(cells, subject, |role| role != Role::Operator);
    }
    for subject in ["$KV.baton-other.current", "$O.baton-other.C.c1.1.x.y.z", "$O.baton-other.M.x", "$O.baton-support.X.x"] {
        publish(cells, subject, |_| false);
    }
}

/// What is listened to: one's own inbox and what is addressed to one; never the entries themselves.
fn listening(cells: &mut Cells) {
    for user in users() {
        let owner = role(&user);
        subscribe(cells, format!("_INBOX_{user}.>"), move |role| role == owner);
    }
    for subject in
        [">", "*.>", "_INBOX.>", "_INBOX_triage-2.>", "baton.>", "baton.support.c.>", "$JS.>", "$JS.API.>", "$JS.ACK.>", "$KV.>", "$SYS.>"]
    {
        subscribe(cells, subject, |_| false);
    }
    for subject in ["baton.support.beat.*.*", "baton.support.hello.*", "baton.support.coordinator.status"] {
        subscribe(cells, subject, |role| role == Role::Coordinator);
    }
    subscribe(cells, "baton.support.live.*.*", is_callers_side);
    subscribe(cells, "baton.support.live.*.c1", is_callers_side);
    subscribe(cells, "$SRV.PING", |role| !matches!(role, Role::Caller | Role::Operator));
    subscribe(cells, "$SRV.PING.gateway.gateway-1", |role| role == Role::Gateway);
    subscribe(cells, "$SRV.PING.coordinator.coordinator-1", |role| role == Role::Coordinator);
    publish(cells, "baton.support.coordinator.status", |role| is_callers_side(role) || role == Role::Operator);
    publish(cells, "baton.support.operator.erase", |role| role == Role::Operator);
    subscribe(cells, "baton.support.operator.erase", |role| role == Role::Coordinator);
    publish(cells, "baton.support.hello.gateway", |role| role == Role::Gateway);
    publish(cells, "baton.support.hello.other", |_| false);
    subscribe(cells, "baton.support.gateway.gateway", |role| role == Role::Gateway);
    subscribe(cells, "baton.support.gateway.*", |_| false);
    publish(cells, "baton.support.gateway.gateway", |role| role == Role::Coordinator);
    publish(cells, "baton.support.alive.triage-1", |role| role == Role::Coordinator);
    publish(cells, "baton.support.gateway.caller-1", |role| role == Role::Coordinator);
}

#[tokio::test]
async fn everybody_may_do_exactly_what_their_role_needs() {
    let server = guarded().await;
    let mut cells = Cells::new();
    entries(&mut cells);
    work(&mut cells);
    streams(&mut cells);
    listening(&mut cells);
    let (mut permitted, mut wrong) = (0, Vec::new());
    for user in users() {
        let mut probe = Probe::login(server.url(), &user, &password(&user)).await;
        for (what, who) in &cells {
            let (may, should) = (probe.may(what).await, who(role(&user)));
            permitted += usize::from(may);
            if may != should {
                wrong.push(format!("{user}: {what:?} is {}", if may { "permitted" } else { "refused" }));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let probes = cells.len() * users().count();
    assert!(probes >= 250);
    println!("{probes} probes: {permitted} permitted, {} refused, all as they should be", probes - permitted);
}
