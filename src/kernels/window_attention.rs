//! Attention inside shifted windows of an image, in place: nothing is rolled, cut or padded.

use rayon::prelude::*;

use crate::kernels::geometry::{ELEMENT_LANES, SOFTWARE_LANES};
use crate::kernels::native::{Matrix, Tile, softmax};
use crate::kernels::{Implementation, Io, Kernel, Launch, Operand, ParamBlock, UNIT_ROUNDOFF, Work, boxed, params, read, read_f32, write};

/// Windows on the cells of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowGeometry {
    /// Number of images.
    pub images: usize,
    /// Rows of cells.
    pub height: usize,
    /// Columns of cells.
    pub width: usize,
    /// Cells along each side of a window.
    pub window: usize,
    /// Cells by which windows are shifted down and to the right, fewer than `window`.
    pub shift: usize,
}

impl WindowGeometry {
    /// Cells of all images.
    pub fn cells(self) -> usize {
        self.images * self.height * self.width
    }

    /// Strips into which the windows cut one axis of so many cells: from the first of each to the one after its last, padding included.
    fn strips(self, cells: usize) -> Vec<[usize; 2]> {
        let padded = cells.next_multiple_of(self.window);
        // The first strip is what the shift leaves of a window.
        let lead = if self.shift == 0 { 0 } else { self.window - self.shift };
        let ends = (1..).map(|strip| (strip * self.window - lead).min(padded));
        let mut start = 0;
        let strip = |end: usize| Some([std::mem::replace(&mut start, end), end]);
        ends.map_while(strip).take_while(|[from, to]| from < to).collect()
    }
}

/// `y[i, h] = Σⱼ softmaxⱼ(q[i, h] · k[j, h] / √head_dim + bias[h, Δ]) v[j, h]` over the cells j in the window of cell i (Liu et al. 2021,
/// equation 4).
///
/// `qkv` `[cells, 3 · heads · head_dim]` holds queries, keys and values side by side, `y` is `[cells, heads · head_dim]`; cells are counted
/// row by row through all images. `bias` `[heads, (2·window − 1)²]` in f32 is indexed by the difference of rows and of columns from key to
/// query, each from `1 − window` on. Images are padded to whole windows at the right and below with cells whose queries, keys and values are
/// `padding` `[3 · heads · head_dim]` in f32; they take part as keys.
///
/// With a shift s the released code rolls the padded image by s and adds −100 to scores across its seam. Here such pairs are left out, so that
/// windows are the cells between strips that begin at 0, s, s + window and so on. The two agree as far as e⁻¹⁰⁰ is nothing.
#[derive(Clone, Debug)]
pub struct WindowAttention {
    /// Images and windows.
    pub geometry: WindowGeometry,
    /// Heads.
    pub heads: usize,
    /// Elements of a head, a multiple of 4.
    pub head_dim: usize,
}

/// Most queries per lane on a software adapter.
const MAX_ROWS: usize = 4;

impl WindowAttention {
    fn scale(&self) -> f32 {
        (1.0 / (self.head_dim as f64).sqrt()) as f32
    }

    fn dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Differences of rows and of columns inside a window.
    fn differences(&self) -> usize {
        (2 * self.geometry.window - 1).pow(2)
    }

    /// Cuts the output into lines of windows, each of which writes whole rows of cells: the image, the first row and the one after the last,
    /// padding included, and the cells.
    fn lines_of_windows<'y>(&self, mut y: &'y mut [f32]) -> Vec<(usize, [usize; 2], &'y mut [f32])> {
        let WindowGeometry { images, height, width, .. } = self.geometry;
        let mut lines = Vec::new();
        for image in 0..images {
            for [top, bottom] in self.geometry.strips(height) {
                let (line, after) = y.split_at_mut((bottom.min(height) - top.min(height)) * width * self.dim());
                lines.push((image, [top, bottom], line));
                y = after;
            }
        }
        lines
    }

    /// Query, key and value of a cell, which may lie in the padding.
    fn cell<'x>(&self, qkv: &'x [f32], padding: &'x [f32], image: usize, [row, col]: [usize; 2]) -> &'x [f32] {
        let WindowGeometry { height, width, .. } = self.geometry;
        if row < height && col < width {
            &qkv[((image * height + row) * width + col) * 3 * self.dim()..][..3 * self.dim()]
        } else {
            padding
        }
    }

    /// Place of the bias of a query's cell and a key's.
    fn bias_at(&self, head: usize, query: [usize; 2], key: [usize; 2]) -> usize {
        let WindowGeometry { window, .. } = self.geometry;
        let [row, col] = [0, 1].map(|axis| query[axis] + window - 1 - key[axis]);
        (head * (2 * window - 1) + row) * (2 * window - 1) + col
    }

    /// Number of windows, whole and cut ones, of all images.
    fn windows(&self) -> usize {
        let WindowGeometry { images, height, width, .. } = self.geometry;
        images * self.geometry.strips(height).len() * self.geometry.strips(width).len()
    }

    /// Pairs of a query and a key of one head, padded keys included.
    fn pairs(&self) -> usize {
        let WindowGeometry { images, height, width, .. } = self.geometry;
        let along = |cells: usize| -> usize {
            let strips = self.geometry.strips(cells);
            strips.iter().map(|&[from, to]| (to.min(cells) - from.min(cells)) * (to - from)).sum()
        };
        images * along(height) * along(width)
    }
}

