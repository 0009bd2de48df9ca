//! People who talk all the time: as soon as one conversation has ended, the next begins, until it is enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::person::{Habits, Person};
use super::wish::Caller;

/// The people of a round.
#[derive(Debug)]
pub struct Crowd {
    enough: CancellationToken,
    ended: Arc<AtomicUsize>,
    people: JoinSet<()>,
}

/// What became of their conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispersed {
    /// Those that have ended.
    pub ended: usize,
    /// Those that had not when nobody waited any longer.
    pub unfinished: usize,
}

impl Crowd {
    /// So many people at once; `at_most` conversations each.
    pub fn gather(caller: &Caller, size: usize, at_most: usize, habits: Habits, seed: u64) -> Self {
        let (enough, ended) = (CancellationToken::new(), Arc::new(AtomicUsize::default()));
        let mut people = JoinSet::new();
        for place in 0..size {
            let (caller, enough, ended) = (caller.clone(), enough.clone(), ended.clone());
            people.spawn(async move {
                for number in 0..at_most {
                    if enough.is_cancelled() {
                        return;
                    }
                    let caller = Caller { name: format!("p{place}-{number}"), ..caller.clone() };
                    let own = seed ^ (place as u64) << 32 ^ (number as u64) << 16;
                    if Person::new(caller, &format!("c{place}x{number}"), habits, own).converse().await {
                        ended.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        Self { enough, ended, people }
    }

    /// Begins no more conversations; gives those that go on this long to end.
    pub async fn disperse(mut self, patience: Duration) -> Dispersed {
        self.enough.cancel();
        let until = Instant::now() + patience;
        while let Ok(Some(person)) = timeout_at(until, self.people.join_next()).await {
            person.expect("no recorder panics");
        }
        Dispersed { ended: self.ended.load(Ordering::Relaxed), unfinished: self.people.len() }
    }
}
