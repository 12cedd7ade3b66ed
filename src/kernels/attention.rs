//! Attention: softmax-weighted sums of values, computed without storing the weights.

use std::ops::Range;

use crate::kernels::geometry::SOFTWARE_LANES;
use crate::kernels::native::{Matrix, Tile, each_tile, exp, exponentials, largest, vectorised};
use crate::kernels::{
    Implementation, Io, Kernel, Launch, Operand, ParamBlock, UNIT_ROUNDOFF, Work, boxed, params, read, read_key_ranges, read_rows, write,
};

/// Layout of the heads of queries, keys or values in a row of their buffer: side by side from `offset` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLayout {
    /// Elements of a row.
    pub stride: usize,
    /// First element of the first head.
    pub offset: usize,
}

/// A grid of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
}

impl Grid {
    /// Number of cells.
    pub fn cells(self) -> usize {
        self.rows * self.cols
    }

    /// Number of relative positions of a query: `2·rows` differences of rows, from `−rows` on, and `2·cols` of columns.
    pub fn differences(self) -> usize {
        2 * (self.rows + self.cols)
    }

    /// Positions of the differences of rows and of columns between two cells among these.
    fn difference(self, query: usize, key: usize) -> [usize; 2] {
        let Grid { rows, cols } = self;
        [rows + query / cols - key / cols, 2 * rows + cols + query % cols - key % cols]
    }
}

/// `y[i, h] = Σⱼ softmaxⱼ(q[i, h] · k[j, h] / √head_dim) v[j, h]` over the keys j in the range of query i
/// (Vaswani et al. 2017, equation 1).
///
/// `q` `[queries, stride]`, `k` and `v` `[keys, stride]`, `key_ranges` `[queries, 2]` (first key, and the one after the last), `y`
/// `[queries, heads · head_dim]`. Key ranges serve batches of any lengths, causal and cross attention alike; an empty one gives zeros.
///
/// On a grid the keys are its cells, row by row, and begin anew after the last; `query_cells` `[queries]` is the cell of each query. To
/// each score is added `rel_pos[i, h, rows + Δrow] + rel_pos[i, h, 2·rows + cols + Δcol]`, Δ being the query's less the key's (decomposed
/// relative positions, Li et al. 2022, equation 4). `rel_pos` is `[queries, heads, 2·rows + 2·cols]`.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Rows of q and y.
    pub queries: usize,
    /// Rows of k and v.
    pub keys: usize,
    /// Heads.
    pub heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Layout of the heads in a row of q.
    pub q: HeadLayout,
    /// Layout of the heads in a row of k.
    pub k: HeadLayout,
    /// Layout of the heads in a row of v.
    pub v: HeadLayout,
    /// The grid of relative positions, if there are any.
    pub grid: Option<Grid>,
    /// Pairs of a query and a key in its range: what the launch costs.
    pub pairs: usize,
}

/// Queries per workgroup on a GPU.
const QUERIES: usize = 64;

/// Lanes per workgroup on matrix units.
const MATRIX_LANES: usize = 128;

/// Largest head on matrix units: five fragments of 16.
const MAX_MATRIX_HEAD: usize = 80;

/// Most queries per lane where a subgroup shares what it loads of the keys: half as many for twice the keys at a time.
const SUBGROUP_ROWS: usize = 4;

/// Queries per lane on a software adapter, by the average number of keys of a query: with more of them a load of a key is used more often,
/// but in short sequences neighbouring queries share few keys, and the driver takes seconds to compile eight.
fn rows_of_a_lane(keys: usize) -> usize {
    match keys {
        0..64 => 2,
        64..256 => 4,
        _ => 8,
    }
}

/// Queries of a task of the native form, which share what is packed of the keys.
const NATIVE_QUERIES: usize = 256;

/// Keys whose scores it holds at a time.
const NATIVE_KEYS: usize = 512;

impl Attention {
    fn scale(&self) -> f32 {
        (1.0 / (self.head_dim as f64).sqrt()) as f32
    }

    /// Whether head sizes, strides and offsets are multiples of some number of elements.
    fn is_in(&self, elements: usize) -> bool {
        let layouts = [self.q, self.k, self.v];
        let sizes = layouts.iter().flat_map(|layout| [layout.stride, layout.offset]);
        sizes.chain([self.head_dim]).all(|size| size.is_multiple_of(elements))
    }

