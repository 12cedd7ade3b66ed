//! Counts of pixels in bins of scores: an accumulator whose size does not depend on the number of images, and that merges with others.

use std::ops::RangeInclusive;

use crate::error::Result;
use crate::metrics::group::Group;
use crate::metrics::overlap::Overlap;
use crate::metrics::pixels::{Pixels, Scored};
use crate::metrics::ranking::Ranking;
use crate::metrics::tallies::Tallies;

/// Bits of a key that tell bins apart, unless asked otherwise: sign, exponent and 15 bits of the fraction of an f32.
pub(super) const BITS: u32 = 24;

/// Bits of a bin's number within its block; blocks exist where a pixel fell.
const BLOCK_BITS: u32 = 12;

/// Pixels of many maps, counted by the leading bits of their scores.
///
/// A bin holds what lies between two neighbouring floats of a shorter fraction. From the counts follow all metrics of a ranking and of overlap; as
/// the order within a bin is unknown, each comes with the error that this can make, which is 0 where no anomalous pixel shares its bin with a
/// different score.
///
/// Everything is a sum of whole numbers, a minimum or a maximum, so that the result is the same for any order of images and of merging. Of 24
/// bits, a bin takes 16 bytes, and 24 more where anomalous pixels fell near it: at most 640 MiB, if scores of either sign and of every magnitude
/// occur, and 1.3 MiB for each factor of two that they span.
pub struct PixelCounts {
    /// Bits of a key below those of its bin.
    shift: u32,
    blocks: Vec<Option<Block>>,
    totals: Totals,
}

/// How much was evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Maps.
    pub images: u64,
    /// Maps with an anomalous pixel.
    pub anomalous_images: u64,
    /// Anomalous pixels.
    pub positives: u64,
    /// Normal pixels.
    pub negatives: u64,
    /// Connected regions of anomalous pixels.
    pub regions: u64,
}

/// Neighbouring bins.
struct Block {
    bins: Vec<Bin>,
    /// Empty, or as long as `bins`: what anomalous pixels fell into each.
    positives: Vec<u64>,
    overlaps: Vec<u128>,
}

/// Normal pixels of a bin, and the range of all its keys.
#[derive(Clone, Copy)]
struct Bin {
    negatives: u64,
    lowest: u32,
    highest: u32,
}

impl Default for PixelCounts {
    fn default() -> PixelCounts {
        PixelCounts::with_bits(BITS)
    }
}

impl PixelCounts {
    /// Counts with bins of the leading 12 to 24 bits; fewer take less memory and leave larger errors. Panics for others.
    #[track_caller]
    pub fn with_bits(bits: u32) -> PixelCounts {
        assert!((BLOCK_BITS..=BITS).contains(&bits), "bins of {bits} bits");
        let blocks = std::iter::repeat_with(|| None).take(1 << (bits - BLOCK_BITS)).collect();
        PixelCounts { shift: 32 - bits, blocks, totals: Totals::default() }
    }

    /// Adds the pixels of a map. NaN, and a mask of another size, are errors.
    pub fn add(&mut self, scored: &Scored) -> Result<()> {
        self.add_pixels(&Pixels::of(scored)?);
        Ok(())
    }

    pub(super) fn add_pixels(&mut self, pixels: &Pixels) {
        let shift = self.shift;
        for equal in pixels.negatives.chunk_by(|a, b| a >> shift == b >> shift) {
            let (block, bin) = self.at(equal[0]);
            block.bins[bin].negatives += equal.len() as u64;
            block.bins[bin].cover(equal[0], equal[equal.len() - 1]);
        }
        for (key, overlap) in pixels.overlaps() {
            let (block, bin) = self.at(key);
            block.bins[bin].cover(key, key);
            block.hold_positives();
            block.positives[bin] += 1;
            block.overlaps[bin] += overlap;
        }
        let image = Totals {
            images: 1,
            anomalous_images: u64::from(!pixels.positives.is_empty()),
            positives: pixels.positives.len() as u64,
            negatives: pixels.negatives.len() as u64,
            regions: pixels.areas.len() as u64,
        };
        self.totals.add(&image);
    }

