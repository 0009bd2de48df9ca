//! The same contract in memory.
