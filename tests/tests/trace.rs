//! What the processes of a conversation export: one trace for each user turn, whoever it goes through.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests, where a panic is the failure")]

use std::collections::BTreeSet;

use journal::nats::Settings;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use protocol::orchestration::Orchestration;
use serde_json::json;
use telemetry::keys;
use tempfile::TempDir;
use tests::dev::Dev;
use tests::in_process::Programs;
use tests::nats::server;
use tests::processes::{Process, command, output};
use tests::sample;
use tests::service::Service;

#[path = "trace/sink.rs"]
mod sink;
use sink::{Sink, Span};

/// The sample's user turns: each ends with a question, the last one with the conversation.
const TURNS: usize = 7;
/// Its transfers.
const HANDOFFS: [(&str, &str); 3] = [("triage", "order-status"), ("order-status", "triage"), ("triage", "order-return")];

/// The example, in which a person has little time to answer.
fn impatient() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for file in ["support.yaml", "script.yaml"] {
        let text = std::fs::read_to_string(sample::manifest().with_file_name(file)).unwrap();
        let text = text.replace("spec:\n  start: triage\n", "spec:\n  start: triage\n  limits: { humanTimeout: 5s }\n");
        assert_eq!(file == "support.yaml", text.contains("humanTimeout"));
        std::fs::write(directory.path().join(file), text).unwrap();
    }
    directory
}

/// Holds a conversation with these lines as the person's; its id.
async fn run(dev: &Dev, sink: &Sink, replies: &str) -> String {
    let mut run = dev.command(&["run", "A customer is on the line.", "--replies", replies]).await;
    sink.is_told_by(&mut run);
    let output = output(&mut run).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let id = said.lines().find_map(|line| line.strip_prefix("conversation "));
    id.unwrap_or_else(|| panic!("no conversation is named: {said}")).split_whitespace().next().unwrap().to_owned()
}

/// The spans of one conversation.
struct Spans(Vec<Span>);

impl Spans {
    fn of(all: &[Span], conversation: &str) -> Self {
        Self(all.iter().filter(|span| span.conversation() == Some(conversation)).cloned().collect())
    }

    fn named(&self, name: &str) -> Vec<&Span> {
        self.0.iter().filter(|span| span.name == name).collect()
    }

    fn children<'a>(&'a self, parent: &Span) -> impl Iterator<Item = &'a Span> {
        let (trace, id) = (parent.trace.clone(), parent.id.clone());
        self.0.iter().filter(move |span| span.trace == trace && span.parent == id)
    }

    /// The one child with this name.
    fn child(&self, parent: &Span, name: &str) -> &Span {
        let found: Vec<&Span> = self.children(parent).filter(|span| span.name == name).collect();
        let [child] = found[..] else { panic!("{} has not one {name:?}: {found:#?}", parent.name) };
        child
    }

    /// The one child whose name begins like this.
    fn child_like(&self, parent: &Span, beginning: &str) -> &Span {
        let found: Vec<&Span> = self.children(parent).filter(|span| span.name.starts_with(beginning)).collect();
        let [child] = found[..] else { panic!("{} has not one {beginning:?}: {found:#?}", parent.name) };
        child
    }

    fn parent(&self, child: &Span) -> &Span {
        self.0.iter().find(|span| span.id == child.parent && span.trace == child.trace).unwrap_or_else(|| panic!("an orphan: {child:#?}"))
    }

    /// The roots, in the order of their turns. Every other span has a parent that is known and in its trace.
    fn roots(&self) -> Vec<&Span> {
        let (roots, others): (Vec<&Span>, Vec<&Span>) = self.0.iter().partition(|span| span.parent.is_empty());
        for span in others {
            self.parent(span);
        }
        let traces: BTreeSet<&str> = self.0.iter().map(|span| span.trace.as_str()).collect();
        assert_eq!(roots.len(), traces.len(), "one root in each trace");
        roots
    }
}

