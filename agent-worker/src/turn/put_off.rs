//! What cannot be done now, and may be later: it is put off, in the conversation's own record, where people and the coordinator see
//! for how long and why. That is no failed attempt.

use std::time::Duration;

use protocol::event::Deferred;
use protocol::subject::Class;

use super::{Effect, Finish, Then, Turn};

/// For how long a turn is put off that lacks something, the first time; each time twice as long as before, up to the most. Nobody
/// knows when it is there again: somebody has to look.
const PAUSE_SECS: u64 = 1;
const PAUSE_SECS_MAX: u64 = 15;

impl Turn {
    /// Gives the turn back with a note, with whatever it has done.
    pub(super) fn put_off(&mut self, wait: Duration, reason: String) -> Effect {
        let mut events = self.fresh.clone();
        events.push(Deferred { wait_secs: wait.as_secs(), reason: reason.clone() }.into());
        let draft = self.draft(Class::Note, events);
        self.append(draft, Then::Finish(Finish::GiveBack { delay: wait, reason }))
    }

    /// How long to wait before somebody looks again. The journal knows how long was waited last.
    pub(super) fn next_pause(&self) -> Duration {
        let next =
            self.conversation.deferral().map_or(PAUSE_SECS, |last| last.wait_secs.saturating_mul(2).clamp(PAUSE_SECS, PAUSE_SECS_MAX));
        Duration::from_secs(next)
    }
}
