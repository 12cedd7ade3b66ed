//! AUPIMO: how much of each anomalous image's mask is found while almost nothing of normal images is (Bertoldo et al. 2024), on the exact curve.
//!
//! x(t) is the mean over normal images of the share of the image's pixels with a score ≥ t, TPR(t) the share of the mask of one anomalous image.
//! The curve has a point for each distinct score of normal images or of the mask; the area is that over ln x between 1e-5 and 1e-4, by
//! trapezoids, with linear interpolation over ln x at both ends, divided by ln 10.
//!
//! The reference (`anomalib`, `aupimo`) reads the curve at 300,000 thresholds between the lowest and the highest normal score, and ends at the
//! thresholds nearest to 1e-5 and 1e-4. Both agree where thresholds are dense there; on skewed scores they are not.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::metrics::group::{WHOLE, share};
use crate::metrics::measured::{Measured, NO_NEGATIVES, NO_POSITIVES, Sum};
use crate::metrics::pixels::Pixels;

/// Bounds of the mean false positive rate.
const LOWEST: f64 = 1e-5;
const HIGHEST: f64 = 1e-4;

/// How far a rate may be above a bound and still be at it, as a share: shares of an area are rounded at 2⁻⁶⁵, and f64 at 2⁻⁵³.
const ROUNDING: f64 = 1e-12;

/// Fewest distinct rates within the bounds, bounds included: as many as the fewest normal pixels that reach the lower bound have, if their
/// scores differ.
const FEWEST: usize = 10;

const TOO_FEW: &str = "too few normal pixels, or too many of the highest score, for a false positive rate of 0.00001";
const TOO_TIED: &str = "normal pixels have too few distinct scores between the false positive rates 0.00001 and 0.0001";

/// AUPIMO of each anomalous image and over them.
///
/// It has no value without a normal image, and where normal images do not resolve its bounds: a rate above 0 and at most 1e-5 must occur
/// (100,000 normal pixels of distinct scores do, in normal images of one size), and at least ten distinct rates from 1e-5 to 1e-4.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Aupimo {
    /// Mean over anomalous images.
    pub mean: Measured,
    /// Median over anomalous images, of an even number the mean of the middle two.
    pub median: Measured,
    /// Of each image; `None` for normal ones, and for all where it has no value.
    pub per_image: Vec<Option<f64>>,
}

/// The highest scores of normal images, down to a mean false positive rate of 1e-4 and as few more as are certain to reach it.
pub(super) struct NormalTail {
    /// The share of an image, summed over images, that has to be kept.
    budget: u128,
    /// By key, the summed share of their images that pixels of that score are.
    kept: BTreeMap<u32, u128>,
    total: u128,
    images: u64,
}

impl NormalTail {
    /// The tail of at most so many normal images.
    pub fn new(images: usize) -> NormalTail {
        let budget = (images as f64 * HIGHEST * (1.0 + ROUNDING) * WHOLE) as u128;
        NormalTail { budget, kept: BTreeMap::new(), total: 0, images: 0 }
    }

    /// Adds the pixels of a map, if it is normal.
    pub fn add(&mut self, pixels: &Pixels) {
        if !pixels.positives.is_empty() || pixels.negatives.is_empty() {
            return;
        }
        self.images += 1;
        let pixel = share(pixels.len());
        let mut own = 0;
        for equal in pixels.negatives.chunk_by(|a, b| a == b).rev() {
            if own >= self.budget
                || (self.total >= self.budget && self.kept.first_key_value().is_some_and(|(lowest, _)| equal[0] < *lowest))
            {
                break;
            }
            own += pixel * equal.len() as u128;
            self.total += pixel * equal.len() as u128;
            *self.kept.entry(equal[0]).or_default() += pixel * equal.len() as u128;
        }
        self.trim();
    }

    /// Drops the lowest scores while the rest reaches the budget.
    fn trim(&mut self) {
        while let Some(lowest) = self.kept.first_entry().filter(|lowest| self.total - lowest.get() >= self.budget) {
            self.total -= lowest.remove();
        }
    }

    /// The rates from the last at most 1e-5 to the first at least 1e-4, or why they are not there.
    pub fn levels(&self) -> Result<Levels, &'static str> {
        if self.images == 0 {
            return Err(NO_NEGATIVES);
        }
        let mut passed = 0;
        let mut levels: Vec<(u32, f64)> = Vec::new();
        for (&key, share) in self.kept.iter().rev() {
            passed += share;
            levels.push((key, passed as f64 / (self.images as f64 * WHOLE)));
        }
        let start = levels.partition_point(|(_, rate)| *rate <= LOWEST * (1.0 + ROUNDING));
        let end = levels.partition_point(|(_, rate)| *rate < HIGHEST * (1.0 - ROUNDING));
        if start == 0 {
            return Err(TOO_FEW);
        }
        let inside = |rate: f64| (LOWEST * (1.0 - ROUNDING)..=HIGHEST * (1.0 + ROUNDING)).contains(&rate);
        if levels.iter().filter(|(_, rate)| inside(*rate)).count() < FEWEST {
            return Err(TOO_TIED);
        }
        levels.truncate(end + 1);
        levels.drain(..start - 1);
        Ok(Levels(levels.into_iter().map(|(key, rate)| (key, rate.ln())).collect()))
    }
}

/// Keys of normal scores, highest first, and the logarithm of the mean false positive rate at each.
pub(super) struct Levels(Vec<(u32, f64)>);

