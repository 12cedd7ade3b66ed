//! Exact counts within a range of scores: every distinct score of an anomalous pixel, and how many normal pixels lie at it and between it and the next.
//!
//! That is all that metrics depend on: normal pixels between two neighbouring scores of anomalous ones may be counted together.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::metrics::group::Group;
use crate::metrics::pixels::Pixels;

/// Bytes that [`ExactCounts`] takes for a distinct score, with room to collect them.
pub(super) const BYTES_PER_KEY: u64 = 4 + 8 + 8 + 8 + 16 + 8;

/// Collects the distinct keys of anomalous pixels within a range.
pub(super) struct DistinctKeys {
    range: RangeInclusive<u32>,
    keys: Vec<u32>,
    /// How many of the keys are in order and distinct.
    distinct: usize,
}

impl DistinctKeys {
    pub fn new(range: RangeInclusive<u32>) -> DistinctKeys {
        DistinctKeys { range, keys: Vec::new(), distinct: 0 }
    }

    pub fn add(&mut self, pixels: &Pixels) {
        self.keys
            .extend(within(&pixels.positives, |&(key, _)| key, &self.range).iter().map(|&(key, _)| key));
        if self.keys.len() > 2 * self.distinct + (1 << 20) {
            self.tidy();
        }
    }

    fn tidy(&mut self) {
        self.keys.sort_unstable();
        self.keys.dedup();
        self.distinct = self.keys.len();
    }

    /// The keys in order, and the counts to be made at and between them.
    pub fn finish(mut self) -> (Locator, ExactCounts) {
        self.tidy();
        self.keys.shrink_to_fit();
        let count = self.keys.len();
        let keys: Arc<[u32]> = self.keys.into();
        let counts = ExactCounts {
            keys: keys.clone(),
            negatives: vec![0; 2 * count + 1],
            positives: vec![0; count],
            overlaps: vec![0; count],
        };
        (Locator { range: self.range, keys }, counts)
    }
}

/// Finds where the pixels of a map are counted.
pub(super) struct Locator {
    range: RangeInclusive<u32>,
    keys: Arc<[u32]>,
}

/// Where pixels of a map are counted.
pub(super) struct Located {
    /// Entries of [`ExactCounts::negatives`], and how many normal pixels.
    negatives: Vec<(usize, u64)>,
    /// Keys, and what an anomalous pixel covers of its region.
    positives: Vec<(usize, u128)>,
}

impl Locator {
    pub fn locate(&self, pixels: &Pixels) -> Located {
        let mut at = 0;
        let mut negatives: Vec<(usize, u64)> = Vec::new();
        for &key in within(&pixels.negatives, |&key| key, &self.range) {
            while self.keys.get(at).is_some_and(|&next| next < key) {
                at += 1;
            }
            let entry = 2 * at + usize::from(self.keys.get(at) == Some(&key));
            match negatives.last_mut() {
                Some((last, count)) if *last == entry => *count += 1,
                _ => negatives.push((entry, 1)),
            }
        }
        // A key that was not there when keys were collected is missed, and the totals then tell.
        let known = |(key, overlap)| Some((self.keys.binary_search(&key).ok()?, overlap));
        let positives = pixels.overlaps().filter(|(key, _)| self.range.contains(key)).filter_map(known).collect();
        Located { negatives, positives }
    }
}

/// Pixels within a range of keys, counted at and between the distinct keys of anomalous pixels.
pub(super) struct ExactCounts {
    /// Distinct keys of anomalous pixels, ascending.
    keys: Arc<[u32]>,
    /// Normal pixels below the first key, at it, between it and the second, at that, and so on: two more for each key after the first entry.
    negatives: Vec<u64>,
    positives: Vec<u64>,
    overlaps: Vec<u128>,
}

impl ExactCounts {
    pub fn add(&mut self, located: &Located) {
        located.negatives.iter().for_each(|&(entry, count)| self.negatives[entry] += count);
        for &(at, overlap) in &located.positives {
            self.positives[at] += 1;
            self.overlaps[at] += overlap;
        }
    }

    /// What lies at and between the keys, highest first.
    pub fn groups(&self) -> impl Iterator<Item = Group> {
        (0..self.negatives.len()).rev().map(|entry| {
            let negatives = self.negatives[entry];
            if entry % 2 == 0 {
                return Group { negatives, ..Group::default() };
            }
            let at = entry / 2;
            Group {
                positives: self.positives[at],
                negatives,
                overlap: self.overlaps[at],
                lowest: self.keys[at],
                is_tied: true,
            }
        })
    }
}

/// The part of what is sorted by key that lies within a range.
fn within<'a, T>(sorted: &'a [T], key: impl Fn(&T) -> u32, range: &RangeInclusive<u32>) -> &'a [T] {
    let start = sorted.partition_point(|one| key(one) < *range.start());
    let end = sorted.partition_point(|one| key(one) <= *range.end());
    &sorted[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_pixels_are_counted_at_and_between_the_scores_of_anomalous_ones() {
        let pixels = Pixels {
            negatives: vec![1, 10, 11, 20, 20, 21, 25, 30, 99],
            positives: vec![(5, 0), (20, 0), (20, 0), (30, 1)],
            areas: vec![4, 1],
        };
        let mut keys = DistinctKeys::new(10..=50);
        keys.add(&pixels);
        let (locator, mut counts) = keys.finish();
        counts.add(&locator.locate(&pixels));
        let found: Vec<_> = counts.groups().map(|group| (group.lowest, group.positives, group.negatives)).collect();
        assert_eq!(found, [(0, 0, 0), (30, 1, 1), (0, 0, 2), (20, 2, 2), (0, 0, 2)]);
        assert_eq!(counts.groups().map(|group| group.overlap).sum::<u128>(), (1 << 64) + (1 << 63));
    }
}
