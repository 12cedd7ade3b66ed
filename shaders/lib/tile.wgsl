//! tile: a block of a matrix product in workgroup memory, for GPUs. The kernel defines `a_origin(row)`, `a_step(k)`, `load_a(origin, step)`,
//! `load_b(k, col)`, `store_four(row, col, sums)`, and whether the inner axis has WHOLE_SLABS; k and col are multiples of 4.
//!
//! A team of TALL threads computes a TALL × 64 block, a thread 8 × 8 of it as two halves TALL/2 rows and 32 columns apart, so that neighbouring
//! threads read neighbouring vec4 of workgroup memory. SPLIT teams share the inner axis of one block and add their sums at the end: for
//! results of few blocks, which would leave most of a GPU idle. While a slab is multiplied the next one is on its way.
//! Sums have names: drivers keep an array in memory as soon as one loop over it is not unrolled, at a tenth of the speed.
//! use: blocks, pairing
//! set: SPLIT, TALL

const WIDE: u32 = 64u;
const SLAB: u32 = TALL / 8u;             // inner positions staged at a time
const TEAM: u32 = TALL;
const THREADS: u32 = SPLIT * TEAM;
const A_STRIDE: u32 = TALL / 4u;         // vec4 of a slab's position
const B_STRIDE: u32 = WIDE / 4u;

var<workgroup> a_slab: array<vec4<f32>, SPLIT * SLAB * A_STRIDE>;
var<workgroup> b_slab: array<vec4<f32>, SPLIT * SLAB * B_STRIDE>;

/// Where four rows of a lie among those of a slab's position k: permuted, so that the transposed stores of neighbouring threads, which
/// differ in k, meet different banks. Padding would do the same, but goes beyond the 16,384 bytes that every adapter has.
fn a_place(rows: u32, k: u32) -> u32 {
    return rows ^ (k / 4u * (32u / SLAB));
}

