//! Softmax of rows: exponentials divided by their sum.

use crate::kernels::geometry::{INSTANCE_SIZES, row_kernel};
use crate::kernels::native::{each_row, softmax};
use crate::kernels::{Implementation, Io, Kernel, Operand, ParamBlock, UNIT_ROUNDOFF, Work, boxed, params, read, write};

/// `y[r, c] = exp(x[r, c]) / Σ exp(x[r, ·])` over the last axis, with the row's maximum subtracted first.
///
/// `x` and `y` `[rows, cols]`.
#[derive(Clone, Debug)]
pub struct Softmax {
    /// Rows.
    pub rows: usize,
    /// Elements of a row; the results sum to 1.
    pub cols: usize,
}

impl Kernel for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read("x", self.rows * self.cols), write("y", self.rows * self.cols)]
    }

    fn params(&self) -> ParamBlock {
        params! { rows: u32 = self.rows, cols: u32 = self.cols }
    }

    fn implementations(&self) -> Vec<Implementation> {
        row_kernel("softmax", "softmax_software", self.rows, self.cols)
    }

    fn work(&self) -> Work {
        Work::new(5 * self.rows * self.cols, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        each_row(y, self.cols, |row, y| {
            y.copy_from_slice(&inputs[0][row * self.cols..][..self.cols]);
            softmax(y);
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        for (row, x) in io.input(0).chunks_exact(self.cols).enumerate() {
            let largest = x.iter().fold(f64::NEG_INFINITY, |largest, &x| largest.max(f64::from(x)));
            // exp takes 3 + 2|x| units in the last place, and the difference is rounded before: in u, relative to the exponential.
            let roundings = |x: f32| 6.0 + 5.0 * (f64::from(x) - largest).abs();
            let (mut sum, mut error) = (0.0, 0.0);
            for &x in x {
                let term = (f64::from(x) - largest).exp();
                sum += term;
                error += term * (roundings(x) + self.cols as f64);
            }
            for (col, &x) in x.iter().enumerate() {
                let value = (f64::from(x) - largest).exp() / sum;
                // The reciprocal takes 2.5 units in the last place, the product a rounding.
                let relative = roundings(x) + error / sum + 6.0;
                // Exponentials below the normal numbers may become 0.
                io.put(row * self.cols + col, value, relative * UNIT_ROUNDOFF * value + f64::from(f32::MIN_POSITIVE));
            }
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    boxed(INSTANCE_SIZES.map(|(rows, cols)| Softmax { rows, cols }))
}
