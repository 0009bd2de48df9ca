//! What a successor finds and does: takeovers, intents, doubts.

use protocol::brief::Phase;
use protocol::event::{Event, Redispatched, Verdict, failure};
use protocol::manifest::LimitsSpec;
use protocol::subject::Class;

use super::stage::{Meanwhile, Reply, Stage, calls, check, counted, says};
use crate::turn::{Begin, Delivered};

const PAY: (&str, &str) = ("pay", "{}");
const WIRE: (&str, &str) = ("wire", "{}");
const DONE: (&str, &str) = ("complete_task", r#"{"task_summary":"all done"}"#);
const TO_REFUND: (&str, &str) = ("transfer_to_refund", "{}");

#[test]
fn a_redelivered_item_is_taken_before_anything_else() {
    let mut stage = Stage::new();
    check(
        &stage.act("triage", []),
        "
        ask model
        dies
    ",
    );
    check(
        &stage.act_again("triage", [says("hi")]),
        r#"
        note: taken by w-2
        ask model
        ask: responded "hi"; asked question of caller
        settled
    "#,
    );
}

#[test]
fn begin_is_judged_by_the_tail() {
    let mut stage = Stage::new();
    let me = "triage".parse().unwrap();
    let begin = |stage: &Stage, item, count| Begin::of(&stage.journal, &me, counted(item, count));
    assert_eq!(begin(&stage, 0, 1), Begin::Fresh);
    assert_eq!(begin(&stage, 0, 2), Begin::Takeover);
    let recounted = |count| Delivered { is_recounted: true, ..counted(0, count) };
    let of_recounted = |stage: &Stage, count| Begin::of(&stage.journal, &me, recounted(count));
    assert_eq!((of_recounted(&stage, 1), of_recounted(&stage, 2)), (Begin::Uncertain, Begin::Takeover));
    stage.say("and one more thing");
    assert_eq!(begin(&stage, 0, 1), Begin::Fresh, "a message touches nothing");
    assert_eq!(Begin::of(&stage.journal, &"refund".parse().unwrap(), counted(0, 1)), Begin::Stale);
    stage.act("triage", [calls(&[PAY]), Reply::Dies]);
    assert_eq!(begin(&stage, 0, 1), Begin::Takeover, "somebody began");
    stage.write(stage.to("triage"), "coordinator", Redispatched { turn: 0, reason: "silence".to_owned() });
    let item = stage.journal.tail().next - 1;
    assert_eq!((begin(&stage, 0, 3), begin(&stage, item, 1)), (Begin::Stale, Begin::Fresh));
    stage.act("triage", []);
    assert_eq!((stage.phase(), begin(&stage, item, 2)), (Phase::Waiting, Begin::Stale));
}

#[test]
fn a_stale_item_is_settled_and_forgotten() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[TO_REFUND])]);
    let turn = stage.turn("triage", counted(0, 2));
    check(&stage.drive(turn, []), "settled");
    stage.act("refund", [says("hello")]);
    check(&stage.act_again("refund", []), "settled");
}

#[test]
fn reads_and_idempotent_calls_run_again_under_the_same_key_without_asking_the_model() {
    let mut stage = Stage::new();
    check(
        &stage.act("triage", [calls(&[("look", "{}"), ("put", "{}"), ("mail", "{}")]), Reply::Dies]),
        "
        ask model
        note: responded look put mail; intended c2 c3
        run look, put, mail
        dies
    ",
    );
    check(
        &stage.act_again("triage", [says("ok")]),
        r#"
        note: taken by w-2
        run look, put, mail
        note: returned c1: look done; returned c2: put done; returned c3: mail done
        ask model
        ask: responded "ok"; asked question of caller
        settled
    "#,
    );
    let keys = |n: usize| stage.runs[n..n + 3].iter().map(|run| run.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(0)[1..], keys(3)[1..]);
}

#[test]
fn a_side_effect_in_doubt_is_asked_about_and_retried_happened_or_given_up() {
    for (verdict, note, expected) in [
        (Verdict::Retry, "", "note: intended c1\nrun pay\nnote: returned c1: pay done"),
        (Verdict::Happened, "receipt 7", "note: returned c1: receipt 7"),
        (Verdict::Happened, "", "note: returned c1: A person confirmed that this call ran. Its result is not known."),
        (
            Verdict::Abandoned,
            "no idea",
            "note: error c1: It is unknown whether this call ran, and it will not be tried again. Their words: no idea",
        ),
    ] {
        let mut stage = Stage::new();
        stage.act("triage", [calls(&[PAY]), Reply::Dies]);
        check(
            &stage.act_again("triage", []),
            "
            note: taken by w-2
            ask: intended c1; asked in doubt of caller pay
            settled
        ",
        );
        stage.decide(verdict, note);
        let expected = format!("{expected}\nask model\nask: responded \"ok\"; asked question of caller\nsettled");
        check(&stage.act("triage", [says("ok")]), &expected);
        assert!(stage.runs.iter().all(|run| run.key == stage.runs[0].key));
        assert_eq!(stage.prompts.len(), 2, "the model is not asked for the response again");
    }
}

