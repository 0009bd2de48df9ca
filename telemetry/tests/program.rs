//! What a whole program logs and exports. A process has one environment and one subscriber, so each test runs this binary again as
//! a program of its own (`program` below), with its own environment, and looks at what comes out.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout, reason = "helpers of tests")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use prost::Message;
use telemetry::spans::{self, Agent, Answer, Delivery, Target};
use telemetry::{Settings, TraceContext, context, keys};
use tracing::info_span;

const REMOTE_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const REMOTE_SPAN: &str = "00f067aa0ba902b7";
const CONVERSATION: &str = "c-17";
const TRIAGE: Agent<'_> = Agent { name: "triage", description: "Triages.", revision: "7", provider: "openai", model: "gpt-5-mini" };
const DELIVERY: Delivery<'_> = Delivery {
    agent: "triage",
    consumer: "agent-triage",
    template: "baton.{orchestration}.to.{agent}",
    conversation: CONVERSATION,
    ordinal: 3,
    count: 2,
};
/// Routes, how they are answered, and whether that is a failure.
const REQUESTS: [(&str, u16, bool); 3] =
    [("/v1/conversations", 201, false), ("/v1/conversations/{id}/messages", 409, false), ("/v1/conversations/{id}", 503, true)];

// The programs.

#[test]
#[ignore = "the program that the other tests run"]
fn program() {
    // Like every `main` of ours, in case some other crate of the build gives reqwest its TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let started = runtime.block_on(async {
        let guard = telemetry::init(&settings()).unwrap();
        match std::env::var("PROGRAM").unwrap().as_str() {
            "turn" => turn(),
            "every span" => every_span(),
            "requests" => requests(),
            "off" => off(),
            "fail" => fail(),
            other => panic!("no program {other}"),
        }
        let started = Instant::now();
        guard.shutdown(Duration::from_millis(300)).await;
        started
    });
    drop(runtime);
    // An export waits ten seconds for an answer, a shutdown does not.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

fn settings() -> Settings {
    Settings {
        service: "triage".to_owned(),
        namespace: Some("support".to_owned()),
        instance: "worker-1".to_owned(),
        version: "0.1.0".to_owned(),
        format: None,
        filter: None,
        default_filter: "info",
    }
}

fn remote() -> TraceContext {
    TraceContext { traceparent: format!("00-{REMOTE_TRACE}-{REMOTE_SPAN}-01"), tracestate: Some("vendor=kept".to_owned()) }
}

/// A handoff that comes from another process and goes on to the next one.
fn turn() {
    let process = spans::process(&DELIVERY);
    context::set_parent(&process, &remote());
    let attempt_before = TraceContext { traceparent: format!("00-{REMOTE_TRACE}-00000000000000aa-01"), tracestate: None };
    context::add_link(&process, &attempt_before);
    let malformed = TraceContext { traceparent: "00-garbage-01".to_owned(), tracestate: None };
    context::set_parent(&process, &malformed);
    context::add_link(&process, &malformed);
    process.in_scope(|| {
        spans::invoke_agent(&TRIAGE, CONVERSATION, 12).in_scope(|| {
            info_span!("a library's").in_scope(|| spans::chat("openai", "gpt-5-mini", "triage", CONVERSATION).in_scope(|| ()));
            spans::transfer(Target::Agent("refund"), Some("call-1"), CONVERSATION).in_scope(|| {
                spans::publish("baton.{orchestration}.entries.{conversation}", CONVERSATION, 4).in_scope(|| {
                    tracing::info!(attempt = 1, "published");
                    report(context::current());
                });
            });
        });
    });
    tracing::info!("done");
}

fn report(continued: Option<TraceContext>) {
    let continued = continued.unwrap();
    println!("CONTINUED {} {}", continued.traceparent, continued.tracestate.unwrap_or_default());
}

fn every_span() {
    let user = spans::user_turn(CONVERSATION);
    spans::entry(&user, "e-1", 12);
    let process = spans::process(&DELIVERY);
    spans::entry(&process, "e-3", 12);
    let chat = spans::chat("openai", "gpt-5-mini", "triage", CONVERSATION);
    let answer = Answer { model: Some("gpt-5-mini-2"), finish_reason: Some("stop"), input_tokens: Some(70), ..Answer::default() };
    // Entered, and so started: what is recorded from now on goes to a running span.
    chat.in_scope(|| spans::answered(&chat, &answer));
    spans::content(&chat, keys::INPUT_MESSAGES, || "[\"where is my order?\"]".to_owned());
    let tool = spans::execute_tool("check_order_status", "call-1", CONVERSATION);
    tool.in_scope(|| spans::failed(&tool, "timeout", format_args!("no answer in {}", 10)));
    spans::settle("ack", "triage", "agent-triage", CONVERSATION).in_scope(|| tracing::warn!(tries = 2, "slow"));
    spans::transfer(Target::Human, None, CONVERSATION).in_scope(|| ());
    spans::transfer(Target::Agent("refund"), Some("call-3"), CONVERSATION).in_scope(|| ());
    spans::invoke_agent(&TRIAGE, CONVERSATION, 12).in_scope(|| ());
    spans::entry(&spans::publish("baton.{orchestration}.entries", CONVERSATION, 4), "e-4", 12);
    spans::act("remind", CONVERSATION).in_scope(|| ());
}

