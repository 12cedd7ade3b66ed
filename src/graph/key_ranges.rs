//! Which rows of a buffer of keys each query attends to: how sequences of different lengths share one buffer and one launch.

use crate::kernels::Grid;
use crate::tensor::Array;
use crate::weights::Weight;

/// Whole numbers below this are exact in f32.
pub(super) const MAX_ROWS: usize = 1 << 24;

/// Key ranges of attention: for each query its first key and the one after its last (a ragged batch; `cu_seqlens` elsewhere).
#[derive(Clone, Debug)]
pub struct KeyRanges {
    ends: Weight,
    queries: usize,
    keys: usize,
    pairs: usize,
}

/// KeyRanges whose keys are the cells of a grid, row by row, and the cell at which each query is.
#[derive(Clone, Debug)]
pub struct GridKeyRanges {
    spans: KeyRanges,
    grid: Grid,
    places: Weight,
}

impl KeyRanges {
    /// Sequences one after the other; each row attends to all rows of its own sequence.
    pub fn sequences(lengths: impl IntoIterator<Item = usize>) -> KeyRanges {
        KeyRanges::cross(lengths.into_iter().map(|length| (length, length)))
    }

    /// Sequences one after the other; each row attends to those of its sequence up to itself.
    pub fn causal(lengths: impl IntoIterator<Item = usize>) -> KeyRanges {
        KeyRanges::of(lengths.into_iter().map(|length| (length, length)), |start, _, row| [start, start + row + 1])
    }

    /// Sequences of queries and of keys, in pairs one after the other; each query attends to all keys of its own pair.
    pub fn cross(lengths: impl IntoIterator<Item = (usize, usize)>) -> KeyRanges {
        KeyRanges::of(lengths, |start, length, _| [start, start + length])
    }

    fn of(lengths: impl IntoIterator<Item = (usize, usize)>, span: impl Fn(usize, usize, usize) -> [usize; 2]) -> KeyRanges {
        let (mut spans, mut keys) = (Vec::new(), 0);
        for (of_queries, of_keys) in lengths {
            spans.extend((0..of_queries).map(|row| span(keys, of_keys, row)));
            keys += of_keys;
        }
        let queries = spans.len();
        assert!(queries.max(keys) < MAX_ROWS, "spans: {queries} queries or {keys} keys are more than f32 counts exactly");
        let pairs = spans.iter().map(|[from, to]| to - from).sum();
        let ends = spans.iter().flatten().map(|&end| end as f32).collect();
        KeyRanges { ends: Weight::from_array("spans", Array::new([queries, 2], ends)), queries, keys, pairs }
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

impl GridKeyRanges {
    /// Key ranges over several grids, one after the other: `places` lists, for each grid, the cells of its queries.
    #[track_caller]
    pub fn new(grid: Grid, places: &[Vec<usize>]) -> GridKeyRanges {
        assert!(places.iter().flatten().all(|&place| place < grid.cells()), "spans: a place beyond the cells of {grid:?}");
        let spans = KeyRanges::cross(places.iter().map(|places| (places.len(), grid.cells())));
        let cells = places.iter().flatten().map(|&place| place as f32).collect();
        GridKeyRanges { grid, places: Weight::from_array("places", Array::new([spans.queries], cells)), spans }
    }

    /// The key ranges, without the grid.
    pub fn spans(&self) -> &KeyRanges {
        &self.spans
    }

    /// The grid.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// The cell of each query `[queries]`.
    pub(super) fn places(&self) -> &Weight {
        &self.places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_keep_to_themselves_and_causal_ones_look_back_only() {
        let ends = |spans: &KeyRanges| spans.ends().to_array().unwrap().data().to_vec();
        let spans = KeyRanges::sequences([2, 1]);
        assert_eq!(ends(&spans), [0.0, 2.0, 0.0, 2.0, 2.0, 3.0]);
        assert_eq!((spans.queries(), spans.pairs()), (3, 5));
        assert_eq!(ends(&KeyRanges::causal([1, 2])), [0.0, 1.0, 1.0, 2.0, 1.0, 3.0]);
        let cross = KeyRanges::cross([(1, 3), (2, 2)]);
        assert_eq!(ends(&cross), [0.0, 3.0, 3.0, 5.0, 3.0, 5.0]);
        assert_eq!((cross.queries(), cross.keys(), cross.pairs()), (3, 5, 7));
    }

    #[test]
    fn each_list_of_places_has_a_grid_of_keys() {
        let spans = GridKeyRanges::new(Grid { rows: 2, cols: 2 }, &[vec![3], vec![0, 2]]);
        assert_eq!(spans.spans().ends().to_array().unwrap().data(), [0.0, 4.0, 4.0, 8.0, 4.0, 8.0]);
        assert_eq!(spans.places().to_array().unwrap().data(), [3.0, 0.0, 2.0]);
    }
}
