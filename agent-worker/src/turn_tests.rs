//! Turns against a conversation in memory. Each story asserts the whole list of effects: one too many fails.

#[path = "turn_tests/compensate.rs"]
mod compensate;
#[path = "turn_tests/desk.rs"]
mod desk;
#[path = "turn_tests/edges.rs"]
mod edges;
#[path = "turn_tests/endings.rs"]
mod endings;
#[path = "turn_tests/fallback.rs"]
mod fallback;
#[path = "turn_tests/fences.rs"]
mod fences;
#[path = "turn_tests/fuzz.rs"]
mod fuzz;
#[path = "turn_tests/outcomes.rs"]
mod outcomes;
#[path = "turn_tests/people.rs"]
mod people;
#[path = "turn_tests/put_off.rs"]
mod put_off;
#[path = "turn_tests/resume.rs"]
mod resume;
#[path = "turn_tests/shared.rs"]
mod shared;
#[path = "turn_tests/stage.rs"]
mod stage;
