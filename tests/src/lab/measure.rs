//! What the faults of a recording have cost: how long it took until things went on.

use std::collections::{BTreeMap, BTreeSet};

use super::faults::{Measure, named};
use super::record::{Record, Seen};
use super::tap::step;

/// One fault as a recording has it.
#[derive(Clone, Debug)]
struct Strike<'a> {
    name: &'a str,
    target: &'a str,
    conversation: Option<&'a str>,
    struck_us: u64,
    healed_us: Option<u64>,
}

/// What is needed of a conversation: when something of it was stored, in microseconds of the recording.
#[derive(Debug, Default)]
struct Life {
    /// Steps of the system.
    steps: Vec<u64>,
    /// All entries, and whether somebody has to work after each.
    entries: Vec<(u64, bool)>,
}

/// Recoveries in milliseconds, by the fault's name; none of a strike after which nothing came.
pub fn recoveries(records: &[Record]) -> BTreeMap<String, Vec<u64>> {
    let lives = lives(records);
    let mut recoveries: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for strike in strikes(records) {
        let Some(fault) = named(strike.name) else { continue };
        let found = match fault.measure {
            Measure::Aimed => aimed(&strike, &lives),
            Measure::Working => working(strike.struck_us, &lives),
            Measure::AfterHealing => strike.healed_us.map(|healed_us| after_healing(&strike, healed_us, &lives)).unwrap_or_default(),
            Measure::Clients => clients(&strike, records),
        };
        recoveries.entry(strike.name.to_owned()).or_default().extend(found.into_iter().map(|us| us / 1000));
    }
    recoveries
}

/// Conversations that a strike has touched, by the fault's name: the one that it was aimed at; else those that were being worked on
/// when it struck, or about which somebody was asking a gateway. Openings that nobody has ever answered are not among them.
pub fn touched(records: &[Record]) -> BTreeMap<String, usize> {
    let lives = lives(records);
    let mut touched = BTreeMap::new();
    for strike in strikes(records) {
        let worked_on = lives.iter().filter(|(_, life)| is_worked_on(life, strike.struck_us)).map(|(conversation, _)| *conversation);
        let count = match strike.conversation {
            Some(_) => 1,
            None => worked_on.chain(asked_about(records, strike.struck_us)).collect::<BTreeSet<&str>>().len(),
        };
        *touched.entry(strike.name.to_owned()).or_default() += count;
    }
    touched
}

/// The conversations of operations that are under way at a time.
fn asked_about(records: &[Record], at_us: u64) -> impl Iterator<Item = &str> {
    let mut asked: BTreeMap<u64, Option<&str>> = BTreeMap::new();
    for record in records {
        match &record.seen {
            Seen::Invoked { op, conversation, .. } if record.at_us <= at_us => {
                asked.insert(*op, conversation.as_deref());
            }
            Seen::Ended { op, .. } if record.at_us <= at_us => {
                asked.remove(op);
            }
            // Whoever opens a conversation learns only now which.
            Seen::Ended { op, conversation: Some(conversation), .. } => {
                asked.entry(*op).and_modify(|known| *known = known.or(Some(conversation)));
            }
            _ => {}
        }
    }
    asked.into_values().flatten()
}

fn aimed(strike: &Strike<'_>, lives: &BTreeMap<&str, Life>) -> Vec<u64> {
    let life = strike.conversation.and_then(|conversation| lives.get(conversation));
    let next = life.and_then(|life| life.steps.iter().find(|step| **step >= strike.struck_us));
    next.map(|next| next - strike.struck_us).into_iter().collect()
}

fn working(from_us: u64, lives: &BTreeMap<&str, Life>) -> Vec<u64> {
    let next = |life: &Life| life.steps.iter().find(|step| **step >= from_us).map(|step| step - from_us);
    lives.values().filter(|life| is_worked_on(life, from_us)).filter_map(next).collect()
}

/// Conversations that were being worked on when the fault struck, and had nothing stored before it was healed.
fn after_healing(strike: &Strike<'_>, healed_us: u64, lives: &BTreeMap<&str, Life>) -> Vec<u64> {
    let next = |life: &Life| life.steps.iter().find(|step| **step >= strike.struck_us).map(|step| step.saturating_sub(healed_us));
    lives.values().filter(|life| is_worked_on(life, strike.struck_us)).filter_map(next).collect()
}

fn is_worked_on(life: &Life, at_us: u64) -> bool {
    life.entries.iter().rfind(|(stored, _)| *stored < at_us).is_some_and(|(_, is_work)| *is_work)
}

/// From the strike until each client that was told something by the gateway follows again; before anything else strikes.
fn clients(strike: &Strike<'_>, records: &[Record]) -> Vec<u64> {
    let mut at: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let (mut waiting, mut resumed) = (Vec::new(), Vec::new());
    for record in records {
        match &record.seen {
            Seen::Watching { client, conversation, gateway, .. } => {
                let who = (client.as_str(), conversation.as_str());
                at.insert(who, gateway);
                if waiting.contains(&who) {
                    waiting.retain(|waiting| *waiting != who);
                    resumed.push(record.at_us - strike.struck_us);
                }
            }
            // Whoever has been told the end does not come back.
            Seen::Received { client, conversation, event, .. } if ["completed", "failed", "cancelled"].contains(&event.as_str()) => {
                at.remove(&(client.as_str(), conversation.as_str()));
            }
            Seen::Struck { .. } if record.at_us == strike.struck_us => {
                waiting = at.iter().filter(|(_, gateway)| **gateway == strike.target).map(|(who, _)| *who).collect();
            }
            Seen::Struck { .. } if record.at_us > strike.struck_us => break,
            _ => {}
        }
    }
    resumed
}

