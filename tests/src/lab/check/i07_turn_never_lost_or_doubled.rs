//! I7: one committed outcome per turn; each model token occurs in at most one committed turn; none that the model never sent.

use std::collections::{BTreeMap, BTreeSet};

use protocol::event::{Event, Responded};
use protocol::ids::AgentName;
use protocol::orchestration::{Orchestration, Player};
use protocol::subject::Class;

use super::Violation;
use super::view::{Line, View, marks};

pub(super) fn check(view: &View<'_>) -> Vec<Violation> {
    let mut violations: Vec<Violation> = view.conversations().flat_map(|conversation| outcomes(view, conversation)).collect();
    violations.extend(tokens(view));
    violations
}

/// After an outcome of the owner's the next entry of any agent needs a new work item.
fn outcomes(view: &View<'_>, conversation: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut outcome: Option<&Line<'_>> = None;
    for line in view.lines(conversation) {
        // What follows an end is the matter of I13 and I14.
        if let Some(before) = outcome.filter(|before| before.subject.class != Class::End && line.agent().is_some()) {
            let what = format!("entry {} follows the outcome of the same turn, entry {}", line.ordinal(), before.ordinal());
            violations.push(Violation::of("I7", Some(conversation), view.stored_us(line), [before.record, line.record], what));
        }
        if matches!(line.subject.class, Class::To { .. }) {
            outcome = None;
        } else if line.is_outcome() {
            outcome = Some(line);
        }
    }
    violations
}

/// Each answer of a model is committed at most once, and nothing is committed that no model has answered.
fn tokens(view: &View<'_>) -> Vec<Violation> {
    let sent: BTreeSet<&str> = view.requests.values().filter_map(|request| request.token).collect();
    let mut committed: BTreeMap<String, &Line<'_>> = BTreeMap::new();
    let mut violations = Vec::new();
    for conversation in view.conversations() {
        for line in view.lines(conversation) {
            let mut report = |evidence: &[usize], what| {
                violations.push(Violation::of("I7", Some(conversation), view.stored_us(line), evidence, what));
            };
            for response in line.events().iter().filter_map(responded) {
                let tokens = tokens_of(response);
                if tokens.is_empty() && !sent.is_empty() && is_of_model(view.definition(line), line.agent()) && !is_empty(response) {
                    report(&[line.record], format!("entry {} holds an answer that no model gave", line.ordinal()));
                }
                for token in tokens {
                    if !sent.contains(token.as_str()) {
                        report(&[line.record], format!("entry {} holds token {token}, which no model sent whole", line.ordinal()));
                    }
                    if let Some(before) = committed.get(&token) {
                        let (one, other) = (before.ordinal(), line.ordinal());
                        let what = format!(
                            "token {token} is in entry {one} of {} and in entry {other} of {conversation}",
                            before.subject.conversation
                        );
                        report(&[before.record, line.record], what);
                    } else {
                        committed.insert(token, line);
                    }
                }
            }
        }
    }
    violations
}

fn responded(event: &Event) -> Option<&Responded> {
    match event {
        Event::Responded(response) => Some(response),
        _ => None,
    }
}

/// The tokens of an answer, each once: they stand in its text or in its calls.
pub(super) fn tokens_of(response: &Responded) -> BTreeSet<String> {
    let calls = response.calls.iter().flat_map(|call| [&call.id, &call.arguments]);
    std::iter::once(&response.text).chain(calls).flat_map(|text| marks(text, "t")).map(str::to_owned).collect()
}

fn is_empty(response: &Responded) -> bool {
    response.text.trim().is_empty() && response.calls.is_empty()
}

fn is_of_model(definition: Option<&Orchestration>, agent: Option<&AgentName>) -> bool {
    let agent = definition.zip(agent).and_then(|(definition, agent)| definition.agent(agent));
    agent.is_some_and(|agent| matches!(agent.player, Player::Model(_)))
}

#[cfg(test)]
mod tests {
    use crate::lab::check::story::{Story, asked, breaks, holds, responded, warned};

    #[test]
    fn several_answers_of_one_turn_are_well() {
        let mut story = Story::begun();
        story.by("triage", "triage-1", vec![responded("t1", &[]), warned("odd")]);
        story.by("triage", "triage-1", vec![responded("t2", &[]), asked()]);
        holds(&story);
    }

    #[test]
    fn a_second_outcome_is_reported() {
        let mut story = Story::begun();
        story.by("triage", "triage-1", vec![responded("t1", &[]), asked()]);
        story.forge("triage", "triage-1", vec![responded("t2", &[]), asked()]);
        breaks(&story, &["I7"]);
    }

    #[test]
    fn a_turn_that_goes_on_after_its_outcome_is_reported() {
        let mut story = Story::begun();
        story.by("triage", "triage-1", vec![responded("t1", &[]), asked()]);
        story.forge("triage", "triage-1", vec![warned("odd")]);
        breaks(&story, &["I7"]);
    }

    #[test]
    fn an_answer_that_is_committed_twice_is_reported() {
        let mut story = Story::begun();
        story.by("triage", "triage-1", vec![responded("t1", &[]), warned("odd")]);
        story.unheard(vec![responded("t1", &[]), asked()]);
        breaks(&story, &["I7"]);
    }

    #[test]
    fn an_answer_that_the_model_never_gave_is_reported() {
        let mut story = Story::begun();
        story.unheard(vec![responded("t9", &[]), warned("odd")]);
        story.by("triage", "triage-1", vec![responded("t2", &[]), asked()]);
        breaks(&story, &["I7"]);
    }
}
