//! Percentiles and medians.

use serde::{Deserialize, Serialize};

/// Percentiles of what was measured, each a value that was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half are at most this.
    pub p50: f64,
    /// Nine of ten are at most this.
    pub p90: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
}

impl Percentiles {
    /// Of nanoseconds, in microseconds; none of nothing.
    pub(super) fn of_ns(mut values_ns: Vec<u64>) -> Option<Self> {
        values_ns.sort_unstable();
        let at = |percent: usize| {
            let index = (values_ns.len() * percent).div_ceil(100).saturating_sub(1);
            values_ns.get(index).map(|ns| *ns as f64 / 1e3)
        };
        Some(Self { p50: at(50)?, p90: at(90)?, p99: at(99)? })
    }
}

/// The middle one, or the mean of the middle two; none of nothing.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get((values.len() - 1) / 2)?;
    Some(lower.midpoint(*upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<u64> = (1..=200).rev().map(|us| us * 1000).collect();
        assert_eq!(Percentiles::of_ns(values), Some(Percentiles { p50: 100.0, p90: 180.0, p99: 198.0 }));
        assert_eq!(Percentiles::of_ns(vec![1500]), Some(Percentiles { p50: 1.5, p90: 1.5, p99: 1.5 }));
        assert_eq!(Percentiles::of_ns(Vec::new()), None);
    }

    #[test]
    fn a_median_is_not_moved_by_one_bad_run() {
        assert_eq!(median([2.0, 900.0, 1.0]), Some(2.0));
        assert_eq!(median([1.0, 2.0]), Some(1.5));
        assert_eq!(median([]), None);
    }
}