    /// Whether `shaders/attention_matrix.wgsl` can do it.
    fn suits_matrix_units(&self) -> bool {
        let has_fragments = self.head_dim.is_multiple_of(16) && self.head_dim <= MAX_MATRIX_HEAD;
        let has_positions = self.grid.is_none_or(|grid| [32, 64].contains(&grid.cols) || (grid.rows <= 16 && grid.cols <= 16));
        has_fragments && has_positions && self.is_in(8)
    }

    /// Queries of a workgroup on a GPU, or of a task on the CPU, at most so many. It walks the union of its queries' ranges, so that few queries
    /// of several sequences are better split: where the keys are shared out evenly, those of one sequence each.
    fn queries_of_a_tile(&self, most: usize) -> usize {
        let of_a_sequence = (self.pairs / self.keys).max(1);
        of_a_sequence.min(most)
    }

    /// The key range of a query, cut to the keys there are.
    fn key_range(&self, key_ranges: &[f32], query: usize) -> Range<usize> {
        let cut = |at: usize| (key_ranges[at].max(0.0) as usize).min(self.keys);
        cut(2 * query)..cut(2 * query + 1)
    }

    /// The outputs of one head for queries whose keys begin at the same place: blocks of keys with an online softmax.
    fn attend(&self, inputs: &[&[f32]], head: usize, mut y: Tile<'_>) {
        let [q, k, v, key_ranges, rel_pos, query_cells] = [0, 1, 2, 3, 4, 5].map(|at| inputs[at]);
        let (queries, dim, scale) = (y.rows(), self.head_dim, self.scale());
        let ranges: Vec<Range<usize>> = queries.clone().map(|query| self.key_range(key_ranges, query)).collect();
        debug_assert!(ranges.iter().all(|range| range.start == ranges[0].start));
        let of_head = |layout: HeadLayout, row: usize| row * layout.stride + layout.offset + head * dim;
        let scaled: Vec<f32> = queries.clone().flat_map(|query| &q[of_head(self.q, query)..][..dim]).map(|q| q * scale).collect();
        let scaled = Matrix::dense(&scaled, queries.len(), dim);
        let mut scores = vec![0.0; queries.len() * NATIVE_KEYS];
        let mut softmax = vec![OnlineSoftmax::default(); queries.len()];
        y.fill(0.0);
        let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
        for first in (ranges[0].start..end).step_by(NATIVE_KEYS) {
            let keys = first..(first + NATIVE_KEYS).min(end);
            let own = Matrix::new(&k[of_head(self.k, first)..], [dim, keys.len()], [1, self.k.stride]);
            Tile::new(&mut scores, keys.len(), NATIVE_KEYS).multiply(scaled, own);
            for ((query, scores), (range, softmax)) in
                queries.clone().zip(scores.chunks_exact_mut(NATIVE_KEYS)).zip(ranges.iter().zip(&mut softmax))
            {
                let (inside, outside) = scores[..keys.len()].split_at_mut(range.end.clamp(keys.start, keys.end) - keys.start);
                outside.fill(0.0);
                if let Some(grid) = self.grid {
                    let cell = (query_cells[query] as usize).min(grid.cells() - 1);
                    let positions = &rel_pos[(query * self.heads + head) * grid.differences()..][..grid.differences()];
                    add_positions(inside, grid, positions, cell, keys.start);
                }
                softmax.weigh(inside, y.row(query));
            }
            let values = Matrix::new(&v[of_head(self.v, first)..], [keys.len(), dim], [self.v.stride, 1]);
            y.add_product(Matrix::new(&scores, [queries.len(), keys.len()], [NATIVE_KEYS, 1]), values);
        }
        for (query, softmax) in queries.zip(&softmax).filter(|(_, softmax)| softmax.sum != 0.0) {
            y.row(query).iter_mut().for_each(|y| *y /= softmax.sum);
        }
    }
}

/// Online softmax of a query, whose scores come in blocks (Milakov & Gimelshein 2018).
#[derive(Clone)]
struct OnlineSoftmax {
    /// The largest score so far.
    largest: f32,
    /// Sum of the weights so far.
    sum: f32,
}

impl Default for OnlineSoftmax {
    fn default() -> OnlineSoftmax {
        OnlineSoftmax { largest: f32::NEG_INFINITY, sum: 0.0 }
    }
}

