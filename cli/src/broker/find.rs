//! Which nats-server to run: the one that was named, one on PATH, the cached copy, or a new copy.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::obtain::{self, ObtainError, ROUTES};
use super::report::Report;
use super::tool::{Tool, ToolError};
use super::version::{NotAVersion, PINNED, TooOld, Version};

/// Names the nats-server to run; with it no other is considered.
pub const SERVER_VARIABLE: &str = "BATON_NATS_SERVER";

/// Names the directory in which obtained programs are kept.
pub const CACHE_VARIABLE: &str = "BATON_CACHE_DIR";

const ANSWER_AT_MOST: Duration = Duration::from_secs(10);

/// A nats-server that can be run and is new enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The executable.
    pub path: PathBuf,
    /// What it says it is.
    pub version: Version,
    /// Where it was found.
    pub origin: Origin,
}

/// Where a nats-server was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Named by [`SERVER_VARIABLE`].
    Named,
    /// On PATH.
    Path,
    /// A copy that Baton obtained earlier.
    Cache,
    /// A copy that Baton has just obtained.
    Obtained,
}

/// No nats-server can be run.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The one that was named cannot be used. No other is tried: whoever names one means it.
    #[error("{SERVER_VARIABLE} names {path}, which cannot be used: {source}", path = .path.display())]
    Named {
        /// The path as it was named.
        path: PathBuf,
        /// Why not.
        source: Unusable,
    },
    /// Neither a cache directory nor a home directory is known.
    #[error("there is no place to keep a nats-server: set {CACHE_VARIABLE} to a directory, or {SERVER_VARIABLE} to a nats-server")]
    NoCache,
    /// None was there, and none could be obtained.
    #[error(transparent)]
    Obtain(#[from] ObtainError),
}

