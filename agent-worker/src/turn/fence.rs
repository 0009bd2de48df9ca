//! What becomes of an entry that somebody else was faster than, or that the broker does not take.

use std::time::Duration;

use journal::Refusal;
use protocol::brief::Phase;
use protocol::conversation::{Conversation, Draft};
use protocol::event::{Event, failure};
use protocol::subject::Class;

use super::give_up::has_given_up;
use super::{Effect, Finish, Then, Turn};

/// Seconds before work that the broker could not store is tried again.
const REFUSED_RETRY_SECS: u64 = 5;

impl Turn {
    /// A refused append behind newer entries: with nothing but people's messages there, the owner goes on (design 2, "Rebase").
    pub(super) fn fenced(&mut self, conversation: Conversation, draft: Draft, then: Then) -> Effect {
        let known = self.conversation.tail();
        let newer = conversation.entries().iter().rev().take_while(|entry| entry.ordinal() >= known.next);
        let only_messages = newer.clone().all(|entry| entry.head.subject.class == Class::In);
        let is_owner = conversation.owner() == Some(&self.agent) && conversation.phase() == Some(Phase::Working);
        if !only_messages || !is_owner || conversation.tail().epoch != known.epoch {
            return Effect::Finish(Finish::Dropped);
        }
        self.conversation = conversation;
        match then {
            // What was decided is decided again in the light of what people said.
            Then::Finish(Finish::Settled) if !has_given_up(&draft) && self.response.is_some() => self.resolve(),
            then => self.append(draft, then),
        }
    }

    /// An entry that can never be stored as it is: the conversation fails visibly, or waits for the broker to have room.
    pub(super) fn refused(&mut self, refusal: &Refusal, draft: &Draft) -> Effect {
        let code = match refusal {
            Refusal::TooLarge { .. } => failure::OVERSIZE,
            Refusal::NotPermitted { .. } => failure::NOT_PERMITTED,
            Refusal::NoSpace(_) | Refusal::Other(_) => "",
        };
        self.fail_instead(code, refusal.to_string(), draft)
    }

    /// An entry that no bytes can be made of: it never will be stored, however often it is decided.
    pub(super) fn unwritable(&mut self, why: &str, draft: &Draft) -> Effect {
        self.fail_instead(failure::UNWRITABLE, format!("what it did cannot be written down: {why}"), draft)
    }

    /// Fails the conversation in place of an entry, or tries later where there is no code for that, or it was a failure itself.
    fn fail_instead(&mut self, code: &'static str, reason: String, draft: &Draft) -> Effect {
        if code.is_empty() || matches!(draft.events.last(), Some(Event::Failed(_))) {
            return Effect::Finish(Finish::GiveBack { delay: Duration::from_secs(REFUSED_RETRY_SECS), reason });
        }
        self.fresh.clear();
        self.response = None;
        self.fail(code, format!("agent {}: {reason}", self.agent))
    }
}
