//! Where the deployment's processes export their spans to; it can be slow, or away.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

use super::record::Seen;
use super::recorder::Recorder;

/// How the collector takes spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// At once.
    #[default]
    Prompt,
    /// After this time.
    Slow(Duration),
    /// Not at all.
    Away,
}

/// An OTLP receiver.
#[derive(Clone, Debug)]
pub struct Collector {
    recorder: Recorder,
    mood: Arc<watch::Sender<Mood>>,
}

impl Collector {
    /// A collector at a free port, and its address.
    pub async fn start(recorder: Recorder) -> (Self, String) {
        let collector = Self { recorder, mood: Arc::default() };
        let router = axum::Router::new().route("/v1/traces", axum::routing::post(take)).with_state(collector.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, url)
    }

    /// From now on.
    pub fn is(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

/// An empty answer is the protocol's "all of it was taken".
async fn take(State(collector): State<Collector>, body: Bytes) -> StatusCode {
    let mood = *collector.mood.borrow();
    match mood {
        Mood::Prompt => {}
        Mood::Slow(by) => sleep(by).await,
        Mood::Away => return StatusCode::SERVICE_UNAVAILABLE,
    }
    let Ok(export) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let spans = export.resource_spans.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
    for span in spans {
        collector.recorder.note(Seen::Span {
            trace: hex(&span.trace_id),
            span: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            name: span.name,
            attributes: span.attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value.as_ref()))).collect(),
        });
    }
    StatusCode::OK
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::ArrayValue(list)) => list.values.iter().map(|value| text(Some(value))).collect::<Vec<_>>().join(","),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
