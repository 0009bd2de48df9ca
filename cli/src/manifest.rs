//! Manifests from files.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use protocol::manifest::{self, Checked, Problem};

/// A manifest from a file, or from standard input for `-`; files that it names are read relative to it.
///
/// # Errors
/// That it cannot be read; or, inside, everything that is wrong with it.
pub fn read(path: &Path) -> anyhow::Result<Result<Checked, Vec<Problem>>> {
    let is_stdin = path.as_os_str() == "-";
    let mut text = String::new();
    if is_stdin {
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read as text")?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    }
    let name = if is_stdin { "<stdin>".to_owned() } else { path.display().to_string() };
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut read_file = |file: &str| std::fs::read_to_string(directory.join(file)).map_err(|error| error.to_string());
    Ok(manifest::parse(&text, &name, &mut read_file))
}

/// A manifest that must be right: its warnings are said, its problems are the error.
///
/// # Errors
/// Every problem, a line each.
pub fn load(path: &Path) -> anyhow::Result<Checked> {
    let checked = read(path)?.map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{} is not a valid orchestration\n{}", path.display(), lines.join("\n"))
    })?;
    for warning in &checked.warnings {
        tracing::warn!("{warning}");
    }
    Ok(checked)
}
