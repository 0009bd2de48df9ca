//! How a conversation ends, or does not yet: autonomous mode, the termination predicate, typed results.

use protocol::brief::Phase;
use protocol::event::{CompletedBecause, Event, Json, Opened};
use protocol::manifest::{AutonomousSpec, HumanSpec, LimitsSpec, Spec};
use serde_json::json;

use super::stage::{Meanwhile, Stage, calls, check, says, says_and_calls};

const TO_REFUND: (&str, &str) = ("transfer_to_refund", "{}");
const PAY: (&str, &str) = ("pay", "{}");

fn alone(turns: u32) -> impl Fn(&mut Spec) {
    move |spec| {
        let autonomous = AutonomousSpec { turns: Some(turns), prompt: Some("Go on.".to_owned()) };
        spec.human = Some(HumanSpec { autonomous: Some(autonomous), ..HumanSpec::default() });
    }
}

fn until(expression: &str) -> impl Fn(&mut Spec) {
    let expression = expression.to_owned();
    move |spec| spec.terminate_when = Some(expression.clone())
}

fn typed(spec: &mut Spec) {
    spec.output = Some(json!({
        "type": "object",
        "properties": { "refunded": { "$ref": "#/$defs/cents" } },
        "required": ["refunded"],
        "$defs": { "cents": { "type": "integer" } },
    }));
}

fn with_people() -> Opened {
    Opened { human: true, ..Opened::default() }
}

/// How the conversation ended: why, with which text and value.
fn completed(stage: &Stage) -> (CompletedBecause, &str, Option<Json>) {
    let Some(Event::Completed(completed)) = stage.journal.last().unwrap().events.last() else { panic!("{:?}", stage.journal.last()) };
    (completed.because, &completed.result, completed.value.clone())
}

#[test]
fn case_37_autonomous_mode_asks_the_model_once_more_than_it_goes_on_and_then_the_person() {
    let mut stage = Stage::of(alone(2), with_people());
    for thought in ["one", "two"] {
        check(
            &stage.act("triage", [says(thought)]),
            &format!(
                "
            ask model
            to triage: responded {thought:?}; continued autonomous
            settled
        "
            ),
        );
    }
    check(
        &stage.act("triage", [says("three")]),
        r#"
        ask model
        ask: responded "three"; asked question of caller
        settled
    "#,
    );
    stage.check_prompt(
        "
        system: Be kind.
        user: help
        assistant: one
        user: Go on.
        assistant: two
        user: Go on.
    ",
    );
    assert_eq!((stage.prompts.len(), stage.phase()), (3, Phase::Waiting));
    // A person's word begins the count anew.
    stage.reply("and?");
    assert!(stage.act("triage", [says("four")])[1].ends_with("continued autonomous"));
}

#[test]
fn case_37_without_a_human_channel_the_last_answer_is_the_result() {
    let mut stage = Stage::of(alone(1), Opened::default());
    stage.act("triage", [says("one")]);
    check(
        &stage.act("triage", [says("two")]),
        r#"
        ask model
        end: responded "two"; completed Answered: two
        settled
    "#,
    );
}

#[test]
fn case_38_a_handoff_begins_the_count_anew_and_only_the_agent_itself_sees_the_prompt() {
    let mut stage = Stage::of(alone(1), with_people());
    stage.act("triage", [says("one")]);
    stage.act("triage", [calls(&[TO_REFUND])]);
    assert!(stage.act("refund", [says("two")])[1].ends_with("continued autonomous"));
    stage.check_prompt(
        "
        user: help
        assistant Triage Desk: one
    ",
    );
    assert!(stage.act("refund", [says("three")])[1].ends_with("asked question of caller"));
}

