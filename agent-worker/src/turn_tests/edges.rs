//! What an edge may say: a condition, a typed payload, what its target sees.

use protocol::event::{Event, HistoryOption, Opened};
use protocol::manifest::{HandoffSpec, Spec};
use serde_json::json;

use super::stage::{Meanwhile, Reply, Stage, calls, check, counted, says, says_and_calls};
use crate::model::ModelError;

const LOOK: (&str, &str) = ("look", "{}");
const PAY: (&str, &str) = ("pay", "{}");
const TO_REFUND: (&str, &str) = ("transfer_to_refund", "{}");
const TO_TRIAGE: (&str, &str) = ("transfer_to_triage", "{}");
const TO_ORDER: (&str, &str) = ("transfer_to_order", r#"{"payload":{"order":7}}"#);

/// Changes every handoff of the definition.
fn edges(change: impl Fn(&mut HandoffSpec)) -> impl Fn(&mut Spec) {
    move |spec| spec.agents.values_mut().flat_map(|agent| &mut agent.handoffs).for_each(&change)
}

fn history(history: HistoryOption) -> Stage {
    Stage::of(edges(|edge| edge.history = Some(history)), with_tier("gold"))
}

fn with_tier(tier: &str) -> Opened {
    Opened { metadata: [("tier".to_owned(), json!(tier))].into(), human: true, ..Opened::default() }
}

fn only_gold_to_refund(edge: &mut HandoffSpec) {
    edge.condition = (edge.to == "refund").then(|| r#"metadata.tier == "gold""#.to_owned());
}

#[test]
fn case_57_the_target_sees_the_payload() {
    let mut stage = Stage::new();
    stage.act("triage", [says_and_calls("Over to you.", &[TO_ORDER])]);
    stage.act("order", [says("hello")]);
    stage.check_prompt(
        r#"
        user: help
        assistant Triage Desk: Over to you.
        assistant Triage Desk: {"order":7}
    "#,
    );
}

#[test]
fn case_58_a_disabled_edge_is_hidden_and_does_not_exist() {
    let mut stage = Stage::of(edges(only_gold_to_refund), with_tier("silver"));
    let effects = stage.act("triage", [calls(&[TO_REFUND]), calls(&[TO_ORDER])]);
    assert_eq!((&effects[..2], stage.owner()), (&["ask model".to_owned(), "ask model".to_owned()][..], "order".to_owned()));
    assert!(!stage.offered.0.contains(&"transfer_to_refund".to_owned()), "{:?}", stage.offered.0);
    assert!(stage.offered.0.contains(&"transfer_to_order".to_owned()), "{:?}", stage.offered.0);
    let told = stage.prompts[1].last().unwrap();
    assert!(told.starts_with("tool c1: You cannot transfer to \"refund\".") && !told.contains("transfer_to_refund"), "{told}");
    // Beside a transfer that exists it is no rival.
    let mut stage = Stage::of(edges(only_gold_to_refund), with_tier("silver"));
    let effects = stage.act("triage", [calls(&[TO_REFUND, TO_ORDER])]);
    assert!(effects[1].ends_with("transferred to order") && !effects[1].contains("warned"), "{effects:?}");
    // Without arguments that are JSON, too.
    let mut stage = Stage::of(edges(only_gold_to_refund), with_tier("silver"));
    stage.act("triage", [calls(&[("transfer_to_refund", "{")]), says("sorry")]);
    assert_eq!(stage.owner(), "triage");
}

#[test]
fn case_58_the_same_edge_is_there_where_its_condition_holds() {
    let mut stage = Stage::of(edges(only_gold_to_refund), with_tier("gold"));
    stage.act("triage", [calls(&[TO_REFUND])]);
    assert!(stage.offered.0.contains(&"transfer_to_refund".to_owned()), "{:?}", stage.offered.0);
    assert_eq!(stage.owner(), "refund");
}

#[test]
fn conversations_with_the_same_edges_share_their_schemas() {
    let mut stage = Stage::of(edges(only_gold_to_refund), with_tier("silver"));
    let turn = |stage: &mut Stage| stage.turn("triage", counted(0, 1)).tools().clone();
    let (one, other) = (turn(&mut stage), turn(&mut stage));
    assert!(std::sync::Arc::ptr_eq(&one, &other));
    assert_eq!(one.len() + 1, turn(&mut Stage::new()).len());
}

#[test]
fn a_condition_without_an_answer_hides_the_edge_and_is_warned_of_once() {
    let unclear = |edge: &mut HandoffSpec| edge.condition = (edge.to == "refund").then(|| "metadata.tier > 3".to_owned());
    let mut stage = Stage::of(edges(unclear), with_tier("gold"));
    check(
        &stage.act_again("triage", [says("yes?")]),
        r#"
        note: taken by w-1
        ask model
        ask: warned condition_unanswered; responded "yes?"; asked question of caller
        settled
    "#,
    );
    stage.reply("go on");
    assert!(!stage.act("triage", [says("well")])[1].contains("warned"));
}

#[test]
fn case_59_an_edge_can_show_the_tools() {
    let mut stage = history(HistoryOption::Tools);
    stage.act("triage", [calls(&[LOOK]), calls(&[TO_REFUND])]);
    stage.act("refund", [says("hello")]);
    stage.check_prompt(
        "
        user: help
        assistant Triage Desk: [look({}) returned: look done]
    ",
    );
}

#[test]
fn case_59_a_summary_is_made_by_the_agent_that_hands_over_and_stands_for_all_before() {
    let mut stage = history(HistoryOption::Summary);
    check(
        &stage.act("triage", [calls(&[LOOK]), says_and_calls("One moment.", &[TO_REFUND]), says("Ann wants help.")]),
        r#"
        ask model
        run look
        ask model
        summarize
        to refund: responded look; returned c1: look done; responded "One moment." transfer_to_refund; transferred to refund
        settled
    "#,
    );
    let asked: Vec<&str> = stage.prompts.last().unwrap().iter().map(String::as_str).collect();
    let expected = [
        "system: Be kind.",
        "user: help",
        "assistant:  [c1 look]",
        "tool c1: look done",
        "assistant: One moment. [c1 transfer_to_refund]",
        "tool c1: Transferred to refund.",
    ];
    assert_eq!(asked[..6], expected);
    assert!(asked[6].starts_with("user: You hand the conversation over to Refunds,") && asked.len() == 7, "{asked:?}");
    // One model call more, of which nothing but the summary is left.
    assert_eq!(stage.journal.entries().len(), 2);
    stage.act("refund", [says("hello")]);
    stage.check_prompt("assistant Triage Desk: Ann wants help.");
}

#[test]
fn case_60_a_summary_folded_over_two_hops_is_one_block() {
    let mut stage = history(HistoryOption::Summary);
    stage.act("triage", [says_and_calls("Hm.", &[TO_REFUND]), says("Ann wants help.")]);
    stage.act("refund", [says_and_calls("Ha.", &[TO_TRIAGE]), says("Ann wants her money.")]);
    let asked = &stage.prompts.last().unwrap()[..3];
    assert_eq!(
        asked,
        ["assistant Triage Desk: Ann wants help.", "assistant: Ha. [c1 transfer_to_triage]", "tool c1: Transferred to triage."]
    );
    stage.act("triage", [calls(&[TO_ORDER]), says("Money back.")]);
    stage.act("order", [says("hello")]);
    stage.check_prompt(
        r#"
        assistant Triage Desk: Money back.
        assistant Triage Desk: {"order":7}
    "#,
    );
}

#[test]
fn a_message_that_comes_while_a_summary_is_written_gets_into_the_next_one() {
    let mut stage = history(HistoryOption::Summary);
    stage.meanwhile(0, Meanwhile::Says("it is urgent"));
    check(
        &stage.act("triage", [calls(&[TO_REFUND]), says("Ann wants help."), says("Ann wants help, quickly.")]),
        "
        ask model
        summarize
        to refund: responded transfer_to_refund; transferred to refund
        summarize
        to refund: responded transfer_to_refund; transferred to refund
        settled
    ",
    );
    assert!(stage.prompts.last().unwrap().contains(&"user: it is urgent".to_owned()));
    let Some(Event::Transferred(transferred)) = stage.journal.last().unwrap().events.last() else { panic!() };
    assert_eq!(transferred.summary.as_deref(), Some("Ann wants help, quickly."));
}

#[test]
fn whoever_takes_over_makes_the_summary_again_and_nothing_else() {
    let mut stage = history(HistoryOption::Summary);
    check(
        &stage.act("triage", [calls(&[PAY, TO_REFUND]), Reply::Tools(vec![("c1", Ok("paid"))]), Reply::HandsBack]),
        "
        ask model
        note: responded pay transfer_to_refund; intended c1
        run pay
        note: returned c1: paid
        summarize
        note: handed back: draining
    ",
    );
    check(
        &stage.act_again("triage", [says("Paid.")]),
        "
        note: taken by w-2
        summarize
        to refund: transferred to refund
        settled
    ",
    );
    assert_eq!((stage.runs.len(), stage.owner()), (1, "refund".to_owned()));
}

#[test]
fn what_a_tool_did_is_stored_before_a_summary_is_made_of_it() {
    let mut stage = history(HistoryOption::Summary);
    let replies = [calls(&[PAY, TO_REFUND]), Reply::Tools(vec![("c1", Ok("paid"))]), Reply::Dies];
    assert_eq!(stage.act("triage", replies)[3..], ["note: returned c1: paid", "summarize", "dies"]);
    // Nothing is in doubt: no person is asked whether it was paid.
    check(
        &stage.act_again("triage", [says("Paid.")]),
        "
        note: taken by w-2
        summarize
        to refund: transferred to refund
        settled
    ",
    );
}

#[test]
fn a_summary_that_cannot_be_had_is_the_models_failure() {
    let mut stage = history(HistoryOption::Summary);
    check(
        &stage.act("triage", [calls(&[TO_REFUND]), says(""), says(" "), calls(&[LOOK])]),
        "
        ask model
        summarize
        summarize
        summarize
        end: responded transfer_to_refund; failed model_error
        settled
    ",
    );
    let mut stage = history(HistoryOption::Summary);
    let effects = stage.act("triage", [calls(&[TO_REFUND]), Reply::Breaks(ModelError::Unavailable("down".to_owned()))]);
    assert!(effects[2].ends_with("failed model_error"), "{effects:?}");
    // A pause is one: the transfer waits for it, and the model is not asked again whether it wants it.
    let mut stage = history(HistoryOption::Summary);
    let later = ModelError::Later { wait: std::time::Duration::from_secs(9), detail: "busy".to_owned() };
    assert_eq!(stage.act("triage", [calls(&[TO_REFUND]), Reply::Breaks(later)]).last().unwrap(), "given back for 9 s");
    assert_eq!(stage.act_again("triage", [says("Help.")])[1], "summarize");
}
