//! The files in a nats-server's directory, and how they are read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::tool;

const LAST_LINES: usize = 8;

/// Paths in the directory of one nats-server.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) directory: PathBuf,
    pub(super) config: PathBuf,
    pub(super) log: PathBuf,
}

/// The ports on which a nats-server listens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) client: u16,
    pub(super) monitor: u16,
}

impl Files {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { config: directory.join("nats.conf"), log: directory.join("nats.log"), directory }
    }

    /// Removes what servers that were killed left behind.
    pub(super) fn forget_ports(&self) -> io::Result<()> {
        self.ports_files().map(|(_, path)| path).try_for_each(std::fs::remove_file)
    }

    /// The process that wrote down its ports here, and the ports if the file is complete.
    pub(super) fn ports_file(&self) -> Option<(u32, Option<Ports>)> {
        let (pid, path) = self.ports_files().next()?;
        Some((pid, std::fs::read_to_string(path).ok().and_then(|text| ports(&text))))
    }

    /// Ports files are named after the executable and its process: `nats-server_4711.ports`.
    fn ports_files(&self) -> impl Iterator<Item = (u32, PathBuf)> + use<> {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| {
            let path = entry.path();
            Some((pid_in(&path)?, path))
        })
    }

    /// What was logged after the first `start` bytes.
    pub(super) fn log_since(&self, start: u64) -> String {
        let read = || {
            let mut file = File::open(&self.log)?;
            file.seek(SeekFrom::Start(start))?;
            let mut log = Vec::new();
            file.read_to_end(&mut log)?;
            io::Result::Ok(String::from_utf8_lossy(&log).into_owned())
        };
        read().unwrap_or_else(|error| format!("({}: {error})", self.log.display()))
    }
}

fn pid_in(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?.strip_suffix(".ports")?;
    name.rsplit_once('_')?.1.parse().ok()
}

fn ports(file: &str) -> Option<Ports> {
    #[derive(Deserialize)]
    struct Listening {
        nats: Vec<String>,
        monitoring: Vec<String>,
    }
    let port = |urls: &[String]| urls.first()?.rsplit_once(':')?.1.parse().ok();
    let listening: Listening = serde_json::from_str(file).ok()?;
    Some(Ports { client: port(&listening.nats)?, monitor: port(&listening.monitoring)? })
}

/// The address that a server could not listen on, according to its log.
pub(super) fn taken_address(log: &str) -> Option<String> {
    let (before, _) = log.split_once(": bind: address already in use")?;
    Some(before.rsplit_once("listen tcp ")?.1.to_owned())
}

/// The end of a log, for people.
pub(super) fn last_lines(log: &str) -> String {
    tool::last_lines(log, LAST_LINES, "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_only_from_a_complete_file() {
        let file = r#"{"nats":["nats://127.0.0.1:44301"],"monitoring":["http://127.0.0.1:45451"]}"#;
        assert_eq!(ports(file), Some(Ports { client: 44301, monitor: 45451 }));
        for length in 0..file.len() {
            assert_eq!(ports(&file[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn ports_files_are_known_by_their_process() {
        assert_eq!(pid_in(Path::new("/d/nats-server-2.15.1_4711.ports")), Some(4711));
        assert_eq!(pid_in(Path::new("/d/nats-server.ports")), None);
        assert_eq!(pid_in(Path::new("/d/nats_1.conf")), None);
    }

    #[test]
    fn a_taken_address_is_found_in_every_wording() {
        for log in [
            "[1] [INF] Ready\n[1] [FTL] Error listening on port: 127.0.0.1:4222, \"listen tcp 127.0.0.1:4222: bind: address already in use\"\n",
            "[1] [FTL] Can't start monitoring: can't listen to the monitor port: listen tcp 127.0.0.1:4222: bind: address already in use\n",
        ] {
            assert_eq!(taken_address(log).as_deref(), Some("127.0.0.1:4222"));
        }
        assert_eq!(taken_address("[1] [FTL] unknown field"), None);
    }
}
