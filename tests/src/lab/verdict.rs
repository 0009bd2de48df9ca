//! What the checker says of a recording, in a form that is kept.

use protocol::orchestration::Orchestration;
use serde::{Deserialize, Serialize};

use super::check::{Setup, check};
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
    /// The lines of the recording that show it, counted from 0.
    pub evidence: Vec<usize>,
}

/// All that a recording of this orchestration shows broken.
pub fn judge(orchestration: &Orchestration, records: &[Record]) -> Vec<Broken> {
    let violations = check(&Setup::of(orchestration.clone()), records).into_iter();
    let broken = violations.map(|violation| Broken {
        invariant: violation.invariant.to_owned(),
        conversation: violation.conversation,
        what: violation.what,
        evidence: violation.evidence,
    });
    broken.collect()
}
