//! A group of scores: neighbours in the order of scores, counted together.

/// Scores that are counted together: all that are equal, or all of one bin.
///
/// A metric is computed from groups in descending order. Where a group holds one score, so that all of it passes a threshold together, that is
/// exact. Where it holds several, their order within is unknown, and the best and the worst order give a bracket.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Group {
    /// Anomalous scores.
    pub positives: u64,
    /// Normal scores.
    pub negatives: u64,
    /// What the anomalous pixels cover of their regions: Σ [`share`] of the area of the region that each belongs to.
    pub overlap: u128,
    /// Key of the lowest score.
    pub lowest: u32,
    /// Whether all scores are equal.
    pub is_tied: bool,
}

/// A whole region, in units of [`Group::overlap`]: fixed point, as sums of whole numbers do not depend on their order.
pub(super) const WHOLE: f64 = (1_u128 << 64) as f64;

/// What one pixel is of an area, in units of [`Group::overlap`], rounded half up. Of an area of 2³⁰ the pixels together are off by at most 2⁻³⁵.
pub(super) fn share(area: usize) -> u128 {
    let area = area as u128;
    ((1 << 64) + area / 2) / area
}
