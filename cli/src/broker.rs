//! A private nats-server: found or obtained, then run beside what needs it.
//!
//! ```no_run
//! use baton::broker::{Config, Server, Stderr, find};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let found = find(&Stderr::new()).await?;
//! let mut server = Server::start(Config::new(found.path)).await?;
//! let _connect_here = server.url();
//! server.kill().await?;
//! server.restart().await?; // the same ports, the same store
//! # Ok(())
//! # }
//! ```
//!
//! What is decided ([`version`], [`config`]) is apart from what is done: programs are run in `tool`, processes in
//! [`server`]. Nothing here prints: progress goes to a [`Report`].

pub mod config;
pub mod find;
pub mod obtain;
pub mod report;
pub mod server;
pub mod signal;
mod tool;
pub mod version;

pub use config::{Config, Fsync};
pub use find::{FindError, Found, Places, find};
pub use obtain::{ObtainError, Route, obtain};
pub use report::{Report, Stderr};
pub use server::{Server, StartError, monitor};
pub use tool::ToolError;
pub use version::Version;
