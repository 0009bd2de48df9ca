//! `baton gateway`: one process that serves people over HTTP.

use std::process::ExitCode;

use anyhow::Context;
use gateway::{Config, Gateway};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::args::{GatewayArgs, LogArgs};
use crate::{connect, health, program};

/// Descriptors that are not people's: the broker's, health checks', spans'.
const RESERVED: u64 = 64;

pub(crate) async fn command(args: GatewayArgs, log: &LogArgs) -> anyhow::Result<ExitCode> {
    let process = connect::process_id_or(args.program.process.clone(), "gateway")?;
    let namespace = match args.orchestrations.as_slice() {
        [orchestration] => Some(orchestration.to_string()),
        _ => None,
    };
    let telemetry = program::telemetry(log, "gateway", namespace, process.as_str(), "info")?;
    let stop = program::stop_on_signal(args.program.tied)?;
    let Some(broker) = connect::wait(&args.program.broker, &process, &stop).await? else {
        return Ok(program::finish(telemetry).await);
    };
    let config = Config {
        listen: args.listen,
        group: args.name,
        origins: args.origins,
        trace_url: args.trace_url,
        streams_max: args.streams_max,
        connections_max: connections_max(),
    };
    let gateway = Gateway::bind(broker.clone(), process.clone(), args.orchestrations, config).await;
    let gateway = gateway.with_context(|| format!("cannot listen at {}: choose another address with --listen", args.listen))?;
    tracing::info!("listening at http://{}/", gateway.address());
    let ready = gateway.ready();
    if let Some(address) = args.program.health {
        let bound = health::serve(address, ready.clone()).await?;
        tracing::info!("health checks at http://{bound}/readyz");
    }
    program::say_when_ready(ready, &process);
    gateway.run(stop).await;
    broker.drain().await;
    tracing::info!("stopped");
    Ok(program::finish(telemetry).await)
}

/// As many connections as this process may have descriptors: all that it can get are taken.
fn connections_max() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Where it may not be raised, what there is must do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors.saturating_sub(RESERVED)).unwrap_or(usize::MAX)
}
