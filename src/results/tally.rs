//! Tally of a run: counts, latencies and the most anomalous images.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde::Serialize;

use crate::image::Warning;
use crate::results::{Counts, Decision, Latency, Milliseconds};
use crate::uninspected::{Reason, Uninspected};

/// Most images that the summary names.
const MAX_NAMED: usize = 5;

/// Tally of a run, updated after each image.
#[derive(Debug, Default)]
pub struct Tally {
    /// The counts so far.
    pub counts: Counts,
    totals: Vec<Duration>,
    worst: Vec<(f32, String)>,
    in_part: BTreeMap<Reason, InPart>,
    warnings: HashSet<Warning>,
}

/// Images that were inspected in part for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct InPart {
    /// Number of images.
    pub images: usize,
    /// The largest share of an image that was left out, where that is known.
    pub largest_share: Option<f64>,
}

impl Tally {
    /// A tally for a run with this many inputs.
    pub fn new(inputs: usize) -> Tally {
        Tally { counts: Counts { inputs, ..Counts::default() }, ..Tally::default() }
    }

    /// Counts an image that was scored.
    pub fn scored(&mut self, path: &str, score: f32, decision: Option<Decision>, uninspected: &[Uninspected], ms: &Milliseconds) {
        self.counts.scored += 1;
        self.totals.push(ms.total());
        self.seen(path, score, decision, uninspected);
    }

    /// Counts an image that an earlier run scored.
    pub fn skipped(&mut self, path: &str, score: f32, decision: Option<Decision>, uninspected: &[Uninspected]) {
        self.counts.skipped += 1;
        self.seen(path, score, decision, uninspected);
    }

    fn seen(&mut self, path: &str, score: f32, decision: Option<Decision>, uninspected: &[Uninspected]) {
        self.count_parts(uninspected);
        self.counts.anomalous += usize::from(decision == Some(Decision::Anomalous));
        let at = self.worst.partition_point(|(other, _)| *other >= score);
        if at < MAX_NAMED {
            self.worst.insert(at, (score, path.to_owned()));
            self.worst.truncate(MAX_NAMED);
        }
    }

    /// Counts an image of which these parts were not inspected, none where it was inspected as a whole.
    pub fn count_parts(&mut self, uninspected: &[Uninspected]) {
        self.counts.in_part += usize::from(!uninspected.is_empty());
        for part in uninspected {
            let counted = self.in_part.entry(part.reason).or_default();
            counted.images += 1;
            counted.largest_share = larger(counted.largest_share, part.share);
        }
    }

    /// Images that were inspected in part, by reason.
    pub fn in_part(&self) -> &BTreeMap<Reason, InPart> {
        &self.in_part
    }

    /// Whether this is the first image with this warning.
    pub fn is_new(&mut self, warning: Warning) -> bool {
        self.warnings.insert(warning)
    }

    /// Counts an image that could not be scored.
    pub fn failed(&mut self) {
        self.counts.failed += 1;
    }

    /// The highest scores with their images, highest first.
    pub fn worst(&self) -> &[(f32, String)] {
        &self.worst
    }

    /// Percentiles of the time of an image; `None` where none was scored.
    pub fn latency(&self) -> Option<Latency> {
        Latency::of(self.totals.clone())
    }
}

/// The larger of two shares, as far as they are known.
fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    [a, b].into_iter().flatten().reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_are_named_highest_first_and_equal_ones_in_order() {
        let mut tally = Tally::new(7);
        for (at, score) in [1.0, 7.0, 3.0, 7.0, 2.0, 5.0, 0.0].into_iter().enumerate() {
            tally.scored(&at.to_string(), score, None, &[], &Milliseconds::default());
        }
        let names: Vec<&str> = tally.worst().iter().map(|(_, path)| path.as_str()).collect();
        assert_eq!(names, ["1", "3", "5", "2", "4"]);
    }

    #[test]
    fn images_inspected_in_part_are_counted_by_reason() {
        let mut tally = Tally::new(3);
        let parts = [Uninspected::outside_crop(0.25), Uninspected::pages(2)];
        tally.scored("a", 1.0, Some(Decision::NormalInPart), &parts, &Milliseconds::default());
        tally.skipped("b", 1.0, None, &[Uninspected::outside_crop(0.75)]);
        tally.scored("c", 1.0, None, &[], &Milliseconds::default());
        assert_eq!(tally.counts.in_part, 2);
        assert_eq!(tally.in_part()[&Reason::OutsideCrop], InPart { images: 2, largest_share: Some(0.75) });
        assert_eq!(tally.in_part()[&Reason::Page], InPart { images: 1, largest_share: None });
    }
}
