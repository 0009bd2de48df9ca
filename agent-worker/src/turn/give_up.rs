//! What an agent does that cannot go on: it fails the conversation, or leaves it to the definition's fallback, once in a
//! user turn. Two agents that both cannot go on would hand it to each other for ever.

use protocol::conversation::Draft;
use protocol::event::{Audience, Continuation, Event, HistoryOption, Transferred, Warned};
use protocol::orchestration::Fallback;
use protocol::subject::Class;

use super::{Effect, Finish, Then, Turn};

/// The code of the warning that says why the fallback was needed.
const FALLBACK: &str = "fallback";

impl Turn {
    /// The model failed, or a limit of the definition is reached.
    pub(super) fn give_up(&mut self, code: &'static str, detail: String) -> Effect {
        let fallback = self.orchestration.fallback().filter(|_| !self.has_fallen_back()).cloned();
        let (class, event) = match fallback {
            Some(Fallback::Human(audience)) if audience != Audience::Caller || self.has_human() => {
                let name = self.orchestration.display_name(&self.agent);
                let text = format!("{name} cannot go on ({code}). {detail}. How shall it go on?");
                (Class::Ask, Event::from(self.question(audience, text)))
            }
            Some(Fallback::Agent(to)) if to != self.agent => {
                let class = Class::To { agent: to.clone(), revision: self.orchestration.revision().clone() };
                let (reason, history) = (Some(format!("{code}: {detail}")), HistoryOption::None);
                (class, Transferred { to, call: None, reason, payload: None, history, summary: None }.into())
            }
            Some(_) | None => return self.fail(code, detail),
        };
        let open: Vec<String> = self.response.iter().flat_map(|response| response.open().map(|open| open.call.id.clone())).collect();
        for call in open {
            self.settle_call(&call, format!("Not done: {detail}."), true);
        }
        let mut events = self.fresh.clone();
        events.extend([Warned { code: FALLBACK.into(), detail: format!("{code}: {detail}") }.into(), event]);
        let draft = self.draft(class, events);
        self.append(draft, Then::Finish(Finish::Settled))
    }

    /// Whether this was the way out before, since a person spoke.
    fn has_fallen_back(&self) -> bool {
        let recent = self.conversation.events().rev().map(|(_, (_, event))| event);
        recent.take_while(|event| !begins_user_turn(event)).any(is_fallback)
    }
}

/// Whether an outcome says that the agent cannot go on: what a person says meanwhile does not change that.
pub(super) fn has_given_up(draft: &Draft) -> bool {
    draft.events.iter().any(|event| matches!(event, Event::Failed(_)) || is_fallback(event))
}

fn is_fallback(event: &Event) -> bool {
    matches!(event, Event::Warned(warned) if warned.code == FALLBACK)
}

fn begins_user_turn(event: &Event) -> bool {
    match event {
        Event::Replied(_) | Event::Interrupted(_) => true,
        Event::Continued(continued) => continued.because == Continuation::Answered,
        _ => false,
    }
}
