//! The baton command.

pub mod broker;
