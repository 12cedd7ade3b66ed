//! Metrics over all pixels of many maps, in a few passes over them.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::Mutex;

use serde::Serialize;

use crate::error::{Code, Error, Result};
use crate::metrics::approximations::{ApproximateCounts, Approximations, Approximator};
use crate::metrics::counts::{PixelCounts, Totals};
use crate::metrics::decision::Confusion;
use crate::metrics::exact::{BYTES_PER_KEY, DistinctKeys, ExactCounts};
use crate::metrics::group::Group;
use crate::metrics::measured::Measured;
use crate::metrics::passes::{Passes, lock};
use crate::metrics::pimo::{Aupimo, Levels, NormalTail};
use crate::metrics::pixels::Scored;
use crate::metrics::ranking::Ranking;
use crate::metrics::tallies::Tallies;

/// What is to be computed, and with what.
#[derive(Clone, Debug)]
pub struct PixelOptions {
    /// Whether further passes are to remove the error that bins leave.
    pub is_exact: bool,
    /// Whether what papers print instead of the exact metrics is to be computed, too.
    pub approximations: bool,
    /// A threshold whose decisions are to be counted.
    pub threshold: Option<f32>,
    /// Bytes for the distinct scores of anomalous pixels in an exact pass; with less, there are more passes.
    pub memory: u64,
    /// Threads that load and count; as many as the machine has cores, up to 8, by default. The result does not depend on it.
    pub threads: Option<NonZeroUsize>,
}

impl Default for PixelOptions {
    fn default() -> PixelOptions {
        PixelOptions { is_exact: false, approximations: false, threshold: None, memory: 256 << 20, threads: None }
    }
}

/// Metrics over all pixels of all maps, normal images included.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PixelMetrics {
    /// How much was evaluated.
    pub totals: Totals,
    /// AUROC, AP, AUPR, F1-max over pixels, and curves.
    pub ranking: Ranking,
    /// Area under the PRO curve up to a false positive rate of 0.3, divided by it: see [`crate::metrics::Overlap`].
    pub aupro: Measured,
    /// The same up to 0.05.
    pub aupro_005: Measured,
    /// The PRO curve: false positive rate, overlap; at most 500 points.
    pub pro: Vec<[f64; 2]>,
    /// Area under the per-image overlap curve.
    pub aupimo: Aupimo,
    /// Decisions of [`PixelOptions::threshold`].
    pub at_threshold: Option<Confusion>,
    /// What papers print, where asked for.
    pub approximations: Option<Approximations>,
}

/// Metrics over all pixels of `count` maps.
///
/// `load` gives the map of an image and its mask, from several threads, in each pass again; it has to give the same each time. `progress` is told
/// how many images are done, in this and earlier passes, and its error stops. One pass gives everything with an error bound; a second over
/// anomalous images gives AUPIMO, and over all the approximations. Where the result is to be exact and bins leave an error, scores are divided
/// into ranges whose distinct anomalous scores fit [`PixelOptions::memory`], mostly one, and each takes a pass over all images, each but the first
/// also one over anomalous ones. Memory does not depend on `count`, but for 1e-4 of the normal pixels.
///
/// NaN, a mask of another size than its map, and maps that change between passes are errors.
pub fn pixel_metrics(
    count: usize,
    load: &(dyn Fn(usize) -> Result<Scored> + Sync),
    options: &PixelOptions,
    progress: &(dyn Fn(usize) -> Result<()> + Sync),
) -> Result<PixelMetrics> {
    let passes = Passes::new(load, progress, options.threads);
    let first = First::pass(&passes, count, options)?;
    let ranges = first.exact_ranges(options);
    let second = Second::pass(&passes, &first, ranges.first(), options)?;
    let tallies = match second.keys {
        None => first.counts.tallies(),
        Some(keys) => exact_tallies(&passes, &first, &ranges, keys)?,
    };
    let (ranking, overlap) = tallies.finish();
    Ok(PixelMetrics {
        totals: first.counts.totals(),
        ranking,
        aupro: overlap.aupro,
        aupro_005: overlap.aupro_005,
        pro: overlap.pro,
        aupimo: match first.levels {
            Ok(_) => Aupimo::over(second.aupimo),
            Err(reason) => Aupimo::undefined(count, reason),
        },
        at_threshold: options.threshold.map(|_| first.decisions),
        approximations: options.approximations.then_some(second.approximations),
    })
}

/// What the first pass over all images gives.
struct First {
    counts: PixelCounts,
    levels: std::result::Result<Levels, &'static str>,
    decisions: Confusion,
    all: Vec<usize>,
    anomalous: Vec<usize>,
}

