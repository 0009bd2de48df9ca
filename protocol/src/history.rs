//! The projection: what one agent's model sees of a conversation (semantics 2). One log, one projection an agent,
//! never a broadcast copy; the same entries always give the same messages.

mod shared;

use std::ops::Range;

use crate::conversation::Conversation;
use crate::entry::Entry;
use crate::event::{Call, Continuation, Event, HistoryOption, Message, Replied, Responded, Role, Transferred, Verdict, failure};
use crate::ids::{AgentName, Writer};
use crate::orchestration::Orchestration;

pub use shared::project_shared;

/// One message of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptMessage {
    /// Instructions.
    System {
        /// What is said.
        text: String,
    },
    /// A person.
    User {
        /// What is said.
        text: String,
    },
    /// An agent: the reader itself (no name), or another one by its display name.
    Assistant {
        /// Who speaks, unless it is the reader.
        name: Option<String>,
        /// What is said; may be empty when there are calls.
        text: String,
        /// The reader's own calls; each is followed by exactly one result.
        calls: Vec<Call>,
    },
    /// The result of a call of the message before.
    Tool {
        /// The call.
        call: String,
        /// The tool.
        name: String,
        /// What the model is shown.
        content: String,
    },
}

/// What is shown for a call whose turn was cut off before it had a result.
const NO_RESULT: &str = "This call was interrupted before it returned. It is unknown whether it ran.";

/// The messages that `agent`'s model sees, its instructions first.
///
/// `fresh` are events of the running turn that are not yet in the journal: they count as the agent's own, after the tail.
pub fn project(orchestration: &Orchestration, conversation: &Conversation, agent: &AgentName, fresh: &[Event]) -> Vec<PromptMessage> {
    project_through(orchestration, conversation, agent, fresh, &|_, messages| messages)
}

/// What goes through a handoff's filter, by the filter's name: all that its target sees of what came before it. The same
/// messages must always give the same.
pub type Through<'a> = &'a dyn Fn(&str, Vec<PromptMessage>) -> Vec<PromptMessage>;

/// The same, where handoffs have filters. Of what a filter leaves, calls without their result and results without their
/// call are left out: no model takes them.
pub fn project_through(
    orchestration: &Orchestration,
    conversation: &Conversation,
    agent: &AgentName,
    fresh: &[Event],
    through: Through<'_>,
) -> Vec<PromptMessage> {
    let me = Writer::Agent(agent.clone());
    let log = Log::new(orchestration, conversation, &me, fresh);
    let mut messages = Vec::with_capacity(log.events.len() + 1);
    messages.extend(instructions(orchestration, agent).map(|text| PromptMessage::System { text: text.to_owned() }));
    log.tell(0..log.events.len(), agent, through, &mut messages);
    messages
}

/// What an agent's model is told, if anything.
fn instructions<'a>(orchestration: &'a Orchestration, agent: &AgentName) -> Option<&'a str> {
    orchestration.agent(agent).map(|definition| definition.instructions.as_str()).filter(|text| !text.is_empty())
}

/// A conversation as projections read it: everything that happened, and who wrote it.
struct Log<'a> {
    orchestration: &'a Orchestration,
    conversation: &'a Conversation,
    events: Vec<(&'a Writer, &'a Event)>,
}

impl<'a> Log<'a> {
    fn new(orchestration: &'a Orchestration, conversation: &'a Conversation, me: &'a Writer, fresh: &'a [Event]) -> Self {
        let stored = conversation
            .entries()
            .iter()
            .flat_map(|entry: &std::sync::Arc<Entry>| entry.events.iter().map(|event| (&entry.head.subject.from, event)));
        Self { orchestration, conversation, events: stored.chain(fresh.iter().map(|event| (me, event))).collect() }
    }

    /// Adds what `agent` sees of the events at these places.
    fn tell(&self, places: Range<usize>, agent: &AgentName, through: Through<'_>, messages: &mut Vec<PromptMessage>) {
        let first = messages.len();
        for place in places {
            match self.events.get(place) {
                Some((from, Event::Transferred(transfer))) if transfer.to == *agent => {
                    if let Some(filter) = filter_of(self.orchestration, from, agent) {
                        let before = messages.split_off(first);
                        messages.extend(paired(through(filter, before)));
                    }
                    let name = from.agent().map(|speaker| self.orchestration.display_name(speaker));
                    hand_over(messages, first, transfer, name);
                }
                _ => self.show(place, Some(agent), messages),
            }
        }
    }

