//! Turns of a worker that lacks something for a while.

use protocol::event::{Event, Redispatched};
use protocol::manifest::LimitsSpec;

use super::stage::{Meanwhile, Reply, Stage, calls, check, counted, says};

const PAY: (&str, &str) = ("pay", "{}");
const LOOK: (&str, &str) = ("look", "{}");

/// The latest work item, delivered for the `count`-th time to a worker that lacks a server.
fn lacking(stage: &mut Stage, count: u64) -> Vec<String> {
    let item = stage.journal.brief().unwrap().turn;
    let turn = stage.turn("triage", counted(item, count)).lacking(Some("the shop is away".to_owned()));
    stage.drive(turn, [])
}

#[test]
fn it_is_put_off_longer_each_time_up_to_a_bound_and_never_taken_for_poison() {
    let mut stage = Stage::with(LimitsSpec { attempts: Some(2), ..LimitsSpec::default() }, true);
    check(
        &lacking(&mut stage, 1),
        "
        note: deferred 1 s
        given back for 1 s
    ",
    );
    let pauses = [2, 4, 8, 15, 15, 15, 15];
    for (count, pause) in (2..).zip(pauses) {
        let effects = lacking(&mut stage, count);
        assert_eq!(effects[1..], [format!("note: deferred {pause} s"), format!("given back for {pause} s")], "{effects:?}");
        assert!(effects[0].starts_with("note: taken by"), "{effects:?}");
    }
    assert_eq!(stage.journal.deferral().map(|deferral| deferral.reason.as_str()), Some("the shop is away"));
    check(
        &stage.act_again("triage", [calls(&[LOOK]), Reply::Dies]),
        "
        note: taken by w-9
        ask model
        run look
        dies
    ",
    );
    assert_eq!(stage.journal.brief().unwrap().attempts, 0, "to wait is no failed attempt");
}

#[test]
fn once_the_model_has_answered_it_is_not_put_off_any_more_and_pauses_begin_anew() {
    let mut stage = Stage::new();
    let all: Vec<_> = (1..=3).flat_map(|count| lacking(&mut stage, count)).collect();
    assert_eq!(all.last().unwrap(), "given back for 4 s");
    stage.act_again("triage", [calls(&[PAY]), Reply::Dies]);
    assert_eq!(stage.journal.deferral(), None);
    assert_eq!(lacking(&mut stage, 5)[1], "note: deferred 1 s");
    stage.write(stage.to("triage"), "coordinator", Redispatched { turn: 0, reason: "silence".to_owned() });
    let item = stage.journal.tail().next - 1;
    let turn = stage.turn("triage", counted(item, 1)).lacking(Some("it is still away".to_owned()));
    assert_eq!(stage.drive(turn, [])[0], "note: deferred 2 s", "handed out again, it is the same turn");
}

/// An intent stays what it is: whoever has the tools resolves it.
#[test]
fn what_was_begun_is_gone_on_with_when_it_is_there_again() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[("mail", "{}")]), Reply::Dies]);
    check(
        &lacking(&mut stage, 2),
        "
        note: taken by w-2
        note: deferred 1 s
        given back for 1 s
    ",
    );
    check(
        &stage.act_again("triage", [says("Sent.")]),
        r#"
        note: taken by w-3
        run mail
        note: returned c1: mail done
        ask model
        ask: responded "Sent."; asked question of caller
        settled
    "#,
    );
    assert_eq!(stage.runs[0].key, stage.runs[1].key);
}

#[test]
fn what_people_say_meanwhile_is_kept_and_what_is_done_needs_no_server() {
    let mut stage = Stage::new();
    stage.meanwhile(0, Meanwhile::Says("hello?"));
    check(
        &lacking(&mut stage, 1),
        "
        note: deferred 1 s
        note: deferred 1 s
        given back for 1 s
    ",
    );
    stage.act_again("triage", [says("hi")]);
    check(&lacking(&mut stage, 3), "settled");
    let mut stage = Stage::new();
    let unknown = Event::Unknown { kind: "sung".to_owned(), data: vec![0xc0].into() };
    stage.write(protocol::subject::Class::Note, "triage", unknown);
    assert_eq!(lacking(&mut stage, 2)[0], "note: set aside 1 sung", "a newer worker may have it");
}
