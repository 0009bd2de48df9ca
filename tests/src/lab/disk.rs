//! A small disk of the broker's own, in memory, that can be filled. It takes the right to mount.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Enough for the journal of a round.
const SIZE: &str = "size=64m";

/// A disk, unmounted when it is dropped.
#[derive(Debug)]
pub struct Disk {
    directory: TempDir,
}

impl Disk {
    /// Mounts one; an error says why it cannot be.
    pub fn mount() -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(directory.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self { directory }),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Takes all the space that is left.
    pub fn fill(&self) -> Result<(), String> {
        let mut ballast = File::create(self.ballast()).map_err(|error| error.to_string())?;
        for block in [1 << 20, 1 << 12, 1] {
            while ballast.write_all(&vec![0; block]).is_ok() {}
        }
        Ok(())
    }

    /// Gives it back.
    pub fn free(&self) {
        // It is there, or nothing was filled.
        let _ = std::fs::remove_file(self.ballast());
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a server that was killed may still be going away.
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}
