//! Helpers of the kernels' native forms: parallel rows and tiles, matrix products, vectorised sums and exponentials, in f32 on the CPU.
//!
//! Results do not depend on the number of threads: what each call computes follows from the sizes alone, one task computes each element, and
//! sums have an order of their own. Loops are compiled for several instruction sets, of which [`vectorised`] takes the best at run time.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use crate::kernels::Activation;

/// Elements of a task where each takes a few operations: exactly so many of a chunk, at least so many of rows.
const CHUNK: usize = 16_384;

/// Rows and columns of the tiles of a product: large enough for its full speed, small enough for many cores.
pub(super) const PRODUCT_TILE: [usize; 2] = [128, 256];

/// Sums that run side by side along a row, so that they fit vectors of any width.
const LANES: usize = 16;

/// Runs a loop with the widest vectors of this CPU; what it calls has to be inlined.
#[inline(always)]
pub(super) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// Calls `compute` with the number of each row of `y` and the row, in parallel.
pub(super) fn each_row(y: &mut [f32], cols: usize, compute: impl Fn(usize, &mut [f32]) + Sync) {
    if cols > 0 {
        y.par_chunks_mut(cols)
            .with_min_len((CHUNK / cols).max(1))
            .enumerate()
            .for_each(|(row, y)| compute(row, y));
    }
}

/// Calls `compute` with the place of each chunk of `y` and the chunk, in parallel.
pub(super) fn each_chunk(y: &mut [f32], compute: impl Fn(usize, &mut [f32]) + Sync) {
    y.par_chunks_mut(CHUNK).enumerate().for_each(|(at, y)| compute(at * CHUNK, y));
}

/// Sum of `of(x)`, in an order of its own.
#[inline(always)]
pub(super) fn sum(x: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for (sum, &x) in sums.iter_mut().zip(x) {
            *sum += of(x);
        }
    }
    for (sum, &x) in sums.iter_mut().zip(rest) {
        *sum += of(x);
    }
    sums.iter().sum()
}

/// The larger number, or NaN where x is: `f32::max` would drop it.
#[inline(always)]
pub(super) fn max_or_nan(x: f32, least: f32) -> f32 {
    if x < least { least } else { x }
}

/// The largest element; −∞ of none. Whether NaNs count is not said.
#[inline(always)]
pub(super) fn largest(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut all = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for (own, &x) in all.iter_mut().zip(x) {
            *own = larger(*own, x);
        }
    }
    rest.iter().chain(&all).copied().fold(f32::NEG_INFINITY, larger)
}

/// eˣ within 2 units in the last place, in operations that vectors have: x = n · ln 2 + r with |r| ≤ ln 2 / 2, and Taylor's series of eʳ.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // ln 2 as a number of few bits, whose products with n are exact, and what is missing of it.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Added to a number below 2²², it leaves the nearest whole number in the last bits.
    const ROUNDING: f32 = 12_582_912.0;
    let x = x.clamp(-104.0, 89.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUNDING;
    let n = rounded - ROUNDING;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let series = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let series = 1.0 / 24.0 + r * (1.0 / 120.0 + r * series);
    let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * series)));
    // 2ⁿ in two factors: n may be −150, where the result is subnormal, or 128.
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUNDING.to_bits() as i32);
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    let half = n >> 1;
    series * power(half) * power(n.wrapping_sub(half))
}

/// Replaces numbers by their exponentials after `less` is taken away, and returns the sum of these; for [`vectorised`] loops.
#[inline(always)]
pub(super) fn exponentials(x: &mut [f32], less: f32) -> f32 {
    x.iter_mut().for_each(|x| *x = exp(*x - less));
    sum(x, |x| x)
}

/// Replaces numbers by their softmax.
pub(super) fn softmax(x: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            let scale = 1.0 / exponentials(x, largest(x));
            x.iter_mut().for_each(|x| *x *= scale);
        },
    );
}

