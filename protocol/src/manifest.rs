//! The file form of an orchestration.

use serde::{Deserialize, Serialize};

/// What a manifest holds; see `docs/manifest.md`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {}

impl Manifest {
    /// Stable JSON bytes.
    ///
    /// # Errors
    /// What serde_json reports.
    pub fn canonical(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}
