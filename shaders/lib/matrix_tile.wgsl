//! matrix_tile: a block of a matrix product on matrix units. The kernel defines `prepare_a(first_row, thread)`, `a_step(k)`,
//! `load_a(first_row, row, step)`, `load_b(k, col)`, `store_four(row, col, sums)`, and whether the inner axis has WHOLE_SLABS; k and col are
//! multiples of 4.
//!
//! Four subgroups compute a TALL × WIDE block. With SPLIT = 1 each computes a quarter of it from slabs that they share; with SPLIT = 4, for
//! results of few blocks, each computes all of a small one over a quarter of the inner axis, from slabs of its own. Fragments are named, as
//! are the loads: drivers keep an array in memory as soon as one loop over it is not unrolled. While a slab is multiplied the next one is on
//! its way. Rows of slabs are padded by 8 numbers, which doubles the speed. Fragments cannot be looked into: one after the other goes over
//! the stage to be stored. Everything fits 24 KiB, since an H100 runs as many workgroups at a time as fit 48 KiB, and two are much faster
//! than one.
//! use: blocks, product_units
//! set: SPLIT, TALL

const LANES: u32 = 32u;                  // of a subgroup
const THREADS: u32 = 4u * LANES;
const TEAM: u32 = THREADS / SPLIT;       // threads that share slabs
const WIDE: u32 = select(64u, 128u, SPLIT == 1u);
const SLAB: u32 = select(16u, 32u, SPLIT == 1u);     // inner positions staged at a time
const LEFT_STRIDE: u32 = SLAB / 4u + 2u;
const RIGHT_STRIDE: u32 = WIDE / 4u + 2u;
const STAGE_STRIDE: u32 = 5u;
const STAGE: u32 = 16u * STAGE_STRIDE;   // of a subgroup
// Rows of a, and positions of b, from one load of a thread to the next.
const ROW_STEP: u32 = TEAM / (SLAB / 4u);
const K_STEP: u32 = TEAM / (WIDE / 4u);

var<workgroup> left_slab: array<vec4<f16>, SPLIT * TALL * LEFT_STRIDE>;
var<workgroup> right_slab: array<vec4<f16>, SPLIT * SLAB * RIGHT_STRIDE>;
var<workgroup> stage: array<vec4<f32>, 4u * STAGE>;

