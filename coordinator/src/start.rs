//! One orchestration from provisioning to the end: warnings in words, the ledger from its checkpoint, the lease beside it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use journal::registry::{self, RegistryError};
use journal::service::{Endpoint, Service};
use journal::{ProvisionError, Provisioned, Shared, StoreError};
use protocol::ids::{OrchestrationName, ProcessId};
use protocol::orchestration::Orchestration;
use protocol::subject;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::act::Actor;
use crate::declare::Declaring;
use crate::driver::Driver;
use crate::input::QUEUE;
use crate::lease::Lease;
use crate::ledger::Ledger;
use crate::query::VERBS;
use crate::retention::Retention;
use crate::revisions::Learnt;
use crate::{Config, CoordinatorError, Served, checkpoint, job};

/// Between two attempts at a broker that does not answer, at most.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What a driver begins with.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) ledger: Ledger,
    pub(crate) retention: Retention,
    pub(crate) learnt: Learnt,
    pub(crate) declaring: Declaring,
}

pub(crate) async fn serve(
    broker: Shared,
    process: ProcessId,
    config: Config,
    served: Served,
    ready: watch::Sender<bool>,
    stop: CancellationToken,
) -> Result<(), CoordinatorError> {
    let name = served.name();
    let begun = tokio::select! {
        begun = begin(&broker, &config, &served) => begun?,
        () = stop.cancelled() => return Ok(()),
    };
    let Begun { ledger, learnt, .. } = &begun;
    tracing::info!(orchestration = %name, %process, revision = %learnt.current, seq = %ledger.seq(), open = ledger.open_count(), "coordinating");
    let (leads, is_leader) = watch::channel(false);
    let resign = CancellationToken::new();
    let lease = Lease::new(broker.clone(), name.clone(), process.clone(), config.lease);
    // Dropped with this future: nobody holds a lease for a coordinator that is gone.
    let standing = AbortOnDropHandle::new(tokio::spawn(lease.stand(leads, resign.clone())));
    let _registered = AbortOnDropHandle::new(tokio::spawn(register(broker.clone(), name.clone(), process.clone())));
    let actor = Arc::new(Actor::new(broker, name, process));
    let coordinated = Driver::new(actor, config, begun, is_leader).run(ready, stop).await;
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
async fn begin(broker: &Shared, config: &Config, served: &Served) -> Result<Begun, CoordinatorError> {
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

async fn try_begin(broker: &Shared, config: &Config, served: &Served) -> Result<Begun, CoordinatorError> {
    let orchestration = served.name();
    let registry_error = |error| CoordinatorError::Registry { orchestration: orchestration.clone(), error };
    let definition = served.definition();
    prepare(broker, config, &orchestration, definition.as_deref()).await?;
    let learnt = job::registered(broker, &orchestration, &BTreeSet::new(), Vec::new()).await.map_err(registry_error)?;
    let ended_kept_ms = u64::try_from(config.ended_kept.as_millis()).unwrap_or(u64::MAX);
    let (ledger, retention) = restore(broker, &orchestration, ended_kept_ms).await.map_err(|error| registry_error(error.into()))?;
    let declaring = Declaring::new(served, definition.map(|definition| definition.revision().clone()));
    Ok(Begun { ledger, retention, learnt, declaring })
}

/// Makes what the orchestration needs, and registers its definition, unless a coordinator has done that before: another one
/// may be current since, and this process has started with what it had.
async fn prepare(
    broker: &Shared,
    config: &Config,
    orchestration: &OrchestrationName,
    definition: Option<&Orchestration>,
) -> Result<(), CoordinatorError> {
    let registry_error = |error| CoordinatorError::Registry { orchestration: orchestration.clone(), error };
    let provision = async |definition: &Orchestration| {
        let plan = config.plan(orchestration.clone(), definition.agents().map(|agent| agent.name.clone()));
        broker.provision(&plan).await.map_err(|error| CoordinatorError::Provision { orchestration: orchestration.clone(), error })
    };
    let is_new = match definition {
        Some(definition) => match is_declared(broker, definition).await {
            Ok(is_declared) => !is_declared,
            // Whoever provisions is told what a broker lacks that merely does not answer a reader.
            Err(error) => return provision(definition).await.and(Err(registry_error(error))),
        },
        None => false,
    };
    let current = match definition {
        Some(definition) if is_new => definition.clone(),
        _ => {
            let revision = registry::current(&**broker, orchestration).await.map_err(registry_error)?;
            registry::definition(&**broker, orchestration, &revision).await.map_err(registry_error)?
        }
    };
    say(orchestration, &provision(&current).await?);
    if is_new {
        registry::declare(&**broker, &current).await.map_err(registry_error)?;
    } else if let Some(definition) = definition.filter(|definition| definition.revision() != current.revision()) {
        let (own, current) = (definition.revision(), current.revision());
        tracing::warn!(%orchestration, %own, %current, "another revision was registered since this definition was: it stays the current one");
    }
    Ok(())
}

/// Where nothing is provisioned yet, nothing is declared.
async fn is_declared(broker: &Shared, definition: &Orchestration) -> Result<bool, RegistryError> {
    match registry::is_declared(&**broker, definition).await {
        Err(RegistryError::Store(StoreError::Missing(_))) => Ok(false),
        known => known,
    }
}

fn say(orchestration: &OrchestrationName, provisioned: &Provisioned) {
    tracing::info!(%orchestration, created = ?provisioned.created, durable = provisioned.is_durable, "provisioned");
    for warning in &provisioned.warnings {
        tracing::warn!(%orchestration, "{warning}");
    }
}

/// From the checkpoint, unless that tells of entries that the stream has never had: a stream that lost its newest ones, or was restored
/// from an older backup, gives their numbers to others.
async fn restore(broker: &Shared, orchestration: &OrchestrationName, ended_kept_ms: u64) -> Result<(Ledger, Retention), StoreError> {
    let anew = || (Ledger::new(ended_kept_ms), Retention::default());
    let Some((place, rows)) = checkpoint::load(&**broker, orchestration).await? else { return Ok(anew()) };
    let last = broker.last_seq(orchestration).await?;
    if place.seq > last {
        tracing::warn!(%orchestration, seq = %place.seq, %last, "the checkpoint is ahead of the stream, which has lost entries: it is read from its first one");
        return Ok(anew());
    }
    let retention = Retention::new(place.cleared);
    Ok((Ledger::restore(ended_kept_ms, place, rows), retention))
}
