//! The worker: one process that runs agents' turns.
