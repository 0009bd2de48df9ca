//! One private nats-server process: started, restarted on the same ports and store, ended.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

use super::config::Config;
use super::signal;

mod files;
use files::{Files, Ports};

/// A running (or ended, and restartable) nats-server. Dropping it ends the process.
#[derive(Debug)]
pub struct Server {
    config: Config,
    files: Files,
    child: Child,
    url: String,
    monitor_url: String,
    _temporary: Option<TempDir>,
}

/// A nats-server did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// One of its files could not be prepared.
    #[error("{path} cannot be prepared for nats-server: {source}", path = .path.display())]
    Files {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another nats-server works in the same directory.
    #[error("another nats-server{pid} works in {directory}: end it, or use another directory",
        pid = .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), directory = .directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// Its process, as far as known.
        pid: Option<u32>,
    },
    /// The executable could not be run.
    #[error("{executable} cannot be run: {source}", executable = .executable.display())]
    Spawn {
        /// The executable.
        executable: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A port that it was given is taken.
    #[error("nats-server cannot listen on {address}: the port is taken. End what listens there, or give another port")]
    PortTaken {
        /// Address and port.
        address: String,
    },
    /// It ended by itself.
    #[error("nats-server ended at once ({status}). Its log {log} ends with:\n{said}", log = .log.display())]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The last lines of it.
        said: String,
    },
    /// It did not say on which ports it listens.
    #[error("nats-server was not ready after {after_secs} s and was ended. Its log {log} ends with:\n{said}", log = .log.display())]
    Slow {
        /// The bound, in seconds.
        after_secs: u64,
        /// Its log file.
        log: PathBuf,
        /// The last lines of it.
        said: String,
    },
}

impl Server {
    /// Starts a nats-server and waits until it listens.
    pub async fn start(mut config: Config) -> Result<Self, StartError> {
        let (directory, temporary) = directory(config.directory.take())?;
        let files = Files::new(directory);
        let (child, ports) = launch(&config, &files).await?;
        config.port = Some(ports.client);
        config.monitor_port = Some(ports.monitor);
        Ok(Self {
            url: format!("nats://127.0.0.1:{}", ports.client),
            monitor_url: format!("http://127.0.0.1:{}", ports.monitor),
            config,
            files,
            child,
            _temporary: temporary,
        })
    }

    /// Starts it again on the ports and the store that it had, ending it first if it still runs.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        let ended = self.kill().await;
        ended.map_err(|source| StartError::Files { path: self.files.directory.clone(), source })?;
        (self.child, _) = launch(&self.config, &self.files).await?;
        Ok(())
    }

    /// Where clients connect: `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it can be monitored: `http://127.0.0.1:PORT`.
    pub fn monitor_url(&self) -> &str {
        &self.monitor_url
    }

    /// Where its configuration, log and store are.
    pub fn directory(&self) -> &Path {
        &self.files.directory
    }

    /// The file that it logs to. Restarts append.
    pub fn log(&self) -> &Path {
        &self.files.log
    }

    /// Its process, unless it is known to have ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Resolves when the process ends, at once if it has. It can be dropped and called again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks it to end, and ends it if it still runs after `grace`.
    pub async fn stop(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        if let Some(pid) = self.pid() {
            signal::terminate(pid)?;
        }
        match timeout(grace, self.wait()).await {
            Ok(ended) => ended,
            Err(_) => self.kill().await,
        }
    }

    /// Ends it at once, as a crash would (SIGKILL).
    pub async fn kill(&mut self) -> io::Result<ExitStatus> {
        if self.pid().is_some() {
            self.child.start_kill()?;
        }
        self.wait().await
    }

    /// What its monitoring endpoint answers, e.g. to `/jsz`, whatever the status: `/healthz` explains itself with an error.
    pub async fn monitor(&self, path: &str) -> io::Result<Value> {
        monitor(&self.monitor_url, path).await
    }
}