    /// Adds what other counts hold. Panics where their bins are others.
    #[track_caller]
    pub fn merge(&mut self, other: &PixelCounts) {
        assert!(self.shift == other.shift, "counts with bins of {} and {} bits", 32 - self.shift, 32 - other.shift);
        for (block, other) in self.blocks.iter_mut().zip(&other.blocks) {
            if let Some(other) = other {
                block.get_or_insert_with(Block::new).merge(other);
            }
        }
        self.totals.add(&other.totals);
    }

    /// How much was counted.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Metrics over all pixels, with what the width of bins can make them err.
    pub fn ranking(&self) -> Ranking {
        self.tallies().finish().0
    }

    /// Per-region overlap, with what the width of bins can make it err.
    pub fn overlap(&self) -> Overlap {
        self.tallies().finish().1
    }

    pub(super) fn tallies(&self) -> Tallies {
        let mut tallies = Tallies::new(self.totals);
        tallies.push(self.groups(0..=u32::MAX));
        tallies
    }

    /// The bins within a range of keys that ends where bins end, highest first.
    pub(super) fn groups(&self, keys: RangeInclusive<u32>) -> impl Iterator<Item = Group> {
        let [first, last] = [keys.start(), keys.end()].map(|key| (key >> self.shift) as usize);
        (first >> BLOCK_BITS..=last >> BLOCK_BITS)
            .rev()
            .filter_map(|at| self.blocks[at].as_ref().map(|block| (at << BLOCK_BITS, block)))
            .flat_map(move |(start, block)| {
                let inside = first.max(start) - start..(last - start + 1).min(1 << BLOCK_BITS);
                inside.rev().filter_map(|bin| block.group(bin))
            })
    }

    /// Divides all keys into ranges, highest first, in each of which anomalous pixels have at most `limit` distinct scores, as far as bins tell:
    /// one bin alone may hold more.
    pub(super) fn ranges(&self, limit: u64) -> Vec<RangeInclusive<u32>> {
        let (mut ranges, mut distinct, mut end) = (Vec::new(), 0, u32::MAX);
        for group in self.groups(0..=u32::MAX) {
            let here = group.positives.min(1 << self.shift);
            let bin_end = group.lowest | ((1 << self.shift) - 1);
            if distinct > 0 && distinct + here > limit {
                ranges.push(bin_end + 1..=end);
                (distinct, end) = (0, bin_end);
            }
            distinct += here;
        }
        ranges.push(0..=end);
        ranges
    }

    /// Key of the lowest and of the highest score; `None` where there is none.
    pub(super) fn extremes(&self) -> Option<[u32; 2]> {
        let bins = || self.blocks.iter().flatten().flat_map(|block| &block.bins);
        let highest = bins().map(|bin| bin.highest).max()?;
        Some([bins().map(|bin| bin.lowest).min()?, highest])
    }

    fn at(&mut self, key: u32) -> (&mut Block, usize) {
        let bin = (key >> self.shift) as usize;
        (self.blocks[bin >> BLOCK_BITS].get_or_insert_with(Block::new), bin % (1 << BLOCK_BITS))
    }
}

impl Block {
    fn new() -> Block {
        Block {
            bins: vec![Bin { negatives: 0, lowest: u32::MAX, highest: 0 }; 1 << BLOCK_BITS],
            positives: Vec::new(),
            overlaps: Vec::new(),
        }
    }

    fn hold_positives(&mut self) {
        if self.positives.is_empty() {
            self.positives = vec![0; 1 << BLOCK_BITS];
            self.overlaps = vec![0; 1 << BLOCK_BITS];
        }
    }