#[tokio::test]
async fn each_user_turn_is_one_trace_across_all_processes() {
    let (sink, data, manifest) = (Sink::start().await, tempfile::tempdir().unwrap(), impatient());
    let mut dev = Dev::start_with(&manifest.path().join("support.yaml"), data.path(), |command| sink.is_told_by(command)).await;
    let answered = run(&dev, &sink, sample::replies().to_str().unwrap()).await;
    // Nobody answers this one: in the end the coordinator fails it.
    let unanswered = run(&dev, &sink, "/dev/null").await;
    sink.span("what the coordinator does in the end", |span| span.name == "failed").await;
    dev.process.terminate();
    let (status, said) = dev.process.end().await;
    assert!(status.success(), "{said}");

    let all = sink.spans();
    let conversations: BTreeSet<Option<&str>> = all.iter().map(Span::conversation).collect();
    assert_eq!(conversations, BTreeSet::from([Some(answered.as_str()), Some(unanswered.as_str())]), "every span names its conversation");
    let spans = Spans::of(&all, &answered);
    user_turns(&spans);
    handoffs(&spans);
    attributes(&spans);
    services(&all);
    a_deadline(&Spans::of(&all, &unanswered));
    println!("{} spans of {} traces", all.len(), all.iter().map(|span| &span.trace).collect::<BTreeSet<_>>().len());
}

/// From a person's message to the next question or the end, one trace; each links to where the one before it ended.
fn user_turns(spans: &Spans) {
    let roots = spans.roots();
    assert_eq!(roots.len(), TURNS);
    let mut before: Option<&Span> = None;
    for root in roots {
        assert_eq!((root.name.as_str(), root.service.as_str(), root.kind), ("user_turn", "client", SpanKind::Internal));
        assert!(spans.child_like(root, "send ").kind == SpanKind::Producer);
        let expected: Vec<_> = before.map(|before| (before.trace.clone(), before.id.clone())).into_iter().collect();
        assert_eq!(root.links, expected, "a link to the last span of the turn before");
        // The entry that ends the turn: a question, or the end of the conversation.
        let is_last = |span: &&Span| span.trace == root.trace && (span.name.contains(".ask.") || span.name.contains(".end."));
        let last: Vec<&Span> = spans.0.iter().filter(is_last).collect();
        let [last] = last[..] else { panic!("a turn ends once: {last:#?}") };
        before = Some(last);
    }
    assert!(before.unwrap().name.contains(".end."));
}

/// The source's tool call contains the publish; what the target does descends from it.
fn handoffs(spans: &Spans) {
    for (source, target) in HANDOFFS {
        let found = spans.named(&format!("execute_tool transfer_to_{target}"));
        let [transfer] = found[..] else { panic!("one transfer to {target}: {found:#?}") };
        assert_eq!((transfer.service.as_str(), transfer.kind), (source, SpanKind::Internal));
        assert_eq!(spans.parent(transfer).name, format!("invoke_agent {source}"));
        assert_eq!(transfer.attribute(keys::TRANSFER_TARGET_TYPE), Some("agent"));
        assert_eq!(transfer.attribute(keys::TRANSFER_TARGET_NAME), Some(target));
        assert_eq!(transfer.attribute(keys::TRANSFER_MODE), Some("pass_control"));
        assert!(transfer.attribute(keys::TOOL_CALL_ID).is_some_and(|id| id.starts_with("call_")), "{transfer:#?}");

        let publish = spans.child_like(transfer, "send baton.{orchestration}.c.{conversation}.{ordinal}.to.");
        assert_eq!((publish.service.as_str(), publish.kind), (source, SpanKind::Producer));
        let process = spans.child(publish, &format!("process {target}"));
        assert_eq!((process.service.as_str(), process.kind), (target, SpanKind::Consumer));
        assert_eq!(process.attribute(keys::DELIVERY_COUNT), Some("1"));
        assert_eq!(process.attribute(keys::CONSUMER_GROUP), Some(format!("agent-{target}").as_str()));
        for key in [keys::MESSAGE_ID, keys::DESTINATION_TEMPLATE] {
            assert!(process.attribute(key).is_some());
            assert_eq!(process.attribute(key), publish.attribute(key), "the same message: {key}");
        }
        assert_eq!(spans.child(process, &format!("invoke_agent {target}")).kind, SpanKind::Internal);
        assert_eq!(spans.child(process, &format!("ack {target}")).kind, SpanKind::Client);
    }
    let to_people = spans.named("execute_tool transfer_to_human");
    assert_eq!(to_people.len(), TURNS - 1);
    for transfer in to_people {
        assert_eq!(transfer.attribute(keys::TRANSFER_TARGET_TYPE), Some("human"));
        assert_eq!(transfer.attribute(keys::TOOL_CALL_ID), None, "just an answer");
        assert_eq!(spans.child_like(transfer, "send ").kind, SpanKind::Producer);
    }
}

