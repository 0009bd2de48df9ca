//! Traces and logs of every Baton process.
//!
//! - [`init`] sets both up for one process, from [`Settings`] and the standard `OTEL_*` variables.
//! - [`spans`] makes the spans that Baton exports, and [`keys`] names everything in them.
//! - [`context`] carries a trace from one process to the next, as a plain value.
//!
//! Tracing is off unless the environment asks for it. Then there is no OpenTelemetry layer, [`context::current`] answers `None`, and
//! making a span is one load of an atomic; only JSON logs still make spans, to show their fields.
//!
//! This crate knows no other crate of Baton, so that all of them can use it.

pub mod context;
pub mod keys;
pub mod spans;

mod config;
mod log;
mod setup;

pub use config::{Error, Format, Settings};
pub use context::TraceContext;
pub use setup::{Guard, capture_content, init};
