//! normalize_rows: y[r, c] = x[r, c] / max(‖x[r, ·]‖, eps)
//!
//! One workgroup per row; lanes stride over the columns.
//! use: index, reduce

struct Params { rows: u32, cols: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;          // [rows, cols]
@group(0) @binding(2) var<storage, read_write> y: array<Elem>;    // [rows, cols]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    // Spare groups recompute the last row: barriers stay uniform.
    let start = min(linear_group(group, groups), params.rows - 1u) * params.cols;
    let end = start + params.cols;

    var squares = 0.0;
    for (var at = start + lane; at < end; at += WORKGROUP) {
        squares = fma(f32(x[at]), f32(x[at]), squares);
    }
    let norm = sqrt(workgroup_sum(lane, squares));
    // Not max: a NaN must stay.
    let scale = 1.0 / select(norm, params.eps, norm < params.eps);

    for (var at = start + lane; at < end; at += WORKGROUP) {
        y[at] = Elem(f32(x[at]) * scale);
    }
}
