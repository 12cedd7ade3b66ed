//! matrix_tile: a block of a matrix product on matrix units. The kernel defines `prepare_a(first_row, thread)`, `a_step(k)`,
//! `load_a(first_row, row, step)`, `load_b(k, col)`, `store_four(row, col, sums)`, and whether the inner axis has WHOLE_SLABS; k and col are
//! multiples of 4.
//!
//! Four subgroups compute a TALL × 128 block, each TALL/2 × 64 of it in fragments that are named, as are the loads: drivers keep an array in
//! memory as soon as one loop over it is not unrolled. While a slab is multiplied the next one is on its way. Rows of slabs are padded by 8 numbers, which doubles the speed. Fragments cannot be
//! looked into: one after the other goes over the stage to be stored. Everything fits 24 KiB, since an H100 runs as many workgroups at a
//! time as fit 48 KiB, and two are much faster than one.
//! use: product_units
//! set: TALL

const LANES: u32 = 32u;                  // of a subgroup
const THREADS: u32 = 4u * LANES;
const WIDE: u32 = 128u;
const SLAB: u32 = 32u;                   // inner positions staged at a time
const LEFT_STRIDE: u32 = SLAB / 4u + 2u;
const RIGHT_STRIDE: u32 = WIDE / 4u + 2u;
const STAGE_STRIDE: u32 = 5u;
const STAGE: u32 = 16u * STAGE_STRIDE;   // of a subgroup
const BAND: u32 = 8u;                    // rows of blocks that are walked together, for the cache

var<workgroup> left_slab: array<vec4<f16>, TALL * LEFT_STRIDE>;
var<workgroup> right_slab: array<vec4<f16>, SLAB * RIGHT_STRIDE>;
var<workgroup> stage: array<vec4<f32>, 4u * STAGE>;