/// Sums and stores the block of this workgroup of a `rows` × `cols` result. Loads past the inner edge must give 0, loads past the others
/// anything that is there; with whole slabs there are none past the inner edge.
fn compute_tile(group: u32, thread: u32, rows: u32, cols: u32, inner: u32) {
    // Spare groups recompute the last block: barriers stay uniform.
    let origin = block_origin(group, rows, cols, TALL, WIDE);
    let first_row = origin.x;
    let first_col = origin.y;

    let team = thread / TEAM;
    let own = thread % TEAM;
    let row = own / (SLAB / 4u);
    let k_of_row = own % (SLAB / 4u) * 4u;
    let k = own / (WIDE / 4u);
    let col = first_col + own % (WIDE / 4u) * 4u;
    let left_at = team * TALL * LEFT_STRIDE + row * LEFT_STRIDE + k_of_row / 4u;
    let right_at = team * SLAB * RIGHT_STRIDE + k * RIGHT_STRIDE + own % (WIDE / 4u);
    // Of four subgroups that share a block, two lie below each other.
    let subgroup = thread / LANES;
    let top = select(0u, subgroup / 2u * (TALL / 2u), SPLIT == 1u);
    let left = select(0u, subgroup % 2u * 64u, SPLIT == 1u);
    let a_at = team * TALL * LEFT_STRIDE + top * LEFT_STRIDE;
    let b_at = team * SLAB * RIGHT_STRIDE + left / 4u;
    // Fragments of 16 rows; in smaller blocks the lower two are not there, and read the first.
    let third = select(0u, 32u * LEFT_STRIDE, TALL == 128u);
    let fourth = select(0u, 48u * LEFT_STRIDE, TALL == 128u);

    var s00: Sums; var s01: Sums; var s02: Sums; var s03: Sums;
    var s10: Sums; var s11: Sums; var s12: Sums; var s13: Sums;
    var s20: Sums; var s21: Sums; var s22: Sums; var s23: Sums;
    var s30: Sums; var s31: Sums; var s32: Sums; var s33: Sums;
    prepare_a(first_row, thread);
    workgroupBarrier();
    var start = team * SLAB;
    var step = a_step(start + k_of_row);
    var a0 = load_a(first_row, row, step);
    var a1 = load_a(first_row, row + ROW_STEP, step);
    var a2 = load_a(first_row, row + 2u * ROW_STEP, step);
    var a3 = load_a(first_row, row + 3u * ROW_STEP, step);
    // Beyond the rows of smaller blocks.
    var a4 = vec4<f16>(); var a5 = vec4<f16>(); var a6 = vec4<f16>(); var a7 = vec4<f16>();
    if TALL == 128u {
        a4 = load_a(first_row, row + 4u * ROW_STEP, step);
        a5 = load_a(first_row, row + 5u * ROW_STEP, step);
        a6 = load_a(first_row, row + 6u * ROW_STEP, step);
        a7 = load_a(first_row, row + 7u * ROW_STEP, step);
    }
    var b0 = load_b(start + k, col);
    var b1 = load_b(start + k + K_STEP, col);
    var b2 = load_b(start + k + 2u * K_STEP, col);
    var b3 = load_b(start + k + 3u * K_STEP, col);
    var b4 = load_b(start + k + 4u * K_STEP, col);
    var b5 = load_b(start + k + 5u * K_STEP, col);
    var b6 = load_b(start + k + 6u * K_STEP, col);
    var b7 = load_b(start + k + 7u * K_STEP, col);
    let slabs = (inner + SPLIT * SLAB - 1u) / (SPLIT * SLAB);
    for (var slab = 0u; slab < slabs; slab++) {
        left_slab[left_at] = a0;
        left_slab[left_at + ROW_STEP * LEFT_STRIDE] = a1;
        left_slab[left_at + 2u * ROW_STEP * LEFT_STRIDE] = a2;
        left_slab[left_at + 3u * ROW_STEP * LEFT_STRIDE] = a3;
        if TALL == 128u {
            left_slab[left_at + 4u * ROW_STEP * LEFT_STRIDE] = a4;
            left_slab[left_at + 5u * ROW_STEP * LEFT_STRIDE] = a5;
            left_slab[left_at + 6u * ROW_STEP * LEFT_STRIDE] = a6;
            left_slab[left_at + 7u * ROW_STEP * LEFT_STRIDE] = a7;
        }
        right_slab[right_at] = b0;
        right_slab[right_at + K_STEP * RIGHT_STRIDE] = b1;
        right_slab[right_at + 2u * K_STEP * RIGHT_STRIDE] = b2;
        right_slab[right_at + 3u * K_STEP * RIGHT_STRIDE] = b3;
        right_slab[right_at + 4u * K_STEP * RIGHT_STRIDE] = b4;
        right_slab[right_at + 5u * K_STEP * RIGHT_STRIDE] = b5;
        right_slab[right_at + 6u * K_STEP * RIGHT_STRIDE] = b6;
        right_slab[right_at + 7u * K_STEP * RIGHT_STRIDE] = b7;
        workgroupBarrier();
        // With whole slabs a team loads its last twice.
        start = select(start + SPLIT * SLAB, min(start + SPLIT * SLAB, inner - (SPLIT - team) * SLAB), WHOLE_SLABS);
        step = a_step(start + k_of_row);
        a0 = load_a(first_row, row, step);
        a1 = load_a(first_row, row + ROW_STEP, step);
        a2 = load_a(first_row, row + 2u * ROW_STEP, step);
        a3 = load_a(first_row, row + 3u * ROW_STEP, step);
        if TALL == 128u {
            a4 = load_a(first_row, row + 4u * ROW_STEP, step);
            a5 = load_a(first_row, row + 5u * ROW_STEP, step);
            a6 = load_a(first_row, row + 6u * ROW_STEP, step);
            a7 = load_a(first_row, row + 7u * ROW_STEP, step);
        }
        b0 = load_b(start + k, col);
        b1 = load_b(start + k + K_STEP, col);
        b2 = load_b(start + k + 2u * K_STEP, col);
        b3 = load_b(start + k + 3u * K_STEP, col);
        b4 = load_b(start + k + 4u * K_STEP, col);
        b5 = load_b(start + k + 5u * K_STEP, col);
        b6 = load_b(start + k + 6u * K_STEP, col);
        b7 = load_b(start + k + 7u * K_STEP, col);
        let l0 = load_left(a_at);
        let l1 = load_left(a_at + 16u * LEFT_STRIDE);
        let l2 = load_left(a_at + third);
        let l3 = load_left(a_at + fourth);
        let r0 = load_right(b_at);
        s00 = multiply(l0, r0, s00); s10 = multiply(l1, r0, s10);
        if TALL == 128u { s20 = multiply(l2, r0, s20); s30 = multiply(l3, r0, s30); }
        let r1 = load_right(b_at + 4u);
        s01 = multiply(l0, r1, s01); s11 = multiply(l1, r1, s11);
        if TALL == 128u { s21 = multiply(l2, r1, s21); s31 = multiply(l3, r1, s31); }
        let r2 = load_right(b_at + 8u);
        s02 = multiply(l0, r2, s02); s12 = multiply(l1, r2, s12);
        if TALL == 128u { s22 = multiply(l2, r2, s22); s32 = multiply(l3, r2, s32); }
        let r3 = load_right(b_at + 12u);
        s03 = multiply(l0, r3, s03); s13 = multiply(l1, r3, s13);
        if TALL == 128u { s23 = multiply(l2, r3, s23); s33 = multiply(l3, r3, s33); }
        if SLAB == 32u {
            let m0 = load_left(a_at + 4u);
            let m1 = load_left(a_at + 16u * LEFT_STRIDE + 4u);
            let m2 = load_left(a_at + third + 4u);
            let m3 = load_left(a_at + fourth + 4u);
            let q0 = load_right(b_at + 16u * RIGHT_STRIDE);
            s00 = multiply(m0, q0, s00); s10 = multiply(m1, q0, s10);
            if TALL == 128u { s20 = multiply(m2, q0, s20); s30 = multiply(m3, q0, s30); }
            let q1 = load_right(b_at + 4u + 16u * RIGHT_STRIDE);
            s01 = multiply(m0, q1, s01); s11 = multiply(m1, q1, s11);
            if TALL == 128u { s21 = multiply(m2, q1, s21); s31 = multiply(m3, q1, s31); }
            let q2 = load_right(b_at + 8u + 16u * RIGHT_STRIDE);
            s02 = multiply(m0, q2, s02); s12 = multiply(m1, q2, s12);
            if TALL == 128u { s22 = multiply(m2, q2, s22); s32 = multiply(m3, q2, s32); }
            let q3 = load_right(b_at + 12u + 16u * RIGHT_STRIDE);
            s03 = multiply(m0, q3, s03); s13 = multiply(m1, q3, s13);
            if TALL == 128u { s23 = multiply(m2, q3, s23); s33 = multiply(m3, q3, s33); }
        }
        workgroupBarrier();
    }
    let stage_at = subgroup * STAGE;
    let first = first_row + top;
    let across = first_col + left;
    put_on_stage(s00, stage_at); store_fragment(stage_at, thread, first, across, cols);
    put_on_stage(s01, stage_at); store_fragment(stage_at, thread, first, across + 16u, cols);
    put_on_stage(s02, stage_at); store_fragment(stage_at, thread, first, across + 32u, cols);
    put_on_stage(s03, stage_at); store_fragment(stage_at, thread, first, across + 48u, cols);
    put_on_stage(s10, stage_at); store_fragment(stage_at, thread, first + 16u, across, cols);
    put_on_stage(s11, stage_at); store_fragment(stage_at, thread, first + 16u, across + 16u, cols);
    put_on_stage(s12, stage_at); store_fragment(stage_at, thread, first + 16u, across + 32u, cols);
    put_on_stage(s13, stage_at); store_fragment(stage_at, thread, first + 16u, across + 48u, cols);
    if TALL == 128u {
        put_on_stage(s20, stage_at); store_fragment(stage_at, thread, first + 32u, across, cols);
        put_on_stage(s21, stage_at); store_fragment(stage_at, thread, first + 32u, across + 16u, cols);
        put_on_stage(s22, stage_at); store_fragment(stage_at, thread, first + 32u, across + 32u, cols);
        put_on_stage(s23, stage_at); store_fragment(stage_at, thread, first + 32u, across + 48u, cols);
        put_on_stage(s30, stage_at); store_fragment(stage_at, thread, first + 48u, across, cols);
        put_on_stage(s31, stage_at); store_fragment(stage_at, thread, first + 48u, across + 16u, cols);
        put_on_stage(s32, stage_at); store_fragment(stage_at, thread, first + 48u, across + 32u, cols);
        put_on_stage(s33, stage_at); store_fragment(stage_at, thread, first + 48u, across + 48u, cols);
    }
}