    /// Adds what `reader` sees of the event at `place`; without a reader: what all agents see of it, every speaker by name.
    fn show(&self, place: usize, reader: Option<&AgentName>, messages: &mut Vec<PromptMessage>) {
        let Some((from, event)) = self.events.get(place) else { return };
        let (earlier, later) = (self.events.get(..place).unwrap_or_default(), self.events.get(place + 1..).unwrap_or_default());
        let is_own = reader.is_some() && from.agent() == reader;
        match event {
            Event::Opened(opened) => messages.extend(opened.input.iter().map(opening_message)),
            // What answers a question that was not asked any more stands behind it: see `Continued`.
            Event::Said(_) if answers_next(later) => {}
            Event::Said(said) => messages.push(user(&said.text)),
            // What people at a desk say, the agent says that they play.
            Event::Replied(reply) if is_of_desk(self.orchestration, self.conversation, reply) => {}
            Event::Replied(reply) => messages.push(user(&reply.text)),
            Event::Interrupted(interrupted) => messages.push(user(&interrupted.text)),
            Event::Continued(continued) => match continued.because {
                Continuation::Autonomous => messages.extend(continued.prompt.as_deref().filter(|_| is_own).map(user)),
                // The message was stored while the agent was still writing its question.
                Continuation::Answered => messages.extend(answer_before(earlier).map(user)),
            },
            Event::Responded(response) if is_own => own_response(messages, response, from, later),
            Event::Responded(response) => messages.extend(from.agent().and_then(|speaker| {
                let shares_tools = reader.is_some_and(|reader| shares_tools(from, reader, later));
                other_response(self.orchestration.display_name(speaker), response, shares_tools.then_some((*from, later)))
            })),
            // Its answer was to be the result and was none: what is wrong with it was told to nobody else.
            Event::Warned(warned) if is_own && warned.code == failure::OUTPUT_INVALID => messages.push(user(&warned.detail)),
            Event::Transferred(_)
            | Event::Intended(_)
            | Event::Withdrawn(_)
            | Event::Returned(_)
            | Event::Warned(_)
            | Event::Asked(_)
            | Event::Decided(_)
            | Event::Claimed(_)
            | Event::Taken(_)
            | Event::Deferred(_)
            | Event::HandedBack(_)
            | Event::SetAside(_)
            | Event::Redispatched(_)
            | Event::Reassigned(_)
            | Event::Snapshotted(_)
            | Event::Completed(_)
            | Event::Failed(_)
            | Event::Cancelled(_)
            | Event::Erased(_)
            | Event::Unknown { .. } => {}
        }
    }
}

/// What the target of a transfer sees: what came before it, or the summary of that, and the payload.
fn hand_over(messages: &mut Vec<PromptMessage>, instructions: usize, transfer: &Transferred, name: Option<&str>) {
    let said = |text: String| PromptMessage::Assistant { name: name.map(str::to_owned), text, calls: Vec::new() };
    if let Some(summary) = &transfer.summary {
        messages.truncate(instructions);
        messages.push(said(summary.clone()));
    }
    messages.extend(transfer.payload.as_ref().map(|payload| said(payload.to_string())));
}

/// The filter of the edge by which an agent got the conversation.
fn filter_of<'a>(orchestration: &'a Orchestration, from: &Writer, to: &AgentName) -> Option<&'a str> {
    let source = orchestration.agent(from.agent()?)?;
    source.handoffs.iter().find(|handoff| handoff.to == *to)?.filter.as_deref()
}

/// Messages in which every call has its one result, and every result its call.
fn paired(messages: Vec<PromptMessage>) -> Vec<PromptMessage> {
    let mut kept: Vec<PromptMessage> = Vec::with_capacity(messages.len());
    let mut messages = messages.into_iter().peekable();
    while let Some(message) = messages.next() {
        let PromptMessage::Assistant { name, text, mut calls } = message else {
            kept.extend(Some(message).filter(|message| !matches!(message, PromptMessage::Tool { .. })));
            continue;
        };
        let mut results: Vec<PromptMessage> = Vec::new();
        while let Some(result) = messages.next_if(|next| matches!(next, PromptMessage::Tool { .. })) {
            results.extend(Some(result).filter(|result| calls.iter().any(|call| is_result_of(result, call)) && !results.contains(result)));
        }
        calls.retain(|call| results.iter().any(|result| is_result_of(result, call)));
        if !text.is_empty() || !calls.is_empty() {
            kept.push(PromptMessage::Assistant { name, text, calls });
        }
        kept.append(&mut results);
    }
    kept
}

fn is_result_of(message: &PromptMessage, call: &Call) -> bool {
    matches!(message, PromptMessage::Tool { call: of, .. } if *of == call.id)
}

fn user(text: &str) -> PromptMessage {
    PromptMessage::User { text: text.to_owned() }
}

/// Whether a reply is that of the people who play the agent that asked.
fn is_of_desk(orchestration: &Orchestration, conversation: &Conversation, reply: &Replied) -> bool {
    let entry = usize::try_from(reply.request.ordinal).ok().and_then(|place| conversation.entries().get(place));
    let asker = entry.and_then(|entry| entry.head.subject.from.agent()).and_then(|agent| orchestration.agent(agent));
    matches!(conversation.event(reply.request), Some(Event::Asked(asked)) if asker.is_some_and(|asker| asker.is_played_at(&asked.audience)))
}

