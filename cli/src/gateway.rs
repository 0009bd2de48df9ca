//! `baton gateway`: one process that serves people over HTTP.

use std::process::ExitCode;

use anyhow::Context;
use gateway::{Config, Gateway};

use crate::args::{GatewayArgs, LogArgs};
use crate::connect::{self, Address};
use crate::{health, program};

pub(crate) async fn command(args: GatewayArgs, log: &LogArgs) -> anyhow::Result<ExitCode> {
    let process = connect::process_id_or(args.program.process.clone(), "gateway")?;
    let namespace = match args.orchestrations.as_slice() {
        [orchestration] => Some(orchestration.to_string()),
        _ => None,
    };
    let telemetry = program::telemetry(log, "gateway", namespace, process.as_str(), "info")?;
    let stop = program::stop_on_signal(args.program.tied)?;
    let broker = connect::connect(&Address::Given(args.program.broker), &process).await?;

    let config =
        Config { listen: args.listen, group: args.name, origins: args.origins, trace_url: args.trace_url, streams_max: args.streams_max };
    let gateway = Gateway::bind(broker.clone(), process.clone(), args.orchestrations, config).await;
    let gateway = gateway.with_context(|| format!("cannot listen at {}: choose another address with --listen", args.listen))?;
    tracing::info!("listening at http://{}/", gateway.address());
    let mut ready = gateway.ready();
    if let Some(address) = args.program.health {
        let bound = health::serve(address, ready.clone()).await?;
        tracing::info!("health checks at http://{bound}/readyz");
    }
    tokio::spawn(async move {
        if ready.wait_for(|ready| *ready).await.is_ok() {
            tracing::info!("ready, as {process}");
        }
    });
    gateway.run(stop).await;
    broker.drain().await;
    tracing::info!("stopped");
    Ok(program::finish(telemetry).await)
}
