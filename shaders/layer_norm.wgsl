//! layer_norm: y[r, c] = (x[r, c] − mean_r) / √(variance_r + eps) · weight[c] + bias[c]
//!
//! One workgroup per row; lanes stride over the columns. The variance is biased (divides by cols), as PyTorch does, and comes from the
//! deviations in a second pass, which keeps f32 exact enough for rows of 1e4.
//! use: index, reduce

struct Params { rows: u32, cols: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;          // [rows, cols]
@group(0) @binding(2) var<storage, read> weight: array<f32>;      // [cols]
@group(0) @binding(3) var<storage, read> bias: array<f32>;        // [cols]
@group(0) @binding(4) var<storage, read_write> y: array<Elem>;    // [rows, cols]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    // Spare groups recompute the last row: barriers stay uniform.
    let start = min(linear_group(group, groups), params.rows - 1u) * params.cols;

    var sum = 0.0;
    for (var col = lane; col < params.cols; col += WORKGROUP) {
        sum += f32(x[start + col]);
    }
    let mean = workgroup_sum(lane, sum) / f32(params.cols);

    var squares = 0.0;
    for (var col = lane; col < params.cols; col += WORKGROUP) {
        let deviation = f32(x[start + col]) - mean;
        squares = fma(deviation, deviation, squares);
    }
    let variance = workgroup_sum(lane, squares) / f32(params.cols);
    let scale = inverseSqrt(variance + params.eps);

    for (var col = lane; col < params.cols; col += WORKGROUP) {
        let normal = (f32(x[start + col]) - mean) * scale;
        y[start + col] = Elem(fma(normal, weight[col], bias[col]));
    }
}
