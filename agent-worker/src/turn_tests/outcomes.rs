//! Semantics 1: one response, one outcome.

use std::time::Duration;

use journal::Refusal;
use protocol::brief::Phase;
use protocol::event::{Call, Event, HistoryOption, Responded, failure};
use protocol::manifest::LimitsSpec;
use serde_json::json;

use super::stage::{Meanwhile, Reply, Stage, agent, calls, check, says, says_and_calls};
use crate::model::ModelError;

const PAY: (&str, &str) = ("pay", "{}");
const LOOK: (&str, &str) = ("look", "{}");
const TO_REFUND: (&str, &str) = ("transfer_to_refund", "{}");
const TO_ORDER: (&str, &str) = ("transfer_to_order", r#"{"payload":{"order":7}}"#);
const DONE: (&str, &str) = ("complete_task", r#"{"task_summary":"all done"}"#);

#[test]
fn case_1_a_single_agents_text_is_the_result_where_nobody_can_be_asked() {
    let mut stage = Stage::without_people();
    check(
        &stage.act("triage", [says("42")]),
        r#"
        ask model
        end: responded "42"; completed Answered: 42
        settled
    "#,
    );
    assert_eq!(stage.phase(), Phase::Completed);
}

#[test]
fn case_2_transfer_and_complete() {
    let mut stage = Stage::new();
    check(
        &stage.act("triage", [calls(&[TO_REFUND])]),
        "
        ask model
        to refund: responded transfer_to_refund; transferred to refund
        settled
    ",
    );
    check(
        &stage.act("refund", [calls(&[DONE])]),
        "
        ask model
        end: responded complete_task; completed TaskComplete: all done
        settled
    ",
    );
    assert_eq!(stage.phase(), Phase::Completed);
}

#[test]
fn cases_3_and_27_a_plain_answer_asks_the_human_and_the_owner_stays() {
    let mut stage = Stage::new();
    check(
        &stage.act("triage", [says("which order?")]),
        r#"
        ask model
        ask: responded "which order?"; asked question of caller
        settled
    "#,
    );
    assert_eq!((stage.phase(), stage.owner()), (Phase::Waiting, "triage".to_owned()));
    let requests = stage.journal.requests();
    assert_eq!((requests.len(), requests[0].due_secs), (1, Some(86_400)));
}

#[test]
fn cases_4_15_and_17_hands_pass_and_every_call_has_one_result() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[LOOK]), says_and_calls("I hand you over.", &[TO_REFUND])]);
    stage.act("refund", [calls(&[("transfer_to_triage", "{}")])]);
    stage.check_prompt(
        "
        user: help
        assistant Triage Desk: I hand you over.
    ",
    );
    stage.act("triage", [calls(&[TO_ORDER])]);
    stage.check_prompt(
        "
        system: Be kind.
        user: help
        assistant:  [c1 look]
        tool c1: look done
        assistant: I hand you over. [c1 transfer_to_refund]
        tool c1: Transferred to refund.
    ",
    );
    check(
        &stage.act("order", [calls(&[DONE])]),
        "
        ask model
        end: responded complete_task; completed TaskComplete: all done
        settled
    ",
    );
    stage.check_prompt(
        r#"
        user: help
        assistant Triage Desk: I hand you over.
        assistant Triage Desk: {"order":7}
    "#,
    );
}

#[test]
fn case_16_text_with_a_transfer_is_one_commit_and_seen_once() {
    let mut stage = Stage::new();
    check(
        &stage.act("triage", [says_and_calls("One moment.", &[TO_REFUND])]),
        r#"
        ask model
        to refund: responded "One moment." transfer_to_refund; transferred to refund
        settled
    "#,
    );
    stage.act("refund", [says("Hello.")]);
    stage.check_prompt(
        "
        user: help
        assistant Triage Desk: One moment.
    ",
    );
}