impl OnlineSoftmax {
    /// Turns the scores of a block into weights, and rescales what was summed of earlier blocks where one of them is the largest so far.
    fn weigh(&mut self, scores: &mut [f32], earlier: &mut [f32]) {
        if scores.is_empty() {
            return;
        }
        vectorised(
            #[inline(always)]
            || {
                let above = largest(scores).max(self.largest);
                let factor = exp(self.largest - above);
                self.largest = above;
                earlier.iter_mut().for_each(|sum| *sum *= factor);
                self.sum = self.sum * factor + exponentials(scores, self.largest);
            },
        );
    }
}

/// Adds the decomposed relative positions of a query's cell to its scores with keys from `first_key` on.
fn add_positions(scores: &mut [f32], grid: Grid, positions: &[f32], cell: usize, first_key: usize) {
    let mut key = first_key % grid.cells();
    let mut rest = scores;
    while !rest.is_empty() {
        let (of_line, after) = rest.split_at_mut((grid.cols - key % grid.cols).min(rest.len()));
        let [row, col] = grid.difference(cell, key);
        // The column's difference falls as the key's rises.
        let columns = positions[..=col].iter().rev();
        of_line.iter_mut().zip(columns).for_each(|(score, column)| *score += positions[row] + column);
        key = (key + of_line.len()) % grid.cells();
        rest = after;
    }
}

