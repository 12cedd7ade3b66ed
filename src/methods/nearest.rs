//! Nearest rows of a memory, which is compared part by part: a part, and the numbers of comparing it, fit the bindings of any adapter.

use crate::graph::{Constant, Epilogue, Tensor};
use crate::kernels::Selection;
use crate::tensor::Array;

/// Rows of a memory that are compared at once; the values are held until the best of them are known, so more rows need more memory.
const MEMORY_ROWS: usize = 4096;

/// Rows of a memory are padded to a multiple of this, by repeating the first, so that kernels load four of its columns at a time.
const COLUMNS_TOGETHER: usize = 8;

/// The rows of a memory `[n, d]` as columns, in parts `[d, m]`. The last columns of the last part may repeat its first.
pub(super) fn columns_in_parts(memory: &Array) -> Vec<Constant> {
    let dim = memory.shape().cols();
    let part = |rows: &[f32]| {
        let mut data = rows.to_vec();
        while !(data.len() / dim).is_multiple_of(COLUMNS_TOGETHER) {
            data.extend_from_slice(&rows[..dim]);
        }
        Constant::real("memory", Array::new([data.len() / dim, dim], data).transposed())
    };
    memory.data().chunks(MEMORY_ROWS * dim).map(part).collect()
}

/// The largest cosine of each row with the rows of a memory, all of unit length, part by part of the memory: `[rows, d]` → f32 `[rows]` for
/// each part.
pub(super) fn largest_cosines<'g>(rows: Tensor<'g>, memory: &Array) -> Vec<Tensor<'g>> {
    let of_part = |part: &Constant| {
        let cosines = rows.matmul(rows.graph().constant_f32(part), Epilogue::default());
        cosines.top_mean(Selection::Largest, 1)
    };
    columns_in_parts(memory).iter().map(of_part).collect()
}

/// The Euclidean distance of each row to the nearest row of a memory, part by part of the memory: `[rows, d]` → f32 `[rows]` for each part.
pub(super) fn smallest_distances<'g>(rows: Tensor<'g>, memory: &Array) -> Vec<Tensor<'g>> {
    let of_part = |part: &Constant| rows.distances(rows.graph().constant_f32(part)).top_mean(Selection::Smallest, 1);
    columns_in_parts(memory).iter().map(of_part).collect()
}

/// The smallest of the values that each part of a memory gave for a row.
pub(super) fn smallest(parts: &[Array]) -> Vec<f32> {
    let of_row = |row: usize| parts.iter().map(|part| part.data()[row]).fold(f32::INFINITY, f32::min);
    (0..parts[0].data().len()).map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_is_cut_into_parts_whose_last_columns_repeat_the_first() {
        let rows = MEMORY_ROWS + 3;
        let memory = Array::new([rows, 2], (0..2 * rows).map(|at| at as f32).collect());
        let parts = columns_in_parts(&memory);
        assert_eq!(parts.iter().map(|part| part.shape().sizes().to_vec()).collect::<Vec<_>>(), [vec![2, MEMORY_ROWS], vec![2, 8]]);
        let first = 2.0 * MEMORY_ROWS as f32;
        assert_eq!(parts[1].array().data()[..8], [0.0, 2.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0].map(|x| first + x));
        assert_eq!(smallest(&[Array::new([2], vec![3.0, 1.0]), Array::new([2], vec![2.0, 5.0])]), [2.0, 1.0]);
    }
}
