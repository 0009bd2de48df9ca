//! How a running turn learns that its conversation went on without it: when to look, and what it means that is found. Pure.

use std::time::Duration;

use protocol::brief::Phase;
use protocol::entry::Head;
use protocol::ids::Seq;
use protocol::subject::{Class, EntrySubject};
use protocol::wire::Stored;

/// How often a running turn looks at the journal although nobody told it to, where it runs among few.
const LOOK: Duration = Duration::from_secs(10);
/// All turns of an agent in one process together look no more often than this, or a few times as often where they begin together.
const LOOK_OF_ANY: Duration = Duration::from_millis(10);
/// How soon it looks again when it was told to: the replica that answers may not have yet what the leader has stored.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Whoever hears within this time that its entry is stored has heard it before anybody can have gone on without it.
const AT_ONCE: Duration = Duration::from_millis(200);

/// When a running turn looks at the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    pause: Duration,
    longest: Duration,
}

impl Looks {
    /// Those of a turn that runs among so many: what thousands ask is paid for by all, and only what nobody was told is found later.
    pub fn among(turns: usize) -> Self {
        let longest = LOOK.max(LOOK_OF_ANY.saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX)));
        Self { pause: longest, longest }
    }

    /// How long to wait for somebody to say something before the next look.
    pub const fn pause(self) -> Duration {
        self.pause
    }

    /// Somebody says that the conversation moved, or what they said may have been missed: now, and soon again.
    #[must_use]
    pub const fn told(self) -> Self {
        Self { pause: LOOK_AGAIN, ..self }
    }

    /// Nobody has said anything in that pause: now, and again less soon.
    #[must_use]
    pub fn untold(self) -> Self {
        Self { pause: (self.pause * 2).min(self.longest), ..self }
    }
}

/// Whether a conversation's newest entry, as some replica has it, ends the epoch in which a turn acts.
pub fn is_over(newest: &Stored, epoch: Seq) -> bool {
    Head::decode(&newest.subject, &newest.headers).is_ok_and(|head| {
        // A replica that lags shows an older epoch, which is nobody's loss.
        let its = head.epoch_after(newest.seq);
        its > epoch || (its == epoch && head.brief.phase != Phase::Working)
    })
}

/// Whether a turn has to look at what lies behind an entry of its own before it does what that permits: it heard late that it is stored,
/// and a resend finds its own entry whatever has happened since. An outcome permits nothing any more.
pub fn must_look(class: &Class, took: Duration) -> bool {
    *class == Class::Note && took > AT_ONCE
}

/// What lies behind a turn's own entry, at the next ordinal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Nothing: the turn is still its worker's.
    Nothing,
    /// What people said, which takes a turn from nobody: what follows it has to be seen, too.
    Message,
    /// Somebody has gone on, or ended it.
    Successor,
}

impl Behind {
    /// Judges what the leader has there.
    pub fn of(next: Option<&Stored>) -> Self {
        match next.map(|next| next.subject.parse::<EntrySubject>()) {
            None => Self::Nothing,
            Some(Ok(next)) if next.class == Class::In => Self::Message,
            Some(_) => Self::Successor,
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::wire;

    use super::*;

    #[test]
    fn whoever_is_told_looks_again_soon_and_less_and_less_often() {
        let mut looks = Looks::among(1000);
        assert_eq!((looks, looks.untold()), (Looks::among(1), looks), "every ten seconds");
        assert_eq!(Looks::among(10_000).pause(), Duration::from_secs(100), "a hundred times a second, all together");
        looks = looks.told();
        let pauses: Vec<_> =
            std::iter::successors(Some(looks), |looks| Some(looks.untold())).take(11).map(|looks| looks.pause().as_millis()).collect();
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10_000, 10_000]);
    }

    #[test]
    fn only_what_permits_something_and_was_heard_of_late_is_looked_behind() {
        let soon = AT_ONCE;
        let late = AT_ONCE + Duration::from_millis(1);
        assert!(must_look(&Class::Note, late) && !must_look(&Class::Note, soon) && !must_look(&Class::End, late));
    }

    #[test]
    fn people_take_a_turn_from_nobody() {
        let message = |what: &str| wire::Message {
            subject: format!("baton.support.c.c1.4.{what}"),
            headers: Default::default(),
            payload: Default::default(),
        };
        let stored = |what: &str| message(what).stored(Seq(9), 0);
        let behind = |what: &str| Behind::of(Some(&stored(what)));
        assert_eq!((Behind::of(None), behind("in.client")), (Behind::Nothing, Behind::Message));
        for what in ["note.triage", "to.triage.000000000000.coordinator", "end.client", "what no version writes"] {
            assert_eq!(behind(what), Behind::Successor, "{what}");
        }
    }
}
