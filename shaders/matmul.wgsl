//! matmul: y[i, j] = act(Σₖ pair(a[i, k], b[k, j]) + bias[j] + residual[i, j])
//!
//! One workgroup per TILE × TILE block of y. Any sizes.
//! use: index, tile

struct Params { rows: u32, cols: u32, inner: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Elem>;          // [rows, inner]
@group(0) @binding(2) var<storage, read> b: array<Elem>;          // [inner, cols]
@group(0) @binding(3) var<storage, read> bias: array<f32>;        // [cols] or absent
@group(0) @binding(4) var<storage, read> residual: array<Elem>;   // [rows, cols] or absent
@group(0) @binding(5) var<storage, read_write> y: array<Elem>;    // [rows, cols]

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    compute_tile(linear_group(group, groups), thread, params.rows, params.cols, params.inner);
}

// Past the inner edge both operands read 0, which adds nothing to a product or to a squared difference.
fn load_a(row: u32, k: u32) -> f32 {
    let inside = row < params.rows && k < params.inner;
    return select(0.0, f32(a[select(0u, row * params.inner + k, inside)]), inside);
}

fn load_b(k: u32, col: u32) -> f32 {
    let inside = k < params.inner && col < params.cols;
    return select(0.0, f32(b[select(0u, k * params.cols + col, inside)]), inside);
}
