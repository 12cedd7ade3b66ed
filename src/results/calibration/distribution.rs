//! Distribution of a number over the good photos: its statistics, and what the threshold on it can promise.

use serde::{Deserialize, Serialize};

use super::confidence::bound;
use super::rule::Rule;
use crate::error::{Code, Error, Result};

/// Values that are kept one by one.
const MAX_KEPT: usize = 1000;

/// Values from which on quartiles say which are far out.
const ENOUGH_FOR_QUARTILES: usize = 5;

/// Largest relative difference of a statistic from the one that the values give, on any machine.
const TOLERANCE: f64 = 1e-9;

/// A number over the good photos: the image scores, or the maxima of the maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// How many lie below the threshold.
    pub below: usize,
    /// With 95 % confidence at most this share of good parts reaches the threshold.
    pub bound: f64,
    /// Smallest.
    pub min: f32,
    /// Median; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// Largest.
    pub max: f32,
    /// Mean.
    pub mean: f64,
    /// Standard deviation, with n − 1; missing for a single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_deviation: Option<f64>,
    /// Third quartile plus three times the distance of the quartiles: what lies above is far out (Tukey 1977); missing for fewer than five.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub far_out: Option<f64>,
    /// All of them in ascending order; missing where they are more than 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<f32>>,
}

impl Distribution {
    /// The distribution of these values, and the threshold on it.
    ///
    /// Errors with [`Code::Calibration`]: no value, one that is not finite, a single one for a rule that needs their deviation.
    pub(super) fn of(mut values: Vec<f32>, rule: Rule) -> Result<(f32, Distribution)> {
        let refused = |message: &str| Err(Error::new(Code::Calibration, message));
        values.sort_by(f32::total_cmp);
        let count = values.len();
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else {
            return refused("there is no good photo to calibrate on");
        };
        // In the total order NaN and infinity are at the ends.
        if !(min.is_finite() && max.is_finite()) {
            return refused("the scores of good photos hold NaN or infinity");
        }
        if count == 1 && matches!(rule, Rule::Sigma(_)) {
            return refused("a standard deviation needs two good photos, and there is one");
        }
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum();
        let standard_deviation = (count > 1).then(|| (squares / (count - 1) as f64).sqrt());
        let threshold = rule.threshold(&values, (mean, standard_deviation.unwrap_or(0.0)));
        if !threshold.is_finite() {
            return refused("the threshold that follows from the scores of good photos is not finite");
        }
        let below = values.partition_point(|&value| value < threshold);
        let [first, median, third] = [1, 2, 3].map(|quarters| quartile(&values, quarters));
        let distribution = Distribution {
            below,
            bound: bound(count, below),
            min,
            median,
            max,
            mean,
            standard_deviation,
            far_out: (count >= ENOUGH_FOR_QUARTILES).then_some(third + 3.0 * (third - first)),
            values: (count <= MAX_KEPT).then_some(values),
        };
        Ok((threshold, distribution))
    }

    /// Whether a value is far above the others.
    pub fn is_far_out(&self, value: f32) -> bool {
        self.far_out.is_some_and(|far_out| f64::from(value) > far_out)
    }

    /// Checks what was read from a file: the threshold that follows from the values, where they were kept; how the numbers contradict each
    /// other, where they do.
    pub(super) fn check(&self, count: usize, rule: Rule) -> std::result::Result<Option<f32>, String> {
        let wrong = |what: &str| Err(format!("{what} of the good photos contradict each other"));
        let Some(values) = &self.values else {
            let is_ordered = f64::from(self.min) <= self.median && self.median <= f64::from(self.max);
            let is_bound = self.below <= count && close(self.bound, bound(count, self.below));
            return if count > MAX_KEPT && is_ordered && is_bound { Ok(None) } else { wrong("statistics") };
        };
        if values.len() != count || !values.is_sorted() {
            return wrong("number and values");
        }
        let (threshold, expected) = Distribution::of(values.clone(), rule).map_err(|error| error.message().to_owned())?;
        let numbers = |one: &Distribution| {
            let optional = [one.standard_deviation, one.far_out].map(|value| value.unwrap_or(-1.0));
            [one.below as f64, one.bound, one.min.into(), one.median, one.max.into(), one.mean, optional[0], optional[1]]
        };
        let are_close = numbers(self).into_iter().zip(numbers(&expected)).all(|(a, b)| close(a, b));
        if are_close { Ok(Some(threshold)) } else { wrong("statistics and values") }
    }
}