fn opening_message(message: &Message) -> PromptMessage {
    let text = message.text.clone();
    match message.role {
        Role::User => PromptMessage::User { text },
        Role::Assistant => PromptMessage::Assistant { name: message.name.clone(), text, calls: Vec::new() },
        Role::System => PromptMessage::System { text },
    }
}

/// The agent's own response in full: text, calls, and exactly one result for each call, wherever it was recorded.
fn own_response(messages: &mut Vec<PromptMessage>, response: &Responded, from: &Writer, later: &[(&Writer, &Event)]) {
    if response.text.is_empty() && response.calls.is_empty() {
        return;
    }
    messages.push(PromptMessage::Assistant { name: None, text: response.text.clone(), calls: response.calls.clone() });
    for call in &response.calls {
        let content = result_of(call, from, later).unwrap_or_else(|| NO_RESULT.to_owned());
        messages.push(PromptMessage::Tool { call: call.id.clone(), name: call.name.clone(), content });
    }
}

/// Whether a message that was said here answers the question its reader was about to ask: the last one before it went on.
fn answers_next(later: &[(&Writer, &Event)]) -> bool {
    let next = later.iter().map(|(_, event)| *event).find(|event| matches!(event, Event::Said(_)) || is_answered(event));
    next.is_some_and(is_answered)
}

/// The message that a `Continued` event counts as its answer.
fn answer_before<'a>(earlier: &[(&Writer, &'a Event)]) -> Option<&'a str> {
    let before = earlier.iter().rev().map(|(_, event)| *event).find(|event| matches!(event, Event::Said(_)) || is_answered(event));
    match before {
        Some(Event::Said(said)) => Some(&said.text),
        _ => None,
    }
}

fn is_answered(event: &Event) -> bool {
    matches!(event, Event::Continued(continued) if continued.because == Continuation::Answered)
}

/// Whether the transfer by which a speaker's work ended shows its tools to `agent`: it does so to its target only.
fn shares_tools(from: &Writer, agent: &AgentName, later: &[(&Writer, &Event)]) -> bool {
    let transfer = later.iter().find_map(|(writer, event)| match event {
        Event::Transferred(transfer) if *writer == from => Some(transfer),
        _ => None,
    });
    transfer.is_some_and(|transfer| transfer.to == *agent && transfer.history == HistoryOption::Tools)
}

/// Another agent's text, under its name, and its tool work where it is shared: `tools` is where its results are found.
fn other_response(name: &str, response: &Responded, tools: Option<(&Writer, &[(&Writer, &Event)])>) -> Option<PromptMessage> {
    let mut text = response.text.clone();
    let calls = response.calls.iter().filter(|call| !call.name.starts_with(crate::orchestration::TRANSFER_PREFIX));
    for (call, (from, later)) in calls.filter_map(|call| Some((call, tools?))) {
        let result = result_of(call, from, later).unwrap_or_default();
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("[{}({}) returned: {result}]", call.name, call.arguments));
    }
    let name = Some(name.to_owned());
    (!text.is_empty()).then_some(PromptMessage::Assistant { name, text, calls: Vec::new() })
}

/// The one result of a call: the first that its agent recorded after it, before its next response with a call of that id.
fn result_of(call: &Call, from: &Writer, later: &[(&Writer, &Event)]) -> Option<String> {
    for (writer, event) in later {
        match event {
            Event::Returned(returned) if *writer == from && returned.call == call.id => return Some(returned.content.clone()),
            Event::Transferred(transfer) if *writer == from && transfer.call.as_deref() == Some(call.id.as_str()) => {
                return Some(transferred_result(&transfer.to));
            }
            Event::Responded(next) if *writer == from && next.calls.iter().any(|other| other.id == call.id) => return None,
            _ => {}
        }
    }
    None
}

/// What the model is shown as the result of a transfer.
pub fn transferred_result(to: &AgentName) -> String {
    format!("Transferred to {to}.")
}

/// What the model is shown when a person decided against a call.
pub fn decided_result(verdict: Verdict, note: &str) -> String {
    let fact = match verdict {
        Verdict::Approved | Verdict::Retry => "A person approved this call.",
        Verdict::Denied => "A person denied this call: it did not run.",
        Verdict::Happened if !note.is_empty() => return note.to_owned(),
        Verdict::Happened => "A person confirmed that this call ran. Its result is not known.",
        Verdict::Abandoned => "It is unknown whether this call ran, and it will not be tried again.",
    };
    if note.is_empty() { fact.to_owned() } else { format!("{fact} Their words: {note}") }
}

/// What the model is shown of a call in doubt that was undone.
pub fn undone_result(tool: &str, content: &str) -> String {
    format!("It is unknown whether this call ran; if it did, {tool} has undone it. {tool} returned: {content}")
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
