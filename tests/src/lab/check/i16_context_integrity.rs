//! I16: the prompt that produced a turn = projection of the journal before it: nothing missing, doubled, reordered. Results of
//! calls with effects are in the journal before a model is shown them.
//!
//! It is looked at twice. Word for word, by the protocol's own projection of what the broker stored: that finds a worker whose
//! prompts come from anywhere else than the journal, and would share a mistake of the projection itself. So it is looked at without any
//! projection too, by nothing but the marks in what people and agents said.

use std::borrow::Cow;
use std::collections::BTreeSet;

use protocol::conversation::{Conversation, Partial};
use protocol::event::{Call, Event};
use protocol::history::{PromptMessage, project};
use protocol::ids::{AgentName, EntryId};
use protocol::orchestration::Orchestration;
use protocol::subject::Class;
use serde_json::{Map, Value as Json, json};

use super::Violation;
use super::i07_turn_never_lost_or_doubled::tokens_of;
use super::view::{Line, ModelRequest, View};

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    view.conversations().flat_map(|conversation| judge(view, conversation)).collect()
}

fn judge(view: &View<'_>, conversation: &str) -> Vec<Violation> {
    // Where an entry is missing or does not follow, I3 speaks; nobody can say what the prompt should have been.
    let lines: Vec<&Line<'_>> = view.lines(conversation).collect();
    let Some(prefixes) = prefixes(view, &lines) else { return Vec::new() };
    let mut violations = Vec::new();
    let mut committed = BTreeSet::new();
    for (place, line) in lines.iter().enumerate() {
        let (Some(agent), Some(definition)) = (line.agent(), view.definition(line)) else { continue };
        for (index, event) in line.events().iter().enumerate() {
            let Event::Responded(response) = event else { continue };
            let request = tokens_of(response)
                .into_iter()
                .find_map(|token| view.requests.values().find(|request| request.token == Some(token.as_str())));
            // That an answer is committed twice is I7's matter.
            let Some(request) = request.filter(|request| committed.insert(request.token)) else { continue };
            let fresh = line.events().get(..index).unwrap_or_default();
            if let Some(call) = unstored(lines.get(..place).unwrap_or_default(), fresh) {
                let what = format!("the prompt that led to entry {} showed the result of {call} before it was stored", line.ordinal());
                violations.push(Violation::of("I16", Some(conversation), request.at_us, [line.record], what));
            }
            // Messages that came while the model was writing were not in its prompt.
            let unseen = lines.get(..place).unwrap_or_default().iter().rev().take_while(|line| line.subject.class == Class::In).count();
            let candidates = prefixes.get(place - unseen..=place).unwrap_or_default();
            let differences: Vec<String> =
                candidates.iter().map_while(|known| differs(&expected(definition, known, agent, fresh), request)).collect();
            let differs = differences.last().filter(|_| differences.len() == candidates.len()).cloned();
            let before = lines.get(..place).unwrap_or_default();
            let unlike = || {
                let found: Vec<String> = (0..=unseen).map_while(|late| misquotes(&before[..place - late], fresh, request)).collect();
                found.last().filter(|_| found.len() > unseen).cloned()
            };
            if let Some(difference) = differs.or_else(unlike) {
                let what = format!("the prompt that led to entry {} is not what the journal before it says: {difference}", line.ordinal());
                let evidence: Vec<usize> = request.evidence.iter().copied().chain([line.record]).collect();
                violations.push(Violation::of("I16", Some(conversation), request.at_us, evidence, what));
            }
        }
    }
    violations
}

