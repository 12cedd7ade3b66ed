//! Counts, latencies and the most anomalous photos of a run.

use crate::results::{Counts, Decision, Latency, Milliseconds};

/// Photos that the summary names.
const MOST_NAMED: usize = 5;

/// What is counted while photos go by.
#[derive(Debug, Default)]
pub struct Tally {
    /// The counts so far.
    pub counts: Counts,
    totals: Vec<f64>,
    worst: Vec<(f32, String)>,
}

impl Tally {
    /// Of a run with this many inputs.
    pub fn new(inputs: usize) -> Tally {
        Tally { counts: Counts { inputs, ..Counts::default() }, ..Tally::default() }
    }

    /// Counts a photo that was scored.
    pub fn scored(&mut self, path: &str, score: f32, decision: Option<Decision>, ms: &Milliseconds) {
        self.counts.scored += 1;
        self.totals.push(ms.total());
        self.seen(path, score, decision);
    }

    /// Counts a photo that an earlier run scored.
    pub fn skipped(&mut self, path: &str, score: f32, decision: Option<Decision>) {
        self.counts.skipped += 1;
        self.seen(path, score, decision);
    }

    fn seen(&mut self, path: &str, score: f32, decision: Option<Decision>) {
        self.counts.anomalous += usize::from(decision == Some(Decision::Anomalous));
        let at = self.worst.partition_point(|(other, _)| *other >= score);
        if at < MOST_NAMED {
            self.worst.insert(at, (score, path.to_owned()));
            self.worst.truncate(MOST_NAMED);
        }
    }

    /// Counts a photo that could not be scored.
    pub fn failed(&mut self) {
        self.counts.failed += 1;
    }

    /// The highest scores with their photos, highest first.
    pub fn worst(&self) -> &[(f32, String)] {
        &self.worst
    }

    /// How long a photo took.
    pub fn latency(&self) -> Option<Latency> {
        Latency::of(self.totals.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_are_named_highest_first_and_equal_ones_in_order() {
        let mut tally = Tally::new(7);
        for (at, score) in [1.0, 7.0, 3.0, 7.0, 2.0, 5.0, 0.0].into_iter().enumerate() {
            tally.scored(&at.to_string(), score, None, &Milliseconds::default());
        }
        let names: Vec<&str> = tally.worst().iter().map(|(_, path)| path.as_str()).collect();
        assert_eq!(names, ["1", "3", "5", "2", "4"]);
    }
}
