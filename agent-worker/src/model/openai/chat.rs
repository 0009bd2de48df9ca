//! Chat Completions, which nearly everybody speaks.

mod answer;
mod wire;

pub(super) use answer::Chunks;
pub(super) use wire::{Body, RESERVED};
