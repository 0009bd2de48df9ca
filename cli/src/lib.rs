//! The library that programs with agents of their own are written against, and the `baton` command.
//!
//! [`prelude`] has what such a program needs, [`Runtime`] is where it begins; `examples/support/main.rs` is one. The command's
//! binary is one call, and tests drive the same parts.

pub mod args;
mod attendance;
pub mod bench;
pub mod broker;
mod cancel;
mod chat;
mod check;
mod connect;
mod coordinator;
mod desk;
pub mod dev;
mod doctor;
mod erase;
mod gateway;
mod graph;
mod health;
mod list;
pub mod manifest;
mod output;
pub mod ports;
pub mod prelude;
mod program;
mod register;
mod revisions;
mod run;
mod running;
mod runtime;
mod show;
mod talk;
pub mod terminal;
mod validate;
mod worker;

use std::process::ExitCode;

pub use runtime::Runtime;

use agent_worker::Functions;
use clap::Parser;

use crate::args::{Args, Command};
use crate::output::Output;

/// The whole program: arguments in, exit code out. 0 is success, 1 a failure that was said, 2 arguments that make no sense.
pub fn main() -> ExitCode {
    main_with(Functions::new())
}

/// The same with tools of one's own: a program whose `main` is this is `baton` whose workers, those of its `dev` too, run
/// these functions for agents that name them. `examples/claims` is one.
pub fn main_with(functions: Functions) -> ExitCode {
    let args = Args::parse();
    // Every TLS connection of the process uses this one provider; a second one in the graph would make rustls panic.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One thread: a worker waits far more than it computes, and per core a current-thread runtime is the faster one.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::fail(&anyhow::Error::new(error).context("no runtime")),
    };
    let output = Output::new(args.output);
    let result = runtime.block_on(run(args, functions, output));
    // A thread that waits for a terminal's next line must not hold the process up.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| output::fail(&error))
}

async fn run(args: Args, functions: Functions, output: Output) -> anyhow::Result<ExitCode> {
    let log = args.log;
    match args.command {
        Command::Dev(args) => dev::command(args, &log).await,
        Command::Demo(args) => dev::demo::command(args, &log, output).await,
        Command::Bench(args) => bench::command(args, &log, output).await,
        Command::Worker(args) => worker::command(args, functions, &log).await,
        Command::Coordinator(args) => coordinator::command(args, &log).await,
        Command::Gateway(args) => gateway::command(args, &log).await,
        Command::Chat(args) => chat::command(args, &log, output).await,
        Command::Desk(args) => desk::command(args, &log, output).await,
        Command::Run(args) => run::command(args, &log, output).await,
        Command::Show(args) => show::command(args, output).await,
        Command::List(args) => list::command(args, output).await,
        Command::Cancel(args) => cancel::command(args, output).await,
        Command::Erase(args) => erase::command(args, output).await,
        Command::Register(args) => register::command(args, output).await,
        Command::Revisions(args) => revisions::command(args, output).await,
        Command::Doctor(args) => doctor::command(args, output).await,
        Command::Validate(args) => validate::command(args, output),
        Command::Graph(args) => graph::command(&args, output),
        Command::Health(args) => check::command(args, output).await,
        Command::Guard => dev::guard::command().await,
    }
}
