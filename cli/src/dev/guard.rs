//! Ends the broker when `baton dev` is killed and can end nothing itself. The programs notice by their standard input, but
//! nats-server reads none: a small process of its own is told who runs, and acts once it is told nothing any more.

use std::io;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::broker::signal;
use crate::dev::child::GRACE;
use crate::dev::table::{BROKER, Process};

/// Between two looks at whether the programs are gone.
const LOOK: Duration = Duration::from_millis(50);

/// Who runs, by their numbers.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    broker: Option<u32>,
    programs: Vec<u32>,
}

impl From<&[Process]> for Known {
    fn from(processes: &[Process]) -> Self {
        let (brokers, programs): (Vec<&Process>, Vec<&Process>) = processes.iter().partition(|process| process.name == BROKER);
        let pids = |processes: Vec<&Process>| processes.into_iter().filter_map(|process| process.pid).collect::<Vec<_>>();
        Self { broker: pids(brokers).first().copied(), programs: pids(programs) }
    }
}

/// Starts the guard.
pub(crate) fn start(executable: &Path) -> io::Result<tokio::process::Child> {
    Command::new(executable).arg("guard").stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).kill_on_drop(true).spawn()
}

/// Tells the guard who runs until `stop`, and lets it go.
pub(crate) async fn tell(mut guard: tokio::process::Child, mut processes: watch::Receiver<Vec<Process>>, stop: CancellationToken) {
    let Some(mut stdin) = guard.stdin.take() else { return };
    loop {
        let known = Known::from(processes.borrow_and_update().as_slice());
        if write(&mut stdin, &known).await.is_err() {
            return tracing::warn!("the guard is gone: were this process killed now, nats-server would stay");
        }
        // What was true at the end has been told, too.
        if stop.is_cancelled() {
            break;
        }
        tokio::select! {
            _ = processes.changed() => {}
            () = stop.cancelled() => {}
        }
    }
    // With nothing left to end, it ends itself.
    drop(stdin);
    let _ = guard.wait().await;
}

async fn write(stdin: &mut ChildStdin, known: &Known) -> io::Result<()> {
    stdin.write_all(format!("{}\n", serde_json::to_string(known)?).as_bytes()).await?;
    stdin.flush().await
}

/// The guard itself: listens until whoever tells it is gone, lets the programs drain, and ends the broker they needed for that.
pub(crate) async fn command() -> anyhow::Result<ExitCode> {
    let mut known = Known::default();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        known = serde_json::from_str(&line)?;
    }
    let programs_end = async {
        let mut looks = interval(LOOK);
        while known.programs.iter().any(|pid| is_there(*pid)) {
            looks.tick().await;
        }
    };
    // Whoever is not done by then drains without a broker.
    let _ = timeout(GRACE, programs_end).await;
    if let Some(broker) = known.broker {
        // It may be gone, too.
        let _ = signal::terminate(broker);
    }
    Ok(ExitCode::SUCCESS)
}

fn is_there(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid).is_ok())
}
