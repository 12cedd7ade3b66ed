//! Gathers rows by number.

use crate::kernels::geometry::slices;
use crate::kernels::native::each_row;
use crate::kernels::{Implementation, Io, Kernel, Operand, ParamBlock, Work, boxed, params, read, read_rows, write};

/// `y[r, ·] = x[rows[r], ·]`, as `torch.index_select`; zeros where `rows[r]` is `rows_in`.
///
/// `x` `[rows_in, cols]`, `rows` `[rows_out]` whole numbers up to `rows_in`, repeats allowed, `y` `[rows_out, cols]`.
#[derive(Clone, Debug)]
pub struct Gather {
    /// Rows of x.
    pub rows_in: usize,
    /// Rows of y.
    pub rows_out: usize,
    /// Columns.
    pub cols: usize,
}

impl Kernel for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read("x", self.rows_in * self.cols), read_rows("rows", self.rows_out, self.rows_in + 1), write("y", self.rows_out * self.cols)]
    }

    fn params(&self) -> ParamBlock {
        params! { rows_in: u32 = self.rows_in, rows_out: u32 = self.rows_out, cols: u32 = self.cols }
    }

    fn implementations(&self) -> Vec<Implementation> {
        let (vec, launch) = slices(self.output_len(), self.cols);
        vec![Implementation::plain("gather", vec![("VEC", vec)], launch)]
    }

    fn work(&self) -> Work {
        Work::new(0, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        each_row(y, self.cols, |at, y| {
            let row = inputs[1][at].max(0.0) as usize;
            if row < self.rows_in {
                y.copy_from_slice(&inputs[0][row * self.cols..][..self.cols]);
            } else {
                y.fill(0.0);
            }
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        let (x, rows) = (io.input(0), io.input(1));
        for at in 0..self.output_len() {
            let row = rows[at / self.cols].max(0.0) as usize;
            io.put(at, if row < self.rows_in { f64::from(x[row * self.cols + at % self.cols]) } else { 0.0 }, 0.0);
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    boxed([(1, 1, 1), (5, 9, 3), (226, 70, 32), (3, 2, 257), (9, 65_537, 2)].map(|(rows_in, rows_out, cols)| Gather {
        rows_in,
        rows_out,
        cols,
    }))
}
