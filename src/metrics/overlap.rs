//! Per-region overlap: the PRO curve and the area under it up to a false positive rate (AUPRO, Bergmann et al. 2020).

use crate::metrics::curve::Curve;
use crate::metrics::group::{Group, WHOLE};
use crate::metrics::measured::{Measured, NO_NEGATIVES, NO_POSITIVES, Sum};

/// Per-region overlap of pixels.
///
/// At a threshold, the overlap is the mean over the 8-connected regions of all masks of the share of the region with a score ≥ the threshold; the
/// false positive rate is over all normal pixels of all images. The curve has one point for each distinct score.
#[derive(Clone, Debug, PartialEq)]
pub struct Overlap {
    /// Area up to a false positive rate of 0.3, divided by 0.3.
    pub aupro: Measured,
    /// Area up to a false positive rate of 0.05, divided by 0.05.
    pub aupro_005: Measured,
    /// The PRO curve from `[0, 0]` to `[1, 1]`: false positive rate, overlap; at most 500 points.
    pub pro: Vec<[f64; 2]>,
}

/// Computes an [`Overlap`] from groups in descending order.
///
/// The curve rises. Within a group that is not tied it stays between the overlaps before and behind the group.
pub(super) struct OverlapTally {
    negatives: u64,
    regions: u64,
    false_positives: u64,
    overlap: u128,
    areas: [Area; 2],
    curve: Curve,
}

/// Area under the curve up to a limit, at least and at most.
struct Area {
    limit: f64,
    sums: [Sum; 2],
}

impl OverlapTally {
    pub fn new(negatives: u64, regions: u64) -> OverlapTally {
        let areas = [0.3, 0.05].map(|limit| Area { limit, sums: [Sum::default(); 2] });
        OverlapTally { negatives, regions, false_positives: 0, overlap: 0, areas, curve: Curve::from([0.0, 0.0]) }
    }

    pub fn push(&mut self, group: &Group) {
        let from = self.point();
        self.false_positives += group.negatives;
        self.overlap += group.overlap;
        let to = self.point();
        self.areas.iter_mut().for_each(|area| area.push(from, to, group.is_tied || group.positives == 0));
        self.curve.push(to);
    }

    fn point(&self) -> [f64; 2] {
        [self.false_positives as f64 / self.negatives.max(1) as f64, self.overlap as f64 / (self.regions.max(1) as f64 * WHOLE)]
    }

    pub fn finish(self) -> Overlap {
        if self.regions == 0 || self.negatives == 0 {
            let none = Measured::undefined(if self.regions == 0 { NO_POSITIVES } else { NO_NEGATIVES });
            return Overlap { aupro: none, aupro_005: none, pro: Vec::new() };
        }
        let [aupro, aupro_005] = self.areas.map(Area::finish);
        Overlap { aupro, aupro_005, pro: self.curve.finish() }
    }
}

impl Area {
    /// Adds the piece of the curve between two points, a straight line where it `is_exact`.
    fn push(&mut self, from: [f64; 2], to: [f64; 2], is_exact: bool) {
        if from[0] >= self.limit || from[0] == to[0] {
            return;
        }
        let end = to[0].min(self.limit);
        let width = end - from[0];
        let heights = if is_exact {
            let height = if to[0] == end { to[1] } else { from[1] + (to[1] - from[1]) * width / (to[0] - from[0]) };
            [(from[1] + height) / 2.0; 2]
        } else {
            [from[1], to[1]]
        };
        self.sums.iter_mut().zip(heights).for_each(|(sum, height)| sum.add(width * height));
    }

    fn finish(self) -> Measured {
        let [low, high] = self.sums.map(|sum| sum.value() / self.limit);
        Measured::within(low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::group::share;

    #[test]
    fn the_area_ends_at_the_limit_by_interpolation() {
        // Two regions; the first is found before any false positive, the second together with 4 of 8 normal pixels.
        let whole = share(1);
        let mut tally = OverlapTally::new(8, 2);
        tally.push(&Group { positives: 1, negatives: 0, overlap: whole, lowest: 3, is_tied: true });
        tally.push(&Group { positives: 1, negatives: 4, overlap: whole, lowest: 2, is_tied: true });
        tally.push(&Group { positives: 0, negatives: 4, overlap: 0, lowest: 1, is_tied: true });
        let found = tally.finish();
        assert_eq!(found.pro, [[0.0, 0.0], [0.0, 0.5], [0.5, 1.0], [1.0, 1.0]]);
        // The line from (0, 0.5) to (0.5, 1) is at 0.8 at 0.3 and at 0.55 at 0.05.
        assert!((found.aupro.value.unwrap() - (0.5 + 0.8) / 2.0).abs() < 1e-15);
        assert!((found.aupro_005.value.unwrap() - (0.5 + 0.55) / 2.0).abs() < 1e-15);
    }

    #[test]
    fn an_unknown_order_gives_the_box_around_the_curve() {
        let mut tally = OverlapTally::new(10, 1);
        tally.push(&Group { positives: 2, negatives: 2, overlap: share(1), lowest: 1, is_tied: false });
        tally.push(&Group { positives: 0, negatives: 8, overlap: 0, lowest: 0, is_tied: false });
        let found = tally.finish();
        // Up to 0.2 between 0 and 1, from there 1.
        assert!((found.aupro.value.unwrap() - 0.2 / 0.3).abs() < 1e-12 && (found.aupro.error - 0.1 / 0.3).abs() < 1e-12, "{found:?}");
    }
}