/// A matrix that is read: element (r, c) lies at `r · steps[0] + c · steps[1]`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    sizes: [usize; 2],
    steps: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// A matrix of so many rows and columns. Panics where an element would lie outside `data`.
    pub(super) fn new(data: &'a [f32], sizes: [usize; 2], steps: [usize; 2]) -> Matrix<'a> {
        let [down, across] = [0, 1].map(|axis| sizes[axis].saturating_sub(1).saturating_mul(steps[axis]));
        assert!(
            sizes.contains(&0) || down.saturating_add(across) < data.len(),
            "a matrix {sizes:?} by steps {steps:?} of {} elements",
            data.len()
        );
        Matrix { data, sizes, steps }
    }

    /// Rows one after the other.
    pub(super) fn dense(data: &'a [f32], rows: usize, cols: usize) -> Matrix<'a> {
        Matrix::new(data, [rows, cols], [cols, 1])
    }
}

/// A rectangle of a matrix that one task writes; rows and columns are those of the matrix.
pub(super) struct Tile<'a> {
    first: *mut f32,
    rows: Range<usize>,
    cols: Range<usize>,
    /// From one row to the next.
    step: usize,
    data: PhantomData<&'a mut [f32]>,
}

// SAFETY: a tile is the only way to its elements while it lives, as a mutable slice is.
unsafe impl Send for Tile<'_> {}

impl<'a> Tile<'a> {
    /// The first `cols` elements of each row of `step`.
    pub(super) fn new(data: &'a mut [f32], cols: usize, step: usize) -> Tile<'a> {
        assert!(0 < cols && cols <= step && data.len().is_multiple_of(step), "{cols} of {step} columns of {} elements", data.len());
        Tile { first: data.as_mut_ptr(), rows: 0..data.len() / step, cols: 0..cols, step, data: PhantomData }
    }

    pub(super) fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    pub(super) fn cols(&self) -> Range<usize> {
        self.cols.clone()
    }

    /// Pointer to the first element of a row.
    fn start_of(&mut self, row: usize) -> *mut f32 {
        assert!(self.rows.contains(&row), "row {row} of the rows {:?} of a tile", self.rows);
        // SAFETY: the row lies inside the rectangle.
        unsafe { self.first.add((row - self.rows.start) * self.step) }
    }

    /// A row.
    pub(super) fn row(&mut self, row: usize) -> &mut [f32] {
        let (start, cols) = (self.start_of(row), self.cols.len());
        // SAFETY: the row lies inside the rectangle, which is borrowed as long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(start, cols) }
    }

    /// Some of its rows.
    pub(super) fn part(&mut self, rows: Range<usize>) -> Tile<'_> {
        assert!(rows.start < rows.end && rows.end <= self.rows.end, "rows {rows:?} of the rows {:?} of a tile", self.rows);
        Tile { first: self.start_of(rows.start), rows, cols: self.cols(), step: self.step, data: PhantomData }
    }

    pub(super) fn fill(&mut self, value: f32) {
        self.rows().for_each(|row| self.row(row).fill(value));
    }

    /// Sets this to the product of two matrices.
    pub(super) fn multiply(&mut self, a: Matrix<'_>, b: Matrix<'_>) {
        self.gemm(a, b, false);
    }

    /// Adds the product of two matrices.
    pub(super) fn add_product(&mut self, a: Matrix<'_>, b: Matrix<'_>) {
        self.gemm(a, b, true);
    }

    fn gemm(&mut self, a: Matrix<'_>, b: Matrix<'_>, adds: bool) {
        let ([rows, inner], [inner_of_b, cols]) = (a.sizes, b.sizes);
        let is_fitting = rows == self.rows.len() && cols == self.cols.len() && inner == inner_of_b;
        assert!(is_fitting, "{:?} times {:?} for the rows {:?} and columns {:?}", a.sizes, b.sizes, self.rows, self.cols);
        let [a_steps, b_steps] = [a.steps, b.steps].map(|steps| steps.map(|step| step as isize));
        let (first, step) = (self.first, self.step as isize);
        let (a, b) = (a.data.as_ptr(), b.data.as_ptr());
        let none = gemm::Parallelism::None;
        // SAFETY: `Matrix::new` and `Tile` hold that all elements lie in their slices; the tile's are borrowed mutably, so nothing overlaps.
        unsafe {
            gemm::gemm(
                rows, cols, inner, first, 1, step, adds, a, a_steps[1], a_steps[0], b, b_steps[1], b_steps[0], 1.0, 1.0, false, false,
                false, none,
            );
        }
    }
}

