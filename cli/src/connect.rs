//! The connection to the broker.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use journal::Shared;
use journal::nats::{Nats, Settings};
use protocol::ids::{OrchestrationName, ProcessId};

use crate::args::{BrokerArgs, TargetArgs};
use crate::dev;

/// A fresh id for this process.
pub(crate) fn process_id(prefix: &str) -> anyhow::Result<ProcessId> {
    let mut bytes = [0; 16];
    fastrand::fill(&mut bytes);
    Ok(ProcessId::from_random(prefix, bytes)?)
}

/// Connects as `process`; flags win over the environment.
pub(crate) async fn connect(broker: &BrokerArgs, process: &ProcessId) -> anyhow::Result<Shared> {
    let settings = Settings::from_env(broker.nats.as_deref(), process.clone(), |name| std::env::var(name).ok())?;
    let nats = Nats::connect(&settings).await?;
    Ok(Arc::new(nats))
}

/// Connects to the broker of an orchestration: as given, or as a running `baton dev` has written down.
pub(crate) async fn target(target: &TargetArgs, process: &ProcessId) -> anyhow::Result<(Shared, OrchestrationName)> {
    let (nats, orchestration) = resolve(target.data.as_deref(), target.orchestration.clone(), &target.broker)?;
    Ok((connect(&nats, process).await?, orchestration))
}

/// Which broker and orchestration are meant.
pub(crate) fn resolve(
    data: Option<&Path>,
    orchestration: Option<OrchestrationName>,
    broker: &BrokerArgs,
) -> anyhow::Result<(BrokerArgs, OrchestrationName)> {
    let Some(data) = data else {
        return Ok((broker.clone(), orchestration.context("name the orchestration with --orchestration")?));
    };
    let running = dev::Running::read(data)?;
    let nats = broker.nats.clone().unwrap_or(running.nats);
    Ok((BrokerArgs { nats: Some(nats) }, orchestration.unwrap_or(running.orchestration)))
}
