//! The definitions that a coordinator was given, and which of them is to be declared next.

use std::sync::Arc;

use protocol::ids::Revision;
use protocol::orchestration::Orchestration;
use tokio::sync::watch::Receiver;

use crate::Served;

/// What is still to be declared. The last definition counts: one that was replaced before its turn came was never meant.
#[derive(Debug)]
pub(crate) struct Declaring {
    definitions: Option<Receiver<Arc<Orchestration>>>,
    /// What was declared last.
    declared: Option<Revision>,
    is_under_way: bool,
}

impl Declaring {
    /// Nothing but what comes after `declared`.
    pub(crate) fn new(served: &Served, declared: Option<Revision>) -> Self {
        let definitions = match served {
            Served::Followed(definitions) => Some(definitions.clone()),
            Served::Definition(_) | Served::Registered(_) => None,
        };
        Self { definitions, declared, is_under_way: false }
    }

    /// What is to be declared now, if anything; one that could not be declared before only if `retries`.
    pub(crate) fn next(&mut self, retries: bool) -> Option<Arc<Orchestration>> {
        if self.is_under_way {
            return None;
        }
        let definitions = self.definitions.as_mut()?;
        let is_fresh = definitions.has_changed().unwrap_or(false);
        let definition = Arc::clone(&definitions.borrow_and_update());
        let is_due = (is_fresh || retries) && self.declared.as_ref() != Some(definition.revision());
        self.is_under_way = is_due;
        is_due.then_some(definition)
    }

    /// It was declared, or, without a revision, it could not be.
    pub(crate) fn done(&mut self, declared: Option<Revision>) {
        self.is_under_way = false;
        self.declared = declared.or_else(|| self.declared.take());
    }
}
