//! Interpolation of learned position embeddings to another size: of a square grid, and relative ones along an axis.

use crate::tensor::Array;

/// Keys' parameter in PyTorch's bicubic interpolation (Keys 1981).
const A: f64 = -0.75;

/// Interpolates a table of learned positions to another grid: `[1 + g², dim]` → `[1 + grid², dim]`.
///
/// The first row, the class token's, is kept; the others are interpolated as PyTorch's `interpolate(mode="bicubic", align_corners=False)`
/// does, without antialiasing. On the grid it was learned on, a table is returned unchanged. Panics unless the rows are one and a square.
#[track_caller]
pub fn resize_positions(table: &Array, grid: usize) -> Array {
    let [rows, dim] = table.shape().axes();
    let from = rows.saturating_sub(1).isqrt();
    assert!(from > 0 && from * from + 1 == rows && grid > 0, "positions: {rows} rows, not one and a square, or a grid of {grid}");
    let (class, cells) = table.data().split_at(dim);
    let taps = cubic_taps(from, grid);
    let mut data = class.to_vec();
    for y in &taps {
        for x in &taps {
            let value = |channel: usize| -> f64 {
                let across = |row: usize| -> f64 {
                    x.iter().map(|&(col, weight)| weight * f64::from(cells[(row * from + col) * dim + channel])).sum()
                };
                y.iter().map(|&(row, weight)| weight * across(row)).sum()
            };
            data.extend((0..dim).map(|channel| value(channel) as f32));
        }
    }
    Array::new([1 + grid * grid, dim], data)
}

/// The four cells and weights of each position along one axis; beyond the ends the last cell is repeated.
fn cubic_taps(from: usize, to: usize) -> Vec<[(usize, f64); 4]> {
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0; // |x| ≤ 1
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A; // 1 ≤ |x| ≤ 2
    (0..to)
        .map(|at| {
            let center = (at as f64 + 0.5) * from as f64 / to as f64 - 0.5;
            let t = center - center.floor();
            let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
            let cell = |tap: usize| (center.floor() + tap as f64 - 1.0).clamp(0.0, (from - 1) as f64) as usize;
            std::array::from_fn(|tap| (cell(tap), weights[tap]))
        })
        .collect()
}

/// Interpolates a table of learned relative positions to an axis of `side` cells: `[n, dim]` → `[2·side, dim]`, differences from −side on.
///
/// Those from 1 − side to side − 1 are interpolated as PyTorch's `interpolate(mode="linear", align_corners=False)` does; a table of just as
/// many rows is returned unchanged. The first row, of a difference that does not occur, is zero.
#[track_caller]
pub fn relative_positions(table: &Array, side: usize) -> Array {
    let [from, dim] = table.shape().axes();
    assert!(from > 0 && side > 0, "relative positions: {from} rows for {side} cells");
    let count = 2 * side - 1;
    let row = |at: usize| &table.data()[at.min(from - 1) * dim..][..dim];
    let mut data = vec![0.0; dim];
    for at in 0..count {
        let position = ((at as f64 + 0.5) * from as f64 / count as f64 - 0.5).max(0.0);
        let (below, share) = (position as usize, position.fract());
        let between = |(&a, &b): (&f32, &f32)| (f64::from(a) * (1.0 - share) + f64::from(b) * share) as f32;
        data.extend(row(below).iter().zip(row(below + 1)).map(between));
    }
    Array::new([2 * side, dim], data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_between_cells_have_keys_weights() {
        // Midway, at t = ½: far(1.5) = −0.09375, near(0.5) = 0.59375. The middle of three cells lies on itself.
        let taps = cubic_taps(4, 1)[0];
        assert_eq!(taps, [(0, -0.09375), (1, 0.59375), (2, 0.59375), (3, -0.09375)]);
        assert_eq!(cubic_taps(3, 1)[0], [(0, 0.0), (1, 1.0), (2, 0.0), (2, 0.0)]);
    }

    #[test]
    fn the_class_row_is_kept_and_the_cells_overshoot_as_in_pytorch() {
        // F.interpolate([[0, 1], [2, 3]], (4, 4), mode="bicubic"): along an axis 0, 1 becomes −27/256, 58/256, 198/256, 283/256.
        let table = Array::new([5, 1], vec![9.0, 0.0, 1.0, 2.0, 3.0]);
        let resized = resize_positions(&table, 4);
        let axis = [-27.0, 58.0, 198.0, 283.0].map(|x| x / 256.0);
        let cells = axis.iter().flat_map(|y| axis.iter().map(move |x| 2.0 * y + x));
        assert_eq!(resized, Array::new([17, 1], std::iter::once(9.0).chain(cells).collect()));
    }

    #[test]
    fn a_grid_of_one_is_the_mean_of_two_by_two_and_channels_stay_apart() {
        let table = Array::new([5, 2], vec![7.0, 8.0, 0.0, 10.0, 1.0, 20.0, 2.0, 30.0, 3.0, 40.0]);
        assert_eq!(resize_positions(&table, 1).data(), [7.0, 8.0, 1.5, 25.0]);
    }

    #[test]
    fn the_learned_grid_comes_back_to_the_bit() {
        let table = Array::new([10, 3], (0..30).map(|x| (x as f32 - 11.0) / 7.0).collect());
        assert_eq!(resize_positions(&table, 3), table);
    }

    #[test]
    #[should_panic(expected = "positions: 4 rows")]
    fn rows_that_are_no_grid_are_our_bug() {
        resize_positions(&Array::zeros([4, 2]), 2);
    }

    #[test]
    fn relative_positions_are_interpolated_along_the_axis() {
        let table = Array::new([3, 2], vec![1.0, 10.0, 2.0, 20.0, 4.0, 40.0]);
        assert_eq!(relative_positions(&table, 2).data(), [0.0, 0.0, 1.0, 10.0, 2.0, 20.0, 4.0, 40.0]);
        // F.interpolate([1, 2, 4], 5, mode="linear"): the middles of fifths lie at −0.2, 0.4, 1, 1.6, 2.2 among the thirds.
        let column: Vec<f32> = relative_positions(&table, 3).data().iter().step_by(2).copied().collect();
        assert_eq!(column, [0.0, 1.0, 1.4, 2.0, 3.2, 4.0]);
    }
}
