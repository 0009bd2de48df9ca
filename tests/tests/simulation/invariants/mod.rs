//! What may never happen, one promise a file. Each looks at the recording of a story that is over, and at nothing else.

mod acked_when_stored;
mod i01_accepted_is_durable;
mod i02_answered_or_visibly_failed;
mod i03_total_order;
mod i04_one_committer;
mod i05_legal_ownership;
mod i06_transfer;
mod i07_turn;
mod i08_tool_calls;
mod i09_no_ghost_effects;
mod i10_stale_owner;
mod i11_human_input;
mod i13_end_is_final;
mod i15_isolation;
mod i16_context;
mod i17_poison;
mod i18_bounded_rework;

use crate::record::Recording;
use crate::told::Evidence;

type Check = fn(&Evidence<'_>) -> Result<(), String>;

const INVARIANTS: [(&str, Check); 17] = [
    ("I1", i01_accepted_is_durable::check),
    ("I2", i02_answered_or_visibly_failed::check),
    ("I3", i03_total_order::check),
    ("I4", i04_one_committer::check),
    ("I5", i05_legal_ownership::check),
    ("I6", i06_transfer::check),
    ("I7", i07_turn::check),
    ("I8", i08_tool_calls::check),
    ("I9", i09_no_ghost_effects::check),
    ("I10", i10_stale_owner::check),
    ("I11", i11_human_input::check),
    ("I13", i13_end_is_final::check),
    ("I15", i15_isolation::check),
    ("I16", i16_context::check),
    ("I17", i17_poison::check),
    ("I18", i18_bounded_rework::check),
    ("acked", acked_when_stored::check),
];

/// The promises that a story breaks, each with how.
pub(crate) fn broken(recording: &Recording) -> Vec<(&'static str, String)> {
    let evidence = Evidence::of(recording);
    INVARIANTS.iter().filter_map(|(name, check)| Some((*name, check(&evidence).err()?))).collect()
}
