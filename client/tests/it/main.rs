//! The client against a journal in memory: idempotence, races, faults, following, callbacks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

mod answering;
mod conversing;
mod damage;
mod desk;
mod following;
mod querying;
mod starting;
mod world;
