//! Multi-scale deformable attention: weighted means of values sampled at a few points of an image pyramid.

use crate::kernels::geometry::{ELEMENT_LANES, SOFTWARE_LANES};
use crate::kernels::native::{each_row, exp, largest};
use crate::kernels::{
    Grid, Implementation, Io, Kernel, Launch, Operand, ParamBlock, UNIT_ROUNDOFF, Work, boxed, params, read, read_f32, write,
};

/// Most levels of a pyramid.
pub const MAX_LEVELS: usize = 5;

/// `y[i, h] = Σₛ softmaxₛ(weights[i, h, s]) · value(level of s, reference i + offset[i, h, s])[h]`, values between cells being bilinear and zero
/// outside (Zhu et al. 2021, equation 3).
///
/// `value` `[sequences · cells, heads · head_dim]` holds the levels one after the other, each row by row. `offsets` `[sequences · queries,
/// heads, levels, points, 2]` (column, row) and `weights` `[sequences · queries, heads, levels, points]` are f32, as are `references`:
/// points `[queries, 2]`, the same for all sequences, to which offsets are added in cells of the level, or boxes `[sequences · queries, 4]`
/// (middle, width, height), to which offsets are added in shares of half their size divided by the points. Both are shares of the image.
/// `y` is `[sequences · queries, heads · head_dim]`.
#[derive(Clone, Debug)]
pub struct DeformableAttention {
    /// Images, or captions of one.
    pub sequences: usize,
    /// Queries of a sequence.
    pub queries: usize,
    /// Sizes of the levels.
    pub levels: Vec<Grid>,
    /// Heads.
    pub heads: usize,
    /// Elements of a head, a multiple of 4.
    pub head_dim: usize,
    /// Points on a level.
    pub points: usize,
    /// Whether references are boxes.
    pub has_boxes: bool,
}

impl DeformableAttention {
    fn cells(&self) -> usize {
        self.levels.iter().map(|level| level.cells()).sum()
    }

    /// Samples of a head.
    fn samples(&self) -> usize {
        self.levels.len() * self.points
    }

    /// The reference of a query: a point, or a box.
    fn reference_of<'r>(&self, references: &'r [f32], row: usize) -> &'r [f32] {
        if self.has_boxes { &references[4 * row..][..4] } else { &references[2 * (row % self.queries)..][..2] }
    }

    /// Place of a sample along an axis of a level of so many cells, counted from the middle of the first.
    fn place(&self, reference: &[f32], offset: f32, axis: usize, size: usize) -> f32 {
        let size = size as f32;
        let moved = if self.has_boxes { offset / self.points as f32 * reference[2 + axis] * 0.5 * size } else { offset };
        reference[axis] * size + moved - 0.5
    }

    fn dim(&self) -> usize {
        self.heads * self.head_dim
    }
}

