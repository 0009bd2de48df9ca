//! Baton's pure core: names, events, entries, the fold, projections, definitions, wire bytes.
//!
//! Nothing here reads a clock, draws a random number, opens a socket or looks at the environment: time, ids and
//! configuration are arguments, effects are plain values. The same bytes always fold to the same conversation.

pub mod brief;
pub mod builder;
pub mod condition;
pub mod conversation;
pub mod entry;
pub mod event;
pub mod history;
pub mod ids;
pub mod live;
pub mod manifest;
mod next;
pub mod orchestration;
pub mod presence;
pub mod query;
pub mod subject;
pub mod wire;

#[cfg(test)]
mod walk;
