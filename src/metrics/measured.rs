//! Values with their error bounds, and sums that do not lose small terms.

use serde::Serialize;

/// Why a metric has no value.
pub(super) const NO_POSITIVES: &str = "nothing anomalous was scored";
pub(super) const NO_NEGATIVES: &str = "nothing normal was scored";

/// A metric: the true value is within `error` of `value`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The value, as a fraction; `None` where the metric is not defined.
    pub value: Option<f64>,
    /// How far the true value may be from it, rounding in f64 aside; 0 where it was computed exactly.
    pub error: f64,
    /// Why there is no value.
    pub reason: Option<&'static str>,
}

impl Measured {
    /// A value without error.
    pub fn exact(value: f64) -> Measured {
        Measured::within(value, value)
    }

    /// The middle of a bracket that holds the true value.
    pub fn within(low: f64, high: f64) -> Measured {
        // Rounding may exchange ends that are equal.
        Measured { value: Some((low + high) / 2.0), error: ((high - low) / 2.0).max(0.0), reason: None }
    }

    /// No value, for a reason.
    pub fn undefined(reason: &'static str) -> Measured {
        Measured { value: None, error: 0.0, reason: Some(reason) }
    }
}

/// A running sum in f64 whose rounding error does not grow with the number of terms (Neumaier 1974).
#[derive(Clone, Copy, Default)]
pub(super) struct Sum {
    total: f64,
    lost: f64,
}

impl Sum {
    pub fn add(&mut self, term: f64) {
        let total = self.total + term;
        self.lost += if self.total.abs() >= term.abs() { (self.total - total) + term } else { (term - total) + self.total };
        self.total = total;
    }

    pub fn value(self) -> f64 {
        self.total + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_keeps_what_f64_would_drop() {
        let mut sum = Sum::default();
        for term in [1.0, 1e100, 1.0, -1e100] {
            sum.add(term);
        }
        assert_eq!(sum.value(), 2.0);
    }

    #[test]
    fn a_bracket_gives_its_middle_and_half_its_width() {
        assert_eq!(Measured::within(0.25, 0.75), Measured { value: Some(0.5), error: 0.25, reason: None });
        assert_eq!(Measured::exact(0.3).error, 0.0);
    }
}
