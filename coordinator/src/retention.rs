//! When what is over goes: a conversation some time after its end, and some time later what says that there was one. Pure: where to
//! look next comes out, what was found there goes in.
//!
//! The stream is the queue: ends lie in it in the order of time. So nothing is remembered of a conversation that waits for its time but, of
//! all of them together, a place in the stream: what lies before it has been dealt with.

use protocol::ids::{Seq, Writer};
use protocol::orchestration;

/// Before a place at which something could not be done is looked at again.
const REST_MS: u64 = 60_000;

/// What is left of something that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// A conversation that has ended.
    Conversation,
    /// The entry that says that one was erased: while it is there, a repeated opening starts no other.
    Tombstone,
}

impl Remains {
    /// Who alone writes the entries that begin its time, where only one may.
    pub const fn writer(self) -> Option<Writer> {
        match self {
            Self::Conversation => None,
            Self::Tombstone => Some(Writer::Coordinator),
        }
    }
}

/// A look at the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// What is looked for.
    pub remains: Remains,
    /// Where: above this.
    pub after: Seq,
    /// What was stored by then, by the broker's clock in milliseconds since the Unix epoch, goes now.
    pub stored_by_ms: u64,
    /// The newest of them that the ledger knew.
    newest: Seq,
}

/// What is to be done about an entry that a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing, it is not looked for.
    Pass,
    /// Its time has not come, nor that of any behind it.
    Wait,
    /// It goes.
    Go,
}

impl Look {
    /// The fate of an entry of some kind, stored at some time.
    pub fn fate(&self, kind: &str, stored_ms: u64) -> Fate {
        let remains = if kind == "erased" { Remains::Tombstone } else { Remains::Conversation };
        match remains == self.remains {
            false => Fate::Pass,
            true if stored_ms > self.stored_by_ms => Fate::Wait,
            true => Fate::Go,
        }
    }
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Up to here everything has been dealt with.
    pub place: Seq,
    /// What lies behind it.
    pub then: Then,
}

/// See [`Looked::then`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Perhaps more of the same.
    More,
    /// One whose time has not come. It was stored at this time.
    Later(u64),
    /// Nothing.
    Nothing,
    /// Something went wrong, or cannot be read by this version.
    Failed,
}

/// The newest entries that begin somebody's time, as the ledger knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Newest {
    /// The newest end.
    pub ended: Seq,
    /// The newest tombstone.
    pub erased: Seq,
}

/// How far what is over has been cleared away.
#[derive(Clone, Debug, Default)]
pub struct Retention {
    conversations: Front,
    tombstones: Front,
}

#[derive(Clone, Debug, Default)]
struct Front {
    place: Seq,
    is_looking: bool,
    /// When the first was stored whose time has not come.
    first_ms: Option<u64>,
    /// Up to here there is nothing more, whatever the ledger knew.
    seen: Seq,
    rests_until_ms: u64,
}

impl Retention {
    /// From these places on, of conversations and of tombstones.
    pub fn new((conversations, tombstones): (Seq, Seq)) -> Self {
        let front = |place| Front { place, ..Front::default() };
        Self { conversations: front(conversations), tombstones: front(tombstones) }
    }

    /// The places, to be stored.
    pub const fn places(&self) -> (Seq, Seq) {
        (self.conversations.place, self.tombstones.place)
    }

    /// What is to be looked at now. Each look is under way until [`Self::looked`].
    pub fn looks(&mut self, newest: Newest, rules: orchestration::Retention, now_ms: u64) -> Vec<Look> {
        let look = |front: &mut Front, remains, secs: u64, newest| {
            let stored_by_ms = now_ms.checked_sub(secs.saturating_mul(1000))?;
            let after = front.begin(newest, stored_by_ms, now_ms)?;
            Some(Look { remains, after, stored_by_ms, newest })
        };
        let conversations = rules.ended_secs.and_then(|secs| look(&mut self.conversations, Remains::Conversation, secs, newest.ended));
        let tombstones = look(&mut self.tombstones, Remains::Tombstone, rules.erased_secs, newest.erased);
        conversations.into_iter().chain(tombstones).collect()
    }

    /// What a look came to.
    pub fn looked(&mut self, look: &Look, looked: Looked, now_ms: u64) {
        let front = match look.remains {
            Remains::Conversation => &mut self.conversations,
            Remains::Tombstone => &mut self.tombstones,
        };
        *front = Front { place: front.place.max(looked.place), seen: front.seen, ..Front::default() };
        match looked.then {
            Then::More => {}
            Then::Later(stored_ms) => front.first_ms = Some(stored_ms),
            Then::Nothing => front.seen = look.newest,
            Then::Failed => front.rests_until_ms = now_ms.saturating_add(REST_MS),
        }
    }
}

impl Front {
    fn begin(&mut self, newest: Seq, stored_by_ms: u64, now_ms: u64) -> Option<Seq> {
        let is_empty = newest <= self.place.max(self.seen);
        let is_early = self.first_ms.is_some_and(|first_ms| first_ms > stored_by_ms);
        // No longer than it should, also where the broker's clock went back.
        let rests = self.rests_until_ms.checked_sub(now_ms).is_some_and(|left_ms| (1..=REST_MS).contains(&left_ms));
        if self.is_looking || is_empty || is_early || rests {
            return None;
        }
        self.is_looking = true;
        Some(self.place)
    }
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
