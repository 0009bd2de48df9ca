//! Manifests from files.

mod followed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use protocol::manifest::{self, Checked, Problem};

pub(crate) use followed::Followed;

/// Every file that was read for a manifest, its own among them: the text, or why there is none.
type Files = BTreeMap<PathBuf, Result<String, String>>;

/// A manifest from a file, or from standard input for `-`; files that it names are read relative to it.
///
/// # Errors
/// That it cannot be read; or, inside, everything that is wrong with it.
pub fn read(path: &Path) -> anyhow::Result<Result<Checked, Vec<Problem>>> {
    read_noting(path, &mut Files::new())
}

/// The same; what was read is added to `files`.
fn read_noting(path: &Path, files: &mut Files) -> anyhow::Result<Result<Checked, Vec<Problem>>> {
    let mut read_file = |path: PathBuf| {
        let read = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        files.insert(path, read.clone());
        read
    };
    let is_stdin = path.as_os_str() == "-";
    let text = if is_stdin {
        std::io::read_to_string(std::io::stdin()).context("standard input cannot be read as text")?
    } else {
        read_file(path.to_owned()).map_err(anyhow::Error::msg).with_context(|| format!("{} cannot be read", path.display()))?
    };
    let name = if is_stdin { "<stdin>".to_owned() } else { path.display().to_string() };
    let directory = path.parent().unwrap_or(Path::new(""));
    Ok(manifest::parse(&text, &name, &mut |file: &str| read_file(directory.join(file))))
}

/// A manifest that must be right: its warnings are said, its problems are the error.
///
/// # Errors
/// Every problem, a line each.
pub fn load(path: &Path) -> anyhow::Result<Checked> {
    valid(path, read(path)?)
}

fn valid(path: &Path, read: Result<Checked, Vec<Problem>>) -> anyhow::Result<Checked> {
    let checked = read.map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{} is not a valid orchestration\n{}", path.display(), lines.join("\n"))
    })?;
    for warning in &checked.warnings {
        tracing::warn!("{warning}");
    }
    Ok(checked)
}