fn requests() {
    for (route, status, _) in REQUESTS {
        let request = spans::http_request("POST", route);
        spans::conversation(&request, CONVERSATION);
        request.in_scope(|| spans::responded(&request, status));
    }
}

fn off() {
    let span = spans::invoke_agent(&TRIAGE, CONVERSATION, 12);
    assert!(span.is_disabled(), "a span that nobody wants is not made");
    context::set_parent(&span, &remote());
    span.in_scope(|| assert_eq!((context::current(), context::trace_id()), (None, None)));
    spans::content(&span, keys::INPUT_MESSAGES, || panic!("nobody wants it"));
    tracing::info!(attempt = 1, "hello");
    tracing::debug!("not by default");
}

fn fail() {
    spans::user_turn(CONVERSATION).in_scope(|| ());
}

// The tests.

#[test]
fn a_turn_arrives_as_one_tree_under_its_remote_parent() {
    let collector = Collector::start();
    let output = run("turn", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)]);
    let spans = collector.spans();
    assert!(spans.values().all(|span| id(&span.trace_id) == REMOTE_TRACE), "{spans:?}");

    let parents: HashMap<&str, String> = spans.iter().map(|(name, span)| (name.as_str(), id(&span.parent_span_id))).collect();
    let of = |name: &str| id(&spans[name].span_id);
    let send = "send baton.{orchestration}.entries.{conversation}";
    let expected = HashMap::from([
        ("process triage", REMOTE_SPAN.to_owned()),
        ("invoke_agent triage", of("process triage")),
        // Below a library's span, which stays in the process.
        ("chat gpt-5-mini", of("invoke_agent triage")),
        ("execute_tool transfer_to_refund", of("invoke_agent triage")),
        (send, of("execute_tool transfer_to_refund")),
    ]);
    assert_eq!(parents, expected);

    let links: Vec<String> = spans["process triage"].links.iter().map(|link| id(&link.span_id)).collect();
    assert_eq!(links, ["00000000000000aa"]);
    let continued = format!("CONTINUED 00-{REMOTE_TRACE}-{}-01 vendor=kept", of(send));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains(&continued), "{stdout} has no {continued}");
}

#[test]
fn the_resource_says_who_exports_and_the_environment_wins() {
    let collector = Collector::start();
    run("turn", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)]);
    let resource = collector.resource();
    let expected = [("name", "triage"), ("namespace", "support"), ("instance.id", "worker-1"), ("version", "0.1.0")];
    for (key, value) in expected {
        assert_eq!(resource[&format!("service.{key}")], text(value));
    }

    let attributes = "service.name=ignored,service.namespace=shop,deployment.environment.name=test";
    let env = [("OTEL_SERVICE_NAME", "mine"), ("OTEL_RESOURCE_ATTRIBUTES", attributes), ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)];
    run("turn", &env);
    let resource = collector.resource();
    for (key, value) in [("service.name", "mine"), ("service.namespace", "shop"), ("deployment.environment.name", "test")] {
        assert_eq!(resource[key], text(value));
    }
}

