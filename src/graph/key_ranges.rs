//! Key ranges: which rows of a buffer of keys each query attends to, so that sequences of different lengths share one launch.

use crate::graph::{Constant, Graph, Tensor};
use crate::kernels::Grid;

/// Key ranges of attention: for each query its first key and the one after its last (a ragged batch; `cu_seqlens` elsewhere).
#[derive(Clone, Debug)]
pub struct KeyRanges {
    ends: Constant,
    queries: usize,
    keys: usize,
    pairs: usize,
}

/// Key ranges that each run is given: the same recording serves sequences of other lengths.
#[derive(Clone, Copy)]
pub struct GivenKeyRanges<'g> {
    ends: Tensor<'g>,
    keys: usize,
    pairs: usize,
}

/// Key ranges that an attention takes: those of the recording, or those of a run.
#[derive(Clone, Copy)]
pub enum Ranges<'a, 'g> {
    /// Known when the attention is recorded.
    Known(&'a KeyRanges),
    /// Known in each run.
    Given(GivenKeyRanges<'g>),
}

impl<'a> From<&'a KeyRanges> for Ranges<'a, '_> {
    fn from(known: &'a KeyRanges) -> Self {
        Ranges::Known(known)
    }
}

impl<'g> From<GivenKeyRanges<'g>> for Ranges<'_, 'g> {
    fn from(given: GivenKeyRanges<'g>) -> Self {
        Ranges::Given(given)
    }
}

impl<'g> Ranges<'_, 'g> {
    /// Number of queries.
    pub fn queries(&self) -> usize {
        match self {
            Ranges::Known(known) => known.queries,
            Ranges::Given(given) => given.ends.shape().rows(),
        }
    }

    /// Number of keys.
    pub fn keys(&self) -> usize {
        match self {
            Ranges::Known(known) => known.keys,
            Ranges::Given(given) => given.keys,
        }
    }

    /// Pairs of a query and a key in its range; of given ones an estimate.
    pub fn pairs(&self) -> usize {
        match self {
            Ranges::Known(known) => known.pairs,
            Ranges::Given(given) => given.pairs,
        }
    }

    /// The ends `[queries, 2]`; those of the recording are uploaded once however many layers use them.
    pub(super) fn ends(&self, graph: &'g Graph) -> Tensor<'g> {
        match self {
            Ranges::Known(known) => graph.constant(&known.ends),
            Ranges::Given(given) => given.ends,
        }
    }
}

impl<'g> GivenKeyRanges<'g> {
    /// Ranges `ends` `[queries, 2]`, whole numbers: the first key and the one after the last. `pairs` is about how many pairs of a query and
    /// a key there will be, for estimates of time.
    pub fn new(ends: Tensor<'g>, keys: usize, pairs: usize) -> GivenKeyRanges<'g> {
        GivenKeyRanges { ends, keys, pairs }
    }
}

/// Key ranges over grids: keys are the cells of a grid, row by row, and each query has a cell of its own.
#[derive(Clone, Debug)]
pub struct GridKeyRanges {
    key_ranges: KeyRanges,
    grid: Grid,
    query_cells: Constant,
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

    fn of(lengths: impl IntoIterator<Item = (usize, usize)>, range: impl Fn(usize, usize, usize) -> [usize; 2]) -> KeyRanges {
        let (mut ranges, mut keys) = (Vec::new(), 0);
        for (of_queries, of_keys) in lengths {
            ranges.extend((0..of_queries).map(|row| range(keys, of_keys, row)));
            keys += of_keys;
        }
        let queries = ranges.len();
        let pairs = ranges.iter().map(|[from, to]| to - from).sum();
        let ends = Constant::whole("key_ranges", [queries, 2], ranges.into_iter().flatten());
        KeyRanges { ends, queries, keys, pairs }
    }

    /// Number of queries.
    pub fn queries(&self) -> usize {
        self.queries
    }

    /// Number of keys.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// Pairs of a query and a key in its range.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// The ends `[queries, 2]`.
    #[cfg(test)]
    fn ends(&self) -> &Constant {
        &self.ends
    }
}

impl GridKeyRanges {
    /// Key ranges over several grids, one after the other: `query_cells` lists, for each grid, the cells of its queries.
    #[track_caller]
    pub fn new(grid: Grid, query_cells: &[Vec<usize>]) -> GridKeyRanges {
        assert!(query_cells.iter().flatten().all(|&cell| cell < grid.cells()), "key ranges: a query beyond the cells of {grid:?}");
        let key_ranges = KeyRanges::cross(query_cells.iter().map(|cells| (cells.len(), grid.cells())));
        let query_cells = Constant::whole("query_cells", [key_ranges.queries], query_cells.iter().flatten().copied());
        GridKeyRanges { key_ranges, grid, query_cells }
    }

    /// The key ranges, without the grid.
    pub fn key_ranges(&self) -> &KeyRanges {
        &self.key_ranges
    }

    /// The grid.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// The cell of each query `[queries]`.
    pub(super) fn query_cells(&self) -> &Constant {
        &self.query_cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_keep_to_themselves_and_causal_ones_look_back_only() {
        let ends = |ranges: &KeyRanges| ranges.ends().array().data().to_vec();
        let ranges = KeyRanges::sequences([2, 1]);
        assert_eq!(ends(&ranges), [0.0, 2.0, 0.0, 2.0, 2.0, 3.0]);
        assert_eq!((ranges.queries(), ranges.pairs()), (3, 5));
        assert_eq!(ends(&KeyRanges::causal([1, 2])), [0.0, 1.0, 1.0, 2.0, 1.0, 3.0]);
        let cross = KeyRanges::cross([(1, 3), (2, 2)]);
        assert_eq!(ends(&cross), [0.0, 3.0, 3.0, 5.0, 3.0, 5.0]);
        assert_eq!((cross.queries(), cross.keys(), cross.pairs()), (3, 5, 7));
    }

    #[test]
    fn each_list_of_query_cells_has_a_grid_of_keys() {
        let on_grid = GridKeyRanges::new(Grid { rows: 2, cols: 2 }, &[vec![3], vec![0, 2]]);
        assert_eq!(on_grid.key_ranges().ends().array().data(), [0.0, 4.0, 4.0, 8.0, 4.0, 8.0]);
        assert_eq!(on_grid.query_cells().array().data(), [3.0, 0.0, 2.0]);
    }
}