impl Kernel for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![
            read("q", self.queries * self.q.stride),
            read("k", self.keys * self.k.stride),
            read("v", self.keys * self.v.stride),
            read_key_ranges("key_ranges", 2 * self.queries, self.keys),
            read("rel_pos", self.grid.map_or(0, |grid| self.queries * self.heads * grid.differences())),
            read_rows("query_cells", self.grid.map_or(0, |_| self.queries), self.grid.map_or(1, Grid::cells)),
            write("y", self.queries * self.heads * self.head_dim),
        ]
    }

    fn params(&self) -> ParamBlock {
        params! {
            queries: u32 = self.queries, keys: u32 = self.keys, heads: u32 = self.heads, scale: f32 = self.scale(),
            q_stride: u32 = self.q.stride, q_offset: u32 = self.q.offset, k_stride: u32 = self.k.stride, k_offset: u32 = self.k.offset,
            v_stride: u32 = self.v.stride, v_offset: u32 = self.v.offset,
        }
    }

    fn implementations(&self) -> Vec<Implementation> {
        // Constants, because shaders divide by the columns for each pair.
        let grid = self.grid.unwrap_or(Grid { rows: 0, cols: 1 });
        let shared = [("HEAD_DIM", self.head_dim as u32), ("GRID_ROWS", grid.rows as u32), ("GRID_COLS", grid.cols as u32)];
        let with = |own: &[(&'static str, u32)]| shared.into_iter().chain(own.iter().copied()).collect::<Vec<_>>();
        let tile = self.queries_of_a_tile(QUERIES);
        let sizes = [
            ("HEADS", self.heads),
            ("TILE", tile),
            ("Q_STRIDE", self.q.stride),
            ("Q_OFFSET", self.q.offset),
            ("K_STRIDE", self.k.stride),
            ("K_OFFSET", self.k.offset),
            ("V_STRIDE", self.v.stride),
            ("V_OFFSET", self.v.offset),
        ]
        .map(|(name, size)| (name, size as u32));
        let of_tiles = Launch::groups(self.queries.div_ceil(tile) * self.heads);
        let lanes = |count: usize| [("WORKGROUP", count as u32)];
        let mut all = Vec::new();
        if self.is_in(4) {
            let of_lanes =
                |rows: usize| (with(&[("ROWS", rows as u32)]), Launch::groups(self.queries.div_ceil(SOFTWARE_LANES * rows) * self.heads));
            let rows = rows_of_a_lane(self.pairs / self.queries);
            let (constants, launch) = of_lanes(rows.min(SUBGROUP_ROWS));
            all.push(Implementation::subgroup("attention_subgroup", constants, launch));
            let (constants, launch) = of_lanes(rows);
            all.push(Implementation::software("attention_software", constants, launch));
        }
        if self.suits_matrix_units() {
            let constants = with(&[&sizes[..], &lanes(MATRIX_LANES)].concat());
            all.push(Implementation::matrix("attention_matrix", constants, of_tiles));
        }
        if self.is_in(4) {
            all.push(Implementation::plain("attention_fours", with(&[&sizes[..], &lanes(QUERIES)].concat()), of_tiles));
        }
        let launch = Launch::groups(self.queries.div_ceil(QUERIES) * self.heads);
        all.push(Implementation::plain("attention", with(&lanes(QUERIES)), launch));
        all
    }

    fn work(&self) -> Work {
        let of_pair = 4 * self.head_dim + if self.grid.is_some() { 7 } else { 5 };
        Work::new(of_pair * self.pairs * self.heads, &self.operands())
    }

    fn native(&self, inputs: &[&[f32]], y: &mut [f32]) {
        let sizes = [self.queries_of_a_tile(NATIVE_QUERIES), self.head_dim];
        each_tile(y, self.heads * self.head_dim, sizes, |mut tile| {
            let (queries, head) = (tile.rows(), tile.cols().start / self.head_dim);
            let begin = |query: usize| self.key_range(inputs[3], query).start;
            let mut first = queries.start;
            // Sequences one after the other: they differ in where their keys begin.
            while first < queries.end {
                let end = (first + 1..queries.end).find(|&query| begin(query) != begin(first)).unwrap_or(queries.end);
                self.attend(inputs, head, tile.part(first..end));
                first = end;
            }
        });
    }

    fn reference(&self, io: &mut Io<'_>) {
        let [q, k, v, key_ranges, rel_pos, query_cells] = [0, 1, 2, 3, 4, 5].map(|at| io.input(at));
        let (u, scale) = (UNIT_ROUNDOFF, f64::from(self.scale()));
        let (factor, underflow) = io.factor_rounding();
        let dim = self.head_dim;
        let head_of = |data: &'_ [f32], layout: HeadLayout, row: usize, head: usize| {
            let start = row * layout.stride + layout.offset + head * dim;
            data[start..start + dim].iter().map(|&x| f64::from(x)).collect::<Vec<f64>>()
        };
        for query in 0..self.queries {
            let range = self.key_range(key_ranges, query);
            for head in 0..self.heads {
                let own = head_of(q, self.q, query, head);
                let relative = |key: usize| {
                    let Some(grid) = self.grid else { return [0.0; 2] };
                    let own = &rel_pos[(query * self.heads + head) * grid.differences()..];
                    let cell = (query_cells[query] as usize).min(grid.cells() - 1);
                    grid.difference(cell, key % grid.cells()).map(|at| f64::from(own[at]))
                };
                // Each score with how far its f32 sum may be off: the products, their sum, the scaling, and two sums of relative positions.
                let scores: Vec<(f64, f64)> = range
                    .clone()
                    .map(|key| {
                        let other = head_of(k, self.k, key, head);
                        let terms = || own.iter().zip(&other).map(|(a, b)| a * b * scale);
                        let [row, col] = relative(key);
                        let magnitude = terms().map(f64::abs).sum::<f64>();
                        // On matrix units relative positions are multiplied by 1 / scale first.
                        let positions = (3.0 * u + factor) * (row.abs() + col.abs());
                        (terms().sum::<f64>() + row + col, (dim + 4) as f64 * magnitude * u + positions)
                    })
                    .collect();
                let largest = scores.iter().fold(f64::NEG_INFINITY, |largest, score| largest.max(score.0));
                let mut sum = 0.0;
                let mut outputs = vec![(0.0, 0.0); dim];
                let mut error = 0.0;
                for (key, &(score, off)) in range.clone().zip(&scores) {
                    let weight = (score - largest).exp();
                    // The running maximum rescales by up to one product for each block of keys; exp takes 3 + 2|x| units in the last place,
                    // here twice, and its argument is rounded. Relative to the weight:
                    // On matrix units the argument may lie up to 8 powers of two above the level: 16 units more.
                    let above = if factor > 0.0 { 32.0 } else { 0.0 };
                    let relative = off.exp_m1() + (16.0 + above + 10.0 * (score - largest).abs() + 2.0 * range.len() as f64) * u;
                    sum += weight;
                    error += weight * relative;
                    for (output, value) in outputs.iter_mut().zip(head_of(v, self.v, key, head)) {
                        output.0 += weight * value;
                        output.1 += value.abs() * (weight * (relative + factor) + underflow);
                    }
                }
                for (at, (total, off)) in outputs.into_iter().enumerate() {
                    let at = (query * self.heads + head) * dim + at;
                    if range.is_empty() {
                        io.put(at, 0.0, 0.0);
                        continue;
                    }
                    let value = total / sum;
                    io.put(at, value, off / sum + value.abs() * (error / sum + 6.0 * u) + f64::from(f32::MIN_POSITIVE));
                }
            }
        }
    }
}

