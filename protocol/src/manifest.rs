//! The file form of an orchestration (`docs/manifest.md` lists its keys).
//!
//! A text becomes a tree that knows its places (`yaml`), the tree becomes a [`Manifest`] (`de`), and
//! [`Manifest::check`] makes an [`Orchestration`] of it or says everything that is wrong. The pure core reads no files:
//! [`parse`] is given a function for those that a manifest names.

use schemars::generate::SchemaSettings;

use crate::event::Json;
use crate::ids::Revision;
use crate::orchestration::Orchestration;

mod check;
mod de;
mod names;
mod problem;
mod seconds;
mod source;
mod spec;
mod template;
mod yaml;

pub use self::names::kebab;
pub use self::problem::{KeyPath, Place, Problem, Step};
pub use self::seconds::{InvalidDuration, Seconds};
pub use self::source::{parse, parse_script};
pub use self::spec::{
    AgentSpec, Api, ApiVersion, AutonomousSpec, CodeSpec, CodeToolSpec, DeskSpec, FallbackSpec, HandoffSpec, HttpSpec, HttpToolSpec,
    HumanSpec, InDoubtSpec, Kind, LimitsSpec, Manifest, McpSpec, Metadata, Method, ModelSpec, NatsSpec, NatsToolSpec, OpenapiSpec,
    Provider, RemoteSpec, RetentionSpec, ScalingSpec, Spec, TemplateSpec, TemplateToolSpec, ToolsFrom, ToolsetSpec, WorkerSpec,
};
pub use self::yaml::{DEPTH_MAX, FILE_BYTES_MAX};

/// The bytes of a definition, files and all: it is registered as one value, and brokers carry a megabyte.
pub const CANONICAL_BYTES_MAX: usize = 960 << 10;

/// A definition that makes sense.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The definition.
    pub orchestration: Orchestration,
    /// What is allowed, but probably not meant.
    pub warnings: Vec<Problem>,
}

/// Why bytes are no registered definition.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDefinition {
    /// They are not a manifest that this version can read.
    #[error("not a definition that this version reads: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// They are one that makes no sense.
    #[error("not a valid definition: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Problem>),
}

impl Manifest {
    /// The bytes that are registered and whose hash is the revision: JSON without what was left out, names in order. The
    /// keys within JSON Schemas keep the author's order, because models read them in it.
    ///
    /// # Errors
    /// A manifest that cannot be written as JSON, which no checked one is known to be.
    pub fn canonical(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

impl Orchestration {
    /// Reads a registered definition back. Its revision is that of `canonical`.
    ///
    /// # Errors
    /// Bytes of another version, or of something else.
    pub fn from_canonical(canonical: &[u8]) -> Result<Self, InvalidDefinition> {
        let manifest: Manifest = serde_json::from_slice(canonical)?;
        let checked = manifest.check().map_err(InvalidDefinition::Refused)?;
        Ok(Self { revision: Revision::of(canonical), ..checked.orchestration })
    }
}

/// The JSON Schema of manifests, for editors.
pub fn schema() -> Json {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Manifest>().to_value()
}
