//! The file form of an orchestration: what is refused and how it is said, what is accepted and what becomes of it.
//!
//! `UPDATE_GOLDEN=1 cargo test -p baton-protocol --test manifests` rewrites the expected problems of `bad-manifests` and
//! `examples/support/orchestration.schema.json`; read the difference before you commit it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use protocol::event::{Audience, Effect, HistoryOption, InDoubt};
use protocol::ids::{AgentName, Revision};
use protocol::manifest::{self, Checked, DEPTH_MAX, FILE_BYTES_MAX, Problem};
use protocol::orchestration::{HttpEndpoint, Model, OnMessage, Orchestration, Prompt, Retention, ScriptLine, Tool, ToolSource};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[expect(clippy::disallowed_methods, reason = "a test may be told to rewrite what it expects")]
fn is_updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

/// Reads a manifest whose files lie in `folder`.
fn parse_in(folder: &Path, text: &str) -> Result<Checked, Vec<Problem>> {
    manifest::parse(text, "manifest.yaml", &mut |name| {
        fs::read_to_string(folder.join(name)).map_err(|_| "there is no such file".to_owned())
    })
}

fn parse(text: &str) -> Result<Checked, Vec<Problem>> {
    manifest::parse(text, "manifest.yaml", &mut |_| Err("there are no files here".to_owned()))
}

fn good(text: &str) -> Checked {
    parse(text).unwrap_or_else(|problems| panic!("{}", shown(&problems).join("\n")))
}

fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

fn support() -> Checked {
    example("support")
}

fn example(name: &str) -> Checked {
    let folder = folder("../examples").join(name);
    let text = fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
    parse_in(&folder, &text).unwrap_or_else(|problems| panic!("{}", shown(&problems).join("\n")))
}

// ---------------------------------------------------------------------------------------------------- what is refused

const EXPECT: &str = "# expect: ";

/// The problems of a bad manifest, with `header` lines before it.
fn problems_of(folder: &Path, header: &[String], body: &str) -> Vec<String> {
    let text: String = header.iter().map(|line| format!("{EXPECT}{line}\n")).chain([body.to_owned()]).collect();
    let problems = parse_in(&folder.join("files"), &text).err().unwrap_or_default();
    assert!(problems.iter().all(|problem| problem.place.is_some()), "every problem has a place");
    shown(&problems).iter().map(|line| line.trim_start_matches("manifest.yaml:").to_owned()).collect()
}

