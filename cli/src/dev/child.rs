//! One supervised process: started, restarted with a growing pause when it dies, stopped in order.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::fs::OpenOptions;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::broker::signal;
use crate::dev::table::Place;
use crate::output;

/// How long a process may take to end.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// The shortest and the longest pause before a restart.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A process that lived this long died of something new.
const LIVED: Duration = Duration::from_secs(10);

/// How a process is started.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its name for people.
    pub name: String,
    /// The program.
    pub executable: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables that it gets on top of this process's own.
    pub environment: Vec<(&'static str, &'static str)>,
    /// Where its output is kept.
    pub log: PathBuf,
    /// Whether its output is shown too.
    pub echoes: bool,
    /// Whether it is started again when it dies.
    pub restarts: bool,
}

/// Runs a process until `stop`, then lets it drain for `grace` before it is killed.
pub async fn supervise(spec: Spec, place: Place, stop: CancellationToken, grace: Duration) {
    let mut pause = PAUSE.0;
    loop {
        let born = Instant::now();
        match start(&spec) {
            Ok(mut child) => {
                place.runs_as(child.id());
                // Held open for as long as the process runs: waiting for it would close it.
                let _tie = child.stdin.take();
                tokio::spawn(keep_output(spec.clone(), child.stdout.take(), child.stderr.take()));
                tokio::select! {
                    status = child.wait() => say_how(&spec.name, spec.restarts, status),
                    () = stop.cancelled() => {
                        end(&mut child, grace).await;
                        place.runs_as(None);
                        return;
                    }
                }
            }
            Err(error) => output::note(&format!("{} cannot be started: {error}", spec.name)),
        }
        place.runs_as(None);
        if !spec.restarts {
            return;
        }
        if born.elapsed() >= LIVED {
            pause = PAUSE.0;
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = (pause * 2).min(PAUSE.1);
        place.restarted();
    }
}

fn start(spec: &Spec) -> std::io::Result<Child> {
    // Its own process group: Ctrl-C reaches the supervisor alone, which stops everything in order. Its standard input is
    // a pipe from here: should the supervisor itself be killed, the process sees it close and ends too.
    let mut command = Command::new(&spec.executable);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_for_others(name)) {
        command.env_remove(name);
    }
    command
        .args(&spec.arguments)
        .envs(spec.environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Variables that say where another broker is, or what one program alone may have: an address to listen at, above all.
fn is_for_others(variable: &OsStr) -> bool {
    let name = variable.to_string_lossy();
    name.starts_with("NATS_") || ["BATON_HEALTH", "BATON_PROCESS", "BATON_REPLICAS"].contains(&&*name)
}

async fn end(child: &mut Child, grace: Duration) {
    if let Some(pid) = child.id()
        && signal::terminate(pid).is_ok()
        && timeout(grace, child.wait()).await.is_ok()
    {
        return;
    }
    // It did not go by itself, or it is gone already; either way this ends it.
    let _ = child.kill().await;
}

/// Says how a process ended, and what is done about it.
pub(crate) fn say_how(name: &str, restarts: bool, status: std::io::Result<ExitStatus>) {
    let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    let next = if restarts { "starting it again" } else { "it stays down" };
    output::note(&format!("{name} ended ({how}); {next}"));
}

/// Keeps what the process writes, line by line, until it closes both.
async fn keep_output(spec: Spec, stdout: Option<tokio::process::ChildStdout>, stderr: Option<tokio::process::ChildStderr>) {
    let Ok(mut file) = OpenOptions::new().create(true).append(true).open(&spec.log).await else { return };
    let mut out = stdout.map(|stdout| BufReader::new(stdout).lines());
    let mut err = stderr.map(|stderr| BufReader::new(stderr).lines());
    loop {
        let line = tokio::select! {
            line = next(&mut out), if out.is_some() => line,
            line = next(&mut err), if err.is_some() => line,
            else => return,
        };
        let Some(line) = line else { continue };
        if spec.echoes {
            output::note(&format!("{:<16} | {line}", spec.name));
        }
        // A full disk must not stop the process that writes here.
        let _ = file.write_all(format!("{line}\n").as_bytes()).await;
    }
}

/// The next line; forgets a reader that has nothing more.
async fn next<R: tokio::io::AsyncRead + Unpin>(lines: &mut Option<tokio::io::Lines<BufReader<R>>>) -> Option<String> {
    let line = match lines {
        Some(lines) => lines.next_line().await.ok().flatten(),
        None => None,
    };
    if line.is_none() {
        *lines = None;
    }
    line
}
