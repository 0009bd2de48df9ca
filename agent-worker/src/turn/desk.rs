//! An agent that people play: where a model would be asked, they are, and what they answered is taken for a model's
//! response. So no delivery is held while they think, and whatever a response may lead to is decided in one place.

use protocol::event::{Asked, Audience, Call, DeskAction, Event, Json, Replied, RequestKind, Responded};
use protocol::ids::{AgentName, Writer};
use protocol::orchestration::{COMPLETE_TASK, Player, TRANSFER_PREFIX};
use protocol::subject::Class;

use super::{Effect, Turn};

/// Lines of a request that say what it is about; the conversation says the rest.
const LINES_MAX: usize = 4;
/// Characters of each.
const LINE_CHARS_MAX: usize = 200;
/// The id of the call that a person's action becomes.
const CALL: &str = "desk";

impl Turn {
    /// Whether people play the agent, and at which desk.
    pub(super) fn desk(&self) -> Option<Audience> {
        match &self.orchestration.agent(&self.agent)?.player {
            Player::Desk { name, .. } => Some(Audience::Desk(name.clone())),
            Player::Model(_) | Player::Remote(_) | Player::Code(_) => None,
        }
    }

    /// What people at the desk have answered, or the request that asks them; nothing, where a model plays the agent.
    pub(super) fn ask_people(&mut self) -> Option<Effect> {
        let Player::Desk { timeout_secs, .. } = self.orchestration.agent(&self.agent)?.player else { return None };
        let audience = self.desk()?;
        if let Some((reply, replied_at)) = self.new_answer(&audience) {
            // What the caller said after it, the person has not seen.
            self.seen = replied_at;
            return Some(self.responded(response(reply)));
        }
        self.response = None;
        let asked = Asked {
            kind: RequestKind::Question,
            text: self.what_it_is_about(&audience),
            audience,
            call: None,
            arguments_hash: None,
            due_secs: Some(timeout_secs),
        };
        Some(self.conclude(Class::Ask, asked.into()))
    }

    /// The answer with which this turn began, until it has become a response.
    fn new_answer(&self, audience: &Audience) -> Option<(Replied, u64)> {
        let brief = self.brief()?;
        if brief.model_calls > 0 || self.fresh.iter().any(|event| matches!(event, Event::Responded(_))) {
            return None;
        }
        let entry = self.conversation.entries().get(usize::try_from(brief.turn).ok()?)?;
        let [Event::Replied(reply)] = entry.events.as_slice() else { return None };
        self.is_asked_of(reply, audience).then(|| (reply.clone(), brief.turn))
    }

    fn is_asked_of(&self, reply: &Replied, audience: &Audience) -> bool {
        matches!(self.conversation.event(reply.request), Some(Event::Asked(asked)) if asked.audience == *audience)
    }

    /// The last that was said and done since these people were asked before, a line each.
    fn what_it_is_about(&self, audience: &Audience) -> String {
        let me = Writer::Agent(self.agent.clone());
        let recorded = self.conversation.events().rev();
        let recorded = recorded.map(|(entry, (_, event))| (&entry.head.subject.from, event));
        let news = self.fresh.iter().rev().map(|event| (&me, event)).chain(recorded);
        let news = news.take_while(|(from, event)| **from != me || !matches!(event, Event::Asked(asked) if asked.audience == *audience));
        let mut lines: Vec<String> = news.filter_map(|(from, event)| self.news(from.agent(), event, audience)).take(LINES_MAX).collect();
        lines.reverse();
        lines.join("\n")
    }

    fn news(&self, from: Option<&AgentName>, event: &Event, audience: &Audience) -> Option<String> {
        let name = |agent| self.orchestration.display_name(agent);
        let line = match event {
            Event::Opened(opened) => format!("User: {}", opened.input.last()?.text),
            Event::Said(said) => format!("User: {}", said.text),
            Event::Interrupted(interrupted) => format!("User: {}", interrupted.text),
            Event::Replied(reply) if self.is_asked_of(reply, audience) => return None,
            Event::Replied(reply) => format!("User: {}", reply.text),
            Event::Responded(response) if response.text.trim().is_empty() || from == Some(&self.agent) => return None,
            Event::Responded(response) => format!("{}: {}", name(from?), response.text),
            Event::Transferred(transfer) if transfer.to == self.agent => {
                let reason = transfer.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                let payload = transfer.payload.as_ref().map(|payload| format!(" {payload}")).unwrap_or_default();
                format!("{} hands over to you{reason}{payload}", name(from?))
            }
            Event::Reassigned(event) if event.to == self.agent => format!("{} gives the conversation to you", event.by),
            Event::Returned(returned) if returned.is_error && from == Some(&self.agent) => format!("Not done: {}", returned.content),
            _ => return None,
        };
        Some(line.chars().take(LINE_CHARS_MAX).collect())
    }
}

/// A person's answer, as a model would have given it.
fn response(reply: Replied) -> Responded {
    let Replied { text, action, value, .. } = reply;
    let (name, words, typed) = match action {
        None => return Responded { text, ..Responded::default() },
        Some(DeskAction::Transfer { to }) => (format!("{TRANSFER_PREFIX}{to}"), "reason", "payload"),
        Some(DeskAction::Complete) => (COMPLETE_TASK.to_owned(), "task_summary", "result"),
    };
    let arguments: Json = [(words, text.into())].into_iter().chain(value.map(|value| (typed, value))).collect();
    Responded { calls: vec![Call { id: CALL.to_owned(), name, arguments: arguments.to_string() }], ..Responded::default() }
}
