//! A running `baton dev`, and the other commands beside it.
#![allow(clippy::expect_used, clippy::panic, reason = "used by tests only: a panic is how a test says that it cannot go on")]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;
use tokio::process::Command;

use crate::processes::{Process, baton, command, command_of, output};

/// A running `baton dev`. Dropping it kills it, and its processes end by themselves.
#[derive(Debug)]
pub struct Dev {
    /// The process.
    pub process: Process,
    /// The numbers of its processes, by name, as it listed them.
    pub pids: BTreeMap<String, u32>,
    /// Where its broker is.
    pub nats: String,
    data: String,
}

impl Dev {
    /// Starts an orchestration with the data directory `data`, and waits until it is ready.
    pub async fn start(manifest: &Path, data: &Path) -> Self {
        Self::start_with(manifest, data, |_| {}).await
    }

    /// The same, by a command that `change` has changed.
    pub async fn start_with(manifest: &Path, data: &Path, change: impl FnOnce(&mut Command)) -> Self {
        Self::start_of(&baton().await, manifest, data, change).await
    }

    /// The same, of a program that is `baton` with tools of its own.
    pub async fn start_of(program: &Path, manifest: &Path, data: &Path, change: impl FnOnce(&mut Command)) -> Self {
        let data = data.to_str().expect("a path of UTF-8").to_owned();
        let mut dev = command_of(program, &["dev", manifest.to_str().expect("a path of UTF-8"), "--data", &data]).await;
        change(&mut dev);
        let mut process = Process::start(dev);
        let ready = process.line(" is ready at nats://").await;
        let nats = ready.rsplit(' ').next().expect("an address").to_owned();
        let mut pids = BTreeMap::new();
        // The list ends with an empty line.
        loop {
            let line = process.line("").await;
            let Some((name, pid)) = line.trim().split_once(" pid ") else { break };
            pids.insert(name.trim().to_owned(), pid.parse().expect("a number"));
        }
        Self { process, pids, nats, data }
    }

    /// The number of the process `name`.
    pub fn pid(&self, name: &str) -> u32 {
        *self.pids.get(name).unwrap_or_else(|| panic!("{name} is not among {:?}", self.pids))
    }

    /// Another command, on this system.
    pub async fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments).await;
        command.args(["--data", &self.data]);
        command
    }

    /// Runs another command on this system to its end; what it wrote to standard output, as JSON.
    pub async fn json(&self, arguments: &[&str]) -> Json {
        let output = output(self.command(arguments).await.args(["--output", "json"])).await;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {stdout}"))
    }
}
