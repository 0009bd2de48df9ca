use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::builder::AgentDef;
use crate::event::{
    Asked, Audience, Continued, Intended, Interrupted, Json, Reassigned, Replied, RequestKind, Returned, Said, Transferred, failure,
};
use crate::ids::{EventId, Writer};
use crate::manifest::{HandoffSpec, ModelSpec};
use crate::subject::Class;
use crate::walk::{AGENTS, Walk, agent, to, walks};

#[path = "history/shared_tests.rs"]
mod shared;

fn orchestration() -> Orchestration {
    let agents = AGENTS.map(|name| AgentDef::new(name).description("does").display_name(name.to_uppercase()));
    let agents = [agents[0].clone().instructions("Be kind."), agents[1].clone(), agents[2].clone()];
    let builder = Orchestration::builder("support").model("default", ModelSpec::openai("m")).agents(&agents).start_with("triage").mesh();
    builder.build().unwrap_or_else(|problems| panic!("{problems:?}")).orchestration
}

fn opened() -> Walk {
    Walk::open(vec![Message { role: Role::User, name: None, text: "help".to_owned() }], true)
}

fn responded(text: &str, calls: &[(&str, &str)]) -> Event {
    let call = |(id, name): &(&str, &str)| Call { id: (*id).to_owned(), name: (*name).to_owned(), arguments: "{}".to_owned() };
    Responded { text: text.to_owned(), calls: calls.iter().map(call).collect(), ..Responded::default() }.into()
}

fn returned(call: &str, content: &str) -> Event {
    Returned { call: call.to_owned(), tool: "look".to_owned(), content: content.to_owned(), is_error: false }.into()
}

fn transferred(target: &str, call: Option<&str>, history: HistoryOption) -> Event {
    let call = call.map(str::to_owned);
    Transferred { to: agent(target), call, reason: Some("why".to_owned()), payload: None, history, summary: None }.into()
}

fn asked() -> Event {
    let (kind, audience) = (RequestKind::Question, Audience::Caller);
    Asked { kind, audience, text: String::new(), call: None, arguments_hash: None, due_secs: None }.into()
}

/// The owner writes a note, or hands over to `target`.
fn hand_over(walk: &mut Walk, target: &str, events: Vec<Event>) {
    let from = Writer::Agent(walk.owner());
    walk.write(to(&agent(target)), from, events);
}

fn person(walk: &mut Walk, class: Class, event: impl Into<Event>) {
    walk.write(class, Writer::Gateway, vec![event.into()]);
}

fn line(message: &PromptMessage<'_>) -> String {
    match message {
        PromptMessage::System { text } => format!("system: {text}"),
        PromptMessage::User { text } => format!("user: {text}"),
        PromptMessage::Assistant { name, text, calls } => {
            let calls: String = calls.iter().map(|call| format!(" [{} {}]", call.id, call.name)).collect();
            format!("assistant {}: {text}{calls}", name.as_deref().unwrap_or("me"))
        }
        PromptMessage::Tool { call, name, content } => format!("tool {call} {name}: {content}"),
    }
}

#[track_caller]
fn check(walk: &Walk, reader: &str, fresh: &[Event], expected: &str) {
    let (orchestration, reader) = (orchestration(), agent(reader));
    let seen: Vec<String> = project(&orchestration, &walk.conversation, &reader, fresh).iter().map(line).collect();
    let seen = seen.join("\n");
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected, "\n{reader} sees:\n{seen}\n");
}

#[test]
fn case_15_others_tools_are_not_seen() {
    let mut walk = opened();
    let events = vec![
        responded("", &[("c1", "look")]),
        returned("c1", "secret"),
        responded("Over to refunds.", &[("c2", "transfer_to_refund")]),
        transferred("refund", Some("c2"), HistoryOption::None),
    ];
    hand_over(&mut walk, "refund", events);
    check(
        &walk,
        "refund",
        &[],
        "
        user: help
        assistant TRIAGE: Over to refunds.
    ",
    );
}

