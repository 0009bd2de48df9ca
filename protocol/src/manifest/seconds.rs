//! Durations as people write them: `30s`, `10m`, `24h`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A whole number of seconds, written with its unit: `500ms`-grained timers do not exist here, because time is counted in
/// the coordinator's ticks of one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub u64);

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// No number, or no unit that is known.
    #[error("{0:?} is not a duration; write a whole number and its unit, ms, s, m, h or d, as in 30s or 10m")]
    Malformed(String),
    /// A number alone.
    #[error("{0} has no unit; write {0}s for seconds, {0}m for minutes or {0}h for hours")]
    NoUnit(String),
    /// Finer than time is counted.
    #[error("{0} is not a whole number of seconds; the shortest duration is 1s")]
    TooFine(String),
    /// More than can be counted.
    #[error("{0} is longer than can be counted")]
    TooLong(String),
}

impl FromStr for Seconds {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        // The refused text is quoted back: cut to a printable length.
        let shown = || text.chars().take(40).collect::<String>();
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(InvalidDuration::Malformed(shown()));
        }
        let number: u64 = number.parse().map_err(|_| InvalidDuration::TooLong(shown()))?;
        let secs_per_unit = match unit {
            "ms" if number.is_multiple_of(1000) => return Ok(Self(number / 1000)),
            "ms" => return Err(InvalidDuration::TooFine(shown())),
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "" => return Err(InvalidDuration::NoUnit(shown())),
            _ => return Err(InvalidDuration::Malformed(shown())),
        };
        number.checked_mul(secs_per_unit).map(Self).ok_or_else(|| InvalidDuration::TooLong(shown()))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Seconds {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A whole number of seconds, written with its unit: 30s, 10m, 24h, 7d.",
            "type": "string",
            "pattern": "^[0-9]+(ms|s|m|h|d)$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_seconds_with_a_unit() {
        for (text, secs) in [("30s", 30), ("10m", 600), ("24h", 86_400), ("7d", 604_800), ("2000ms", 2), ("0s", 0)] {
            assert_eq!(text.parse(), Ok(Seconds(secs)), "{text}");
        }
        for text in ["", "s", "1.5h", "-1s", "10 m", "1h30m", "10M", "é"] {
            assert_eq!(text.parse::<Seconds>(), Err(InvalidDuration::Malformed(text.into())), "{text}");
        }
        assert_eq!("30".parse::<Seconds>(), Err(InvalidDuration::NoUnit("30".into())));
        assert_eq!("500ms".parse::<Seconds>(), Err(InvalidDuration::TooFine("500ms".into())));
        for text in ["99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(text.parse::<Seconds>(), Err(InvalidDuration::TooLong(text.into())), "{text}");
        }
    }
}
