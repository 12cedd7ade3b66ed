//! Which rows of a buffer of keys each query attends to: how sequences of different lengths share one buffer and one launch.

use crate::tensor::Array;
use crate::weights::Weight;

/// Whole numbers below this are exact in f32.
pub(super) const MOST_ROWS: usize = 1 << 24;

/// For each query its first key and the one after its last.
#[derive(Clone, Debug)]
pub struct Spans {
    ends: Weight,
    queries: usize,
    keys: usize,
    pairs: usize,
}

impl Spans {
    /// Sequences one after the other; each row attends to all rows of its own sequence.
    pub fn sequences(lengths: impl IntoIterator<Item = usize>) -> Spans {
        Spans::of(lengths, |start, length, _| [start, start + length])
    }

    /// Sequences one after the other; each row attends to those of its sequence up to itself.
    pub fn causal(lengths: impl IntoIterator<Item = usize>) -> Spans {
        Spans::of(lengths, |start, _, row| [start, start + row + 1])
    }

    fn of(lengths: impl IntoIterator<Item = usize>, span: impl Fn(usize, usize, usize) -> [usize; 2]) -> Spans {
        let (mut spans, mut rows) = (Vec::new(), 0);
        for length in lengths {
            spans.extend((0..length).map(|row| span(rows, length, row)));
            rows += length;
        }
        assert!(rows < MOST_ROWS, "spans: {rows} rows are more than f32 counts exactly");
        let pairs = spans.iter().map(|[from, to]| to - from).sum();
        let ends = spans.iter().flatten().map(|&end| end as f32).collect();
        Spans { ends: Weight::from_array("spans", Array::new([rows, 2], ends)), queries: rows, keys: rows, pairs }
    }

    /// Number of queries.
    pub fn queries(&self) -> usize {
        self.queries
    }

    /// Number of keys.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// Pairs of a query and a key in its span.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// The ends `[queries, 2]`, uploaded once however many layers use them.
    pub(super) fn ends(&self) -> &Weight {
        &self.ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_keep_to_themselves_and_causal_ones_look_back_only() {
        let ends = |spans: &Spans| spans.ends().to_array().unwrap().data().to_vec();
        let spans = Spans::sequences([2, 1]);
        assert_eq!(ends(&spans), [0.0, 2.0, 0.0, 2.0, 2.0, 3.0]);
        assert_eq!((spans.queries(), spans.pairs()), (3, 5));
        assert_eq!(ends(&Spans::causal([1, 2])), [0.0, 1.0, 1.0, 2.0, 1.0, 3.0]);
    }
}