/// Sums and stores the block of this workgroup of a `rows` × `cols` result. Loads past the inner edge must give 0, loads past the others
/// anything that is there; with whole slabs there are none past the inner edge.
fn compute_tile(group: u32, thread: u32, rows: u32, cols: u32, inner: u32) {
    let tiles_across = (cols + WIDE - 1u) / WIDE;
    let tiles_down = (rows + TALL - 1u) / TALL;
    // Spare groups recompute the last block: barriers stay uniform.
    let tile = min(group, tiles_across * tiles_down - 1u);
    let band = tile / (BAND * tiles_across);
    let in_band = tile % (BAND * tiles_across);
    let band_rows = min(BAND, tiles_down - BAND * band);
    let first_row = (BAND * band + in_band % band_rows) * TALL;
    let first_col = in_band / band_rows * WIDE;

    // Each thread stages a vec4 of every 16th row of a, and of every fourth position of b.
    let row = thread / 8u;
    let k_of_row = thread % 8u;
    let k = thread / 32u;
    let col = first_col + thread % 32u * 4u;
    let left_at = row * LEFT_STRIDE + k_of_row;
    let right_at = k * RIGHT_STRIDE + thread % 32u;
    // Of the four subgroups, two lie below each other.
    let subgroup = thread / LANES;
    let top = subgroup / 2u * (TALL / 2u);
    let left = subgroup % 2u * 64u;
    let a_at = top * LEFT_STRIDE;
    let b_at = left / 4u;
    // Fragments of 16 rows; with TALL = 64 the lower two are not there, and read the first.
    let third = select(0u, 32u * LEFT_STRIDE, TALL == 128u);
    let fourth = select(0u, 48u * LEFT_STRIDE, TALL == 128u);
    var s00: Sums; var s01: Sums; var s02: Sums; var s03: Sums;
    var s10: Sums; var s11: Sums; var s12: Sums; var s13: Sums;
    var s20: Sums; var s21: Sums; var s22: Sums; var s23: Sums;
    var s30: Sums; var s31: Sums; var s32: Sums; var s33: Sums;
    prepare_a(first_row, thread);
    workgroupBarrier();
    var start = 0u;
    var step = a_step(4u * k_of_row);
    var a0 = load_a(first_row, row, step);
    var a1 = load_a(first_row, row + 16u, step);
    var a2 = load_a(first_row, row + 32u, step);
    var a3 = load_a(first_row, row + 48u, step);
    // Beyond the 64 rows of a small block.
    var a4 = vec4<f16>(); var a5 = vec4<f16>(); var a6 = vec4<f16>(); var a7 = vec4<f16>();
    if TALL == 128u {
        a4 = load_a(first_row, row + 64u, step);
        a5 = load_a(first_row, row + 80u, step);
        a6 = load_a(first_row, row + 96u, step);
        a7 = load_a(first_row, row + 112u, step);
    }
    var b0 = load_b(k, col);
    var b1 = load_b(k + 4u, col);
    var b2 = load_b(k + 8u, col);
    var b3 = load_b(k + 12u, col);
    var b4 = load_b(k + 16u, col);
    var b5 = load_b(k + 20u, col);
    var b6 = load_b(k + 24u, col);
    var b7 = load_b(k + 28u, col);
    let slabs = (inner + SLAB - 1u) / SLAB;
    for (var slab = 0u; slab < slabs; slab++) {
        left_slab[left_at] = a0;
        left_slab[left_at + 16u * LEFT_STRIDE] = a1;
        left_slab[left_at + 32u * LEFT_STRIDE] = a2;
        left_slab[left_at + 48u * LEFT_STRIDE] = a3;
        if TALL == 128u {
            left_slab[left_at + 64u * LEFT_STRIDE] = a4;
            left_slab[left_at + 80u * LEFT_STRIDE] = a5;
            left_slab[left_at + 96u * LEFT_STRIDE] = a6;
            left_slab[left_at + 112u * LEFT_STRIDE] = a7;
        }
        right_slab[right_at] = b0;
        right_slab[right_at + 4u * RIGHT_STRIDE] = b1;
        right_slab[right_at + 8u * RIGHT_STRIDE] = b2;
        right_slab[right_at + 12u * RIGHT_STRIDE] = b3;
        right_slab[right_at + 16u * RIGHT_STRIDE] = b4;
        right_slab[right_at + 20u * RIGHT_STRIDE] = b5;
        right_slab[right_at + 24u * RIGHT_STRIDE] = b6;
        right_slab[right_at + 28u * RIGHT_STRIDE] = b7;
        workgroupBarrier();
        // With whole slabs the last is loaded twice.
        start = select(start + SLAB, min(start + SLAB, inner - SLAB), WHOLE_SLABS);
        step = a_step(start + 4u * k_of_row);
        a0 = load_a(first_row, row, step);
        a1 = load_a(first_row, row + 16u, step);
        a2 = load_a(first_row, row + 32u, step);
        a3 = load_a(first_row, row + 48u, step);
        if TALL == 128u {
            a4 = load_a(first_row, row + 64u, step);
            a5 = load_a(first_row, row + 80u, step);
            a6 = load_a(first_row, row + 96u, step);
            a7 = load_a(first_row, row + 112u, step);
        }
        b0 = load_b(start + k, col);
        b1 = load_b(start + k + 4u, col);
        b2 = load_b(start + k + 8u, col);
        b3 = load_b(start + k + 12u, col);
        b4 = load_b(start + k + 16u, col);
        b5 = load_b(start + k + 20u, col);
        b6 = load_b(start + k + 24u, col);
        b7 = load_b(start + k + 28u, col);
        for (var half = 0u; half < 2u; half++) { // unroll 2
            let l0 = load_left(a_at + 4u * half);
            let l1 = load_left(a_at + 16u * LEFT_STRIDE + 4u * half);
            let l2 = load_left(a_at + third + 4u * half);
            let l3 = load_left(a_at + fourth + 4u * half);
            let r0 = load_right(b_at + 16u * RIGHT_STRIDE * half);
            s00 = multiply(l0, r0, s00); s10 = multiply(l1, r0, s10);
            if TALL == 128u { s20 = multiply(l2, r0, s20); s30 = multiply(l3, r0, s30); }
            let r1 = load_right(b_at + 4u + 16u * RIGHT_STRIDE * half);
            s01 = multiply(l0, r1, s01); s11 = multiply(l1, r1, s11);
            if TALL == 128u { s21 = multiply(l2, r1, s21); s31 = multiply(l3, r1, s31); }
            let r2 = load_right(b_at + 8u + 16u * RIGHT_STRIDE * half);
            s02 = multiply(l0, r2, s02); s12 = multiply(l1, r2, s12);
            if TALL == 128u { s22 = multiply(l2, r2, s22); s32 = multiply(l3, r2, s32); }
            let r3 = load_right(b_at + 12u + 16u * RIGHT_STRIDE * half);
            s03 = multiply(l0, r3, s03); s13 = multiply(l1, r3, s13);
            if TALL == 128u { s23 = multiply(l2, r3, s23); s33 = multiply(l3, r3, s33); }
        }
        workgroupBarrier();
    }
    let stage_at = subgroup * STAGE;
    let lane = thread % LANES;
    let first = first_row + top;
    let across = first_col + left;
    put_on_stage(s00, stage_at); store_fragment(stage_at, lane, first, across, cols);
    put_on_stage(s01, stage_at); store_fragment(stage_at, lane, first, across + 16u, cols);
    put_on_stage(s02, stage_at); store_fragment(stage_at, lane, first, across + 32u, cols);
    put_on_stage(s03, stage_at); store_fragment(stage_at, lane, first, across + 48u, cols);
    put_on_stage(s10, stage_at); store_fragment(stage_at, lane, first + 16u, across, cols);
    put_on_stage(s11, stage_at); store_fragment(stage_at, lane, first + 16u, across + 16u, cols);
    put_on_stage(s12, stage_at); store_fragment(stage_at, lane, first + 16u, across + 32u, cols);
    put_on_stage(s13, stage_at); store_fragment(stage_at, lane, first + 16u, across + 48u, cols);
    if TALL == 128u {
        put_on_stage(s20, stage_at); store_fragment(stage_at, lane, first + 32u, across, cols);
        put_on_stage(s21, stage_at); store_fragment(stage_at, lane, first + 32u, across + 16u, cols);
        put_on_stage(s22, stage_at); store_fragment(stage_at, lane, first + 32u, across + 32u, cols);
        put_on_stage(s23, stage_at); store_fragment(stage_at, lane, first + 32u, across + 48u, cols);
        put_on_stage(s30, stage_at); store_fragment(stage_at, lane, first + 48u, across, cols);
        put_on_stage(s31, stage_at); store_fragment(stage_at, lane, first + 48u, across + 16u, cols);
        put_on_stage(s32, stage_at); store_fragment(stage_at, lane, first + 48u, across + 32u, cols);
        put_on_stage(s33, stage_at); store_fragment(stage_at, lane, first + 48u, across + 48u, cols);
    }
}

/// Hands the fragment on a subgroup's stage to the kernel, two vec4 a lane.
fn store_fragment(stage_at: u32, lane: u32, first_row: u32, first_col: u32, cols: u32) {
    workgroupBarrier();
    let row = lane / 4u;
    let col = lane % 4u;
    let upper = stage[stage_at + row * STAGE_STRIDE + col];
    let lower = stage[stage_at + (row + 8u) * STAGE_STRIDE + col];
    workgroupBarrier();
    if first_col + 4u * col < cols {
        store_four(first_row + row, first_col + 4u * col, upper);
        store_four(first_row + row + 8u, first_col + 4u * col, lower);
    }
}