/// What the conventions ask of each kind of span.
fn attributes(spans: &Spans) {
    let chats = spans.named("chat scripted");
    // One for each answer, and one more for each result of a tool.
    assert_eq!(chats.len(), TURNS + HANDOFFS.len() + 2);
    for chat in chats {
        assert_eq!(chat.kind, SpanKind::Client);
        let agent = chat.service.as_str();
        assert_eq!(spans.parent(chat).name, format!("invoke_agent {agent}"));
        for (key, value) in [
            (keys::GEN_AI_OPERATION, "chat"),
            (keys::PROVIDER, "scripted"),
            (keys::REQUEST_MODEL, "scripted"),
            (keys::RESPONSE_MODEL, "scripted"),
            (keys::AGENT_NAME, agent),
        ] {
            assert_eq!(chat.attribute(key), Some(value), "{key}");
        }
        assert!(matches!(chat.attribute(keys::FINISH_REASONS), Some("stop" | "tool_calls")), "{chat:#?}");
    }
    for (tool, agent) in [("check_order_status", "order-status"), ("process_return", "order-return")] {
        let runs = spans.named(&format!("execute_tool {tool}"));
        let [run] = runs[..] else { panic!("one run of {tool}: {runs:#?}") };
        assert_eq!((run.service.as_str(), spans.parent(run).name.as_str()), (agent, format!("invoke_agent {agent}").as_str()));
        assert_eq!((run.attribute(keys::TOOL_NAME), run.attribute(keys::TOOL_TYPE)), (Some(tool), Some("function")));
        assert!(run.attribute(keys::TOOL_CALL_ID).is_some());
    }
    for invoke in spans.0.iter().filter(|span| span.name.starts_with("invoke_agent ")) {
        assert_eq!(invoke.attribute(keys::GEN_AI_OPERATION), Some("invoke_agent"));
        assert_eq!(invoke.attribute(keys::AGENT_NAME), Some(invoke.service.as_str()));
        assert!(invoke.attribute(keys::AGENT_DESCRIPTION).is_some_and(|text| text.starts_with("A customer support agent ")));
        assert_eq!(invoke.attribute(keys::AGENT_VERSION).map(str::len), Some(12), "a revision");
        assert_eq!((invoke.attribute(keys::PROVIDER), invoke.attribute(keys::REQUEST_MODEL)), (Some("scripted"), Some("scripted")));
    }
    for message in spans.0.iter().filter(|span| matches!(span.kind, SpanKind::Producer | SpanKind::Consumer)) {
        assert_eq!(message.attribute(keys::MESSAGING_SYSTEM), Some("nats"));
        assert_eq!(message.attribute(keys::MESSAGE_ID).map(str::len), Some(26), "{message:#?}");
        assert!(message.attribute(keys::EPOCH).is_some() && message.attribute(keys::ORDINAL).is_some());
    }
    assert!(spans.0.iter().all(|span| span.attribute(keys::ERROR_TYPE).is_none()), "nothing went wrong");
}

