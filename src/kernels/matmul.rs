//! Matrix products with bias, residual and activation in the epilogue; or pairwise distances, which differ in one line.

use crate::kernels::geometry::{matrix_tiles, strip_rows, strips, subgroup_strips, tiles};
use crate::kernels::native::{Epilogue, Matrix, PRODUCT_TILE, each_tile, vectorised};
use crate::kernels::{
    Activation, Implementation, Io, Kernel, Operand, ParamBlock, UNIT_ROUNDOFF, Work, boxed, params, read, read_f32, write,
};

/// Term that is summed over the inner axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pairing {
    /// a·b: a matrix product.
    #[default]
    Product,
    /// (a − b)²: squared Euclidean distances of the rows of a and the columns of b, free of the cancellation in |a|² + |b|² − 2ab.
    SquaredDifference,
}

impl Pairing {
    fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Pairing::Product => a * b,
            Pairing::SquaredDifference => (a - b) * (a - b),
        }
    }
}

/// `y[i, j] = activation(Σₖ pair(a[i, k], b[k, j]) + bias[j] + residual[i, j])` for each of a batch.
///
/// `a` `[batch, rows, inner]`, `b` `[batch, inner, cols]`, `bias` `[batch, cols]` in f32, `residual` and `y` `[batch, rows, cols]`.
#[derive(Clone, Debug)]
pub struct Matmul {
    /// Number of products.
    pub batch: usize,
    /// Rows of a and y.
    pub rows: usize,
    /// Columns of b and y.
    pub cols: usize,
    /// Columns of a, rows of b.
    pub inner: usize,
    /// Product or squared difference.
    pub pairing: Pairing,
    /// Whether a bias is added.
    pub has_bias: bool,
    /// Whether a residual is added, before the activation.
    pub has_residual: bool,
    /// Activation, applied after bias and residual.
    pub activation: Activation,
}