#[test]
fn bad_manifests_are_refused_with_all_their_problems() {
    let folder = folder("tests/bad-manifests");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    assert!(files.len() >= 60, "{} bad manifests", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let (header, body): (Vec<&str>, Vec<&str>) = text.split_inclusive('\n').partition(|line| line.starts_with(EXPECT));
        let expected: Vec<String> = header.iter().map(|line| line.trim_end()[EXPECT.len()..].to_owned()).collect();
        let found = problems_of(&folder, &expected, &body.concat());
        if is_updating() {
            // The number of expected lines moves the lines below them.
            let moved = problems_of(&folder, &found, &body.concat());
            let header: String = moved.iter().map(|line| format!("{EXPECT}{line}\n")).collect();
            fs::write(&file, header + &body.concat()).unwrap();
        } else if found != expected || found.is_empty() {
            wrong.push(format!("{}\nexpected\n  {}\nfound\n  {}", file.display(), expected.join("\n  "), found.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn sizes_and_depths_are_bounded() {
    let long = format!("# {}\n{HEAD}", "x".repeat(FILE_BYTES_MAX));
    let problems = shown(&parse(&long).unwrap_err());
    assert_eq!(problems, [format!("manifest.yaml:1:1: the file has {} bytes; {FILE_BYTES_MAX} is the most", long.len())]);

    let nested = |depth: usize| good_with(&format!("payload: {}1{}", "{ a: ".repeat(depth), " }".repeat(depth)));
    // The root, spec, agents, triage, its handoffs and the first of them are above the payload.
    let above = 6;
    assert!(parse(&nested(DEPTH_MAX - above)).is_ok());
    let problems = shown(&parse(&nested(DEPTH_MAX - above + 1)).unwrap_err());
    assert!(problems[0].ends_with("lists and mappings nest too deep; 32 levels are the most"), "{problems:?}");

    let huge = parse_with_file(&"x".repeat(FILE_BYTES_MAX + 1)).unwrap_err();
    assert!(huge[0].message.contains("1048576 is the most"), "{}", huge[0]);
    let too_much_together = parse_with_file(&"x".repeat(FILE_BYTES_MAX - 1)).unwrap_err();
    assert!(too_much_together[0].message.contains("983040 is the most"), "{}", too_much_together[0]);
}

fn parse_with_file(content: &str) -> Result<Checked, Vec<Problem>> {
    let text = good_with("").replace("instructions: Refund.", "instructionsFile: refund.md");
    manifest::parse(&text, "manifest.yaml", &mut |_| Ok(content.to_owned()))
}

#[test]
fn nobody_is_shown_more_problems_than_can_be_read() {
    let lines = |line: &str| (0..200).map(|i| format!("{}\n", line.replace('#', &i.to_string()))).collect::<String>();
    let handoffs = lines("        - to: nobody#");
    for bad in [
        format!("{}{}", good_with(""), lines("  key#: 1")),
        format!("{}{}", good_with(""), lines("  start: again#")),
        good_with("").replace("        - to: refund\n", &handoffs),
    ] {
        assert_eq!(parse(&bad).unwrap_err().len(), 50);
    }
}

#[test]
fn agents_and_their_tools_are_bounded() {
    let agents = |count: usize| (0..count).map(|i| format!("    a{i}: {{ description: A., instructions: A. }}\n")).collect::<String>();
    let mesh = |count| {
        format!(
            "{HEAD}spec:\n  start: a0\n  mesh: true\n  models: {{ default: {{ provider: openai, name: m }} }}\n  agents:\n{}",
            agents(count)
        )
    };
    assert!(parse(&mesh(128)).is_ok());
    let problems = parse(&mesh(129)).unwrap_err();
    assert!(
        problems[0]
            .to_string()
            .ends_with("spec.agents.a0: its tools, its handoffs and complete_task make 129; models take 128 tools at most"),
        "{}",
        problems[0]
    );
    assert_eq!(
        shown(&parse(&mesh(257)).unwrap_err()),
        ["manifest.yaml:8:3: spec.agents: there are 257 agents; 256 is the most, split the orchestration"]
    );
}

// --------------------------------------------------------------------------------------------------- what is accepted

const HEAD: &str = "apiVersion: baton/v1alpha1\nkind: Orchestration\nmetadata: { name: demo }\n";

/// Two agents, with something added to their one handoff.
fn good_with(handoff: &str) -> String {
    format!(
        "{HEAD}spec:
  start: triage
  models: {{ default: {{ provider: openai, name: gpt-5-mini }} }}
  agents:
    triage:
      description: Sorts.
      instructions: Sort.
      handoffs:
        - to: refund
          {handoff}
    refund: {{ description: Refunds., instructions: Refund. }}
"
    )
}

/// Whom an agent may hand over to, and when.
fn edges<'a>(orchestration: &'a Orchestration, source: &str) -> Vec<(&'a str, &'a str)> {
    let agent = orchestration.agent(&agent(source)).unwrap();
    agent.handoffs.iter().map(|handoff| (handoff.to.as_str(), handoff.when.as_str())).collect()
}

fn tool<'a>(orchestration: &'a Orchestration, owner: &str, name: &str) -> &'a Tool {
    orchestration.agent(&agent(owner)).unwrap().tools.iter().find(|tool| tool.name == name).unwrap()
}

#[test]
fn the_support_manifest_says_what_the_sample_says() {
    let Checked { orchestration, warnings } = support();
    assert_eq!(warnings, []);
    assert_eq!(orchestration.name().as_str(), "support");
    assert_eq!(orchestration.start().as_str(), "triage");
    let people: Vec<_> =
        orchestration.agents().map(|a| (a.display_name.as_str(), a.description.as_str(), a.instructions.as_str())).collect();
    assert_eq!(
        people,
        [
            ("OrderReturnAgent", "A customer support agent that handles order returns.", "Handle order return requests."),
            ("OrderStatusAgent", "A customer support agent that checks order status.", "Handle order status requests."),
            ("RefundAgent", "A customer support agent that handles refunds.", "Handle refund requests."),
            ("TriageAgent", "A customer support agent that triages issues.", "Handle customer requests."),
        ]
    );
    assert_eq!(
        edges(&orchestration, "triage"),
        [
            ("refund", "Transfer to this agent if the issue is refund related"),
            ("order-status", "Transfer to this agent if the issue is order status related"),
            ("order-return", "Transfer to this agent if the issue is order return related"),
        ]
    );
    assert_eq!(edges(&orchestration, "refund"), [("triage", "Transfer to this agent if the issue is not refund related")]);
    assert_eq!(edges(&orchestration, "order-status"), [("triage", "Transfer to this agent if the issue is not order status related")]);
    assert_eq!(edges(&orchestration, "order-return"), [("triage", "Transfer to this agent if the issue is not order return related")]);
    for (owner, name, effect, reply) in [
        ("order-status", "check_order_status", Effect::ReadOnly, "Order {order_id} is shipped and will arrive in 2-3 days."),
        ("refund", "process_refund", Effect::SideEffect, "Refund for order {order_id} has been processed successfully."),
        ("order-return", "process_return", Effect::SideEffect, "Return for order {order_id} has been processed successfully."),
    ] {
        let tool = tool(&orchestration, owner, name);
        assert_eq!((&tool.source, tool.effect), (&ToolSource::Template { reply: reply.to_owned() }, effect));
    }
    let Some(Model::Endpoint(model)) = orchestration.model("default") else { panic!("the default model is an endpoint") };
    assert_eq!((model.name.as_str(), model.or_else.as_deref()), ("${OPENAI_MODEL:-gpt-5-mini}", Some("rehearsal")));
}

/// What a scripted model does in the scene that `agent`, the person's last message and the last tool make.
fn cue<'s>(script: &'s [ScriptLine], agent: &AgentName, user: &str, last_tool: Option<&str>) -> &'s ScriptLine {
    let fits = |line: &&ScriptLine| {
        line.agent.as_deref().is_none_or(|name| name == agent.as_str())
            && line.user.as_ref().is_none_or(|words| user.to_lowercase().contains(&words.to_lowercase()))
            && line.tool.as_deref().is_none_or(|tool| last_tool == Some(tool))
    };
    script.iter().find(fits).unwrap_or_else(|| panic!("no line for {agent} after {user:?} and {last_tool:?}"))
}

