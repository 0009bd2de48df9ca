//! What a conversation does, case by case: `semantics_<number>…` is a case of docs/semantics.md, through real workers and a
//! real nats-server. The test plays every model and every tool, and is asked nothing that it does not expect.
//!
//! Decisions are held by the pure tests too, many times faster and in more variants:
//!
//! | cases | where |
//! |---|---|
//! | 1–4, 15–17, 20–27, 39–41, 57 | `agent-worker/src/turn_tests/outcomes.rs` |
//! | 28, 29, 34, 35 | `agent-worker/src/turn_tests/people.rs` |
//! | 36–38, 53 | `agent-worker/src/turn_tests/endings.rs` |
//! | 57–60 | `agent-worker/src/turn_tests/edges.rs` |
//! | 43, 54 | `agent-worker/src/turn_tests/fences.rs`, `resume.rs` |
//! | 15–19, 55, 59, 60 | `protocol/src/history_tests.rs`: what each agent sees |
//! | 28, 31–34, 43–45, 56 | `client/src/decide_tests.rs`: what people may do |
//! | 48 | `client/src/tokens_tests.rs` |
//! | 6–13 | `protocol/src/builder.rs`, `protocol/tests/manifests.rs` |
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic is how a test fails")]

#[path = "semantics/callbacks.rs"]
mod callbacks;
#[path = "semantics/cancel.rs"]
mod cancel;
#[path = "semantics/definitions.rs"]
mod definitions;
#[path = "semantics/ends.rs"]
mod ends;
#[path = "semantics/errors.rs"]
mod errors;
#[path = "semantics/isolation.rs"]
mod isolation;
#[path = "semantics/limits.rs"]
mod limits;
#[path = "semantics/people.rs"]
mod people;
#[path = "semantics/prompts.rs"]
mod prompts;
#[path = "semantics/responses.rs"]
mod responses;
#[path = "semantics/restarts.rs"]
mod restarts;
#[path = "semantics/transfers.rs"]
mod transfers;
#[path = "semantics/typed.rs"]
mod typed;

/// This program lists its own tests: a case that somebody removes, ignores or renames is missed here.
#[test]
fn every_case_has_one_test_that_the_document_names() {
    let list = |ignored: &[&str]| {
        let listed = std::process::Command::new(std::env::current_exe().unwrap()).args(["--list"]).args(ignored).output().unwrap();
        String::from_utf8(listed.stdout).unwrap()
    };
    let (all, ignored) = (list(&[]), list(&["--ignored"]));
    let name = |line: &str| Some(line.strip_suffix(": test")?.rsplit("::").next()?.to_owned());
    let case = |name: &String| name.strip_prefix("semantics_")?.split('_').next()?.parse::<u32>().ok();
    let names: Vec<String> = all.lines().filter_map(name).filter(|name| case(name).is_some()).collect();
    let mut cases: Vec<u32> = names.iter().filter_map(case).collect();
    cases.sort_unstable();
    assert_eq!(cases, (1..=60).collect::<Vec<_>>());
    assert_eq!(ignored.lines().filter_map(name).collect::<Vec<_>>(), [""; 0]);

    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/semantics.md")).unwrap();
    for (name, case) in names.iter().map(|name| (name, case(name).unwrap())) {
        let row = document.lines().find(|line| line.starts_with(&format!("| {case} | ")));
        assert!(row.is_some_and(|row| row.ends_with(&format!("| `{name}` |"))), "{name}: {row:?}");
    }
}
