//! Semantics 2 where prompts begin alike, rule by rule, on the same conversations as where they do not.

use super::*;
use crate::history::shared::BEGINNING;

const MAY: &str = "You may call look.";

fn prompt(walk: &Walk, reader: &str, fresh: &[Event]) -> Vec<PromptMessage<'static>> {
    let (orchestration, reader) = (orchestration(), agent(reader));
    let messages = project_shared(&orchestration, &walk.conversation, &reader, fresh, &|_, messages| messages, MAY);
    messages.into_iter().map(PromptMessage::into_owned).collect()
}

/// What `reader` sees behind the beginning, in lines.
#[track_caller]
fn check(walk: &Walk, reader: &str, fresh: &[Event], expected: &str) {
    let prompt = prompt(walk, reader, fresh);
    assert_eq!(prompt[0], PromptMessage::System { text: BEGINNING.into() });
    let seen = prompt[1..].iter().map(line).collect::<Vec<_>>().join("\n");
    let seen: Vec<&str> = seen.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(seen, expected, "\n{reader} sees:\n{}\n", seen.join("\n"));
}

/// The number of messages that two prompts begin with alike.
fn alike(one: &[PromptMessage<'_>], other: &[PromptMessage<'_>]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn looks_and_hands_over(target: &str, history: HistoryOption) -> Vec<Event> {
    let name = format!("transfer_to_{target}");
    vec![responded("Looking.", &[("c1", "look"), ("c2", &name)]), returned("c1", "secret"), transferred(target, Some("c2"), history)]
}

#[test]
fn who_has_the_conversation_from_the_start_sees_its_turn_in_full_behind_its_instructions() {
    let mut walk = opened();
    walk.write(Class::Note, Writer::Agent(agent("triage")), vec![responded("Hm.", &[("c1", "look")]), returned("c1", "secret")]);
    person(&mut walk, Class::In, Said { text: "hurry".to_owned() });
    let fresh = [responded("", &[("c2", "look")]), returned("c2", "more")];
    check(
        &walk,
        "triage",
        &fresh,
        "
        user: help
        system: You are TRIAGE.
        Be kind.
        You may call look.
        assistant me: Hm. [c1 look]
        tool c1 look: secret
        user: hurry
        assistant me:  [c2 look]
        tool c2 look: more
    ",
    );
}

/// Cases 15 and 16.
#[test]
fn others_tools_are_not_seen_and_their_texts_once() {
    let mut walk = opened();
    hand_over(&mut walk, "refund", looks_and_hands_over("refund", HistoryOption::None));
    for reader in ["refund", "order-status"] {
        let name = reader.to_uppercase();
        let expected = format!(
            "
            user: help
            assistant TRIAGE: Looking.
            system: You are {name}.
            You may call look."
        );
        check(&walk, reader, &[], &expected);
    }
}

/// Cases 17 and 18.
#[test]
fn handed_back_an_agent_sees_its_own_turn_in_full_where_it_was() {
    let mut walk = opened();
    hand_over(&mut walk, "refund", looks_and_hands_over("refund", HistoryOption::None));
    hand_over(&mut walk, "triage", vec![responded("Not mine.", &[]), transferred("triage", None, HistoryOption::None)]);
    check(
        &walk,
        "triage",
        &[responded("Again.", &[("c1", "look")]), returned("c1", "found")],
        "
        user: help
        system: You are TRIAGE.
        Be kind.
        You may call look.
        assistant me: Looking. [c1 look] [c2 transfer_to_refund]
        tool c1 look: secret
        tool c2 transfer_to_refund: Transferred to refund.
        assistant REFUND: Not mine.
        assistant me: Again. [c1 look]
        tool c1 look: found
    ",
    );
}

/// Case 19.
#[test]
fn roles_and_names_are_those_of_the_journal() {
    let input = vec![
        Message { role: Role::System, name: None, text: "VIP".to_owned() },
        Message { role: Role::User, name: Some("Ann".to_owned()), text: "help".to_owned() },
        Message { role: Role::Assistant, name: Some("Old Bot".to_owned()), text: "with what?".to_owned() },
    ];
    let mut walk = Walk::open(input, true);
    walk.write(Class::Ask, Writer::Agent(agent("triage")), vec![responded("which order?", &[]), asked()]);
    person(&mut walk, to(&agent("triage")), Replied::new(EventId { ordinal: 1, index: 1 }, "17"));
    let seen = "
        system: VIP
        user: help
        assistant Old Bot: with what?";
    let brief = "system: You are TRIAGE.\nBe kind.\nYou may call look.";
    // A reply to its own question is no handoff.
    check(&walk, "triage", &[], &format!("{seen}\n{brief}\nassistant me: which order?\nuser: 17"));
    let brief = "system: You are REFUND.\nYou may call look.";
    check(&walk, "refund", &[], &format!("{seen}\nassistant TRIAGE: which order?\nuser: 17\n{brief}"));
}

/// Case 59, and payloads.
#[test]
fn what_a_handoff_shows_to_its_target_is_told_to_it_and_to_nobody_else() {
    let mut walk = opened();
    let mut events = looks_and_hands_over("refund", HistoryOption::Tools);
    if let Some(Event::Transferred(transferred)) = events.last_mut() {
        transferred.payload = Some(serde_json::json!({ "order": 17 }));
    }
    hand_over(&mut walk, "refund", events);
    let common = "
        user: help
        assistant TRIAGE: Looking.";
    let refund = "
        system: You are REFUND.
        You may call look.
        assistant TRIAGE: [look({}) returned: secret]
        assistant TRIAGE: {\"order\":17}";
    check(&walk, "refund", &[], &format!("{common}{refund}"));
    check(&walk, "order-status", &[], &format!("{common}\nsystem: You are ORDER-STATUS.\nYou may call look."));
}

/// Case 60.
#[test]
fn a_summary_stands_in_place_of_all_before() {
    let mut walk = opened();
    hand_over(&mut walk, "refund", looks_and_hands_over("refund", HistoryOption::None));
    let summed_up = Transferred {
        to: agent("triage"),
        call: None,
        reason: None,
        payload: None,
        history: HistoryOption::Summary,
        summary: Some("Ann wants help.".to_owned()),
    };
    hand_over(&mut walk, "triage", vec![summed_up.into()]);
    let triage = "
        system: You are TRIAGE.
        Be kind.
        You may call look.
        assistant REFUND: Ann wants help.";
    check(&walk, "triage", &[], triage);
    check(
        &walk,
        "order-status",
        &[],
        "
        user: help
        assistant TRIAGE: Looking.
        system: You are ORDER-STATUS.
        You may call look.
    ",
    );
}

#[test]
fn a_filter_decides_what_a_target_sees_of_all_before_but_for_who_it_is() {
    let agents = ["triage", "refund"].map(|name| AgentDef::new(name).description("does"));
    let builder = Orchestration::builder("support").model("default", ModelSpec::openai("m")).agents(&agents).start_with("triage");
    let builder = builder.add_handoff("triage", HandoffSpec::to("refund").filter("brief")).add("refund", "triage");
    let orchestration = builder.build().unwrap_or_else(|problems| panic!("{problems:?}")).orchestration;
    let mut walk = opened();
    hand_over(&mut walk, "refund", looks_and_hands_over("refund", HistoryOption::None));
    let last: Through<'_> = &|filter, mut messages| {
        assert_eq!((filter, messages.len()), ("brief", 2));
        messages.split_off(1)
    };
    let (reader, fresh) = (agent("refund"), [responded("Yes.", &[])]);
    let seen = project_shared(&orchestration, &walk.conversation, &reader, &fresh, last, MAY);
    let seen: Vec<String> = seen[1..].iter().map(line).collect();
    assert_eq!(seen, ["system: You are refund.\n\nYou may call look.", "assistant triage: Looking.", "assistant me: Yes."]);
}

#[test]
fn what_an_agent_alone_was_told_stays_its_own() {
    let mut walk = opened();
    let continued = Continued { because: Continuation::Autonomous, prompt: Some("go on".to_owned()) };
    hand_over(&mut walk, "triage", vec![responded("Thinking.", &[]), continued.into()]);
    let warned = crate::event::Warned { code: failure::OUTPUT_INVALID.into(), detail: "Not JSON.".to_owned() };
    walk.write(Class::Note, Writer::Agent(agent("triage")), vec![responded("seven", &[]), warned.into()]);
    let triage = "
        user: help
        system: You are TRIAGE.
        Be kind.
        You may call look.
        assistant me: Thinking.
        user: go on
        assistant me: seven
        user: Not JSON.";
    check(&walk, "triage", &[], triage);
    let refund = "
        user: help
        assistant TRIAGE: Thinking.
        assistant TRIAGE: seven
        system: You are REFUND.
        You may call look.";
    check(&walk, "refund", &[], refund);
}

/// What the whole is for.
#[test]
fn an_agents_prompts_only_grow_and_the_first_goes_on_where_another_agents_began() {
    let mut walk = opened();
    let mut prompts = vec![prompt(&walk, "triage", &[])];
    walk.write(Class::Note, Writer::Agent(agent("triage")), vec![responded("Looking.", &[("c1", "look")]), returned("c1", "secret")]);
    prompts.push(prompt(&walk, "triage", &[]));
    hand_over(&mut walk, "refund", vec![transferred("refund", None, HistoryOption::None)]);
    prompts.push(prompt(&walk, "refund", &[]));
    hand_over(&mut walk, "order-status", vec![responded("Not mine.", &[]), transferred("order-status", None, HistoryOption::None)]);
    prompts.push(prompt(&walk, "order-status", &[]));
    hand_over(&mut walk, "triage", vec![transferred("triage", None, HistoryOption::None)]);
    prompts.push(prompt(&walk, "triage", &[]));
    let common = |place: usize| prompts[..place].iter().map(|earlier| alike(earlier, &prompts[place])).max();
    // The beginning and the task; then also what triage said; then all of triage's last prompt.
    assert_eq!([1, 2, 3, 4].map(common), [Some(3), Some(2), Some(3), Some(5)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The rules of every prompt: calls with their results, people in everybody's words, an agent's own work told or shown.
    #[test]
    fn every_prompt_is_whole_whatever_happened(walk in walks(120)) {
        let orchestration = orchestration();
        let people = |prompt: &[PromptMessage<'_>]| -> Vec<String> {
            let told = |message: &&PromptMessage<'_>| matches!(message, PromptMessage::User { text } if text != "go on");
            prompt.iter().filter(told).map(line).collect()
        };
        for reader in AGENTS.map(agent) {
            let prompt = prompt(&walk, reader.as_str(), &[]);
            let isolated = project(&orchestration, &walk.conversation, &reader, &[]);
            prop_assert_eq!(people(&prompt), people(&isolated));
            let mut open: Vec<&str> = Vec::new();
            for message in &prompt {
                match message {
                    PromptMessage::Tool { call, .. } => {
                        prop_assert_eq!(open.first(), Some(&call.as_ref()));
                        open.remove(0);
                    }
                    PromptMessage::Assistant { name, calls, .. } => {
                        prop_assert!(open.is_empty() && (name.is_none() || calls.is_empty()));
                        open = calls.iter().map(|call| call.id.as_str()).collect();
                    }
                    PromptMessage::System { .. } | PromptMessage::User { .. } => prop_assert!(open.is_empty()),
                }
            }
            prop_assert!(open.is_empty());
            // Its own results are all there, and nobody else's but those that a handoff shows.
            let told = |prompt: &[PromptMessage<'_>]| {
                let results = prompt.iter().filter(|message| matches!(message, PromptMessage::Tool { .. })).map(line);
                let shown = prompt.iter().map(line).flat_map(|line| vec![String::new(); line.matches(") returned: ").count()]);
                results.chain(shown).collect::<Vec<String>>()
            };
            let (mut one, mut other) = (told(&prompt), told(&isolated));
            one.sort();
            other.sort();
            prop_assert_eq!(one, other);
        }
    }
}
