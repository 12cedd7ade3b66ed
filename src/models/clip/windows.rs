//! Windows of patches that the image tower encodes one by one (WinCLIP, Jeong et al. 2023, §4.2).

/// Sides of WinCLIP's windows in patches: "small" and "mid".
pub const SIDES: [usize; 2] = [2, 3];

/// All `side` × `side` windows of a `grid` × `grid` map at stride 1, row by row; each lists its cells row by row.
/// None where they do not fit.
pub fn windows(grid: usize, side: usize) -> Vec<Vec<usize>> {
    let corners = 0..(grid + 1).saturating_sub(side);
    let window = |top: usize, left: usize| (0..side * side).map(|at| (top + at / side) * grid + left + at % side).collect();
    corners.clone().flat_map(|top| corners.clone().map(move |left| window(top, left))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_a_15_by_15_grid_are_196_and_169() {
        assert_eq!((windows(15, 2).len(), windows(15, 3).len()), (196, 169));
        assert_eq!(windows(15, 2)[15], [16, 17, 31, 32], "the second row starts at its own left edge, one patch in");
        assert!(windows(1, 2).is_empty());
    }
}
