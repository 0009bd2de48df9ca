//! I19: without quorum or disk the gateway answers 503/429 with Retry-After, never 2xx. Whoever is told to come back is told when,
//! at any time; and nobody is told, whatever the gateway's server can see, that what is stored is not there.

use protocol::ids::{EntryId, EventId};
use protocol::wire::header;

use super::Violation;
use super::view::{Fault, Line, Operation, View, marks, said};
use crate::lab::record::{Act, Ended};

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let operations = || view.operations.values();
    let mut violations: Vec<Violation> = operations().filter_map(unsaid).chain(operations().filter_map(|op| denied(view, op))).collect();
    for fault in &view.faults {
        let Some(within_us) = fault.leaves_no_place_within_us() else { continue };
        violations.extend(operations().filter_map(|operation| judge(view, fault, within_us, operation)));
    }
    violations
}

/// A refusal that says "later", and not when.
fn unsaid(operation: &Operation<'_>) -> Option<Violation> {
    let ((ended_us, _), status) = (operation.ended?, operation.status()?);
    let what = format!("{} was answered {status} without Retry-After", operation.client);
    let is_silent = [429, 503].contains(&status) && operation.retry_after_secs.is_none();
    is_silent.then(|| Violation::of("I19", operation.conversation, ended_us, operation.evidence.clone(), what))
}

/// A refusal for want of something that had been stored before it was asked for.
fn denied(view: &View<'_>, operation: &Operation<'_>) -> Option<Violation> {
    let (ended_us, Ended::Fail { status: 404, code }) = operation.ended? else { return None };
    let conversation = operation.conversation?;
    let ordinal = match operation.request.map(str::parse::<EventId>) {
        Some(Ok(request)) if code == "unknown_request" => request.ordinal,
        _ if code == "unknown_conversation" => 0,
        _ => return None,
    };
    let is_it = |line: &&Line<'_>| line.ordinal() == ordinal && view.stored_us(line) < operation.at_us;
    let line = view.lines(conversation).find(is_it)?;
    let what = format!("{} was answered {code}, and entry {ordinal} had been stored", operation.client);
    let evidence: Vec<usize> = operation.evidence.iter().copied().chain([line.record]).collect();
    Some(Violation::of("I19", Some(conversation), ended_us, evidence, what))
}

fn judge(view: &View<'_>, fault: &Fault<'_>, within_us: u64, operation: &Operation<'_>) -> Option<Violation> {
    let (ended_us, how) = operation.ended?;
    let is_within = operation.at_us >= fault.at_us + within_us && fault.healed_us.is_none_or(|healed| ended_us <= healed);
    let status = operation.status().filter(|_| is_within)?;
    let what = match how {
        // What had been accepted before is accepted still.
        Ended::Ok { is_repeat: false, .. } if !is_stored(view, fault, operation) => {
            format!("{} was answered {status} while nothing could be stored ({})", operation.client, fault.name)
        }
        _ if status >= 500 && status != 503 => {
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
    let says_so = |text: &str| operation.message().is_some_and(|message| marks(text, "m").any(|found| found == message));
    let id = conversation.parse().map(|conversation| EntryId::of_request(&conversation, operation.key).to_string()).unwrap_or_default();
    view.lines(conversation).any(|line| {
        let is_cancel = operation.act == Act::Cancel && line.kind() == "cancelled";
        let is_it = is_cancel || line.header(header::ID) == id || line.events().iter().flat_map(said).any(says_so);
        is_it && view.stored_us(line) >= fault.at_us && fault.healed_us.is_none_or(|healed| view.stored_us(line) <= healed)
    })
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, breaks, holds};
    use crate::lab::record::{Ended, Record, Seen};

    /// Somebody asks for something while a fault leaves no place for it.
    fn without(fault: &str, how: Ended) -> Story {
        let mut story = Story::told();
        story.strike(fault, "n1", None);
        story.wait(3_000);
        story.wish_about_nothing("c1", how);
        story.wait(1_000);
        story.heal();
        story
    }

    fn unknown(status: u16) -> Ended {
        Ended::Unknown { why: String::new(), status: Some(status) }
    }

    #[test]
    fn a_refusal_is_honest() {
        for fault in ["disk-full", "kill-broker", "kill-cluster", "quorum-lost"] {
            holds(&without(fault, unknown(503)));
            holds(&without(fault, Ended::Fail { status: 429, code: "busy".to_owned() }));
            holds(&without(fault, Ended::Unknown { why: "nobody listens".to_owned(), status: None }));
        }
    }

    #[test]
    fn a_repeat_is_no_new_promise() {
        holds(&without("disk-full", Ended::Ok { status: 200, is_repeat: true }));
    }

    #[test]
    fn a_success_without_a_place_is_reported() {
        for fault in ["disk-full", "kill-broker", "kill-cluster", "quorum-lost"] {
            breaks(&without(fault, Ended::Ok { status: 201, is_repeat: false }), &["I19"]);
        }
        holds(&without("kill-worker", Ended::Ok { status: 201, is_repeat: false }));
    }

    #[test]
    fn another_failure_is_reported() {
        breaks(&without("disk-full", unknown(500)), &["I19"]);
    }

    #[test]
    fn what_is_stored_is_not_denied() {
        let refused = |request: &str, code: &str| {
            let mut story = Story::asking();
            story.wait(1);
            story.reply("c1", "m2", request, Ended::Fail { status: 404, code: code.to_owned() });
            story
        };
        breaks(&refused("1.1", "unknown_request"), &["I19"]);
        breaks(&refused("1.1", "unknown_conversation"), &["I19"]);
        holds(&refused("7.1", "unknown_request"));
    }

    #[test]
    fn a_refusal_that_does_not_say_when_to_come_back_is_reported() {
        let silent = |fault: &str| -> Vec<Record> {
            let mut records = without(fault, unknown(503)).records();
            for record in &mut records {
                if let Seen::Ended { retry_after_secs, .. } = &mut record.seen {
                    *retry_after_secs = None;
                }
            }
            records
        };
        breaks(&silent("disk-full"), &["I19"]);
        breaks(&silent("kill-gateway"), &["I19"]);
    }
}
