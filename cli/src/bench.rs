//! `baton bench`: a real deployment under a load of conversations, and beside it, in the same run, the raw loop: what any durable handoff costs
//! at least on this machine. Figures of different machines, or of one machine at different hours, are not to be compared; ratios are.

pub mod cache;
mod case;
mod crowd;
mod endpoint;
mod figures;
mod listener;
pub mod prefix;
pub mod process;
pub mod report;
pub mod shape;
mod traffic;
mod trail;
mod watch;

use std::process::ExitCode;

use clap::ValueEnum;

use self::report::Report;
use self::shape::Shape;
use crate::args::{BenchArgs, FileSync, LogArgs};
use crate::output::{self, Output};
use crate::program;

pub use figures::Percentiles;

pub(crate) async fn command(args: BenchArgs, log: &LogArgs, out: Output) -> anyhow::Result<ExitCode> {
    let telemetry = program::telemetry(log, "client", Some("bench".to_owned()), "bench", "warn")?;
    let stop = program::stop_on_signal(false)?;
    let measured = tokio::select! {
        measured = Box::pin(measure(&args)) => measured,
        () = stop.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    out.result(&measured?, Report::text)?;
    Ok(program::finish(telemetry).await)
}

async fn measure(args: &BenchArgs) -> anyhow::Result<Report> {
    let shapes = if args.shapes.is_empty() { Shape::value_variants() } else { &args.shapes };
    let mut cases = Vec::new();
    for shape in shapes {
        let counts = if args.conversations.is_empty() { shape.conversations() } else { &args.conversations };
        for conversations in counts {
            let plan = shape.plan(*conversations, args.handoffs, args.base_url.as_deref(), &args.model);
            output::note(&format!("{shape}, {conversations} conversation(s) …"));
            cases.push(Box::pin(case::measure(&plan, args.runs, args.sync.into())).await?);
        }
    }
    let sync = if args.sync == FileSync::Always { "always" } else { "default" };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Report { version: env!("CARGO_PKG_VERSION"), optimised: !cfg!(debug_assertions), sync, cores, runs: args.runs, cases })
}