#[test]
fn case_20_the_first_of_two_transfers_wins() {
    let mut stage = Stage::new();
    check(&stage.act("triage", [calls(&[TO_ORDER, TO_REFUND])]), "
        ask model
        to order: responded transfer_to_order transfer_to_refund; error c2: Ignored: another transfer in the same response came first, not to refund.; warned transfer_ignored; transferred to order
        settled
    ");
    // The first valid one: a transfer that cannot be is no rival.
    let mut stage = Stage::new();
    let effects = stage.act("triage", [calls(&[("transfer_to_order", "{}"), TO_REFUND])]);
    assert!(effects[1].starts_with("to refund: ") && !effects[1].contains("warned"), "{effects:?}");
}

#[test]
fn cases_21_and_22_a_tool_beside_a_transfer_runs_first_whatever_the_order() {
    for both in [[LOOK, TO_REFUND], [TO_REFUND, LOOK]] {
        let mut stage = Stage::new();
        let effects = stage.act("triage", [calls(&both)]);
        assert_eq!(effects[1], "run look");
        assert!(effects[2].starts_with("to refund: ") && effects[2].contains("look done"), "{effects:?}");
        assert_eq!((effects.len(), stage.runs.len()), (4, 1));
    }
    // It fails: the transfer still happens.
    let mut stage = Stage::new();
    check(
        &stage.act("triage", [calls(&[PAY, TO_REFUND]), Reply::Tools(vec![("c1", Err("no funds"))])]),
        "
        ask model
        note: responded pay transfer_to_refund; intended c1
        run pay
        to refund: error c1: no funds; transferred to refund
        settled
    ",
    );
}

#[test]
fn case_23_a_completion_wins_over_a_transfer() {
    for both in [[TO_REFUND, DONE], [DONE, TO_REFUND]] {
        let mut stage = Stage::new();
        let effects = stage.act("triage", [calls(&both)]);
        assert!(effects[1].starts_with("end: ") && effects[1].ends_with("completed TaskComplete: all done"), "{effects:?}");
        assert!(effects[1].contains("Ignored: the same response completed the task."), "{effects:?}");
        assert_eq!((effects.len(), stage.phase()), (3, Phase::Completed));
    }
}

#[test]
fn a_completion_wins_over_an_approval_and_comes_after_the_tools() {
    let mut stage = Stage::new();
    check(&stage.act("triage", [calls(&[("wire", "{}"), DONE, PAY, DONE])]), "
        ask model
        note: responded wire complete_task pay complete_task; intended c3
        run pay
        end: returned c3: pay done; error c1: Ignored: the same response completed the task.; error c4: Ignored: the same response completed the task.; completed TaskComplete: all done
        settled
    ");
}

#[test]
fn case_24_a_transfer_that_cannot_be_is_an_error_to_the_model() {
    for (name, why) in [("transfer_to_sales", "\"sales\""), ("transfer_to_triage", "\"triage\""), ("transfer_to_", "\"\"")] {
        let mut stage = Stage::new();
        let effects = stage.act("triage", [calls(&[(name, "{}")]), says("sorry")]);
        assert_eq!(effects[..2], ["ask model", "ask model"]);
        assert!(stage.prompts[1].iter().any(|line| line.contains(&format!("You cannot transfer to {why}"))), "{:?}", stage.prompts[1]);
        assert_eq!(stage.owner(), "triage");
    }
}

#[test]
fn case_25_a_malformed_completion_is_an_error_to_the_model() {
    for arguments in ["", "{}", "{", "[]", "null", "\"x\"", r#"{"task_summary":7}"#, r#"{"task_summary":null}"#] {
        let mut stage = Stage::new();
        let effects = stage.act("triage", [calls(&[("complete_task", arguments)]), calls(&[DONE])]);
        assert_eq!(effects[..2], ["ask model", "ask model"], "{arguments}");
        assert_eq!((effects.len(), stage.phase()), (4, Phase::Completed));
    }
}

#[test]
fn case_26_extra_arguments_do_not_stop_a_transfer() {
    for arguments in ["", "{\"who\":1}", "not json", "[]", r#"{"reason":7}"#] {
        let mut stage = Stage::new();
        stage.act("triage", [calls(&[("transfer_to_refund", arguments)])]);
        assert_eq!(stage.owner(), "refund", "{arguments}");
    }
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[("transfer_to_refund", r#"{"reason":"money","x":1}"#)])]);
    let Some(Event::Transferred(transferred)) = stage.journal.last().unwrap().events.last() else { panic!() };
    assert_eq!((transferred.reason.as_deref(), transferred.call.as_deref()), (Some("money"), Some("c1")));
    assert_eq!((&transferred.payload, transferred.history, &transferred.summary), (&None, HistoryOption::None, &None));
}

#[test]
fn case_57_a_typed_payload_is_validated() {
    let deep = format!(r#"{{"payload":{{"order":1,"x":{}{}}}}}"#, "[".repeat(40), "]".repeat(40));
    for arguments in ["{}", "", "no", r#"{"payload":7}"#, r#"{"payload":{"order":"seven"}}"#, deep.as_str()] {
        let mut stage = Stage::new();
        let effects = stage.act("triage", [calls(&[("transfer_to_order", arguments)]), says("sorry")]);
        assert_eq!(effects[..2], ["ask model", "ask model"], "{arguments}");
        assert_eq!(stage.owner(), "triage");
    }
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[TO_ORDER])]);
    let Some(Event::Transferred(transferred)) = stage.journal.last().unwrap().events.last() else { panic!() };
    assert_eq!(transferred.payload, Some(json!({ "order": 7 })));
}

#[test]
fn an_invalid_call_never_reaches_the_tool() {
    let mut stage = Stage::new();
    let bad = [("count", r#"{"n":"many"}"#), ("count", "{"), ("fly", "{}"), ("count", "[]")];
    check(
        &stage.act("triage", [calls(&bad), says("ok")]),
        r#"
        ask model
        ask model
        ask: responded count count fly count; error c1: The arguments do not match the tool's schema: "many" is not of type "integer". The tool did not run.; error c2: The arguments are not valid JSON: EOF while parsing an object at line 1 column 1. The tool did not run.; error c3: There is no tool "fly". Available are: look, put, pay, mail, log, refund_money, wire, spy, count, book, let, transfer_to_refund, transfer_to_order, complete_task.; error c4: The arguments do not match the tool's schema: [] is not of type "object". The tool did not run.; responded "ok"; asked question of caller
        settled
    "#,
    );
    assert_eq!(stage.runs, []);
}

#[test]
fn tools_loop_until_there_is_an_outcome_and_effects_are_stored_before_a_model_sees_them() {
    let mut stage = Stage::new();
    check(
        &stage.act("triage", [calls(&[LOOK, ("count", "{\"n\":1}")]), calls(&[PAY, LOOK]), calls(&[LOOK]), says("done")]),
        r#"
        ask model
        run look, count
        ask model
        note: responded look count; returned c1: look done; returned c2: count done; responded pay look; intended c1
        run pay, look
        note: returned c1: pay done; returned c2: look done
        ask model
        run look
        ask model
        ask: responded look; returned c1: look done; responded "done"; asked question of caller
        settled
    "#,
    );
    stage.check_prompt(
        "
        system: Be kind.
        user: help
        assistant:  [c1 look] [c2 count]
        tool c1: look done
        tool c2: count done
        assistant:  [c1 pay] [c2 look]
        tool c1: pay done
        tool c2: look done
        assistant:  [c1 look]
        tool c1: look done
    ",
    );
}

#[test]
fn an_agent_without_handoffs_can_complete() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[TO_ORDER])]);
    check(
        &stage.act("order", [calls(&[("transfer_to_triage", "{}")]), calls(&[DONE])]),
        r#"
        ask model
        ask model
        end: responded transfer_to_triage; error c1: You cannot transfer to "triage". Available are: complete_task.; responded complete_task; completed TaskComplete: all done
        settled
    "#,
    );
}

