//! AUPRO at 200 thresholds between the lowest and the highest score, as many papers print it: an approximation under names of its own.

use crate::image::flood;
use crate::metrics::group::{WHOLE, share};
use crate::metrics::measured::{Measured, NO_NEGATIVES, NO_POSITIVES, Sum};

/// Number of thresholds.
pub(super) const STEPS: usize = 200;

/// Largest false positive rate that counts.
const LIMIT: f64 = 0.3;

const TOO_FEW_STEPS: &str = "fewer than two of the 200 thresholds differ in a false positive rate up to 0.3";

/// Thresholds in equal steps between the lowest and the highest score of all maps; a pixel passes one if its score is above it.
pub(super) struct Thresholds {
    lowest: f64,
    highest: f64,
    reading: Reading,
}

/// Who chose the thresholds, and what else differs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// From the lowest score up: `arange(min, max, (max − min) / 200)`; false positive rates below the limit (a reproduction of WinCLIP, and
    /// others).
    Common,
    /// From the highest score down; rates up to the limit; a region is found where its filled outline is (SAA's code).
    Saa,
}

impl Thresholds {
    pub fn new(lowest: f32, highest: f32, reading: Reading) -> Thresholds {
        Thresholds { lowest: f64::from(lowest), highest: f64::from(highest), reading }
    }

    /// The threshold `at`, the highest first: 0…199.
    fn value(&self, at: usize) -> f64 {
        let step = self.highest - self.lowest;
        match self.reading {
            Reading::Common => self.lowest + (STEPS - 1 - at) as f64 * step / STEPS as f64,
            Reading::Saa => self.highest - at as f64 * step / STEPS as f64,
        }
    }

    /// Of each score, the number of thresholds that are not below it: it passes those from there on.
    pub fn levels(&self, scores: &[f32]) -> Vec<u8> {
        let values: Vec<f64> = (0..STEPS).map(|at| self.value(at)).collect();
        let per_unit = STEPS as f64 / (self.highest - self.lowest);
        let level = |score: f32| {
            let score = f64::from(score);
            // A guess by division, which rounding or equal scores throughout may have put beside it.
            let mut level = ((self.highest - score) * per_unit) as usize;
            level = level.min(STEPS);
            while level < STEPS && score <= values[level] {
                level += 1;
            }
            while level > 0 && score > values[level - 1] {
                level -= 1;
            }
            level as u8
        };
        scores.iter().map(|&score| level(score)).collect()
    }
}

/// Pixels by level, for AUPRO at the thresholds of a reading.
#[derive(Clone)]
pub(super) struct StepCounts {
    reading: Reading,
    negatives: [u64; STEPS + 1],
    /// What anomalous pixels cover of their regions, as in [`crate::metrics::group::Group::overlap`].
    overlaps: [u128; STEPS + 1],
    regions: u64,
}

impl StepCounts {
    pub fn new(reading: Reading) -> StepCounts {
        StepCounts { reading, negatives: [0; STEPS + 1], overlaps: [0; STEPS + 1], regions: 0 }
    }

    /// The counts of a map `width` pixels wide, given the levels of its pixels and the regions of its mask.
    pub fn of(reading: Reading, levels: &[u8], width: usize, regions: &[Vec<usize>]) -> StepCounts {
        let mut counts = StepCounts { regions: regions.len() as u64, ..StepCounts::new(reading) };
        levels.iter().for_each(|&level| counts.negatives[usize::from(level)] += 1);
        for region in regions {
            region.iter().for_each(|&pixel| counts.negatives[usize::from(levels[pixel])] -= 1);
            let filled = (reading == Reading::Saa).then(|| filled(region, width));
            let pixel_share = share(region.len());
            let covering = filled.as_ref().unwrap_or(region);
            covering.iter().for_each(|&pixel| counts.overlaps[usize::from(levels[pixel])] += pixel_share);
        }
        counts
    }

    pub fn add(&mut self, other: &StepCounts) {
        self.negatives.iter_mut().zip(&other.negatives).for_each(|(sum, count)| *sum += count);
        self.overlaps.iter_mut().zip(&other.overlaps).for_each(|(sum, overlap)| *sum += overlap);
        self.regions += other.regions;
    }