fn strikes(records: &[Record]) -> Vec<Strike<'_>> {
    let healed: BTreeMap<u64, u64> = records
        .iter()
        .filter_map(|record| match &record.seen {
            Seen::Healed { fault } => Some((*fault, record.at_us)),
            _ => None,
        })
        .collect();
    records
        .iter()
        .filter_map(|record| match &record.seen {
            Seen::Struck { fault, name, target, conversation } => Some(Strike {
                name,
                target,
                conversation: conversation.as_deref(),
                struck_us: record.at_us,
                healed_us: healed.get(fault).copied(),
            }),
            _ => None,
        })
        .collect()
}

/// Every conversation's life, as the first replica has it.
fn lives(records: &[Record]) -> BTreeMap<&str, Life> {
    let clock = records.iter().find_map(|record| match record.seen {
        Seen::Clock { time_ms } => Some(time_ms * 1000 - record.at_us.min(time_ms * 1000)),
        _ => None,
    });
    let opened_us = clock.unwrap_or_default();
    let mut lives: BTreeMap<&str, Life> = BTreeMap::new();
    for record in records {
        let Seen::Entry { replica, time_ms, subject, .. } = &record.seen else { continue };
        let tokens: Vec<&str> = subject.split('.').collect();
        let (Some(conversation), Some(class)) = (tokens.get(3), tokens.get(5)) else { continue };
        if replica != "n0" || tokens.get(2) != Some(&"c") {
            continue;
        }
        // The broker's time is whole milliseconds, rounded down: an entry stored in the same one counts as after.
        let stored_us = (time_ms * 1000 + 999).saturating_sub(opened_us);
        let life = lives.entry(conversation).or_default();
        if step(subject).is_some() {
            life.steps.push(stored_us);
        }
        life.entries.push((stored_us, ["to", "note", "in"].contains(class)));
    }
    lives
}

/// A percentile of what was measured; none of nothing.
pub fn percentile(values: &[u64], percent: usize) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::record::{Act, Ended};

    fn entry(time_ms: u64, subject: &str) -> Record {
        let seen = Seen::Entry {
            replica: "n0".to_owned(),
            seq: time_ms,
            time_ms,
            subject: subject.to_owned(),
            headers: vec![],
            payload: String::new(),
        };
        Record { at_us: 9_000_000, seen }
    }

    #[test]
    fn a_recovery_lasts_from_the_strike_to_the_next_step_of_the_system() {
        let at = |at_us: u64, seen: Seen| Record { at_us, seen };
        let struck = Seen::Struck { fault: 1, name: "kill-worker".to_owned(), target: "w".to_owned(), conversation: Some("a".to_owned()) };
        let records = [
            at(0, Seen::Clock { time_ms: 1000 }),
            at(500_000, struck),
            at(800_000, Seen::Healed { fault: 1 }),
            entry(1100, "baton.lab.c.a.0.to.triage.0123456789ab.gateway"),
            entry(1200, "baton.lab.c.b.0.to.triage.0123456789ab.gateway"),
            entry(1600, "baton.lab.c.a.1.in.gateway"),
            entry(1700, "baton.lab.c.b.1.ask.triage"),
            entry(1900, "baton.lab.c.a.2.note.triage"),
        ];
        assert_eq!(recoveries(&records), BTreeMap::from([("kill-worker".to_owned(), vec![400])]));
    }

    #[test]
    fn a_strike_touches_what_was_worked_on_and_what_was_asked_for() {
        let at = |at_us: u64, seen: Seen| Record { at_us, seen };
        let opens = |op: u64| Seen::Invoked {
            op,
            client: "p".to_owned(),
            act: Act::Open,
            conversation: None,
            key: String::new(),
            text: String::new(),
            request: None,
        };
        let opened = |op: u64, conversation: &str| Seen::Ended {
            op,
            how: Ended::Ok { status: 201, is_repeat: false },
            conversation: Some(conversation.to_owned()),
            retry_after_secs: None,
        };
        let struck = |fault: u64, name: &str, aimed: Option<&str>| Seen::Struck {
            fault,
            name: name.to_owned(),
            target: String::new(),
            conversation: aimed.map(ToOwned::to_owned),
        };
        let records = [
            at(0, Seen::Clock { time_ms: 1000 }),
            at(100_000, opens(1)),
            at(200_000, opened(1, "a")),
            at(300_000, opens(2)),
            at(500_000, struck(3, "kill-broker", None)),
            at(600_000, opened(2, "c")),
            at(700_000, opens(4)),
            at(800_000, opened(4, "d")),
            at(900_000, struck(5, "kill-worker", Some("a"))),
            entry(1100, "baton.lab.c.a.0.to.triage.0123456789ab.gateway"),
            entry(1200, "baton.lab.c.b.0.to.triage.0123456789ab.gateway"),
            entry(1300, "baton.lab.c.b.1.ask.triage"),
            entry(1550, "baton.lab.c.c.0.to.triage.0123456789ab.gateway"),
            entry(1750, "baton.lab.c.d.0.to.triage.0123456789ab.gateway"),
        ];
        // `a` is worked on, `c` is being opened; `b` waits for its person, and `d` comes later.
        assert_eq!(touched(&records), BTreeMap::from([("kill-broker".to_owned(), 2), ("kill-worker".to_owned(), 1)]));
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 99), percentile(&values, 100)), (Some(100), Some(198), Some(200)));
        assert_eq!((percentile(&[7], 99), percentile(&[], 50)), (Some(7), None));
    }
}
