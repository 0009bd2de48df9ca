//! The projection: what one agent's model sees of a conversation (semantics 2). One log, one projection an agent,
//! never a broadcast copy; the same entries always give the same messages.

mod shared;

use std::borrow::Cow;
use std::ops::Range;

use crate::conversation::Conversation;
use crate::event::{Call, Continuation, Event, HistoryOption, Message, Replied, Responded, Role, Transferred, Verdict, failure};
use crate::ids::AgentName;
use crate::orchestration::Orchestration;

pub use shared::project_shared;

/// One message of a prompt. What it says lies in the conversation: a prompt of a long one is made without copying it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptMessage<'a> {
    /// Instructions.
    System {
        /// What is said.
        text: Cow<'a, str>,
    },
    /// A person.
    User {
        /// What is said.
        text: Cow<'a, str>,
    },
    /// An agent: the reader itself (no name), or another one by its display name.
    Assistant {
        /// Who speaks, unless it is the reader.
        name: Option<Cow<'a, str>>,
        /// What is said; may be empty when there are calls.
        text: Cow<'a, str>,
        /// The reader's own calls; each is followed by exactly one result.
        calls: Cow<'a, [Call]>,
    },
    /// The result of a call of the message before.
    Tool {
        /// The call.
        call: Cow<'a, str>,
        /// The tool.
        name: Cow<'a, str>,
        /// What the model is shown.
        content: Cow<'a, str>,
    },
}

impl PromptMessage<'_> {
    /// The same message, for whoever keeps it longer than the conversation.
    pub fn into_owned(self) -> PromptMessage<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::System { text } => PromptMessage::System { text: owned(text) },
            Self::User { text } => PromptMessage::User { text: owned(text) },
            Self::Assistant { name, text, calls } => {
                PromptMessage::Assistant { name: name.map(owned), text: owned(text), calls: Cow::Owned(calls.into_owned()) }
            }
            Self::Tool { call, name, content } => PromptMessage::Tool { call: owned(call), name: owned(name), content: owned(content) },
        }
    }
}

/// What is shown for a call whose turn was cut off before it had a result.
const NO_RESULT: &str = "This call was interrupted before it returned. It is unknown whether it ran.";

/// The messages that `agent`'s model sees, its instructions first.
///
/// `fresh` are events of the running turn that are not yet in the journal: they count as the agent's own, after the tail.
pub fn project<'a>(
    orchestration: &'a Orchestration,
    conversation: &'a Conversation,
    agent: &'a AgentName,
    fresh: &'a [Event],
) -> Vec<PromptMessage<'a>> {
    project_through(orchestration, conversation, agent, fresh, &|_, messages| messages)
}

/// What goes through a handoff's filter, by the filter's name: all that its target sees of what came before it. The same
/// messages must always give the same.
pub type Through<'f> = &'f dyn for<'a> Fn(&str, Vec<PromptMessage<'a>>) -> Vec<PromptMessage<'a>>;

/// The same, where handoffs have filters. Of what a filter leaves, calls without their result and results without their
/// call are left out: no model takes them.
pub fn project_through<'a>(
    orchestration: &'a Orchestration,
    conversation: &'a Conversation,
    agent: &'a AgentName,
    fresh: &'a [Event],
    through: Through<'_>,
) -> Vec<PromptMessage<'a>> {
    let log = Log::new(orchestration, conversation, agent, fresh);
    let mut messages = Vec::with_capacity(log.events.len() + 1);
    messages.extend(instructions(orchestration, agent).map(|text| PromptMessage::System { text: text.into() }));
    log.tell(0..log.events.len(), agent, through, &mut messages);
    messages
}

/// What an agent's model is told, if anything.
fn instructions<'a>(orchestration: &'a Orchestration, agent: &AgentName) -> Option<&'a str> {
    orchestration.agent(agent).map(|definition| definition.instructions.as_str()).filter(|text| !text.is_empty())
}

/// One event, and the agent that wrote it, if one did.
type Told<'a> = (Option<&'a AgentName>, &'a Event);

/// A conversation as projections read it: everything that happened, and who wrote it.
struct Log<'a> {
    orchestration: &'a Orchestration,
    conversation: &'a Conversation,
    events: Vec<Told<'a>>,
}