impl Kernel for DeformableAttention {
    fn name(&self) -> &'static str {
        "deformable_attention"
    }

    fn operands(&self) -> Vec<Operand> {
        let (rows, samples) = (self.sequences * self.queries, self.heads * self.samples());
        vec![
            read("value", self.sequences * self.cells() * self.dim()),
            read_f32("offsets", rows * samples * 2),
            read_f32("weights", rows * samples),
            read_f32("references", if self.has_boxes { 4 * rows } else { 2 * self.queries }),
            write("y", rows * self.dim()),
        ]
    }

    fn params(&self) -> ParamBlock {
        let size = |level: usize| self.levels.get(level).copied().unwrap_or(Grid { rows: 0, cols: 0 });
        params! {
            sequences: u32 = self.sequences, queries: u32 = self.queries, cells: u32 = self.cells(),
            rows0: u32 = size(0).rows, cols0: u32 = size(0).cols, rows1: u32 = size(1).rows, cols1: u32 = size(1).cols,
            rows2: u32 = size(2).rows, cols2: u32 = size(2).cols, rows3: u32 = size(3).rows, cols3: u32 = size(3).cols,
            rows4: u32 = size(4).rows, cols4: u32 = size(4).cols,
        }
    }

    fn implementations(&self) -> Vec<Implementation> {
        let lanes = self.sequences * self.queries * self.dim() / 4;
        let constants = |workgroup: usize| {
            [
                ("HEADS", self.heads),
                ("HEAD_DIM", self.head_dim),
                ("LEVELS", self.levels.len()),
                ("POINTS", self.points),
                ("HAS_BOXES", usize::from(self.has_boxes)),
                ("WORKGROUP", workgroup),
            ]
            .map(|(name, size)| (name, size as u32))
            .to_vec()
        };
        let file = "deformable_attention";
        vec![
            Implementation::software(file, constants(SOFTWARE_LANES), Launch::invocations(lanes, SOFTWARE_LANES)),
            Implementation::plain(file, constants(ELEMENT_LANES), Launch::invocations(lanes, ELEMENT_LANES)),
        ]
    }

    fn work(&self) -> Work {
        let samples = self.sequences * self.queries * self.heads * self.samples();
        Work::new(samples * (9 * self.head_dim + 40), &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        let (value, offsets, weights, references) = (inputs[0], inputs[1], inputs[2], inputs[3]);
        let (samples, dim) = (self.samples(), self.head_dim);
        each_row(y, self.dim(), |row, y| {
            let reference = self.reference_of(references, row);
            for (head, y) in y.chunks_exact_mut(dim).enumerate() {
                let first = (row * self.heads + head) * samples;
                let logits = &weights[first..][..samples];
                let (largest, mut total) = (largest(logits), 0.0);
                let mut start = row / self.queries * self.cells();
                y.fill(0.0);
                for (level, grid) in self.levels.iter().enumerate() {
                    for sample in level * self.points..(level + 1) * self.points {
                        let offset = &offsets[2 * (first + sample)..];
                        let [col, row] =
                            [(0, grid.cols), (1, grid.rows)].map(|(axis, size)| self.place(reference, offset[axis], axis, size));
                        let weight = exp(logits[sample] - largest);
                        total += weight;
                        if (col + row).is_nan() {
                            // It would become a cell in `corners`.
                            total = f32::NAN;
                            continue;
                        }
                        for (row, col, share) in corners(*grid, row, col) {
                            let value = &value[((start + row * grid.cols + col) * self.heads + head) * dim..][..dim];
                            y.iter_mut().zip(value).for_each(|(y, value)| *y += weight * share * value);
                        }
                    }
                    start += grid.cells();
                }
                y.iter_mut().for_each(|y| *y /= total);
            }
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        let [value, offsets, weights, references] = [0, 1, 2, 3].map(|at| io.input(at));
        let (u, samples, dim) = (UNIT_ROUNDOFF, self.samples(), self.head_dim);
        for row in 0..self.sequences * self.queries {
            let (sequence, reference) = (row / self.queries, self.reference_of(references, row));
            for head in 0..self.heads {
                let first = (row * self.heads + head) * samples;
                let logits = &weights[first..first + samples];
                let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, &logit| largest.max(f64::from(logit)));
                let (mut sum, mut error) = (0.0, 0.0);
                let mut outputs = vec![(0.0, 0.0); dim];
                let mut start = sequence * self.cells();
                for (level, grid) in self.levels.iter().enumerate() {
                    for sample in level * self.points..(level + 1) * self.points {
                        let difference = f64::from(logits[sample]) - largest;
                        let weight = difference.exp();
                        // The difference is rounded, WGSL grants `exp` 3 + 2|x| units in the last place; then the sums.
                        let relative = (10.0 + 4.0 * difference.abs() + 2.0 * samples as f64) * u;
                        sum += weight;
                        error += weight * relative;
                        let place = |axis: usize, size: usize| {
                            let (size, offset) = (size as f64, f64::from(offsets[2 * (first + sample) + axis]));
                            let (own, moved) = (
                                f64::from(reference[axis]) * size,
                                match self.has_boxes {
                                    true => offset / self.points as f64 * f64::from(reference[2 + axis]) * 0.5 * size,
                                    false => offset,
                                },
                            );
                            // Up to six roundings, one of them of 2.5 units in the last place.
                            (own + moved - 0.5, 12.0 * u * (own.abs() + moved.abs() + 0.5))
                        };
                        let ((x, off_x), (y, off_y)) = (place(0, grid.cols), place(1, grid.rows));
                        for (at, output) in outputs.iter_mut().enumerate() {
                            let cell = |row: f64, col: f64| -> f64 {
                                let is_inside = row >= 0.0 && col >= 0.0 && row < grid.rows as f64 && col < grid.cols as f64;
                                let place = || (start + row as usize * grid.cols + col as usize) * self.dim() + head * dim + at;
                                if is_inside { f64::from(value[place()]) } else { 0.0 }
                            };
                            let (left, top) = (x.floor(), y.floor());
                            let (right_share, lower_share) = (x - left, y - top);
                            let upper = cell(top, left) * (1.0 - right_share) + cell(top, left + 1.0) * right_share;
                            let lower = cell(top + 1.0, left) * (1.0 - right_share) + cell(top + 1.0, left + 1.0) * right_share;
                            let sampled = upper * (1.0 - lower_share) + lower * lower_share;
                            // Sampling is continuous, also where a rounding moves a place to the next cell: its slope along an axis is at most
                            // the difference of two neighbours, so twice the largest cell around.
                            let around = (-1..=2).flat_map(|row| (-1..=2).map(move |col| (f64::from(row), f64::from(col))));
                            let most = around.map(|(row, col)| cell(top + row, left + col).abs()).fold(0.0, f64::max);
                            let off = 2.0 * most * (off_x + off_y) + 12.0 * u * most;
                            output.0 += weight * sampled;
                            output.1 += weight * (sampled.abs() * relative + off * (1.0 + relative));
                        }
                    }
                    start += grid.cells();
                }
                for (at, (total, off)) in outputs.into_iter().enumerate() {
                    let mean = total / sum;
                    let bound = off / sum + mean.abs() * (error / sum + 6.0 * u) + f64::from(f32::MIN_POSITIVE);
                    io.put((row * self.heads + head) * dim + at, mean, bound);
                }
            }
        }
    }
}

/// The cells around a place that lie inside a level, each with its row, its column and its share.
fn corners(grid: Grid, y: f32, x: f32) -> impl Iterator<Item = (usize, usize, f32)> {
    // Far away is as good as two cells outside.
    let near = |place: f32, size: usize| place.clamp(-2.0, size as f32 + 1.0);
    let (y, x) = (near(y, grid.rows), near(x, grid.cols));
    let (top, left) = (y.floor(), x.floor());
    let (lower, right) = (y - top, x - left);
    let (top, left) = (top as i32, left as i32);
    [(0, 0, (1.0 - lower) * (1.0 - right)), (0, 1, (1.0 - lower) * right), (1, 0, lower * (1.0 - right)), (1, 1, lower * right)]
        .into_iter()
        .map(move |(down, across, share)| (top + down, left + across, share))
        .filter(move |&(row, col, _)| row >= 0 && col >= 0 && (row as usize) < grid.rows && (col as usize) < grid.cols)
        .map(|(row, col, share)| (row as usize, col as usize, share))
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    let grids = |sizes: &[(usize, usize)]| sizes.iter().map(|&(rows, cols)| Grid { rows, cols }).collect::<Vec<_>>();
    let one = DeformableAttention {
        sequences: 1,
        queries: 1,
        levels: grids(&[(1, 1)]),
        heads: 1,
        head_dim: 4,
        points: 1,
        has_boxes: false,
    };
    boxed([
        DeformableAttention { queries: 19, levels: grids(&[(3, 5), (2, 3)]), heads: 2, points: 3, ..one.clone() },
        DeformableAttention {
            sequences: 2,
            queries: 7,
            levels: grids(&[(4, 3), (2, 2), (1, 1), (1, 1), (1, 1)]),
            head_dim: 8,
            ..one.clone()
        },
        DeformableAttention {
            sequences: 3,
            queries: 5,
            levels: grids(&[(6, 7)]),
            heads: 3,
            points: 2,
            has_boxes: true,
            ..one.clone()
        },
        DeformableAttention {
            queries: 33,
            levels: grids(&[(10, 13), (5, 7), (3, 4), (2, 2)]),
            heads: 8,
            head_dim: 32,
            points: 4,
            has_boxes: true,
            ..one.clone()
        },
        one,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_cells_values_are_mixed_and_outside_they_are_zero() {
        // One level of one row and two columns with the values 1 and 3; the middle of the image lies between them.
        let attention = DeformableAttention {
            sequences: 1,
            queries: 1,
            levels: vec![Grid { rows: 1, cols: 2 }],
            heads: 1,
            head_dim: 1,
            points: 2,
            has_boxes: false,
        };
        let sampled = |offsets: [f32; 4], logits: [f32; 2]| {
            let (mut y, mut bounds) = ([0.0], [0.0]);
            attention.reference(&mut Io::new(&[&[1.0, 3.0], &offsets, &logits, &[0.5, 0.5]], &mut y, &mut bounds));
            y[0]
        };
        assert_eq!(sampled([0.0; 4], [0.0; 2]), 2.0);
        assert_eq!(sampled([0.5, 0.0, 0.5, 0.0], [7.0; 2]), 3.0);
        assert_eq!(sampled([1.0, 0.0, 9.0, 0.0], [0.0; 2]), 0.75, "half of 3, and nothing from beyond");
        assert_eq!(sampled([0.5, 0.0, 9.0, 0.0], [0.0, -1e4]), 3.0);
    }
}