    fn group(&self, at: usize) -> Option<Group> {
        let bin = self.bins[at];
        (bin.lowest <= bin.highest).then(|| Group {
            positives: self.positives.get(at).copied().unwrap_or(0),
            negatives: bin.negatives,
            overlap: self.overlaps.get(at).copied().unwrap_or(0),
            lowest: bin.lowest,
            is_tied: bin.lowest == bin.highest,
        })
    }

    fn merge(&mut self, other: &Block) {
        for (bin, other) in self.bins.iter_mut().zip(&other.bins) {
            bin.negatives += other.negatives;
            bin.cover(other.lowest, other.highest);
        }
        if !other.positives.is_empty() {
            self.hold_positives();
            self.positives.iter_mut().zip(&other.positives).for_each(|(count, other)| *count += other);
            self.overlaps.iter_mut().zip(&other.overlaps).for_each(|(overlap, other)| *overlap += other);
        }
    }
}

impl Bin {
    fn cover(&mut self, lowest: u32, highest: u32) {
        (self.lowest, self.highest) = (self.lowest.min(lowest), self.highest.max(highest));
    }
}

impl Totals {
    fn add(&mut self, other: &Totals) {
        self.images += other.images;
        self.anomalous_images += other.anomalous_images;
        self.positives += other.positives;
        self.negatives += other.negatives;
        self.regions += other.regions;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Mask;
    use crate::metrics::key::key_of;
    use crate::tensor::{Array, Seeded};

    fn scored(seed: u64) -> Scored {
        let mut random = Seeded::new(seed);
        let map = Array::new([9, 7], random.numbers(63));
        let mask = seed.is_multiple_of(2).then(|| Mask::new(7, 9, (0..63).map(|_| random.uniform() < 0.2).collect()));
        Scored { map, mask }
    }

    #[test]
    fn merging_in_any_order_gives_the_same_counts() {
        let count = |seeds: &[u64]| {
            let mut counts = PixelCounts::default();
            seeds.iter().for_each(|&seed| counts.add(&scored(seed)).unwrap());
            counts
        };
        let whole = count(&[1, 2, 3, 4, 5, 6]);
        let mut merged = count(&[6, 4]);
        merged.merge(&count(&[]));
        merged.merge(&count(&[3, 5, 2]));
        merged.merge(&count(&[1]));
        assert_eq!((merged.totals(), merged.ranking(), merged.overlap()), (whole.totals(), whole.ranking(), whole.overlap()));
        assert_ne!(count(&[1, 2, 3, 4, 5]).ranking().auroc, whole.ranking().auroc);
    }

    #[test]
    fn ranges_cover_all_keys_once_and_end_between_bins() {
        let mut counts = PixelCounts::with_bits(16);
        (0..40).for_each(|seed| counts.add(&scored(seed)).unwrap());
        for limit in [1, 5, 50, 1_000_000] {
            let ranges = counts.ranges(limit);
            assert_eq!((*ranges[0].end(), *ranges[ranges.len() - 1].start()), (u32::MAX, 0));
            assert!(
                ranges
                    .windows(2)
                    .all(|pair| pair[0].start() - 1 == *pair[1].end() && pair[0].start() % (1 << 16) == 0)
            );
            let groups: Vec<Group> = ranges.iter().flat_map(|range| counts.groups(range.clone())).collect();
            assert_eq!(groups, counts.groups(0..=u32::MAX).collect::<Vec<_>>());
        }
        assert!(counts.ranges(5).len() > 10 && counts.ranges(1_000_000).len() == 1);
    }

    #[test]
    fn extremes_are_those_of_all_scores() {
        let mut counts = PixelCounts::default();
        assert_eq!(counts.extremes(), None);
        counts.add(&Scored { map: Array::new([1, 3], vec![0.25, -7.0, 1e-30]), mask: None }).unwrap();
        assert_eq!(counts.extremes(), Some([key_of(-7.0), key_of(0.25)]));
    }
}