#[test]
fn case_39_handing_over_for_ever_fails() {
    let mut stage = Stage::with(LimitsSpec { handoffs_per_user_turn: Some(3), ..LimitsSpec::default() }, true);
    for (owner, target) in [("triage", "refund"), ("refund", "triage"), ("triage", "refund")] {
        stage.act(owner, [calls(&[(&format!("transfer_to_{target}"), "{}")])]);
        assert_eq!(stage.owner(), target);
    }
    check(
        &stage.act("refund", [calls(&[("transfer_to_triage", "{}")])]),
        "
        ask model
        end: responded transfer_to_triage; failed handoff_limit
        settled
    ",
    );
    assert_eq!(stage.phase(), Phase::Failed);
}

#[test]
fn a_persons_word_begins_the_count_of_handoffs_anew() {
    let mut stage = Stage::with(LimitsSpec { handoffs_per_user_turn: Some(1), ..LimitsSpec::default() }, true);
    for (owner, target) in [("triage", "refund"), ("refund", "triage")] {
        stage.act(owner, [says("yes?")]);
        stage.reply("go on");
        stage.act(owner, [calls(&[(&format!("transfer_to_{target}"), "{}")])]);
        assert_eq!(stage.owner(), target);
    }
}

#[test]
fn case_40_tool_rounds_are_capped() {
    let mut stage = Stage::new();
    let effects = stage.act("triage", std::iter::repeat_n(calls(&[LOOK]), 30));
    assert_eq!(effects.iter().filter(|effect| *effect == "ask model").count(), 24);
    assert_eq!(stage.phase(), Phase::Failed);
    assert!(effects[effects.len() - 2].ends_with("failed call_limit"), "{effects:?}");
    // Errors to the model count too.
    let mut stage = Stage::with(LimitsSpec { model_calls_per_turn: Some(2), ..LimitsSpec::default() }, true);
    check(&stage.act("triage", std::iter::repeat_n(calls(&[("transfer_to_x", "{")]), 3)), "
        ask model
        ask model
        end: responded transfer_to_x; error c1: The arguments are not valid JSON: EOF while parsing an object at line 1 column 1. The tool did not run.; responded transfer_to_x; error c1: The arguments are not valid JSON: EOF while parsing an object at line 1 column 1. The tool did not run.; failed call_limit
        settled
    ");
}

#[test]
fn the_cap_counts_across_workers() {
    let mut stage = Stage::with(LimitsSpec { model_calls_per_turn: Some(2), ..LimitsSpec::default() }, true);
    stage.act("triage", [calls(&[PAY])]);
    check(
        &stage.act_again("triage", [calls(&[LOOK])]),
        "
        note: taken by w-2
        ask model
        run look
        end: responded look; returned c1: look done; failed call_limit
        settled
    ",
    );
}

#[test]
fn case_41_a_model_that_breaks_fails_the_conversation_in_any_agent() {
    let errors = [ModelError::Unavailable("down".into()), ModelError::Refused("no".into()), ModelError::Garbled("?".into())];
    for error in errors {
        let mut stage = Stage::new();
        check(
            &stage.act("triage", [Reply::Breaks(error.clone())]),
            "
            ask model
            end: failed model_error
            settled
        ",
        );
        let mut later = Stage::new();
        later.act("triage", [calls(&[TO_REFUND])]);
        check(
            &later.act("refund", [calls(&[LOOK]), Reply::Breaks(error)]),
            "
            ask model
            run look
            ask model
            end: responded look; returned c1: look done; failed model_error
            settled
        ",
        );
        assert_eq!(later.phase(), Phase::Failed);
    }
}

#[test]
fn a_model_that_says_nothing_is_asked_again_and_then_fails() {
    let mut stage = Stage::new();
    check(
        &stage.act("triage", [says(""), says(" \n"), says("hello")]),
        r#"
        ask model
        ask model
        ask model
        ask: responded; responded " \n"; responded "hello"; asked question of caller
        settled
    "#,
    );
    let mut stage = Stage::new();
    check(
        &stage.act("triage", [says(""), says(""), says("")]),
        "
        ask model
        ask model
        ask model
        end: responded; responded; failed model_error
        settled
    ",
    );
}

#[test]
fn a_pause_puts_the_turn_off_and_a_too_long_one_ends_it() {
    let later = |secs| Reply::Breaks(ModelError::Later { wait: Duration::from_secs(secs), detail: "busy".into() });
    let mut stage = Stage::new();
    check(
        &stage.act("triage", [calls(&[LOOK]), later(30)]),
        "
        ask model
        run look
        ask model
        note: responded look; returned c1: look done; deferred 30 s
        given back for 30 s
    ",
    );
    // The next one goes on with what was done, and the rest is no failed attempt.
    check(
        &stage.act_again("triage", [says("now")]),
        r#"
        note: taken by w-2
        ask model
        ask: responded "now"; asked question of caller
        settled
    "#,
    );
    stage.check_prompt(
        "
        system: Be kind.
        user: help
        assistant:  [c1 look]
        tool c1: look done
    ",
    );
    let mut stage = Stage::new();
    check(
        &stage.act("triage", [later(601)]),
        "
        ask model
        end: failed model_error
        settled
    ",
    );
}

#[test]
fn a_response_with_too_many_calls_is_the_models_error() {
    let many: Vec<(&str, &str)> = vec![LOOK; 129];
    let mut stage = Stage::new();
    check(
        &stage.act("triage", [calls(&many)]),
        "
        ask model
        end: failed model_error
        settled
    ",
    );
    let mut stage = Stage::new();
    let effects = stage.act("triage", [calls(&many[..128]), says("ok")]);
    assert_eq!((effects.len(), stage.runs.len(), stage.phase()), (5, 128, Phase::Waiting));
}

/// A long turn is stored in pieces, or its outcome would be more than an entry can hold.
#[test]
fn a_turn_without_effects_is_stored_before_it_grows_too_large() {
    let mut stage = Stage::with(LimitsSpec { model_calls_per_turn: Some(100), ..LimitsSpec::default() }, true);
    let effects = stage.act("triage", std::iter::repeat_n(calls(&[LOOK; 128]), 100));
    assert_eq!(effects.iter().filter(|effect| effect.starts_with("note: ")).count(), 50);
    assert!(stage.journal.entries().iter().all(|entry| entry.events.len() < 600));
}

/// Some providers leave ids out, or repeat them.
#[test]
fn calls_are_told_apart_whatever_their_ids() {
    for ids in [["", "", ""], ["x", "x", "x"], ["call_1", "", "call_1"], ["call_0", "call_0", ""]] {
        let calls = ids.map(|id| Call { id: id.to_owned(), name: "pay".to_owned(), arguments: "{}".to_owned() }).to_vec();
        let mut stage = Stage::new();
        stage.act("triage", [Reply::Model(Responded { calls, ..Responded::default() }), says("ok")]);
        let returned: Vec<_> = stage
            .journal
            .events()
            .filter_map(|(_, (_, event))| if let Event::Returned(returned) = event { Some(returned.call.clone()) } else { None })
            .collect();
        assert_eq!(stage.runs.len(), 3, "{ids:?}");
        let distinct: std::collections::BTreeSet<_> = returned.iter().collect();
        assert_eq!((returned.len(), distinct.len()), (3, 3), "{ids:?}: {returned:?}");
        assert_eq!(stage.journal.brief().unwrap().open_calls, 0);
    }
}

#[test]
fn what_can_never_be_stored_fails_visibly() {
    let large = || Refusal::TooLarge { bytes: 2_000_000, bytes_max: 1_000_000 };
    let forbidden = || Refusal::NotPermitted { subject: "baton.support.c.c1.1.to.refund".to_owned() };
    for (refusal, code) in [(large(), failure::OVERSIZE), (forbidden(), failure::NOT_PERMITTED)] {
        let mut stage = Stage::new();
        stage.meanwhile(0, Meanwhile::Refuses(refusal));
        check(
            &stage.act("triage", [calls(&[TO_REFUND])]),
            &format!(
                "
            ask model
            to refund: responded transfer_to_refund; transferred to refund
            end: failed {code}
            settled
        "
            ),
        );
        assert_eq!(stage.phase(), Phase::Failed);
    }
    // Not even that it failed can be stored: the work waits for somebody to help.
    let mut stage = Stage::new();
    stage.meanwhile(0, Meanwhile::Refuses(large()));
    stage.meanwhile(1, Meanwhile::Refuses(forbidden()));
    check(
        &stage.act("triage", [says("hi")]),
        r#"
        ask model
        ask: responded "hi"; asked question of caller
        end: failed oversize
        given back for 5 s
    "#,
    );
}

#[test]
fn a_full_disk_is_no_failure() {
    for refusal in [Refusal::NoSpace("full".into()), Refusal::Other("no stream".into())] {
        let mut stage = Stage::new();
        stage.meanwhile(0, Meanwhile::Refuses(refusal));
        check(
            &stage.act("triage", [says("hi")]),
            r#"
            ask model
            ask: responded "hi"; asked question of caller
            given back for 5 s
        "#,
        );
        assert_eq!(stage.phase(), Phase::Working);
    }
}

#[test]
fn an_intent_names_its_calls_by_keys_that_a_successor_finds() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[LOOK, PAY, ("put", "{}")])]);
    let Some(Event::Intended(intended)) = stage.journal.entries()[1].events.last() else { panic!() };
    let keys: Vec<_> = intended.calls.iter().map(|call| (call.call.as_str(), call.key.as_str())).collect();
    let run_with: Vec<_> =
        stage.runs.iter().filter(|run| run.call.name != "look").map(|run| (run.call.id.as_str(), run.key.as_str())).collect();
    assert_eq!(keys, run_with);
    assert_eq!(keys.len(), 2);
    assert!(keys.iter().all(|(_, key)| key.starts_with(&stage.journal.entries()[1].head.id.to_string())));
    assert_eq!(agent("triage"), intended_by(&stage));
}

fn intended_by(stage: &Stage) -> protocol::ids::AgentName {
    stage.journal.entries()[1].head.subject.from.agent().unwrap().clone()
}
