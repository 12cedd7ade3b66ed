//! Where the cells of an image pyramid are.

use std::f64::consts::TAU;

use crate::graph::{Constant, Graph, Tensor};
use crate::kernels::Grid;
use crate::tensor::Array;
use crate::weights::Weight;

/// Added to the sizes of a level by which positions are divided.
const SIZE_EPS: f64 = 1e-6;

/// Width and height of a proposal on the finest level, as shares of the image; they double from level to level.
const PROPOSAL: f32 = 0.05;

/// Coordinates of proposals that are considered lie between these.
const INSIDE: std::ops::Range<f32> = 0.01..0.99;

/// The logit of a coordinate of 1: its sigmoid is 1 in f32.
const LOGIT_OF_ONE: f32 = 100.0;

/// The levels of an image pyramid, finest first, their cells counted row by row through all of them.
pub(super) struct Pyramid<'g> {
    /// Cells of each level.
    pub levels: Vec<Grid>,
    /// Sine positions of cells with the embedding of their level `[cells, dim]`.
    pub positions: Tensor<'g>,
    /// Middles of cells `[cells, 2]`, f32.
    pub centres: Tensor<'g>,
}

/// Boxes around cells from which boxes of objects are predicted.
pub(super) struct Proposals {
    /// Logits of column, row, width and height of each cell `[cells, 4]`; those of cells that are not considered are the logits of 1.
    pub logits: Array,
    /// The cells that are considered: the others are too near an edge.
    pub considered: Vec<bool>,
}

impl<'g> Pyramid<'g> {
    /// `level_embed` is `[levels, dim]`.
    pub fn new(graph: &'g Graph, levels: &[Grid], level_embed: &Weight, temperature: f32) -> Pyramid<'g> {
        let dim = level_embed.shape().cols();
        let grids = levels.to_vec();
        let positions = level_embed.map([cells(levels), dim], move |level_embed| Ok(sine_positions(&grids, &level_embed, temperature)));
        Pyramid {
            levels: levels.to_vec(),
            positions: graph.weight(&positions),
            centres: graph.constant_f32(&Constant::real("centres", centres(levels))),
        }
    }

    /// Cells of all levels.
    pub fn cells(&self) -> usize {
        cells(&self.levels)
    }
}

impl Proposals {
    /// A square around the middle of each cell. All of it in f32, as in the original code: on an edge of [`INSIDE`] rounding decides.
    pub fn new(levels: &[Grid]) -> Proposals {
        let sizes = levels.iter().enumerate().flat_map(|(level, grid)| {
            let size = PROPOSAL * (1 << level) as f32;
            std::iter::repeat_n(size, grid.cells())
        });
        let centres = centres(levels);
        let mut logits = Vec::with_capacity(4 * cells(levels));
        let mut considered = Vec::with_capacity(cells(levels));
        for (centre, size) in centres.data().chunks_exact(2).zip(sizes) {
            let proposal = [centre[0], centre[1], size, size];
            let is_considered = proposal.iter().all(|x| INSIDE.start < *x && *x < INSIDE.end);
            logits.extend(proposal.map(|x| if is_considered { (x / (1.0 - x)).ln() } else { LOGIT_OF_ONE }));
            considered.push(is_considered);
        }
        Proposals { logits: Array::new([considered.len(), 4], logits), considered }
    }
}

/// Cells of all levels.
fn cells(levels: &[Grid]) -> usize {
    levels.iter().map(|level| level.cells()).sum()
}

/// Sine positions of all cells with the embedding of their level: `level_embed` `[levels, dim]` → `[cells, dim]`.
///
/// The first half is of rows, the second of columns, sine and cosine side by side. Rows and columns count from 1 and are divided by how many
/// there are (`PositionEmbeddingSineHW` of the original code).
fn sine_positions(levels: &[Grid], level_embed: &Array, temperature: f32) -> Array {
    let dim = level_embed.shape().cols();
    let half = dim / 2;
    let sines = |at: usize, count: usize| {
        let position = (at + 1) as f64 / (count as f64 + SIZE_EPS) * TAU;
        (0..half).map(move |feature| {
            let angle = position / f64::from(temperature).powf((feature / 2 * 2) as f64 / half as f64);
            if feature.is_multiple_of(2) { angle.sin() } else { angle.cos() }
        })
    };
    let mut data = Vec::with_capacity(cells(levels) * dim);
    for (level, embedding) in levels.iter().zip(level_embed.data().chunks_exact(dim)) {
        for cell in 0..level.cells() {
            let position = sines(cell / level.cols, level.rows).chain(sines(cell % level.cols, level.cols));
            data.extend(position.zip(embedding).map(|(position, embedding)| position as f32 + embedding));
        }
    }
    Array::new([cells(levels), dim], data)
}

/// Middles of all cells `[cells, 2]`: column and row, as shares of their level.
fn centres(levels: &[Grid]) -> Array {
    let middle = |at: usize, count: usize| (at as f32 + 0.5) / count as f32;
    let of_level = |level: &Grid| {
        let Grid { rows, cols } = *level;
        (0..rows * cols).flat_map(move |cell| [middle(cell % cols, cols), middle(cell / cols, rows)])
    };
    Array::new([cells(levels), 2], levels.iter().flat_map(of_level).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_from_one_and_hold_rows_before_columns() {
        let level = Grid { rows: 1, cols: 4 };
        // Four features for each axis would need two periods; here one: sine and cosine of the row, then of the column.
        let found = sine_positions(&[level], &Array::new([1, 4], vec![0.0, 0.0, 0.0, 10.0]), 20.0);
        assert_eq!(found.shape().axes(), [4, 4]);
        let near = |at: usize, expected: f32| (found.data()[at] - expected).abs() < 1e-4;
        assert!(near(0, 0.0) && near(1, 1.0), "the only row is the last: a whole turn");
        assert!(near(2, 1.0) && near(3, 10.0), "the first of four columns is a quarter turn");
        assert!(near(6, 0.0) && near(7, 9.0), "the second half a turn");
    }

    #[test]
    fn centres_are_columns_before_rows() {
        let found = centres(&[Grid { rows: 1, cols: 2 }, Grid { rows: 1, cols: 1 }]);
        assert_eq!(found.data(), [0.25, 0.5, 0.75, 0.5, 0.5, 0.5]);
    }

    #[test]
    fn rounding_decides_at_the_edge_as_in_the_original_code() {
        // 800 × 800 pixels leave 396 + 196 cells of the finest two levels out, 800 × 1333 leave 726 + 264.
        let grids = |sizes: [(usize, usize); 4]| sizes.map(|(rows, cols)| Grid { rows, cols });
        let left_out = |levels: &[Grid]| Proposals::new(levels).considered.iter().filter(|considered| !**considered).count();
        assert_eq!(left_out(&grids([(100, 100), (50, 50), (25, 25), (13, 13)])), 592);
        assert_eq!(left_out(&grids([(100, 167), (50, 84), (25, 42), (13, 21)])), 990);
        assert_eq!(left_out(&grids([(100, 134), (50, 67), (25, 34), (13, 17)])), 694);
    }
}
