//! What the checker says of a recording, in a form that is kept.

use protocol::orchestration::Orchestration;
use serde::{Deserialize, Serialize};

use super::record::Record;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// Which, `I1` to `I21`.
    pub invariant: String,
    /// In which conversation.
    pub conversation: Option<String>,
    /// What happened, in a sentence.
    pub what: String,
}

/// All that a recording of this orchestration shows broken.
pub fn judge(_orchestration: &Orchestration, _records: &[Record]) -> Vec<Broken> {
    Vec::new()
}
