//! One orchestration from provisioning to the end: warnings in words, the ledger from its checkpoint, the lease beside it.

use std::sync::Arc;
use std::time::Duration;

use journal::registry::{self, RegistryError};
use journal::service::{Endpoint, Service};
use journal::{ProvisionError, Provisioned, Shared, StoreError};
use protocol::ids::{AgentName, OrchestrationName, ProcessId};
use protocol::subject;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::act::Actor;
use crate::driver::Driver;
use crate::input::QUEUE;
use crate::lease::Lease;
use crate::ledger::Ledger;
use crate::query::VERBS;
use crate::{Config, CoordinatorError, Served, checkpoint};

/// Between two attempts at a broker that does not answer, at most.
const PAUSE_MAX: Duration = Duration::from_secs(2);

pub(crate) async fn serve(
    broker: Shared,
    process: ProcessId,
    config: Config,
    served: Served,
    ready: watch::Sender<bool>,
    stop: CancellationToken,
) -> Result<(), CoordinatorError> {
    let name = served.name().clone();
    let (agents, ledger) = tokio::select! {
        begun = begin(&broker, &config, &served) => begun?,
        () = stop.cancelled() => return Ok(()),
    };
    tracing::info!(orchestration = %name, %process, seq = %ledger.seq(), open = ledger.open_count(), "coordinating");
    let (leads, is_leader) = watch::channel(false);
    let resign = CancellationToken::new();
    let lease = Lease::new(broker.clone(), name.clone(), process.clone(), config.lease);
    // Dropped with this future: nobody holds a lease for a coordinator that is gone.
    let standing = AbortOnDropHandle::new(tokio::spawn(lease.stand(leads, resign.clone())));
    let _registered = AbortOnDropHandle::new(tokio::spawn(register(broker.clone(), name.clone(), process.clone())));
    let actor = Arc::new(Actor::new(broker, name, process));
    let coordinated = Driver::new(actor, config, agents, ledger, is_leader).run(ready, stop).await;
    resign.cancel();
    standing.await?;
    Ok(coordinated?)
}

/// Registers this process and the verbs it answers, for `nats service ls`.
async fn register(broker: Shared, orchestration: OrchestrationName, process: ProcessId) {
    let endpoint =
        |verb: &str| Endpoint { name: verb.to_owned(), subject: subject::coordinator(&orchestration, verb), queue_group: QUEUE.to_owned() };
    let service = Service {
        name: "coordinator".to_owned(),
        process,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: format!("Baton coordinator of orchestration {orchestration}"),
        metadata: [("orchestration".to_owned(), orchestration.to_string())].into(),
        endpoints: VERBS.map(endpoint).into(),
    };
    if let Err(error) = service.answer(&*broker).await {
        tracing::debug!("not registered as a service: {error}");
    }
}

/// Provisions and restores, for as long as the broker is merely away.
async fn begin(broker: &Shared, config: &Config, served: &Served) -> Result<(Vec<AgentName>, Ledger), CoordinatorError> {
    let mut pause = Duration::from_millis(100);
    loop {
        match try_begin(broker, config, served).await {
            Err(
                error @ (CoordinatorError::Provision { error: ProvisionError::Unavailable(_), .. }
                | CoordinatorError::Registry { error: RegistryError::Store(StoreError::Unavailable(_)), .. }),
            ) => tracing::warn!("{error}"),
            result => return result,
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn try_begin(broker: &Shared, config: &Config, served: &Served) -> Result<(Vec<AgentName>, Ledger), CoordinatorError> {
    let agents = prepare(broker, config, served).await?;
    let ended_kept_ms = u64::try_from(config.ended_kept.as_millis()).unwrap_or(u64::MAX);
    Ok((agents, restore(broker, served, ended_kept_ms).await?))
}

/// Makes what the orchestration needs, registers its definition, and names its agents.
async fn prepare(broker: &Shared, config: &Config, served: &Served) -> Result<Vec<AgentName>, CoordinatorError> {
    let orchestration = served.name().clone();
    let registry_error = |error| CoordinatorError::Registry { orchestration: orchestration.clone(), error };
    let definition = match served {
        Served::Definition(definition) => definition.clone(),
        Served::Registered(name) => {
            let revision = registry::current(&**broker, name).await.map_err(registry_error)?;
            Box::new(registry::definition(&**broker, name, &revision).await.map_err(registry_error)?)
        }
    };
    let agents: Vec<_> = definition.agents().map(|agent| agent.name.clone()).collect();
    let provisioned = broker.provision(&config.plan(orchestration.clone(), agents.clone())).await;
    let provisioned = provisioned.map_err(|error| CoordinatorError::Provision { orchestration: orchestration.clone(), error })?;
    say(served, &provisioned);
    if matches!(served, Served::Definition(_)) {
        registry::register(&**broker, &definition).await.map_err(registry_error)?;
    }
    Ok(agents)
}

fn say(served: &Served, provisioned: &Provisioned) {
    let orchestration = served.name();
    tracing::info!(%orchestration, created = ?provisioned.created, durable = provisioned.is_durable, "provisioned");
    for warning in &provisioned.warnings {
        tracing::warn!(%orchestration, "{warning}");
    }
}

async fn restore(broker: &Shared, served: &Served, ended_kept_ms: u64) -> Result<Ledger, CoordinatorError> {
    let loaded = checkpoint::load(&**broker, served.name()).await;
    let error = |error: StoreError| CoordinatorError::Registry { orchestration: served.name().clone(), error: error.into() };
    Ok(match loaded.map_err(error)? {
        Some((seq, rows)) => Ledger::restore(ended_kept_ms, seq, rows),
        None => Ledger::new(ended_kept_ms),
    })
}