impl Kernel for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![
            read("a", self.batch * self.rows * self.inner),
            read("b", self.batch * self.inner * self.cols),
            read_f32("bias", if self.has_bias { self.batch * self.cols } else { 0 }),
            read("residual", if self.has_residual { self.batch * self.rows * self.cols } else { 0 }),
            write("y", self.batch * self.rows * self.cols),
        ]
    }

    fn params(&self) -> ParamBlock {
        params! { rows: u32 = self.rows, cols: u32 = self.cols, inner: u32 = self.inner, batch: u32 = self.batch }
    }

    fn implementations(&self) -> Vec<Implementation> {
        let epilogue = [
            ("ACTIVATION", self.activation.number()),
            ("HAS_BIAS", u32::from(self.has_bias)),
            ("HAS_RESIDUAL", u32::from(self.has_residual)),
        ];
        let pairing = [("PAIRING", self.pairing as u32)];
        let with = |own: &[(&'static str, u32)]| own.iter().copied().chain(pairing).chain(epilogue).collect();
        let mut all = Vec::new();
        let in_fours = self.cols.is_multiple_of(4) && self.inner.is_multiple_of(4);
        if in_fours {
            let (own, launch) = subgroup_strips([self.batch, self.rows, self.cols], false);
            all.push(Implementation::subgroup("matmul_subgroup", with(&own), launch));
            for (of_strip, elem) in strip_rows(self.rows) {
                let (own, launch) = strips(of_strip, [self.batch, self.rows, self.cols], false);
                all.push(Implementation { elem, ..Implementation::software("matmul_software", with(&own), launch) });
            }
        }
        let sizes = [("COLS", self.cols as u32), ("INNER", self.inner as u32)];
        if in_fours && self.pairing == Pairing::Product {
            let (own, launch) = matrix_tiles([self.batch, self.rows, self.cols], self.inner);
            all.push(Implementation::matrix("matmul_matrix", own.into_iter().chain(sizes).chain(epilogue).collect(), launch));
        }
        let (own, launch) = tiles([self.batch, self.rows, self.cols], self.inner);
        if in_fours {
            all.push(Implementation::plain("matmul_fours", with(&[own, sizes].concat()), launch));
        }
        all.push(Implementation::plain("matmul", with(&own), launch));
        all
    }

    fn work(&self) -> Work {
        let per_pair = 2 + usize::from(self.pairing == Pairing::SquaredDifference);
        Work::new(per_pair * self.batch * self.rows * self.cols * self.inner, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        let [a, b, bias, residual] = [0, 1, 2, 3].map(|at| inputs[at]);
        let (of_a, of_b, of_y) = (self.rows * self.inner, self.inner * self.cols, self.rows * self.cols);
        for (matrix, y) in y.chunks_mut(of_y.max(1)).enumerate() {
            let a = &a[matrix * of_a..][..of_a];
            let b = &b[matrix * of_b..][..of_b];
            let epilogue = Epilogue {
                bias: bias.get(matrix * self.cols..).unwrap_or_default(),
                residual: residual.get(matrix * of_y..).unwrap_or_default(),
                cols: self.cols,
                activation: self.activation,
            };
            each_tile(y, self.cols, PRODUCT_TILE, |mut tile| {
                let (rows, cols) = (tile.rows(), tile.cols());
                epilogue.around(&mut tile, |tile| match self.pairing {
                    Pairing::Product => {
                        let a = Matrix::new(&a[rows.start * self.inner..], [rows.len(), self.inner], [self.inner, 1]);
                        tile.add_product(a, Matrix::new(&b[cols.start..], [self.inner, cols.len()], [self.cols, 1]));
                    }
                    Pairing::SquaredDifference => {
                        for row in rows {
                            add_squared_differences(&a[row * self.inner..][..self.inner], &b[cols.start..], self.cols, tile.row(row));
                        }
                    }
                });
            });
        }
    }

    fn reference(&self, io: &mut Io<'_>) {
        let [a, b, bias, residual] = [0, 1, 2, 3].map(|at| io.input(at));
        let mut sums = vec![0.0; self.cols];
        let mut magnitudes = vec![0.0; self.cols];
        for row in 0..self.batch * self.rows {
            let matrix = row / self.rows;
            sums.fill(0.0);
            magnitudes.fill(0.0);
            for k in 0..self.inner {
                let left = f64::from(a[row * self.inner + k]);
                let right = &b[(matrix * self.inner + k) * self.cols..][..self.cols];
                for ((sum, magnitude), &right) in sums.iter_mut().zip(&mut magnitudes).zip(right) {
                    let term = self.pairing.apply(left, f64::from(right));
                    *sum += term;
                    *magnitude += term.abs();
                }
            }
            for col in 0..self.cols {
                let at = row * self.cols + col;
                let extra = [bias.get(matrix * self.cols + col), residual.get(at)].map(|x| x.map_or(0.0, |&x| f64::from(x)));
                let sum = sums[col] + extra[0] + extra[1];
                let magnitude = magnitudes[col] + extra[0].abs() + extra[1].abs();
                // Each squared difference carries two roundings more than a fused product.
                let roundings = self.inner + 3 + 2 * usize::from(self.pairing == Pairing::SquaredDifference);
                let (value, bound) = self.activation.apply(sum, roundings as f64 * UNIT_ROUNDOFF * magnitude);
                io.put(at, value, bound);
            }
        }
    }
}

/// Adds Σₖ (a[k] − b[k, j])² to each sum j; rows of `b` are `step` apart.
fn add_squared_differences(a: &[f32], b: &[f32], step: usize, sums: &mut [f32]) {
    /// As many sums as registers hold.
    const BLOCK: usize = 64;
    for (block, sums) in sums.chunks_mut(BLOCK).enumerate() {
        vectorised(
            #[inline(always)]
            || {
                let mut own = [0.0; BLOCK];
                for (a, b) in a.iter().zip(b[block * BLOCK..].chunks(step)) {
                    for (own, b) in own.iter_mut().zip(&b[..sums.len()]) {
                        *own += (a - b) * (a - b);
                    }
                }
                sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
            },
        );
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    let plain = Matmul {
        batch: 1,
        rows: 1,
        cols: 1,
        inner: 1,
        pairing: Pairing::Product,
        has_bias: false,
        has_residual: false,
        activation: Activation::Identity,
    };
    let sized = |rows, cols, inner| Matmul { rows, cols, inner, ..plain.clone() };
    let mut all = vec![
        sized(1, 1, 1),
        sized(3, 7, 5),
        sized(65, 63, 17),
        sized(17, 132, 36),
        sized(16, 64, 64),
        sized(1, 260, 257),
        sized(2050, 1932, 8),
        sized(2050, 1931, 9),
        sized(1030, 2050, 64),
        sized(1030, 2052, 64),
        sized(70, 66, 261),
        sized(70, 132, 260),
        sized(40, 68, 256),
        Matmul { batch: 3, has_bias: true, has_residual: true, ..sized(7, 12, 8) },
        Matmul { batch: 3, has_bias: true, has_residual: true, ..sized(7, 5, 3) },
        Matmul { batch: 5, has_bias: true, ..sized(70, 132, 260) },
        Matmul { batch: 2, has_bias: true, ..sized(130, 66, 20) },
        Matmul { batch: 2, has_residual: true, ..sized(33, 100, 16) },
        Matmul { pairing: Pairing::SquaredDifference, activation: Activation::Sqrt, ..sized(33, 36, 20) },
        Matmul { pairing: Pairing::SquaredDifference, activation: Activation::Sqrt, ..sized(9, 11, 13) },
    ];
    for activation in Activation::ALL {
        let fused = Matmul { has_bias: true, has_residual: true, activation, ..sized(19, 72, 12) };
        all.push(Matmul { has_residual: false, cols: 7, ..fused.clone() });
        all.push(fused);
    }
    boxed(all)
}