/// A file that is not a nats-server Baton can run.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It does not run.
    #[error(transparent)]
    Run(#[from] ToolError),
    /// It runs, but does not say which version it is.
    #[error("asked for its version, it answers {0}")]
    Answer(#[from] NotAVersion),
    /// It is too old.
    #[error(transparent)]
    TooOld(#[from] TooOld),
}

/// Where to look.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// A nats-server that must be used.
    pub named: Option<PathBuf>,
    /// Directories to search, in the form of the PATH variable.
    pub path: OsString,
    /// Where obtained programs are kept.
    pub cache: Option<PathBuf>,
}

impl Places {
    /// The places that the environment names. An empty variable counts as absent.
    pub fn from_env() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let cache = variable(CACHE_VARIABLE)
            .map(PathBuf::from)
            .or_else(|| variable("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("baton")))
            .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache/baton")));
        Self { named: variable(SERVER_VARIABLE).map(PathBuf::from), path: variable("PATH").unwrap_or_default(), cache }
    }

    /// The first nats-server that will do: the named one, one on PATH, the cached copy, or a new copy.
    pub async fn find(&self, report: &dyn Report) -> Result<Found, FindError> {
        if let Some(path) = &self.named {
            let named = Found::check(path, Origin::Named).await;
            return named.map_err(|source| FindError::Named { path: path.clone(), source });
        }
        for path in self.on_path() {
            match Found::check(&path, Origin::Path).await {
                Ok(found) => return Ok(found),
                Err(why) => report.note(&format!("skipping {}: {why}", path.display())),
            }
        }
        let cache = self.cache.as_deref().ok_or(FindError::NoCache)?;
        let cached = obtain::kept_in(cache);
        if let Ok(found) = Found::check(&cached, Origin::Cache).await {
            return Ok(found);
        }
        report.note(&format!("no nats-server that will do is on PATH: obtaining {PINNED}, once, into {}", cache.display()));
        let path = obtain::obtain(&ROUTES, cache, report).await?;
        Ok(Found { path, version: PINNED, origin: Origin::Obtained })
    }

    fn on_path(&self) -> impl Iterator<Item = PathBuf> {
        // A relative entry would name another file for every working directory.
        std::env::split_paths(&self.path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join("nats-server"))
            .filter(|path| path.is_file())
    }
}

/// The first nats-server that will do in the places that the environment names.
pub async fn find(report: &dyn Report) -> Result<Found, FindError> {
    Places::from_env().find(report).await
}

/// Asks a nats-server which version it is, and whether that will do.
pub(super) async fn check(path: &Path) -> Result<Version, Unusable> {
    let answer = Tool::new(path, &[OsStr::new("--version")]).output(ANSWER_AT_MOST).await?;
    let version: Version = answer.parse()?;
    version.suffices()?;
    Ok(version)
}

impl Found {
    async fn check(path: &Path, origin: Origin) -> Result<Self, Unusable> {
        Ok(Self { version: check(path).await?, path: path.to_owned(), origin })
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = match self.origin {
            Origin::Named => "named by BATON_NATS_SERVER",
            Origin::Path => "found on PATH",
            Origin::Cache => "obtained earlier",
            Origin::Obtained => "just obtained",
        };
        write!(f, "nats-server {} ({origin}: {})", self.version, self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl Report for Lines {
        fn doing(&self, line: &str) {
            self.note(line);
        }
        fn note(&self, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }
    }

    /// A program that answers to `--version`, written by another process: a file that this process has open for
    /// writing could not be run.
    fn fake(directory: &Path, file: &str, answer: &str) -> PathBuf {
        let path = directory.join(file);
        let script = format!("#!/bin/sh\necho '{answer}'\n");
        let written = std::process::Command::new("sh")
            .args(["-c", "mkdir -p \"$(dirname \"$0\")\" && printf %s \"$1\" > \"$0\" && chmod +x \"$0\""])
            .args([path.as_os_str(), OsStr::new(&script)])
            .status();
        assert!(written.unwrap().success());
        path
    }

    #[tokio::test]
    async fn a_named_server_is_used_or_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let old = fake(directory.path(), "debian", "nats-server: v2.9.10");
        let new = fake(directory.path(), "new", "nats-server: v2.15.1");
        let named = |path: &Path| Places { named: Some(path.to_owned()), ..Places::default() };
        let report = Lines::default();

        let found = named(&new).find(&report).await.unwrap();
        assert_eq!((found.path.clone(), found.origin), (new.clone(), Origin::Named));
        assert_eq!(found.to_string(), format!("nats-server 2.15.1 (named by BATON_NATS_SERVER: {})", new.display()));

        let refused = named(&old).find(&report).await.unwrap_err().to_string();
        assert!(refused.starts_with(&format!("BATON_NATS_SERVER names {}", old.display())), "{refused}");
        assert!(refused.contains("version 2.9.10 lacks"), "{refused}");

        let absent = named(&directory.path().join("absent")).find(&report).await.unwrap_err().to_string();
        assert!(absent.contains("cannot be run"), "{absent}");
    }

    #[tokio::test]
    async fn path_is_searched_past_what_will_not_do_and_then_the_cache() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fake(&at("old"), "nats-server", "nats-server: v2.9.10");
        fake(&at("shim"), "nats-server", "not installed");
        let new = fake(&at("new"), "nats-server", "nats-server: v2.14.5");
        let cached = fake(&at("cache"), "nats-server-2.15.1", "nats-server: v2.15.1");
        let path = |names: &[&str]| std::env::join_paths(names.iter().map(|name| at(name))).unwrap();

        let report = Lines::default();
        let mut places = Places { path: path(&["none", "old", "shim", "new"]), cache: Some(at("cache")), named: None };
        let found = places.find(&report).await.unwrap();
        assert_eq!((found.path, found.origin), (new, Origin::Path));
        let lines = report.0.lock().unwrap().clone();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("skipping ") && lines[0].contains("version 2.9.10 lacks"), "{}", lines[0]);
        assert!(lines[1].ends_with("asked for its version, it answers \"not installed\" names no version"), "{}", lines[1]);

        places.path = path(&["old"]);
        let found = places.find(&report).await.unwrap();
        assert_eq!((found.path, found.origin), (cached, Origin::Cache));

        places.cache = None;
        assert!(matches!(places.find(&report).await, Err(FindError::NoCache)));
    }
}
