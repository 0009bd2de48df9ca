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

use ::journal::Refusal;
use definition::Definitions;
use journal_rules::{Auditor, Reached};
use protocol::event::{Call, Responded};
use world::World;

use super::stage::{Meanwhile, Reply, Stage, check, says};

/// Model replies of an ordinary run.
const REPLIES: u64 = 8_000;

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
fn told(seed: u64, definitions: &mut Definitions) -> (u64, Reached) {
    let _replay = Replay(seed);
    let world = World::story(seed, definitions);
    assert_eq!(world.stage.journal.verify(), Ok(()));
    assert_eq!(world.read_again(), world.stage.journal, "the journal's bytes tell another story");
    world.check_what_was_seen();
    (world.replies, Auditor::audit(&world))
}

/// The journal of a story that ends badly, for whoever looks into it.
fn tell(world: &World) {
    for entry in world.stage.journal.entries() {
        println!("{} {} of {}: {}", entry.ordinal(), entry.head.subject.from, entry.head.process, entry.head.kind);
        for event in &entry.events {
            let told = event.to_json().to_string();
            println!("    {} {}", event.kind(), told.chars().take(400).collect::<String>());
        }
    }
}

#[test]
fn whatever_happens_every_turn_ends_in_one_legal_outcome() {
    if let Some(seed) = number("BATON_FUZZ_SEED") {
        let mut definitions = Definitions::default();
        tell(&World::story(seed, &mut definitions));
        _ = told(seed, &mut definitions);
        return;
    }
    let (begun, least) = (Instant::now(), number("BATON_FUZZ_REPLIES").unwrap_or(REPLIES));
    let (mut replies, mut seed, mut reached) = (0, 0, BTreeMap::<&str, u64>::new());
    let mut definitions = Definitions::default();
    while replies < least {
        let (more, came_to) = told(seed, &mut definitions);
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

/// Amounts that no journal takes, or only just: a visible outcome or a refusal, never a panic or an endless loop.
#[test]
fn huge_answers_come_to_one_outcome() {
    let call = |n: usize| Call { id: String::new(), name: "look".to_owned(), arguments: format!("{{\"n\":{n}}}") };
    let answers = |calls: Vec<Call>| Reply::Model(Responded { calls, ..Responded::default() });
    let large = "x".repeat(10 * 1024 * 1024);

    let mut stage = Stage::new();
    check(&stage.act("triage", [answers((0..100_000).map(call).collect())]), "ask model\nend: failed model_error\nsettled");

    // What the broker takes is for the broker to say: here it takes it, there it does not.
    let mut stage = Stage::new();
    stage.act("triage", [says(&large)]);
    assert_eq!(stage.journal.last().unwrap().head.kind, "asked");
    let mut stage = Stage::new();
    stage.meanwhile(0, Meanwhile::Refuses(Refusal::TooLarge { bytes: large.len(), bytes_max: 1024 * 1024 }));
    let effects = stage.act("triage", [says(&large)]);
    assert_eq!(effects[2..], ["end: failed oversize", "settled"]);

    // Neither does a reader mind: arguments, ids and names of that size are answered like any others.
    let id = Call { id: large.clone(), ..call(0) };
    let named = Call { name: large.clone(), ..call(1) };
    let deep = Call { arguments: "[".repeat(100_000), ..call(2) };
    let argued = Call { arguments: format!("{{\"n\":\"{large}\"}}"), ..call(3) };
    let mut stage = Stage::new();
    let effects = stage.act("triage", [answers(vec![id, named, deep, argued]), says("done")]);
    assert_eq!((effects[1].as_str(), stage.runs.len()), ("run look, look", 2));
    assert_eq!(stage.journal.verify(), Ok(()));
}