/// A quartile of sorted values, interpolated linearly between the two nearest as NumPy's `quantile` does; 2 is the median.
fn quartile(sorted: &[f32], quarters: usize) -> f64 {
    let place = quarters * (sorted.len() - 1);
    let (at, rest) = (place / 4, (place % 4) as f64 / 4.0);
    let [low, high] = [at, (at + 1).min(sorted.len() - 1)].map(|at| f64::from(sorted[at]));
    low + rest * (high - low)
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32], rule: Rule) -> (f32, Distribution) {
        Distribution::of(values.to_vec(), rule).unwrap()
    }

    #[test]
    fn statistics_are_those_of_the_values() {
        let (threshold, found) = of(&[10.0, 1.0, 3.0, 2.0, 4.0], Rule::Max);
        assert_eq!((threshold, found.below, found.min, found.median, found.max, found.mean), (10.0_f32.next_up(), 5, 1.0, 3.0, 10.0, 4.0));
        // √((9 + 4 + 1 + 0 + 36) / 4)
        assert_eq!(found.standard_deviation, Some(12.5_f64.sqrt()));
        // Quartiles 2 and 4: 4 + 3 · (4 − 2) = 10, which 10 does not exceed.
        assert_eq!(found.far_out, Some(10.0));
        assert!(!found.is_far_out(10.0) && found.is_far_out(10.001));
        assert_eq!(found.values.as_deref(), Some(&[1.0, 2.0, 3.0, 4.0, 10.0][..]));
        assert_eq!(of(&[1.0, 2.0], Rule::Max).1.median, 1.5);
        // 0, 1, …, 5: NumPy's quartiles are 1.25 and 3.75.
        assert_eq!(of(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], Rule::Max).1.far_out, Some(3.75 + 3.0 * 2.5));
    }

    #[test]
    fn a_bound_counts_what_lies_below_and_equal_scores_lie_on_one_side() {
        let (_, found) = of(&[1.0, 2.0, 3.0, 4.0], Rule::Quantile(0.5));
        assert_eq!((found.below, found.bound), (2, bound(4, 2)));
        assert_eq!(of(&[1.0, 2.0, 2.0, 4.0], Rule::Quantile(0.5)).1.below, 3);
        assert_eq!(of(&[2.0; 4], Rule::Sigma(3.0)).1.below, 4);
    }

    #[test]
    fn one_photo_has_no_deviation_and_none_no_calibration() {
        assert_eq!(of(&[2.0], Rule::Max).1.standard_deviation, None);
        let refused = |values: &[f32], rule| Distribution::of(values.to_vec(), rule).unwrap_err();
        for (values, rule) in [
            (&[][..], Rule::Max),
            (&[2.0], Rule::Sigma(3.0)),
            (&[1.0, f32::NAN], Rule::Max),
            (&[1.0, f32::INFINITY], Rule::Max),
            (&[1.0, f32::MAX], Rule::Max),
        ] {
            assert_eq!(refused(values, rule).code(), Code::Calibration);
        }
    }

    #[test]
    fn more_than_a_thousand_values_are_summarised_only() {
        let values: Vec<f32> = (0..1001).map(|x| x as f32).collect();
        let (_, found) = of(&values, Rule::default());
        // ⌈0.995 · 1001⌉ = 996 lie at or below the quantile.
        assert_eq!((found.values.is_none(), found.below), (true, 996));
        assert_eq!(found.check(1001, Rule::default()), Ok(None));
        assert!(found.check(1002, Rule::default()).is_err() && found.check(900, Rule::default()).is_err());
        assert!(of(&values[1..], Rule::Max).1.values.is_some());
    }
}
