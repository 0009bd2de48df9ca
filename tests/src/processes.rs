//! Baton's programs as real processes: the binary as cargo builds it, started with what a test gives it, watched line by
//! line, and ended when the value is dropped.
#![allow(clippy::expect_used, clippy::panic, reason = "used by tests only: a panic is how a test says that it cannot go on")]

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use cli::broker::signal;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{OnceCell, mpsc};
use tokio::time::{interval, timeout};

/// How long a test waits for anything that should happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The `baton` binary of this build, made if it is not there: cargo builds another package's binary for nobody. Or the one
/// that BATON_BINARY names: as it was installed, for example.
pub async fn baton() -> PathBuf {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    BUILT.get_or_init(build).await.clone()
}

async fn build() -> PathBuf {
    if let Some(named) = std::env::var_os("BATON_BINARY") {
        return named.into();
    }
    built(&["--bin", "baton"]).await
}

/// A `baton` that is a next version, where BATON_NEXT_BINARY names one; an error says how it is made. Cargo keeps one `baton` only: a second
/// has to be put aside.
pub fn next_baton() -> Result<PathBuf, String> {
    let how = "cargo build -p baton --features next && cp target/debug/baton target/baton-next";
    let named = std::env::var_os("BATON_NEXT_BINARY").map(PathBuf::from);
    named.filter(|path| path.exists()).ok_or_else(|| format!("BATON_NEXT_BINARY names no program: {how}"))
}

/// A program of `examples`, made if it is not there.
pub async fn example(name: &str) -> PathBuf {
    built(&["--example", name]).await
}

/// What cargo makes of a target of the package `baton`.
async fn built(target: &[&str]) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--package", "baton", "--message-format", "json"]).args(target);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.stderr(Stdio::inherit()).output().await.expect("cargo runs");
    assert!(output.status.success(), "{target:?} cannot be built");
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executables = artifacts.filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)));
    executables.reduce(|_, last| last).expect("cargo names the program it built")
}

/// A running `baton`.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
    /// What it has written so far, on either stream.
    seen: Vec<String>,
}

/// `baton` with these arguments, without anything of this process's environment that configures it.
pub async fn command(arguments: &[&str]) -> Command {
    command_of(&baton().await, arguments).await
}

/// The same, of another program that takes them.
pub async fn command_of(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true).env("BATON_NATS_SERVER", crate::nats::executable().await);
    for (name, _) in std::env::vars() {
        let configures = ["NATS_", "OPENAI_", "OTEL_", "BATON_"].iter().any(|prefix| name.starts_with(prefix));
        // A planted bug is asked for by whoever runs the laboratory.
        if configures && !["BATON_NATS_SERVER", "BATON_PLANT"].contains(&name.as_str()) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end, with nothing on its standard input.
pub async fn output(command: &mut Command) -> Output {
    let run = command.stdin(Stdio::null()).output();
    timeout(PATIENCE, run).await.expect("the command ends in time").expect("the command runs")
}

/// What `look` finds, once it finds something: for what can only be looked at.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        let mut again = interval(Duration::from_millis(20));
        loop {
            again.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// Waits until none of these processes runs.
pub async fn all_gone(pids: impl IntoIterator<Item = u32>) {
    for pid in pids {
        eventually(&format!("the end of process {pid}"), async || (!is_running(pid).await).then_some(())).await;
    }
}

/// Whether a process, anybody's, runs. One that has ended and whose parent has not noticed yet does not.
async fn is_running(pid: u32) -> bool {
    let shown = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().await.expect("ps runs");
    let state = String::from_utf8_lossy(&shown.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

impl Process {
    /// Starts a command.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the process starts");
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(pass_on(child.stdout.take().expect("stdout is piped"), sender.clone()));
        tokio::spawn(pass_on(child.stderr.take().expect("stderr is piped"), sender));
        Self { stdin: child.stdin.take(), child, lines, seen: Vec::new() }
    }

    /// Waits for a line that contains `text`; gives the whole line.
    pub async fn line(&mut self, text: &str) -> String {
        self.line_that(&format!("contains {text:?}"), |line| line.contains(text)).await
    }

    /// Waits for a line that is as `what` says; gives the whole line.
    pub async fn line_that(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let found = async {
            while let Some(line) = self.lines.recv().await {
                self.seen.push(line.clone());
                if is_it(&line) {
                    return Some(line);
                }
            }
            None
        };
        let found = timeout(PATIENCE, found).await.ok().flatten();
        found.unwrap_or_else(|| panic!("no line that {what} among:\n{}", self.seen.join("\n")))
    }

    /// Waits for lines that contain these texts, whichever comes first: what is written to standard output and to standard
    /// error has no order between the two.
    pub async fn lines(&mut self, texts: &[&str]) {
        let mut missing = texts.to_vec();
        let found = async {
            while !missing.is_empty() {
                let Some(line) = self.lines.recv().await else { return };
                missing.retain(|text| !line.contains(text));
                self.seen.push(line);
            }
        };
        let in_time = timeout(PATIENCE, found).await;
        assert!(in_time.is_ok() && missing.is_empty(), "no lines with {missing:?} among:\n{}", self.seen.join("\n"));
    }

    /// Types a line.
    pub async fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin.write_all(format!("{line}\n").as_bytes()).await.expect("the process reads its input");
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the process runs")
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        signal::terminate(self.pid()).expect("the process can be signalled");
    }

    /// Interrupts it, as Ctrl-C does.
    pub async fn interrupt(&self) {
        let sent = Command::new("sh").args(["-c", "kill -s INT \"$0\"", &self.pid().to_string()]).status().await;
        assert!(sent.expect("sh runs").success(), "the process can be interrupted");
    }

    /// Kills it on the spot.
    pub fn kill(&self) {
        signal::kill(self.pid()).expect("the process can be killed");
    }

    /// Waits for its end; gives what it has written too.
    pub async fn end(&mut self) -> (ExitStatus, String) {
        let ended = async {
            while let Some(line) = self.lines.recv().await {
                self.seen.push(line);
            }
            self.child.wait().await.expect("the process can be awaited")
        };
        let status = timeout(PATIENCE, ended).await;
        let seen = self.seen.join("\n");
        (status.unwrap_or_else(|_| panic!("the process did not end:\n{seen}")), seen)
    }
}

async fn pass_on(stream: impl AsyncRead + Unpin, lines: mpsc::UnboundedSender<String>) {
    let mut reader = BufReader::new(stream).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        if lines.send(line).is_err() {
            return;
        }
    }
}