#[test]
fn case_16_text_with_a_transfer_is_seen_once() {
    let mut walk = opened();
    let events = vec![responded("One moment.", &[("c1", "transfer_to_refund")]), transferred("refund", Some("c1"), HistoryOption::None)];
    hand_over(&mut walk, "refund", events);
    for reader in ["refund", "order-status"] {
        check(
            &walk,
            reader,
            &[],
            "
            user: help
            assistant TRIAGE: One moment.
        ",
        );
    }
}

/// SK-Py loses the task here.
#[test]
fn case_17_handed_back_silently_an_agent_sees_the_task_and_its_own_turn() {
    let mut walk = opened();
    hand_over(
        &mut walk,
        "refund",
        vec![responded("", &[("c1", "transfer_to_refund")]), transferred("refund", Some("c1"), HistoryOption::None)],
    );
    hand_over(
        &mut walk,
        "triage",
        vec![responded("Not mine.", &[("c1", "transfer_to_triage")]), transferred("triage", Some("c1"), HistoryOption::None)],
    );
    check(
        &walk,
        "triage",
        &[],
        "
        system: Be kind.
        user: help
        assistant me:  [c1 transfer_to_refund]
        tool c1 transfer_to_refund: Transferred to refund.
        assistant REFUND: Not mine.
    ",
    );
    check(
        &walk,
        "refund",
        &[],
        "
        user: help
        assistant me: Not mine. [c1 transfer_to_triage]
        tool c1 transfer_to_triage: Transferred to triage.
    ",
    );
}

#[test]
fn case_19_roles_and_names() {
    let input = vec![
        Message { role: Role::System, name: None, text: "VIP".to_owned() },
        Message { role: Role::User, name: Some("Ann".to_owned()), text: "help".to_owned() },
        Message { role: Role::Assistant, name: Some("Old Bot".to_owned()), text: "with what?".to_owned() },
    ];
    let mut walk = Walk::open(input, true);
    walk.write(Class::Ask, Writer::Agent(agent("triage")), vec![responded("which order?", &[]), asked()]);
    let request = EventId { ordinal: 1, index: 1 };
    person(&mut walk, to(&agent("triage")), Replied::new(request, "17"));
    hand_over(
        &mut walk,
        "refund",
        vec![responded("Thanks.", &[("c1", "transfer_to_refund")]), transferred("refund", Some("c1"), HistoryOption::None)],
    );
    check(
        &walk,
        "refund",
        &[],
        "
        system: VIP
        user: help
        assistant Old Bot: with what?
        assistant TRIAGE: which order?
        user: 17
        assistant TRIAGE: Thanks.
    ",
    );
}

#[test]
fn case_59_tools_are_shown_to_the_target_of_a_handoff_that_says_so_and_to_nobody_else() {
    let mut walk = opened();
    hand_over(
        &mut walk,
        "refund",
        vec![
            responded("Looking.", &[("c1", "look"), ("c2", "transfer_to_refund")]),
            returned("c1", "order 17"),
            transferred("refund", Some("c2"), HistoryOption::Tools),
        ],
    );
    check(
        &walk,
        "refund",
        &[],
        "
        user: help
        assistant TRIAGE: Looking.
        [look({}) returned: order 17]
    ",
    );
    hand_over(
        &mut walk,
        "order-status",
        vec![
            responded("", &[("c1", "look"), ("c2", "transfer_to_order-status")]),
            returned("c1", "money"),
            transferred("order-status", Some("c2"), HistoryOption::None),
        ],
    );
    check(
        &walk,
        "order-status",
        &[],
        "
        user: help
        assistant TRIAGE: Looking.
    ",
    );
}

#[test]
fn case_60_a_summary_stands_in_place_of_what_came_before() {
    let mut walk = opened();
    let summed_up = |target: &str, summary: &str| {
        let (call, history) = (Some("c1".to_owned()), HistoryOption::Summary);
        Transferred { to: agent(target), call, reason: None, payload: None, history, summary: Some(summary.to_owned()) }.into()
    };
    hand_over(&mut walk, "refund", vec![responded("Hm.", &[("c1", "transfer_to_refund")]), summed_up("refund", "Ann wants help.")]);
    check(&walk, "refund", &[], "assistant TRIAGE: Ann wants help.");
    hand_over(&mut walk, "triage", vec![responded("Ha.", &[("c1", "transfer_to_triage")]), summed_up("triage", "Ann wants her money.")]);
    check(
        &walk,
        "triage",
        &[responded("Yes?", &[])],
        "
        system: Be kind.
        assistant REFUND: Ann wants her money.
        assistant me: Yes?
    ",
    );
    // Who was not the target of a summary sees the whole.
    check(
        &walk,
        "order-status",
        &[],
        "
        user: help
        assistant TRIAGE: Hm.
        assistant REFUND: Ha.
    ",
    );
}

