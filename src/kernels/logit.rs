//! Logit: the inverse of the sigmoid, cut off near 0 and 1.

use crate::kernels::geometry::fours;
use crate::kernels::native::{each_chunk, max_or_nan};
use crate::kernels::{Implementation, Io, Kernel, Operand, ParamBlock, UNIT_ROUNDOFF, Work, boxed, params, read_f32, write_f32};

/// `y[i] = log(max(x, eps) / max(1 − x, eps))` of `x[i]` cut to 0…1, the `inverse_sigmoid` of Deformable DETR (Zhu et al. 2021).
///
/// `x` and `y` in f32, whatever the precision: coordinates.
#[derive(Clone, Debug)]
pub struct Logit {
    /// Least value of x and of 1 − x.
    pub eps: f32,
    /// Number of elements.
    pub len: usize,
}

impl Kernel for Logit {
    fn name(&self) -> &'static str {
        "logit"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read_f32("x", self.len), write_f32("y", self.len)]
    }

    fn params(&self) -> ParamBlock {
        params! { len: u32 = self.len, eps: f32 = self.eps }
    }

    fn implementations(&self) -> Vec<Implementation> {
        vec![Implementation::plain("logit", vec![], fours(self.len))]
    }

    fn work(&self) -> Work {
        Work::new(4 * self.len, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        each_chunk(y, |at, y| {
            for (y, x) in y.iter_mut().zip(&inputs[0][at..]) {
                let x = x.clamp(0.0, 1.0);
                *y = (max_or_nan(x, self.eps) / max_or_nan(1.0 - x, self.eps)).ln();
            }
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        let (u, eps) = (UNIT_ROUNDOFF, f64::from(self.eps));
        for (at, &x) in io.input(0).iter().enumerate() {
            let x = f64::from(x).clamp(0.0, 1.0);
            let ratio = x.max(eps) / (1.0 - x).max(eps);
            let value = ratio.ln();
            // The difference and the quotient (2.5 units in the last place) move the ratio by 6 u. WGSL grants `log` 2⁻²¹ between ½ and 2,
            // else 3 units in the last place.
            let log = if (0.4..2.5).contains(&ratio) { 2f64.powi(-21) } else { 0.0 };
            io.put(at, value, 7.0 * u + log.max(6.0 * u * value.abs()));
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    boxed([(1, 1e-3), (70, 1e-3), (257, 1e-5)].map(|(len, eps)| Logit { len, eps }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_half_is_zero_and_the_ends_are_cut_off() {
        let (mut y, mut bounds) = ([0.0; 3], [0.0; 3]);
        Logit { eps: 0.25, len: 3 }.reference(&mut Io::new(&[&[0.5, 1.0, -7.0]], &mut y, &mut bounds));
        assert_eq!(y, [0.0, 4f64.ln(), 0.25f64.ln()]);
    }
}
