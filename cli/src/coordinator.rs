//! `baton coordinator`: one process that watches over orchestrations.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use coordinator::{Config, Coordinator, Served};
use protocol::orchestration::Orchestration;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::args::{CoordinatorArgs, LogArgs, ProgramArgs, StorageArgs};
use crate::manifest::Followed;
use crate::{connect, health, program};

pub(crate) async fn command(args: CoordinatorArgs, log: &LogArgs) -> anyhow::Result<ExitCode> {
    let mut orchestrations = Vec::new();
    // Dropped with this future.
    let mut following = JoinSet::new();
    for file in &args.manifests {
        let (checked, followed) = Followed::open(file)?;
        let definition = watch::Sender::new(Arc::new(checked.orchestration));
        orchestrations.push(Served::Followed(definition.subscribe()));
        following.spawn(follow(followed, definition));
    }
    serve(orchestrations, args.storage, args.program, log).await
}

/// Passes on what a manifest becomes, where that can be used.
async fn follow(mut followed: Followed, definition: watch::Sender<Arc<Orchestration>>) {
    loop {
        match followed.changed().await {
            Ok(checked) => drop(definition.send_replace(Arc::new(checked.orchestration))),
            Err(error) => {
                let revision = definition.borrow().revision().clone();
                tracing::error!(%revision, "the manifest has changed and cannot be used; the old revision goes on: {error:#}");
            }
        }
    }
}

/// Coordinates until it is told to stop.
pub(crate) async fn serve(orchestrations: Vec<Served>, storage: StorageArgs, args: ProgramArgs, log: &LogArgs) -> anyhow::Result<ExitCode> {
    let process = connect::process_id_or(args.process.clone(), "coordinator")?;
    let telemetry = program::telemetry(log, "coordinator", None, process.as_str(), "info")?;
    let stop = program::stop_on_signal(args.tied)?;
    let Some(broker) = connect::wait(&args.broker, &process, &stop).await? else {
        return Ok(program::finish(telemetry).await);
    };

    let mut config = Config::new(orchestrations);
    (config.replicas, config.bytes_max) = (storage.replicas, storage.journal_bytes);
    let coordinator = Coordinator::new(broker.clone(), process.clone(), config);
    let ready = coordinator.ready();
    if let Some(address) = args.health {
        let bound = health::serve(address, ready.clone()).await?;
        tracing::info!("health checks at http://{bound}/readyz");
    }
    program::say_when_ready(ready, &process);
    coordinator.run(stop).await.context("the coordinator cannot go on")?;
    broker.drain().await;
    tracing::info!("stopped");
    Ok(program::finish(telemetry).await)
}