/// How the marks in a prompt differ from those in what was said before it, of which each belongs there once, in order. What
/// people said unasked may stand behind the question that it answers.
fn misquotes(before: &[&Line<'_>], fresh: &[Event], request: &ModelRequest<'_>) -> Option<String> {
    let (mut said, mut unasked) = (Vec::new(), Vec::new());
    for event in before.iter().flat_map(|line| line.events()).chain(fresh) {
        match event {
            Event::Opened(opened) => said.extend(opened.input.iter().flat_map(|message| quoted(&message.text))),
            Event::Replied(reply) => said.extend(quoted(&reply.text)),
            Event::Interrupted(interrupted) => said.extend(quoted(&interrupted.text)),
            Event::Responded(response) => said.extend(quoted(&response.text)),
            Event::Said(said) => unasked.extend(quoted(&said.text)),
            _ => {}
        }
    }
    // What a tool is said to have returned may quote a person who denied the call.
    let speaks = |message: &&Json| message["role"] != "tool";
    let texts = request.messages.as_array()?.iter().filter(speaks).filter_map(|message| message["content"].as_str());
    let shown: Vec<&str> = texts.flat_map(quoted).collect();
    let in_order: Vec<&str> = shown.iter().copied().filter(|mark| !unasked.contains(mark)).collect();
    let count = |mark: &str| shown.iter().filter(|shown| **shown == mark).count();
    if let Some(odd) = unasked.iter().chain(&said).find(|mark| count(mark) != 1) {
        return Some(format!("{odd} was said before it, and is in it {} times", count(odd)));
    }
    (in_order != said).then(|| "what was said before it is in it in another order, or something else is".to_owned())
}

/// The marks of messages and answers in a text, in order.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let marks = text.split("[[").skip(1).filter_map(|rest| rest.split_once("]]").map(|(mark, _)| mark));
    marks.filter(|mark| mark.starts_with("m:") || mark.starts_with("t:"))
}

/// A call with a stored intent whose result the running turn has not stored yet.
fn unstored<'v>(before: &[&Line<'_>], fresh: &'v [Event]) -> Option<&'v str> {
    let since = before.iter().rev().flat_map(|line| line.events().iter().rev().map(move |event| (line, event)));
    let mut intended = Vec::new();
    for (line, event) in since.take_while(|(_, event)| !matches!(event, Event::Responded(_))) {
        if let (Class::Note, Event::Intended(intent)) = (&line.subject.class, event) {
            intended.extend(intent.calls.iter().map(|call| &call.call));
        }
    }
    fresh.iter().take_while(|event| !matches!(event, Event::Responded(_))).find_map(|event| match event {
        Event::Returned(returned) if intended.contains(&&returned.call) => Some(returned.call.as_str()),
        _ => None,
    })
}

/// The conversation before each of its entries.
fn prefixes(view: &View<'_>, lines: &[&Line<'_>]) -> Option<Vec<Conversation>> {
    let subject = &lines.first()?.subject;
    let mut known = Conversation::empty(subject.orchestration.clone(), subject.conversation.clone());
    let mut prefixes = vec![known.clone()];
    for line in lines {
        known.extend(Partial::decode(&view.stored(line)?).ok()?).ok()?;
        if known.last()?.head.id != line.header("Baton-Id").parse::<EntryId>().ok()? {
            return None;
        }
        prefixes.push(known.clone());
    }
    Some(prefixes)
}

/// A message as any server of Chat Completions reads it.
#[derive(Debug, PartialEq)]
struct Shown {
    role: String,
    name: Option<String>,
    text: String,
    calls: Vec<(String, String, String)>,
    answers: Option<String>,
}

fn expected(definition: &Orchestration, known: &Conversation, agent: &AgentName, fresh: &[Event]) -> Vec<Shown> {
    let plain = |role: &str, text: Cow<'_, str>| Shown {
        role: role.to_owned(),
        name: None,
        text: text.into_owned(),
        calls: Vec::new(),
        answers: None,
    };
    let shown = |message: PromptMessage<'_>| match message {
        PromptMessage::System { text } => plain("system", text),
        PromptMessage::User { text } => plain("user", text),
        PromptMessage::Assistant { name, text, calls } => {
            Shown { name: name.as_deref().and_then(fit), calls: calls.iter().map(call).collect(), ..plain("assistant", text) }
        }
        PromptMessage::Tool { call, content, .. } => Shown { answers: Some(call.into_owned()), ..plain("tool", content) },
    };
    project(definition, known, agent, fresh).into_iter().map(shown).collect()
}

fn seen(message: &Json) -> Shown {
    let text = |value: &Json| value.as_str().map(str::to_owned);
    let calls = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default().iter().map(|call| {
        let function = &call["function"];
        (
            text(&call["id"]).unwrap_or_default(),
            text(&function["name"]).unwrap_or_default(),
            text(&function["arguments"]).unwrap_or_default(),
        )
    });
    Shown {
        role: text(&message["role"]).unwrap_or_default(),
        name: text(&message["name"]),
        text: text(&message["content"]).unwrap_or_default(),
        calls: calls.collect(),
        answers: text(&message["tool_call_id"]),
    }
}

