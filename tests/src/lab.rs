//! The crash laboratory: a whole deployment of real processes, recorders outside of it, faults, and a checker of what may
//! never happen.

pub mod check;
pub mod record;
