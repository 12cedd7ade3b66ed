enable f16;
enable wgpu_cooperative_matrix;
alias Elem = f16;
const SPLIT: u32 = 1u;
const TALL: u32 = 64u;
const CHANNELS_IN: u32 = 4u;
const CHANNELS_OUT: u32 = 8u;
const HEIGHT: u32 = 5u;
const HEIGHT_OUT: u32 = 3u;
const KERNEL_HEIGHT: u32 = 1u;
const KERNEL_WIDTH: u32 = 1u;
const PADDING: u32 = 0u;
const STRIDE: u32 = 2u;
const WIDTH: u32 = 7u;
const WIDTH_OUT: u32 = 4u;
const ACTIVATION: u32 = 0u;
const HAS_BIAS: u32 = 0u;
const HAS_RESIDUAL: u32 = 0u;
//! activation: functions of one number, by the numbers of `Activation` in src/kernels/activation.rs. The including file declares the alias
//! `Value`: f32 or a vector of it.

const IDENTITY: u32 = 0u;
const RELU: u32 = 1u;
const GELU: u32 = 2u;
const QUICK_GELU: u32 = 3u;
const SIGMOID: u32 = 4u;
const EXP: u32 = 5u;
const SQRT: u32 = 6u;

/// `kind` is a constant of the kernel, so all branches but one vanish when the driver compiles it.
fn activate(kind: u32, x: Value) -> Value {
    switch kind {
        // `max` may drop a NaN; PyTorch keeps it.
        case RELU: { return select(x, Value(0.0), x < Value(0.0)); }
        case GELU: { return 0.5 * x * (1.0 + erf(x * 0.70710678)); }
        case QUICK_GELU: { return x * sigmoid(1.702 * x); }
        case SIGMOID: { return sigmoid(x); }
        case EXP: { return exp(x); }
        case SQRT: { return sqrt(select(x, Value(0.0), x < Value(0.0))); }
        default: { return x; }
    }
}

fn sigmoid(x: Value) -> Value {
    return 1.0 / (1.0 + exp(-x));
}

/// Error function, absolute error below 1.5e-7 (Abramowitz & Stegun 7.1.26).
fn erf(x: Value) -> Value {
    let t = 1.0 / (1.0 + 0.3275911 * abs(x));
    let tail = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    return sign(x) * (1.0 - tail * exp(-x * x));
}
//! blocks: which block of which matrix product of a batch a workgroup computes.

const BAND: u32 = 8u;

/// Number of blocks of a `rows` × `cols` result.
fn count_blocks(rows: u32, cols: u32, tall: u32, wide: u32) -> u32 {
    return ((cols + wide - 1u) / wide) * ((rows + tall - 1u) / tall);
}

/// First row and column of block `number` of a `rows` × `cols` result, of the last block for spare ones: BAND rows of blocks are walked
/// together, column by column, so that the cache serves both operands.
fn block_origin(number: u32, rows: u32, cols: u32, tall: u32, wide: u32) -> vec2<u32> {
    let across = (cols + wide - 1u) / wide;
    let down = (rows + tall - 1u) / tall;
    let block = min(number, across * down - 1u);
    let band = block / (BAND * across);
    let in_band = block % (BAND * across);
    let band_rows = min(BAND, down - BAND * band);
    return vec2((BAND * band + in_band % band_rows) * tall, in_band / band_rows * wide);
}
//! epilogue: y[row, col] = act(sum + bias[col] + residual[row, col]), the end of a matrix product. The kernel binds `bias`, `residual`
//! and `y`; `Value` and `Stored` are f32 and Elem where their elements are numbers, vectors of these where they are vectors.
//! use: activation
//! set: ACTIVATION, HAS_BIAS, HAS_RESIDUAL

/// First element of the bias of this matrix of a batch.
var<private> bias_start: u32;

/// Columns past the edge are dropped; the row must be inside.
fn store(row: u32, col: u32, cols: u32, sum: Value) {
    if col < cols {
        let at = row * cols + col;
        var value = sum;
        if HAS_BIAS == 1u {
            value += bias[bias_start + col];
        }
        if HAS_RESIDUAL == 1u {
            value += Value(residual[at]);
        }
        y[at] = Stored(activate(ACTIVATION, value));
    }
}
//! index: which part of a kernel's work a workgroup does. Launches are folded into a second axis, long ones cut into several
//! dispatches.