impl<'a> Log<'a> {
    fn new(orchestration: &'a Orchestration, conversation: &'a Conversation, me: &'a AgentName, fresh: &'a [Event]) -> Self {
        let stored = conversation.entries().iter().flat_map(|entry| {
            let from = entry.head.subject.from.agent();
            entry.events.iter().map(move |event| (from, event))
        });
        Self { orchestration, conversation, events: stored.chain(fresh.iter().map(|event| (Some(me), event))).collect() }
    }

    /// Adds what `agent` sees of the events at these places.
    fn tell(&self, places: Range<usize>, agent: &AgentName, through: Through<'_>, messages: &mut Vec<PromptMessage<'a>>) {
        let first = messages.len();
        for place in places {
            match self.events.get(place) {
                Some((from, Event::Transferred(transfer))) if transfer.to == *agent => {
                    if let Some(filter) = from.and_then(|from| filter_of(self.orchestration, from, agent)) {
                        let before = messages.split_off(first);
                        messages.extend(paired(through(filter, before)));
                    }
                    hand_over(messages, first, transfer, from.map(|speaker| self.orchestration.display_name(speaker)));
                }
                _ => self.show(place, Some(agent), messages),
            }
        }
    }

    /// Adds what `reader` sees of the event at `place`; without a reader: what all agents see of it, every speaker by name.
    fn show(&self, place: usize, reader: Option<&AgentName>, messages: &mut Vec<PromptMessage<'a>>) {
        let Some(&(from, event)) = self.events.get(place) else { return };
        let (earlier, later) = (self.events.get(..place).unwrap_or_default(), self.events.get(place + 1..).unwrap_or_default());
        let own = reader.filter(|reader| from == Some(*reader));
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
                Continuation::Autonomous => messages.extend(continued.prompt.as_deref().filter(|_| own.is_some()).map(user)),
                // The message was stored while the agent was still writing its question.
                Continuation::Answered => messages.extend(answer_before(earlier).map(user)),
            },
            Event::Responded(response) => match (own, from) {
                (Some(own), _) => own_response(messages, response, own, later),
                (None, Some(speaker)) => {
                    let tools = reader.filter(|reader| shares_tools(speaker, reader, later)).map(|_| (speaker, later));
                    let name = self.orchestration.display_name(speaker);
                    messages.extend(other_response(name, &response.text, &response.calls, tools));
                }
                (None, None) => {}
            },
            // Its answer was to be the result and was none: what is wrong with it was told to nobody else.
            Event::Warned(warned) if own.is_some() && warned.code == failure::OUTPUT_INVALID => messages.push(user(&warned.detail)),
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
fn hand_over<'a>(messages: &mut Vec<PromptMessage<'a>>, instructions: usize, transfer: &'a Transferred, name: Option<&'a str>) {
    let said = |text| PromptMessage::Assistant { name: name.map(Cow::Borrowed), text, calls: Cow::default() };
    if let Some(summary) = &transfer.summary {
        messages.truncate(instructions);
        messages.push(said(summary.into()));
    }
    messages.extend(transfer.payload.as_ref().map(|payload| said(payload.to_string().into())));
}

/// The filter of the edge by which an agent got the conversation.
fn filter_of<'a>(orchestration: &'a Orchestration, from: &AgentName, to: &AgentName) -> Option<&'a str> {
    orchestration.agent(from)?.handoffs.iter().find(|handoff| handoff.to == *to)?.filter.as_deref()
}

/// Messages in which every call has its one result, and every result its call.
fn paired(messages: Vec<PromptMessage<'_>>) -> Vec<PromptMessage<'_>> {
    let mut kept: Vec<PromptMessage<'_>> = Vec::with_capacity(messages.len());
    let mut messages = messages.into_iter().peekable();
    while let Some(message) = messages.next() {
        let PromptMessage::Assistant { name, text, mut calls } = message else {
            kept.extend(Some(message).filter(|message| !matches!(message, PromptMessage::Tool { .. })));
            continue;
        };
        let mut results: Vec<PromptMessage<'_>> = Vec::new();
        while let Some(result) = messages.next_if(|next| matches!(next, PromptMessage::Tool { .. })) {
            results.extend(Some(result).filter(|result| calls.iter().any(|call| is_result_of(result, call)) && !results.contains(result)));
        }
        if calls.iter().any(|call| !results.iter().any(|result| is_result_of(result, call))) {
            calls.to_mut().retain(|call| results.iter().any(|result| is_result_of(result, call)));
        }
        if !text.is_empty() || !calls.is_empty() {
            kept.push(PromptMessage::Assistant { name, text, calls });
        }
        kept.append(&mut results);
    }
    kept
}

fn is_result_of(message: &PromptMessage<'_>, call: &Call) -> bool {
    matches!(message, PromptMessage::Tool { call: of, .. } if *of == call.id)
}

fn user(text: &str) -> PromptMessage<'_> {
    PromptMessage::User { text: text.into() }
}

