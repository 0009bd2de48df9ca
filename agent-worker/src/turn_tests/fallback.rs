//! Who goes on where an agent cannot.

use protocol::brief::Phase;
use protocol::event::{Event, Opened};
use protocol::manifest::{FallbackSpec, LimitsSpec, Spec};

use super::stage::{Meanwhile, Reply, Stage, calls, check, says};
use crate::model::ModelError;

const LOOK: (&str, &str) = ("look", "{}");

fn breaks() -> Reply {
    Reply::Breaks(ModelError::Unavailable("down".to_owned()))
}

fn human(audience: &str) -> impl Fn(&mut Spec) {
    let human = Some(audience.parse().unwrap());
    move |spec| spec.fallback = Some(FallbackSpec { human: human.clone(), agent: None })
}

fn agent(name: &str) -> impl Fn(&mut Spec) {
    let agent = Some(name.to_owned());
    move |spec| spec.fallback = Some(FallbackSpec { human: None, agent: agent.clone() })
}

fn limited(fallback: impl Fn(&mut Spec), limits: LimitsSpec) -> Stage {
    let adapt = |spec: &mut Spec| {
        fallback(spec);
        spec.limits = Some(limits);
    };
    Stage::of(adapt, with_people())
}

fn with_people() -> Opened {
    Opened { human: true, ..Opened::default() }
}

#[test]
fn a_person_is_asked_what_to_do_and_the_same_agent_goes_on() {
    let mut stage = Stage::of(human("caller"), with_people());
    check(
        &stage.act("triage", [calls(&[LOOK]), breaks()]),
        "
        ask model
        run look
        ask model
        ask: responded look; returned c1: look done; warned fallback; asked question of caller
        settled
    ",
    );
    let Some(Event::Asked(asked)) = stage.journal.last().unwrap().events.last() else { panic!() };
    assert_eq!(asked.text, "Triage Desk cannot go on (model_error). agent triage: the model is not available: down. How shall it go on?");
    stage.reply("try again");
    check(
        &stage.act("triage", [says("now?")]),
        r#"
        ask model
        ask: responded "now?"; asked question of caller
        settled
    "#,
    );
    stage.check_prompt(
        "
        system: Be kind.
        user: help
        assistant:  [c1 look]
        tool c1: look done
        user: try again
    ",
    );
}

#[test]
fn a_person_may_be_asked_again_in_the_next_user_turn() {
    let mut stage = Stage::of(human("role:manager"), Opened::default());
    for _ in 0..3 {
        assert!(stage.act("triage", [breaks()])[1].ends_with("asked question of role:manager"));
        stage.reply("try again");
    }
    assert_eq!(stage.journal.brief().unwrap().user_turns, 4);
}

#[test]
fn nobody_asks_a_caller_who_cannot_answer() {
    let mut stage = Stage::of(human("caller"), Opened::default());
    assert!(stage.act("triage", [breaks()])[1].ends_with("failed model_error"));
}

#[test]
fn another_agent_goes_on_with_the_reason_on_record() {
    let mut stage = Stage::of(agent("order"), with_people());
    check(
        &stage.act("triage", [breaks()]),
        "
        ask model
        to order: warned fallback; transferred to order
        settled
    ",
    );
    let Some(Event::Transferred(transferred)) = stage.journal.last().unwrap().events.last() else { panic!() };
    assert_eq!(transferred.reason.as_deref(), Some("model_error: agent triage: the model is not available: down"));
    assert_eq!((&transferred.call, stage.owner()), (&None, "order".to_owned()));
    // The fallback has none itself.
    assert!(stage.act("order", [breaks()])[1].ends_with("failed model_error"));
}

