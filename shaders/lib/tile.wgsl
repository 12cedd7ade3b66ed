//! tile: a block of a matrix product in workgroup memory, for GPUs. The kernel defines `load_a(row, k)` and `load_b(k, col)`;
//! `epilogue` stores.
//!
//! A workgroup computes a TILE × TILE block, a thread 8 × 8 of it as two halves TILE/2 apart in each direction, so that neighbouring
//! threads read neighbouring vec4 of workgroup memory. Slabs of 16 inner positions are staged: a transposed, b as it is.
//! use: epilogue, pairing
//! set: TILE

alias Value = f32;
alias Stored = Elem;

const SLAB: u32 = 16u;
const SIDE: u32 = TILE / 8u;             // threads along each direction
const THREADS: u32 = SIDE * SIDE;
const STRIDE: u32 = TILE / 4u;

var<workgroup> a_slab: array<vec4<f32>, SLAB * STRIDE>;
var<workgroup> b_slab: array<vec4<f32>, SLAB * STRIDE>;

/// Index of four rows in a slab's position k: permuted among 8, so that the transposed stores of neighbouring threads, which differ in k,
/// meet different banks. Padding would do the same, but goes beyond the 16,384 bytes that every adapter has.
fn a_place(rows: u32, k: u32) -> u32 {
    return rows ^ (k % 8u);
}

/// Sums and stores the block of this workgroup of a `rows` × `cols` result. Loads past an edge must give 0.
fn compute_tile(group: u32, thread: u32, rows: u32, cols: u32, inner: u32) {
    let tiles_across = (cols + TILE - 1u) / TILE;
    let tiles_down = (rows + TILE - 1u) / TILE;
    // Spare groups recompute the last block: barriers stay uniform.
    let tile = min(group, tiles_across * tiles_down - 1u);
    let first_row = tile / tiles_across * TILE;
    let first_col = tile % tiles_across * TILE;
    let across = thread % SIDE;
    let down = thread / SIDE;

    var sum_left: array<vec4<f32>, 8>;
    var sum_right: array<vec4<f32>, 8>;
    for (var start = 0u; start < inner; start += SLAB) {
        for (var at = thread; at < SLAB * TILE; at += THREADS) {
            let row = at / SLAB;
            let k = at % SLAB;
            a_slab[k * STRIDE + a_place(row / 4u, k)][row % 4u] = load_a(first_row + row, start + k);
        }
        for (var at = thread; at < SLAB * TILE; at += THREADS) {
            let k = at / TILE;
            let col = at % TILE;
            b_slab[k * STRIDE + col / 4u][col % 4u] = load_b(start + k, first_col + col);
        }
        workgroupBarrier();
        for (var k = 0u; k < SLAB; k++) {
            let a_top = a_slab[k * STRIDE + a_place(down, k)];
            let a_bottom = a_slab[k * STRIDE + a_place(down + SIDE, k)];
            let b_left = b_slab[k * STRIDE + across];
            let b_right = b_slab[k * STRIDE + across + SIDE];
            for (var r = 0u; r < 4u; r++) {
                sum_left[r] = accumulate(a_top[r], b_left, sum_left[r]);
                sum_right[r] = accumulate(a_top[r], b_right, sum_right[r]);
                sum_left[r + 4u] = accumulate(a_bottom[r], b_left, sum_left[r + 4u]);
                sum_right[r + 4u] = accumulate(a_bottom[r], b_right, sum_right[r + 4u]);
            }
        }
        workgroupBarrier();
    }
    for (var r = 0u; r < 8u; r++) {
        let row = first_row + 4u * down + r % 4u + r / 4u * (TILE / 2u);
        if row < rows {
            for (var c = 0u; c < 4u; c++) {
                let col = first_col + 4u * across + c;
                store(row, col, cols, sum_left[r][c]);
                store(row, col + TILE / 2u, cols, sum_right[r][c]);
            }
        }
    }
}
