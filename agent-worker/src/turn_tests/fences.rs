//! Somebody else wrote first (design 2, "Rebase").

use protocol::brief::Phase;
use protocol::event::{Cancelled, Interrupted, Reassigned, Redispatched, Taken};
use protocol::subject::Class;

use super::stage::{Meanwhile, Reply, Stage, agent, calls, check, counted, says, says_and_calls};

const TO_REFUND: (&str, &str) = ("transfer_to_refund", "{}");
const DONE: (&str, &str) = ("complete_task", r#"{"task_summary":"all done"}"#);
const PAY: (&str, &str) = ("pay", "{}");
const WIRE: (&str, &str) = ("wire", "{}");

#[test]
fn a_question_is_answered_by_what_was_said_meanwhile() {
    let mut stage = Stage::new();
    stage.meanwhile(0, Meanwhile::Says("it is order 17"));
    check(
        &stage.act("triage", [says("which order?")]),
        r#"
        ask model
        ask: responded "which order?"; asked question of caller
        to triage: responded "which order?"; continued answered
        settled
    "#,
    );
    assert_eq!((stage.phase(), stage.journal.brief().unwrap().user_turns), (Phase::Working, 2));
    // The next turn of the same agent: the message stands behind the question that it answers.
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
        user: it is order 17
    ",
    );
}

#[test]
fn a_message_that_the_model_has_seen_answers_no_question() {
    let mut stage = Stage::new();
    stage.say("it is order 17");
    check(
        &stage.act("triage", [says("which address?")]),
        r#"
        ask model
        ask: responded "which address?"; asked question of caller
        settled
    "#,
    );
    // Seen between two steps, because an intent was fenced by it.
    let mut stage = Stage::new();
    stage.meanwhile(0, Meanwhile::Says("hurry"));
    check(
        &stage.act("triage", [calls(&[PAY]), says("paid")]),
        r#"
        ask model
        note: responded pay; intended c1
        note: responded pay; intended c1
        run pay
        note: returned c1: pay done
        ask model
        ask: responded "paid"; asked question of caller
        settled
    "#,
    );
    stage.check_prompt(
        "
        system: Be kind.
        user: help
        user: hurry
        assistant:  [c1 pay]
        tool c1: pay done
    ",
    );
    assert_eq!(stage.runs.len(), 1);
}

#[test]
fn a_completion_is_withheld_and_the_model_asked_again() {
    let mut stage = Stage::new();
    stage.meanwhile(0, Meanwhile::Says("wait"));
    check(
        &stage.act("triage", [calls(&[DONE]), says("yes?")]),
        r#"
        ask model
        end: responded complete_task; completed TaskComplete: all done
        ask model
        ask: responded complete_task; error c1: Not completed: the person said something more meanwhile. Answer that first.; responded "yes?"; asked question of caller
        settled
    "#,
    );
    stage.check_prompt(
        "
        system: Be kind.
        user: help
        user: wait
        assistant:  [c1 complete_task]
        tool c1: Not completed: the person said something more meanwhile. Answer that first.
    ",
    );
}

/// The results of side effects are stored before a model sees them, also where a completion is withheld.
#[test]
fn a_withheld_completion_keeps_its_results() {
    let mut stage = Stage::new();
    stage.meanwhile(1, Meanwhile::Says("wait"));
    check(
        &stage.act("triage", [calls(&[PAY, DONE])]),
        "
        ask model
        note: responded pay complete_task; intended c1
        run pay
        end: returned c1: pay done; completed TaskComplete: all done
        note: returned c1: pay done; error c2: Not completed: the person said something more meanwhile. Answer that first.
        ask model
        dies
    ",
    );
    check(
        &stage.act_again("triage", [calls(&[DONE])]),
        "
        note: taken by w-2
        ask model
        end: responded complete_task; completed TaskComplete: all done
        settled
    ",
    );
    assert_eq!(stage.runs.len(), 1);
}

#[test]
fn without_a_human_channel_a_result_is_withheld_too() {
    let mut stage = Stage::without_people();
    stage.meanwhile(0, Meanwhile::Says("also in French"));
    check(
        &stage.act("triage", [says("42")]),
        r#"
        ask model
        end: responded "42"; completed Answered: 42
        to triage: responded "42"; continued answered
        settled
    "#,
    );
    check(
        &stage.act("triage", [says("quarante-deux")]),
        r#"
        ask model
        end: responded "quarante-deux"; completed Answered: quarante-deux
        settled
    "#,
    );
    stage.check_prompt(
        "
        system: Be kind.
        user: help
        assistant: 42
        user: also in French
    ",
    );
}

#[test]
fn a_transfer_takes_the_message_along() {
    let mut stage = Stage::new();
    stage.meanwhile(0, Meanwhile::Says("it is urgent"));
    check(
        &stage.act("triage", [says_and_calls("over to refunds", &[TO_REFUND])]),
        r#"
        ask model
        to refund: responded "over to refunds" transfer_to_refund; transferred to refund
        to refund: responded "over to refunds" transfer_to_refund; transferred to refund
        settled
    "#,
    );
    stage.act("refund", [says("hello")]);
    stage.check_prompt(
        "
        user: help
        user: it is urgent
        assistant Triage Desk: over to refunds
    ",
    );
}