#[test]
fn every_kind_of_span_has_its_name_kind_and_attributes() {
    let collector = Collector::start();
    run("every span", &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/anywhere", collector.url))]);
    let spans = collector.spans();
    let check = |name: &str, kind: SpanKind, expected: &[(&str, Value)]| check(&spans, name, kind, expected);
    let entry = |id| vec![(keys::ENTRY_ID, text(id)), (keys::EPOCH, Value::IntValue(12))];
    let ordinal = |ordinal| vec![(keys::ORDINAL, Value::IntValue(ordinal))];
    let messaging = |operation, kind| {
        vec![
            (keys::MESSAGING_SYSTEM, text("nats")),
            (keys::MESSAGING_OPERATION, text(operation)),
            (keys::MESSAGING_OPERATION_TYPE, text(kind)),
            (keys::CONSUMER_GROUP, text("agent-triage")),
        ]
    };
    let tool = |name, call: Option<&str>| {
        let operation = (keys::GEN_AI_OPERATION, text("execute_tool"));
        let named = vec![operation, (keys::TOOL_NAME, text(name)), (keys::TOOL_TYPE, text("function"))];
        named.into_iter().chain(call.map(|call| (keys::TOOL_CALL_ID, text(call)))).collect::<Vec<_>>()
    };
    let agent = (keys::AGENT_NAME, text("triage"));
    let processed = [
        (keys::DESTINATION_TEMPLATE, text("baton.{orchestration}.to.{agent}")),
        (keys::MESSAGE_ID, text("e-3")),
        (keys::DELIVERY_COUNT, Value::IntValue(2)),
        agent.clone(),
    ];
    let chat = [
        (keys::GEN_AI_OPERATION, text("chat")),
        (keys::PROVIDER, text("openai")),
        (keys::REQUEST_MODEL, text("gpt-5-mini")),
        (keys::RESPONSE_MODEL, text("gpt-5-mini-2")),
        (keys::FINISH_REASONS, list("stop")),
        (keys::INPUT_TOKENS, Value::IntValue(70)),
        agent.clone(),
    ];
    let to = |kind| vec![(keys::TRANSFER_TARGET_TYPE, text(kind)), (keys::TRANSFER_MODE, text("pass_control"))];
    let refund = vec![(keys::TRANSFER_TARGET_NAME, text("refund"))];
    let invoked = [
        (keys::GEN_AI_OPERATION, text("invoke_agent")),
        (keys::PROVIDER, text("openai")),
        (keys::REQUEST_MODEL, text("gpt-5-mini")),
        (keys::AGENT_DESCRIPTION, text("Triages.")),
        (keys::AGENT_VERSION, text("7")),
        (keys::EPOCH, Value::IntValue(12)),
        agent,
    ];
    let sent = [
        (keys::MESSAGING_SYSTEM, text("nats")),
        (keys::MESSAGING_OPERATION, text("send")),
        (keys::MESSAGING_OPERATION_TYPE, text("send")),
        (keys::DESTINATION_TEMPLATE, text("baton.{orchestration}.entries")),
        (keys::MESSAGE_ID, text("e-4")),
    ];

    check("user_turn", SpanKind::Internal, &entry("e-1"));
    check("process triage", SpanKind::Consumer, &[messaging("process", "process"), entry("e-3"), ordinal(3), processed.to_vec()].concat());
    check("chat gpt-5-mini", SpanKind::Client, &chat);
    let timeout = vec![(keys::ERROR_TYPE, text("timeout"))];
    check("execute_tool check_order_status", SpanKind::Internal, &[tool("check_order_status", Some("call-1")), timeout].concat());
    check("ack triage", SpanKind::Client, &messaging("ack", "settle"));
    check("execute_tool transfer_to_human", SpanKind::Internal, &[tool("transfer_to_human", None), to("human")].concat());
    let refund = [tool("transfer_to_refund", Some("call-3")), to("agent"), refund].concat();
    check("execute_tool transfer_to_refund", SpanKind::Internal, &refund);
    check("invoke_agent triage", SpanKind::Internal, &invoked);
    check("send baton.{orchestration}.entries", SpanKind::Producer, &[sent.to_vec(), entry("e-4"), ordinal(4)].concat());
    check("remind", SpanKind::Internal, &[]);

    let status = spans["execute_tool check_order_status"].status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "no answer in 10"));
    let warnings: Vec<&str> = spans["ack triage"].events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(warnings, ["slow"]);
}

#[test]
fn a_request_has_failed_only_by_the_server_s_fault() {
    let collector = Collector::start();
    run("requests", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)]);
    let spans = collector.spans();
    for (route, status, failed) in REQUESTS {
        let expected = [
            (keys::HTTP_METHOD, text("POST")),
            (keys::HTTP_ROUTE, text(route)),
            (keys::URL_SCHEME, text("http")),
            (keys::HTTP_STATUS, Value::IntValue(status.into())),
        ];
        let error = failed.then(|| (keys::ERROR_TYPE, text(&status.to_string())));
        let name = format!("POST {route}");
        check(&spans, &name, SpanKind::Server, &expected.into_iter().chain(error).collect::<Vec<_>>());
        assert_eq!(spans[&name].status.as_ref().is_some_and(|status| status.code == 2), failed);
    }
}

