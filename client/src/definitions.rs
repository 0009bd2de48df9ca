//! The orchestration's definitions, as the registry has them. A revision never changes, so it is read once; which one
//! is current may change at any time, so that is believed for a moment only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use journal::StoreError;
use journal::registry::{self, RegistryError};
use protocol::ids::Revision;
use protocol::orchestration::Orchestration;
use tokio::time::{Instant, timeout_at};

use crate::Client;

/// How long the current revision is believed to be the current one.
const CURRENT_LIFE: Duration = Duration::from_secs(2);
/// Definitions kept at a time: a deployment has a few revisions in use, not many.
const KEPT_MAX: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Definitions(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    current: Option<(Instant, Revision)>,
    by_revision: BTreeMap<Revision, Arc<Orchestration>>,
}

impl Definitions {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// The definition that new conversations begin on.
    ///
    /// # Errors
    /// [`RegistryError`] when none is registered, or it cannot be read.
    pub async fn current(&self) -> Result<Arc<Orchestration>, RegistryError> {
        let known = self.definitions.lock().current.clone();
        let revision = match known {
            Some((read, revision)) if read.elapsed() < CURRENT_LIFE => revision,
            _ => {
                let revision = registry::current(&*self.broker, &self.orchestration).await?;
                self.definitions.lock().current = Some((Instant::now(), revision.clone()));
                revision
            }
        };
        self.definition(&revision).await
    }

    /// The definition of a revision: what a conversation that runs on it means by its agents' names.
    ///
    /// # Errors
    /// [`RegistryError`] when it is not registered, or cannot be read.
    pub async fn definition(&self, revision: &Revision) -> Result<Arc<Orchestration>, RegistryError> {
        if let Some(known) = self.definitions.lock().by_revision.get(revision) {
            return Ok(Arc::clone(known));
        }
        let definition = Arc::new(registry::definition(&*self.broker, &self.orchestration, revision).await?);
        let kept = &mut self.definitions.lock().by_revision;
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(revision.clone(), Arc::clone(&definition));
        Ok(definition)
    }
}

/// What the registry gives, where it gives it in time.
pub(crate) async fn in_time<T>(deadline: Instant, read: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
    let late = |_| Err(StoreError::Unavailable("not in time".to_owned()).into());
    timeout_at(deadline, read).await.unwrap_or_else(late)
}
