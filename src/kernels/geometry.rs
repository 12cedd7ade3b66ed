//! Launch geometry that several kernels share: how work is divided among workgroups and lanes.

use crate::kernels::{Implementation, Launch};
use crate::tensor::DType;

/// Lanes per workgroup of kernels whose lanes compute elements independently; `LANES` of their WGSL files.
pub const ELEMENT_LANES: usize = 64;

/// Lanes per workgroup of kernels for software adapters: the f32 that a vector of AVX2 holds; `LANES` of their WGSL files.
pub const SOFTWARE_LANES: usize = 8;

/// Launch of kernels whose lanes compute 4 elements each.
pub(super) fn fours(len: usize) -> Launch {
    Launch::invocations(len.div_ceil(4), ELEMENT_LANES)
}

/// VEC and launch of kernels whose lanes compute VEC neighbouring elements along a last axis of `cols`: 4 where that divides it, else 1.
///
/// A lane needs several divisions to find its position; 4 elements then share them.
pub(super) fn slices(len: usize, cols: usize) -> (u32, Launch) {
    let vec = if cols.is_multiple_of(4) { 4 } else { 1 };
    (vec as u32, Launch::invocations(len / vec, ELEMENT_LANES))
}

/// Passes of the files for software adapters: a maximum or mean, a sum, the results.
const ROW_PASSES: usize = 3;

/// Implementations of kernels that compute a row from a row: a workgroup per row, and on software adapters a lane per row.
pub(super) fn row_kernel(plain: &'static str, software: &'static str, rows: usize, cols: usize) -> Vec<Implementation> {
    let mut all = Vec::new();
    if let Some(launch) = lane_rows(rows, cols, ROW_PASSES) {
        all.push(Implementation::software(software, vec![], launch));
    }
    all.push(Implementation::plain(plain, vec![("WORKGROUP", row_lanes(cols))], Launch::groups(rows)));
    all
}

/// Lanes of the workgroup of a row: with short rows most of 256 would be idle.
pub(super) fn row_lanes(cols: usize) -> u32 {
    if cols <= 256 { 64 } else { 256 }
}

/// Iterations of all loops of a lane together from which on llvmpipe leaves its loops, in silence (`LP_MAX_TGSI_LOOP_ITERATIONS` of Mesa).
const LLVMPIPE_ITERATIONS: usize = 65_535;

/// Launch of kernels for software adapters in which each lane goes so many times through a row; `None` for too few rows to occupy the lanes
/// of two cores, and for rows that are too long for llvmpipe.
pub(super) fn lane_rows(rows: usize, cols: usize, passes: usize) -> Option<Launch> {
    let is_whole = passes * (cols + 1) < LLVMPIPE_ITERATIONS;
    (rows >= 16 && is_whole).then(|| Launch::invocations(rows, SOFTWARE_LANES))
}

/// Rows and columns that row kernels are tested with: single elements, odd sizes, either size of workgroup, folded launches, rows that are
/// too long for a lane of llvmpipe, and rows just short enough.
pub(super) const INSTANCE_SIZES: [(usize, usize); 10] =
    [(1, 1), (1, 3), (3, 7), (17, 5), (65, 1280), (2, 257), (3, 10_000), (65_537, 3), (17, 30_000), (17, 21_800)];

/// Largest number of sums in one loop of a strip that llvmpipe does not spill.
const STRIP_SUMS: usize = 256;

/// Rows of a strip for a matrix product of so many rows, with the storage that they are for: in f32, 64 rows share the loads of b where there
/// are so many. In f16 LLVM takes minutes to compile those, so 16 rows do.
pub(super) fn strip_rows(rows: usize) -> Vec<(usize, Option<DType>)> {
    if rows >= 128 { vec![(64, Some(DType::F32)), (16, Some(DType::F16))] } else { vec![(16, None)] }
}

/// Constants and launch of `shaders/lib/strip_subgroup.wgsl`: strips of 32 rows, since those of 64 take LLVM two or three times as long to
/// compile and save a twentieth.
pub(super) fn subgroup_strips(sizes: [usize; 3], masked: bool) -> ([(&'static str, u32); 4], Launch) {
    let ([_, lanes, masked, rows, vectors], launch) = strips(if sizes[1] > 16 { 32 } else { 16 }, sizes, masked);
    ([lanes, masked, rows, vectors], launch)
}

/// Constants and launch of `shaders/lib/strip.wgsl` with strips of so many rows: a lane computes 8 columns, or 12 where that saves a tenth.
pub(super) fn strips(rows_of_strip: usize, [batch, rows, cols]: [usize; 3], masked: bool) -> ([(&'static str, u32); 5], Launch) {
    let across = |vectors: usize| cols.div_ceil(4 * vectors * SOFTWARE_LANES);
    // The loads of a take about the time of one column.
    let cost = |vectors: usize| across(vectors) * (4 * vectors + 1);
    let vectors = if 10 * cost(3) < 9 * cost(2) { 3 } else { 2 };
    let block = if 32 * 4 * vectors <= STRIP_SUMS { 32 } else { 16 };
    let constants = [
        ("BLOCK", rows_of_strip.min(block) as u32),
        ("LANES", SOFTWARE_LANES as u32),
        ("MASKED", u32::from(masked)),
        ("ROWS", rows_of_strip as u32),
        ("VECTORS", vectors as u32),
    ];
    (constants, Launch::groups(batch * rows.div_ceil(rows_of_strip) * across(vectors)))
}

/// Workgroups that keep a large GPU busy: some 130 multiprocessors with one each, and with two. Measured on an H100.
const BUSY: usize = 128;
const FULL: usize = 256;

/// Blocks below which the inner axis is shared on matrix units: with 64 it halves the time of a launch on an H100; with 112 each block would
/// be read too often.
const FEW_BLOCKS: usize = 96;

/// Inner positions from which it pays to share them.
const SHARED_INNER: usize = 256;

/// Constants and launch of `shaders/lib/tile.wgsl`: tall blocks reuse more, but a GPU needs more workgroups than it has multiprocessors;
/// where small blocks are still too few, four teams share the inner axis of each.
pub(super) fn tiles([batch, rows, cols]: [usize; 3], inner: usize) -> ([(&'static str, u32); 2], Launch) {
    let blocks = |tall: usize| batch * rows.div_ceil(tall) * cols.div_ceil(64);
    let tall = if blocks(128) >= BUSY { 128 } else { 64 };
    let split = if blocks(tall) < FULL && tall == 64 && inner >= SHARED_INNER { 4 } else { 1 };
    ([("SPLIT", split), ("TALL", tall as u32)], Launch::groups(blocks(tall)))
}

/// Constants and launch of `shaders/lib/matrix_tile.wgsl`: blocks of 128 × 128, or half as tall where there would be too few; where those
/// are still too few, blocks of 32 × 64 whose inner axis four subgroups share.
pub(super) fn matrix_tiles([batch, rows, cols]: [usize; 3], inner: usize) -> ([(&'static str, u32); 2], Launch) {
    let blocks = |tall: usize, wide: usize| batch * rows.div_ceil(tall) * cols.div_ceil(wide);
    let (split, tall, wide) = if blocks(128, 128) >= BUSY {
        (1, 128, 128)
    } else if blocks(64, 128) >= FEW_BLOCKS || inner < SHARED_INNER {
        (1, 64, 128)
    } else {
        (4, 32, 64)
    };
    ([("SPLIT", split), ("TALL", tall as u32)], Launch::groups(blocks(tall, wide)))
}
