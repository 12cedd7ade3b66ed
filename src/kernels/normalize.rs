//! L2 normalisation: rows divided by their Euclidean norm.

use crate::kernels::geometry::{INSTANCE_SIZES, row_kernel};
use crate::kernels::native::{each_row, max_or_nan, sum, vectorised};
use crate::kernels::{Implementation, Io, Kernel, Operand, ParamBlock, UNIT_ROUNDOFF, Work, boxed, params, read, write};

/// `y = x / max(‖x‖₂, eps)` over the last axis, as `torch.nn.functional.normalize`.
///
/// `x` and `y` `[rows, cols]`.
#[derive(Clone, Debug)]
pub struct NormalizeRows {
    /// Vectors.
    pub rows: usize,
    /// Length of a vector.
    pub cols: usize,
    /// Lower bound of the divisor.
    pub eps: f32,
}

impl Kernel for NormalizeRows {
    fn name(&self) -> &'static str {
        "normalize_rows"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read("x", self.rows * self.cols), write("y", self.rows * self.cols)]
    }

    fn params(&self) -> ParamBlock {
        params! { rows: u32 = self.rows, cols: u32 = self.cols, eps: f32 = self.eps }
    }

    fn implementations(&self) -> Vec<Implementation> {
        row_kernel("normalize_rows", "normalize_rows_software", self.rows, self.cols)
    }

    fn work(&self) -> Work {
        Work::new(3 * self.rows * self.cols, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        each_row(y, self.cols, |row, y| {
            let x = &inputs[0][row * self.cols..][..self.cols];
            vectorised(
                #[inline(always)]
                || {
                    let scale = 1.0 / max_or_nan(sum(x, |x| x * x).sqrt(), self.eps);
                    y.iter_mut().zip(x).for_each(|(y, x)| *y = x * scale);
                },
            );
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        for (row, x) in io.input(0).chunks_exact(self.cols).enumerate() {
            let norm = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            // Squares are positive, so their sum is off by (cols + 1) u of itself and the root by half that; the root itself and the
            // reciprocal take up to 3 units in the last place each, the product a rounding.
            let roundings = (self.cols + 1) as f64 / 2.0 + 13.0;
            for (col, &x) in x.iter().enumerate() {
                let value = f64::from(x) / norm.max(f64::from(self.eps));
                io.put(row * self.cols + col, value, roundings * UNIT_ROUNDOFF * value.abs());
            }
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    let mut all: Vec<NormalizeRows> = INSTANCE_SIZES.map(|(rows, cols)| NormalizeRows { rows, cols, eps: 1e-12 }).into();
    // Rows shorter than eps: the divisor is eps.
    all.push(NormalizeRows { rows: 20, cols: 3, eps: 2.0 });
    boxed(all)
}
