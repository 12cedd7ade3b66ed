//! The pixels of one map, sorted: what every accumulator takes in.

use crate::error::{Code, Error, Result};
use crate::image::Mask;
use crate::metrics::group::share;
use crate::metrics::key::key_of;
use crate::tensor::Array;

/// An anomaly map and what is known of its image.
pub struct Scored {
    /// Scores `[h, w]`, higher where more anomalous.
    pub map: Array,
    /// Anomalous pixels, of the map's size. Without a mask, or without a mark in it, the image is normal.
    pub mask: Option<Mask>,
}

/// The pixels of a map by their scores' keys.
pub(super) struct Pixels {
    /// Keys of normal pixels, ascending.
    pub negatives: Vec<u32>,
    /// Keys of anomalous pixels, ascending, and the number of the region that each belongs to.
    pub positives: Vec<(u32, u32)>,
    /// Number of pixels of each region.
    pub areas: Vec<usize>,
}

impl Pixels {
    /// Sorts the pixels of a map. NaN, no pixel at all, and a mask of another size, are errors.
    pub fn of(scored: &Scored) -> Result<Pixels> {
        check(scored)?;
        let scores = scored.map.data();
        let Some(mask) = scored.mask.as_ref().filter(|mask| mask.data().contains(&true)) else {
            return Ok(Pixels {
                negatives: sorted(scores.iter().map(|&score| key_of(score)).collect()),
                positives: Vec::new(),
                areas: Vec::new(),
            });
        };
        let unmarked = scores.iter().zip(mask.data()).filter(|(_, is_marked)| !**is_marked);
        let components = mask.components();
        let mut positives: Vec<(u32, u32)> = components
            .iter()
            .zip(0..)
            .flat_map(|(pixels, region)| pixels.iter().map(move |&pixel| (key_of(scores[pixel]), region)))
            .collect();
        positives.sort_unstable();
        let negatives = sorted(unmarked.map(|(&score, _)| key_of(score)).collect());
        Ok(Pixels { negatives, positives, areas: components.iter().map(Vec::len).collect() })
    }

    /// Number of pixels.
    pub fn len(&self) -> usize {
        self.negatives.len() + self.positives.len()
    }

    /// Keys of anomalous pixels, ascending, and what each pixel covers of its region.
    pub fn overlaps(&self) -> impl Iterator<Item = (u32, u128)> {
        let shares: Vec<u128> = self.areas.iter().map(|&area| share(area)).collect();
        self.positives.iter().map(move |&(key, region)| (key, shares[region as usize]))
    }
}

/// Refuses a map that cannot be ranked, and a mask that is not its.
fn check(scored: &Scored) -> Result<()> {
    let [height, width] = scored.map.shape().axes();
    if scored.map.data().is_empty() {
        return Err(Error::new(Code::Usage, format!("the map is {width}×{height} and has no pixel")));
    }
    if let Some(at) = scored.map.data().iter().position(|score| score.is_nan()) {
        let (x, y) = (at % width, at / width);
        return Err(Error::new(Code::Nonfinite, format!("the map is NaN at x {x}, y {y}")));
    }
    match &scored.mask {
        Some(mask) if (mask.width(), mask.height()) != (width, height) => {
            let (mask_width, mask_height) = (mask.width(), mask.height());
            let message = format!("the mask is {mask_width}×{mask_height} but the map is {width}×{height}");
            Err(Error::new(Code::Usage, message).hint("resize one to the other, the mask without interpolation"))
        }
        _ => Ok(()),
    }
}

/// Bits of a key that one step of sorting looks at.
const DIGIT: u32 = 11;

/// Keys in ascending order: by digits, from the lowest, each step stable.
fn sorted(mut keys: Vec<u32>) -> Vec<u32> {
    const BUCKETS: usize = 1 << DIGIT;
    if keys.len() < BUCKETS {
        keys.sort_unstable();
        return keys;
    }
    let digit = |key: u32, step: u32| (key >> (step * DIGIT)) as usize % BUCKETS;
    let mut starts = [[0; BUCKETS]; 3];
    for &key in &keys {
        (0..3).for_each(|step| starts[step as usize][digit(key, step)] += 1);
    }
    let mut other = vec![0; keys.len()];
    for (step, starts) in (0..).zip(&mut starts) {
        if starts.contains(&keys.len()) {
            continue;
        }
        let mut total = 0;
        starts.iter_mut().for_each(|start| total += std::mem::replace(start, total));
        for &key in &keys {
            let start = &mut starts[digit(key, step)];
            other[*start] = key;
            *start += 1;
        }
        std::mem::swap(&mut keys, &mut other);
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Seeded;

    #[test]
    fn keys_are_sorted_whatever_their_number_and_digits() {
        let mut random = Seeded::new(1);
        for (len, shift) in [(0, 0), (1, 0), (2047, 0), (2048, 0), (50_000, 0), (50_000, 12), (50_000, 25), (50_000, 31)] {
            let keys: Vec<u32> = (0..len).map(|_| (random.bits() as u32) >> shift).collect();
            let mut expected = keys.clone();
            expected.sort_unstable();
            assert_eq!(sorted(keys), expected);
        }
    }

    #[test]
    fn pixels_are_told_apart_by_the_mask_and_regions_by_their_corners() {
        let map = Array::new([2, 3], vec![0.5, 0.1, 0.2, 0.4, 0.3, -0.0]);
        let mask = Mask::new(3, 2, vec![true, false, false, false, true, false]);
        let pixels = Pixels::of(&Scored { map, mask: Some(mask) }).unwrap();
        assert_eq!(pixels.negatives, [0.0, 0.1, 0.2, 0.4].map(key_of));
        assert_eq!((pixels.positives, pixels.areas), (vec![(key_of(0.3), 0), (key_of(0.5), 0)], vec![2]));
    }

    #[test]
    fn a_map_that_cannot_be_ranked_is_refused() {
        let scored = |map: Vec<f32>, mask: Option<Mask>| Pixels::of(&Scored { map: Array::new([1, 2], map), mask }).err().unwrap();
        assert!(Pixels::of(&Scored { map: Array::zeros([0, 2]), mask: None }).is_err());
        assert_eq!(scored(vec![0.0, f32::NAN], None).message(), "the map is NaN at x 1, y 0");
        let error = scored(vec![0.0, 1.0], Some(Mask::new(1, 2, vec![false; 2])));
        assert_eq!((error.code(), error.message()), (Code::Usage, "the mask is 1×2 but the map is 2×1"));
    }
}
