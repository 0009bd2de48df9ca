//! W3C trace context as a plain value: what an entry, a header or a request stores so that the next process continues the trace.
//!
//! None of this can fail a caller: a trace context that is missing, malformed or not wanted leaves a span without that parent or
//! link, never work undone.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId};
use tracing::Span;
use tracing_opentelemetry::{OpenTelemetrySpanExt, SetParentError};

/// A place in a trace, as the two W3C headers hold it. Not checked until it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The `traceparent` header: version, trace, span and flags.
    pub traceparent: String,
    /// The `tracestate` header, if there is anything in it.
    pub tracestate: Option<String>,
}

impl TraceContext {
    /// What a request's `traceparent` and `tracestate` headers say, each looked up by its name; `None` when they name no trace.
    ///
    /// Its span can be a request's parent ([`set_parent`]), or something that it only points to ([`add_link`]): a caller that is
    /// a parent decides whether the trace is sampled, and, if it says several things, puts several user turns into one trace.
    pub fn from_headers<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let context = Self { traceparent: header("traceparent")?.to_owned(), tracestate: header("tracestate").map(str::to_owned) };
        context.span_context().map(|span| Self::from(&span))
    }

    /// The trace's id in 32 hexadecimal digits, for a link to it: `None` when malformed, or not sampled and so nowhere to be seen.
    pub fn trace_id(&self) -> Option<String> {
        let span = self.span_context().filter(SpanContext::is_sampled)?;
        Some(span.trace_id().to_string())
    }

    /// Parses strictly by W3C Trace Context level 1. OpenTelemetry's own propagator also takes signs, spaces and short ids.
    fn span_context(&self) -> Option<SpanContext> {
        let mut fields = self.traceparent.splitn(5, '-');
        let version = hex(fields.next()?, 2)?;
        let trace = TraceId::from(hex(fields.next()?, 32)?);
        let span = SpanId::from(u64::try_from(hex(fields.next()?, 16)?).ok()?);
        let flags = TraceFlags::new(u8::try_from(hex(fields.next()?, 2)?).ok()?) & TraceFlags::SAMPLED;
        // Later versions may add fields; version 00 has none, and ff is forbidden.
        if version == 0xff || (version == 0 && fields.next().is_some()) {
            return None;
        }
        let state = self.tracestate.as_deref().and_then(|state| state.parse().ok()).unwrap_or_default();
        Some(SpanContext::new(trace, span, flags, true, state)).filter(SpanContext::is_valid)
    }
}

impl From<&SpanContext> for TraceContext {
    fn from(span: &SpanContext) -> Self {
        let state = span.trace_state().header();
        Self {
            traceparent: format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags() & TraceFlags::SAMPLED),
            tracestate: Some(state).filter(|state| !state.is_empty()),
        }
    }
}

/// Where the current span is in its trace, to be continued elsewhere; `None` when nothing is exported or no span is entered.
///
/// A span that the sampler left out has a context too, with the sampled flag off: whoever continues the trace then leaves its part
/// out as well, instead of starting a trace without a beginning.
pub fn current() -> Option<TraceContext> {
    let context = Context::current();
    let span = context.span();
    span.span_context().is_valid().then(|| span.span_context().into())
}

/// The current trace's id in 32 hexadecimal digits, for logs and answers to people; `None` when the trace is not exported.
pub fn trace_id() -> Option<String> {
    sampled().map(|span| span.trace_id().to_string())
}

/// Makes `span` a child of `parent`, which is usually in another process, instead of the current span. To be called before the span is entered.
pub fn set_parent(span: &Span, parent: &TraceContext) {
    let Some(parent) = parent.span_context() else { return };
    let outcome = span.set_parent(Context::new().with_remote_span_context(parent));
    // The other errors say that nobody wants the span.
    if let Err(SetParentError::AlreadyStarted) = outcome {
        tracing::warn!("a span keeps the parent it has once it was entered");
    }
}

/// Points from `span` to another place that it has to do with, such as the attempt before this one.
pub fn add_link(span: &Span, to: &TraceContext) {
    if let Some(to) = to.span_context() {
        span.add_link(to);
    }
}

