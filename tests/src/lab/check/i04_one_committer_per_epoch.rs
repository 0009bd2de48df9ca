//! I4: the owner's entries of one (conversation, epoch) carry one writer; epochs (last `to` or *taken* entry) never decrease; nothing
//! of an older epoch after a newer one begins.

use protocol::event::{Event, failure};

use super::Violation;
use super::view::{Line, View};

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    view.conversations().flat_map(|conversation| judge(view, conversation)).collect()
}

fn judge(view: &View<'_>, conversation: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut report = |line: &Line<'_>, evidence: Vec<usize>, what: String| {
        violations.push(Violation::of("I4", Some(conversation), view.stored_us(line), evidence, what));
    };
    let mut epoch = (!view.is_erased(conversation)).then_some(0);
    let mut committer: Option<&Line<'_>> = None;
    for line in view.lines(conversation) {
        let stated = line.epoch();
        match (epoch, stated) {
            (Some(epoch), Some(stated)) if stated < epoch => {
                let what = format!("entry {} is of epoch {stated}, but epoch {epoch} had begun", line.ordinal());
                report(line, vec![line.record], what);
            }
            (Some(epoch), stated) if stated != Some(epoch) => {
                let stated = stated.map_or_else(|| "no epoch at all".to_owned(), |stated| format!("epoch {stated}"));
                report(line, vec![line.record], format!("entry {} is of {stated} while epoch {epoch} lasts", line.ordinal()));
            }
            _ => {}
        }
        if line.kind() == "taken" {
            committer = None;
        }
        if commits(line) {
            match committer {
                Some(first) if first.process() != line.process() => {
                    let (one, other) = (first.process(), line.process());
                    let what = format!("entries {} and {} of one epoch are of {one} and of {other}", first.ordinal(), line.ordinal());
                    report(line, vec![first.record, line.record], what);
                }
                Some(_) => {}
                None => committer = Some(line),
            }
        }
        if line.begins_epoch() {
            epoch = Some(line.seq);
            // Who takes over is the first committer of the epoch that begins with it.
            committer = (line.kind() == "taken").then_some(line);
        }
    }
    violations
}

/// Whether it shows who is at work: anybody of the agent may say that nobody can be.
fn commits(line: &Line<'_>) -> bool {
    let [events @ .., last] = line.events() else { return line.agent().is_some() && line.kind() != "set-aside" };
    let says_that_nobody_can = match last {
        Event::SetAside(_) => true,
        Event::Failed(failed) => failed.is_about_damage() || [failure::POISON, failure::MISCONFIGURED].contains(&&*failed.code),
        _ => false,
    };
    line.agent().is_some() && !(events.is_empty() && says_that_nobody_can)
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, breaks, holds, intended, responded, returned};

    #[test]
    fn who_takes_over_commits_from_then_on() {
        let mut story = Story::begun();
        story.by("triage", "triage-1", vec![responded("t1", &["pay"]), intended("k1")]);
        story.called("pay", "k1", "c1");
        story.taken("triage", "triage-2");
        story.by("triage", "triage-2", vec![returned("paid")]);
        holds(&story);
    }

    #[test]
    fn a_second_committer_is_reported() {
        let mut story = Story::begun();
        story.by("triage", "triage-1", vec![responded("t1", &["pay"]), intended("k1")]);
        story.called("pay", "k1", "c1");
        story.by("triage", "triage-2", vec![returned("paid")]);
        breaks(&story, &["I4"]);
    }

    #[test]
    fn an_entry_of_an_older_epoch_is_reported() {
        let mut story = Story::begun();
        story.taken("triage", "triage-1");
        story.with_header("Baton-Epoch", "1");
        story.by("triage", "triage-1", vec![responded("t1", &[])]);
        breaks(&story, &["I4"]);
    }

    #[test]
    fn an_epoch_that_never_began_is_reported() {
        let mut story = Story::begun();
        story.with_header("Baton-Epoch", "77");
        story.by("triage", "triage-1", vec![responded("t1", &[])]);
        breaks(&story, &["I4"]);
    }
}
