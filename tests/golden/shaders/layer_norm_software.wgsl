alias Elem = f32;
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
//! layer_norm for software adapters: y[r, c] = (x[r, c] − mean_r) / √(variance_r + eps) · weight[c] + bias[c]
//!
//! One lane per row, so that nothing is shared and the loads of weight and bias are the same for every lane.
//! use: index, loop_end

const LANES: u32 = 8u;

struct Params { rows: u32, cols: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;          // [rows, cols]
@group(0) @binding(2) var<storage, read> weight: array<f32>;      // [cols]
@group(0) @binding(3) var<storage, read> bias: array<f32>;        // [cols]
@group(0) @binding(4) var<storage, read_write> y: array<Elem>;    // [rows, cols]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let number = linear_group(group, groups);
    let row = number * LANES + lane;
    if row >= params.rows {
        return;
    }
    let cols = loop_end(params.cols, number);
    let start = row * cols;

    var sum = 0.0;
    for (var col = 0u; col < cols; col++) {
        sum += f32(x[start + col]);
    }
    let mean = sum / f32(cols);

    // The biased variance (divides by cols), as PyTorch does.
    var squares = 0.0;
    for (var col = 0u; col < cols; col++) {
        let deviation = f32(x[start + col]) - mean;
        squares = fma(deviation, deviation, squares);
    }
    let scale = inverseSqrt(squares / f32(cols) + params.eps);

    for (var col = 0u; col < cols; col++) {
        let normal = (f32(x[start + col]) - mean) * scale;
        y[start + col] = Elem(fma(normal, weight[col], bias[col]));
    }
}
