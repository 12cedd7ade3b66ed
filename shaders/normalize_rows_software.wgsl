//! normalize_rows for software adapters: y[r, c] = x[r, c] / max(‖x[r, ·]‖, eps)
//!
//! One lane per row, so that nothing is shared.
//! use: index, loop_end

const LANES: u32 = 8u;

struct Params { rows: u32, cols: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;          // [rows, cols]
@group(0) @binding(2) var<storage, read_write> y: array<Elem>;    // [rows, cols]

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

    var squares = 0.0;
    for (var col = 0u; col < cols; col++) {
        let value = f32(x[start + col]);
        squares = fma(value, value, squares);
    }
    let norm = sqrt(squares);
    // Not max: a NaN must stay.
    let scale = 1.0 / select(norm, params.eps, norm < params.eps);
    for (var col = 0u; col < cols; col++) {
        y[start + col] = Elem(f32(x[start + col]) * scale);
    }
}