#[test]
fn what_a_person_says_wins_over_going_on_alone() {
    let mut stage = Stage::of(alone(5), with_people());
    stage.meanwhile(0, Meanwhile::Says("it is order 17"));
    check(
        &stage.act("triage", [says("which order?")]),
        r#"
        ask model
        to triage: responded "which order?"; continued autonomous
        to triage: responded "which order?"; continued answered
        settled
    "#,
    );
    assert_eq!(stage.journal.brief().unwrap().continuations, 0);
    stage.act("triage", [says("thanks")]);
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
fn case_36_a_plain_answer_that_matches_ends_the_conversation_without_a_question() {
    let mut stage = Stage::of(until(r#"text.contains("GOODBYE") && agent == "triage" && metadata.tier == "gold""#), gold());
    check(
        &stage.act("triage", [says("GOODBYE then")]),
        r#"
        ask model
        end: responded "GOODBYE then"; completed Terminated: GOODBYE then
        settled
    "#,
    );
    assert_eq!(completed(&stage), (CompletedBecause::Terminated, "GOODBYE then", None));
    let mut stage = Stage::of(until(r#"text.contains("GOODBYE") && agent == "refund""#), gold());
    assert!(stage.act("triage", [says("GOODBYE")])[1].ends_with("asked question of caller"));
}

fn gold() -> Opened {
    Opened { metadata: [("tier".to_owned(), json!("gold"))].into(), human: true, ..Opened::default() }
}

#[test]
fn case_36_the_predicate_is_not_evaluated_on_transfers_and_tool_calls() {
    let mut stage = Stage::of(until("true"), with_people());
    stage.act("triage", [says_and_calls("GOODBYE", &[TO_REFUND])]);
    assert_eq!((stage.owner(), stage.phase()), ("refund".to_owned(), Phase::Working));
    let effects = stage.act("refund", [says_and_calls("GOODBYE", &[("look", "{}")]), says("now")]);
    assert!(effects.last().is_some_and(|last| last == "settled") && effects.len() == 5, "{effects:?}");
    assert_eq!(completed(&stage).1, "now");
}

#[test]
fn a_termination_is_withheld_from_a_person_who_was_not_heard() {
    let mut stage = Stage::of(until("true"), with_people());
    stage.meanwhile(0, Meanwhile::Says("wait"));
    check(
        &stage.act("triage", [says("GOODBYE")]),
        r#"
        ask model
        end: responded "GOODBYE"; completed Terminated: GOODBYE
        to triage: responded "GOODBYE"; continued answered
        settled
    "#,
    );
}

#[test]
fn a_termination_wins_over_going_on_alone() {
    let both = |spec: &mut Spec| {
        alone(5)(spec);
        until("text.endsWith('!')")(spec);
    };
    let mut stage = Stage::of(both, with_people());
    stage.act("triage", [says("thinking")]);
    stage.act("triage", [says("done!")]);
    assert_eq!(completed(&stage), (CompletedBecause::Terminated, "done!", None));
}

#[test]
fn a_predicate_without_an_answer_does_not_hold_and_is_warned_of_once() {
    let mut stage = Stage::of(until("metadata.tier > 3"), gold());
    check(
        &stage.act("triage", [says("one")]),
        r#"
        ask model
        ask: responded "one"; warned condition_unanswered; asked question of caller
        settled
    "#,
    );
    stage.reply("and?");
    stage.meanwhile(0, Meanwhile::Says("hm"));
    assert!(!stage.act("triage", [says("two")]).iter().any(|effect| effect.contains("warned")));
}

#[test]
fn case_53_a_completion_carries_a_value_that_matches_the_schema() {
    let mut stage = Stage::of(typed, with_people());
    let done = |result: &str| calls(&[("complete_task", format!(r#"{{"task_summary":"done"{result}}}"#).as_str())]);
    let replies = [done(""), done(r#","result":{"refunded":"7"}"#), done(r#","result":{"refunded":7}"#)];
    let effects = stage.act("triage", replies);
    assert_eq!(effects[..3], ["ask model", "ask model", "ask model"]);
    assert_eq!((effects.len(), completed(&stage)), (5, (CompletedBecause::TaskComplete, "done", Some(json!({ "refunded": 7 })))));
    let prompt = stage.prompts.last().unwrap();
    assert!(prompt.iter().any(|line| line.contains(r#"at "/refunded": "7" is not of type "integer""#)), "{prompt:?}");
    // With people around, a text is a question and of any form.
    assert_eq!(stage.offered.1, None);
    let mut stage = Stage::of(typed, with_people());
    assert!(stage.act("triage", [says("how much?")])[1].ends_with("asked question of caller"));
}

#[test]
fn case_53_where_nobody_can_be_asked_a_text_must_be_the_value() {
    let mut stage = Stage::of(typed, Opened::default());
    let effects = stage.act("triage", [says("seven"), says(r#"{"refunded":1.5}"#), says("```json\n{\"refunded\":7}\n```")]);
    assert_eq!(effects[..3], ["ask model", "ask model", "ask model"]);
    assert_eq!(completed(&stage).2, Some(json!({ "refunded": 7 })));
    stage.check_prompt(
        r#"
        system: Be kind.
        user: help
        assistant: seven
        user: This is not a result: it is not JSON: expected value at line 1 column 1. Answer with JSON that matches the schema, and nothing else.
        assistant: {"refunded":1.5}
        user: This is not a result: at "/refunded": 1.5 is not of type "integer". Answer with JSON that matches the schema, and nothing else.
    "#,
    );
    assert_eq!(stage.offered.1.as_ref(), stage.orchestration.output());
}

#[test]
fn a_result_that_never_matches_fails_as_such() {
    let limited = |spec: &mut Spec| {
        typed(spec);
        spec.limits = Some(LimitsSpec { model_calls_per_turn: Some(2), ..LimitsSpec::default() });
    };
    let mut stage = Stage::of(limited, Opened::default());
    check(
        &stage.act("triage", [says("seven"), says("eight")]),
        r#"
        ask model
        ask model
        end: responded "seven"; warned output_invalid; responded "eight"; warned output_invalid; failed output_invalid
        settled
    "#,
    );
    let mut stage = Stage::of(limited, with_people());
    let wrong = calls(&[("complete_task", r#"{"task_summary":"done","result":7}"#)]);
    assert!(stage.act("triage", [wrong.clone(), wrong])[2].ends_with("failed output_invalid"));
    // Rounds of tools are another matter.
    let mut stage = Stage::of(limited, Opened::default());
    assert!(stage.act("triage", [says("seven"), calls(&[("look", "{}")])]).join("").contains("failed call_limit"));
}

#[test]
fn a_refused_result_survives_a_fence_and_a_death() {
    let mut stage = Stage::of(typed, Opened::default());
    stage.meanwhile(1, Meanwhile::Says("quick"));
    stage.act("triage", [calls(&[PAY]), says("seven")]);
    let effects = stage.act_again("triage", [says("seven"), says(r#"{"refunded":7}"#)]);
    assert_eq!(effects[1..3], ["ask model", "ask model"]);
    assert_eq!((completed(&stage).2, stage.runs.len()), (Some(json!({ "refunded": 7 })), 1));
}

/// The message that comes while a typed result is written is heard before the conversation ends.
#[test]
fn a_typed_result_is_withheld_too() {
    let mut stage = Stage::of(typed, Opened::default());
    stage.meanwhile(0, Meanwhile::Says("only half"));
    check(
        &stage.act("triage", [says(r#"{"refunded":7}"#)]),
        r#"
        ask model
        end: responded "{\"refunded\":7}"; completed Answered: {"refunded":7}
        to triage: responded "{\"refunded\":7}"; continued answered
        settled
    "#,
    );
}

#[test]
fn the_schema_of_a_result_keeps_its_references() {
    let stage = Stage::of(typed, with_people());
    let parameters = stage.parameters("triage", "complete_task");
    assert_eq!(parameters.pointer("/$defs/cents"), Some(&json!({ "type": "integer" })));
    assert_eq!(parameters.pointer("/required"), Some(&json!(["task_summary", "result"])));
    jsonschema::validator_for(&parameters).unwrap();
}