#[test]
fn a_call_that_was_retried_and_died_again_is_in_doubt_again() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[PAY]), Reply::Dies]);
    stage.act_again("triage", []);
    stage.decide(Verdict::Retry, "");
    check(
        &stage.act("triage", [Reply::Dies]),
        "
        note: intended c1
        run pay
        dies
    ",
    );
    check(
        &stage.act_again("triage", []),
        "
        note: taken by w-4
        ask: intended c1; asked in doubt of caller pay
        settled
    ",
    );
}

#[test]
fn a_call_whose_doubt_is_given_up_by_policy_is_not_tried_again() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[("log", "{}")]), Reply::Dies]);
    check(
        &stage.act_again("triage", [says("ok")]),
        r#"
        note: taken by w-2
        note: error c1: It is unknown whether this call ran, and it will not be tried again.
        ask model
        ask: responded "ok"; asked question of caller
        settled
    "#,
    );
    assert_eq!(stage.runs.len(), 1);
}

#[test]
fn an_approved_call_that_died_is_in_doubt_and_one_that_never_began_is_not() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[WIRE])]);
    stage.decide(Verdict::Approved, "");
    check(
        &stage.act("triage", [Reply::Dies]),
        "
        note: intended c1
        run wire
        dies
    ",
    );
    check(
        &stage.act_again("triage", []),
        "
        note: taken by w-3
        ask: intended c1; asked in doubt of role:manager wire
        settled
    ",
    );
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[WIRE])]);
    stage.decide(Verdict::Approved, "");
    // The first worker died before it had stored its intent: nothing can have run.
    check(
        &stage.act_again("triage", [says("ok")]),
        r#"
        note: taken by w-2
        note: intended c1
        run wire
        note: returned c1: wire done
        ask model
        ask: responded "ok"; asked question of caller
        settled
    "#,
    );
}

/// A broker that is back from a crash delivers with count one: two workers hold the same permission.
#[test]
fn two_workers_with_one_permission_run_it_once() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[WIRE])]);
    stage.decide(Verdict::Approved, "");
    let item = stage.journal.tail().next - 1;
    let second = stage.turn("triage", counted(item, 1));
    stage.act("triage", [Reply::Dies]);
    check(
        &stage.drive(second, []),
        "
        note: intended c1
        dropped
    ",
    );
    assert_eq!(stage.runs.len(), 1);
}

/// Of an item from before its consumer was made, or its broker died, nobody knows who has it.
#[test]
fn an_item_that_was_counted_anew_is_taken_before_the_model_is_asked() {
    let mut stage = Stage::new();
    let recounted = Delivered { is_recounted: true, ..counted(0, 1) };
    let [first, second] = [recounted, recounted].map(|delivered| stage.turn("triage", delivered));
    check(
        &stage.drive(first, [says("hi")]),
        r#"
        note: taken by w-1
        ask model
        ask: responded "hi"; asked question of caller
        settled
    "#,
    );
    check(
        &stage.drive(second, []),
        "
        note: taken by w-2
        dropped
    ",
    );
    assert_eq!(stage.prompts.len(), 1);
}

#[test]
fn an_item_that_was_counted_anew_is_no_failed_attempt_until_it_was_taken() {
    let mut stage = Stage::with(LimitsSpec { attempts: Some(2), ..LimitsSpec::default() }, true);
    let recounted = Delivered { is_recounted: true, ..counted(0, 1) };
    for expected in ["note: taken by w-1\nask model\ndies", "end: failed poison\nsettled"] {
        let turn = stage.turn("triage", recounted);
        check(&stage.drive(turn, []), expected);
    }
}

#[test]
fn a_doubt_is_settled_before_the_conversation_completes() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[PAY, WIRE, DONE]), Reply::Dies]);
    // Nobody is bothered with the approval: the completion makes it needless.
    check(
        &stage.act_again("triage", []),
        "
        note: taken by w-2
        ask: intended c1; asked in doubt of caller pay
        settled
    ",
    );
    stage.decide(Verdict::Happened, "receipt 7");
    check(
        &stage.act("triage", []),
        "
        end: returned c1: receipt 7; error c2: Ignored: the same response completed the task.; completed TaskComplete: all done
        settled
    ",
    );
}

#[test]
fn a_transfer_of_a_predecessor_happens_after_its_doubts_without_the_model() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[("put", "{}"), TO_REFUND, ("transfer_to_order", r#"{"payload":{"order":1}}"#)]), Reply::Dies]);
    check(
        &stage.act_again("triage", []),
        "
        note: taken by w-2
        run put
        to refund: returned c1: put done; transferred to refund
        settled
    ",
    );
    let ignored = stage.journal.events().filter(|(_, (_, event))| matches!(event, Event::Warned(_))).count();
    assert_eq!(ignored, 1, "what was warned of once is not warned of again");
}

#[test]
fn a_redispatch_continues_the_turn_and_its_intents() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[("put", "{}")]), Reply::Dies]);
    stage.write(stage.to("triage"), "coordinator", Redispatched { turn: 0, reason: "silence".to_owned() });
    check(
        &stage.act("triage", [says("ok")]),
        r#"
        note: intended c1
        run put
        note: returned c1: put done
        ask model
        ask: responded "ok"; asked question of caller
        settled
    "#,
    );
    assert_eq!(stage.runs[0].key, stage.runs[1].key);
}

