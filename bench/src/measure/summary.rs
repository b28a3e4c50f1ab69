//! Median and spread of a few rounds.

use serde::{Deserialize, Serialize};

/// Figures of several rounds in three.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// The middle one, or the mean of the two in the middle.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Summary {
    /// Sums up; `None` of nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max })
    }

    /// The same in another unit; `factor` is positive.
    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self {
            median: self.median * factor,
            min: self.min * factor,
            max: self.max * factor,
        }
    }

    /// Sums up the ratios of one round each: what was noisy in a round was so for both.
    pub(crate) fn of_ratios(values: &[f64], references: &[f64]) -> Option<Self> {
        let pairs = values.iter().zip(references);
        Self::of(pairs.filter(|(_, r)| **r > 0.0).map(|(v, r)| v / r))
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;

    #[test]
    fn the_median_ignores_one_bad_round() {
        let summary = Summary::of([12.0, 90.0, 11.0]).unwrap();
        assert_eq!(
            (summary.median, summary.min, summary.max),
            (12.0, 11.0, 90.0)
        );
    }

    #[test]
    fn an_even_count_takes_the_mean_of_the_middle() {
        assert_eq!(Summary::of([1.0, 2.0, 4.0, 9.0]).unwrap().median, 3.0);
    }

    #[test]
    fn nothing_has_no_summary() {
        assert_eq!(Summary::of([]), None);
        assert_eq!(Summary::of_ratios(&[1.0], &[0.0]), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let summary = Summary::of_ratios(&[20.0, 60.0, 24.0], &[10.0, 30.0, 12.0]).unwrap();
        assert_eq!((summary.median, summary.min, summary.max), (2.0, 2.0, 2.0));
    }
}