impl Levels {
    /// AUPIMO of an anomalous image.
    pub fn area(&self, pixels: &Pixels) -> f64 {
        let keys = &pixels.positives;
        let share_from = |first: usize| (keys.len() - first) as f64 / keys.len() as f64;
        let (lowest, highest) = (LOWEST.ln(), HIGHEST.ln());
        let mut area = Sum::default();
        for pair in self.0.windows(2) {
            let [(_, from), (key, to)] = [pair[0], pair[1]];
            // Scores of the mask between two normal ones raise the curve where it stands.
            let heights =
                [share_from(keys.partition_point(|&(one, _)| one <= key)), share_from(keys.partition_point(|&(one, _)| one < key))];
            let (start, end) = (from.max(lowest), to.min(highest));
            let height = |x: f64| heights[0] + (heights[1] - heights[0]) * (x - from) / (to - from);
            if start < end {
                area.add((end - start) * (height(start) + height(end)) / 2.0);
            }
        }
        area.value() / (highest - lowest)
    }
}

impl Aupimo {
    /// No value, for a reason.
    pub(super) fn undefined(images: usize, reason: &'static str) -> Aupimo {
        let none = Measured::undefined(reason);
        Aupimo { mean: none, median: none, per_image: vec![None; images] }
    }

    pub(super) fn over(per_image: Vec<Option<f64>>) -> Aupimo {
        let mut values: Vec<f64> = per_image.iter().flatten().copied().collect();
        if values.is_empty() {
            return Aupimo::undefined(per_image.len(), NO_POSITIVES);
        }
        values.sort_by(f64::total_cmp);
        let mut sum = Sum::default();
        values.iter().for_each(|&value| sum.add(value));
        let middle = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
        Aupimo { mean: Measured::exact(sum.value() / values.len() as f64), median: Measured::exact(middle), per_image }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A normal image with the keys 1…n.
    fn normal(n: u32) -> Pixels {
        Pixels { negatives: (1..=n).collect(), positives: Vec::new(), areas: Vec::new() }
    }

    fn masked(keys: &[u32]) -> Pixels {
        Pixels { negatives: vec![1], positives: keys.iter().map(|&key| (key, 0)).collect(), areas: vec![keys.len()] }
    }

    fn tail(images: &[Pixels]) -> NormalTail {
        let mut tail = NormalTail::new(images.len());
        images.iter().for_each(|pixels| tail.add(pixels));
        tail
    }

    #[test]
    fn an_area_by_hand() {
        // 100,000 normal pixels: the highest score, 100,000, is at 1e-5, the tenth, 99,991, at 1e-4.
        let levels = tail(&[normal(100_000)]).levels().unwrap();
        assert_eq!(levels.0.iter().map(|(key, _)| *key).collect::<Vec<_>>(), (99_991..=100_000).rev().collect::<Vec<_>>());
        let log10 = |x: f64| x.log10();
        assert!((levels.area(&masked(&[100_001])) - 1.0).abs() < 1e-12);
        assert_eq!(levels.area(&masked(&[99_990])), 0.0);
        // Half of the mask is above all normal scores; the other half ties with the third, at which the curve rises from 2e-5 to 3e-5.
        let expected = 0.5 * log10(2.0) + 0.75 * log10(3.0 / 2.0) + log10(10.0 / 3.0);
        assert!((levels.area(&masked(&[99_998, 100_001])) - expected).abs() < 1e-12);
        // Between the second and the third, it rises at 2e-5.
        let pixels = Pixels { negatives: (1..=100_000).map(|key| 2 * key).collect(), ..normal(0) };
        let found = tail(&[pixels]).levels().unwrap().area(&masked(&[199_997, 200_001]));
        assert!((found - (0.5 * log10(2.0) + log10(5.0))).abs() < 1e-12);
    }

    #[test]
    fn images_of_any_size_count_the_same() {
        // The rate of a pixel is half its share of its own image.
        let images = [normal(200_000), Pixels { negatives: (150_000..=200_000).collect(), ..normal(0) }];
        let kept = tail(&images);
        let rate = kept.kept[&200_000] as f64 / (2.0 * WHOLE);
        assert!((rate - (1.0 / 200_000.0 + 1.0 / 50_001.0) / 2.0).abs() < 1e-15);
        assert!(kept.kept.len() < 40, "{}", kept.kept.len());
    }

    #[test]
    fn the_tail_does_not_depend_on_the_order_of_images() {
        let images = || [normal(100_000), normal(50_000), Pixels { negatives: (90_000..=110_000).collect(), ..normal(0) }, masked(&[5])];
        let forth = tail(&images());
        let mut back = NormalTail::new(4);
        images().iter().rev().for_each(|pixels| back.add(pixels));
        assert_eq!((forth.kept, forth.images), (back.kept, 3));
    }

    #[test]
    fn rates_that_are_not_resolved_have_no_area() {
        assert_eq!(tail(&[normal(99_000)]).levels().err(), Some(TOO_FEW));
        assert_eq!(tail(&[masked(&[1])]).levels().err(), Some(NO_NEGATIVES));
        let tied = Pixels { negatives: (1..=200_000).map(|key| key / 4).collect(), ..normal(0) };
        assert_eq!(tail(&[tied]).levels().err(), Some(TOO_TIED));
    }

    #[test]
    fn mean_and_median_are_over_anomalous_images() {
        let found = Aupimo::over(vec![Some(0.25), None, Some(1.0), Some(0.5), Some(0.75)]);
        assert_eq!((found.mean.value, found.median.value), (Some(0.625), Some(0.625)));
        assert_eq!(Aupimo::over(vec![None]).mean, Measured::undefined(NO_POSITIVES));
    }
}
