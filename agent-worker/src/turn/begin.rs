//! The first decision of a turn: is the work item still to be done, and must a predecessor be fenced off first?

use std::time::Duration;

use journal::planted;
use protocol::conversation::Conversation;
use protocol::event::{Failed, SetAside, Taken, failure};
use protocol::ids::{AgentName, Ordinal};
use protocol::subject::Class;

use super::{Effect, Finish, Then, Turn};
use crate::turn::resolve::Response;

/// Seconds after which an entry of a newer version is offered again.
const SET_ASIDE_SECS: u64 = 10;

/// The work item as it was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The work item's ordinal.
    pub item: Ordinal,
    /// How often the broker has delivered it, this time included.
    pub count: u64,
    /// Whether that may have begun anew: of an earlier delivery nothing would be known.
    pub is_recounted: bool,
}

/// What a work item means now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Nothing is left to do: the conversation went on, waits for a person, or has ended.
    Stale,
    /// It is the turn to be done, and nobody else has had it.
    Fresh,
    /// Somebody else may be at it, of whom nothing is known: fence them off as well.
    Uncertain,
    /// Somebody else has had it: fence them off before anything happens twice.
    Takeover,
}

impl Begin {
    /// Judges a work item by the conversation's tail (design 2, "Who owns").
    pub fn of(conversation: &Conversation, agent: &AgentName, delivered: Delivered) -> Self {
        let Some(brief) = conversation.brief() else { return Self::Stale };
        let later = conversation.entries().iter().rev().take_while(|entry| entry.ordinal() > delivered.item);
        let moved_on = later.clone().any(|entry| matches!(entry.head.subject.class, Class::To { .. }));
        if moved_on || !brief.is_work_of(agent) {
            return Self::Stale;
        }
        let touched = later.clone().any(|entry| entry.head.subject.class != Class::In);
        match (delivered.count > 1 || touched, delivered.is_recounted) {
            (true, _) => Self::Takeover,
            (false, true) => Self::Uncertain,
            (false, false) => Self::Fresh,
        }
    }
}

impl Turn {
    pub(super) fn start(&mut self) -> Effect {
        let begin = Begin::of(&self.conversation, &self.agent, self.delivered);
        if begin == Begin::Stale {
            return Effect::Finish(Finish::Settled);
        }
        if let Some((ordinal, kind)) = self.conversation.unknown() {
            let kind = kind.to_owned();
            return self.set_aside(ordinal, kind);
        }
        if begin == Begin::Fresh || planted::is("skip-taken") { self.resume() } else { self.take_over(begin) }
    }

    /// An entry of a newer version: a newer worker may know it, and until then nothing is lost. Recorded once.
    fn set_aside(&mut self, ordinal: Ordinal, what: String) -> Effect {
        let delay = Duration::from_secs(SET_ASIDE_SECS);
        let reason = format!("entry {ordinal} holds {what:?}, which this version does not know: it needs a newer worker");
        let finish = Finish::GiveBack { delay, reason };
        if self.conversation.last().is_some_and(|entry| entry.head.kind == "set-aside") {
            return Effect::Finish(finish);
        }
        let event = SetAside { ordinal, what, wait_secs: SET_ASIDE_SECS };
        let draft = self.draft(Class::Note, vec![event.into()]);
        self.append(draft, Then::Finish(finish))
    }

    fn take_over(&mut self, begin: Begin) -> Effect {
        let (taken, rested) = self.brief().map_or((0, false), |brief| (brief.attempts, brief.wait_secs.is_some()));
        // The first attempt leaves nothing behind. Whether there was one is not held against a turn that nobody has taken yet.
        let attempts = if begin == Begin::Uncertain && taken == 0 { 0 } else { taken.saturating_add(1) };
        let limit = self.orchestration.limits().attempts;
        if !rested && attempts >= limit {
            let detail = format!("{limit} attempts at this turn of agent {} died or were abandoned (limits.attempts)", self.agent);
            return self.end_with(Failed { code: failure::POISON.into(), detail });
        }
        let taken = Taken { by: self.process.clone(), delivered: self.delivered.count };
        let draft = self.draft(Class::Note, vec![taken.into()]);
        self.append(draft, Then::Resume)
    }

    /// Goes on where the journal says the turn stands: an open response first, without asking the model again.
    pub(super) fn resume(&mut self) -> Effect {
        if let Some(lacks) = self.lacks.clone() {
            return self.put_off(self.next_pause(), lacks);
        }
        self.warn_of_hidden_edges();
        let Some((response, unseen)) = Response::reopen(&self.conversation, &self.agent, &self.offer) else { return self.ask_model() };
        self.seen = unseen;
        self.response = Some(response);
        self.resolve()
    }
}