#[test]
fn an_approval_is_asked_for_unchanged() {
    let mut stage = Stage::new();
    stage.meanwhile(0, Meanwhile::Says("yes"));
    stage.meanwhile(1, Meanwhile::Says("yes!"));
    check(
        &stage.act("triage", [calls(&[WIRE])]),
        "
        ask model
        ask: responded wire; intended c1; asked approval of role:manager wire
        ask: responded wire; intended c1; asked approval of role:manager wire
        ask: responded wire; intended c1; asked approval of role:manager wire
        settled
    ",
    );
    assert_eq!((stage.phase(), stage.journal.requests().len()), (Phase::Waiting, 1));
}

#[test]
fn a_failure_and_a_takeover_are_appended_unchanged() {
    let mut stage = Stage::new();
    stage.meanwhile(0, Meanwhile::Says("hello?"));
    check(
        &stage.act("triage", [Reply::Breaks(crate::model::ModelError::Refused("no".into()))]),
        "
        ask model
        end: failed model_error
        end: failed model_error
        settled
    ",
    );
    let mut stage = Stage::new();
    stage.meanwhile(0, Meanwhile::Says("hello?"));
    check(
        &stage.act_again("triage", [says("hi")]),
        r#"
        note: taken by w-1
        note: taken by w-1
        ask model
        ask: responded "hi"; asked question of caller
        settled
    "#,
    );
    stage.check_prompt(
        "
        system: Be kind.
        user: help
        user: hello?
    ",
    );
}

#[test]
fn a_deferral_is_appended_unchanged() {
    let mut stage = Stage::new();
    stage.meanwhile(0, Meanwhile::Says("hello?"));
    let later = crate::model::ModelError::Later { wait: std::time::Duration::from_secs(7), detail: "busy".into() };
    check(
        &stage.act("triage", [Reply::Breaks(later)]),
        "
        ask model
        note: deferred 7 s
        note: deferred 7 s
        given back for 7 s
    ",
    );
}

#[test]
fn whoever_lost_ownership_drops_the_work() {
    let me = || stage_to("triage");
    let turn = 0;
    let lost = [
        Meanwhile::Entry(Class::Note, "triage".to_owned(), Box::new(Taken { by: "w-9".parse().unwrap(), delivered: 2 }.into())),
        Meanwhile::Entry(me(), "coordinator".to_owned(), Box::new(Redispatched { turn, reason: String::new() }.into())),
        Meanwhile::Entry(
            stage_to("refund"),
            "coordinator".to_owned(),
            Box::new(Reassigned { to: agent("refund"), by: "ops".into() }.into()),
        ),
        // Case 43: the late output of a cancelled turn is refused.
        Meanwhile::Entry(Class::End, "client".to_owned(), Box::new(Cancelled { reason: String::new() }.into())),
        Meanwhile::Entry(me(), "gateway".to_owned(), Box::new(Interrupted { text: "stop".to_owned() }.into())),
    ];
    for meanwhile in lost {
        for reply in [says("which order?"), calls(&[TO_REFUND]), calls(&[DONE]), calls(&[PAY]), calls(&[WIRE])] {
            let mut stage = Stage::new();
            stage.meanwhile(0, Meanwhile::Says("first a message"));
            stage.meanwhile(0, meanwhile.clone());
            let effects = stage.act("triage", [reply]);
            assert_eq!((effects.len(), effects.last().map(String::as_str)), (3, Some("dropped")), "{meanwhile:?}: {effects:?}");
            assert_eq!(stage.runs, [], "nothing runs for a turn that is lost");
        }
    }
}

fn stage_to(name: &str) -> Class {
    Stage::new().to(name)
}

#[test]
fn an_interrupted_turn_is_asked_again_with_the_message() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[PAY]), says("paid, what else?")]);
    stage.reply("nothing");
    stage.meanwhile(
        0,
        Meanwhile::Entry(stage.to("triage"), "gateway".to_owned(), Box::new(Interrupted { text: "no, stop".to_owned() }.into())),
    );
    check(
        &stage.act("triage", [calls(&[DONE])]),
        "
        ask model
        end: responded complete_task; completed TaskComplete: all done
        dropped
    ",
    );
    check(
        &stage.act("triage", [says("stopped")]),
        r#"
        ask model
        ask: responded "stopped"; asked question of caller
        settled
    "#,
    );
    stage.check_prompt(
        "
        system: Be kind.
        user: help
        assistant:  [c1 pay]
        tool c1: pay done
        assistant: paid, what else?
        user: nothing
        user: no, stop
    ",
    );
}

#[test]
fn an_answer_to_another_effect_gives_the_turn_up() {
    use crate::turn::{Effect, Finish, Input};
    let mut stage = Stage::new();
    let mut turn = stage.turn("triage", counted(0, 1));
    assert!(matches!(turn.next(Input::Start), Effect::AskModel));
    assert!(matches!(turn.next(Input::Tools(Vec::new())), Effect::Finish(Finish::GiveBack { .. })));
    assert!(matches!(turn.next(Input::Model(Ok(protocol::event::Responded::default()))), Effect::Finish(Finish::GiveBack { .. })));
}

#[test]
fn what_cannot_be_written_down_fails_visibly_and_a_failure_of_that_kind_waits() {
    let mut stage = Stage::new();
    stage.meanwhile(0, Meanwhile::CannotBeWritten);
    let effects = stage.act("triage", [says("hi")]);
    assert_eq!(effects[2..], ["end: failed unwritable", "settled"]);
    let mut stage = Stage::new();
    stage.meanwhile(0, Meanwhile::CannotBeWritten);
    stage.meanwhile(1, Meanwhile::CannotBeWritten);
    let effects = stage.act("triage", [says("hi")]);
    assert_eq!(effects[2..], ["end: failed unwritable", "given back for 5 s"]);
}
