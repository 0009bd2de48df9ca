//! Which nats-server will do: versions, the floor, and why older ones are refused.

use std::fmt;
use std::str::FromStr;

/// The release that is obtained when none is found.
pub const PINNED: Version = Version::release(2, 15, 1);

/// The oldest release that will do.
pub const FLOOR: Version = Version::release(2, 14, 5);

/// The oldest release of the 2.12 line, which gets the same fixes, that will do.
pub const FLOOR_2_12: Version = Version::release(2, 12, 15);

/// A nats-server version. A pre-release orders before the release that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
    released: bool,
}

/// The text does not name a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no version")]
pub struct NotAVersion(String);

/// A version below the floor, with what it lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("version {version} {lack}; Baton needs {FLOOR} or newer, or {FLOOR_2_12} or newer of the 2.12 line")]
pub struct TooOld {
    /// The refused version.
    pub version: Version,
    lack: &'static str,
}

impl Version {
    const fn release(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch, released: true }
    }

    /// Whether Baton can rely on a server of this version.
    pub fn suffices(self) -> Result<(), TooOld> {
        let kept_line = (self.major, self.minor) == (FLOOR_2_12.major, FLOOR_2_12.minor);
        if self >= FLOOR || (kept_line && self >= FLOOR_2_12) {
            return Ok(());
        }
        let lack = if self < Self::release(2, 11, 0) {
            "lacks publishing on condition of a whole subject tree's tail (Nats-Expected-Last-Subject-Sequence-Subject), \
             which fences conversations, and lifetimes of single messages: both came with 2.11"
        } else if self < Self::release(2, 12, 0) {
            "predates 2.12, the oldest line whose features Baton relies on"
        } else {
            "lacks the fixes of stalling consumers"
        };
        Err(TooOld { version: self, lack })
    }
}

/// Reads `2.15.1`, `v2.14.0-RC.2`, or the answer to `nats-server --version`: `nats-server: v2.15.1`.
impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let parse = || {
            let last = text.split_whitespace().next_back()?;
            let (numbers, released) = match last.split_once(['-', '+']) {
                Some((numbers, _)) => (numbers, false),
                None => (last, true),
            };
            let mut numbers = numbers.strip_prefix('v').unwrap_or(numbers).split('.').map(|number| number.parse().ok());
            let version = Self { major: numbers.next()??, minor: numbers.next()??, patch: numbers.next()??, released };
            numbers.next().is_none().then_some(version)
        };
        parse().ok_or_else(|| NotAVersion(text.trim().to_owned()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.released { "" } else { " (pre-release)" };
        write!(f, "{}.{}.{}{suffix}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn reads_what_servers_answer() {
        assert_eq!(version("nats-server: v2.15.1\n"), PINNED);
        assert_eq!(version("2.15.1"), PINNED);
        assert_eq!(version("v2.14.5-RC.2").to_string(), "2.14.5 (pre-release)");
        for text in ["", "nats-server: v2", "v2.15", "v2.15.x", "v2.15.1.1", "command not found"] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn orders_by_number_and_puts_a_pre_release_before_its_release() {
        assert!(version("2.9.10") < version("2.12.2"));
        assert!(version("2.14.5-RC.1") < FLOOR);
        assert!(version("2.14.4") < version("2.14.5-RC.1"));
    }

    #[test]
    fn the_floor_is_2_14_5_with_2_12_15_on_its_line() {
        for enough in ["2.12.15", "2.12.16", "2.14.5", "2.14.6", "2.15.0-RC.1", "2.15.1", "3.0.0"] {
            assert_eq!(version(enough).suffices(), Ok(()), "{enough}");
        }
        for older in ["1.4.1", "2.9.10", "2.11.20", "2.12.14", "2.12.15-RC.1", "2.13.99", "2.14.4", "2.14.5-RC.1"] {
            assert!(version(older).suffices().is_err(), "{older}");
        }
        assert_eq!(PINNED.suffices(), Ok(()));
    }

    #[test]
    fn a_refusal_names_the_version_what_it_lacks_and_what_is_needed() {
        let refusal = |text| version(text).suffices().unwrap_err().to_string();
        assert!(refusal("2.9.10").starts_with("version 2.9.10 lacks publishing on condition"));
        assert!(refusal("2.11.3").contains("predates 2.12"));
        assert_eq!(
            refusal("2.12.3"),
            "version 2.12.3 lacks the fixes of stalling consumers; Baton needs 2.14.5 or newer, or 2.12.15 or newer of the 2.12 line"
        );
    }
}
