//! The worker: one process that runs agents' turns.
//!
//! [`turn`] decides and performs nothing; [`driver`] performs and decides nothing; [`worker`] runs many drivers at once.

pub mod catalog;
pub mod model;
pub mod tools;
pub mod turn;