/// The current span, if it is exported.
pub(crate) fn sampled() -> Option<SpanContext> {
    let context = Context::current();
    let span = context.span();
    Some(span.span_context()).filter(|span| span.is_valid() && span.is_sampled()).cloned()
}

/// The value of exactly `digits` lower-case hexadecimal digits.
fn hex(field: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (field.len() == digits && field.bytes().all(is_hex)).then(|| u128::from_str_radix(field, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<SpanContext> {
        TraceContext { traceparent: traceparent.to_owned(), tracestate: tracestate.map(str::to_owned) }.span_context()
    }

    #[test]
    fn what_is_formatted_parses_to_the_same() {
        for flags in ["00", "01"] {
            for tracestate in [None, Some("vendor=a,other=b")] {
                let written = TraceContext { traceparent: format!("00-{TRACE}-{SPAN}-{flags}"), tracestate: tracestate.map(str::to_owned) };
                let span = written.span_context().unwrap();
                assert_eq!(TraceContext::from(&span), written);
                assert_eq!((span.trace_id().to_string(), span.span_id().to_string()), (TRACE.to_owned(), SPAN.to_owned()));
                assert_eq!((span.is_sampled(), span.is_remote()), (flags == "01", true));
            }
        }
    }

    #[test]
    fn later_versions_may_add_fields_and_flags() {
        assert!(parse(&format!("00-{TRACE}-{SPAN}-03"), None).unwrap().is_sampled());
        assert!(!parse(&format!("00-{TRACE}-{SPAN}-02"), None).unwrap().is_sampled());
        assert!(parse(&format!("01-{TRACE}-{SPAN}-01-more-of-it"), None).is_some());
    }

    #[test]
    fn what_is_malformed_is_no_context() {
        let upper = TRACE.to_uppercase();
        for bad in [
            String::new(),
            "garbage".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("00-{upper}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-+{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-ünïcödé-01"),
        ] {
            assert!(parse(&bad, None).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_bad_tracestate_does_not_cost_the_trace() {
        let span = parse(&format!("00-{TRACE}-{SPAN}-01"), Some("no equals sign")).unwrap();
        assert_eq!(TraceContext::from(&span).tracestate, None);
    }

    #[test]
    fn headers_name_a_trace_or_none() {
        let (parent, malformed) = (format!("00-{TRACE}-{SPAN}-01"), format!("00-{TRACE}-01"));
        let read = |headers: &[(&str, &str)]| {
            TraceContext::from_headers(|name| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| *value))
        };
        let context =
            |tracestate: Option<&str>| Some(TraceContext { traceparent: parent.clone(), tracestate: tracestate.map(str::to_owned) });
        assert_eq!(read(&[("traceparent", &parent), ("tracestate", "vendor=a")]), context(Some("vendor=a")));
        assert_eq!(read(&[("traceparent", &parent), ("tracestate", "no equals sign")]), context(None));
        assert_eq!(read(&[("traceparent", &malformed), ("tracestate", "vendor=a")]), None);
        assert_eq!(read(&[("tracestate", "vendor=a")]), None);
    }

    #[test]
    fn only_a_sampled_trace_can_be_linked_to() {
        let context = |flags| TraceContext { traceparent: format!("00-{TRACE}-{SPAN}-{flags}"), tracestate: None };
        assert_eq!(context("01").trace_id().as_deref(), Some(TRACE));
        assert_eq!(context("00").trace_id(), None);
        assert_eq!(context("xx").trace_id(), None);
    }

    #[test]
    fn without_a_layer_there_is_no_context_and_nothing_fails() {
        let parent = TraceContext { traceparent: format!("00-{TRACE}-{SPAN}-01"), tracestate: None };
        let subscriber = tracing_subscriber::registry();
        tracing::subscriber::with_default(subscriber, || {
            let span = crate::spans::user_turn("c-1");
            set_parent(&span, &parent);
            add_link(&span, &parent);
            assert!(!span.is_disabled());
            span.in_scope(|| assert_eq!((current(), trace_id()), (None, None)));
        });
    }
}