/// The services are the agents, and the programs around them; an instance is a process.
fn services(all: &[Span]) {
    let services: BTreeSet<&str> = all.iter().map(|span| span.service.as_str()).collect();
    assert_eq!(services, BTreeSet::from(["client", "coordinator", "order-return", "order-status", "triage"]));
    for service in services.iter().filter(|service| **service != "client") {
        let instances: BTreeSet<&str> = all.iter().filter(|span| span.service == **service).map(|span| span.instance.as_str()).collect();
        assert_eq!(instances.len(), 1, "{service}");
    }
    // A coordinator may serve several orchestrations.
    let named = all.iter().filter(|span| span.service != "coordinator");
    assert!(named.map(|span| span.namespace.as_deref()).all(|namespace| namespace == Some("support")));
}

/// What the coordinator does belongs to the user turn that it does it to.
fn a_deadline(spans: &Spans) {
    assert_eq!(spans.roots().len(), 1);
    let acts = spans.named("failed");
    let [act] = acts[..] else { panic!("one act: {acts:#?}") };
    assert_eq!((act.service.as_str(), act.kind), ("coordinator", SpanKind::Internal));
    assert!(spans.parent(act).name.contains(".ask."), "it follows the question");
    assert!(act.attribute(keys::ENTRY_ID).is_some());
}

// An attempt that dies.

/// An agent whose model and tool are a service of the test's.
fn desk(service: &Service) -> Orchestration {
    let manifest = json!({
        "apiVersion": "baton/v1alpha1",
        "kind": "Orchestration",
        "metadata": { "name": "desk" },
        "spec": {
            "start": "writer",
            "models": { "default": { "provider": "openai", "name": "test", "baseUrl": format!("{}/v1", service.url()), "retries": 0 } },
            "agents": { "writer": { "instructions": "Write.", "tools": [{ "from": "shop" }] } },
            "tools": { "shop": { "http": { "baseUrl": service.url(), "tools": { "refund": { "method": "POST", "path": "/refund" } } } } },
        },
    });
    protocol::manifest::parse(&manifest.to_string(), "desk.yaml", &mut |_| Err("no files".to_owned())).unwrap().orchestration
}

#[tokio::test]
async fn a_second_attempt_links_to_the_one_that_died() {
    let (server, sink, mut service) = (server().await, Sink::start().await, Service::start().await);
    let mut programs = Programs::of(desk(&service));
    programs.coordinator(&Settings::new(server.url(), "coordinator-1".parse().unwrap()), 1).await;
    // Without a coordinator it is the broker that delivers again.
    programs.stop().await;
    let worker = async || {
        let mut worker = command(&["worker", "--orchestration", "desk", "--agent", "writer", "--nats", server.url()]).await;
        sink.is_told_by(&mut worker);
        Process::start(worker)
    };

    let mut first = worker().await;
    first.line("ready, as ").await;
    let mut caller = command(&["run", "--orchestration", "desk", "--nats", server.url(), "Refund order 7."]).await;
    sink.is_told_by(&mut caller);
    let _caller = Process::start(caller);
    let asked = service.next().await;
    asked.call("refund", &json!({}));
    // The intent is stored and the call is under way: this attempt dies in the middle of it.
    let call = service.next().await;
    assert_eq!(call.path, "/refund");
    let intent = sink.span("the intent's publish", |span| span.name.contains(".note.")).await;
    first.kill();
    first.end().await;

    let _second = worker().await;
    let process = sink.span("the second attempt", |span| span.name == "process writer" && span.instance != intent.instance).await;
    assert_eq!(process.attribute(keys::DELIVERY_COUNT), Some("2"));
    assert_eq!(process.links, [(intent.trace.clone(), intent.id.clone())]);
    assert_eq!(process.trace, intent.trace, "the same user turn");
}
