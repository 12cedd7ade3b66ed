alias Elem = f32;
const LANES: u32 = 8u;
const MASKED: u32 = 0u;
const ROWS: u32 = 32u;
const VECTORS: u32 = 2u;
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
//! loop_end: the bound of a loop, hidden so that drivers do not compile its value in.
//!
//! lavapipe unrolls a loop whose bound is read from a uniform: it compiles the kernel again for each dispatch, with the value as a
//! constant, and keeps all of them. It does not do so for a bound that depends on the workgroup.

/// `count`, whatever the number of the workgroup.
fn loop_end(count: u32, number: u32) -> u32 {
    return min(count, count + (number >> 31u));
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
//! strip_subgroup: ROWS rows × 4·LANES·VECTORS columns of a matrix product in registers, for software adapters with subgroups of LANES. The
//! kernel defines `locate(row)`, `a_start(place, tap_y, tap_x)`, `load_a(at)` and `load_b(at)`; `epilogue` stores.
//!
//! A workgroup is a subgroup. Each lane computes VECTORS vec4 of columns, 4·LANES columns apart, so that the lanes load neighbouring vec4
//! of b. llvmpipe loads for one lane after the other, also where all of them load the same. So each lane loads a of a row of its own, LANES
//! rows at a time, and gives it to the others: an eighth of the loads. No workgroup memory, no barrier; all control flow is the same for all
//! lanes. ROWS must be a multiple of LANES, which is 8.
//! use: epilogue, loop_end, pairing
//! set: LANES, MASKED, ROWS, VECTORS

alias Value = vec4<f32>;
alias Stored = vec4<Elem>;
alias Sums = array<array<array<vec4<f32>, VECTORS>, LANES>, EIGHTS>;
alias Factors = array<array<vec4<f32>, 4>, VECTORS>;

const EIGHTS: u32 = ROWS / LANES;

/// Sums over `taps` positions of `inner` vec4 of a each, and stores. `cols` and all column and inner indices count vec4. Strips count on
/// through the matrices of a batch, whose rows, b and biases follow each other; `locate` gets rows of the whole batch.
///
/// `lane` counts within the subgroup. `locate` computes once what `a_start` needs of a row; `a_start` the first vec4 of a at a tap, or −1
/// where the tap reads zeros (only if MASKED).
fn compute_strip(number: u32, lane: u32, rows: u32, cols: u32, taps: vec2<u32>, inner: u32, batch: u32) {
    // Strips that follow each other share their columns of b, which stay in the cache.
    let strips_down = (rows + ROWS - 1u) / ROWS;
    let strips = strips_down * ((cols + VECTORS * LANES - 1u) / (VECTORS * LANES));
    let matrix = min(number / strips, batch - 1u);
    let strip = number - matrix * strips;
    let first = strip % strips_down * ROWS;
    let left = strip / strips_down * VECTORS * LANES + lane;
    let top = matrix * rows;
    bias_start = matrix * cols;
    // Columns past the edge read the last one; `store` drops them.
    var columns: array<u32, VECTORS>;
    for (var j = 0u; j < VECTORS; j++) {
        columns[j] = min(left + j * LANES, cols - 1u);
    }
    // Of each eight rows, the one that this lane loads.
    var places: array<vec3<i32>, EIGHTS>;
    for (var eight = 0u; eight < EIGHTS; eight++) {
        places[eight] = locate(top + min(first + eight * LANES + lane, rows - 1u));
    }

    var sums: Sums;
    let taps_down = loop_end(taps.y, strip);
    let taps_across = loop_end(taps.x, strip);
    let inner_end = loop_end(inner, strip);
    var at = matrix * taps.y * taps.x * inner * 4u * cols;
    for (var tap_y = 0u; tap_y < taps_down; tap_y++) {
        for (var tap_x = 0u; tap_x < taps_across; tap_x++) {
            var starts: array<u32, EIGHTS>;
            var inside: array<bool, EIGHTS>;
            for (var eight = 0u; eight < EIGHTS; eight++) {
                let start = a_start(places[eight], i32(tap_y), i32(tap_x));
                starts[eight] = u32(max(start, 0));
                inside[eight] = start >= 0;
            }
            for (var k = 0u; k < inner_end; k++) {
                var b4: Factors;
                for (var i = 0u; i < 4u; i++) {
                    for (var j = 0u; j < VECTORS; j++) {
                        b4[j][i] = load_b(at + columns[j]);
                    }
                    at += cols;
                }
                for (var eight = 0u; eight < EIGHTS; eight++) {
                    var a4 = load_a(starts[eight] + k);
                    if MASKED == 1u {
                        a4 = select(vec4(0.0), a4, inside[eight]);
                    }
                    // WGSL wants a literal for the lane that gives.
                    add(&sums, eight, 0u, subgroupBroadcast(a4, 0u), &b4);
                    add(&sums, eight, 1u, subgroupBroadcast(a4, 1u), &b4);
                    add(&sums, eight, 2u, subgroupBroadcast(a4, 2u), &b4);
                    add(&sums, eight, 3u, subgroupBroadcast(a4, 3u), &b4);
                    add(&sums, eight, 4u, subgroupBroadcast(a4, 4u), &b4);
                    add(&sums, eight, 5u, subgroupBroadcast(a4, 5u), &b4);
                    add(&sums, eight, 6u, subgroupBroadcast(a4, 6u), &b4);
                    add(&sums, eight, 7u, subgroupBroadcast(a4, 7u), &b4);
                }
            }
        }
    }
    for (var eight = 0u; eight < EIGHTS; eight++) {
        for (var r = 0u; r < LANES; r++) {
            let row = first + eight * LANES + r;
            if row < rows {
                for (var j = 0u; j < VECTORS; j++) {
                    store(top + row, left + j * LANES, cols, sums[eight][r][j]);
                }
            }
        }
    }
}

/// Adds four inner positions to the sums of a row. Its columns one after the other: four sums at a time stay in registers.
fn add(sums: ptr<function, Sums>, eight: u32, row: u32, a4: vec4<f32>, b4: ptr<function, Factors>) {
    for (var j = 0u; j < VECTORS; j++) {
        for (var i = 0u; i < 4u; i++) {
            (*sums)[eight][row][j] = accumulate(a4[i], (*b4)[j][i], (*sums)[eight][row][j]);
        }
    }
}
//! matmul for software adapters with subgroups:
//! y[i, j] = act(Σₖ pair(a[i, k], b[k, j]) + bias[j] + residual[i, j]) for each of a batch
//!
//! One workgroup, which is one subgroup, per strip of ROWS rows × 4·LANES·VECTORS columns. Needs cols and inner divisible by 4.
//! use: index, strip_subgroup

struct Params { rows: u32, cols: u32, inner: u32, batch: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<Elem>>;          // [batch, rows, inner]
@group(0) @binding(2) var<storage, read> b: array<vec4<Elem>>;          // [batch, inner, cols]
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;        // [batch, cols] or absent
@group(0) @binding(4) var<storage, read> residual: array<vec4<Elem>>;   // [batch, rows, cols] or absent
@group(0) @binding(5) var<storage, read_write> y: array<vec4<Elem>>;    // [batch, rows, cols]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(subgroup_invocation_id) lane: u32) {
    compute_strip(linear_group(group, groups), lane, params.rows, params.cols / 4u, vec2(1u), params.inner / 4u, params.batch);
}

fn locate(row: u32) -> vec3<i32> {
    return vec3(i32(row * (params.inner / 4u)), 0, 0);
}

fn a_start(place: vec3<i32>, tap_y: i32, tap_x: i32) -> i32 {
    return place.x;
}

fn load_a(at: u32) -> vec4<f32> {
    return vec4<f32>(a[at]);
}

fn load_b(at: u32) -> vec4<f32> {
    return vec4<f32>(b[at]);
}