#[test]
fn agents_that_cannot_go_on_hand_over_once_in_a_user_turn() {
    let mut stage = Stage::of(agent("refund"), with_people());
    stage.act("triage", [breaks()]);
    stage.act("refund", [calls(&[("transfer_to_triage", "{}")])]);
    check(
        &stage.act("triage", [breaks()]),
        "
        ask model
        end: failed model_error
        settled
    ",
    );
    // After a person's word it may happen again.
    let mut stage = Stage::of(agent("refund"), with_people());
    stage.act("triage", [breaks()]);
    stage.act("refund", [says("yes?")]);
    stage.reply("go on");
    stage.act("refund", [calls(&[("transfer_to_triage", "{}")])]);
    assert!(stage.act("triage", [breaks()])[1].ends_with("transferred to refund"));
}

#[test]
fn the_call_limit_falls_back() {
    let mut stage = limited(human("caller"), LimitsSpec { model_calls_per_turn: Some(1), ..LimitsSpec::default() });
    check(
        &stage.act("triage", [calls(&[LOOK])]),
        "
        ask model
        run look
        ask: responded look; returned c1: look done; warned fallback; asked question of caller
        settled
    ",
    );
    // The reply begins a turn with calls of its own.
    stage.reply("go on");
    assert_eq!(stage.act("triage", [says("ok")]).len(), 3);
}

#[test]
fn the_handoff_limit_falls_back_and_the_refused_transfer_has_its_result() {
    let mut stage = limited(human("caller"), LimitsSpec { handoffs_per_user_turn: Some(1), ..LimitsSpec::default() });
    stage.act("triage", [calls(&[("transfer_to_refund", "{}")])]);
    let effects = stage.act("refund", [calls(&[("transfer_to_triage", "{}")])]);
    assert!(
        effects[1].starts_with("ask: responded transfer_to_triage; error c1: Not done: refund would hand over to triage"),
        "{effects:?}"
    );
    assert!(effects[1].ends_with("; warned fallback; asked question of caller"), "{effects:?}");
    stage.reply("go on");
    assert!(stage.act("refund", [calls(&[("transfer_to_triage", "{}")])])[1].ends_with("transferred to triage"));
    // To an agent: one more handoff than the limit, and the last.
    let mut stage = limited(agent("order"), LimitsSpec { handoffs_per_user_turn: Some(1), ..LimitsSpec::default() });
    stage.act("triage", [calls(&[("transfer_to_refund", "{}")])]);
    assert!(stage.act("refund", [calls(&[("transfer_to_triage", "{}")])])[1].ends_with("transferred to order"));
    assert_eq!(stage.journal.brief().unwrap().handoffs, 2);
}

#[test]
fn a_pause_longer_than_the_turn_falls_back() {
    let mut stage = Stage::of(agent("order"), with_people());
    let later = ModelError::Later { wait: std::time::Duration::from_secs(601), detail: "busy".to_owned() };
    assert!(stage.act("triage", [Reply::Breaks(later)])[1].ends_with("transferred to order"));
}

#[test]
fn a_fence_does_not_change_that_an_agent_cannot_go_on() {
    for (fallback, outcome) in [(Box::new(human("caller")) as Box<dyn Fn(&mut Spec)>, "ask: "), (Box::new(agent("order")), "to order: ")] {
        let mut stage = Stage::of(fallback, with_people());
        stage.meanwhile(0, Meanwhile::Says("hello?"));
        let effects = stage.act("triage", [breaks()]);
        assert_eq!(effects.iter().filter(|effect| effect.starts_with(outcome)).count(), 2, "{effects:?}");
        assert_eq!((effects.len(), effects[1] == effects[2]), (4, true), "{effects:?}");
    }
}

#[test]
fn a_fallback_that_the_broker_does_not_permit_fails_visibly() {
    let mut stage = Stage::of(agent("order"), with_people());
    stage.meanwhile(0, Meanwhile::Refuses(journal::Refusal::NotPermitted { subject: "baton.support.c.c1.1.to.order".to_owned() }));
    check(
        &stage.act("triage", [breaks()]),
        "
        ask model
        to order: warned fallback; transferred to order
        end: failed not_permitted
        settled
    ",
    );
    assert_eq!(stage.phase(), Phase::Failed);
}
