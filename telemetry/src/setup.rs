//! Builds what the configuration asks for and installs it for the whole process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Config, Error, Export, Settings};
use crate::keys;
use crate::log::{self, BoxedLayer};

static CAPTURE_CONTENT: AtomicBool = AtomicBool::new(false);

/// Whether spans may hold what people and models said: traces are exported and
/// `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true`.
pub fn capture_content() -> bool {
    CAPTURE_CONTENT.load(Ordering::Relaxed)
}

/// Sets up logs and traces for this process, inside or outside of a runtime.
///
/// Logs go to stderr. Traces go out only if `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or
/// `OTEL_TRACES_EXPORTER=otlp` asks for it; headers, timeouts, queue sizes, sampler and limits are what the other standard
/// `OTEL_*` variables say. A program that links rustls installs its crypto provider first, or the exporter's HTTP client cannot be built.
pub fn init(settings: &Settings) -> Result<Guard, Error> {
    let config = Config::resolve(settings, |name| std::env::var(name).ok())?;
    let provider = config.export.as_ref().map(|export| provider(settings, export)).transpose()?;
    let mut layers = vec![log::layer(config.format, config.filter)];
    layers.extend(provider.as_ref().map(layer));
    tracing_subscriber::registry().with(layers).try_init().map_err(|_| Error::AlreadySet)?;
    CAPTURE_CONTENT.store(config.export.is_some_and(|export| export.capture_content), Ordering::Relaxed);
    Ok(Guard { provider })
}

/// Keeps the exporter; a program ends with [`Guard::shutdown`], or loses its last spans.
#[derive(Debug)]
#[must_use = "without a shutdown the last spans are lost"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Guard {
    /// Exports what is still queued, for `timeout` at most: a dead collector must not hold the process up. What cannot be
    /// delivered by then is lost, and the log says so.
    pub async fn shutdown(self, timeout: Duration) {
        let Some(provider) = self.provider else { return };
        // The exporter's thread is given up on at the timeout, so this task ends with it and the runtime can be dropped.
        let flush = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(timeout));
        if let Ok(Err(error)) = flush.await {
            tracing::warn!(%error, "the last spans are lost");
        }
    }
}

/// A batch processor with a bounded queue, exporting on a thread of its own: the only place where a blocking client may be called.
fn provider(settings: &Settings, export: &Export) -> Result<SdkTracerProvider, Error> {
    let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(&export.endpoint).build()?;
    Ok(SdkTracerProvider::builder().with_resource(resource(settings, export)).with_batch_exporter(exporter).build())
}

/// Who we are; `OTEL_RESOURCE_ATTRIBUTES` wins over the program, and `OTEL_SERVICE_NAME` over both.
fn resource(settings: &Settings, export: &Export) -> Resource {
    let own = [
        Some(KeyValue::new("service.name", settings.service.clone())),
        settings.namespace.clone().map(|namespace| KeyValue::new("service.namespace", namespace)),
        Some(KeyValue::new("service.instance.id", settings.instance.clone())),
        Some(KeyValue::new("service.version", settings.version.clone())),
    ];
    Resource::builder_empty()
        .with_attributes(own.into_iter().flatten())
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())])
        .with_attributes(export.service.clone().map(|name| KeyValue::new("service.name", name)))
        .build()
}

/// The layer that turns spans of `tracing` into exported ones, without attributes about targets, source lines and threads.
fn layer(provider: &SdkTracerProvider) -> BoxedLayer {
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(keys::TARGET))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(FilterFn::new(is_exported).with_max_level_hint(LevelFilter::INFO))
        .boxed()
}

/// Our own spans, and warnings from anywhere as events in them; not the spans of libraries, the exporter's own HTTP client among them.
fn is_exported(metadata: &Metadata<'_>) -> bool {
    if metadata.is_span() { metadata.target() == keys::TARGET } else { *metadata.level() <= Level::WARN }
}