impl Kernel for WindowAttention {
    fn name(&self) -> &'static str {
        "window_attention"
    }

    fn operands(&self) -> Vec<Operand> {
        let (cells, dim) = (self.geometry.cells(), self.dim());
        vec![
            read("qkv", cells * 3 * dim),
            read_f32("padding", 3 * dim),
            read_f32("bias", self.heads * self.differences()),
            write("y", cells * dim),
        ]
    }

    fn params(&self) -> ParamBlock {
        let WindowGeometry { images, height, width, .. } = self.geometry;
        params! { images: u32 = images, height: u32 = height, width: u32 = width, scale: f32 = self.scale() }
    }

    fn implementations(&self) -> Vec<Implementation> {
        let WindowGeometry { window, shift, .. } = self.geometry;
        let shared = [("HEAD_DIM", self.head_dim), ("HEADS", self.heads), ("WINDOW", window), ("SHIFT", shift)];
        let with = |own: &[(&'static str, usize)]| shared.iter().chain(own).map(|&(name, size)| (name, size as u32)).collect::<Vec<_>>();
        let cells = window * window;
        let launch = |queries: usize| Launch::groups(self.windows() * cells.div_ceil(queries) * self.heads);
        // As few passes over the keys as possible, and lanes that share them evenly.
        let passes = cells.div_ceil(SOFTWARE_LANES * MAX_ROWS);
        let rows = cells.div_ceil(SOFTWARE_LANES * passes);
        vec![
            Implementation::software("window_attention_software", with(&[("ROWS", rows)]), launch(SOFTWARE_LANES * rows)),
            Implementation::plain("window_attention", with(&[]), launch(ELEMENT_LANES)),
        ]
    }

    fn work(&self) -> Work {
        Work::new((4 * self.head_dim + 6) * self.pairs() * self.heads, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        let [qkv, padding, bias] = [0, 1, 2].map(|at| inputs[at]);
        let WindowGeometry { height, width, .. } = self.geometry;
        let (dim, scale) = (self.head_dim, self.scale());
        let across = self.geometry.strips(width);
        self.lines_of_windows(y).into_par_iter().for_each(|(image, rows, y)| {
            for (cols, head) in across.iter().flat_map(|&cols| (0..self.heads).map(move |head| (cols, head))) {
                let cells: Vec<[usize; 2]> = (rows[0]..rows[1]).flat_map(|row| (cols[0]..cols[1]).map(move |col| [row, col])).collect();
                let count = cells.len();
                // Part 0 are the queries, 1 the keys, 2 the values.
                let gathered = |part: usize| -> Vec<f32> {
                    let of_cell = |&cell| &self.cell(qkv, padding, image, cell)[part * self.dim() + head * dim..][..dim];
                    cells.iter().flat_map(of_cell).copied().collect()
                };
                let [mut queries, keys, values] = [0, 1, 2].map(gathered);
                queries.iter_mut().for_each(|q| *q *= scale);
                let mut scores = vec![0.0; count * count];
                Tile::new(&mut scores, count, count)
                    .multiply(Matrix::dense(&queries, count, dim), Matrix::new(&keys, [dim, count], [1, dim]));
                for (&query, scores) in cells.iter().zip(scores.chunks_exact_mut(count)) {
                    scores
                        .iter_mut()
                        .zip(&cells)
                        .for_each(|(score, &key)| *score += bias[self.bias_at(head, query, key)]);
                    softmax(scores);
                }
                let mut outputs = vec![0.0; count * dim];
                Tile::new(&mut outputs, dim, dim).multiply(Matrix::dense(&scores, count, count), Matrix::dense(&values, count, dim));
                for ([row, col], output) in
                    cells.iter().zip(outputs.chunks_exact(dim)).filter(|([row, col], _)| *row < height && *col < width)
                {
                    y[(((row - rows[0]) * width + col) * self.heads + head) * dim..][..dim].copy_from_slice(output);
                }
            }
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        let [qkv, padding, bias] = [0, 1, 2].map(|at| io.input(at));
        let WindowGeometry { images, height, width, .. } = self.geometry;
        let (u, scale, dim) = (UNIT_ROUNDOFF, f64::from(self.scale()), self.head_dim);
        // Part 0 is a query, 1 a key, 2 a value.
        let vector = |image: usize, cell: [usize; 2], part: usize, head: usize| {
            let own = self.cell(qkv, padding, image, cell);
            let start = part * self.dim() + head * dim;
            own[start..start + dim].iter().map(|&x| f64::from(x)).collect::<Vec<f64>>()
        };
        let (down, across) = (self.geometry.strips(height), self.geometry.strips(width));
        for image in 0..images {
            for (rows, cols, head) in down
                .iter()
                .flat_map(|rows| across.iter().map(move |cols| (rows, cols)))
                .flat_map(|(rows, cols)| (0..self.heads).map(move |head| (rows, cols, head)))
            {
                let cells: Vec<[usize; 2]> = (rows[0]..rows[1]).flat_map(|row| (cols[0]..cols[1]).map(move |col| [row, col])).collect();
                let keys: Vec<[Vec<f64>; 2]> = cells.iter().map(|&cell| [1, 2].map(|part| vector(image, cell, part, head))).collect();
                for &query in cells.iter().filter(|[row, col]| *row < height && *col < width) {
                    let own = vector(image, query, 0, head);
                    let scores: Vec<(f64, f64)> = cells
                        .iter()
                        .zip(&keys)
                        .map(|(&key, [other, _])| {
                            let terms = || own.iter().zip(other).map(|(a, b)| a * b * scale);
                            let relative = f64::from(bias[self.bias_at(head, query, key)]);
                            let magnitude = terms().map(f64::abs).sum::<f64>();
                            (terms().sum::<f64>() + relative, ((dim + 4) as f64 * magnitude + 2.0 * relative.abs()) * u)
                        })
                        .collect();
                    let largest = scores.iter().fold(f64::NEG_INFINITY, |largest, score| largest.max(score.0));
                    let (mut sum, mut error) = (0.0, 0.0);
                    let mut outputs = vec![(0.0, 0.0); dim];
                    for (&(score, off), [_, value]) in scores.iter().zip(&keys) {
                        let weight = (score - largest).exp();
                        // As for `attention`: rescaling for each block of keys, the exponential twice, the rounding of its argument.
                        let relative = off.exp_m1() + (16.0 + 10.0 * (score - largest).abs() + 2.0 * scores.len() as f64) * u;
                        sum += weight;
                        error += weight * relative;
                        for (output, value) in outputs.iter_mut().zip(value) {
                            output.0 += weight * value;
                            output.1 += weight * value.abs() * relative;
                        }
                    }
                    let first = (((image * height + query[0]) * width + query[1]) * self.heads + head) * dim;
                    for (at, (total, off)) in outputs.into_iter().enumerate() {
                        let value = total / sum;
                        io.put(first + at, value, off / sum + value.abs() * (error / sum + 6.0 * u) + f64::from(f32::MIN_POSITIVE));
                    }
                }
            }
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    let cases = [
        ([1, 1, 1], 1, 4, 1, 0),
        ([1, 5, 7], 2, 4, 3, 1),
        ([2, 7, 7], 1, 8, 7, 3),
        ([1, 10, 13], 2, 32, 7, 3),
        ([1, 9, 16], 3, 16, 4, 2),
        ([1, 25, 13], 2, 32, 12, 6),
        ([1, 3, 5], 1, 4, 7, 3),
        ([1, 14, 14], 3, 32, 7, 0),
    ];
    boxed(cases.map(|([images, height, width], heads, head_dim, window, shift)| WindowAttention {
        geometry: WindowGeometry { images, height, width, window, shift },
        heads,
        head_dim,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_cuts_the_first_and_the_last_window() {
        let strips = |cells: usize, shift: usize| WindowGeometry { images: 1, height: 1, width: 1, window: 7, shift }.strips(cells);
        assert_eq!(strips(10, 0), [[0, 7], [7, 14]]);
        assert_eq!(strips(10, 3), [[0, 3], [3, 10], [10, 14]]);
        assert_eq!(strips(7, 3), [[0, 3], [3, 7]]);
    }

    #[test]
    fn cells_attend_to_their_window_and_to_padding() {
        // Three cells of one number in windows of two: {0, 1} and {2, padding}. Queries are 0, so the bias decides.
        let geometry = WindowGeometry { images: 1, height: 1, width: 3, window: 2, shift: 0 };
        let attention = WindowAttention { geometry, heads: 1, head_dim: 1 };
        let qkv = [0.0, 0.0, 1.0, 0.0, 0.0, 3.0, 0.0, 0.0, 5.0];
        let (mut y, mut bounds) = ([0.0; 3], [0.0; 3]);
        let far = -1e4;
        // Rows: window 2 × 2, of which the second row is padding. Only Δrow = 0 counts.
        let bias = [far, far, far, 0.0, 0.0, 0.0, far, far, far];
        attention.reference(&mut Io::new(&[&qkv, &[0.0, 0.0, 9.0], &bias], &mut y, &mut bounds));
        assert_eq!(y, [2.0, 2.0, 7.0]);
    }
}