/// Hands fragments on the stage to the kernel: each subgroup its own, two vec4 a lane; or the sum of all four, a vec4 a lane.
fn store_fragment(stage_at: u32, thread: u32, first_row: u32, first_col: u32, cols: u32) {
    workgroupBarrier();
    let row = thread % LANES / 4u;
    let col = thread % 4u;
    let at = row * STAGE_STRIDE + col;
    let below = 8u * STAGE_STRIDE;
    var upper = vec4(0.0);
    var lower = vec4(0.0);
    if SPLIT == 1u {
        upper = stage[stage_at + at];
        lower = stage[stage_at + at + below];
    } else if thread < LANES {
        upper = stage[at] + stage[at + STAGE] + (stage[at + 2u * STAGE] + stage[at + 3u * STAGE]);
    } else if thread < 2u * LANES {
        lower = stage[at + below] + stage[at + below + STAGE] + (stage[at + below + 2u * STAGE] + stage[at + below + 3u * STAGE]);
    }
    workgroupBarrier();
    if first_col + 4u * col < cols {
        if SPLIT == 1u || thread < LANES {
            store_four(first_row + row, first_col + 4u * col, upper);
        }
        if SPLIT == 1u || (thread >= LANES && thread < 2u * LANES) {
            store_four(first_row + row + 8u, first_col + 4u * col, lower);
        }
    }
}
