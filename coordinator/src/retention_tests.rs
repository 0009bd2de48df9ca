use super::*;

const RULES: orchestration::Retention = orchestration::Retention { ended_secs: Some(100), erased_secs: 10 };
const FOR_EVER: orchestration::Retention = orchestration::Retention { ended_secs: None, erased_secs: 10 };
const NOW: u64 = 1_000_000;

fn newest(ended: u64, erased: u64) -> Newest {
    Newest { ended: Seq(ended), erased: Seq(erased) }
}

fn look(remains: Remains, after: u64, stored_by_ms: u64, newest: u64) -> Look {
    Look { remains, after: Seq(after), stored_by_ms, newest: Seq(newest) }
}

fn looked(place: u64, then: Then) -> Looked {
    Looked { place: Seq(place), then }
}

#[test]
fn nothing_is_looked_for_that_the_ledger_has_not_seen() {
    let mut retention = Retention::default();
    assert_eq!(retention.looks(newest(0, 0), RULES, NOW), []);
    assert_eq!(retention.looks(newest(7, 0), FOR_EVER, NOW), [], "what is kept for ever is not looked at");
    assert_eq!(retention.looks(newest(7, 0), RULES, 99_999), [], "before anything can have had its time");
    let conversations = look(Remains::Conversation, 0, NOW - 100_000, 9);
    assert_eq!(retention.looks(newest(9, 7), RULES, NOW), [conversations, look(Remains::Tombstone, 0, NOW - 10_000, 7)]);
    assert_eq!(retention.looks(newest(9, 7), RULES, NOW), [], "one look at a time");
}

#[test]
fn the_first_whose_time_has_not_come_is_waited_for() {
    let mut retention = Retention::new((Seq(3), Seq(0)));
    let ended = |retention: &mut Retention, now_ms| retention.looks(newest(9, 0), RULES, now_ms);
    let first = ended(&mut retention, NOW);
    assert_eq!(first, [look(Remains::Conversation, 3, NOW - 100_000, 9)]);
    retention.looked(&first[0], looked(5, Then::Later(NOW - 40_000)), NOW);
    assert_eq!(retention.places(), (Seq(5), Seq(0)));
    assert_eq!(ended(&mut retention, NOW + 59_999), []);
    let second = ended(&mut retention, NOW + 60_000);
    assert_eq!(second, [look(Remains::Conversation, 5, NOW - 40_000, 9)]);
    retention.looked(&second[0], looked(9, Then::Nothing), NOW + 60_000);
    assert_eq!(ended(&mut retention, NOW + 90_000), [], "there is nothing more");
    // Another definition is current, by which it has been kept for too long.
    let shorter = orchestration::Retention { ended_secs: Some(1), ..RULES };
    retention.looked(&first[0], looked(9, Then::Later(NOW + 80_000)), NOW);
    assert_eq!(retention.looks(newest(12, 0), RULES, NOW + 90_000), []);
    assert_eq!(retention.looks(newest(12, 0), shorter, NOW + 90_000), [look(Remains::Conversation, 9, NOW + 89_000, 12)]);
}

#[test]
fn what_the_stream_has_no_more_is_not_looked_for_again_until_something_follows() {
    let mut retention = Retention::default();
    let first = retention.looks(newest(9, 0), RULES, NOW);
    retention.looked(&first[0], looked(0, Then::Nothing), NOW);
    assert_eq!(retention.looks(newest(9, 0), RULES, NOW + 1000), [], "whoever ended last was erased by an operator, say");
    assert_eq!(retention.places(), (Seq(0), Seq(0)), "nobody has dealt with anything");
    assert_eq!(retention.looks(newest(10, 0), RULES, NOW + 1000).len(), 1);
}

#[test]
fn what_failed_is_looked_at_again_after_a_rest() {
    let mut retention = Retention::default();
    let first = retention.looks(newest(9, 0), RULES, NOW);
    retention.looked(&first[0], looked(4, Then::Failed), NOW);
    assert_eq!(retention.looks(newest(9, 0), RULES, NOW + REST_MS - 1), []);
    assert_eq!(retention.looks(newest(9, 0), RULES, NOW + REST_MS), [look(Remains::Conversation, 4, NOW + REST_MS - 100_000, 9)]);
    retention.looked(&first[0], looked(4, Then::Failed), NOW);
    assert_eq!(retention.looks(newest(9, 0), RULES, NOW - 500_000).len(), 1, "a clock that goes back makes no rest longer");
    retention.looked(&first[0], looked(5, Then::More), NOW);
    assert_eq!(retention.looks(newest(9, 0), RULES, NOW).len(), 1, "there may be more at once");
}

#[test]
fn each_is_judged_by_what_it_is_and_when_it_was_stored() {
    for (remains, kind, stored_ms, fate) in [
        (Remains::Conversation, "completed", NOW, Fate::Go),
        (Remains::Conversation, "failed", NOW, Fate::Go),
        (Remains::Conversation, "cancelled", NOW + 1, Fate::Wait),
        (Remains::Conversation, "erased", NOW, Fate::Pass),
        (Remains::Conversation, "erased", NOW + 1, Fate::Pass),
        (Remains::Tombstone, "failed", NOW, Fate::Pass),
        (Remains::Tombstone, "erased", NOW, Fate::Go),
        (Remains::Tombstone, "erased", NOW + 1, Fate::Wait),
    ] {
        assert_eq!(look(remains, 0, NOW, 9).fate(kind, stored_ms), fate, "{remains:?} {kind} {stored_ms}");
    }
}
