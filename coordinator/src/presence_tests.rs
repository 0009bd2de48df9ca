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

/// A heartbeat through a server of the broker's.
fn through(server: &str, worker: &str) -> Heartbeat {
    Heartbeat { server: Some(server.to_owned()), ..beat(worker, "triage") }
}

/// From the last heartbeat of `w-1` through `n1` on it is silent, and whatever listens is asked in vain; when it counts as dead, if it
/// does within ten seconds. Until then somebody else goes on, as `other` has it: through which server, and from when till when.
fn dies_at(other: Option<(&str, u64, u64)>) -> Option<u64> {
    let mut presence = presence();
    presence.connected_to(Some("n0".to_owned()));
    presence.heard(through("n1", "w-1"), at(0));
    for ms in 1..10_000 {
        if let Some((server, from, till)) = other
            && (from..till).contains(&ms)
            && (ms - from).is_multiple_of(250)
        {
            presence.heard(through(server, "w-2"), at(ms));
        }
        for name in probed_at(&mut presence, ms) {
            let died = presence.probed(&process(&name), Probe::NoResponders, delivered(ms), at(ms));
            if died.is_some_and(|death| death.process == process("w-1")) {
                return Some(ms);
            }
        }
    }
    None
}

#[test]
fn nobody_is_dead_before_all_may_have_left_a_server_that_is() {
    assert_eq!(dies_at(None), Some(6175), "alone at a server of which nothing is heard");
    assert_eq!(dies_at(Some(("n1", 10, 240))), Some(6175), "the other was last heard while both still were");
    assert_eq!(dies_at(Some(("n2", 10, 9000))), Some(6175), "another server says nothing of this one");
}

#[test]
fn whoever_dies_alone_is_found_dead_at_once() {
    for from in [10, 100, 249] {
        let died = dies_at(Some(("n1", from, 9000))).unwrap();
        assert!((575..=775).contains(&died), "{died} ms, heard {from} ms later");
    }
    let mut presence = presence();
    presence.connected_to(Some("n1".to_owned()));
    presence.heard(through("n1", "w-1"), at(0));
    presence.probe(at(375));
    assert_eq!(outcome(&mut presence, Probe::NoResponders, 1, 375), None);
    presence.probe(at(575));
    assert!(outcome(&mut presence, Probe::NoResponders, 9, 575).is_some(), "this process hears through that server");
}

#[test]
fn whoever_connects_elsewhere_in_time_was_never_dead() {
    let mut presence = presence();
    presence.connected_to(Some("n0".to_owned()));
    for worker in ["w-1", "w-2"] {
        presence.heard(through("n1", worker), at(0));
    }
    for ms in (375..5900).step_by(5) {
        for name in probed_at(&mut presence, ms) {
            assert_eq!(presence.probed(&process(&name), Probe::NoResponders, delivered(ms), at(ms)), None, "{name} at {ms} ms");
        }
    }
    presence.heard(through("n2", "w-1"), at(5900));
    assert_eq!(presence.next_probe().map(|next| next < at(6275)), Some(true), "w-2 is still looked for");
    assert_eq!(presence.protecting(&agent("triage")).len(), 2);
}
