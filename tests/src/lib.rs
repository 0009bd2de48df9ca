//! Drives Baton's programs as real processes against a real broker.

pub mod nats;
pub mod processes;
