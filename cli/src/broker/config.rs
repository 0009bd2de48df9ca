//! What a private nats-server is asked to be, and the configuration file that says so.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A private nats-server with JetStream on the loopback interface.
#[derive(Debug, Clone)]
pub struct Config {
    /// The nats-server to run.
    pub executable: PathBuf,
    /// Where its configuration, log and store are kept; `None` for a directory that is removed with the server.
    pub directory: Option<PathBuf>,
    /// What it calls itself. Servers of a cluster need different names.
    pub name: String,
    /// The port for clients; `None` for a free one, kept when the server is restarted.
    pub port: Option<u16>,
    /// The port for monitoring over HTTP; `None` for a free one, kept when the server is restarted.
    pub monitor_port: Option<u16>,
    /// When stored messages reach the disk.
    pub fsync: Fsync,
    /// The largest message that is taken.
    pub max_payload_bytes: u32,
    /// Lines of nats-server configuration to append: accounts and permissions, a cluster.
    pub extra: String,
    /// How long a start may take. A large store is read at start: ten million messages took 24 s.
    pub start_at_most: Duration,
    /// Whether it survives a Ctrl-C at the terminal, so that whoever started it can end it after everything else.
    pub survives_interrupt: bool,
}

/// When stored messages reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before they are acknowledged: what was acknowledged survives a power failure.
    Always,
    /// Once in a while: what was acknowledged survives the server, not the machine.
    Every(Duration),
}

impl Config {
    /// The defaults: free ports, a temporary directory, every message synced before it is acknowledged.
    pub fn new(executable: impl Into<PathBuf>) -> Self {
        Self {
            executable: executable.into(),
            directory: None,
            name: "baton".to_owned(),
            port: None,
            monitor_port: None,
            fsync: Fsync::Always,
            max_payload_bytes: 1024 * 1024,
            extra: String::new(),
            start_at_most: Duration::from_secs(60),
            survives_interrupt: true,
        }
    }

    /// The configuration file of a server that keeps its files in `directory`.
    pub(super) fn render(&self, directory: &Path) -> String {
        let sync = match self.fsync {
            Fsync::Always => "always".to_owned(),
            Fsync::Every(time) => format!("\"{}ms\"", time.as_millis().max(1)),
        };
        let mut file = format!(
            "# Written by baton at every start.\n\
             server_name: {name}\n\
             listen: \"127.0.0.1:{port}\"\n\
             http: \"127.0.0.1:{monitor_port}\"\n\
             ports_file_dir: {directory}\n\
             max_payload: {max_payload}\n\
             jetstream {{\n  store_dir: {store}\n  sync_interval: {sync}\n}}\n",
            name = quoted(&self.name),
            port = or_free(self.port),
            monitor_port = or_free(self.monitor_port),
            directory = quoted(&directory.to_string_lossy()),
            max_payload = self.max_payload_bytes,
            store = quoted(&directory.join("store").to_string_lossy()),
        );
        if !self.extra.is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(file, "{}", self.extra.trim_end());
        }
        file
    }
}

/// nats-server takes -1 as "choose a free one".
fn or_free(port: Option<u16>) -> i32 {
    port.map_or(-1, i32::from)
}

/// A string as nats-server's configuration language has it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_says_what_was_asked() {
        let config = Config {
            name: "the \"first\"".to_owned(),
            port: Some(4222),
            fsync: Fsync::Every(Duration::from_secs(2)),
            extra: "cluster { name: three }\n\n".to_owned(),
            ..Config::new("nats-server")
        };
        assert_eq!(
            config.render(Path::new("/tmp/a b")),
            "# Written by baton at every start.\n\
             server_name: \"the \\\"first\\\"\"\n\
             listen: \"127.0.0.1:4222\"\n\
             http: \"127.0.0.1:-1\"\n\
             ports_file_dir: \"/tmp/a b\"\n\
             max_payload: 1048576\n\
             jetstream {\n  store_dir: \"/tmp/a b/store\"\n  sync_interval: \"2000ms\"\n}\n\
             cluster { name: three }\n"
        );
    }

    #[test]
    fn durable_is_the_default() {
        assert!(Config::new("nats-server").render(Path::new("d")).contains("sync_interval: always"));
    }
}
