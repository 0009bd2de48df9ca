//! Where orchestrations are registered: every revision under its hash, for good, and the name of the current one.

use protocol::ids::{OrchestrationName, Revision};
use protocol::orchestration::Orchestration;

use crate::{Expect, Store, StoreError};

const CURRENT: &str = "current";

/// Why a definition could not be had or registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The broker did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is none.
    #[error("orchestration {orchestration} has no revision {revision}: register it with `baton coordinator --manifest <file>`")]
    Missing {
        /// Whose.
        orchestration: OrchestrationName,
        /// Which; `current` when none was ever registered.
        revision: String,
    },
    /// It cannot be read by this version.
    #[error("revision {revision} cannot be read: {problem}")]
    Unreadable {
        /// Which.
        revision: String,
        /// Why.
        problem: String,
    },
}

fn key(revision: &Revision) -> String {
    format!("revision.{revision}")
}

/// Registers a definition and makes it the current one. Repeating it changes nothing.
///
/// # Errors
/// [`RegistryError`].
pub async fn register(store: &(impl Store + ?Sized), orchestration: &Orchestration) -> Result<(), RegistryError> {
    let name = orchestration.name();
    let unreadable = |problem: serde_json::Error| RegistryError::Unreadable {
        revision: orchestration.revision().to_string(),
        problem: problem.to_string(),
    };
    let bytes = orchestration.canonical().map_err(unreadable)?;
    match store.put_value(name, &key(orchestration.revision()), bytes.into(), Expect::Absent, None).await {
        Ok(_) | Err(StoreError::Conflict { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let current = orchestration.revision().to_string();
    let known = store.value(name, CURRENT).await?;
    if known.as_ref().is_none_or(|value| value.bytes != current.as_bytes()) {
        store.put_value(name, CURRENT, current.into(), Expect::Any, None).await?;
    }
    Ok(())
}

/// The revision that new conversations begin on.
///
/// # Errors
/// [`RegistryError::Missing`] when nothing was ever registered.
pub async fn current(store: &(impl Store + ?Sized), name: &OrchestrationName) -> Result<Revision, RegistryError> {
    let missing = || RegistryError::Missing { orchestration: name.clone(), revision: CURRENT.to_owned() };
    let value = store.value(name, CURRENT).await?.ok_or_else(missing)?;
    let text = String::from_utf8_lossy(&value.bytes).into_owned();
    text.parse().map_err(|error: protocol::ids::InvalidId| RegistryError::Unreadable { revision: text.clone(), problem: error.to_string() })
}

/// The definition of a revision.
///
/// # Errors
/// [`RegistryError`].
pub async fn definition(
    store: &(impl Store + ?Sized),
    name: &OrchestrationName,
    revision: &Revision,
) -> Result<Orchestration, RegistryError> {
    let missing = || RegistryError::Missing { orchestration: name.clone(), revision: revision.to_string() };
    let value = store.value(name, &key(revision)).await?.ok_or_else(missing)?;
    Orchestration::from_canonical(&value.bytes)
        .map_err(|error| RegistryError::Unreadable { revision: revision.to_string(), problem: error.to_string() })
}
