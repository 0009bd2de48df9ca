//! What every long-running program does the same way: log, stop on a signal, drain within bounds, say which happened.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use protocol::ids::ProcessId;
use telemetry::{Guard, Settings};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::args::LogArgs;
use crate::output;

/// Part of the time to stop that is kept for the last spans.
const FLUSH: Duration = Duration::from_secs(2);

/// Logs and traces of a program; `namespace` is the orchestration.
pub(crate) fn telemetry(
    log: &LogArgs,
    service: &str,
    namespace: Option<String>,
    instance: &str,
    default: &'static str,
) -> anyhow::Result<Guard> {
    let settings = Settings {
        service: service.to_owned(),
        namespace,
        instance: instance.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        format: log.log_format,
        filter: log.log.clone(),
        default_filter: default,
    };
    Ok(telemetry::init(&settings)?)
}

/// A token that the first SIGTERM or SIGINT cancels; the second one ends the process at once.
pub(crate) fn stop_on_signal(tied: bool) -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be awaited")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be awaited")?;
    let first = stop.clone();
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if asked {
                output::note("stopped at once, by a second signal");
                std::process::exit(130);
            }
            asked = true;
            first.cancel();
        }
    });
    if tied {
        let parent = stop.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            let mut stdin = tokio::io::stdin();
            while matches!(stdin.read(&mut buffer).await, Ok(read) if read > 0) {}
            parent.cancel();
        });
    }
    Ok(stop)
}

/// Says so once the program is ready.
pub(crate) fn say_when_ready(mut ready: watch::Receiver<bool>, process: &ProcessId) {
    let process = process.clone();
    tokio::spawn(async move {
        if ready.wait_for(|ready| *ready).await.is_ok() {
            tracing::info!("ready, as {process}");
        }
    });
}

/// The last spans, and the exit code of a program that ended in order.
pub(crate) async fn finish(telemetry: Guard) -> ExitCode {
    telemetry.shutdown(FLUSH).await;
    ExitCode::SUCCESS
}
