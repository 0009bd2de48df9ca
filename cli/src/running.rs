//! What a running `baton dev` writes down for the other commands.

use std::path::{Path, PathBuf};

use anyhow::Context;
use protocol::ids::OrchestrationName;
use serde::{Deserialize, Serialize};

/// Where it is, and what runs there.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    /// The broker's address.
    pub(crate) nats: String,
    /// What runs there.
    pub(crate) orchestration: OrchestrationName,
    /// The gateway's address.
    pub(crate) http: String,
    /// Whether its broker syncs what it acknowledges: no login of it can see that.
    #[serde(default)]
    pub(crate) is_synced: bool,
}

impl Running {
    pub(crate) fn path(data: &Path) -> PathBuf {
        data.join("running.json")
    }

    /// What is written down in a data directory.
    ///
    /// # Errors
    /// That nothing runs there.
    pub(crate) fn read(data: &Path) -> anyhow::Result<Self> {
        let nothing =
            || format!("no `baton dev` runs with the data directory {}: start one, or name the broker with --nats", data.display());
        let text = std::fs::read_to_string(Self::path(data)).with_context(nothing)?;
        serde_json::from_str(&text).with_context(nothing)
    }

    pub(crate) fn write(&self, data: &Path) -> anyhow::Result<()> {
        let path = Self::path(data);
        std::fs::write(&path, serde_json::to_vec_pretty(self)?).with_context(|| format!("{} cannot be written", path.display()))
    }
}
