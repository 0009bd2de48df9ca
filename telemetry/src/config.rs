//! What this process was asked to log and to export, read from settings and environment before anything is built.

use std::str::FromStr;

use opentelemetry_otlp::ExporterBuildError;
use tracing_subscriber::EnvFilter;

/// What a program knows about itself, and what its flags say; flags win over the environment.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `service.name`: the agent, `coordinator` or `gateway`.
    pub service: String,
    /// `service.namespace`: the orchestration, if the process serves one only.
    pub namespace: Option<String>,
    /// `service.instance.id`: this process.
    pub instance: String,
    /// `service.version`: the build.
    pub version: String,
    /// The flag for the format of logs, otherwise `BATON_LOG_FORMAT`, otherwise [`Format::Pretty`].
    pub format: Option<Format>,
    /// The flag for what to log, otherwise `BATON_LOG` or `RUST_LOG`, otherwise the default.
    pub filter: Option<String>,
    /// What to log if nobody says, such as `info`.
    pub default_filter: &'static str,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people: short, in colour on a terminal.
    Pretty,
    /// For machines: one JSON object a line, with `trace_id` and `span_id` where there are any.
    Json,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err(Error::Format { name: name.to_owned() }),
        }
    }
}

/// Why logs and traces could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither `pretty` nor `json`.
    #[error("no log format is called {name:?}: take pretty or json (BATON_LOG_FORMAT)")]
    Format {
        /// What was asked for.
        name: String,
    },
    /// The filter is not a list of `target=level`.
    #[error("{filter:?} says nothing about what to log (BATON_LOG, RUST_LOG): {reason}")]
    Filter {
        /// What was asked for.
        filter: String,
        /// What is wrong with it.
        reason: tracing_subscriber::filter::ParseError,
    },
    /// An exporter that Baton does not have.
    #[error("OTEL_TRACES_EXPORTER={name} is not supported: take otlp or none, or unset it")]
    Exporter {
        /// What was asked for.
        name: String,
    },
    /// A protocol that Baton does not have, gRPC above all.
    #[error(
        "{variable}={protocol} is not supported, Baton exports over http/protobuf: unset {variable} and point \
         OTEL_EXPORTER_OTLP_ENDPOINT at the collector's HTTP port, usually 4318"
    )]
    Protocol {
        /// The variable that asks for it.
        variable: &'static str,
        /// What was asked for.
        protocol: String,
    },
    /// The exporter refused its settings, such as an endpoint that is no URL.
    #[error("traces cannot be exported (OTEL_EXPORTER_OTLP_*): {0}")]
    Build(#[from] ExporterBuildError),
    /// Logs and traces are set up once a process.
    #[error("logs and traces are set up already")]
    AlreadySet,
}

/// Settings and environment, understood.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) format: Format,
    pub(crate) filter: EnvFilter,
    /// Where traces go; `None` is off.
    pub(crate) export: Option<Export>,
}

/// How traces are exported.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Export {
    /// The URL that spans are posted to.
    pub(crate) endpoint: String,
    /// `OTEL_SERVICE_NAME`, which wins over what the program calls itself.
    pub(crate) service: Option<String>,
    /// Whether spans hold what people and models said.
    pub(crate) capture_content: bool,
}

impl Config {
    /// Reads what `settings` leave open from `env`. By OpenTelemetry's rule an empty variable is one that is not set.
    pub(crate) fn resolve(settings: &Settings, env: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let env = |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let format = match settings.format {
            Some(format) => format,
            None => env("BATON_LOG_FORMAT").map_or(Ok(Format::Pretty), |name| name.parse())?,
        };
        let filter = settings.filter.clone().or_else(|| env("BATON_LOG")).or_else(|| env("RUST_LOG"));
        let filter = filter.unwrap_or_else(|| settings.default_filter.to_owned());
        let filter = EnvFilter::builder().parse(&filter).map_err(|reason| Error::Filter { filter, reason })?;
        Ok(Self { format, filter, export: Export::resolve(env)? })
    }
}