/// What the monitoring endpoint at `url` answers: see [`Server::monitor`].
pub async fn monitor(url: &str, path: &str) -> io::Result<Value> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await?;
    // In HTTP/1.0 the answer is what comes until the connection is closed.
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(serde_json::from_str(body)?)
}

impl Drop for Server {
    /// Waits for the end, which comes at once after a SIGKILL: a temporary directory can be removed only then.
    fn drop(&mut self) {
        if let Some(pid) = self.pid()
            && self.child.start_kill().is_ok()
        {
            let _ = signal::await_exit(pid);
        }
    }
}

fn directory(given: Option<PathBuf>) -> Result<(PathBuf, Option<TempDir>), StartError> {
    if let Some(given) = given {
        // The server must find it from wherever it runs, and says its paths in its log.
        let path = std::path::absolute(&given).map_err(|source| StartError::Files { path: given, source })?;
        return Ok((path, None));
    }
    let temporary = tempfile::Builder::new().prefix("baton-nats-").tempdir();
    let temporary = temporary.map_err(|source| StartError::Files { path: std::env::temp_dir(), source })?;
    Ok((temporary.path().to_owned(), Some(temporary)))
}

/// Starts a process and waits until it has said on which ports it listens.
async fn launch(config: &Config, files: &Files) -> Result<(Child, Ports), StartError> {
    let failed = |source| StartError::Files { path: files.directory.clone(), source };
    std::fs::create_dir_all(&files.directory).map_err(failed)?;
    let log = alone_in(files)?;
    files.forget_ports().map_err(failed)?;
    std::fs::write(&files.config, config.render(&files.directory)).map_err(failed)?;
    let log_start = log.metadata().map_err(failed)?.len();

    let mut child = spawn(config, files, log)?;
    let said = || files.log_since(log_start);
    tokio::select! {
        ended = child.wait() => Err(match ended {
            Ok(status) => explain(status, files, &said()),
            Err(source) => failed(source),
        }),
        ports = timeout(config.start_at_most, listening(files)) => match ports {
            Ok(ports) => Ok((child, ports)),
            Err(_) => {
                child.kill().await.map_err(failed)?;
                Err(StartError::Slow {
                    after_secs: config.start_at_most.as_secs(),
                    log: files.log.clone(),
                    said: files::last_lines(&said()),
                })
            }
        },
    }
}

/// Opens the log, whose lock is the directory's: the process inherits the open file, so the lock lives exactly as long
/// as the process, even if whoever started it is killed. Two servers would ruin one store.
fn alone_in(files: &Files) -> Result<File, StartError> {
    let failed = |source| StartError::Files { path: files.log.clone(), source };
    let log = File::options().create(true).append(true).open(&files.log).map_err(failed)?;
    match log.try_lock() {
        Ok(()) => Ok(log),
        Err(TryLockError::WouldBlock) => {
            Err(StartError::InUse { directory: files.directory.clone(), pid: files.ports_file().map(|(pid, _)| pid) })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn spawn(config: &Config, files: &Files, log: File) -> Result<Child, StartError> {
    let mut command = Command::new(&config.executable);
    command.arg("--config").arg(&files.config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    if config.survives_interrupt {
        // A terminal interrupts the processes of its foreground group; this one gets a group of its own.
        command.process_group(0);
    }
    command.spawn().map_err(|source| StartError::Spawn { executable: config.executable.clone(), source })
}

/// The ports, once the server has written them down.
async fn listening(files: &Files) -> Ports {
    let mut again = interval(Duration::from_millis(10));
    loop {
        again.tick().await;
        // The file may be there half-written.
        if let Some((_, Some(ports))) = files.ports_file() {
            return ports;
        }
    }
}

fn explain(status: ExitStatus, files: &Files, said: &str) -> StartError {
    match files::taken_address(said) {
        Some(address) => StartError::PortTaken { address },
        None => StartError::Ended { status, log: files.log.clone(), said: files::last_lines(said) },
    }
}