/// Whether a reply is that of the people who play the agent that asked.
fn is_of_desk(orchestration: &Orchestration, conversation: &Conversation, reply: &Replied) -> bool {
    let entry = usize::try_from(reply.request.ordinal).ok().and_then(|place| conversation.entries().get(place));
    let asker = entry.and_then(|entry| entry.head.subject.from.agent()).and_then(|agent| orchestration.agent(agent));
    matches!(conversation.event(reply.request), Some(Event::Asked(asked)) if asker.is_some_and(|asker| asker.is_played_at(&asked.audience)))
}

fn opening_message(message: &Message) -> PromptMessage<'_> {
    let text = Cow::from(&message.text);
    match message.role {
        Role::User => PromptMessage::User { text },
        Role::Assistant => PromptMessage::Assistant { name: message.name.as_deref().map(Cow::from), text, calls: Cow::default() },
        Role::System => PromptMessage::System { text },
    }
}

/// The agent's own response in full: text, calls, and exactly one result for each call, wherever it was recorded.
fn own_response<'a>(messages: &mut Vec<PromptMessage<'a>>, response: &'a Responded, from: &AgentName, later: &[Told<'a>]) {
    if response.text.is_empty() && response.calls.is_empty() {
        return;
    }
    let (text, calls) = (Cow::from(&response.text), Cow::from(&response.calls));
    messages.push(PromptMessage::Assistant { name: None, text, calls });
    for call in &response.calls {
        let content = result_of(call, from, later).unwrap_or(Cow::Borrowed(NO_RESULT));
        messages.push(PromptMessage::Tool { call: (&call.id).into(), name: (&call.name).into(), content });
    }
}

/// Whether a message that was said here answers the question its reader was about to ask: the last one before it went on.
fn answers_next(later: &[Told<'_>]) -> bool {
    let next = later.iter().map(|(_, event)| *event).find(|event| matches!(event, Event::Said(_)) || is_answered(event));
    next.is_some_and(is_answered)
}

/// The message that a `Continued` event counts as its answer.
fn answer_before<'a>(earlier: &[Told<'a>]) -> Option<&'a str> {
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
fn shares_tools(from: &AgentName, agent: &AgentName, later: &[Told<'_>]) -> bool {
    let transfer = later.iter().find_map(|(writer, event)| match event {
        Event::Transferred(transfer) if *writer == Some(from) => Some(transfer),
        _ => None,
    });
    transfer.is_some_and(|transfer| transfer.to == *agent && transfer.history == HistoryOption::Tools)
}

/// Another agent's text, under its name, and its tool work where it is shared: `tools` is where its results are found.
fn other_response<'a>(name: &'a str, text: &'a str, calls: &[Call], tools: Option<(&AgentName, &[Told<'a>])>) -> Option<PromptMessage<'a>> {
    let mut text = Cow::from(text);
    let calls = calls.iter().filter(|call| !call.name.starts_with(crate::orchestration::TRANSFER_PREFIX));
    for (call, (from, later)) in calls.filter_map(|call| Some((call, tools?))) {
        let result = result_of(call, from, later).unwrap_or_default();
        if !text.is_empty() {
            text.to_mut().push('\n');
        }
        text.to_mut().push_str(&format!("[{}({}) returned: {result}]", call.name, call.arguments));
    }
    let name = Some(Cow::from(name));
    (!text.is_empty()).then_some(PromptMessage::Assistant { name, text, calls: Cow::default() })
}

/// The one result of a call: the first that its agent recorded after it, before its next response with a call of that id.
fn result_of<'a>(call: &Call, from: &AgentName, later: &[Told<'a>]) -> Option<Cow<'a, str>> {
    for (_, event) in later.iter().filter(|(writer, _)| *writer == Some(from)) {
        match event {
            Event::Returned(returned) if returned.call == call.id => return Some(Cow::from(&returned.content)),
            Event::Transferred(transfer) if transfer.call.as_deref() == Some(call.id.as_str()) => {
                return Some(transferred_result(&transfer.to).into());
            }
            Event::Responded(next) if next.calls.iter().any(|other| other.id == call.id) => return None,
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