#[test]
fn a_payload_is_the_word_of_the_agent_that_hands_over() {
    let mut walk = opened();
    let payload: Option<Json> = Some(serde_json::json!({ "order": 17 }));
    let transferred = Transferred { to: agent("refund"), call: None, reason: None, payload, history: HistoryOption::None, summary: None };
    hand_over(&mut walk, "refund", vec![transferred.into()]);
    check(
        &walk,
        "refund",
        &[],
        r#"
        user: help
        assistant TRIAGE: {"order":17}
    "#,
    );
    check(&walk, "order-status", &[], "user: help");
}

#[test]
fn an_answer_given_before_the_question_stands_behind_it() {
    let mut walk = opened();
    person(&mut walk, Class::In, Said { text: "seen".to_owned() });
    person(&mut walk, Class::In, Said { text: "order 17".to_owned() });
    let continued = |because| Event::from(Continued { because, prompt: Some("go on".to_owned()) });
    hand_over(
        &mut walk,
        "triage",
        vec![responded("", &[("c1", "look")]), returned("c1", "ok"), responded("which order?", &[]), continued(Continuation::Answered)],
    );
    let both = "
        user: help
        user: seen
        assistant TRIAGE: which order?
        user: order 17
    ";
    check(&walk, "refund", &[], both);
    person(&mut walk, Class::In, Said { text: "hello?".to_owned() });
    check(&walk, "refund", &[], &format!("{both}\nuser: hello?"));
    hand_over(&mut walk, "triage", vec![responded("Thinking.", &[]), continued(Continuation::Autonomous)]);
    check(
        &walk,
        "triage",
        &[],
        "
        system: Be kind.
        user: help
        user: seen
        assistant me:  [c1 look]
        tool c1 look: ok
        assistant me: which order?
        user: order 17
        user: hello?
        assistant me: Thinking.
        user: go on
    ",
    );
    check(&walk, "refund", &[], &format!("{both}\nuser: hello?\nassistant TRIAGE: Thinking."));
}

#[test]
fn only_the_agent_whose_result_was_refused_is_told_so() {
    let mut walk = opened();
    let warned = |code: &'static str| Event::from(crate::event::Warned { code: code.into(), detail: "Not JSON.".to_owned() });
    let me = Writer::Agent(agent("triage"));
    walk.write(Class::Note, me, vec![responded("seven", &[]), warned(failure::OUTPUT_INVALID), warned("fallback")]);
    check(
        &walk,
        "triage",
        &[],
        "
        system: Be kind.
        user: help
        assistant me: seven
        user: Not JSON.
    ",
    );
    check(
        &walk,
        "refund",
        &[],
        "
        user: help
        assistant TRIAGE: seven
    ",
    );
}

#[test]
fn a_message_between_a_call_and_its_result_comes_after_both() {
    let mut walk = opened();
    let me = || Writer::Agent(agent("triage"));
    walk.write(Class::Note, me(), vec![responded("", &[("c1", "pay"), ("c2", "look")]), Intended { calls: vec![] }.into()]);
    person(&mut walk, Class::In, Said { text: "hurry".to_owned() });
    walk.write(Class::Note, me(), vec![returned("c2", "two"), returned("c1", "one")]);
    check(
        &walk,
        "triage",
        &[],
        "
        system: Be kind.
        user: help
        assistant me:  [c1 pay] [c2 look]
        tool c1 pay: one
        tool c2 look: two
        user: hurry
    ",
    );
}

