use super::*;
use crate::story::{agent, beat, process};

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn presence() -> Presence {
    Presence::new(at(6000), 8)
}

fn delivered(seq: u64) -> BTreeMap<AgentName, Seq> {
    BTreeMap::from([(agent("triage"), Seq(seq))])
}

/// Who is probed at a moment.
fn probed_at(presence: &mut Presence, ms: u64) -> Vec<String> {
    presence.probe(at(ms)).into_iter().map(|(id, _)| id.to_string()).collect()
}

fn outcome(presence: &mut Presence, probe: Probe, seq: u64, ms: u64) -> Option<Death> {
    presence.probed(&process("w-1"), probe, delivered(seq), at(ms))
}

#[test]
fn nobody_is_probed_who_was_never_heard_or_speaks() {
    let mut presence = presence();
    assert_eq!((presence.next_probe(), probed_at(&mut presence, 10_000)), (None, vec![]));
    for ms in (0..5000).step_by(250) {
        presence.heard(beat("w-1", "triage"), at(ms));
        assert_eq!(presence.next_probe(), Some(at(ms + 375)));
        assert_eq!(probed_at(&mut presence, ms + 249), Vec::<String>::new());
    }
}

#[test]
fn two_probes_without_responders_are_a_death() {
    let mut presence = presence();
    presence.heard(beat("w-1", "triage"), at(0));
    presence.heard(beat("w-2", "triage"), at(100));
    assert_eq!(probed_at(&mut presence, 374), Vec::<String>::new());
    assert_eq!(presence.probe(at(375)), [(process("w-1"), vec![agent("triage")])]);
    assert_eq!(probed_at(&mut presence, 380), Vec::<String>::new(), "one probe at a time");
    assert_eq!(outcome(&mut presence, Probe::NoResponders, 40, 385), None);
    presence.heard(beat("w-2", "triage"), at(400));
    assert_eq!(presence.next_probe(), Some(at(585)));
    assert_eq!(probed_at(&mut presence, 584), Vec::<String>::new());
    assert_eq!(probed_at(&mut presence, 585), ["w-1"]);
    // What was delivered since cannot have been delivered to it.
    let death = Death { process: process("w-1"), delivered: delivered(40) };
    assert_eq!(outcome(&mut presence, Probe::NoResponders, 55, 590), Some(death));
    assert_eq!(presence.protecting(&agent("triage")), BTreeSet::from([process("w-2")]));
    assert_eq!(outcome(&mut presence, Probe::NoResponders, 60, 595), None, "a process dies once");
}

#[test]
fn what_could_not_be_asked_at_the_first_probe_is_asked_at_the_second() {
    let mut presence = presence();
    presence.heard(beat("w-1", "triage"), at(0));
    presence.probe(at(375));
    assert_eq!(presence.probed(&process("w-1"), Probe::NoResponders, BTreeMap::new(), at(375)), None);
    presence.probe(at(575));
    assert_eq!(outcome(&mut presence, Probe::NoResponders, 55, 575).unwrap().delivered, delivered(55));
}

#[test]
fn any_sign_of_life_or_doubt_begins_anew() {
    for second in [Probe::Answered, Probe::Unanswered] {
        let mut presence = presence();
        presence.heard(beat("w-1", "triage"), at(0));
        let mut ms = 375;
        for probe in [Probe::NoResponders, second, Probe::NoResponders, second, Probe::Unanswered, Probe::NoResponders] {
            assert_eq!(probed_at(&mut presence, ms), ["w-1"]);
            assert_eq!(outcome(&mut presence, probe, 1, ms), None);
            ms += if probe == Probe::NoResponders { 200 } else { 375 };
            assert_eq!(presence.next_probe(), Some(at(ms)));
        }
    }
}

#[test]
fn a_heartbeat_while_a_probe_is_under_way_makes_its_outcome_meaningless() {
    let mut presence = presence();
    presence.heard(beat("w-1", "triage"), at(0));
    presence.probe(at(375));
    assert_eq!(outcome(&mut presence, Probe::NoResponders, 1, 375), None);
    presence.probe(at(575));
    presence.heard(beat("w-1", "triage"), at(576));
    assert_eq!(outcome(&mut presence, Probe::NoResponders, 1, 577), None);
    assert_eq!(presence.next_probe(), Some(at(951)));
}

#[test]
fn nobody_is_probed_before_all_may_have_reconnected() {
    let mut presence = presence();
    presence.heard(beat("w-1", "triage"), at(0));
    presence.probe(at(375));
    assert_eq!(outcome(&mut presence, Probe::NoResponders, 1, 375), None);
    presence.probe(at(575));
    presence.reconnected(at(580));
    assert_eq!(outcome(&mut presence, Probe::NoResponders, 1, 585), None, "sent before the connection was lost");
    assert_eq!(presence.next_probe(), Some(at(6580)));
    assert_eq!(probed_at(&mut presence, 6579), Vec::<String>::new());
    assert_eq!(probed_at(&mut presence, 6580), ["w-1"]);
    assert_eq!(outcome(&mut presence, Probe::NoResponders, 1, 6581), None, "what was found out before counts no more");
}

#[test]
fn a_silent_process_protects_its_work_until_it_counts_as_hung() {
    let mut presence = presence();
    presence.heard(beat("w-1", "triage"), at(0));
    presence.heard(beat("w-2", "refund"), at(0));
    let w1 = BTreeSet::from([process("w-1")]);
    for _ in 0..7 {
        presence.ticked();
        assert_eq!(presence.protecting(&agent("triage")), w1);
        assert!(!presence.is_informed());
    }
    presence.ticked();
    assert!(presence.is_informed());
    assert!(presence.protecting(&agent("triage")).is_empty());
    presence.heard(beat("w-1", "triage"), at(8000));
    assert_eq!(presence.protecting(&agent("triage")), w1);
}

#[test]
fn the_absence_of_the_listener_is_nobodys_silence() {
    let mut presence = presence();
    presence.heard(beat("w-1", "triage"), at(0));
    for _ in 0..7 {
        presence.ticked();
    }
    presence.tick_missed();
    for _ in 0..7 {
        presence.ticked();
    }
    assert!(!presence.is_informed());
    assert_eq!(presence.protecting(&agent("triage")).len(), 1);
}

#[test]
fn those_that_are_heard_are_listed_and_the_others_forgotten_in_the_end() {
    let mut presence = presence();
    presence.heard(beat("w-1", "triage"), at(0));
    presence.heard(beat("w-1", "refund"), at(0));
    presence.ticked();
    assert_eq!(presence.heartbeats(), [beat("w-1", "refund"), beat("w-1", "triage")]);
    presence.ticked();
    assert_eq!(presence.heartbeats(), []);
    assert!(presence.next_probe().is_some());
    for _ in 2..600 {
        presence.ticked();
    }
    assert_eq!(presence.next_probe(), None);
}
