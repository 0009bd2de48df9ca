//! Which trace a caller's entry belongs to. A program of its own: whether spans are made at all is decided once for a
//! whole process, and the other tests make none.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "helpers of tests, most of them for others"
)]

#[path = "it/world.rs"]
mod world;

use client::{Decision, Reply};
use opentelemetry::trace::{SpanId, SpanKind, TraceId, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use protocol::event::Verdict;
use protocol::ids::ConversationId;
use telemetry::spans;
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;

use world::World;

/// The trace and the span that an entry says it was written in.
async fn place(world: &World, id: &ConversationId, ordinal: usize) -> (TraceId, SpanId) {
    let conversation = world.conversation(id).await;
    let trace = conversation.entries()[ordinal].head.trace.clone().expect("a trace");
    let fields: Vec<_> = trace.parent.split('-').collect();
    (TraceId::from_hex(fields[1]).unwrap(), SpanId::from_hex(fields[2]).unwrap())
}

fn span(spans: &[SpanData], place: (TraceId, SpanId)) -> &SpanData {
    let is_there = |span: &&SpanData| (span.span_context.trace_id(), span.span_context.span_id()) == place;
    spans.iter().find(is_there).expect("the span is exported")
}

/// The span of a user turn's beginning, around its publish span.
fn user_turn(spans: &[SpanData], place: (TraceId, SpanId)) -> &SpanData {
    let publish = span(spans, place);
    assert_eq!(publish.span_kind, SpanKind::Producer);
    let turn = span(spans, (place.0, publish.parent_span_id));
    assert_eq!(turn.name, "user_turn");
    turn
}

/// The span with this name.
fn named<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    spans.iter().find(|span| span.name == name).expect("the span is exported")
}

fn links(span: &SpanData) -> Vec<(TraceId, SpanId)> {
    span.links.iter().map(|link| (link.span_context.trace_id(), link.span_context.span_id())).collect()
}

#[tokio::test]
async fn a_person_s_message_begins_a_trace_and_whatever_else_they_do_belongs_to_one() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("baton"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let world = World::new().await;
    let (id, request) = world.asked().await;
    let http = spans::http_request("POST", "/v1/conversations/{id}/messages");
    world.client.reply(&id, &Reply::to(request, "123")).instrument(http).await.unwrap();
    world.client.say(&id, "quick", None).await.unwrap();
    let request = world.asks_approvals(&id, &["role:manager"]).await[0];
    let http = spans::http_request("POST", "/v1/conversations/{id}/requests/{request}");
    world.client.decide(&id, &Decision::new(request, Verdict::Approved)).instrument(http).await.unwrap();
    world.client.cancel(&id, "enough").await.unwrap();
    let spans = exporter.get_finished_spans().unwrap();

    let opened = place(&world, &id, 0).await;
    let first = user_turn(&spans, opened);
    assert_eq!((links(first), first.parent_span_id), (vec![], SpanId::INVALID), "a root");
    // A reply begins the next user turn, in the trace of the request that brought it, and points at the one before.
    let replied = place(&world, &id, 2).await;
    assert_ne!(replied.0, opened.0);
    let (second, request) = (user_turn(&spans, replied), named(&spans, "POST /v1/conversations/{id}/messages"));
    assert_eq!((links(second), second.parent_span_id), (vec![opened], request.span_context.span_id()));
    assert_eq!((request.span_context.trace_id(), request.parent_span_id), (replied.0, SpanId::INVALID), "a root");
    // What is said while the agent works, decided, or called off is part of the user turn that it happens in.
    let mut parent = replied;
    for ordinal in [3, 5, 6] {
        let own = place(&world, &id, ordinal).await;
        assert_eq!((own.0, span(&spans, own).parent_span_id), parent, "entry {ordinal}");
        parent = own;
    }
    // The request with a decision has a trace of its own, which the user turn's trace leads to.
    let request = &named(&spans, "POST /v1/conversations/{id}/requests/{request}").span_context;
    assert_ne!(request.trace_id(), replied.0);
    assert_eq!(links(span(&spans, place(&world, &id, 5).await)), [(request.trace_id(), request.span_id())]);
}
