//! Layer norm: rows normalised to mean 0 and variance 1, then scaled and shifted by learnt factors.

use crate::kernels::geometry::{INSTANCE_SIZES, row_kernel};
use crate::kernels::native::{each_row, sum, vectorised};
use crate::kernels::{Implementation, Io, Kernel, Operand, ParamBlock, Sum, UNIT_ROUNDOFF, Work, boxed, params, read, read_f32, write};

/// `y = (x − mean) / √(variance + eps) · weight + bias` over the last axis (Ba et al. 2016; biased variance, as PyTorch).
///
/// `x` and `y` `[rows, cols]`, `weight` and `bias` `[cols]` in f32.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub cols: usize,
    /// ε, added to the variance.
    pub eps: f32,
}

impl Kernel for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![
            read("x", self.rows * self.cols),
            read_f32("weight", self.cols),
            read_f32("bias", self.cols),
            write("y", self.rows * self.cols),
        ]
    }

    fn params(&self) -> ParamBlock {
        params! { rows: u32 = self.rows, cols: u32 = self.cols, eps: f32 = self.eps }
    }

    fn implementations(&self) -> Vec<Implementation> {
        row_kernel("layer_norm", "layer_norm_software", self.rows, self.cols)
    }

    fn work(&self) -> Work {
        Work::new(8 * self.rows * self.cols, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        each_row(y, self.cols, |row, y| {
            let x = &inputs[0][row * self.cols..][..self.cols];
            let count = self.cols as f32;
            vectorised(
                #[inline(always)]
                || {
                    let mean = sum(x, |x| x) / count;
                    let variance = sum(x, |x| (x - mean) * (x - mean)) / count;
                    let scale = 1.0 / (variance + self.eps).sqrt();
                    for ((y, x), (weight, bias)) in y.iter_mut().zip(x).zip(inputs[1].iter().zip(inputs[2])) {
                        *y = (x - mean) * scale * weight + bias;
                    }
                },
            );
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        let [x, weight, bias] = [0, 1, 2].map(|at| io.input(at));
        let (u, n) = (UNIT_ROUNDOFF, self.cols as f64);
        for (row, x) in x.chunks_exact(self.cols).enumerate() {
            let mut sum = Sum::default();
            x.iter().for_each(|&x| sum.add(f64::from(x)));
            let mean = sum.value / n;
            // The mean's division takes 2.5 units in the last place.
            let shift = sum.bound() / n + 5.0 * u * mean.abs();

            let deviations = x.iter().map(|&x| f64::from(x) - mean);
            let variance = deviations.clone().map(|d| d * d).sum::<f64>() / n;
            let spread = deviations.clone().map(f64::abs).sum::<f64>() / n;
            // A rounding of each deviation, of each square and of each addition, and the division; then each deviation is off by `shift`.
            let variance_error = (n + 8.0) * u * variance + 2.0 * shift * spread + shift * shift;
            let scale = 1.0 / (variance + f64::from(self.eps)).sqrt();
            // The slope of 1 / √v is −scale³ / 2; the root's reciprocal takes 2 units in the last place.
            let scale_error = 0.5 * scale * scale * variance_error + 5.0 * u;

            for (col, deviation) in deviations.enumerate() {
                let (weight, bias) = (f64::from(weight[col]), f64::from(bias[col]));
                let term = deviation * scale * weight;
                let moved = (shift + u * deviation.abs()) * scale * weight.abs();
                let bound = moved + (scale_error + 3.0 * u) * term.abs() + u * (term.abs() + bias.abs());
                io.put(row * self.cols + col, term + bias, bound);
            }
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    boxed(INSTANCE_SIZES.map(|(rows, cols)| LayerNorm { rows, cols, eps: 1e-5 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variance_is_biased() {
        // Mean 2, variance (1 + 1) / 2 = 1 and not 2; eps 3 makes the divisor √4.
        let layer_norm = LayerNorm { rows: 1, cols: 2, eps: 3.0 };
        let (mut y, mut bounds) = ([0.0; 2], [0.0; 2]);
        layer_norm.reference(&mut Io::new(&[&[1.0, 3.0], &[10.0, 10.0], &[0.0, 1.0]], &mut y, &mut bounds));
        assert_eq!(y, [-5.0, 6.0]);
    }
}