pub(super) fn instances() -> Vec<Box<dyn Kernel>> {
    let own = |queries: usize, keys: usize, heads: usize, head_dim: usize| {
        let layout = HeadLayout { stride: heads * head_dim, offset: 0 };
        Attention { queries, keys, heads, head_dim, q: layout, k: layout, v: layout, grid: None, pairs: queries * keys }
    };
    // The layout of a joint projection to queries, keys and values.
    let joint = |rows: usize, heads: usize, head_dim: usize| {
        let dim = heads * head_dim;
        let layout = |number: usize| HeadLayout { stride: 3 * dim, offset: number * dim };
        Attention { q: layout(0), k: layout(1), v: layout(2), ..own(rows, rows, heads, head_dim) }
    };
    let on_grid = |attention: Attention, rows: usize, cols: usize| Attention { grid: Some(Grid { rows, cols }), ..attention };
    boxed([
        own(1, 1, 1, 1),
        own(3, 7, 2, 5),
        own(65, 33, 1, 4),
        own(9, 130, 3, 32),
        joint(130, 1, 64),
        joint(257, 1, 8),
        joint(13, 3, 6),
        joint(67, 1, 16),
        joint(17, 2, 80),
        joint(150, 2, 64),
        own(28, 400, 2, 16),
        own(5, 1100, 1, 8),
        on_grid(own(6, 1050, 1, 8), 7, 5),
        own(33, 70, 1, 48),
        Attention { pairs: 5 * 33, ..own(65, 33, 2, 16) },
        Attention { pairs: 25 * 67, ..joint(67, 2, 64) },
        on_grid(own(21, 12, 2, 8), 3, 4),
        on_grid(own(19, 75, 2, 8), 3, 8),
        on_grid(own(70, 35, 1, 5), 7, 5),
        on_grid(joint(196, 2, 16), 14, 14),
        Attention { pairs: 7 * 196, ..on_grid(joint(196, 2, 16), 14, 14) },
        on_grid(own(70, 256, 2, 64), 2, 64),
        on_grid(own(65, 192, 1, 80), 3, 32),
        on_grid(joint(130, 1, 80), 5, 13),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_of_equal_score_share_and_a_key_outside_the_range_is_ignored() {
        let layout = HeadLayout { stride: 1, offset: 0 };
        let attention = Attention { queries: 2, keys: 3, heads: 1, head_dim: 1, q: layout, k: layout, v: layout, grid: None, pairs: 3 };
        let (mut y, mut bounds) = ([0.0; 2], [0.0; 2]);
        let (q, k, v) = ([1.0, 5.0], [2.0, 2.0, 9.0], [10.0, 20.0, 70.0]);
        attention.reference(&mut Io::new(&[&q, &k, &v, &[0.0, 2.0, 2.0, 3.0], &[], &[]], &mut y, &mut bounds));
        assert_eq!(y, [15.0, 70.0]);
    }

    #[test]
    fn a_key_is_as_near_as_its_row_and_its_column() {
        // One query in the middle cell of 1 × 3, whose scores are its relative positions alone: the key to the left is one column behind.
        let layout = HeadLayout { stride: 1, offset: 0 };
        let grid = Some(Grid { rows: 1, cols: 3 });
        let attention = Attention { queries: 1, keys: 3, heads: 1, head_dim: 1, q: layout, k: layout, v: layout, grid, pairs: 3 };
        let (mut y, mut bounds) = ([0.0], [0.0]);
        let far = -1e4; // rows −1, 0; columns −3, …, 2, of which +1 is that of the left key
        let rel_pos = [9.0, 5.0, 9.0, 9.0, far, far, 0.0, 9.0];
        attention.reference(&mut Io::new(&[&[0.0], &[0.0; 3], &[1.0, 2.0, 4.0], &[0.0, 3.0], &rel_pos, &[1.0]], &mut y, &mut bounds));
        assert_eq!(y, [1.0]);
    }
}
