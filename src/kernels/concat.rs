//! Concatenation of two matrices along the last axis.

use crate::kernels::geometry::slices;
use crate::kernels::native::each_row;
use crate::kernels::{Implementation, Io, Kernel, Operand, ParamBlock, Work, boxed, params, read, write};

/// `y[r, ·] = a[r, ·]` followed by `b[r, ·]`.
///
/// `a` `[rows, left]`, `b` `[rows, right]`, `y` `[rows, left + right]`. With one row it joins along a leading axis.
#[derive(Clone, Debug)]
pub struct Concat {
    /// Rows.
    pub rows: usize,
    /// Columns of a.
    pub left: usize,
    /// Columns of b.
    pub right: usize,
}

impl Kernel for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read("a", self.rows * self.left), read("b", self.rows * self.right), write("y", self.rows * (self.left + self.right))]
    }

    fn params(&self) -> ParamBlock {
        params! { rows: u32 = self.rows, left: u32 = self.left, right: u32 = self.right }
    }

    fn implementations(&self) -> Vec<Implementation> {
        // 4 divides both widths exactly when it divides their bitwise or.
        let (vec, launch) = slices(self.output_len(), self.left | self.right);
        vec![Implementation::plain("concat", vec![("VEC", vec)], launch)]
    }

    fn work(&self) -> Work {
        Work::new(0, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        each_row(y, self.left + self.right, |row, y| {
            let (left, right) = y.split_at_mut(self.left);
            left.copy_from_slice(&inputs[0][row * self.left..][..self.left]);
            right.copy_from_slice(&inputs[1][row * self.right..][..self.right]);
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        let (a, b) = (io.input(0), io.input(1));
        for at in 0..self.output_len() {
            let (row, col) = (at / (self.left + self.right), at % (self.left + self.right));
            let value = if col < self.left { a[row * self.left + col] } else { b[row * self.right + col - self.left] };
            io.put(at, f64::from(value), 0.0);
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    boxed(
        [(1, 1, 1), (3, 2, 5), (7, 4, 12), (65, 1280, 3), (2, 257, 64), (1, 768, 196 * 768), (65_537, 1, 2)]
            .map(|(rows, left, right)| Concat { rows, left, right }),
    )
}