    /// The area under the points with a false positive rate within the limit, of which rates are stretched to 0…1.
    pub fn finish(&self) -> Measured {
        let total: u64 = self.negatives.iter().sum();
        if self.regions == 0 || total == 0 {
            return Measured::undefined(if self.regions == 0 { NO_POSITIVES } else { NO_NEGATIVES });
        }
        let (mut false_positives, mut overlap) = (0, 0);
        let mut points: Vec<[f64; 2]> = Vec::new();
        for at in 0..STEPS {
            (false_positives, overlap) = (false_positives + self.negatives[at], overlap + self.overlaps[at]);
            points.push([false_positives as f64 / total as f64, overlap as f64 / (self.regions as f64 * WHOLE)]);
        }
        points.retain(|[rate, _]| match self.reading {
            Reading::Common => *rate < LIMIT,
            Reading::Saa => *rate <= LIMIT,
        });
        let (first, last) = (points.first().map_or(0.0, |point| point[0]), points.last().map_or(0.0, |point| point[0]));
        if first == last {
            return Measured::undefined(TOO_FEW_STEPS);
        }
        let mut area = Sum::default();
        points
            .windows(2)
            .for_each(|pair| area.add((pair[1][0] - pair[0][0]) * (pair[0][1] + pair[1][1]) / 2.0));
        Measured::exact(area.value() / (last - first))
    }
}

/// The pixels of a region and of its holes: of what it encloses so that no way out leads over sides or corners.
fn filled(region: &[usize], width: usize) -> Vec<usize> {
    let [x0, y0, x1, y1] = extent(region, width);
    // A margin of one pixel lets the outside flow around the region.
    let (padded_width, padded_height) = (x1 - x0 + 3, y1 - y0 + 3);
    let mut left = vec![true; padded_width * padded_height];
    region
        .iter()
        .for_each(|&pixel| left[(pixel / width - y0 + 1) * padded_width + pixel % width - x0 + 1] = false);
    let mut is_outside = vec![false; left.len()];
    flood(&mut left, 0, padded_width, |pixel| is_outside[pixel] = true);
    let inside = (0..is_outside.len()).filter(|&pixel| !is_outside[pixel]);
    inside
        .map(|pixel| (pixel / padded_width + y0 - 1) * width + pixel % padded_width + x0 - 1)
        .collect()
}

/// First and last column and row of a region: x0, y0, x1, y1.
pub(super) fn extent(region: &[usize], width: usize) -> [usize; 4] {
    region.iter().fold([usize::MAX, usize::MAX, 0, 0], |[x0, y0, x1, y1], pixel| {
        let (x, y) = (pixel % width, pixel / width);
        [x0.min(x), y0.min(y), x1.max(x), y1.max(y)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_counts_the_thresholds_that_are_not_below_a_score() {
        for (lowest, highest) in [(0.0, 1.0), (-3.7, 1e-3), (0.1, 0.1), (-1e30, 1e30)] {
            for reading in [Reading::Common, Reading::Saa] {
                let thresholds = Thresholds::new(lowest, highest, reading);
                let mut scores: Vec<f32> = (0..=1000).map(|at| lowest + (highest - lowest) * (at as f32 / 1000.0)).collect();
                scores.extend((0..STEPS).flat_map(|at| {
                    let value = thresholds.value(at) as f32;
                    [value.next_down(), value, value.next_up()]
                }));
                for (score, level) in scores.iter().zip(thresholds.levels(&scores)) {
                    let expected = (0..STEPS).filter(|&at| thresholds.value(at) >= f64::from(*score)).count();
                    assert_eq!(usize::from(level), expected, "{score} between {lowest} and {highest}");
                }
            }
        }
    }

    #[test]
    fn holes_are_filled_unless_they_open_at_a_corner() {
        // A ring of 8 pixels in a map 5 wide, and the same without its upper left corner.
        let ring = [0, 1, 2, 5, 7, 10, 11, 12];
        assert_eq!(filled(&ring, 5), [0, 1, 2, 5, 6, 7, 10, 11, 12]);
        assert_eq!(filled(&ring[1..], 5), [1, 2, 5, 7, 10, 11, 12]);
    }
}
