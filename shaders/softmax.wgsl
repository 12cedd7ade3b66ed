//! softmax: y[r, c] = exp(x[r, c] − max_r) / Σ exp(x[r, ·] − max_r)
//!
//! One workgroup per row; lanes stride over the columns. A NaN or an infinity in a row makes the row NaN, as PyTorch does; a −infinity
//! gives 0, and a row of nothing else NaN.
//! use: index, reduce

const LOWEST: f32 = -3.4028234e38;

struct Params { rows: u32, cols: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;          // [rows, cols]
@group(0) @binding(2) var<storage, read_write> y: array<Elem>;    // [rows, cols]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    // Spare groups recompute the last row: barriers stay uniform.
    let start = min(linear_group(group, groups), params.rows - 1u) * params.cols;
    let end = start + params.cols;

    var largest = LOWEST;
    for (var at = start + lane; at < end; at += WORKGROUP) {
        largest = max(largest, f32(x[at]));
    }
    largest = workgroup_max(lane, largest);

    var sum = 0.0;
    for (var at = start + lane; at < end; at += WORKGROUP) {
        sum += exp(f32(x[at]) - largest);
    }
    let scale = 1.0 / workgroup_sum(lane, sum);

    for (var at = start + lane; at < end; at += WORKGROUP) {
        y[at] = Elem(exp(f32(x[at]) - largest) * scale);
    }
}
