//! One process of the deployment: started, hit by signals, started again under a new id, its log recorded.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::watch;
use tokio::time::timeout;

use super::link::Link;
use super::orchestration::PROCESS;
use super::record::Seen;
use super::recorder::Recorder;
use crate::processes::{PATIENCE, command_of};

/// Lines of its log that are shown where it does not become ready.
const LAST_LINES: usize = 20;

/// A process of the deployment.
#[derive(Debug)]
pub struct Member {
    /// Its name; its id in the journal is the name and how often it has been started.
    pub name: String,
    /// Its way to the broker.
    pub link: Link,
    /// What it runs, from its next start on.
    pub program: PathBuf,
    arguments: Vec<String>,
    collector: String,
    recorder: Recorder,
    generation: u32,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    pid: u32,
    is_fault: Arc<AtomicBool>,
    ready: watch::Receiver<bool>,
    ended: watch::Receiver<bool>,
    last: Arc<Mutex<VecDeque<String>>>,
}

impl Member {
    /// A process that has not been started yet.
    pub fn new(name: &str, program: PathBuf, arguments: Vec<String>, link: Link, collector: &str, recorder: Recorder) -> Self {
        Self { name: name.to_owned(), link, program, arguments, collector: collector.to_owned(), recorder, generation: 0, running: None }
    }

    /// Starts it, again if it has ended.
    pub async fn start(&mut self) {
        self.generation += 1;
        let mut command = command_of(&self.program, &self.arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
        command.args(["--nats", &self.link.url(), "--process", &format!("{}-{}", self.name, self.generation)]);
        command.env("NO_COLOR", "1").env(PROCESS, &self.name);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.collector).env("OTEL_BSP_SCHEDULE_DELAY", "200");
        // A laboratory that is ended takes its processes along.
        command.arg("--tied").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the process starts");
        let pid = child.id().expect("it has just been started");
        self.recorder.note(Seen::Started { process: self.name.clone(), pid });
        let (is_ready, ready) = watch::channel(false);
        let (has_ended, ended) = watch::channel(false);
        // Waiting for a child closes its standard input, unless somebody else holds it.
        let stdin = child.stdin.take();
        let streams = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
        let last: Arc<Mutex<VecDeque<String>>> = Arc::default();
        tokio::spawn(record_lines(streams.0, self.name.clone(), self.recorder.clone(), is_ready.clone(), last.clone()));
        tokio::spawn(record_lines(streams.1, self.name.clone(), self.recorder.clone(), is_ready, last.clone()));
        let is_fault = Arc::new(AtomicBool::new(false));
        let (recorder, process, by_us) = (self.recorder.clone(), self.name.clone(), is_fault.clone());
        tokio::spawn(async move {
            let _ = child.wait().await;
            drop(stdin);
            recorder.note(Seen::Gone { process, pid, is_fault: by_us.load(Ordering::Relaxed) });
            has_ended.send_replace(true);
        });
        self.running = Some(Running { pid, is_fault, ready, ended, last });
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&self) {
        let Some(running) = &self.running else { return };
        let (mut ready, mut ended) = (running.ready.clone(), running.ended.clone());
        let is_ready = async {
            tokio::select! {
                ready = ready.wait_for(|ready| *ready) => ready.is_ok(),
                _ = ended.wait_for(|ended| *ended) => false,
            }
        };
        if !timeout(PATIENCE, is_ready).await.unwrap_or(false) {
            let last = running.last.lock().expect("nobody panics while logging").make_contiguous().join("\n");
            panic!("{} is not ready in time, or has ended:\n{last}", self.name);
        }
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !*running.ended.borrow())
    }

    /// Its number; zero where it has never run.
    pub fn pid(&self) -> u32 {
        self.running.as_ref().map_or(0, |running| running.pid)
    }

    /// Kills it on the spot.
    pub async fn kill(&self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Freezes it.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits for its end.
    pub async fn ended(&self) {
        let Some(running) = &self.running else { return };
        let mut ended = running.ended.clone();
        let ended = timeout(PATIENCE, ended.wait_for(|ended| *ended)).await;
        assert!(ended.is_ok_and(|ended| ended.is_ok()), "{} does not end in time", self.name);
    }

    fn signal(&self, signal: Signal) {
        let Some(running) = self.running.as_ref().filter(|_| self.is_running()) else { return };
        if [Signal::KILL, Signal::TERM].contains(&signal) {
            running.is_fault.store(true, Ordering::Relaxed);
        }
        let pid = i32::try_from(running.pid).ok().and_then(Pid::from_raw).expect("the number of a process");
        // It may end at this very moment.
        let _ = kill_process(pid, signal);
    }
}

impl Drop for Member {
    /// Whoever waits for its end goes on to do so.
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

async fn record_lines(
    stream: impl AsyncRead + Unpin,
    process: String,
    recorder: Recorder,
    ready: watch::Sender<bool>,
    last: Arc<Mutex<VecDeque<String>>>,
) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.contains("ready, as ") {
            ready.send_replace(true);
        }
        let mut kept = last.lock().expect("nobody panics while logging");
        kept.push_back(line.clone());
        if kept.len() > LAST_LINES {
            kept.pop_front();
        }
        drop(kept);
        recorder.note(Seen::Logged { process: process.clone(), line });
    }
}
