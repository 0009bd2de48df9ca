//! The worker: one process that runs agents' turns.
//!
//! [`turn`] decides and performs nothing; the driver performs and decides nothing; a worker runs many drivers at once.

pub mod catalog;
pub mod model;
pub mod tools;
pub mod turn;
