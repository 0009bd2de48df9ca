//! What is wrong with a manifest, and where.

use std::fmt;
use std::sync::Arc;

/// One step from a value to a value inside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The value under a key.
    Key(String),
    /// The item at an index, from 0.
    Index(usize),
}

/// The way from the root to a value, shown as in `spec.agents.triage.handoffs[0].to`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyPath(Vec<Step>);

impl KeyPath {
    /// The path of these keys.
    pub fn of<const N: usize>(keys: [&str; N]) -> Self {
        Self(keys.into_iter().map(|key| Step::Key(key.to_owned())).collect())
    }

    /// The path one step further.
    #[must_use]
    pub fn step(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    /// The path to the value under `key`.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// The path to the item at `index`.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// Its steps, from the root.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

impl FromIterator<Step> for KeyPath {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if plain(key) && depth > 0 => write!(f, ".{key}")?,
                Step::Key(key) if plain(key) => f.write_str(key)?,
                Step::Key(key) => write!(f, "[{key:?}]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's name as the caller gave it, or as the manifest names it.
    pub file: Arc<str>,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One thing that is wrong with a manifest, or worth a warning. Reads like
/// `support.yaml:12:15: spec.agents.triage.handoffs[0].to: there is no agent "refnd"; did you mean "refund"?`
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// Where it stands, when the manifest was read from a text.
    pub place: Option<Place>,
    /// What it is about; empty for the text as a whole.
    pub path: KeyPath,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.path.steps().is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// More than anyone corrects in one go.
pub(crate) const PROBLEMS_MAX: usize = 50;

/// What a check has found so far, up to [`PROBLEMS_MAX`] errors.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) errors: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
}

impl Findings {
    pub(crate) fn error(&mut self, path: &KeyPath, message: impl Into<String>) {
        if self.errors.len() == PROBLEMS_MAX {
            return;
        }
        self.errors.push(Problem { place: None, path: path.clone(), message: message.into() });
    }

    pub(crate) fn warn(&mut self, path: &KeyPath, message: impl Into<String>) {
        self.warnings.push(Problem { place: None, path: path.clone(), message: message.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_it_is_written() {
        let path = KeyPath::of(["spec", "agents", "triage", "handoffs"]).index(0).key("to");
        assert_eq!(path.to_string(), "spec.agents.triage.handoffs[0].to");
        assert_eq!(KeyPath::of(["spec", "agents", "Refund Agent"]).key("a.b").to_string(), r#"spec.agents["Refund Agent"]["a.b"]"#);
        assert_eq!(KeyPath::default().index(2).key("say").to_string(), "[2].say");
    }
}
