//! What people say, answer and decide.

use protocol::brief::Phase;
use protocol::event::{Event, Verdict};

use super::stage::{Stage, calls, check, says, says_and_calls};

const TO_REFUND: (&str, &str) = ("transfer_to_refund", "{}");
const WIRE: (&str, &str) = ("wire", r#"{"amount":10}"#);

#[test]
fn case_28_a_reply_goes_on_with_the_same_agent() {
    let mut stage = Stage::new();
    stage.act("triage", [says("which order?")]);
    stage.reply("17");
    check(
        &stage.act("triage", [says("thanks")]),
        r#"
        ask model
        ask: responded "thanks"; asked question of caller
        settled
    "#,
    );
    stage.check_prompt(
        "
        system: Be kind.
        user: help
        assistant: which order?
        user: 17
    ",
    );
}

#[test]
fn case_29_a_transfer_asks_nobody() {
    let mut stage = Stage::new();
    stage.act("triage", [says_and_calls("over to refunds", &[TO_REFUND])]);
    assert_eq!((stage.phase(), stage.journal.requests().len()), (Phase::Working, 0));
}

#[test]
fn case_34_an_approved_call_runs_once() {
    let mut stage = Stage::new();
    check(
        &stage.act("triage", [calls(&[WIRE])]),
        "
        ask model
        ask: responded wire; intended c1; asked approval of role:manager wire
        settled
    ",
    );
    assert_eq!((stage.phase(), stage.runs.len()), (Phase::Waiting, 0));
    stage.decide(Verdict::Approved, "");
    check(
        &stage.act("triage", [says("wired")]),
        r#"
        note: intended c1
        run wire
        note: returned c1: wire done
        ask model
        ask: responded "wired"; asked question of caller
        settled
    "#,
    );
    assert_eq!(stage.runs.len(), 1);
    stage.check_prompt(
        "
        system: Be kind.
        user: help
        assistant:  [c1 wire]
        tool c1: wire done
    ",
    );
    // The key is the one that the request announced.
    let Event::Intended(announced) = &stage.journal.entries()[1].events[1] else { panic!() };
    assert_eq!(announced.calls[0].key, stage.runs[0].key);
}

#[test]
fn case_34_a_denied_call_does_not_run_and_the_model_is_told() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[WIRE])]);
    stage.decide(Verdict::Denied, "too much");
    check(
        &stage.act("triage", [says("sorry")]),
        r#"
        note: error c1: A person denied this call: it did not run. Their words: too much
        ask model
        ask: responded "sorry"; asked question of caller
        settled
    "#,
    );
    assert_eq!(stage.runs, []);
}

#[test]
fn case_35_a_transfer_waits_for_the_approval_and_then_happens_without_the_model() {
    for both in [[WIRE, TO_REFUND], [TO_REFUND, WIRE]] {
        for verdict in [Verdict::Approved, Verdict::Denied] {
            let mut stage = Stage::new();
            let effects = stage.act("triage", [calls(&both)]);
            assert!(effects[1].starts_with("ask: "), "{effects:?}");
            assert_eq!(stage.owner(), "triage");
            stage.decide(verdict, "");
            let asked = stage.prompts.len();
            let effects = stage.act("triage", []);
            assert!(effects[effects.len() - 2].ends_with("transferred to refund"), "{effects:?}");
            assert_eq!((stage.prompts.len(), stage.owner().as_str()), (asked, "refund"));
            assert_eq!(stage.runs.len(), usize::from(verdict == Verdict::Approved));
        }
    }
}

#[test]
fn several_approvals_are_one_ask_and_the_last_decision_goes_on() {
    let mut stage = Stage::new();
    check(&stage.act("triage", [calls(&[WIRE, ("look", "{}"), ("refund_money", "{}"), ("spy", "{}")])]), "
        ask model
        run look
        ask: responded wire look refund_money spy; returned c2: look done; intended c1 c3 c4; asked approval of role:manager wire; asked approval of caller refund_money; asked approval of role:manager spy
        settled
    ");
    let ids: Vec<_> = stage.journal.requests().iter().map(|request| request.id).collect();
    stage.decide_one(ids[1], Verdict::Denied, "");
    stage.decide_one(ids[2], Verdict::Approved, "");
    assert_eq!(stage.phase(), Phase::Waiting);
    stage.decide_one(ids[0], Verdict::Approved, "");
    // What only reads needs no intent, though it needed a permission.
    check(
        &stage.act("triage", [says("done")]),
        r#"
        note: error c3: A person denied this call: it did not run.; intended c1
        run wire, spy
        note: returned c1: wire done; returned c4: spy done
        ask model
        ask: responded "done"; asked question of caller
        settled
    "#,
    );
}

#[test]
fn effects_of_the_same_response_run_before_the_approval_is_asked_for() {
    let mut stage = Stage::new();
    check(
        &stage.act("triage", [calls(&[("pay", "{}"), WIRE])]),
        "
        ask model
        note: responded pay wire; intended c1
        run pay
        ask: returned c1: pay done; intended c2; asked approval of role:manager wire
        settled
    ",
    );
    stage.decide(Verdict::Denied, "");
    let effects = stage.act("triage", [says("ok")]);
    assert_eq!(effects[0], "note: error c2: A person denied this call: it did not run.");
    assert_eq!(stage.runs.len(), 1);
}

#[test]
fn what_is_said_while_an_approval_is_open_is_seen_afterwards() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[WIRE])]);
    stage.say("yes, do it!");
    assert_eq!(stage.phase(), Phase::Waiting, "a customer cannot approve by saying yes");
    stage.decide(Verdict::Denied, "");
    stage.act("triage", [says("sorry")]);
    stage.check_prompt(
        "
        system: Be kind.
        user: help
        assistant:  [c1 wire]
        tool c1: A person denied this call: it did not run.
        user: yes, do it!
    ",
    );
}

#[test]
fn a_persons_words_are_never_taken_for_a_warning() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[("pay", "{}")]), super::stage::Reply::Dies]);
    stage.act_again("triage", []);
    stage.decide(Verdict::Happened, "Ignored: the bank said so");
    check(
        &stage.act("triage", [says("ok")]),
        r#"
        note: returned c1: Ignored: the bank said so
        ask model
        ask: responded "ok"; asked question of caller
        settled
    "#,
    );
}
