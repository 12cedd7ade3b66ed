//! From regions to a map: rescoring by saliency, the best regions, and their mean at each pixel (Cao et al. 2023, eq. 6 to 9).

use crate::image::Mask;
use crate::methods::saa::Denominator;
use crate::tensor::Array;

/// A score after rescoring by saliency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rescored {
    /// exp(exponent · mean saliency of the region).
    pub factor: f32,
    /// Score times factor.
    pub score: f32,
}

/// The score of a region rescored by its mean saliency; an empty region keeps its score.
pub(super) fn rescored(score: f32, mean_saliency: Option<f32>, exponent: f32) -> Rescored {
    let factor = mean_saliency.map_or(1.0, |mean| (exponent * mean).exp());
    Rescored { factor, score: score * factor }
}

/// Numbers of the `count` highest scores, highest first; of equal ones the first comes first.
pub(super) fn best(scores: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order.truncate(count);
    order
}

/// The map A in the making: the sum of the scores of the regions at each pixel, and their number.
pub(super) struct Fusion {
    size: (usize, usize),
    sums: Vec<(f64, u32)>,
}

impl Fusion {
    /// Of an image of so many rows and columns, without regions.
    pub fn new(size: (usize, usize)) -> Fusion {
        Fusion { size, sums: vec![(0.0, 0); size.0 * size.1] }
    }

    /// Adds a region with its score.
    pub fn add(&mut self, region: &Mask, score: f32) {
        for (sum, _) in self.sums.iter_mut().zip(region.data()).filter(|(_, inside)| **inside) {
            sum.0 += f64::from(score);
            sum.1 += 1;
        }
    }

    /// The map `[height, width]`: sums divided by numbers, or by one more; 0 where there is no region.
    pub fn map(self, denominator: Denominator) -> Array {
        let value = |(sum, count): (f64, u32)| match denominator {
            Denominator::OneAndRegions => sum / f64::from(count + 1),
            Denominator::Regions => sum / f64::from(count.max(1)),
        };
        Array::new([self.size.0, self.size.1], self.sums.into_iter().map(|sum| value(sum) as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(marks: [f32; 4]) -> Mask {
        Mask::of_positive(&Array::new([1, 4], marks.to_vec()))
    }

    #[test]
    fn a_region_is_rescored_by_its_mean_saliency() {
        // 0.4 · e^0.6 in the released reading, 0.4 · e^0.2 in the paper's.
        assert!((rescored(0.4, Some(0.2), 3.0).score - 0.728_847_5).abs() < 1e-6);
        assert!((rescored(0.4, Some(0.2), 1.0).score - 0.488_561_1).abs() < 1e-6);
        assert_eq!(rescored(0.4, None, 3.0), Rescored { factor: 1.0, score: 0.4 });
    }

    #[test]
    fn of_equal_scores_the_first_is_better() {
        assert_eq!(best(&[0.2, 0.9, 0.2, 0.5], 3), [1, 3, 0]);
        assert_eq!(best(&[0.2], 5), [0]);
        assert_eq!(best(&[], 5), [0; 0]);
    }

    /// The worked check of the specification: one region of 0.4, two of 0.4 and 0.2, none.
    #[test]
    fn overlap_is_rewarded_where_one_is_added() {
        let (a, b) = (mask([1.0, 1.0, 0.0, 0.0]), mask([0.0, 1.0, 1.0, 0.0]));
        let map = |denominator| {
            let mut fusion = Fusion::new((1, 4));
            fusion.add(&a, 0.4);
            fusion.add(&b, 0.2);
            fusion.map(denominator)
        };
        let is_near = |found: &Array, expected: [f32; 4]| found.data().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7);
        assert!(is_near(&map(Denominator::OneAndRegions), [0.2, 0.2, 0.1, 0.0]));
        assert!(is_near(&map(Denominator::Regions), [0.4, 0.3, 0.2, 0.0]));
    }
}
