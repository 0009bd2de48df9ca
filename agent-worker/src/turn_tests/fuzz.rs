//! Random models, people, deaths and fences. Whatever they do: every turn ends in one legal outcome, every prompt holds exactly
//! one result for each call, and no side effect runs twice without somebody's leave.
//!
//! A story is what its seed makes it. `cargo test` runs some; a million model replies, which take minutes, and a single seed:
//!
//! ```text
//! BATON_FUZZ_REPLIES=1000000 cargo test --release -p baton-agent-worker --lib fuzz -- --nocapture
//! BATON_FUZZ_SEED=7 cargo test -p baton-agent-worker --lib fuzz
//! ```

#[path = "fuzz/definition.rs"]
mod definition;
#[path = "fuzz/journal_rules.rs"]
mod journal_rules;
#[path = "fuzz/law.rs"]
mod law;
#[path = "fuzz/people.rs"]
mod people;
#[path = "fuzz/replies.rs"]
mod replies;
#[path = "fuzz/rules.rs"]
mod rules;
#[path = "fuzz/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::time::Instant;

use journal_rules::{Auditor, Reached};
use world::World;

/// Model replies of an ordinary run.
const REPLIES: u64 = 15_000;

/// Says how to tell a story again, if it ends badly.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again: BATON_FUZZ_SEED={} cargo test -p baton-agent-worker --lib fuzz", self.0);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number")))
}

/// Tells a story and judges it: the model replies that it took, and what it came to.
fn told(seed: u64) -> (u64, Reached) {
    let _replay = Replay(seed);
    let world = World::story(seed);
    assert_eq!(world.stage.journal.verify(), Ok(()));
    assert_eq!(world.read_again(), world.stage.journal, "the journal's bytes tell another story");
    world.check_what_was_seen();
    (world.replies, Auditor::audit(&world))
}

#[test]
fn whatever_happens_every_turn_ends_in_one_legal_outcome() {
    if let Some(seed) = number("BATON_FUZZ_SEED") {
        _ = told(seed);
        return;
    }
    let (begun, least) = (Instant::now(), number("BATON_FUZZ_REPLIES").unwrap_or(REPLIES));
    let (mut replies, mut seed, mut reached) = (0, 0, BTreeMap::<&str, u64>::new());
    while replies < least {
        let (more, came_to) = told(seed);
        replies += more;
        seed += 1;
        came_to.into_iter().for_each(|what| *reached.entry(what).or_default() += 1);
    }
    println!("{replies} model replies in {seed} stories, {:?}: {reached:?}", begun.elapsed());
    let must = [
        "alone",
        "approval",
        "asked",
        "cancelled",
        "claimed",
        "completed",
        "conditional",
        "continued",
        "decided",
        "deferred",
        "desk",
        "failed",
        "fallback",
        "folded",
        "handed-back",
        "in doubt",
        "intended",
        "interrupted",
        "newer",
        "payload",
        "question",
        "reassigned",
        "redispatched",
        "replied",
        "returned",
        "said",
        "set-aside",
        "snapshotted",
        "taken",
        "terminated",
        "transferred",
        "typed",
        "warned",
    ];
    let missed: Vec<_> = must.into_iter().filter(|what| !reached.contains_key(what)).collect();
    assert_eq!(missed, Vec::<&str>::new(), "never came to pass: {reached:?}");
}
