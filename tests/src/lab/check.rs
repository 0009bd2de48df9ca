//! The checker: what may never happen, found in a recording. Pure: a recording goes in, violations come out. One promise, one
//! file; each can be read alone.
//!
//! A false alarm is as bad as a miss: where a recording cannot tell (an answer that never came, work in flight when it ends, a
//! body that was erased), nothing is said.

pub mod figures;
mod i01_accepted_is_durable;
mod i02_answered_or_visibly_failed;
mod i03_total_order;
mod i04_one_committer_per_epoch;
mod i05_legal_ownership_chain;
mod i06_transfer_never_dropped_or_doubled;
mod i07_turn_never_lost_or_doubled;
mod i08_tool_calls;
mod i09_no_ghost_effects;
mod i10_stale_owner_cannot_act;
mod i11_human_input;
mod i12_orphan_bound;
mod i13_cancel_is_final;
mod i14_completion_is_final;
mod i15_isolation;
mod i16_context_integrity;
mod i17_poison_containment;
mod i18_bounded_rework;
mod i19_honest_refusal;
mod i20_trace_completeness;
mod i21_resume;
mod reach;
#[cfg(test)]
mod story;
mod view;

use std::fmt;

use protocol::orchestration::Orchestration;

use super::record::Record;
pub use view::View;

/// What was deployed, as far as the checker must know.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The definition that new conversations begin on.
    pub orchestration: Orchestration,
    /// Definitions that older conversations may still run on.
    pub older: Vec<Orchestration>,
}

impl Setup {
    /// One definition, from the beginning to the end.
    pub const fn of(orchestration: Orchestration) -> Self {
        Self { orchestration, older: Vec::new() }
    }

    fn definition(&self, revision: &str) -> Option<&Orchestration> {
        std::iter::once(&self.orchestration).chain(&self.older).find(|definition| definition.revision().as_str() == revision)
    }
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which, `I1` to `I21`.
    pub invariant: &'static str,
    /// In which conversation, where it is about one.
    pub conversation: Option<String>,
    /// When, in microseconds since the laboratory opened.
    pub at_us: u64,
    /// What happened, in a sentence.
    pub what: String,
    /// The records that show it, by their place in the recording.
    pub evidence: Vec<usize>,
}

impl Violation {
    fn of(
        invariant: &'static str,
        conversation: Option<&str>,
        at_us: u64,
        evidence: impl Into<Vec<usize>>,
        what: impl Into<String>,
    ) -> Self {
        let conversation = conversation.map(str::to_owned);
        Self { invariant, conversation, at_us, what: what.into(), evidence: evidence.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, conversation, at_us, what, evidence } = self;
        let conversation = conversation.as_deref().unwrap_or("-");
        write!(f, "{invariant} {conversation} at {}.{:06} s: {what} {evidence:?}", at_us / 1_000_000, at_us % 1_000_000)
    }
}

type Check = fn(&View<'_>) -> Vec<Violation>;

/// Every promise and what checks it.
pub const INVARIANTS: [(&str, Check); 21] = [
    ("I1", i01_accepted_is_durable::check),
    ("I2", i02_answered_or_visibly_failed::check),
    ("I3", i03_total_order::check),
    ("I4", i04_one_committer_per_epoch::check),
    ("I5", i05_legal_ownership_chain::check),
    ("I6", i06_transfer_never_dropped_or_doubled::check),
    ("I7", i07_turn_never_lost_or_doubled::check),
    ("I8", i08_tool_calls::check),
    ("I9", i09_no_ghost_effects::check),
    ("I10", i10_stale_owner_cannot_act::check),
    ("I11", i11_human_input::check),
    ("I12", i12_orphan_bound::check),
    ("I13", i13_cancel_is_final::check),
    ("I14", i14_completion_is_final::check),
    ("I15", i15_isolation::check),
    ("I16", i16_context_integrity::check),
    ("I17", i17_poison_containment::check),
    ("I18", i18_bounded_rework::check),
    ("I19", i19_honest_refusal::check),
    ("I20", i20_trace_completeness::check),
    ("I21", i21_resume::check),
];

/// Every promise that a recording shows broken, in the order of the promises and then of time.
pub fn check(setup: &Setup, records: &[Record]) -> Vec<Violation> {
    broken(&View::new(setup, records))
}

/// The same, of a recording that is in order already.
pub fn broken(view: &View<'_>) -> Vec<Violation> {
    let mut violations: Vec<Violation> = INVARIANTS.iter().flat_map(|(_, check)| check(view)).collect();
    violations.sort_by_key(|violation| (number(violation.invariant), violation.at_us));
    violations
}

fn number(invariant: &str) -> u32 {
    invariant.trim_start_matches('I').parse().unwrap_or(u32::MAX)
}
