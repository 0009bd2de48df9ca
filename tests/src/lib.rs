//! Drives Baton's programs as real processes against a real broker.

pub mod dev;
pub mod http;
pub mod in_process;
pub mod lab;
pub mod nats;
pub mod processes;
pub mod sample;
pub mod service;
pub mod stage;
pub mod tooling;
