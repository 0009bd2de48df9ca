//! The connection to the broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use journal::Shared;
use journal::nats::{ConnectError, Nats, Settings};
use protocol::ids::{OrchestrationName, ProcessId};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::args::{BrokerArgs, TargetArgs};
use crate::running::Running;

/// The shortest and the longest pause before a broker that is not there is looked for again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Which broker is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// As flags and environment say; flags win.
    Given(BrokerArgs),
    /// A private one at this URL: what the environment says of another one is not for it.
    Private(String),
    /// The private one that a `baton dev` in this directory has written down.
    Dev {
        /// The directory.
        data: PathBuf,
        /// Its URL.
        url: String,
        /// Whether it syncs what it acknowledges.
        is_synced: bool,
    },
}

/// The id that this process was given, or a fresh one.
pub(crate) fn process_id_or(given: Option<ProcessId>, prefix: &str) -> anyhow::Result<ProcessId> {
    given.map_or_else(|| process_id(prefix), Ok)
}

/// A fresh id for this process.
pub(crate) fn process_id(prefix: &str) -> anyhow::Result<ProcessId> {
    let mut bytes = [0; 16];
    fastrand::fill(&mut bytes);
    Ok(ProcessId::from_random(prefix, bytes)?)
}

/// Connects as `process`.
pub(crate) async fn connect(address: &Address, process: &ProcessId) -> anyhow::Result<Shared> {
    Ok(Arc::new(nats(address, process).await?))
}

/// The same, for whoever looks at the broker itself.
pub(crate) async fn nats(address: &Address, process: &ProcessId) -> anyhow::Result<Nats> {
    let settings = match address {
        Address::Given(given) => Settings::from_env(given.nats.as_deref(), process.clone(), |name| std::env::var(name).ok())?,
        Address::Private(url) => Settings::new(url, process.clone()),
        Address::Dev { url, is_synced, .. } => Settings { is_synced: *is_synced, ..Settings::new(url, process.clone()) },
    };
    let connected = Nats::connect(&settings).await;
    match address {
        Address::Given(_) | Address::Private(_) => Ok(connected?),
        Address::Dev { data, .. } => connected.with_context(|| {
            let data = data.display();
            format!("the `baton dev` that kept its data in {data} seems to be gone: start it again with --data {data}")
        }),
    }
}

/// Connects a program that runs for long: a broker that is not there yet is waited for. None when it is told to stop before.
pub(crate) async fn wait(given: &BrokerArgs, process: &ProcessId, stop: &CancellationToken) -> anyhow::Result<Option<Shared>> {
    let settings = Settings::from_env(given.nats.as_deref(), process.clone(), |name| std::env::var(name).ok())?;
    let mut pause = PAUSE.0;
    loop {
        match Nats::connect(&settings).await {
            Ok(nats) => return Ok(Some(Arc::new(nats))),
            Err(error @ ConnectError::Unreachable { .. }) => tracing::warn!("{error}. Waiting for it"),
            Err(error) => return Err(error.into()),
        }
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return Ok(None);
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Connects to the broker of an orchestration.
pub(crate) async fn target(target: &TargetArgs, process: &ProcessId) -> anyhow::Result<(Shared, OrchestrationName)> {
    let (address, orchestration) = resolve(target.data.as_deref(), target.orchestration.clone(), &target.broker)?;
    Ok((connect(&address, process).await?, orchestration))
}

/// Which broker and orchestration are meant: as given, or as a running `baton dev` has written down.
pub(crate) fn resolve(
    data: Option<&Path>,
    orchestration: Option<OrchestrationName>,
    broker: &BrokerArgs,
) -> anyhow::Result<(Address, OrchestrationName)> {
    let given = Address::Given(broker.clone());
    let Some(data) = data else {
        return Ok((given, orchestration.context("name the orchestration with --orchestration")?));
    };
    let Running { nats: url, is_synced, orchestration: runs, .. } = Running::read(data)?;
    let address = if broker.nats.is_some() { given } else { Address::Dev { data: data.to_owned(), url, is_synced } };
    Ok((address, orchestration.unwrap_or(runs)))
}
