//! How log lines look.

use std::fmt;
use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::format::{self, JsonFields, Writer};
use tracing_subscriber::fmt::{self as lines, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::config::Format;
use crate::context;

/// Any layer of the process's subscriber.
pub(crate) type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The layer that writes logs to stderr.
pub(crate) fn layer(format: Format, filter: EnvFilter) -> BoxedLayer {
    match format {
        Format::Pretty => {
            let in_colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            // People see no span in a line, so that without an exporter no span is ever made.
            let filter = filter.and(filter_fn(|metadata| metadata.is_event()));
            lines::layer().with_writer(io::stderr).with_ansi(in_colour).event_format(Pretty).with_filter(filter).boxed()
        }
        Format::Json => {
            let json = Json(format::format().json().flatten_event(true).with_span_list(false));
            lines::layer().with_writer(io::stderr).fmt_fields(JsonFields::new()).event_format(json).with_filter(filter).boxed()
        }
    }
}

/// Time of day (UTC), level, crate, message, fields.
struct Pretty;

impl<S, N> FormatEvent<S, N> for Pretty
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let (dim, colour, plain) = if writer.has_ansi_escapes() { ("\x1b[2m", colour(level), "\x1b[0m") } else { ("", "", "") };
        let source = target.split("::").next().unwrap_or(target);
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        write!(writer, "{dim}{}{plain} {colour}{level:>5}{plain} {dim}{source}{plain} ", TimeOfDay(since_epoch))?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[34m",
    }
}

/// A time since the epoch, shown as time of day: who watches a terminal knows the date.
struct TimeOfDay(Duration);

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, millis) = (self.0.as_secs(), self.0.subsec_millis());
        write!(f, "{:02}:{:02}:{:02}.{millis:03}", secs / 3600 % 24, secs / 60 % 60, secs % 60)
    }
}

/// The usual JSON line, with the ids that lead to the trace in front.
struct Json(format::Format<format::Json>);

impl<S> FormatEvent<S, JsonFields> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(&self, context: &FmtContext<'_, S, JsonFields>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(span) = context::sampled() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let rest = line.strip_prefix('{').ok_or(fmt::Error)?;
        write!(writer, r#"{{"trace_id":"{}","span_id":"{}",{rest}"#, span.trace_id(), span.span_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_day_wraps_at_midnight() {
        let shown = |millis| TimeOfDay(Duration::from_millis(millis)).to_string();
        assert_eq!(shown(0), "00:00:00.000");
        assert_eq!(shown(86_399_999), "23:59:59.999");
        assert_eq!(shown(86_400_000 + 3_661_007), "01:01:01.007");
    }
}
