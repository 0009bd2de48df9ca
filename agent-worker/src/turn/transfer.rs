//! A transfer: within the user turn's handoffs, and with a summary where the edge wants one.

use protocol::event::{Call, Event, HistoryOption, Responded, Transferred, failure};
use protocol::history::PromptMessage;
use protocol::subject::Class;

use super::{Effect, Then, Turn, Waiting};
use crate::catalog::Transfer;

/// A transfer that waits for its summary.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Summary {
    call: Call,
    transfer: Transfer,
    /// What the model that summarizes sees behind the journal.
    events: Vec<Event>,
}

impl Turn {
    pub(super) fn transfer(&mut self, call: Call, transfer: Transfer) -> Effect {
        let limit = self.orchestration.limits().handoffs_per_user_turn;
        if self.brief().is_some_and(|brief| brief.handoffs >= limit) {
            let detail = format!(
                "{} would hand over to {}: more than {limit} handoffs since a person spoke (limits.handoffsPerUserTurn)",
                self.agent, transfer.handoff.to
            );
            return self.give_up(failure::HANDOFF_LIMIT, detail);
        }
        match transfer.handoff.history {
            HistoryOption::Summary => self.summarize(call, transfer),
            HistoryOption::None | HistoryOption::Tools => self.hand_over(&call, transfer, None),
        }
    }

    fn hand_over(&mut self, call: &Call, transfer: Transfer, summary: Option<String>) -> Effect {
        let class = Class::To { agent: transfer.handoff.to.clone(), revision: self.orchestration.revision().clone() };
        self.conclude(class, transferred(call, transfer, summary).into())
    }

    /// Asks the model that hands over what its successor must know. Whatever it sees goes in, a former summary too: the new
    /// one takes the place of both. Nothing of the summary is stored before the transfer; who takes over in between asks again.
    fn summarize(&mut self, call: Call, transfer: Transfer) -> Effect {
        let mut events = self.fresh.clone();
        if self.has_unstored_effects() {
            // It is a model that is shown results: they are stored first, like for any other.
            let draft = self.draft(Class::Note, events);
            return self.append(draft, Then::Resume);
        }
        // The prompt shows every call with its result, this transfer's too.
        events.push(transferred(&call, transfer.clone(), None).into());
        self.waiting = Waiting::Summary(Box::new(Summary { call, transfer, events }));
        Effect::Summarize
    }

    pub(super) fn prompt_for_summary<'a>(&'a self, summary: &'a Summary) -> Vec<PromptMessage<'a>> {
        let mut messages = self.projection(&summary.events);
        let target = self.orchestration.display_name(&summary.transfer.handoff.to);
        let text = format!(
            "You hand the conversation over to {target}, who will see nothing of the above but your summary. Write it now: the \
             task and what people said about it, what was found out, what was done and with which result, and what is open. If \
             an earlier summary stands above, work it in. Answer with the summary alone."
        );
        messages.push(PromptMessage::User { text: text.into() });
        messages
    }

    pub(super) fn summarized(&mut self, response: Responded, Summary { call, transfer, .. }: Summary) -> Effect {
        let is_empty = response.text.trim().is_empty();
        if self.is_mute(is_empty) {
            return self.give_up_on_silence();
        }
        if is_empty { self.summarize(call, transfer) } else { self.hand_over(&call, transfer, Some(response.text)) }
    }
}

fn transferred(call: &Call, transfer: Transfer, summary: Option<String>) -> Transferred {
    let Transfer { handoff, reason, payload } = transfer;
    Transferred { to: handoff.to, call: Some(call.id.clone()), reason, payload, history: handoff.history, summary }
}
