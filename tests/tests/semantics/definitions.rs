//! Definitions (section 3).

use protocol::builder::AgentDef;
use protocol::manifest::{self, ModelSpec, Problem};
use protocol::orchestration::Orchestration;
use tests::stage::{Stage, says, silent};

#[tokio::test]
async fn semantics_05_the_configured_agent_speaks_first_wherever_it_is_listed() {
    let mut stage = Stage::of(|set| set.named(&["alpha", "beta"]).start_with("beta").add("beta", "alpha").add("alpha", "beta")).await;
    let mut talk = stage.begin_alone("help").await;
    stage.turn("beta", "user: help", says("here")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: here");
    stage.end().await;
}

fn agent(name: &str) -> AgentDef {
    AgentDef::new(name).description("Works.").instructions("Work.")
}

fn demo() -> protocol::builder::Builder {
    Orchestration::builder("demo").model("default", ModelSpec::openai("m"))
}

fn refused(builder: protocol::builder::Builder) -> Vec<String> {
    builder.build().unwrap_err().iter().map(ToString::to_string).collect()
}

fn read(text: &str) -> Result<manifest::Checked, Vec<Problem>> {
    manifest::parse(text, "demo.yaml", &mut |_| Err("no files".to_owned()))
}

#[test]
fn semantics_06_nobody_and_unknown_agents_are_refused() {
    assert_eq!(refused(demo()), ["spec.agents: there is no agent; define at least one"], "without members");
    let problems = refused(demo().agents([&agent("a"), &agent("b")]).start_with("boss").add("a", "c").add("d", "b"));
    assert_eq!(
        problems,
        [
            "spec.agents.d: a handoff to \"b\" begins at \"d\", but there is no such agent",
            "spec.agents.a.handoffs[0].to: there is no agent \"c\"; there is a, b",
            "spec.start: there is no agent \"boss\"; there is a, b",
        ]
    );
}

#[test]
fn semantics_07_self_handoffs_duplicates_and_clashes_are_refused() {
    let clash = agent("a").tool("transfer_to_b");
    let problems = refused(demo().agents([&clash, &agent("b"), &agent("b"), &agent("Client")]).start_with("a").add("a", "b").add("b", "b"));
    for expected in [
        "spec.agents.b: there are two agents named \"b\"",
        "spec.agents.b.handoffs[0].to: \"b\" cannot hand over to itself",
        "\"transfer_to_b\"",
        "spec.agents.Client: ",
    ] {
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:#?}");
    }
    assert_eq!(problems.len(), 4, "{problems:#?}");
}

#[test]
fn semantics_08_a_file_is_refused_by_its_lines_and_an_unreachable_agent_is_a_warning() {
    let text = "\
apiVersion: baton/v1alpha1
kind: Orchestration
metadata: { name: demo }
spec:
  start: triage
  models: { default: { provider: openai, name: m } }
  agents:
    triage:
      instructions: Work.
      handoffs:
        - to: refnd
    refund:
      instructions: Work.
";
    let shown: Vec<String> = read(text).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["demo.yaml:11:15: spec.agents.triage.handoffs[0].to: there is no agent \"refnd\"; did you mean \"refund\"?"]);
    // The same without the handoff is taken, with a warning.
    let unreachable = text.replace("      handoffs:\n        - to: refnd\n", "");
    let warnings: Vec<String> = read(&unreachable).unwrap().warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.len() == 1 && warnings[0].starts_with("demo.yaml:10:") && warnings[0].contains("refund"), "{warnings:?}");
}

#[tokio::test]
async fn semantics_09_the_same_edge_twice_keeps_the_last_text() {
    let mut stage = Stage::of(|set| set.named(&["a", "b"]).add_described("a", "b", "first").add_described("a", "b", "last")).await;
    let mut talk = stage.begin_alone("help").await;
    let asked = stage.asked("a").await;
    assert_eq!(asked.transfers(), ["b: last"]);
    asked.answer(says("done"));
    stage.outcome(&mut talk).await;
    stage.end().await;
}

#[tokio::test]
async fn semantics_10_edges_between_names_keep_their_texts() {
    let define = |set: &tests::stage::Set| set.named(&["Front Desk", "b", "c"]).add_many("Front Desk", [("b", "if b"), ("c", "if c")]);
    let mut stage = Stage::of(define).await;
    let mut talk = stage.begin_alone("help").await;
    let asked = stage.asked("front-desk").await;
    assert_eq!(asked.transfers(), ["b: if b", "c: if c"]);
    asked.answer(says("done"));
    stage.outcome(&mut talk).await;
    stage.end().await;
}

