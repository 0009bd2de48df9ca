//! What is to be appended: one proposal for a conversation at a time, a few under way at once, and none for a while where one failed.
//! Pure; times are monotonic, since this process began.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::ids::ConversationId;

use crate::watch::Proposal;

/// Appends under way at once.
const UNDER_WAY_MAX: usize = 64;
/// Before an act that failed is proposed again.
const REST: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    queue: VecDeque<Proposal>,
    /// Conversations with a proposal in the queue or under way, or one that failed and rests until then.
    busy: BTreeMap<ConversationId, Option<Duration>>,
    under_way: usize,
}

impl Agenda {
    /// Takes a proposal, unless its conversation has one.
    pub(crate) fn add(&mut self, proposal: Proposal) {
        if !self.busy.contains_key(&proposal.conversation) {
            self.busy.insert(proposal.conversation.clone(), None);
            self.queue.push_back(proposal);
        }
    }

    /// The next one to be carried out; it is under way until [`Self::done`].
    pub(crate) fn next(&mut self) -> Option<Proposal> {
        let next = if self.under_way < UNDER_WAY_MAX { self.queue.pop_front() } else { None };
        self.under_way += usize::from(next.is_some());
        next
    }

    /// What was under way in a conversation is over. Where it `rests`, nothing is proposed for a while.
    pub(crate) fn done(&mut self, conversation: ConversationId, rests: bool, at: Duration) {
        self.under_way -= 1;
        self.busy.remove(&conversation);
        if rests {
            self.busy.insert(conversation, Some(at + REST));
        }
    }

    /// Lets those that have rested be proposed again.
    pub(crate) fn wake(&mut self, at: Duration) {
        self.busy.retain(|_, rests| rests.is_none_or(|until| until > at));
    }

    /// Somebody else acts now: what has not begun is theirs.
    pub(crate) fn clear(&mut self) {
        for proposal in self.queue.drain(..) {
            self.busy.remove(&proposal.conversation);
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::ids::Seq;

    use super::*;
    use crate::story::conversation;
    use crate::watch::Intent;

    fn proposal(id: &str) -> Proposal {
        Proposal { conversation: conversation(id), tail: Seq(1), intent: Intent::Contain }
    }

    /// Everything that can begin now.
    fn begun(agenda: &mut Agenda) -> Vec<String> {
        std::iter::from_fn(|| agenda.next()).map(|proposal| proposal.conversation.to_string()).collect()
    }

    #[test]
    fn a_conversation_has_one_proposal_at_a_time_and_rests_after_a_failure() {
        let (mut agenda, secs) = (Agenda::default(), Duration::from_secs);
        let again = |agenda: &mut Agenda| ["c1", "c2"].into_iter().for_each(|id| agenda.add(proposal(id)));
        again(&mut agenda);
        again(&mut agenda);
        assert_eq!(begun(&mut agenda), ["c1", "c2"]);
        again(&mut agenda);
        assert_eq!(begun(&mut agenda), [""; 0], "both are under way");
        agenda.done(conversation("c1"), false, secs(10));
        agenda.done(conversation("c2"), true, secs(10));
        again(&mut agenda);
        assert_eq!(begun(&mut agenda), ["c1"]);
        agenda.wake(secs(14));
        again(&mut agenda);
        assert_eq!(begun(&mut agenda), [""; 0]);
        agenda.wake(secs(15));
        again(&mut agenda);
        assert_eq!(begun(&mut agenda), ["c2"]);
    }

    #[test]
    fn only_so_many_are_under_way_and_what_has_not_begun_is_left_to_whoever_acts_next() {
        let mut agenda = Agenda::default();
        (0..UNDER_WAY_MAX + 2).for_each(|n| agenda.add(proposal(&format!("c{n}"))));
        assert_eq!(begun(&mut agenda).len(), UNDER_WAY_MAX);
        agenda.done(conversation("c0"), false, Duration::ZERO);
        assert_eq!(begun(&mut agenda), ["c64"]);
        agenda.clear();
        agenda.add(proposal("c1"));
        agenda.done(conversation("c2"), false, Duration::ZERO);
        assert_eq!(begun(&mut agenda), [""; 0], "c1 is under way still");
        agenda.add(proposal("c65"));
        assert_eq!(begun(&mut agenda), ["c65"]);
    }
}
