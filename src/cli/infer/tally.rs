//! Counts, latencies and the most anomalous photos of a run.

use zsas::Result;

use crate::cli::results::{Counts, Decision, Latency, Milliseconds};

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

/// Part `index` of `count`, from 1: the inputs are dealt out like cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// Reads `I/N`.
    pub fn parse(text: &str) -> std::result::Result<Shard, String> {
        let parts = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match parts {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Shard { index, count }),
            _ => Err("expected I/N with I from 1 to N, as in `1/4`".to_owned()),
        }
    }

    /// The inputs of this part, in order.
    pub fn take<T>(self, all: Vec<T>) -> Vec<T> {
        all.into_iter().skip(self.index - 1).step_by(self.count).collect()
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// Reads `LO,HI`.
pub fn parse_range(text: &str) -> std::result::Result<[f32; 2], String> {
    let range = text
        .split_once(',')
        .and_then(|(low, high)| Some([low.trim().parse().ok()?, high.trim().parse().ok()?]));
    match range {
        Some([low, high]) if f32::is_finite(low) && f32::is_finite(high) && low < high => Ok([low, high]),
        _ => Err("expected two numbers, the smaller first, as in `0,0.5`".to_owned()),
    }
}

/// Reads a finite number.
pub fn parse_number(text: &str) -> std::result::Result<f32, String> {
    text.parse()
        .ok()
        .filter(|number: &f32| number.is_finite())
        .ok_or_else(|| "expected a finite number".to_owned())
}

/// What a run came to.
pub struct Outcome {
    /// Counts and times.
    pub tally: Tally,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// The signal that stopped it, or what made it fail.
    pub end: Result<Option<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_deal_out_every_input_once() {
        let deal = |text| Shard::parse(text).unwrap().take((0..5).collect::<Vec<_>>());
        assert_eq!(deal("1/2"), [0, 2, 4]);
        assert_eq!(deal("2/2"), [1, 3]);
        assert_eq!(deal("7/7"), [0; 0]);
        for wrong in ["0/2", "3/2", "1", "a/b", "1/0"] {
            assert!(Shard::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_worst_are_named_highest_first_and_equal_ones_in_order() {
        let mut tally = Tally::new(7);
        for (at, score) in [1.0, 7.0, 3.0, 7.0, 2.0, 5.0, 0.0].into_iter().enumerate() {
            tally.scored(&at.to_string(), score, None, &Milliseconds::default());
        }
        let names: Vec<&str> = tally.worst().iter().map(|(_, path)| path.as_str()).collect();
        assert_eq!(names, ["1", "3", "5", "2", "4"]);
    }

    #[test]
    fn ranges_and_numbers_are_finite() {
        assert_eq!(parse_range("0, 0.5"), Ok([0.0, 0.5]));
        for wrong in ["1,1", "2,1", "NaN,1", "0,inf", "1"] {
            assert!(parse_range(wrong).is_err(), "{wrong}");
        }
        assert!(parse_number("nan").is_err());
    }
}
