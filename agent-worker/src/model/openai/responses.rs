//! The Responses API. Nothing is stored with the provider, and no response refers to an earlier one: the journal has it all.

mod answer;
#[cfg(test)]
mod tests;
mod wire;

pub(super) use answer::Events;
pub(super) use wire::{Body, RESERVED};
