//! Where orchestrations are registered: every revision under its hash, for good, and the name of the current one.
//!
//! Anybody may [`register`]. Whoever has a definition to keep to, as a coordinator has its file, [`declare`]s it: once, and not
//! again until it is another one, so that a restart undoes nothing that was registered meanwhile.

use protocol::ids::{OrchestrationName, Revision};
use protocol::orchestration::Orchestration;

use crate::{Expect, Store, StoreError};

const CURRENT: &str = "current";
const DECLARED: &str = "declared";
const REVISIONS: &str = "revision.";

/// Why a definition could not be had or registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The broker did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is none.
    #[error(
        "orchestration {orchestration} has no revision {revision}: register it with `baton coordinator --manifest <file>` or `baton register <file>`"
    )]
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
    format!("{REVISIONS}{revision}")
}

/// Registers a definition and makes it the current one; the revision that was current before, if any. Repeating it changes
/// nothing.
///
/// # Errors
/// [`RegistryError`].
pub async fn register(store: &(impl Store + ?Sized), orchestration: &Orchestration) -> Result<Option<Revision>, RegistryError> {
    let (name, revision) = (orchestration.name(), orchestration.revision());
    let unreadable =
        |problem: serde_json::Error| RegistryError::Unreadable { revision: revision.to_string(), problem: problem.to_string() };
    let bytes = orchestration.canonical().map_err(unreadable)?;
    match store.put_value(name, &key(revision), bytes.into(), Expect::Absent, None).await {
        Ok(_) | Err(StoreError::Conflict { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let before = named(store, name, CURRENT).await?;
    if before.as_ref() != Some(revision) {
        store.put_value(name, CURRENT, revision.to_string().into(), Expect::Any, None).await?;
    }
    Ok(before)
}

/// Registers a definition as the one to keep to: see [`is_declared`].
///
/// # Errors
/// [`RegistryError`].
pub async fn declare(store: &(impl Store + ?Sized), orchestration: &Orchestration) -> Result<Option<Revision>, RegistryError> {
    // Whoever dies between the two writes does both again.
    let before = register(store, orchestration).await?;
    if !is_declared(store, orchestration).await? {
        store.put_value(orchestration.name(), DECLARED, orchestration.revision().to_string().into(), Expect::Any, None).await?;
    }
    Ok(before)
}

/// Whether this definition is the last one that was declared, by any process: then nothing is to be done about it, whatever
/// is current now.
///
/// # Errors
/// [`RegistryError`].
pub async fn is_declared(store: &(impl Store + ?Sized), orchestration: &Orchestration) -> Result<bool, RegistryError> {
    Ok(named(store, orchestration.name(), DECLARED).await?.as_ref() == Some(orchestration.revision()))
}

/// The revision that new conversations begin on.
///
/// # Errors
/// [`RegistryError::Missing`] when nothing was ever registered.
pub async fn current(store: &(impl Store + ?Sized), name: &OrchestrationName) -> Result<Revision, RegistryError> {
    let missing = || RegistryError::Missing { orchestration: name.clone(), revision: CURRENT.to_owned() };
    named(store, name, CURRENT).await?.ok_or_else(missing)
}

/// The revision that a key names.
async fn named(store: &(impl Store + ?Sized), name: &OrchestrationName, key: &str) -> Result<Option<Revision>, RegistryError> {
    let Some(value) = store.value(name, key).await? else { return Ok(None) };
    let text = String::from_utf8_lossy(&value.bytes);
    let unreadable = |error: protocol::ids::InvalidId| RegistryError::Unreadable { revision: text.to_string(), problem: error.to_string() };
    text.parse().map(Some).map_err(unreadable)
}

/// Every revision that was ever registered, in no order that means anything.
///
/// # Errors
/// [`RegistryError`].
pub async fn revisions(store: &(impl Store + ?Sized), name: &OrchestrationName) -> Result<Vec<Revision>, RegistryError> {
    let keys = store.keys(name, REVISIONS).await?;
    // What is no revision was put there by somebody else.
    Ok(keys.iter().filter_map(|key| key.strip_prefix(REVISIONS)?.parse().ok()).collect())
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
    registered(store, name, revision).await.map(|(_, definition)| definition)
}

/// The definition of a revision, and when it was registered first: a number that is larger the later it was.
///
/// # Errors
/// [`RegistryError`].
pub async fn registered(
    store: &(impl Store + ?Sized),
    name: &OrchestrationName,
    revision: &Revision,
) -> Result<(u64, Orchestration), RegistryError> {
    let missing = || RegistryError::Missing { orchestration: name.clone(), revision: revision.to_string() };
    let value = store.value(name, &key(revision)).await?.ok_or_else(missing)?;
    let definition = Orchestration::from_canonical(&value.bytes)
        .map_err(|error| RegistryError::Unreadable { revision: revision.to_string(), problem: error.to_string() })?;
    Ok((value.revision, definition))
}