impl Export {
    /// Off unless an endpoint or the exporter is named, and not switched off.
    fn resolve(env: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Error> {
        let is_true = |name| env(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let exporter = env("OTEL_TRACES_EXPORTER");
        if is_true("OTEL_SDK_DISABLED") || exporter.as_deref() == Some("none") {
            return Ok(None);
        }
        let endpoint = env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            .or_else(|| env("OTEL_EXPORTER_OTLP_ENDPOINT").map(|base| format!("{}/v1/traces", base.trim_end_matches('/'))));
        let endpoint = match (exporter.as_deref(), endpoint) {
            (None, None) => return Ok(None),
            (None | Some("otlp"), Some(endpoint)) => endpoint,
            (Some("otlp"), None) => "http://localhost:4318/v1/traces".to_owned(),
            (Some(name), _) => return Err(Error::Exporter { name: name.to_owned() }),
        };
        let protocol = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]
            .into_iter()
            .find_map(|variable| env(variable).map(|protocol| (variable, protocol)));
        if let Some((variable, protocol)) = protocol.filter(|(_, protocol)| protocol != "http/protobuf") {
            return Err(Error::Protocol { variable, protocol });
        }
        Ok(Some(Self {
            endpoint,
            service: env("OTEL_SERVICE_NAME"),
            capture_content: is_true("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            service: "triage".to_owned(),
            namespace: Some("support".to_owned()),
            instance: "1".to_owned(),
            version: "0.1.0".to_owned(),
            format: None,
            filter: None,
            default_filter: "info",
        }
    }

    fn resolve(settings: &Settings, env: &[(&str, &str)]) -> Result<Config, Error> {
        Config::resolve(settings, |name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    fn export(env: &[(&str, &str)]) -> Option<Export> {
        resolve(&settings(), env).unwrap().export
    }

    fn endpoint(env: &[(&str, &str)]) -> Option<String> {
        export(env).map(|export| export.endpoint)
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_defaults() {
        let looks = |settings: &Settings, env: &[(&str, &str)]| {
            let config = resolve(settings, env).unwrap();
            (config.format, config.filter.to_string())
        };
        let env = [("BATON_LOG_FORMAT", "json"), ("BATON_LOG", "debug"), ("RUST_LOG", "trace")];
        let flags = Settings { format: Some(Format::Pretty), filter: Some("warn".to_owned()), ..settings() };
        assert_eq!(looks(&settings(), &[]), (Format::Pretty, "info".to_owned()));
        assert_eq!(looks(&settings(), &env), (Format::Json, "debug".to_owned()));
        assert_eq!(looks(&settings(), &env[2..]), (Format::Pretty, "trace".to_owned()));
        assert_eq!(looks(&flags, &env), (Format::Pretty, "warn".to_owned()));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let said = |env: &[(&str, &str)]| resolve(&settings(), env).unwrap_err().to_string();
        assert!(said(&[("BATON_LOG_FORMAT", "xml")]).contains("\"xml\""));
        assert!(said(&[("BATON_LOG", "journal=loud")]).contains("journal=loud"));
        assert!(said(&[("OTEL_TRACES_EXPORTER", "zipkin")]).contains("OTEL_TRACES_EXPORTER=zipkin"));
    }

    #[test]
    fn nothing_is_exported_unless_asked_for() {
        let to = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        assert_eq!(endpoint(&[]), None);
        assert_eq!(endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), None);
        assert_eq!(endpoint(&[("OTEL_SERVICE_NAME", "x")]), None);
        assert_eq!(endpoint(&[to, ("OTEL_SDK_DISABLED", "True")]), None);
        assert_eq!(endpoint(&[to, ("OTEL_TRACES_EXPORTER", "none")]), None);
        assert_eq!(endpoint(&[to, ("OTEL_SDK_DISABLED", "false")]).unwrap(), "http://collector:4318/v1/traces");
    }

    #[test]
    fn the_endpoint_for_traces_is_taken_as_it_is() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://jaeger:4318/in");
        assert_eq!(endpoint(&[base, own]).unwrap(), "http://jaeger:4318/in");
        assert_eq!(endpoint(&[base]).unwrap(), "http://collector:4318/v1/traces");
        assert_eq!(endpoint(&[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap(), "http://localhost:4318/v1/traces");
    }

    #[test]
    fn grpc_is_refused_with_the_way_out() {
        let to = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        for variable in ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] {
            let said = resolve(&settings(), &[to, (variable, "grpc")]).unwrap_err().to_string();
            assert!(said.contains(&format!("{variable}=grpc")) && said.contains("4318"), "{said}");
        }
        assert!(export(&[to, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]).is_some());
        assert!(export(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).is_none(), "who exports nothing needs no protocol");
    }

    #[test]
    fn bodies_are_captured_on_opt_in_only() {
        let to = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        let opt_in = |value| ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", value);
        assert!(!export(&[to]).unwrap().capture_content);
        assert!(!export(&[to, opt_in("1")]).unwrap().capture_content);
        assert!(export(&[to, opt_in("true")]).unwrap().capture_content);
    }
}
