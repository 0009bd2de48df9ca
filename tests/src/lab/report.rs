//! What a person reads in the end: a table of the faults, beside what was promised.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::faults::{ABSENT, FAULTS};
use super::measure::percentile;
use super::run::Outcome;

/// Promises whose breach means that something is lost, and those whose breach means that something happened twice.
const LOST: [&str; 3] = ["I1", "I2", "I6"];
const DOUBLED: [&str; 3] = ["I7", "I8", "I9"];

/// One fault, over all its rounds.
#[derive(Debug, Default)]
struct Row {
    trials: usize,
    recoveries: Vec<u64>,
}

/// The report, as Markdown.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for outcome in outcomes {
        for (fault, trials) in &outcome.trials {
            rows.entry(fault).or_default().trials += trials;
        }
        for (fault, recoveries) in &outcome.recoveries_ms {
            rows.entry(fault).or_default().recoveries.extend(recoveries);
        }
    }
    let mut text = String::from(
        "| fault | trials | lost | doubled | violations | recovery p50 | p99 | max | promised |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for fault in FAULTS {
        let Some(row) = rows.get(fault.name) else { continue };
        let broken = |of: &[&str]| breaches(outcomes, fault.name, of);
        let (lost, doubled, all) = (broken(&LOST), broken(&DOUBLED), broken(&[]));
        let time = |percent| percentile(&row.recoveries, percent).map_or_else(|| "–".to_owned(), seconds);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {lost} | {doubled} | {all} | {} | {} | {} | {} |",
            fault.about,
            row.trials,
            time(50),
            time(99),
            time(100),
            fault.figure
        );
    }
    let _ = writeln!(text, "\n{}", totals(outcomes));
    for (promise, why) in ABSENT {
        let _ = writeln!(text, "- Not injected: {promise}: {why}.");
    }
    text.push_str(&findings(outcomes));
    text
}

/// Breaches in rounds of this fault; of all promises, if none is named. A mixed round's are counted under each of its faults.
fn breaches(outcomes: &[Outcome], fault: &str, of: &[&str]) -> usize {
    let rounds = outcomes.iter().filter(|outcome| outcome.trials.contains_key(fault));
    rounds.flat_map(|outcome| &outcome.broken).filter(|broken| of.is_empty() || of.contains(&broken.invariant.as_str())).count()
}

fn totals(outcomes: &[Outcome]) -> String {
    let sum = |of: fn(&Outcome) -> usize| outcomes.iter().map(of).sum::<usize>();
    format!(
        "{} rounds, {} faults, {} conversations ended, {} unfinished, {} entries, {} violations.\n",
        outcomes.len(),
        sum(|outcome| outcome.trials.values().sum()),
        sum(|outcome| outcome.ended),
        sum(|outcome| outcome.unfinished),
        sum(|outcome| outcome.entries),
        sum(|outcome| outcome.broken.len()),
    )
}

fn findings(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        for broken in &outcome.broken {
            let conversation = broken.conversation.as_deref().unwrap_or("-");
            let _ = writeln!(text, "- {} (seed {}): {} {conversation}: {}", outcome.round, outcome.seed, broken.invariant, broken.what);
        }
        for skipped in &outcome.skipped {
            let _ = writeln!(text, "- {}: skipped {skipped}", outcome.round);
        }
    }
    text
}

fn seconds(ms: u64) -> String {
    format!("{}.{:02} s", ms / 1000, ms % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::verdict::Broken;

    #[test]
    fn a_row_says_what_a_fault_has_cost() {
        let broken =
            |invariant: &str| Broken { invariant: invariant.to_owned(), conversation: None, what: "gone".to_owned(), evidence: vec![] };
        let outcome = Outcome {
            round: "kill-worker-7-000".to_owned(),
            trials: BTreeMap::from([("kill-worker".to_owned(), 3)]),
            recoveries_ms: BTreeMap::from([("kill-worker".to_owned(), vec![400, 1250, 600])]),
            broken: vec![broken("I1"), broken("I7"), broken("I3")],
            ..Outcome::default()
        };
        let report = markdown(&[outcome]);
        assert!(report.contains("| 3 | 1 | 1 | 3 | 0.60 s | 1.25 s | 1.25 s | p99 ≤ 1 s, max 5 s |"), "{report}");
        assert!(report.contains("kill-worker-7-000 (seed 0): I1 -: gone"), "{report}");
    }
}