#[test]
fn a_call_id_that_comes_again_is_another_call() {
    let mut walk = opened();
    let me = || Writer::Agent(agent("triage"));
    walk.write(Class::Note, me(), vec![responded("", &[("c1", "look")]), returned("c1", "first")]);
    walk.write(Class::Note, me(), vec![responded("", &[("c1", "pay")]), Intended { calls: vec![] }.into()]);
    let second = [returned("c1", "second")];
    let seen = "
        system: Be kind.
        user: help
        assistant me:  [c1 look]
        tool c1 look: first
        assistant me:  [c1 pay]
    ";
    check(&walk, "triage", &second, &format!("{seen}\ntool c1 pay: second"));
    // Whoever was cut off never learns what became of it, and its prompt is whole all the same.
    walk.write(to(&agent("refund")), Writer::Coordinator, vec![Reassigned { to: agent("refund"), by: "ops".to_owned() }.into()]);
    walk.write(to(&agent("triage")), Writer::Coordinator, vec![Reassigned { to: agent("triage"), by: "ops".to_owned() }.into()]);
    let again = [responded("", &[("c1", "look")]), returned("c1", "third")];
    check(&walk, "triage", &again, &format!("{seen}\ntool c1 pay: {NO_RESULT}\nassistant me:  [c1 look]\ntool c1 look: third"));
}

#[test]
fn an_interruption_is_seen_by_all() {
    let mut walk = opened();
    person(&mut walk, to(&agent("triage")), Interrupted { text: "no, wait".to_owned() });
    check(
        &walk,
        "refund",
        &[],
        "
        user: help
        user: no, wait
    ",
    );
}

#[test]
fn an_agent_of_another_revision_is_called_by_its_name() {
    let mut walk = opened();
    let gone = agent("gone");
    walk.write(to(&gone), Writer::Coordinator, vec![Reassigned { to: gone.clone(), by: "ops".to_owned() }.into()]);
    hand_over(&mut walk, "triage", vec![responded("Bye.", &[]), transferred("triage", None, HistoryOption::None)]);
    check(
        &walk,
        "triage",
        &[],
        "
        system: Be kind.
        user: help
        assistant gone: Bye.
    ",
    );
    check(
        &walk,
        "gone",
        &[],
        "
        user: help
        assistant me: Bye.
    ",
    );
}

/// Semantics 2, a filter hook: it sees what came before the transfer, and what it leaves is whole.
#[test]
fn a_filter_decides_what_a_target_sees_of_all_before() {
    let agents = ["triage", "refund"].map(|name| AgentDef::new(name).description("does").display_name(name.to_uppercase()));
    let builder = Orchestration::builder("support").model("default", ModelSpec::openai("m")).agents(&agents).start_with("triage");
    let builder = builder.add_handoff("triage", HandoffSpec::to("refund").filter("brief")).add("refund", "triage");
    let orchestration = builder.build().unwrap_or_else(|problems| panic!("{problems:?}")).orchestration;
    let mut walk = opened();
    hand_over(&mut walk, "refund", vec![responded("One moment.", &[]), transferred("refund", None, HistoryOption::None)]);
    hand_over(
        &mut walk,
        "triage",
        vec![responded("No.", &[("c1", "look")]), returned("c1", "7"), transferred("triage", None, HistoryOption::None)],
    );
    hand_over(&mut walk, "refund", vec![responded("Please.", &[]), transferred("refund", None, HistoryOption::None)]);

    let seen = |reader: &str, filter: Through<'_>| {
        let (reader, fresh) = (agent(reader), [responded("Yes.", &[])]);
        let seen = project_through(&orchestration, &walk.conversation, &reader, &fresh, filter);
        seen.iter().map(line).collect::<Vec<_>>()
    };
    let without_triage: Through<'_> = &|filter, mut messages| {
        assert_eq!(filter, "brief");
        messages.retain(|message| !matches!(message, PromptMessage::Assistant { name: Some(name), .. } if name == "TRIAGE"));
        messages
    };
    assert_eq!(seen("refund", without_triage), ["user: help", "assistant me: No. [c1 look]", "tool c1 look: 7", "assistant me: Yes."]);
    // Half of a call is none of it.
    let no_results: Through<'_> = &|_, mut messages| {
        messages.retain(|message| !matches!(message, PromptMessage::Tool { .. }));
        messages
    };
    let expected = ["user: help", "assistant TRIAGE: One moment.", "assistant me: No.", "assistant TRIAGE: Please.", "assistant me: Yes."];
    assert_eq!(seen("refund", no_results), expected);
    let no_calls: Through<'_> = &|_, messages| messages.into_iter().rev().collect();
    assert!(seen("refund", no_calls).iter().all(|line| !line.contains("c1")), "a result stands behind its call, or not at all");
    // The way back has no filter.
    let never: Through<'_> = &|_, _| panic!("asked for an edge without a filter");
    assert_eq!(seen("triage", never)[0], "user: help");
}

