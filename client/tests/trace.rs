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

/// The root that a person's message has of its own, around its publish span.
fn root(spans: &[SpanData], place: (TraceId, SpanId)) -> &SpanData {
    let publish = span(spans, place);
    assert_eq!(publish.span_kind, SpanKind::Producer);
    let root = span(spans, (place.0, publish.parent_span_id));
    assert_eq!((root.name.as_ref(), root.parent_span_id), ("user_turn", SpanId::INVALID));
    root
}

#[tokio::test]
async fn a_person_s_message_begins_a_trace_and_whatever_else_they_do_belongs_to_one() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("baton"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let world = World::new().await;
    let (id, request) = world.asked().await;
    world.client.reply(&id, &Reply::to(request, "123")).await.unwrap();
    world.client.say(&id, "quick", None).await.unwrap();
    let request = world.asks_approvals(&id, &["role:manager"]).await[0];
    world.client.decide(&id, &Decision::new(request, Verdict::Approved)).await.unwrap();
    world.client.cancel(&id, "enough").await.unwrap();
    let spans = exporter.get_finished_spans().unwrap();

    let opened = place(&world, &id, 0).await;
    assert_eq!(root(&spans, opened).links.len(), 0);
    // A reply begins the next user turn, and points at the one before.
    let replied = place(&world, &id, 2).await;
    assert_ne!(replied.0, opened.0);
    let links = &root(&spans, replied).links;
    let linked: Vec<_> = links.iter().map(|link| (link.span_context.trace_id(), link.span_context.span_id())).collect();
    assert_eq!(linked, [opened]);
    // What is said while the agent works, decided, or called off is part of the user turn that it happens in.
    let mut parent = replied;
    for ordinal in [3, 5, 6] {
        let own = place(&world, &id, ordinal).await;
        assert_eq!((own.0, span(&spans, own).parent_span_id), parent, "entry {ordinal}");
        parent = own;
    }
}
