//! Where processes export their spans to: OTLP over HTTP, as Jaeger takes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use telemetry::keys;
use tests::processes::eventually;
use tokio::net::TcpListener;
use tokio::process::Command;

/// A span as it arrived, with the service that sent it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) instance: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty for a root.
    pub(crate) parent: String,
    /// Traces and spans.
    pub(crate) links: Vec<(String, String)>,
    pub(crate) start_nanos: u64,
    attributes: BTreeMap<String, String>,
}

impl Span {
    /// An attribute as text; a list's elements are separated by commas.
    pub(crate) fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.get(key).map(String::as_str)
    }

    pub(crate) fn conversation(&self) -> Option<&str> {
        self.attribute(keys::CONVERSATION)
    }
}

/// Takes spans until the test ends.
pub(crate) struct Sink {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Sink {
    pub(crate) async fn start() -> Self {
        let spans = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new().route("/v1/traces", post(take)).with_state(spans.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, spans }
    }

    /// Has a process export its spans here, soon after they end.
    pub(crate) fn is_told_by(&self, command: &mut Command) {
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.url).env("OTEL_BSP_SCHEDULE_DELAY", "50");
    }

    /// The spans that have arrived, in the order in which they began.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let mut spans = self.spans.lock().unwrap().clone();
        spans.sort_by_key(|span| span.start_nanos);
        spans
    }

    /// The first span of which `is_it` holds, once it has arrived.
    pub(crate) async fn span(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        eventually(what, async || self.spans().into_iter().find(&is_it)).await
    }
}

/// An empty answer is the protocol's "all of it was taken".
async fn take(State(spans): State<Arc<Mutex<Vec<Span>>>>, body: Bytes) {
    let export = ExportTraceServiceRequest::decode(body).unwrap();
    for resource_spans in export.resource_spans {
        let resource = attributes(&resource_spans.resource.unwrap_or_default().attributes);
        let of = |key: &str| resource.get(key).cloned();
        for span in resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.lock().unwrap().push(Span {
                service: of("service.name").unwrap(),
                instance: of("service.instance.id").unwrap(),
                namespace: of("service.namespace"),
                kind: span.kind(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
                start_nanos: span.start_time_unix_nano,
                attributes: attributes(&span.attributes),
                name: span.name,
            });
        }
    }
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute.value.as_ref()))).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::ArrayValue(list)) => list.values.iter().map(|value| text(Some(value))).collect::<Vec<_>>().join(","),
        other => panic!("no attribute of ours: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
