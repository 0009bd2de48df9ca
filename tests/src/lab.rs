//! The crash laboratory: a whole deployment of real processes, recorders outside of it, faults, and a checker of what may
//! never happen.

pub mod broker;
pub mod check;
pub mod collector;
pub mod crowd;
pub mod deployment;
pub mod disk;
pub mod faults;
pub mod field;
pub mod link;
pub mod measure;
pub mod member;
pub mod model;
pub mod orchestration;
pub mod person;
pub mod poison;
pub mod record;
pub mod recorder;
pub mod report;
pub mod run;
pub mod struck;
pub mod tap;
pub mod tools;
pub mod verdict;
pub mod watch;
pub mod wish;
