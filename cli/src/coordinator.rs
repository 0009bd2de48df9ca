//! `baton coordinator`: one process that watches over orchestrations.

use std::process::ExitCode;

use anyhow::Context;
use coordinator::{Config, Coordinator, Served};

use crate::args::{CoordinatorArgs, LogArgs};
use crate::{connect, health, manifest, program};

pub(crate) async fn command(args: CoordinatorArgs, log: &LogArgs) -> anyhow::Result<ExitCode> {
    let process = connect::process_id_or(args.program.process.clone(), "coordinator")?;
    let telemetry = program::telemetry(log, "coordinator", None, process.as_str(), "info")?;
    let mut orchestrations = Vec::new();
    for file in &args.manifests {
        orchestrations.push(Served::Definition(Box::new(manifest::load(file)?.orchestration)));
    }
    let stop = program::stop_on_signal(args.program.tied)?;
    let Some(broker) = connect::wait(&args.program.broker, &process, &stop).await? else {
        return Ok(program::finish(telemetry).await);
    };

    let mut config = Config::new(orchestrations);
    config.replicas = args.replicas;
    let coordinator = Coordinator::new(broker.clone(), process.clone(), config);
    let mut ready = coordinator.ready();
    if let Some(address) = args.program.health {
        let bound = health::serve(address, ready.clone()).await?;
        tracing::info!("health checks at http://{bound}/readyz");
    }
    tokio::spawn(async move {
        if ready.wait_for(|ready| *ready).await.is_ok() {
            tracing::info!("ready, as {process}");
        }
    });
    coordinator.run(stop).await.context("the coordinator cannot go on")?;
    broker.drain().await;
    tracing::info!("stopped");
    Ok(program::finish(telemetry).await)
}