#[test]
fn bodies_leave_the_process_on_opt_in_only() {
    let collector = Collector::start();
    let to = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str());
    let body = || attributes(&collector.spans()["chat gpt-5-mini"].attributes).remove(keys::INPUT_MESSAGES);
    run("every span", &[to]);
    assert_eq!(body(), None);
    run("every span", &[to, ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")]);
    assert_eq!(body(), Some(text("[\"where is my order?\"]")));
}

#[test]
fn json_lines_lead_to_the_trace_they_belong_to() {
    let collector = Collector::start();
    let output = run("turn", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url), ("BATON_LOG_FORMAT", "json")]);
    let lines = json(&output);
    let send = collector.spans().into_values().find(|span| span.name.starts_with("send")).unwrap();
    assert_eq!((&lines[0]["message"], &lines[0]["attempt"], &lines[0]["level"]), (&"published".into(), &1.into(), &"INFO".into()));
    assert_eq!((&lines[0]["trace_id"], &lines[0]["span_id"]), (&REMOTE_TRACE.into(), &id(&send.span_id).into()));
    assert_eq!(lines[0]["span"][keys::CONVERSATION], CONVERSATION);
    assert_eq!((&lines[1]["message"], lines[1].get("trace_id")), (&"done".into(), None));
    assert_eq!(lines.len(), 2);
}

#[test]
fn what_the_sampler_leaves_out_stays_left_out_in_the_next_process() {
    let collector = Collector::start();
    let sampler = ("OTEL_TRACES_SAMPLER", "always_off");
    let output = run("turn", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url), sampler, ("BATON_LOG_FORMAT", "json")]);
    assert!(collector.spans().is_empty());
    assert_eq!(json(&output)[0].get("trace_id"), None);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let continued = stdout.split("CONTINUED ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(continued.starts_with(&format!("00-{REMOTE_TRACE}-")) && continued.ends_with("-00"), "{continued}");
}

#[test]
fn with_nothing_set_there_is_no_trace_and_logs_are_for_people() {
    let stderr = String::from_utf8(run("off", &[]).stderr).unwrap();
    let (time, line) = stderr.split_once(' ').unwrap();
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!((shape.as_str(), line), ("00:00:00.000", " INFO program hello attempt=1\n"));
}

#[test]
fn a_dead_collector_does_not_hold_a_program_up() {
    // Connections are accepted by the backlog and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [silent.local_addr().unwrap(), gone] {
        let output = run("fail", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}"))]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("the last spans are lost"), "{stderr}");
    }
}

// Helpers.

/// Runs `program` as a process of its own, with nothing else in its environment, to its successful end.
fn run(program: &str, env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["program", "--exact", "--ignored", "--nocapture"]).env_clear().env("PROGRAM", program);
    let output = command.envs(env.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

fn json(output: &Output) -> Vec<serde_json::Value> {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A collector: an HTTP server that takes traces and keeps them.
struct Collector {
    url: String,
    taken: Receiver<ExportTraceServiceRequest>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, taken) = channel();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let sender = sender.clone();
                thread::spawn(move || serve(&connection.unwrap(), &sender));
            }
        });
        Self { url, taken }
    }

    /// What arrived since the last call, by name. Complete once the program has ended: it waited for the answer.
    fn spans(&self) -> HashMap<String, Span> {
        let resources = self.taken.try_iter().flat_map(|request| request.resource_spans);
        let spans = resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
        spans.map(|span| (span.name.clone(), span)).collect()
    }

    fn resource(&self) -> HashMap<String, Value> {
        let mut resources = self.taken.try_iter().flat_map(|request| request.resource_spans);
        attributes(&resources.next().unwrap().resource.unwrap().attributes)
    }
}

/// Takes requests from one connection until the client closes it.
fn serve(connection: &TcpStream, taken: &Sender<ExportTraceServiceRequest>) {
    let (mut reader, mut writer) = (BufReader::new(connection), connection);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|read| read > 0) && line != "\r\n" {
            let header = line.to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        if line.is_empty() {
            return;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        taken.send(ExportTraceServiceRequest::decode(body.as_slice()).unwrap()).unwrap();
        writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    }
}

/// Sees that there is a span with this name, this kind and exactly these attributes, besides the conversation.
fn check(spans: &HashMap<String, Span>, name: &str, kind: SpanKind, expected: &[(&str, Value)]) {
    let span = spans.get(name).unwrap_or_else(|| panic!("no span {name:?} in {:?}", spans.keys()));
    let mut attributes = attributes(&span.attributes);
    assert_eq!(attributes.remove(keys::CONVERSATION), Some(text(CONVERSATION)), "{name}");
    let expected: HashMap<String, Value> = expected.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    assert_eq!((attributes, span.kind()), (expected, kind), "{name}");
}

/// Attributes by key, none of them twice.
fn attributes(pairs: &[KeyValue]) -> HashMap<String, Value> {
    let attributes: HashMap<_, _> = pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone().unwrap().value.unwrap())).collect();
    assert_eq!(attributes.len(), pairs.len(), "{pairs:?}");
    attributes
}

fn id(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(value: &str) -> Value {
    Value::StringValue(value.to_owned())
}

fn list(value: &str) -> Value {
    let values = vec![AnyValue { value: Some(text(value)) }];
    Value::ArrayValue(ArrayValue { values })
}