#[test]
fn what_people_decide_is_told_in_words() {
    assert_eq!(decided_result(Verdict::Denied, "too much"), "A person denied this call: it did not run. Their words: too much");
    assert_eq!(decided_result(Verdict::Happened, "receipt 7"), "receipt 7");
    let all = [Verdict::Approved, Verdict::Denied, Verdict::Retry, Verdict::Happened, Verdict::Abandoned];
    assert!(all.iter().all(|verdict| !decided_result(*verdict, "").is_empty()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Case 18, and more: whatever happened, every agent's prompt is whole.
    #[test]
    fn every_call_in_every_prompt_has_exactly_one_result(walk in walks(120)) {
        let orchestration = orchestration();
        for reader in AGENTS.map(agent) {
            let prompt = project(&orchestration, &walk.conversation, &reader, &[]);
            let mut open: Vec<(&str, &str)> = Vec::new();
            for message in &prompt {
                match message {
                    PromptMessage::Tool { call, name, .. } => {
                        prop_assert_eq!(open.first(), Some(&(call.as_ref(), name.as_ref())));
                        open.remove(0);
                    }
                    PromptMessage::Assistant { name, calls, .. } => {
                        prop_assert_eq!(&open, &[]);
                        prop_assert!(name.is_none() || calls.is_empty(), "another agent's calls");
                        open = calls.iter().map(|call| (call.id.as_str(), call.name.as_str())).collect();
                    }
                    PromptMessage::System { .. } | PromptMessage::User { .. } => prop_assert_eq!(&open, &[]),
                }
            }
            prop_assert_eq!(&open, &[]);
        }
    }

    /// Everybody sees what people said, each message once, in the same order; the same entries give the same prompt.
    #[test]
    fn what_people_say_is_seen_once_and_by_all(walk in walks(120)) {
        let orchestration = orchestration();
        let said = walk.conversation.events().filter(|(_, (_, event))| {
            matches!(event, Event::Said(_) | Event::Replied(_) | Event::Interrupted(_) | Event::Opened(_))
        });
        let said = said.count();
        let mut seen = BTreeSet::new();
        for reader in AGENTS.map(agent) {
            let prompt = project(&orchestration, &walk.conversation, &reader, &[]);
            prop_assert_eq!(&prompt, &project(&orchestration, &walk.conversation, &reader, &[]));
            let told = |message: &&PromptMessage<'_>| matches!(message, PromptMessage::User { text } if text != "go on");
            let people: Vec<String> = prompt.iter().filter(told).map(line).collect();
            prop_assert_eq!(people.len(), said);
            seen.insert(people);
        }
        prop_assert_eq!(seen.len(), 1);
    }

    /// A reader's own turns are there in full, and of others' only the texts.
    #[test]
    fn own_turns_in_full_and_others_in_words(walk in walks(120)) {
        let orchestration = orchestration();
        for reader in AGENTS.map(agent) {
            let prompt = project(&orchestration, &walk.conversation, &reader, &[]);
            let own = prompt.iter().filter(|message| matches!(message, PromptMessage::Assistant { name: None, .. })).count();
            let responses = walk.conversation.events().filter_map(|(entry, (_, event))| match event {
                Event::Responded(response) => Some((entry.head.subject.from.agent() == Some(&reader), response)),
                _ => None,
            });
            let (mine, others): (Vec<_>, Vec<_>) = responses.partition(|(is_own, _)| *is_own);
            let spoken = |(_, response): &&(bool, &Responded)| !response.text.is_empty();
            prop_assert_eq!(own, mine.iter().filter(|(_, response)| !response.text.is_empty() || !response.calls.is_empty()).count());
            let named = prompt.iter().filter(|message| matches!(message, PromptMessage::Assistant { name: Some(_), .. })).count();
            prop_assert!(named >= others.iter().filter(spoken).count());
        }
    }
}