/// Whatever its count says, whoever has stored nothing in an epoch runs nothing in it that has effects.
#[test]
fn two_workers_with_one_redispatch_run_an_inherited_intent_once() {
    for tool in ["put", "mail", "book"] {
        let mut stage = Stage::new();
        stage.act("triage", [calls(&[(tool, "{}")]), Reply::Dies]);
        // What undoes a booking is begun by one that dies as well.
        stage.act_again("triage", [Reply::Dies]);
        stage.write(stage.to("triage"), "coordinator", Redispatched { turn: 0, reason: "silence".to_owned() });
        let item = stage.journal.tail().next - 1;
        let second = stage.turn("triage", counted(item, 1));
        let before = stage.runs.len();
        let effects = stage.act("triage", [Reply::Dies]);
        assert!(effects[0].starts_with("note: intended c1") || effects[0].starts_with("note: withdrawn c1"), "{effects:?}");
        assert!(effects[1].starts_with("run "), "{effects:?}");
        let effects = stage.drive(second, []);
        assert_eq!(effects.last().unwrap(), "dropped", "{effects:?}");
        assert_eq!(stage.runs.len(), before + 1, "{tool}");
        assert!(stage.runs.iter().skip(1).all(|run| run.key == stage.runs.last().unwrap().key), "{tool}: {:?}", stage.runs);
    }
}

#[test]
fn the_last_attempt_fails_the_conversation() {
    let mut stage = Stage::new();
    stage.act("triage", []);
    for n in 2..=5 {
        check(&stage.act_again("triage", []), &format!("note: taken by w-{n}\nask model\ndies"));
    }
    check(
        &stage.act_again("triage", []),
        "
        end: failed poison
        settled
    ",
    );
    assert_eq!(stage.phase(), Phase::Failed);
    let mut once = Stage::with(LimitsSpec { attempts: Some(1), ..LimitsSpec::default() }, true);
    once.act("triage", []);
    check(&once.act_again("triage", []), &format!("end: failed {}\nsettled", failure::POISON));
}

#[test]
fn a_turn_that_was_handed_back_keeps_what_it_did_and_is_no_failed_attempt() {
    let mut stage = Stage::new();
    for _ in 0..10 {
        stage.act_again("triage", [Reply::HandsBack]);
    }
    let mut stage = Stage::new();
    check(
        &stage.act("triage", [calls(&[("look", "{}")]), Reply::HandsBack]),
        "
        ask model
        run look
        note: responded look; handed back: draining
    ",
    );
    check(
        &stage.act_again("triage", [Reply::HandsBack]),
        "
        note: taken by w-2
        run look
        note: handed back: draining
    ",
    );
    assert_eq!(stage.journal.brief().unwrap().attempts, 0);
    check(
        &stage.act_again("triage", [says("ok")]),
        r#"
        note: taken by w-3
        run look
        ask model
        ask: returned c1: look done; responded "ok"; asked question of caller
        settled
    "#,
    );
}

#[test]
fn an_entry_of_a_newer_version_is_set_aside_once() {
    let mut stage = Stage::new();
    let unknown = Event::Unknown { kind: "sung".to_owned(), data: vec![0xc0].into() };
    stage.write(Class::Note, "triage", unknown);
    check(
        &stage.act("triage", []),
        "
        note: set aside 1 sung
        given back for 10 s
    ",
    );
    check(&stage.act_again("triage", []), "given back for 10 s");
    assert_eq!(stage.journal.brief().unwrap().wait_secs, Some(10));
    // What is over is over, whoever wrote about it.
    stage.write(Class::End, "client", protocol::event::Cancelled { reason: String::new() });
    check(&stage.act_again("triage", []), "settled");
}

#[test]
fn a_completion_that_a_successor_finds_is_withheld_from_a_person_it_never_heard() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[("put", "{}"), DONE]), Reply::Dies]);
    stage.say("wait, one more thing");
    check(
        &stage.act_again("triage", [says("what is it?")]),
        r#"
        note: taken by w-2
        run put
        note: returned c1: put done; error c2: Not completed: the person said something more meanwhile. Answer that first.
        ask model
        ask: responded "what is it?"; asked question of caller
        settled
    "#,
    );
    // The same where the message came before the response was stored.
    let mut stage = Stage::new();
    stage.meanwhile(0, Meanwhile::Says("wait"));
    stage.act("triage", [calls(&[("put", "{}"), DONE]), Reply::Dies]);
    let effects = stage.act_again("triage", [says("what is it?")]);
    assert!(effects[2].contains("Not completed"), "{effects:?}");
}
