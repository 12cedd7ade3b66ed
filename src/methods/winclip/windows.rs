//! Harmonic aggregation of the scores of windows (WinCLIP, Jeong et al. 2023, §4.2).

use crate::models::clip::windows;

/// The harmonic mean of the scores of all windows that cover a cell, for each cell of a `grid` × `grid` map.
///
/// A score of 0 makes the cells it covers 0, and so does anything that is not finite.
pub fn harmonic_map(scores: &[f32], grid: usize, side: usize) -> Vec<f64> {
    let (mut inverse, mut covering) = (vec![0.0; grid * grid], vec![0.0; grid * grid]);
    for (window, &score) in windows(grid, side).iter().zip(scores) {
        for &cell in window {
            inverse[cell] += 1.0 / f64::from(score);
            covering[cell] += 1.0;
        }
    }
    let mean = |(inverse, covering): (f64, f64)| finite_or_zero(covering / inverse);
    inverse.into_iter().zip(covering).map(mean).collect()
}

/// The harmonic mean of several maps, cell by cell.
pub fn harmonic_mean(maps: &[Vec<f64>]) -> Vec<f64> {
    let cells = maps.first().map_or(0, Vec::len);
    let mean = |cell: usize| finite_or_zero(maps.len() as f64 / maps.iter().map(|map| 1.0 / map[cell]).sum::<f64>());
    (0..cells).map(mean).collect()
}

fn finite_or_zero(x: f64) -> f64 {
    if x.is_finite() { x } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_gets_the_harmonic_mean_of_the_windows_that_cover_it() {
        // The worked example of a 3×3 grid: corners see one window, edges two, the centre four.
        let map = harmonic_map(&[1.0, 0.75, 0.5, 0.25], 3, 2);
        let expected = [1.0, 0.857_142_9, 0.75, 0.666_666_7, 0.48, 0.375, 0.5, 0.333_333_3, 0.25];
        assert!(map.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-6), "{map:?}");
    }

    #[test]
    fn a_score_of_zero_makes_its_cells_zero_and_nothing_else() {
        let map = harmonic_map(&[0.0, 1.0, 1.0, 1.0], 3, 2);
        assert_eq!(map, [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(harmonic_mean(&[vec![0.0, 0.5], vec![1.0, 0.25]]), [0.0, 1.0 / 3.0]);
        assert_eq!(harmonic_mean(&[]), [0.0; 0]);
    }
}
