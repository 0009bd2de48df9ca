//! Prompts that begin alike: what a model is shown grows, what it may do does not.

use protocol::event::Opened;
use protocol::manifest::{HandoffSpec, Spec};
use protocol::orchestration::Prompt;
use serde_json::json;

use super::stage::{Reply, Stage, calls, check, counted, says, says_and_calls};

const TO_ORDER: (&str, &str) = ("transfer_to_order", r#"{"payload":{"order":7}}"#);

/// Without what agents would not agree on: one payload for all handoffs to one target.
fn agreed(spec: &mut Spec) {
    let edges = spec.agents.values_mut().flat_map(|agent| &mut agent.handoffs);
    for edge in edges.filter(|edge| edge.to == "order") {
        edge.payload = Some(json!({ "type": "object" }));
    }
}

fn stage(prompt: Prompt, change: impl Fn(&mut HandoffSpec)) -> Stage {
    let adapt = |spec: &mut Spec| {
        agreed(spec);
        spec.agents.values_mut().flat_map(|agent| &mut agent.handoffs).for_each(change);
        spec.prompt = Some(prompt);
    };
    Stage::of(adapt, Opened { human: true, ..Opened::default() })
}

/// What both strategies do with the same replies: the same, but for what the models see.
fn both(change: impl Fn(&mut HandoffSpec) + Copy, play: impl Fn(&mut Stage) -> Vec<String>) -> Vec<String> {
    let [isolated, shared] = [Prompt::Isolated, Prompt::SharedPrefix].map(|prompt| {
        let mut stage = stage(prompt, change);
        (play(&mut stage), stage.runs)
    });
    assert_eq!(isolated, shared);
    shared.0
}

fn orders_turn(stage: &mut Stage, replies: impl IntoIterator<Item = Reply>) -> Vec<String> {
    stage.act("triage", [calls(&[TO_ORDER])]);
    stage.act("order", replies)
}

#[test]
fn all_are_shown_one_list_and_may_call_their_part_of_it() {
    let mut stage = stage(Prompt::SharedPrefix, |_| {});
    let [triage, refund, order] = ["triage", "refund", "order"].map(|name| {
        let turn = stage.turn(name, counted(0, 1));
        let own: Vec<String> = turn.tools().iter().map(|tool| tool.name.clone()).collect();
        let (list, allowed) = turn.shown();
        assert_eq!(allowed.unwrap().to_vec(), own, "{name}");
        list
    });
    assert!(triage == refund && refund == order);
    let names: Vec<&str> = order.iter().map(|tool| tool.name.as_str()).collect();
    let (tools, others) = names.split_at(names.len() - 4);
    assert!(tools.is_sorted() && tools.contains(&"look") && !tools.contains(&"unbook"), "{tools:?}");
    assert_eq!(others, ["transfer_to_order", "transfer_to_refund", "transfer_to_triage", "complete_task"]);
    let turn = self::stage(Prompt::Isolated, |_| {}).turn("order", counted(0, 1));
    assert_eq!(turn.shown(), (turn.tools().clone(), None));
}

#[test]
fn what_is_shown_but_not_its_own_an_agent_is_told_not_to_have() {
    let replies = || [calls(&[("look", "{}")]), calls(&[("transfer_to_triage", "{}")]), says("sorry")];
    let effects = both(|_| {}, |stage| orders_turn(stage, replies()));
    check(
        &effects,
        r#"
        ask model
        ask model
        ask model
        ask: responded look; error c1: There is no tool "look". Available are: complete_task.; responded transfer_to_triage; error c1: You cannot transfer to "triage". Available are: complete_task.; responded "sorry"; asked question of caller
        settled
    "#,
    );
}

#[test]
fn an_edge_whose_condition_does_not_hold_is_not_allowed() {
    let never = |edge: &mut HandoffSpec| edge.condition = (edge.to == "refund").then(|| "false".to_owned());
    let effects = both(never, |stage| stage.act("triage", [calls(&[("transfer_to_refund", "{}")]), says("sorry")]));
    assert!(effects[2].contains("You cannot transfer to \"refund\""), "{effects:?}");
    let (list, allowed) = stage(Prompt::SharedPrefix, never).turn("triage", counted(0, 1)).shown();
    assert!(list.iter().any(|tool| tool.name == "transfer_to_refund"), "one list for all conversations");
    assert!(!allowed.unwrap().contains(&"transfer_to_refund".to_owned()));
}

#[test]
fn an_agent_is_told_who_it_is_behind_what_all_see() {
    let mut stage = stage(Prompt::SharedPrefix, |_| {});
    stage.act("triage", [calls(&[("look", "{}")]), says_and_calls("Over to you.", &[TO_ORDER])]);
    stage.act("order", [says("hello")]);
    let seen = stage.prompts.last().unwrap();
    assert_eq!(seen[1..3], ["user: help", "assistant Triage Desk: Over to you."]);
    let told = "system: You are order.\n\nYou may call only: complete_task.";
    assert_eq!(seen[3..], [told, "assistant Triage Desk: {\"order\":7}"]);
}
