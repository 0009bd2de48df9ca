//! The worker: one process that runs agents' turns.
//!
//! [`turn`] decides and performs nothing; the driver performs and decides nothing; [`worker`] runs many drivers at once.

mod cache;
pub mod catalog;
mod driver;
mod held;
mod live;
pub mod model;
mod presence;
pub mod role;
pub mod tools;
pub mod turn;
pub mod worker;

pub use role::Environment;
pub use tools::Functions;
pub use worker::{Drained, NEWER_WAIT, StartError, Worker};
