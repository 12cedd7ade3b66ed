//! A sum in f64 with the error bound of the same sum in f32.

use crate::kernels::UNIT_ROUNDOFF;

/// Running Σ terms with Σ |terms| and their number.
///
/// f32 summation of n products in any order, fused or not, is off by at most (n + 1)·u·Σ|terms| to first order (Higham 2002, §3.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Sum of the terms.
    pub value: f64,
    magnitude: f64,
    terms: usize,
}

impl Sum {
    /// Adds a term, itself rounded once in f32.
    pub fn add(&mut self, term: f64) {
        self.value += term;
        self.magnitude += term.abs();
        self.terms += 1;
    }

    /// Scales the sum by a factor that is rounded once.
    pub fn scale(self, factor: f64) -> Sum {
        Sum { value: self.value * factor, magnitude: self.magnitude * factor.abs(), terms: self.terms + 1 }
    }

    /// The error bound of the f32 sum.
    pub fn bound(&self) -> f64 {
        (self.terms + 1) as f64 * UNIT_ROUNDOFF * self.magnitude
    }
}
