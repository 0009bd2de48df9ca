//! I15: no canary of one conversation in any prompt, tool call, event, span or log line of another.

use std::collections::BTreeSet;

use super::Violation;
use super::view::{View, marks};
use crate::lab::record::{Record, Seen};

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let mut violations: Vec<Violation> = (0..).zip(view.records).filter_map(|(place, record)| judge(view, place, record)).collect();
    // An entry is what it says, not its bytes: those hold the entries before it, too.
    let stored = view.conversations().flat_map(|conversation| view.lines(conversation)).filter_map(|line| {
        let text: String = line.events().iter().map(|event| event.to_json().to_string()).collect();
        let conversation = line.subject.conversation.as_str();
        let foreign = foreign(view, &text, conversation)?;
        let what = format!("entry {} holds the canary of {foreign}", line.ordinal());
        Some(Violation::of("I15", Some(conversation), view.stored_us(line), [line.record], what))
    });
    violations.extend(stored);
    violations
}

fn judge(view: &View<'_>, place: usize, record: &Record) -> Option<Violation> {
    let (conversation, what) = match &record.seen {
        Seen::Asked { agent, messages, .. } => {
            let owners = owners(view, &messages.to_string());
            let mut owners = owners.iter();
            let (one, other) = (owners.next()?, owners.next()?);
            (*one, format!("a prompt of {agent} holds the canaries of {one} and {other}"))
        }
        Seen::Called { tool, conversation, arguments, .. } => {
            let foreign = foreign(view, &arguments.to_string(), conversation)?;
            (conversation.as_str(), format!("a call of {tool} holds the canary of {foreign}"))
        }
        Seen::Received { client, conversation, event, data, .. } => {
            let foreign = foreign(view, &data.to_string(), conversation)?;
            (conversation.as_str(), format!("{client} was shown the canary of {foreign} in {event}"))
        }
        Seen::Span { name, attributes, .. } => {
            let text: String = attributes.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
            (mentioned(view, &text)?, format!("span {name} holds a canary of another conversation"))
        }
        Seen::Logged { process, line } => {
            (mentioned(view, line)?, format!("a line in the log of {process} holds a canary of another conversation"))
        }
        _ => return None,
    };
    Some(Violation::of("I15", Some(conversation), record.at_us, [place], what))
}

/// The conversations whose canaries a text holds.
fn owners<'v>(view: &'v View<'_>, text: &str) -> BTreeSet<&'v str> {
    marks(text, "canary").filter_map(|word| view.canaries.get(word)).map(String::as_str).collect()
}

/// Another conversation than this, whose canary a text holds.
fn foreign<'v>(view: &'v View<'_>, text: &str, conversation: &str) -> Option<&'v str> {
    owners(view, text).into_iter().find(|owner| *owner != conversation)
}

/// A conversation that a line is about although it holds the canary of another one.
fn mentioned<'v>(view: &'v View<'_>, text: &str) -> Option<&'v str> {
    let owners = owners(view, text);
    if owners.len() > 1 {
        return owners.into_iter().next();
    }
    let owner = owners.into_iter().next()?;
    let is_about = |conversation: &&str| *conversation != owner && text.contains(*conversation);
    if text.contains(owner) { None } else { view.journal.keys().map(String::as_str).find(is_about) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::lab::check::story::{Story, breaks, holds};
    use crate::lab::record::Seen;

    fn two() -> Story {
        let mut story = Story::told();
        story.opened("c2", "m8");
        story
    }

    #[test]
    fn its_own_canary_may_be_everywhere() {
        let mut story = two();
        story.see(Seen::Logged { process: "w".to_owned(), line: format!("{} [[canary:c2]]", story.id("c2")) });
        holds(&story);
    }

    #[test]
    fn a_prompt_with_two_canaries_is_reported() {
        let mut story = two();
        let messages = json!([{ "role": "user", "content": "[[canary:c1]]" }, { "role": "user", "content": "[[canary:c2]]" }]);
        story.see(Seen::Asked { request: 900, agent: "triage".to_owned(), messages });
        story.see(Seen::Aborted { request: 900, is_fault: false });
        breaks(&story, &["I15"]);
    }

    #[test]
    fn a_call_with_a_foreign_canary_is_reported() {
        let mut story = two();
        story.called_with("look", "k7", "c2", &json!({ "text": "[[canary:c1]]" }));
        breaks(&story, &["I15"]);
    }

    #[test]
    fn live_text_with_a_foreign_canary_is_reported() {
        let mut story = two();
        let (client, conversation) = ("ann".to_owned(), story.id("c2"));
        let data = json!({ "text": "[[canary:c1]]" });
        story.see(Seen::Received { client, conversation, id: None, event: "token".to_owned(), data });
        breaks(&story, &["I15"]);
    }

    #[test]
    fn a_log_line_with_a_foreign_canary_is_reported() {
        let mut story = two();
        story.see(Seen::Logged { process: "w".to_owned(), line: format!("{} said [[canary:c1]]", story.id("c2")) });
        breaks(&story, &["I15"]);
    }

    #[test]
    fn a_span_with_a_foreign_canary_is_reported() {
        let mut story = two();
        let attributes = vec![("id".to_owned(), story.id("c2")), ("text".to_owned(), "[[canary:c1]]".to_owned())];
        let trace = story.trace("c2");
        story.see(Seen::Span { trace, span: "99".to_owned(), parent: String::new(), name: "chat".to_owned(), attributes });
        breaks(&story, &["I15"]);
    }
}
