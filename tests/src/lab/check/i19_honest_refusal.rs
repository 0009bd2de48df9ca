//! I19: without quorum or disk the gateway answers 503/429 with Retry-After, never 2xx.

use protocol::wire::header;

use super::Violation;
use super::view::{Fault, Operation, View, marks, said};
use crate::lab::record::{Act, Ended};

/// What the faults are called that leave nowhere to store anything.
const NOWHERE: [&str; 3] = ["quorum", "disk", "all-servers"];
/// How long such a fault takes to bite.
const GRACE_US: u64 = 2_000_000;

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let faults = view.faults.iter().filter(|fault| NOWHERE.iter().any(|word| fault.name.contains(word)));
    faults.flat_map(|fault| view.operations.values().filter_map(|operation| judge(view, fault, operation))).collect()
}

fn judge(view: &View<'_>, fault: &Fault<'_>, operation: &Operation<'_>) -> Option<Violation> {
    let (ended_us, how) = operation.ended?;
    let is_within = operation.at_us >= fault.at_us + GRACE_US && fault.healed_us.is_none_or(|healed| ended_us <= healed);
    let what = match how {
        // What had been accepted before is accepted still.
        Ended::Ok { status, is_repeat: false } if is_within && !is_stored(view, fault, operation) => {
            format!("{} was answered {status} while nothing could be stored ({})", operation.client, fault.name)
        }
        Ended::Fail { status, .. } if is_within && *status >= 500 && *status != 503 => {
            format!("{} was answered {status} instead of 503 or 429 ({})", operation.client, fault.name)
        }
        _ => return None,
    };
    let evidence: Vec<usize> = fault.evidence.iter().chain(&operation.evidence).copied().collect();
    Some(Violation::of("I19", operation.conversation, ended_us, evidence, what))
}

/// Whether the broker stored it in spite of the fault: then there was room, and the answer was true.
fn is_stored(view: &View<'_>, fault: &Fault<'_>, operation: &Operation<'_>) -> bool {
    let Some(conversation) = operation.conversation else { return false };
    let is_it = |text: &str| operation.message().is_some_and(|message| marks(text, "m").any(|found| found == message));
    view.lines(conversation).any(|line| {
        let is_cancel = operation.act == Act::Cancel && line.kind() == "cancelled";
        let is_known = is_cancel || line.events().iter().flat_map(said).any(is_it) || line.header(header::KIND) == "decided";
        is_known && view.stored_us(line) >= fault.at_us && fault.healed_us.is_none_or(|healed| view.stored_us(line) <= healed)
    })
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, breaks, holds};
    use crate::lab::record::Ended;

    fn full(how: Ended) -> Story {
        let mut story = Story::told();
        story.strike("disk-full", "n1", None);
        story.wait(3_000);
        story.wish_about_nothing("c1", how);
        story.wait(1_000);
        story.heal();
        story
    }

    #[test]
    fn a_refusal_is_honest() {
        holds(&full(Ended::Fail { status: 503, code: "no_space".to_owned() }));
        holds(&full(Ended::Fail { status: 429, code: "busy".to_owned() }));
    }

    #[test]
    fn a_repeat_is_no_new_promise() {
        holds(&full(Ended::Ok { status: 200, is_repeat: true }));
    }

    #[test]
    fn a_success_without_a_place_is_reported() {
        breaks(&full(Ended::Ok { status: 201, is_repeat: false }), &["I19"]);
    }

    #[test]
    fn another_failure_is_reported() {
        breaks(&full(Ended::Fail { status: 500, code: "internal".to_owned() }), &["I19"]);
    }
}
