//! The projection where prompts begin alike ([`Prompt::SharedPrefix`](crate::orchestration::Prompt::SharedPrefix)): what all agents see,
//! in the same words for each; then who the reader is; then what it sees as ever.

use super::{Log, PromptMessage, Through, filter_of, hand_over, instructions, other_response, shares_tools};
use crate::conversation::Conversation;
use crate::event::Event;
use crate::ids::AgentName;
use crate::orchestration::Orchestration;
use crate::subject::Class;

/// What every prompt begins with.
pub(super) const BEGINNING: &str = "Several agents take part in this conversation, one after the other. What others have said bears their names. \
                                    A further system message says which of them you are: you take part from there on.";

/// The messages that `agent`'s model sees where prompts begin alike, as [`project_through`](super::project_through) has it otherwise. `may`
/// tells the model what it may call.
///
/// What happened before the agent first had the conversation is there as everybody sees it; from then on its prompts only grow. Whoever took
/// over by a summary or through a filter has a past of its own, which begins as nobody else's.
pub fn project_shared<'a>(
    orchestration: &'a Orchestration,
    conversation: &'a Conversation,
    agent: &'a AgentName,
    fresh: &'a [Event],
    through: Through<'_>,
    may: &str,
) -> Vec<PromptMessage<'a>> {
    let log = Log::new(orchestration, conversation, agent, fresh);
    let since = if log.has_own_past(agent) { 0 } else { first_owned(conversation, agent) };
    let mut messages = vec![PromptMessage::System { text: BEGINNING.into() }];
    for place in 0..since {
        log.show(place, None, &mut messages);
    }
    messages.push(PromptMessage::System { text: briefing(orchestration, agent, may).into() });
    for place in 0..since {
        log.show_handed(place, agent, &mut messages);
    }
    log.tell(since..log.events.len(), agent, through, &mut messages);
    messages
}

/// The number of stored events until `agent` had the conversation for the first time; of all of them, if it never had.
fn first_owned(conversation: &Conversation, agent: &AgentName) -> usize {
    let mut events = 0;
    for entry in conversation.entries() {
        events += entry.events.len();
        if matches!(&entry.head.subject.class, Class::To { agent: to, .. } if to == agent) {
            break;
        }
    }
    events
}

/// Nothing that was said or returned in the conversation stands in it: it has a system message's authority.
fn briefing(orchestration: &Orchestration, agent: &AgentName, may: &str) -> String {
    let who = format!("You are {}.", orchestration.display_name(agent));
    let parts = [Some(who.as_str()), instructions(orchestration, agent), Some(may)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
}

impl<'a> Log<'a> {
    /// Whether a summary or a filter ever stood between an agent and what happened before.
    fn has_own_past(&self, agent: &AgentName) -> bool {
        self.events.iter().any(|(from, event)| match event {
            Event::Transferred(transfer) if transfer.to == *agent => {
                transfer.summary.is_some() || from.is_some_and(|from| filter_of(self.orchestration, from, agent).is_some())
            }
            _ => false,
        })
    }

    /// Adds what of the event at `place` a handoff shows to its target alone.
    fn show_handed(&self, place: usize, agent: &AgentName, messages: &mut Vec<PromptMessage<'a>>) {
        let Some(&(from, event)) = self.events.get(place) else { return };
        let later = self.events.get(place + 1..).unwrap_or_default();
        let name = from.map(|speaker| self.orchestration.display_name(speaker));
        match (event, from.zip(name)) {
            (Event::Responded(response), Some((speaker, name))) if shares_tools(speaker, agent, later) => {
                messages.extend(other_response(name, "", &response.calls, Some((speaker, later))));
            }
            (Event::Transferred(transfer), _) if transfer.to == *agent => hand_over(messages, 0, transfer, name),
            _ => {}
        }
    }
}
