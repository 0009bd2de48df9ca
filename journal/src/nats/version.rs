//! Which nats-server will do.

use crate::ProvisionError;

/// The oldest of the 2.14 line and later that will do, and the oldest of the 2.12 line. Others stall consumers.
const FLOOR: [u64; 3] = [2, 14, 5];
const FLOOR_LTS: [u64; 3] = [2, 12, 15];

/// Whether a server of this version will do.
pub(super) fn check(version: &str) -> Result<(), ProvisionError> {
    let numbers = numbers(version);
    let is_lts = numbers.starts_with(&[2, 12]);
    if numbers.as_slice() >= FLOOR.as_slice() || (is_lts && numbers.as_slice() >= FLOOR_LTS.as_slice()) {
        return Ok(());
    }
    let why = if numbers.as_slice() < [2, 11].as_slice() {
        "it knows neither an expected sequence per subject filter nor keys that expire (Debian and Ubuntu package such a one)"
    } else {
        "its consumers can stall"
    };
    let needed = if is_lts { FLOOR_LTS } else { FLOOR };
    let [major, minor, patch] = needed;
    Err(ProvisionError::TooOld { found: version.to_owned(), needed: format!("{major}.{minor}.{patch}"), why: why.to_owned() })
}

/// `2.14.5-RC.1` is 2, 14, 5.
fn numbers(version: &str) -> Vec<u64> {
    let core = version.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default();
    core.split('.').map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_has_two_lines() {
        for good in ["2.14.5", "2.15.1", "2.15.0-RC.1", "2.12.15", "v2.12.20", "3.0.0"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["2.14.4", "2.13.9", "2.12.14", "2.11.0", "2.9.10", "2", "", "x"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn debian_s_is_refused_by_name() {
        let refused = check("2.9.10").unwrap_err().to_string();
        assert!(refused.contains("nats-server 2.9.10 is too old") && refused.contains("2.14.5") && refused.contains("Debian"), "{refused}");
    }
}