#[tokio::test]
async fn semantics_11_an_edge_without_a_text_has_the_targets_or_one_that_is_made() {
    let mut stage = Stage::of(|set| {
        let nameless = set.agent("c").description("");
        set.of(&[set.agent("a"), set.agent("b"), nameless]).add("a", "b").add("a", "c")
    })
    .await;
    let mut talk = stage.begin_alone("help").await;
    let asked = stage.asked("a").await;
    assert_eq!(asked.transfers(), ["b: Is b.", "c: Hand the conversation over to c."]);
    asked.answer(says("done"));
    stage.outcome(&mut talk).await;
    stage.end().await;
}

#[tokio::test]
async fn semantics_12_in_a_mesh_everyone_hands_to_everyone_else_until_there_is_an_edge() {
    let mut stage = Stage::of(|set| set.named(&["a", "b", "c"]).mesh()).await;
    let mut talk = stage.begin_alone("help").await;
    let asked = stage.asked("a").await;
    assert_eq!(asked.transfers(), ["b: Is b.", "c: Is c."]);
    asked.answer(silent().transfers("b"));
    let asked = stage.asked("b").await;
    assert_eq!(asked.transfers(), ["a: Is a.", "c: Is c."]);
    asked.answer(says("done"));
    stage.outcome(&mut talk).await;

    let mut edged = stage.beside(|set| set.named(&["a", "b", "c"]).mesh().add("b", "c")).await;
    let mut talk = edged.begin_alone("help").await;
    let asked = edged.asked("a").await;
    assert_eq!(asked.transfers(), [""; 0]);
    asked.answer(says("done"));
    edged.outcome(&mut talk).await;
    edged.end().await;
    stage.end().await;
}

#[tokio::test]
async fn semantics_13_agents_named_as_in_the_document_have_tools_with_valid_names() {
    let mut stage = Stage::of(|set| set.named(&["OrderStatusAgent", "Refund Agent"]).add("OrderStatusAgent", "Refund Agent")).await;
    let mut talk = stage.begin_alone("help").await;
    let asked = stage.asked("order-status-agent").await;
    assert_eq!(asked.transfers(), ["refund-agent: Is Refund Agent."]);
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_valid = |tool: &String| tool.split(':').next().is_some_and(|name| (1..=64).contains(&name.len()) && name.chars().all(fits));
    assert!(asked.offered().iter().all(is_valid), "{:?}", asked.offered());
    asked.answer(says("Over to you.").transfers("refund-agent"));
    // The name that people know goes along, as far as the provider permits it.
    stage.turn("refund-agent", "user: help\nassistant OrderStatusAgent: Over to you.", says("done")).await;
    assert_eq!(stage.outcome(&mut talk).await, "completed: done");
    stage.end().await;

    let problems = refused(demo().agents([&agent("RefundAgent"), &agent("refund-agent")]).start_with("refund-agent"));
    assert!(problems.len() == 1 && problems[0].contains("are both named \"refund-agent\""), "{problems:?}");
}

#[tokio::test]
async fn semantics_14_one_agent_in_two_orchestrations_stays_what_it_is() {
    let mut shared = None;
    let mut one = Stage::of(|set| {
        let a = set.agent("a");
        let builder = set.of([&a, &set.agent("b")]).add("a", "b");
        shared = Some(a);
        builder
    })
    .await;
    let a = shared.unwrap();
    let before = a.clone();
    let mut other = one.beside(|set| set.of([&a, &set.agent("c")]).add("a", "c")).await;
    assert_eq!(a, before);

    // Both at once: neither sees the other's handoffs or words.
    let mut first = one.begin_alone("first").await;
    let mut second = other.begin_alone("second").await;
    let (in_one, in_other) = (one.asked("a").await, other.asked("a").await);
    assert_eq!((in_one.transfers(), in_other.transfers()), (vec!["b: Is b.".to_owned()], vec!["c: Is c.".to_owned()]));
    in_one.sees("user: first");
    in_other.sees("user: second");
    in_one.answer(silent().transfers("b"));
    in_other.answer(silent().transfers("c"));
    one.turn("b", "user: first", says("one")).await;
    other.turn("c", "user: second", says("two")).await;
    assert_eq!(one.outcome(&mut first).await, "completed: one");
    assert_eq!(other.outcome(&mut second).await, "completed: two");
    other.end().await;
    one.end().await;
}