/// Sums and stores the block of this workgroup of a `rows` × `cols` result; `store_four` drops what is past its edges. Loads past the inner
/// edge must give 0, loads past the others anything that is there; with whole slabs there are none past the inner edge.
fn compute_tile(group: u32, thread: u32, rows: u32, cols: u32, inner: u32) {
    // Spare groups recompute the last block: barriers stay uniform.
    let origin = block_origin(group, rows, cols, TALL, WIDE);
    let first_row = origin.x;
    let first_col = origin.y;

    let team = thread / TEAM;
    let own = thread % TEAM;
    let own_a = team * SLAB * A_STRIDE;
    let own_b = team * SLAB * B_STRIDE;
    // 32 neighbours cover 4 × 8 positions, so that they read as little as possible.
    let down = own / 8u;
    let across = own % 8u;

    // Each thread stages a vec4 of every 32nd row of a, and of two positions of b.
    let a_row = own / (SLAB / 4u);
    let a_k = own % (SLAB / 4u) * 4u;
    let b_k = own / B_STRIDE;
    let b_col = first_col + own % B_STRIDE * 4u;
    let a_at = own_a + a_k * A_STRIDE + a_place(a_row / 4u, a_k);
    let origin0 = a_origin(first_row + a_row);
    let origin1 = a_origin(first_row + a_row + 32u);
    let origin2 = a_origin(first_row + a_row + 64u);
    let origin3 = a_origin(first_row + a_row + 96u);
    var start = team * SLAB;
    let first_step = a_step(start + a_k);
    var a0 = load_a(origin0, first_step);
    var a1 = load_a(origin1, first_step);
    // Beyond the 64 rows of a small block.
    var a2 = vec4(0.0);
    var a3 = vec4(0.0);
    if TALL == 128u {
        a2 = load_a(origin2, first_step);
        a3 = load_a(origin3, first_step);
    }
    var b0 = load_b(start + b_k, b_col);
    var b1 = load_b(start + b_k + SLAB / 2u, b_col);

    var left0 = vec4(0.0); var left1 = vec4(0.0); var left2 = vec4(0.0); var left3 = vec4(0.0);
    var left4 = vec4(0.0); var left5 = vec4(0.0); var left6 = vec4(0.0); var left7 = vec4(0.0);
    var right0 = vec4(0.0); var right1 = vec4(0.0); var right2 = vec4(0.0); var right3 = vec4(0.0);
    var right4 = vec4(0.0); var right5 = vec4(0.0); var right6 = vec4(0.0); var right7 = vec4(0.0);
    let slabs = (inner + SPLIT * SLAB - 1u) / (SPLIT * SLAB);
    for (var slab = 0u; slab < slabs; slab++) {
        stage_a(a_at, a_row % 4u, a0);
        stage_a(a_at + 8u, a_row % 4u, a1);
        if TALL == 128u {
            stage_a(a_at + 16u, a_row % 4u, a2);
            stage_a(a_at + 24u, a_row % 4u, a3);
        }
        b_slab[own_b + own] = b0;
        b_slab[own_b + own + TEAM] = b1;
        workgroupBarrier();
        // With whole slabs a team loads its last twice.
        start = select(start + SPLIT * SLAB, min(start + SPLIT * SLAB, inner - (SPLIT - team) * SLAB), WHOLE_SLABS);
        let step = a_step(start + a_k);
        a0 = load_a(origin0, step);
        a1 = load_a(origin1, step);
        if TALL == 128u {
            a2 = load_a(origin2, step);
            a3 = load_a(origin3, step);
        }
        b0 = load_b(start + b_k, b_col);
        b1 = load_b(start + b_k + SLAB / 2u, b_col);
        for (var k = 0u; k < SLAB; k++) { // unroll 8
            let top = a_slab[own_a + k * A_STRIDE + a_place(down, k)];
            let bottom = a_slab[own_a + k * A_STRIDE + a_place(down, k) + TALL / 8u];
            let left = b_slab[own_b + k * B_STRIDE + across];
            let right = b_slab[own_b + k * B_STRIDE + across + WIDE / 8u];
            left0 = accumulate(top.x, left, left0); right0 = accumulate(top.x, right, right0);
            left1 = accumulate(top.y, left, left1); right1 = accumulate(top.y, right, right1);
            left2 = accumulate(top.z, left, left2); right2 = accumulate(top.z, right, right2);
            left3 = accumulate(top.w, left, left3); right3 = accumulate(top.w, right, right3);
            left4 = accumulate(bottom.x, left, left4); right4 = accumulate(bottom.x, right, right4);
            left5 = accumulate(bottom.y, left, left5); right5 = accumulate(bottom.y, right, right5);
            left6 = accumulate(bottom.z, left, left6); right6 = accumulate(bottom.z, right, right6);
            left7 = accumulate(bottom.w, left, left7); right7 = accumulate(bottom.w, right, right7);
        }
        workgroupBarrier();
    }
    // One team after the other hands its sums to the first: a fixed order. SPLIT is 1, or 4 with TALL = 64, so that
    // the slabs hold the sums of a team.
    for (var giver = 1u; giver < SPLIT; giver++) {
        if team == giver {
            a_slab[own] = left0; a_slab[own + TEAM] = left1; a_slab[own + 2u * TEAM] = left2; a_slab[own + 3u * TEAM] = left3;
            a_slab[own + 4u * TEAM] = left4; a_slab[own + 5u * TEAM] = left5;
            a_slab[own + 6u * TEAM] = left6; a_slab[own + 7u * TEAM] = left7;
            b_slab[own] = right0; b_slab[own + TEAM] = right1; b_slab[own + 2u * TEAM] = right2; b_slab[own + 3u * TEAM] = right3;
            b_slab[own + 4u * TEAM] = right4; b_slab[own + 5u * TEAM] = right5;
            b_slab[own + 6u * TEAM] = right6; b_slab[own + 7u * TEAM] = right7;
        }
        workgroupBarrier();
        if team == 0u {
            left0 += a_slab[own]; left1 += a_slab[own + TEAM]; left2 += a_slab[own + 2u * TEAM]; left3 += a_slab[own + 3u * TEAM];
            left4 += a_slab[own + 4u * TEAM]; left5 += a_slab[own + 5u * TEAM];
            left6 += a_slab[own + 6u * TEAM]; left7 += a_slab[own + 7u * TEAM];
            right0 += b_slab[own]; right1 += b_slab[own + TEAM]; right2 += b_slab[own + 2u * TEAM]; right3 += b_slab[own + 3u * TEAM];
            right4 += b_slab[own + 4u * TEAM]; right5 += b_slab[own + 5u * TEAM];
            right6 += b_slab[own + 6u * TEAM]; right7 += b_slab[own + 7u * TEAM];
        }
        workgroupBarrier();
    }
    if team == 0u {
        let row = first_row + 4u * down;
        let col = first_col + 4u * across;
        store_eight(row, col, cols, left0, right0); store_eight(row + 1u, col, cols, left1, right1);
        store_eight(row + 2u, col, cols, left2, right2); store_eight(row + 3u, col, cols, left3, right3);
        store_eight(row + TALL / 2u, col, cols, left4, right4); store_eight(row + TALL / 2u + 1u, col, cols, left5, right5);
        store_eight(row + TALL / 2u + 2u, col, cols, left6, right6); store_eight(row + TALL / 2u + 3u, col, cols, left7, right7);
    }
}

/// Puts four positions of a row into the slab, where `TALL / 4` vec4 lie between them; the permutation leaves rows of eight vec4 together.
fn stage_a(at: u32, lane: u32, four: vec4<f32>) {
    a_slab[at][lane] = four.x;
    a_slab[at + A_STRIDE][lane] = four.y;
    a_slab[at + 2u * A_STRIDE][lane] = four.z;
    a_slab[at + 3u * A_STRIDE][lane] = four.w;
}

/// Hands both halves of a thread's row to the kernel, which drops rows past the edge.
fn store_eight(row: u32, col: u32, cols: u32, left: vec4<f32>, right: vec4<f32>) {
    if col < cols {
        store_four(row, col, left);
    }
    if col + WIDE / 2u < cols {
        store_four(row, col + WIDE / 2u, right);
    }
}