/// Plays the script for these messages; the transcript in the form of the sample's output.
fn play(orchestration: &Orchestration, messages: &[&str]) -> Vec<String> {
    let Some(Model::Scripted(script)) = orchestration.model("rehearsal") else { panic!("the rehearsal is scripted") };
    let mut owner = orchestration.start().clone();
    let mut transcript = Vec::new();
    for user in messages {
        let mut last_tool = None;
        for step in 0.. {
            assert!(step < 20, "{owner} never comes to an end after {user:?}");
            let line = cue(script, &owner, user, last_tool);
            if let Some(text) = &line.say {
                transcript.push(format!("{}: {text}", orchestration.display_name(&owner)));
            }
            if let Some(target) = &line.transfer {
                let target = agent(target);
                assert!(edges(orchestration, owner.as_str()).iter().any(|(to, _)| *to == target.as_str()), "{owner} to {target}");
                (owner, last_tool) = (target, None);
            } else if let Some(name) = &line.call {
                let parameters = tool(orchestration, owner.as_str(), name).parameters.clone().unwrap();
                let required: BTreeSet<&str> = parameters["required"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
                assert_eq!(line.arguments.keys().map(String::as_str).collect::<BTreeSet<_>>(), required, "{name}");
                last_tool = Some(name.as_str());
            } else if let Some(summary) = &line.complete {
                transcript.push(format!("Task is completed with summary: {summary}"));
                return transcript;
            } else {
                break;
            }
        }
    }
    transcript
}

#[test]
fn the_script_plays_the_samples_output() {
    let replies = fs::read_to_string(folder("../examples/support/replies.txt")).unwrap();
    let messages: Vec<&str> = ["A customer is on the line."].into_iter().chain(replies.lines()).collect();
    assert_eq!(messages.len(), 7);
    assert_eq!(
        play(&support().orchestration, &messages),
        [
            "TriageAgent: Hello! Thank you for reaching out. How can I assist you today?",
            "OrderStatusAgent: Sure, I can help you with that. Could you please provide me with your order ID?",
            "OrderStatusAgent: Your order with ID 123 has been shipped and is expected to arrive in 2-3 days. Is there anything else I can assist you with?",
            "OrderReturnAgent: I can help you with returning your order. Could you please provide the order ID for the return and the reason you'd like to return it?",
            "OrderReturnAgent: Please provide the reason for returning the order with ID 321.",
            "OrderReturnAgent: The return for your order with ID 321 has been successfully processed due to the broken item. Is there anything else I can assist you with?",
            "Task is completed with summary: Handled order return for order ID 321 due to a broken item, and successfully processed the return.",
        ]
    );
}

#[test]
fn the_script_also_knows_what_the_sample_does_not_show() {
    let orchestration = support().orchestration;
    for (messages, last) in [
        (
            vec!["Hi", "I want my money back", "321", "broken", "bye"],
            "Task is completed with summary: Handled a refund for order ID 321 due to a broken item.",
        ),
        (vec!["Hi", "bye"], "Task is completed with summary: The customer needed nothing further."),
        (
            vec!["Where is my order? Track it", "I want a refund"],
            "RefundAgent: I can help you with your refund. Could you please provide the order ID and the reason you'd like your money back?",
        ),
        (
            vec!["What is the status?", "no idea"],
            "OrderStatusAgent: Sure, I can help you with that. Could you please provide me with your order ID?",
        ),
    ] {
        assert_eq!(play(&orchestration, &messages).last().unwrap(), last);
    }
}

#[test]
fn style_names_are_mapped_and_references_take_either_form() {
    let text = format!(
        "{HEAD}spec:
  start: TriageAgent
  models: {{ default: {{ provider: ollama, name: qwen3 }} }}
  agents:
    TriageAgent:
      description: Sorts.
      instructions: Sort.
      handoffs: [ {{ to: refund-agent }}, {{ to: OrderStatusAgent }} ]
    Refund Agent: {{ instructions: Refund., handoffs: [ {{ to: TriageAgent }}, {{ to: triage-agent, when: Not refunds }} ] }}
    OrderStatusAgent: {{ displayName: Status, description: Knows orders., instructions: Look. }}
"
    );
    let Checked { orchestration, warnings } = good(&text);
    let names: Vec<_> = orchestration.agents().map(|agent| (agent.name.as_str(), agent.display_name.as_str())).collect();
    assert_eq!(names, [("order-status-agent", "Status"), ("refund-agent", "Refund Agent"), ("triage-agent", "TriageAgent")]);
    assert_eq!(orchestration.start().as_str(), "triage-agent");
    // Without a text: the target's description, or something generated. The same edge twice: the last text.
    assert_eq!(
        edges(&orchestration, "triage-agent"),
        [("refund-agent", "Hand the conversation over to Refund Agent."), ("order-status-agent", "Knows orders."),]
    );
    assert_eq!(edges(&orchestration, "refund-agent"), [("triage-agent", "Not refunds")]);
    assert_eq!(
        shown(&warnings),
        [
            "manifest.yaml:12:5: spec.agents[\"Refund Agent\"]: nothing says when to hand over to \"refund-agent\"; describe it, or say when on the handoff",
        ]
    );
}

#[test]
fn a_mesh_lets_everyone_hand_to_everyone_else() {
    let agents = "agents:
    a: { description: Does a., instructions: A. }
    b: { description: Does b., instructions: B. }
    c: { description: Does c., instructions: C. }
";
    let text =
        |rest: &str| format!("{HEAD}spec:\n  start: b\n  models: {{ default: {{ provider: openai, name: m }} }}\n  {rest}\n  {agents}");
    let Checked { orchestration, warnings } = good(&text("mesh: true"));
    assert_eq!(warnings, []);
    assert_eq!(edges(&orchestration, "a"), [("b", "Does b."), ("c", "Does c.")]);
    assert_eq!(edges(&orchestration, "b"), [("a", "Does a."), ("c", "Does c.")]);

    // One explicit edge turns it off.
    let explicit = text("mesh: true").replace("instructions: B.", "instructions: B., handoffs: [ { to: a } ]");
    let Checked { orchestration, warnings } = good(&explicit);
    assert_eq!((edges(&orchestration, "a").len(), edges(&orchestration, "b").len()), (0, 1));
    assert_eq!(
        shown(&warnings),
        [
            "manifest.yaml:7:9: spec.mesh: explicit handoffs turn the mesh off; remove this, or them",
            "manifest.yaml:11:5: spec.agents.c: no handoff leads from \"b\" to \"c\"; add one, remove the agent, or set mesh: true where there is no handoff at all",
        ]
    );

    // Without it, nobody hands over.
    let Checked { orchestration, warnings } = good(&text(""));
    assert!(orchestration.agents().all(|agent| agent.handoffs.is_empty()));
    assert_eq!(warnings.len(), 2);
}

#[test]
fn tools_know_what_running_twice_may_do() {
    let text = good_with("history: tools\n          payload: { type: object }").replace(
        "instructions: Refund.",
        "instructions: Refund., tools: [ { from: shop }, { from: bank, names: [balance, pay] }, { from: texts, names: [look] } ]",
    ) + "  tools:
    shop:
      http:
        baseUrl: ${SHOP_URL:-https://shop.example/}
        headers: { Authorization: \"Bearer ${SHOP_TOKEN}\" }
        tools:
          order:
            method: POST
            path: /orders
            description: Orders.
            inDoubt: { compensate: cancel_by_key }
          get_order:
            method: GET
            path: /orders/{id}
            description: Gets an order.
            parameters: { type: object, properties: { id: { type: string } }, required: [id] }
          cancel_order:
            method: POST
            url: https://other.example/cancel
            description: Cancels an order.
            approval: role:manager
            inDoubt: retry
            timeout: 5s
    bank:
      code:
        names: [pay]
        tools:
          balance: { effect: read-only, description: Tells the balance. }
          cancel_by_key: { effect: idempotent, description: Cancels whatever a call did. }
    texts:
      template:
        tools:
          look: { description: Looks., reply: Nothing. }
          see: { description: Sees., reply: Nothing. }
";
    let Checked { orchestration, warnings } = good(&text);
    assert_eq!(warnings, []);
    let names: Vec<_> = orchestration.agent(&agent("refund")).unwrap().tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["cancel_order", "get_order", "order", "balance", "pay", "look"]);
    // What undoes a call is of another toolset, and none of the agent's own.
    let order = tool(&orchestration, "refund", "order");
    assert_eq!(
        (order.in_doubt, order.undo.as_ref().map(|tool| (tool.name.as_str(), tool.effect))),
        (InDoubt::Ask, Some(("cancel_by_key", Effect::Idempotent)))
    );
    let runnable: Vec<_> = orchestration.agent(&agent("refund")).unwrap().runnable().map(|tool| tool.name.as_str()).collect();
    assert_eq!(runnable[names.len()..], ["cancel_by_key"]);
    assert_eq!(Orchestration::from_canonical(&orchestration.canonical().unwrap()).unwrap(), orchestration);
    let effect = |name| tool(&orchestration, "refund", name).effect;
    assert_eq!(
        ["cancel_order", "get_order", "balance", "pay", "look"].map(effect),
        [Effect::SideEffect, Effect::ReadOnly, Effect::ReadOnly, Effect::SideEffect, Effect::ReadOnly]
    );
    let get_order = tool(&orchestration, "refund", "get_order");
    let ToolSource::Http(HttpEndpoint { method, url, headers, .. }) = &get_order.source else { panic!("an HTTP tool") };
    assert_eq!((method.as_str(), url.as_str()), ("GET", "${SHOP_URL:-https://shop.example/}/orders/{id}"));
    assert_eq!((headers["Authorization"].as_str(), get_order.timeout_secs), ("Bearer ${SHOP_TOKEN}", 30));
    let cancel = tool(&orchestration, "refund", "cancel_order");
    assert_eq!((&cancel.approval, cancel.in_doubt, cancel.timeout_secs), (&Some(Audience::Role("manager".into())), InDoubt::Retry, 5));
    assert_eq!(cancel.parameters, Some(serde_json::json!({ "type": "object", "properties": {} })));
    assert_eq!(tool(&orchestration, "refund", "pay").parameters, None);
    let handoff = &orchestration.agent(&agent("triage")).unwrap().handoffs[0];
    assert_eq!((handoff.history, &handoff.payload), (HistoryOption::Tools, &Some(serde_json::json!({ "type": "object" }))));
}

#[test]
fn limits_and_people_have_defaults() {
    let given = "  limits: { handoffsPerUserTurn: 3, modelCallsPerTurn: 4, turnTimeout: 2m, humanTimeout: 7d, conversationTimeout: 2000ms, attempts: 2 }
  human: { onMessage: interrupt, returnToStart: true }
  retention: { ended: 30d, erased: 1h }
";
    let Checked { orchestration, .. } = good(&(good_with("") + given));
    let limits = orchestration.limits();
    assert_eq!((limits.handoffs_per_user_turn, limits.model_calls_per_turn, limits.attempts), (3, 4, 2));
    assert_eq!((limits.turn_secs, limits.human_secs, limits.conversation_secs), (120, 604_800, Some(2)));
    assert_eq!((orchestration.human().on_message, orchestration.human().return_to_start), (OnMessage::Interrupt, true));
    assert_eq!(orchestration.retention(), Retention { ended_secs: Some(2_592_000), erased_secs: 3600 });

    let Checked { orchestration, .. } = good(&good_with(""));
    assert_eq!(*orchestration.limits(), protocol::orchestration::Limits::default());
    assert_eq!((orchestration.human().on_message, orchestration.human().return_to_start), (OnMessage::Enqueue, false));
    assert_eq!(orchestration.retention(), Retention { ended_secs: None, erased_secs: 86_400 }, "what is over is kept for ever");
}

#[test]
fn prompts_begin_alike_where_the_definition_says_so() {
    let isolated = good(&good_with("")).orchestration;
    assert_eq!((isolated.prompt(), isolated.alike().count()), (Prompt::Isolated, 0));
    let shared = good(&(good_with("") + "    desk: { description: Knows., desk: {} }\n  prompt: shared-prefix\n")).orchestration;
    let alike: Vec<&str> = shared.alike().map(|agent| agent.name.as_str()).collect();
    assert_eq!((shared.prompt(), alike), (Prompt::SharedPrefix, vec!["refund", "triage"]), "people have no prompt");
    let other = good(&(good_with("") + "    desk: { description: Knows., desk: {} }\n")).orchestration;
    assert_ne!(shared.revision(), other.revision());
    assert_eq!(Orchestration::from_canonical(&shared.canonical().unwrap()).unwrap(), shared);
}

#[test]
fn a_text_needs_no_quotes_and_a_number_stays_a_number() {
    let text = good_with("").replace(
        "name: gpt-5-mini",
        "name: 42, parameters: { temperature: 0.2, seed: 0x10, stop: \"1\", user: yes, logprobs: true, top_p: ~ }",
    );
    let Checked { orchestration, .. } = good(&text);
    let Some(Model::Endpoint(model)) = orchestration.model("default") else { panic!("an endpoint") };
    assert_eq!(model.name, "42");
    assert_eq!(
        serde_json::to_value(&model.parameters).unwrap(),
        serde_json::json!({ "temperature": 0.2, "seed": 16, "stop": "1", "user": "yes", "logprobs": true, "top_p": null })
    );
}

#[test]
fn warnings_do_not_refuse() {
    let text = good_with("")
        .replace("instructions: Refund.", "instructions: \" \"")
        .replace("name: gpt-5-mini", "name: m, apiVersion: \"1\", headers: { X-Api-Key: abc }")
        + "    loner: { description: Waits., instructions: Wait. }\n";
    assert_eq!(
        shown(&good(&text).warnings),
        [
            "manifest.yaml:6:63: spec.models.default.apiVersion: only azure has an apiVersion; remove it",
            "manifest.yaml:6:90: spec.models.default.headers.X-Api-Key: a definition is no place for secrets, everyone who runs it can read it; use ${VAR}",
            "manifest.yaml:14:52: spec.agents.refund.instructions: the agent has no instructions; its model is told nothing but its handoffs",
            "manifest.yaml:15:5: spec.agents.loner: no handoff leads from \"triage\" to \"loner\"; add one, remove the agent, or set mesh: true where there is no handoff at all",
        ]
    );
}

#[test]
fn the_claims_office_asks_people_at_two_desks() {
    let Checked { orchestration, warnings } = example("claims");
    assert_eq!(warnings, [], "people need no instructions");
    let audiences: Vec<String> = orchestration.audiences().iter().map(ToString::to_string).collect();
    assert_eq!(audiences, ["desk:investigations", "desk:supervisors"]);
    assert!(support().orchestration.audiences().is_empty());
}

#[test]
fn a_scripted_end_has_a_value_where_one_is_wanted() {
    let warnings = |output: &str, line: &str| {
        let model = format!("default: {{ provider: scripted, script: [ {{ {line} }} ] }}");
        let text = format!("{HEAD}spec:\n  start: a\n  models: {{ {model} }}\n  agents: {{ a: {{ instructions: A. }} }}\n{output}");
        good(&text).warnings.iter().map(|problem| problem.path.to_string()).collect::<Vec<_>>()
    };
    let (output, at) = ("  output: { type: integer }\n", "spec.models.default.script[0]");
    assert_eq!(warnings(output, "complete: Done."), [format!("{at}.complete")]);
    assert_eq!(warnings("", "complete: Done., result: 7"), [format!("{at}.result")]);
    assert!(warnings(output, "complete: Done., result: 7").is_empty() && warnings("", "complete: Done.").is_empty());
}

// ------------------------------------------------------------------------------------------------ what becomes of it

#[test]
fn a_definition_survives_its_registration() {
    let orchestration = support().orchestration;
    let canonical = orchestration.canonical().unwrap();
    assert!(!String::from_utf8_lossy(&canonical).contains("scriptFile"), "files are inlined");
    assert_eq!(orchestration.revision(), &Revision::of(&canonical));
    let read = Orchestration::from_canonical(&canonical).unwrap();
    assert_eq!(read, orchestration);
    assert_eq!(read.canonical().unwrap(), canonical);
}

#[test]
fn the_revision_is_of_what_is_said_not_of_how() {
    let revision = |text: &str| good(text).orchestration.revision().clone();
    let text = good_with("when: Refunds") + "  limits: { turnTimeout: 10m, attempts: 5 }\n";
    let other_way =
        text.replace("turnTimeout: 10m, attempts: 5", "attempts: 5, turnTimeout: \"600s\"").replace("triage:\n", "triage: # a comment\n");
    assert_ne!(text, other_way);
    assert_eq!(revision(&text), revision(&other_way));
    assert_ne!(revision(&text), revision(&text.replace("Refunds", "refunds")));
}

#[test]
fn bytes_that_are_no_definition_are_refused() {
    assert!(Orchestration::from_canonical(b"").is_err());
    assert!(Orchestration::from_canonical(b"{}").is_err());
    let canonical = support().orchestration.canonical().unwrap();
    let newer = String::from_utf8(canonical.clone()).unwrap().replacen("\"start\"", "\"begin\"", 1);
    let error = Orchestration::from_canonical(newer.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("begin"), "{error}");
    let elsewhere = String::from_utf8(canonical).unwrap().replacen("\"start\":\"triage\"", "\"start\":\"sales\"", 1);
    let error = Orchestration::from_canonical(elsewhere.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("spec.start: there is no agent \"sales\""), "{error}");
}

#[test]
fn the_schema_for_editors_is_the_committed_one() {
    let path = folder("../examples/support/orchestration.schema.json");
    let schema = format!("{:#}\n", manifest::schema());
    if is_updating() {
        fs::write(&path, &schema).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == schema,
        "the types have changed: run UPDATE_GOLDEN=1 cargo test -p baton-protocol --test manifests"
    );
}

/// The keys of every object in the schema.
fn keys(schema: &serde_json::Value, found: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(entries) => {
            if let Some(serde_json::Value::Object(properties)) = entries.get("properties") {
                found.extend(properties.keys().cloned());
            }
            entries.values().for_each(|value| keys(value, found));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[test]
fn every_key_is_in_the_reference() {
    let mut found = BTreeSet::new();
    keys(&manifest::schema(), &mut found);
    assert!(found.len() > 40, "{found:?}");
    let reference = fs::read_to_string(folder("../docs/manifest.md")).unwrap();
    let missing: Vec<&String> = found.iter().filter(|key| !reference.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "docs/manifest.md does not tell of {missing:?}");
}

/// One careless edit.
fn edit(text: &mut Vec<char>, kind: u8, at: usize, length: usize, snippet: &str) {
    let at = at % (text.len() + 1);
    let end = (at + length).min(text.len());
    match kind {
        0 => drop(text.drain(at..end)),
        1 => drop(text.splice(at..at, snippet.chars())),
        2 => drop(text.splice(at..end, snippet.chars())),
        3 => {
            let copied: Vec<char> = text[at..end].to_vec();
            drop(text.splice(at..at, copied));
        }
        _ => text.truncate(at),
    }
}

const SNIPPETS: [&str; 24] = [
    "\t",
    "\n",
    "\n    ",
    "  ",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "#",
    "|\n",
    ">-\n",
    "*a",
    "&a ",
    "!t ",
    "${",
    "---\n",
    "~",
    "\u{0}",
    "é\u{1F980}",
    "triage: ",
];

proptest! {
    #[test]
    fn no_careless_edit_panics(edits in prop::collection::vec((0u8..5, any::<usize>(), 1usize..40, 0usize..SNIPPETS.len()), 1..8), in_script in any::<bool>()) {
        let folder = folder("../examples/support");
        let mut manifest = fs::read_to_string(folder.join("support.yaml")).unwrap();
        let mut script = fs::read_to_string(folder.join("script.yaml")).unwrap();
        let edited = if in_script { &mut script } else { &mut manifest };
        let mut chars: Vec<char> = edited.chars().collect();
        for (kind, at, length, snippet) in edits {
            edit(&mut chars, kind, at, length, SNIPPETS[snippet]);
        }
        *edited = chars.into_iter().collect();
        check_invariants(&manifest, &script);
    }

    #[test]
    fn no_text_panics(text in "[ -~\n\t:{}\\[\\]&*!|>\"'#é]{0,400}") {
        check_invariants(&text, &text);
        check_invariants(&format!("{HEAD}spec:\n{text}"), "");
    }
}

/// A text is either a definition that survives registration, or refused with problems that have a place.
fn check_invariants(manifest: &str, script: &str) {
    match manifest::parse(manifest, "manifest.yaml", &mut |_| Ok(script.to_owned())) {
        Ok(Checked { orchestration, warnings }) => {
            assert!(warnings.iter().all(|warning| warning.place.is_some()));
            assert_eq!(Orchestration::from_canonical(&orchestration.canonical().unwrap()).unwrap(), orchestration);
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| problem.place.as_ref().is_some_and(|place| place.line > 0 && place.column > 0)));
            assert!(problems.iter().all(|problem| !problem.message.is_empty()));
        }
    }
}