/// The first difference between what a model should have been shown and what it was shown.
fn differs(expected: &[Shown], request: &ModelRequest<'_>) -> Option<String> {
    let seen: Vec<Shown> = request.messages.as_array()?.iter().map(seen).collect();
    if seen == expected {
        return None;
    }
    let place = expected.iter().zip(&seen).take_while(|(one, other)| one == other).count();
    let brief = |shown: Option<&Shown>| {
        shown.map_or_else(|| "nothing".to_owned(), |shown| format!("{} {:?}", shown.role, shown.text.chars().take(60).collect::<String>()))
    };
    Some(format!("message {place} is {}, and should be {}", brief(seen.get(place)), brief(expected.get(place))))
}

/// A speaker's name as the interface permits it.
fn fit(name: &str) -> Option<String> {
    let fit = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = name.trim().chars().map(fit).take(64).collect();
    name.contains(|c| c != '_').then_some(name)
}

/// A call as the interface permits it: a name, and an object of arguments.
fn call(call: &Call) -> (String, String, String) {
    let arguments = match serde_json::from_str::<Map<String, Json>>(&call.arguments) {
        Ok(_) => call.arguments.clone(),
        Err(_) if call.arguments.trim().is_empty() => "{}".to_owned(),
        Err(_) => json!({ "not_a_json_object": call.arguments }).to_string(),
    };
    (call.id.clone(), fit(&call.name).unwrap_or_else(|| "unknown".to_owned()), arguments)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::misquotes;
    use crate::lab::check::View;
    use crate::lab::check::story::{Story, asked, breaks, holds, intended, responded, returned, setup, warned};
    use crate::lab::check::view::ModelRequest;
    use crate::lab::record::{Record, Seen};

    /// The told story, with the last prompt altered.
    fn altered(alter: impl Fn(&mut Vec<Json>)) -> Vec<Record> {
        let mut records = Story::told().records();
        let asked = records.iter_mut().rev().find_map(|record| match &mut record.seen {
            Seen::Asked { messages: Json::Array(messages), .. } => Some(messages),
            _ => None,
        });
        alter(asked.unwrap());
        records
    }

    #[test]
    fn a_message_that_came_while_the_model_wrote_need_not_be_there() {
        let mut story = Story::begun();
        story.asks("triage", "t1");
        story.said("c1", "m6");
        story.said("c1", "m7");
        story.unheard(vec![responded("t1", &[]), warned("odd")]);
        story.by("triage", "triage-1", vec![responded("t2", &[]), asked()]);
        holds(&story);
    }

    #[test]
    fn a_missing_message_is_reported() {
        breaks(&altered(|messages| drop(messages.remove(1))), &["I16"]);
    }

    #[test]
    fn a_doubled_message_is_reported() {
        breaks(&altered(|messages| messages.push(messages[1].clone())), &["I16"]);
    }

    #[test]
    fn a_reordered_message_is_reported() {
        breaks(&altered(|messages| messages.swap(1, 2)), &["I16"]);
    }

    #[test]
    fn a_result_that_was_shown_before_it_was_stored_is_reported() {
        let mut story = Story::begun();
        story.by("triage", "triage-1", vec![responded("t1", &["pay"]), intended("k1")]);
        story.called("pay", "k1", "c1");
        story.by("triage", "triage-1", vec![returned("paid"), responded("t2", &[]), asked()]);
        breaks(&story, &["I16"]);
    }

    #[test]
    fn what_was_said_is_found_in_a_prompt_without_any_projection() {
        let (setup, records) = (setup(), Story::told().records());
        let view = View::new(&setup, &records);
        let lines: Vec<_> = view.lines("conversation-c1").collect();
        let request = view.requests.values().last().unwrap();
        let of = |alter: &dyn Fn(&mut Vec<Json>)| {
            let mut messages = request.messages.as_array().unwrap().clone();
            alter(&mut messages);
            let messages = messages.into();
            let asked = ModelRequest { messages: &messages, evidence: Vec::new(), conversation: None, ..*request };
            misquotes(&lines[..lines.len() - 1], &[], &asked)
        };
        assert_eq!(of(&|_| ()), None);
        assert!(of(&|messages| drop(messages.remove(1))).is_some());
        assert!(of(&|messages| messages.push(messages[1].clone())).is_some());
        assert!(of(&|messages| messages.swap(1, 2)).is_some());
        assert!(of(&|messages| messages.push(json!({ "role": "user", "content": "[[m:other]]" }))).is_some());
    }

    #[test]
    fn another_text_is_reported() {
        breaks(&altered(|messages| messages[0]["content"] = "Be rude.".into()), &["I16"]);
    }
}