impl First {
    fn pass(passes: &Passes, count: usize, options: &PixelOptions) -> Result<First> {
        let all: Vec<usize> = (0..count).collect();
        let sums = Mutex::new((PixelCounts::default(), NormalTail::new(count), Confusion::default(), Vec::new()));
        passes.run(&all, &|image, _, pixels| {
            let (counts, tail, decisions, anomalous) = &mut *lock(&sums);
            counts.add_pixels(pixels);
            tail.add(pixels);
            if let Some(threshold) = options.threshold {
                decisions.add(pixels, threshold);
            }
            if !pixels.positives.is_empty() {
                anomalous.push(image);
            }
            Ok(())
        })?;
        let (counts, tail, decisions, mut anomalous) = take(sums);
        anomalous.sort_unstable();
        Ok(First { counts, levels: tail.levels(), decisions, all, anomalous })
    }

    /// Ranges of scores to be counted exactly, highest first; none where bins are exact, or need not be.
    fn exact_ranges(&self, options: &PixelOptions) -> Vec<RangeInclusive<u32>> {
        let totals = self.counts.totals();
        let is_loose = |group: Group| group.positives > 0 && !group.is_tied;
        if options.is_exact && totals.positives > 0 && totals.negatives > 0 && self.counts.groups(0..=u32::MAX).any(is_loose) {
            self.counts.ranges(options.memory / BYTES_PER_KEY)
        } else {
            Vec::new()
        }
    }
}

/// What the second pass gives, over anomalous images, or over all for the approximations.
struct Second {
    aupimo: Vec<Option<f64>>,
    keys: Option<DistinctKeys>,
    approximations: Approximations,
}

impl Second {
    fn pass(passes: &Passes, first: &First, range: Option<&RangeInclusive<u32>>, options: &PixelOptions) -> Result<Second> {
        let approximator = Approximator::new(first.counts.extremes());
        let images = match (options.approximations, range.is_some() || first.levels.is_ok()) {
            (true, _) => &first.all[..],
            (false, true) => &first.anomalous,
            (false, false) => &[],
        };
        let keys = range.map(|range| DistinctKeys::new(range.clone()));
        let sums = Mutex::new((vec![None; first.all.len()], keys, ApproximateCounts::nothing()));
        passes.run(images, &|image, scored, pixels| {
            let area = first
                .levels
                .as_ref()
                .ok()
                .filter(|_| !pixels.positives.is_empty())
                .map(|levels| levels.area(pixels));
            let counts = options.approximations.then(|| approximator.count(scored));
            let (aupimo, keys, approximations) = &mut *lock(&sums);
            aupimo[image] = area;
            if let Some(keys) = keys {
                keys.add(pixels);
            }
            if let Some(counts) = &counts {
                approximations.add(counts);
            }
            Ok(())
        })?;
        let (aupimo, keys, approximations) = take(sums);
        Ok(Second { aupimo, keys, approximations: approximator.finish(&approximations) })
    }
}

/// Counts range by range what is at and between the distinct scores of anomalous pixels, those of the first range being known.
fn exact_tallies(passes: &Passes, first: &First, ranges: &[RangeInclusive<u32>], keys: DistinctKeys) -> Result<Tallies> {
    let mut tallies = Tallies::new(first.counts.totals());
    let mut keys = Some(keys);
    for range in ranges {
        let keys = match keys.take() {
            Some(keys) => keys,
            None => distinct_keys(passes, first, range)?,
        };
        let counts = exact_counts(passes, first, keys)?;
        check_unchanged(first.counts.groups(range.clone()), counts.groups())?;
        tallies.push(counts.groups());
    }
    Ok(tallies)
}

fn distinct_keys(passes: &Passes, first: &First, range: &RangeInclusive<u32>) -> Result<DistinctKeys> {
    let keys = Mutex::new(DistinctKeys::new(range.clone()));
    passes.run(&first.anomalous, &|_, _, pixels| {
        lock(&keys).add(pixels);
        Ok(())
    })?;
    Ok(take(keys))
}

fn exact_counts(passes: &Passes, first: &First, keys: DistinctKeys) -> Result<ExactCounts> {
    let (locator, counts) = keys.finish();
    let counts = Mutex::new(counts);
    passes.run(&first.all, &|_, _, pixels| {
        let located = locator.locate(pixels);
        lock(&counts).add(&located);
        Ok(())
    })?;
    Ok(take(counts))
}

/// Refuses maps of which a later pass counted other pixels.
fn check_unchanged(before: impl Iterator<Item = Group>, now: impl Iterator<Item = Group>) -> Result<()> {
    let total = |groups: &mut dyn Iterator<Item = Group>| {
        groups.fold((0, 0, 0), |(positives, negatives, overlap), group| {
            (positives + group.positives, negatives + group.negatives, overlap + group.overlap)
        })
    };
    let (mut before, mut now) = (before, now);
    if total(&mut before) == total(&mut now) {
        return Ok(());
    }
    Err(Error::new(Code::Io, "maps or masks changed while they were evaluated").hint("evaluate again when nothing writes to them"))
}

/// The value of a mutex that nobody holds any more.
fn take<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}
