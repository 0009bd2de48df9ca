//! `baton demo`: the customer-support conversation in front of a person's eyes, every agent in a process of its own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use client::Opening;
use tempfile::TempDir;

use crate::args::{DemoArgs, LogArgs};
use crate::broker::Fsync;
use crate::dev::crash;
use crate::dev::system::{Config, System};
use crate::output::{self, Output};
use crate::talk::{Pids, Replies, Talk};
use crate::{connect, manifest, program};

/// The example, so that the binary alone is enough.
pub(crate) const FILES: [(&str, &str); 2] = [
    ("support.yaml", include_str!("../../../examples/support/support.yaml")),
    ("script.yaml", include_str!("../../../examples/support/script.yaml")),
];
pub(crate) const REPLIES: &str = include_str!("../../../examples/support/replies.txt");

pub(crate) async fn command(args: DemoArgs, log: &LogArgs, out: Output) -> anyhow::Result<ExitCode> {
    if args.crash {
        return crash::command(log, out).await;
    }
    let telemetry = program::telemetry(log, "client", Some("demo".to_owned()), "demo", "warn")?;
    let stop = program::stop_on_signal(false)?;
    let directory = tempfile::Builder::new().prefix("baton-demo-").tempdir()?;
    let manifest = match &args.manifest {
        Some(manifest) => manifest.clone(),
        None => unpack(&directory)?,
    };
    let replies = match (&args.replies, &args.manifest) {
        (None, None) => Replies::from_text(REPLIES),
        (file, _) => Replies::open(file.as_deref()).await?,
    };
    let system = System::start(config(&manifest, directory.path())?).await?;
    let played = tokio::select! {
        played = play(&system, &args.task, replies, out) => played,
        () = stop.cancelled() => Ok(ExitCode::from(130)),
    };
    system.stop().await;
    let exit = played?;
    program::finish(telemetry).await;
    Ok(exit)
}

fn unpack(directory: &TempDir) -> anyhow::Result<PathBuf> {
    for (name, text) in FILES {
        std::fs::write(directory.path().join(name), text)?;
    }
    Ok(directory.path().join("support.yaml"))
}

fn config(manifest: &Path, directory: &Path) -> anyhow::Result<Config> {
    Ok(Config {
        orchestration: manifest::load(manifest)?.orchestration,
        manifest: manifest.to_owned(),
        data: directory.join("data"),
        workers: 1,
        port: None,
        http: None,
        fsync: Fsync::Always,
        echoes: false,
        restarts: true,
    })
}

/// Says which processes there are.
pub(super) fn list_processes(system: &System) {
    output::note("\nprocesses:");
    output::note(&format!("  {:<16} pid {}", "this command", std::process::id()));
    for process in system.processes() {
        let pid = process.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        output::note(&format!("  {:<16} pid {pid}", process.name));
    }
    output::note("");
}

async fn play(system: &System, task: &str, replies: Replies, out: Output) -> anyhow::Result<ExitCode> {
    system.ready().await?;
    list_processes(system);
    let process = connect::process_id("demo")?;
    let client = system.client(process.clone()).await?;
    let workers = client.status().await?.workers;
    for announcement in system.announcements() {
        output::note(&format!("{announcement}\n"));
    }
    let pids: Pids = workers.into_iter().map(|worker| (worker.process, worker.pid)).collect();
    let talk = Talk::new(replies, out, Some(pids), process);
    let handle = client.invoke(&Opening::new("baton demo", task).with_human(), talk.callbacks()).await?;
    let ended = talk.wait(&handle).await?;
    Ok(ended.unwrap_or_else(|| {
        output::note("\nthere are no more replies, so the demo ends here; `baton dev` keeps conversations that wait");
        ExitCode::SUCCESS
    }))
}