/// A matrix whose tiles are handed out, none twice.
struct Shared(*mut f32);

// SAFETY: `each_tile` makes tiles that do not overlap.
unsafe impl Sync for Shared {}

/// Cuts `y`, rows of `cols`, into tiles of at most `rows_of_tile` × `cols_of_tile`, and calls `compute` with each, in parallel.
pub(super) fn each_tile(y: &mut [f32], cols: usize, [rows_of_tile, cols_of_tile]: [usize; 2], compute: impl Fn(Tile<'_>) + Sync) {
    if y.is_empty() {
        return;
    }
    let rows = y.len() / cols;
    let (down, across) = (rows.div_ceil(rows_of_tile), cols.div_ceil(cols_of_tile));
    let shared = &Shared(y.as_mut_ptr());
    // Tiles that follow each other share their columns of b.
    (0..down * across).into_par_iter().with_max_len(1).for_each(|number| {
        let [top, left] = [number % down * rows_of_tile, number / down * cols_of_tile];
        let (rows, cols_of_tile) = (top..(top + rows_of_tile).min(rows), left..(left + cols_of_tile).min(cols));
        // SAFETY: tiles lie in `y`, which this function borrows mutably, and do not overlap.
        let first = unsafe { shared.0.add(top * cols + left) };
        compute(Tile { first, rows, cols: cols_of_tile, step: cols, data: PhantomData });
    });
}

/// Bias and residual that are added to a product, and the activation after it; an absent operand is empty.
pub(super) struct Epilogue<'a> {
    /// Of each column.
    pub(super) bias: &'a [f32],
    /// Of each element.
    pub(super) residual: &'a [f32],
    /// Columns of the whole matrix.
    pub(super) cols: usize,
    pub(super) activation: Activation,
}

impl Epilogue<'_> {
    /// Sets a tile to the activation of bias, residual, and what `add` adds.
    pub(super) fn around(&self, tile: &mut Tile<'_>, add: impl FnOnce(&mut Tile<'_>)) {
        let cols = tile.cols();
        for row in tile.rows() {
            let y = tile.row(row);
            match self.residual {
                [] => y.fill(0.0),
                residual => y.copy_from_slice(&residual[row * self.cols..][cols.clone()]),
            }
            if !self.bias.is_empty() {
                y.iter_mut().zip(&self.bias[cols.clone()]).for_each(|(y, bias)| *y += bias);
            }
        }
        add(tile);
        tile.rows().for_each(|row| self.activation.activate(tile.row(row)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_exact_to_two_units_in_the_last_place() {
        for step in -1_030_000..=880_000 {
            let x = step as f32 * 1e-4;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            let unit = (expected * 2f64.powi(-23)).max(f64::from(f32::from_bits(1)));
            assert!((found - expected).abs() <= 2.0 * unit, "exp({x}) = {found:e}, not {expected:e}");
        }
        assert_eq!([f32::NEG_INFINITY, -200.0, 0.0, 100.0, f32::INFINITY].map(exp), [0.0, 0.0, 1.0, f32::INFINITY, f32::INFINITY]);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn tiles_cover_a_matrix_once() {
        let mut y = vec![0.0; 7 * 11];
        each_tile(&mut y, 11, [3, 4], |mut tile| {
            for row in tile.rows() {
                let cols = tile.cols();
                tile.row(row).iter_mut().zip(cols).for_each(|(y, col)| *y += (row * 11 + col) as f32);
            }
        });
        assert!(y.iter().enumerate().all(|(at, &y)| y == at as f32), "{y:?}");
    }

    #[test]
    fn a_product_reads_by_any_steps_and_writes_only_its_columns() {
        // Rows 1 2 3 and 4 5 6, transposed: [[1, 4], [2, 5], [3, 6]] times [[1], [10]].
        let mut y = vec![9.0; 6];
        Tile::new(&mut y, 1, 2).multiply(Matrix::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 2], [1, 3]), Matrix::dense(&[1.0, 10.0], 2, 1));
        assert_eq!(y, [41.0, 9.0, 52.0, 9.0, 63.0, 9.0]);
    }
}
