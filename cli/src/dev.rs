//! `baton dev`: the whole system on one machine, every part in a process of its own, restarted when it dies.

pub mod child;
mod crash;
pub mod demo;
mod follow;
pub(crate) mod guard;
pub mod system;
pub mod table;

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use protocol::event::Audience;
use protocol::ids::OrchestrationName;

use crate::args::{DevArgs, LogArgs};
use crate::dev::system::{Config, System};
use crate::manifest::Followed;
use crate::running::Running;
use crate::{connect, output, ports, program};

/// Takes a data directory for this process alone, for as long as the file is open.
fn alone_in(data: &Path) -> anyhow::Result<File> {
    let shown = data.display();
    std::fs::create_dir_all(data).with_context(|| format!("the data directory {shown} cannot be made: choose another one with --data"))?;
    let path = data.join("dev.lock");
    let lock =
        File::create(&path).with_context(|| format!("{} cannot be written: choose another directory with --data", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{} cannot be locked", path.display())),
        Err(TryLockError::WouldBlock) => {
            let what =
                Running::read(data).map(|running| format!(", with {} at {}", running.orchestration, running.nats)).unwrap_or_default();
            bail!(
                "a `baton dev` runs in {shown} already{what}: talk to it with `baton run --data {shown}`, end it, or choose another directory with --data"
            )
        }
    }
}

pub(crate) async fn command(args: DevArgs, log: &LogArgs) -> anyhow::Result<ExitCode> {
    let telemetry = program::telemetry(log, "dev", None, "dev", "warn")?;
    let (checked, followed) = Followed::open(&args.manifest)?;
    let orchestration = checked.orchestration.name().clone();
    let audiences = checked.orchestration.audiences();
    let stop = program::stop_on_signal(false)?;
    let _lock = alone_in(&args.data)?;
    let data = args.data.join(orchestration.as_str());
    let http = match args.http {
        Some(http) => http,
        None => same_or_free(&args.data.join("http"))?,
    };
    let fsync = crate::broker::Fsync::Always;
    let config = Config {
        orchestration: checked.orchestration,
        manifest: args.manifest,
        data,
        workers: args.workers,
        port: args.port,
        http: Some(http),
        fsync,
        echoes: true,
        restarts: true,
    };
    let mut system = System::start(config).await?;
    let (nats, http, is_synced) = (system.url().to_owned(), format!("http://{http}/"), fsync == crate::broker::Fsync::Always);
    Running { nats, orchestration: orchestration.clone(), http, is_synced }.write(&args.data)?;
    let ready = tokio::select! {
        ready = system.ready() => ready,
        () = stop.cancelled() => Ok(()),
    };
    if ready.is_ok() && !stop.is_cancelled() {
        say_where(&system, &orchestration, &args.data, &audiences);
        let client = system.client(connect::process_id("dev")?).await?;
        stop.run_until_cancelled(follow::follow(&mut system, followed, &client)).await;
    }
    output::note("stopping …");
    system.stop().await;
    // Best effort: a stale note only makes the next command say that nobody answers.
    let _ = std::fs::remove_file(Running::path(&args.data));
    ready?;
    Ok(program::finish(telemetry).await)
}

/// The address that was used the last time, so that links stay good, or a free one.
fn same_or_free(remembered: &Path) -> anyhow::Result<SocketAddr> {
    let last: Option<SocketAddr> = std::fs::read_to_string(remembered).ok().and_then(|text| text.trim().parse().ok());
    let is_free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    let address = match last.filter(is_free) {
        Some(address) => address,
        None => ports::free_address().context("no port is free")?,
    };
    // Best effort: without it the next time has another address.
    let _ = std::fs::write(remembered, address.to_string());
    Ok(address)
}

fn say_where(system: &System, orchestration: &OrchestrationName, data: &Path, audiences: &BTreeSet<Audience>) {
    output::note(&format!("\n{orchestration} is ready at {}", system.url()));
    for process in system.processes() {
        output::note(&format!("  {:<24} pid {}", process.name, process.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string())));
    }
    let data = data.display();
    if let Some(http) = system.http() {
        // Without its slash, so that it can be put before a path as it is.
        output::note(&format!("\nchat in a browser: {}", http.trim_end_matches('/')));
    }
    output::note(&format!("Or in another terminal: baton chat --data {data}"));
    for audience in audiences {
        let option = match audience {
            Audience::Desk(name) => format!("--name {name}"),
            Audience::Role(name) => format!("--role {name}"),
            Audience::Caller => continue,
        };
        output::note(&format!("People who serve {audience}: baton desk --data {data} {option} --by <who>"));
    }
    output::note(&format!("Logs are in {data}/{orchestration}/logs. Ctrl-C stops everything.\n"));
}