/// Number of the first workgroup of this dispatch.
@group(1) @binding(0) var<uniform> first_group: u32;

/// Number of this workgroup when `Launch::groups` folded the count into x and y. May exceed the count: a few groups are spare.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return first_group + group.y * groups.x + group.x;
}
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
        let l0 = coopLoadT<coop_mat16x16<f16, A>>(&left_slab[a_at], LEFT_STRIDE);
        let l1 = coopLoadT<coop_mat16x16<f16, A>>(&left_slab[a_at + 16u * LEFT_STRIDE], LEFT_STRIDE);
        let l2 = coopLoadT<coop_mat16x16<f16, A>>(&left_slab[a_at + third], LEFT_STRIDE);
        let l3 = coopLoadT<coop_mat16x16<f16, A>>(&left_slab[a_at + fourth], LEFT_STRIDE);
        let r0 = coopLoadT<coop_mat16x16<f16, B>>(&right_slab[b_at], RIGHT_STRIDE);
        s00 = coopMultiplyAdd(l0, r0, s00); s10 = coopMultiplyAdd(l1, r0, s10);
        if TALL == 128u { s20 = coopMultiplyAdd(l2, r0, s20); s30 = coopMultiplyAdd(l3, r0, s30); }
        let r1 = coopLoadT<coop_mat16x16<f16, B>>(&right_slab[b_at + 4u], RIGHT_STRIDE);
        s01 = coopMultiplyAdd(l0, r1, s01); s11 = coopMultiplyAdd(l1, r1, s11);
        if TALL == 128u { s21 = coopMultiplyAdd(l2, r1, s21); s31 = coopMultiplyAdd(l3, r1, s31); }
        let r2 = coopLoadT<coop_mat16x16<f16, B>>(&right_slab[b_at + 8u], RIGHT_STRIDE);
        s02 = coopMultiplyAdd(l0, r2, s02); s12 = coopMultiplyAdd(l1, r2, s12);
        if TALL == 128u { s22 = coopMultiplyAdd(l2, r2, s22); s32 = coopMultiplyAdd(l3, r2, s32); }
        let r3 = coopLoadT<coop_mat16x16<f16, B>>(&right_slab[b_at + 12u], RIGHT_STRIDE);
        s03 = coopMultiplyAdd(l0, r3, s03); s13 = coopMultiplyAdd(l1, r3, s13);
        if TALL == 128u { s23 = coopMultiplyAdd(l2, r3, s23); s33 = coopMultiplyAdd(l3, r3, s33); }
        if SLAB == 32u {
            let m0 = coopLoadT<coop_mat16x16<f16, A>>(&left_slab[a_at + 4u], LEFT_STRIDE);
            let m1 = coopLoadT<coop_mat16x16<f16, A>>(&left_slab[a_at + 16u * LEFT_STRIDE + 4u], LEFT_STRIDE);
            let m2 = coopLoadT<coop_mat16x16<f16, A>>(&left_slab[a_at + third + 4u], LEFT_STRIDE);
            let m3 = coopLoadT<coop_mat16x16<f16, A>>(&left_slab[a_at + fourth + 4u], LEFT_STRIDE);
            let q0 = coopLoadT<coop_mat16x16<f16, B>>(&right_slab[b_at + 16u * RIGHT_STRIDE], RIGHT_STRIDE);
            s00 = coopMultiplyAdd(m0, q0, s00); s10 = coopMultiplyAdd(m1, q0, s10);
            if TALL == 128u { s20 = coopMultiplyAdd(m2, q0, s20); s30 = coopMultiplyAdd(m3, q0, s30); }
            let q1 = coopLoadT<coop_mat16x16<f16, B>>(&right_slab[b_at + 4u + 16u * RIGHT_STRIDE], RIGHT_STRIDE);
            s01 = coopMultiplyAdd(m0, q1, s01); s11 = coopMultiplyAdd(m1, q1, s11);
            if TALL == 128u { s21 = coopMultiplyAdd(m2, q1, s21); s31 = coopMultiplyAdd(m3, q1, s31); }
            let q2 = coopLoadT<coop_mat16x16<f16, B>>(&right_slab[b_at + 8u + 16u * RIGHT_STRIDE], RIGHT_STRIDE);
            s02 = coopMultiplyAdd(m0, q2, s02); s12 = coopMultiplyAdd(m1, q2, s12);
            if TALL == 128u { s22 = coopMultiplyAdd(m2, q2, s22); s32 = coopMultiplyAdd(m3, q2, s32); }
            let q3 = coopLoadT<coop_mat16x16<f16, B>>(&right_slab[b_at + 12u + 16u * RIGHT_STRIDE], RIGHT_STRIDE);
            s03 = coopMultiplyAdd(m0, q3, s03); s13 = coopMultiplyAdd(m1, q3, s13);
            if TALL == 128u { s23 = coopMultiplyAdd(m2, q3, s23); s33 = coopMultiplyAdd(m3, q3, s33); }
        }
        workgroupBarrier();
    }
    let stage_at = subgroup * STAGE;
    let first = first_row + top;
    let across = first_col + left;
    coopStoreT(s00, &stage[stage_at], STAGE_STRIDE); store_fragment(stage_at, thread, first, across, cols);
    coopStoreT(s01, &stage[stage_at], STAGE_STRIDE); store_fragment(stage_at, thread, first, across + 16u, cols);
    coopStoreT(s02, &stage[stage_at], STAGE_STRIDE); store_fragment(stage_at, thread, first, across + 32u, cols);
    coopStoreT(s03, &stage[stage_at], STAGE_STRIDE); store_fragment(stage_at, thread, first, across + 48u, cols);
    coopStoreT(s10, &stage[stage_at], STAGE_STRIDE); store_fragment(stage_at, thread, first + 16u, across, cols);
    coopStoreT(s11, &stage[stage_at], STAGE_STRIDE); store_fragment(stage_at, thread, first + 16u, across + 16u, cols);
    coopStoreT(s12, &stage[stage_at], STAGE_STRIDE); store_fragment(stage_at, thread, first + 16u, across + 32u, cols);
    coopStoreT(s13, &stage[stage_at], STAGE_STRIDE); store_fragment(stage_at, thread, first + 16u, across + 48u, cols);
    if TALL == 128u {
        coopStoreT(s20, &stage[stage_at], STAGE_STRIDE); store_fragment(stage_at, thread, first + 32u, across, cols);
        coopStoreT(s21, &stage[stage_at], STAGE_STRIDE); store_fragment(stage_at, thread, first + 32u, across + 16u, cols);
        coopStoreT(s22, &stage[stage_at], STAGE_STRIDE); store_fragment(stage_at, thread, first + 32u, across + 32u, cols);
        coopStoreT(s23, &stage[stage_at], STAGE_STRIDE); store_fragment(stage_at, thread, first + 32u, across + 48u, cols);
        coopStoreT(s30, &stage[stage_at], STAGE_STRIDE); store_fragment(stage_at, thread, first + 48u, across, cols);
        coopStoreT(s31, &stage[stage_at], STAGE_STRIDE); store_fragment(stage_at, thread, first + 48u, across + 16u, cols);
        coopStoreT(s32, &stage[stage_at], STAGE_STRIDE); store_fragment(stage_at, thread, first + 48u, across + 32u, cols);
        coopStoreT(s33, &stage[stage_at], STAGE_STRIDE); store_fragment(stage_at, thread, first + 48u, across + 48u, cols);
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
//! product_units: 16 × 16 fragments of `matrix_tile` on the matrix units of a GPU, f16 operands and f32 sums. A subgroup holds a fragment.
//!
//! A call behind a function costs an eighth of the speed on NVIDIA, so these are replaced by their text. Indices count vec4.
//! inline: load_left(at) = coopLoadT<coop_mat16x16<f16, A>>(&left_slab[at], LEFT_STRIDE)
//! inline: load_right(at) = coopLoadT<coop_mat16x16<f16, B>>(&right_slab[at], RIGHT_STRIDE)
//! inline: multiply(left, right, sums) = coopMultiplyAdd(left, right, sums)
//! inline: put_on_stage(sums, at) = coopStoreT(sums, &stage[at], STAGE_STRIDE)

alias Sums = coop_mat16x16<f32, C>;
//! window: where the taps of a convolution lie, for an implicit matrix product whose sizes are constants; k counts (kernel row, kernel column,
//! channel). The kernel binds `params` and says whether the inner axis has WHOLE_SLABS.
//! set: CHANNELS_IN, HEIGHT, HEIGHT_OUT, KERNEL_HEIGHT, KERNEL_WIDTH, PADDING, STRIDE, WIDTH_OUT

const INNER: u32 = KERNEL_HEIGHT * KERNEL_WIDTH * CHANNELS_IN;

/// A tap below every image, where the inner positions past the last one read.
const BELOW: i32 = 0x3fffffff;

fn pixels() -> u32 {
    return params.batch * HEIGHT_OUT * WIDTH_OUT;
}

/// First input row of the image in the batch, and the top left corner of the pixel's window; of the last pixel past the edge.
fn a_origin(pixel: u32) -> vec3<i32> {
    let at = min(pixel, pixels() - 1u);
    let line = at / WIDTH_OUT;
    let top = i32(line % HEIGHT_OUT * STRIDE) - i32(PADDING);
    let left = i32(at % WIDTH_OUT * STRIDE) - i32(PADDING);
    return vec3(i32(line / HEIGHT_OUT * HEIGHT), top, left);
}

/// Row and column of a tap, and the first of four channels.
fn a_step(k: u32) -> vec3<i32> {
    let tap = k / CHANNELS_IN;
    let row = select(BELOW, i32(tap / KERNEL_WIDTH), WHOLE_SLABS || k < INNER);
    return vec3(row, i32(tap % KERNEL_WIDTH), i32(k % CHANNELS_IN));
}
//! conv2d on matrix units: y[p, o] = act(Σ over taps and channels of x[tap of p, c] · weight[tap, c, o] + bias[o] + residual[p, o])
//!
//! An implicit matrix product: rows are output pixels, inner positions run over (kernel row, kernel column, channel). One workgroup per
//! TALL × WIDE block. Needs channels_in and channels_out divisible by 4. Sizes are constants, so that most of an
//! index is known.
//! use: epilogue, index, matrix_tile, window
//! set: CHANNELS_IN, CHANNELS_OUT, HEIGHT, WIDTH

alias Value = vec4<f32>;
alias Stored = vec4<Elem>;

struct Params {
    batch: u32, height: u32, width: u32, channels_in: u32,
    height_out: u32, width_out: u32, channels_out: u32,
    kernel_height: u32, kernel_width: u32, stride: u32, padding: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<Elem>>;          // [batch, height, width, channels_in]
@group(0) @binding(2) var<storage, read> weight: array<vec4<Elem>>;     // [kernel_height, kernel_width, channels_in, channels_out]
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;        // [channels_out] or absent
@group(0) @binding(4) var<storage, read> residual: array<vec4<Elem>>;   // like y, or absent
@group(0) @binding(5) var<storage, read_write> y: array<vec4<Elem>>;    // [batch, height_out, width_out, channels_out]

const WHOLE_SLABS: bool = INNER % (SPLIT * SLAB) == 0u;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    compute_tile(linear_group(group, groups), thread, pixels(), CHANNELS_OUT, INNER);
}

/// Leaves the origins of the block's pixels on the stage, which is not used before the sums are complete: as f32, exact below 2²⁴.
fn prepare_a(first_row: u32, thread: u32) {
    if thread < TALL {
        stage[thread] = vec4(vec3<f32>(a_origin(first_row + thread)), 0.0);
    }
}

fn load_a(first_row: u32, row: u32, step: vec3<i32>) -> vec4<f16> {
    let origin = vec3<i32>(stage[row].xyz);
    // As u32, positions before the first are beyond the last.
    let line = u32(origin.y + step.x);
    let col = u32(origin.z + step.y);
    let inside = line < HEIGHT && col < WIDTH;
    let at = ((u32(origin.x) + line) * WIDTH + col) * (CHANNELS_IN / 4u) + u32(step.z) / 4u;
    return select(vec4<f16>(), x[select(0u, at, inside)], inside);
}

fn load_b(k: u32, channel: u32) -> vec4<f16> {
    let inside = WHOLE_SLABS || k < INNER;
    let at = k * (CHANNELS_OUT / 4u) + min(channel, CHANNELS_OUT - 4u) / 4u;
    return select(vec4<f16>(), weight[select(0u, at, inside)], inside);
}

fn store_four(pixel: u32, channel: u32, sums: vec4<f32>) {
    if pixel < pixels() {
        store(pixel, channel / 4u, CHANNELS_OUT / 4u, sums);
    }
}
