//! The crash laboratory on the command line.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use futures::FutureExt;
use tests::lab::faults::{ABSENT, FAULTS, named};
use tests::lab::reconnect::storm;
use tests::lab::report::{markdown, pace};
use tests::lab::run::{Round, outcomes, recheck};

/// Injects faults into a deployment of real processes, and checks what may never happen.
#[derive(Debug, Parser)]
struct Args {
    /// Faults to inject, separated by commas; by default all of them.
    #[arg(long, value_delimiter = ',')]
    faults: Vec<String>,
    /// Trials of each fault.
    #[arg(long, default_value_t = 20)]
    trials: usize,
    /// What everything is drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// People who talk at once.
    #[arg(long, default_value_t = 8)]
    people: usize,
    /// Where recordings, outcomes and the report are kept. What is there is not run again.
    #[arg(long, default_value = "target/lab")]
    dir: PathBuf,
    /// A random mixture instead of one fault after another.
    #[arg(long)]
    mix: bool,
    /// Mixed rounds until so many seconds have passed.
    #[arg(long, value_name = "SECS")]
    soak: Option<u64>,
    /// Runs nothing: checks the recordings that are there again.
    #[arg(long)]
    recheck: bool,
    /// Kills the broker of so many workers, instead of a round; it takes 20 MB of memory for each.
    #[arg(long, value_name = "WORKERS")]
    reconnect: Option<usize>,
    /// Lists the faults.
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let args = Args::parse();
    if args.list {
        FAULTS.iter().for_each(|fault| println!("{:24} {} ({})", fault.name, fault.about, fault.figure));
        ABSENT.iter().for_each(|(promise, why)| println!("{:24} {promise}: {why}", "-"));
        return std::process::ExitCode::SUCCESS;
    }
    if let Some(unknown) = args.faults.iter().find(|name| named(name).is_none()) {
        eprintln!("there is no fault {unknown}: --list names them");
        return std::process::ExitCode::FAILURE;
    }
    if args.recheck {
        if let Err(why) = recheck(&args.dir) {
            eprintln!("{why}");
            return std::process::ExitCode::FAILURE;
        }
        return report(&args);
    }
    if let Some(workers) = args.reconnect {
        return reconnect(workers, args.seed).await;
    }
    let began = Instant::now();
    for round in rounds(&args) {
        if args.soak.is_some_and(|secs| began.elapsed() > Duration::from_secs(secs)) {
            break;
        }
        // A recorder that panics spoils its round, and no other.
        let played = AssertUnwindSafe(round.run(&args.dir)).catch_unwind().await;
        match played.unwrap_or_else(|_| Err("the laboratory could not go on".to_owned())) {
            Ok(outcome) => {
                println!(
                    "{}: {:?}, {} ended, {} unfinished, {} violations, {} s; {:?}",
                    outcome.round,
                    outcome.trials,
                    outcome.ended,
                    outcome.unfinished,
                    outcome.broken.len(),
                    outcome.took_secs,
                    outcome.recoveries_ms
                );
                outcome.skipped.iter().for_each(|why| println!("left out: {why}"));
            }
            Err(why) => println!("{}: not run: {why}", round.name),
        }
    }
    report(&args)
}

/// A storm; whether everybody came back in time, and nothing was lost.
async fn reconnect(workers: usize, seed: u64) -> std::process::ExitCode {
    const BACK_WITHIN_MS: u64 = 10_000;
    let storm = match storm(workers, seed).await {
        Ok(storm) => storm,
        Err(why) => {
            eprintln!("not run: {why}");
            return std::process::ExitCode::FAILURE;
        }
    };
    println!("{storm}");
    storm.broken.iter().for_each(|broken| println!("{}: {}", broken.invariant, broken.what));
    let is_back = |ms: &u64| *ms <= BACK_WITHIN_MS;
    let is_well =
        storm.heard_ms.len() == storm.workers && storm.heard_ms.iter().all(is_back) && storm.ordered_ms.as_ref().is_some_and(is_back);
    let is_kept = storm.broken.is_empty() && storm.conversations.1 == 0;
    if is_well && is_kept { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

/// Prints and keeps the report; whether all is well.
fn report(args: &Args) -> std::process::ExitCode {
    let outcomes = outcomes(&args.dir);
    let report = markdown(&outcomes);
    println!("\n{report}\n{}", pace(&outcomes));
    if let Err(error) = std::fs::write(args.dir.join("report.md"), &report) {
        eprintln!("the report cannot be kept: {error}");
    }
    let is_clean = outcomes.iter().all(|outcome| outcome.broken.is_empty() && outcome.unfinished == 0);
    if is_clean { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

fn rounds(args: &Args) -> Vec<Round> {
    if args.mix || args.soak.is_some() {
        // A soak is as many rounds as there is time for.
        let trials = if args.soak.is_some() { 100_000 } else { args.trials };
        return Round::mixed(trials, args.seed, args.people);
    }
    let wanted = FAULTS.iter().filter(|fault| args.faults.is_empty() || args.faults.iter().any(|name| name == fault.name));
    wanted.flat_map(|fault| Round::of(fault, args.trials, args.seed, args.people)).collect()
}
