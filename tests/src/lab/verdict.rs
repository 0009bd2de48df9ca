//! What the checker says of a recording, in a form that is kept.

use protocol::orchestration::Orchestration;
use serde::{Deserialize, Serialize};

use super::check::{Setup, View, broken, figures};
use super::record::Record;
use super::versions::lost;

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

/// How conversations that were called off came to rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallingOff {
    /// Conversations that were called off while no fault kept anybody from hearing of it: all that follows is about these.
    pub heard: usize,
    /// Those that were called off while one did.
    pub deafened: usize,
    /// From the stored cancel until a model that was writing was heard no more, in milliseconds.
    pub models_ms: Vec<u64>,
    /// From the stored cancel to the last call of a tool, in milliseconds, where one came later.
    pub tools_ms: Vec<u64>,
    /// Entries that follow a cancel.
    pub entries: usize,
}

/// All that a recording of this orchestration shows broken, and how what was called off came to rest.
pub fn judge(orchestration: &Orchestration, records: &[Record]) -> (Vec<Broken>, CallingOff) {
    let setup = Setup::of(orchestration.clone());
    let view = View::new(&setup, records);
    let violations = broken(&view).into_iter().map(|violation| Broken {
        invariant: violation.invariant.to_owned(),
        conversation: violation.conversation,
        what: violation.what,
        evidence: violation.evidence,
    });
    let (deafened, heard): (Vec<_>, Vec<_>) = figures::called_off(&view).into_iter().partition(|one| one.is_deafened);
    let ms = |of: fn(&figures::CalledOff) -> Option<u64>| heard.iter().filter_map(of).map(|us| us / 1000).collect();
    let calling_off = CallingOff {
        heard: heard.len(),
        deafened: deafened.len(),
        models_ms: ms(|one| one.model_us),
        tools_ms: ms(|one| one.tool_us),
        entries: heard.iter().map(|one| one.entries).sum(),
    };
    (violations.chain(lost(records)).collect(), calling_off)
}
