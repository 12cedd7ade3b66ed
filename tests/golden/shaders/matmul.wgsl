alias Elem = f32;
const SPLIT: u32 = 1u;
const TALL: u32 = 64u;
const PAIRING: u32 = 0u;
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
//! pairing: what matmul sums over its inner axis, by the numbers of `Pairing` in src/kernels/matmul.rs.
//! set: PAIRING

const PRODUCT: u32 = 0u;

/// `sum` + a·b, or `sum` + (a − b)² for squared distances, which then have no cancellation.
fn accumulate(a: f32, b: vec4<f32>, sum: vec4<f32>) -> vec4<f32> {
    if PAIRING == PRODUCT {
        return fma(vec4(a), b, sum);
    }
    let d = b - a;
    return fma(d, d, sum);
}
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
        for (var k = 0u; k < SLAB;) {
        {
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
        } k++;
        {
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
        } k++;
        {
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
        } k++;
        {
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
        } k++;
        {
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
        } k++;
        {
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
        } k++;
        {
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
        } k++;
        {
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
        } k++;
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
//! matmul: y[i, j] = act(Σₖ pair(a[i, k], b[k, j]) + bias[j] + residual[i, j]) for each of a batch
//!
//! One workgroup per TALL × 64 block of y. Any sizes.
//! use: epilogue, index, tile

alias Value = f32;
alias Stored = Elem;

const WHOLE_SLABS: bool = false;

struct Params { rows: u32, cols: u32, inner: u32, batch: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Elem>;          // [batch, rows, inner]
@group(0) @binding(2) var<storage, read> b: array<Elem>;          // [batch, inner, cols]
@group(0) @binding(3) var<storage, read> bias: array<f32>;        // [batch, cols] or absent
@group(0) @binding(4) var<storage, read> residual: array<Elem>;   // [batch, rows, cols] or absent
@group(0) @binding(5) var<storage, read_write> y: array<Elem>;    // [batch, rows, cols]

/// The matrices of the batch that this workgroup multiplies.
var<private> matrix: u32;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let number = linear_group(group, groups);
    let blocks = count_blocks(params.rows, params.cols, TALL, WIDE);
    matrix = min(number / blocks, params.batch - 1u);
    bias_start = matrix * params.cols;
    compute_tile(number - matrix * blocks, thread, params.rows, params.cols, params.inner);
}

/// First element of the row, of the last row past the edge.
fn a_origin(row: u32) -> u32 {
    return (matrix * params.rows + min(row, params.rows - 1u)) * params.inner;
}

fn a_step(k: u32) -> u32 {
    return k;
}

// Past the inner edge both operands read 0, which adds nothing to a product or to a squared difference.
fn load_a(origin: u32, step: u32) -> vec4<f32> {
    return vec4(a_element(origin, step), a_element(origin, step + 1u), a_element(origin, step + 2u), a_element(origin, step + 3u));
}

fn load_b(k: u32, col: u32) -> vec4<f32> {
    return vec4(b_element(k, col), b_element(k, col + 1u), b_element(k, col + 2u), b_element(k, col + 3u));
}

fn a_element(origin: u32, k: u32) -> f32 {
    let inside = k < params.inner;
    return select(0.0, f32(a[select(0u, origin + k, inside)]), inside);
}

fn b_element(k: u32, col: u32) -> f32 {
    let inside = k < params.inner;
    let at = (matrix * params.inner + k) * params.cols + min(col, params.cols - 1u);
    return select(0.0, f32(b[select(0u, at, inside)]), inside);
}

fn store_four(row: u32, col: u32, sums: vec4<f32>) {
    if row < params.rows {
        let of_batch = matrix * params.rows + row;
        store(of_batch, col, params.cols, sums.x);
        store(of_batch, col + 1u, params.cols, sums.y);
        store(of_batch, col + 2u, params.cols, sums.z);
        store(of_batch, col + 3u, params.cols, sums.w);
    }
}
