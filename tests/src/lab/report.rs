//! What a person reads in the end: a table of the faults, beside what was promised.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::faults::{ABSENT, FAULTS};
use super::measure::percentile;
use super::run::{Outcome, Phases};
use super::verdict::CallingOff;

/// Promises whose breach means that something is lost, and those whose breach means that something happened twice.
const LOST: [&str; 3] = ["I1", "I2", "I6"];
const DOUBLED: [&str; 3] = ["I7", "I8", "I9"];

/// One fault, over all its rounds.
#[derive(Debug, Default)]
struct Row {
    strikes: usize,
    touched: usize,
    recoveries: Vec<u64>,
}

/// The report, as Markdown.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for outcome in outcomes {
        for (fault, trials) in &outcome.trials {
            rows.entry(fault).or_default().strikes += trials;
        }
        for (fault, touched) in &outcome.touched {
            rows.entry(fault).or_default().touched += touched;
        }
        for (fault, recoveries) in &outcome.recoveries_ms {
            rows.entry(fault).or_default().recoveries.extend(recoveries);
        }
    }
    let mut text = String::from(
        "| fault | strikes | touched | lost | doubled | violations | recovery p50 | p99 | max | promised |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for fault in FAULTS {
        let Some(row) = rows.get(fault.name) else { continue };
        let broken = |of: &[&str]| breaches(outcomes, fault.name, of);
        let (lost, doubled, all) = (broken(&LOST), broken(&DOUBLED), broken(&[]));
        let time = |percent| percentile(&row.recoveries, percent).map_or_else(|| "–".to_owned(), seconds);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {lost} | {doubled} | {all} | {} | {} | {} | {} |",
            fault.about,
            row.strikes,
            row.touched,
            time(50),
            time(99),
            time(100),
            fault.figure
        );
    }
    let _ = writeln!(text, "\n{}\n\n{}", totals(outcomes), calling_off(outcomes));
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
        "{} rounds, {} strikes, {} conversations touched; {} conversations ended, {} unfinished, {} entries, {} violations.",
        outcomes.len(),
        sum(|outcome| outcome.trials.values().sum()),
        sum(|outcome| outcome.touched.values().sum()),
        sum(|outcome| outcome.ended),
        sum(|outcome| outcome.unfinished),
        sum(|outcome| outcome.entries),
        sum(|outcome| outcome.broken.len()),
    )
}

/// How conversations came to rest that were called off.
fn calling_off(outcomes: &[Outcome]) -> String {
    let all = || outcomes.iter().map(|outcome| &outcome.calling_off);
    let sum = |of: fn(&CallingOff) -> usize| all().map(of).sum::<usize>();
    let row = |what: &str, of: fn(&CallingOff) -> &Vec<u64>, figure: &str| {
        let times: Vec<u64> = all().flat_map(of).copied().collect();
        let time = |percent| percentile(&times, percent).map_or_else(|| "–".to_owned(), seconds);
        format!("| {what} | {} | {} | {} | {} | {figure} |\n", times.len(), time(50), time(99), time(100))
    };
    format!(
        "| after a conversation is called off | count | p50 | p99 | max | promised |\n|---|---|---|---|---|---|\n{}{}\n{} called off, \
         {} entries after that; {} more while a fault kept workers from hearing of it.\n",
        row("its model writes on", |of| &of.models_ms, "≤ 2 s"),
        row("its last tool is called", |of| &of.tools_ms, "≤ 1 s"),
        sum(|of| of.heard),
        sum(|of| of.entries),
        sum(|of| of.deafened),
    )
}

/// What the rounds' time went into, for each strike.
pub fn pace(outcomes: &[Outcome]) -> String {
    let strikes = outcomes.iter().map(|outcome| outcome.trials.values().sum::<usize>()).sum::<usize>().max(1);
    let each = |of: fn(&Phases) -> u64| {
        let ms: u64 = outcomes.iter().map(|outcome| of(&outcome.phases_ms)).sum();
        seconds(ms / strikes as u64)
    };
    format!(
        "A strike takes {} of start, {} of its own, {} until all has ended, {} of reading, {} of checking.",
        each(|of| of.start),
        each(|of| of.strikes),
        each(|of| of.disperse),
        each(|of| of.tap),
        each(|of| of.judge),
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
            touched: BTreeMap::from([("kill-worker".to_owned(), 5)]),
            recoveries_ms: BTreeMap::from([("kill-worker".to_owned(), vec![400, 1250, 600])]),
            calling_off: CallingOff { heard: 4, deafened: 1, models_ms: vec![30, 1400, 50], ..CallingOff::default() },
            broken: vec![broken("I1"), broken("I7"), broken("I3")],
            ..Outcome::default()
        };
        let report = markdown(&[outcome]);
        assert!(report.contains("| 3 | 5 | 1 | 1 | 3 | 0.60 s | 1.25 s | 1.25 s | p99 ≤ 1 s, max 5 s |"), "{report}");
        assert!(report.contains("its model writes on | 3 | 0.05 s | 1.40 s | 1.40 s | ≤ 2 s |"), "{report}");
        assert!(report.contains("4 called off, 0 entries after that; 1 more"), "{report}");
        assert!(report.contains("kill-worker-7-000 (seed 0): I1 -: gone"), "{report}");
    }
}
