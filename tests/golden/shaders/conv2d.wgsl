alias Elem = f32;
const TILE: u32 = 64u;
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
//! epilogue: y[row, col] = act(sum + bias[col] + residual[row, col]), the end of a matrix product. The kernel binds `bias`, `residual`
//! and `y`; `Value` and `Stored` are f32 and Elem where their elements are numbers, vectors of these where they are vectors.
//! use: activation
//! set: ACTIVATION, HAS_BIAS, HAS_RESIDUAL

/// Columns past the edge are dropped; the row must be inside.
fn store(row: u32, col: u32, cols: u32, sum: Value) {
    if col < cols {
        let at = row * cols + col;
        var value = sum;
        if HAS_BIAS == 1u {
            value += bias[col];
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
//! conv2d: y[p, o] = act(Σ over taps and channels of x[tap of p, c] · weight[tap, c, o] + bias[o] + residual[p, o])
//!
//! An implicit matrix product: rows are output pixels, inner positions run over (kernel row, kernel column, channel). Any sizes.
//! use: index, tile

struct Params {
    batch: u32, height: u32, width: u32, channels_in: u32,
    height_out: u32, width_out: u32, channels_out: u32,
    kernel_height: u32, kernel_width: u32, stride: u32, padding: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;          // [batch, height, width, channels_in]
@group(0) @binding(2) var<storage, read> weight: array<Elem>;     // [kernel_height, kernel_width, channels_in, channels_out]
@group(0) @binding(3) var<storage, read> bias: array<f32>;        // [channels_out] or absent
@group(0) @binding(4) var<storage, read> residual: array<Elem>;   // like y, or absent
@group(0) @binding(5) var<storage, read_write> y: array<Elem>;    // [batch, height_out, width_out, channels_out]

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let inner = params.kernel_height * params.kernel_width * params.channels_in;
    compute_tile(linear_group(group, groups), thread, pixels(), params.channels_out, inner);
}

fn pixels() -> u32 {
    return params.batch * params.height_out * params.width_out;
}

fn load_a(pixel: u32, k: u32) -> f32 {
    let tap = k / params.channels_in;
    let line = pixel / params.width_out;
    let row = i32(line % params.height_out * params.stride + tap / params.kernel_width) - i32(params.padding);
    let col = i32(pixel % params.width_out * params.stride + tap % params.kernel_width) - i32(params.padding);
    let inside = pixel < pixels() && tap < params.kernel_height * params.kernel_width
        && row >= 0 && row < i32(params.height) && col >= 0 && col < i32(params.width);
    let image = line / params.height_out * params.height;
    let at = ((image + u32(row)) * params.width + u32(col)) * params.channels_in + k % params.channels_in;
    return select(0.0, f32(x[select(0u, at, inside)]), inside);
}

fn load_b(k: u32, channel: u32) -> f32 {
    let inside = k < params.kernel_height * params.kernel_width * params.channels_in && channel < params.channels_out;
    return select(0.0, f32(weight[select(0u, k * params.channels_out + channel, inside)]), inside);
}
