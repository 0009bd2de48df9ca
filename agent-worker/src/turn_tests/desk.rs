//! An agent that people play.

use protocol::event::{DeskAction, Event, Opened, Replied};
use protocol::manifest::DeskSpec;

use super::stage::{Meanwhile, Stage, agent, check, says, says_and_calls};

const TO_REFUND: (&str, &str) = ("transfer_to_refund", r#"{"reason":"paid twice"}"#);

/// A conversation that triage has handed to refund, which people play at the desk of billing.
fn handed_over(human: bool) -> Stage {
    let opened = Opened { human, ..Opened::default() };
    let people = |spec: &mut protocol::manifest::Spec| {
        let refund = spec.agents.get_mut("refund").unwrap();
        refund.desk = Some(DeskSpec { name: Some("billing".to_owned()), timeout: None });
        (refund.model, refund.tools, refund.instructions) = (None, Vec::new(), None);
    };
    let mut stage = Stage::of(people, opened);
    stage.act("triage", [says_and_calls("one moment", &[TO_REFUND])]);
    stage
}

/// A person at the desk answers what is open there.
fn answers(stage: &mut Stage, text: &str, action: Option<DeskAction>) {
    let request = stage.journal.requests()[0].id;
    let reply = Replied { action, by: "ann".to_owned(), ..Replied::new(request, text) };
    stage.write(stage.to("refund"), "gateway", reply);
}

fn asked(stage: &Stage) -> (String, Option<u64>) {
    match stage.journal.event(stage.journal.requests()[0].id) {
        Some(Event::Asked(asked)) => (asked.text.clone(), asked.due_secs),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_desk_is_asked_at_once_and_told_what_it_is_about() {
    let mut stage = handed_over(true);
    check(
        &stage.act("refund", []),
        "
        ask: asked question of desk:billing
        settled
    ",
    );
    let (text, due_secs) = asked(&stage);
    assert_eq!(text, "User: help\nTriage Desk: one moment\nTriage Desk hands over to you: paid twice");
    assert_eq!(due_secs, Some(86_400));
    assert_eq!(stage.prompts.len(), 1, "no model was asked for it");
}

#[test]
fn what_people_answer_the_agent_says_and_the_caller_answers_them() {
    let mut stage = handed_over(true);
    stage.act("refund", []);
    answers(&mut stage, "which invoice?", None);
    check(
        &stage.act("refund", []),
        r#"
        ask: responded "which invoice?"; asked question of caller
        settled
    "#,
    );
    stage.reply("number 17");
    check(
        &stage.act("refund", []),
        "
        ask: asked question of desk:billing
        settled
    ",
    );
    assert_eq!(asked(&stage).0, "User: number 17");
    assert_eq!(stage.journal.requests()[0].claimed_by.as_deref(), Some("ann"), "the customer stays with ann");
}

#[test]
fn people_hand_back_and_the_next_agent_reads_what_the_agent_said() {
    let mut stage = handed_over(true);
    stage.act("refund", []);
    answers(&mut stage, "it is paid back", None);
    stage.act("refund", []);
    stage.reply("thanks");
    stage.act("refund", []);
    answers(&mut stage, "nothing left for us", Some(DeskAction::Transfer { to: agent("triage") }));
    check(
        &stage.act("refund", []),
        "
        to triage: responded transfer_to_triage; transferred to triage
        settled
    ",
    );
    stage.act("triage", [says("anything else?")]);
    stage.check_prompt(
        "
        system: Be kind.
        user: help
        assistant: one moment [c1 transfer_to_refund]
        tool c1: Transferred to refund.
        assistant Refunds: it is paid back
        user: thanks
    ",
    );
}

#[test]
fn people_complete_unless_the_caller_says_something_they_have_not_seen() {
    let withheld = "Not completed: the person said something more meanwhile. Answer that first.";
    let mut stage = handed_over(true);
    stage.act("refund", []);
    answers(&mut stage, "paid back", Some(DeskAction::Complete));
    stage.say("wait");
    check(
        &stage.act("refund", []),
        &format!("ask: responded complete_task; error desk: {withheld}; asked question of desk:billing\nsettled"),
    );
    assert_eq!(asked(&stage).0, format!("User: wait\nNot done: {withheld}"));
    answers(&mut stage, "paid back", Some(DeskAction::Complete));
    check(
        &stage.act("refund", []),
        "
        end: responded complete_task; completed TaskComplete: paid back
        settled
    ",
    );
}

#[test]
fn what_cannot_be_done_is_told_to_the_desk() {
    let mut stage = handed_over(true);
    stage.act("refund", []);
    answers(&mut stage, "", Some(DeskAction::Transfer { to: agent("refund") }));
    let effects = stage.act("refund", []);
    assert!(effects[0].starts_with("ask: responded transfer_to_refund; error desk: "), "{effects:?}");
    assert!(effects[0].ends_with("asked question of desk:billing"), "{effects:?}");
    assert!(asked(&stage).0.contains("Not done: You cannot transfer to \"refund\""), "{}", asked(&stage).0);
}

#[test]
fn a_worker_that_dies_costs_nothing() {
    let mut stage = handed_over(true);
    stage.act("refund", []);
    answers(&mut stage, "which invoice?", None);
    check(
        &stage.act_again("refund", []),
        r#"
        note: taken by w-3
        ask: responded "which invoice?"; asked question of caller
        settled
    "#,
    );
}

#[test]
fn a_message_that_comes_before_the_question_answers_it() {
    let mut stage = handed_over(true);
    stage.act("refund", []);
    answers(&mut stage, "which invoice?", None);
    stage.meanwhile(0, Meanwhile::Says("invoice 17"));
    check(
        &stage.act("refund", []),
        r#"
        ask: responded "which invoice?"; asked question of caller
        to refund: responded "which invoice?"; continued answered
        settled
    "#,
    );
    stage.act("refund", []);
    assert_eq!(asked(&stage).0, "User: invoice 17");
}

#[test]
fn without_a_caller_to_ask_the_answer_is_the_result() {
    let mut stage = handed_over(false);
    stage.act("refund", []);
    answers(&mut stage, "paid back", None);
    check(
        &stage.act("refund", []),
        r#"
        end: responded "paid back"; completed Answered: paid back
        settled
    "#,
    );
}
