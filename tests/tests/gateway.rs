//! The gateway over real HTTP, against a real broker: what docs/gateway.md promises.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic is how a test fails")]

#[path = "gateway/broker.rs"]
mod broker;
#[path = "gateway/damage.rs"]
mod damage;
#[path = "gateway/description.rs"]
mod description;
#[path = "gateway/limits.rs"]
mod limits;
#[path = "gateway/load.rs"]
mod load;
#[path = "gateway/page.rs"]
mod page;
#[path = "gateway/processes.rs"]
mod processes;
#[path = "gateway/races.rs"]
mod races;
#[path = "gateway/resume.rs"]
mod resume;
#[path = "gateway/stage.rs"]
mod stage;
#[path = "gateway/talk.rs"]
mod talk;
