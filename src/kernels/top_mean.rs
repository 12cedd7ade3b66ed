//! Mean of the largest or smallest values of each row: the distance to the k nearest neighbours.

use rayon::prelude::*;

use crate::kernels::geometry::lane_rows;
use crate::kernels::native::sum;
use crate::kernels::{
    Implementation, Io, Kernel, Launch, Operand, ParamBlock, Sum, UNIT_ROUNDOFF, Work, boxed, params, read_f32, write_f32,
};

/// Most passes of the file for software adapters: the range, `ROUNDS` of `shaders/lib/select.wgsl`, the sum.
const PASSES: usize = 10;

/// Which values of a row are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The largest values.
    Largest,
    /// The smallest values.
    Smallest,
}

impl Selection {
    /// Which of two values comes first.
    fn order(self, a: f32, b: f32) -> std::cmp::Ordering {
        match self {
            Selection::Largest => b.total_cmp(&a),
            Selection::Smallest => a.total_cmp(&b),
        }
    }
}

/// `y[r] = mean of the count largest or smallest of x[r, ·]`, exact with ties, without sorting.
///
/// `x` `[rows, cols]` and `y` `[rows]` in f32. `count` is at least 1 and at most `cols`. A row with a NaN gives NaN.
#[derive(Clone, Debug)]
pub struct TopMean {
    /// Largest or smallest.
    pub selection: Selection,
    /// Rows.
    pub rows: usize,
    /// Values to choose from.
    pub cols: usize,
    /// Values that are averaged.
    pub count: usize,
}

impl Kernel for TopMean {
    fn name(&self) -> &'static str {
        "top_mean"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read_f32("x", self.rows * self.cols), write_f32("y", self.rows)]
    }

    fn params(&self) -> ParamBlock {
        params! { rows: u32 = self.rows, cols: u32 = self.cols, count: u32 = self.count }
    }

    fn implementations(&self) -> Vec<Implementation> {
        let selection = ("SELECTION", self.selection as u32);
        let mut all = Vec::new();
        if let Some(launch) = lane_rows(self.rows, self.cols, PASSES) {
            all.push(Implementation::software("top_mean_software", vec![selection], launch));
        }
        // 128 lanes with 16 counts each take 8 KiB of workgroup memory.
        let constants = vec![selection, ("WORKGROUP", if self.cols <= 256 { 64 } else { 128 })];
        all.push(Implementation::plain("top_mean", constants, Launch::groups(self.rows)));
        all
    }

    fn work(&self) -> Work {
        // Comparisons: about 4 rounds of 16 before the cuts separate a few thousand values.
        Work::new(64 * self.rows * self.cols, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        y.par_iter_mut().enumerate().for_each(|(row, y)| {
            let mut x = inputs[0][row * self.cols..][..self.cols].to_vec();
            x.select_nth_unstable_by(self.count - 1, |a, b| self.selection.order(*a, *b));
            let has_nan = x.iter().any(|x| x.is_nan());
            *y = if has_nan { f32::NAN } else { sum(&x[..self.count], |x| x) / self.count as f32 };
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        for (row, x) in io.input(0).chunks_exact(self.cols).enumerate() {
            let mut sorted = x.to_vec();
            sorted.sort_unstable_by(|a, b| self.selection.order(*a, *b));
            if x.iter().any(|x| x.is_nan()) {
                io.put(row, f64::NAN, 0.0);
                continue;
            }
            let mut sum = Sum::default();
            sorted[..self.count].iter().for_each(|&x| sum.add(f64::from(x)));
            let mean = sum.value / self.count as f64;
            // The choice is exact; the sum is one of `count` terms, and the division takes 2.5 units in the last place.
            io.put(row, mean, sum.bound() / self.count as f64 + 5.0 * UNIT_ROUNDOFF * mean.abs());
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    let sizes = [
        (1, 1, 1),
        (1, 3, 2),
        (3, 7, 7),
        (17, 9, 1),
        (65, 1280, 400),
        (2, 257, 33),
        (20, 1601, 1600),
        (3, 10_000, 400),
        (17, 8192, 1),
        (17, 6500, 3),
    ];
    let with = |selection| sizes.map(|(rows, cols, count)| TopMean { selection, rows, cols, count });
    boxed([Selection::Largest, Selection::Smallest].into_iter().flat_map(with))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_at_the_threshold_count_only_as_often_as_needed() {
        let x: &[f32] = &[4.0, 1.0, 4.0, 7.0, 4.0];
        // Of the three 4s the largest three take two, the smallest three also two.
        for (selection, expected) in [(Selection::Largest, 15.0 / 3.0), (Selection::Smallest, 9.0 / 3.0)] {
            let top_mean = TopMean { selection, rows: 1, cols: 5, count: 3 };
            let (mut y, mut bounds) = ([0.0], [0.0]);
            top_mean.reference(&mut Io::new(&[x], &mut y, &mut bounds));
            assert_eq!(y, [expected], "{selection:?}");
        }
    }
}
