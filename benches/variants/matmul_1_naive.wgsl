//! matmul, variant 1: y[i, j] = Σₖ a[i, k] · b[k, j], one element per thread.
//!
//! Every product loads both its factors from memory: 2 loads for 2 operations. A 16 × 16 workgroup computes 16 × 16 elements, so that
//! threads side by side at least load b side by side.

struct Params { rows: u32, cols: u32, inner: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Elem>;          // [rows, inner]
@group(0) @binding(2) var<storage, read> b: array<Elem>;          // [inner, cols]
@group(0) @binding(3) var<storage, read> bias: array<f32>;        // absent
@group(0) @binding(4) var<storage, read> residual: array<Elem>;   // absent
@group(0) @binding(5) var<storage, read_write> y: array<Elem>;    // [rows, cols]

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_id) thread: vec3<u32>) {
    let tiles_across = (params.cols + 15u) / 16u;
    let tile = group.y * groups.x + group.x;
    let row = tile / tiles_across * 16u + thread.y;
    let col = tile % tiles_across * 16u + thread.x;
    if row >= params.rows || col >= params.cols {
        return;
    }
    var sum = 0.0;
    for (var k = 0u; k < params.inner; k++) {
        sum = fma(f32(a[row * params.inner + k]), f32(b[k * params.cols + col]), sum);
    }
    y[row * params.cols + col] = Elem(sum);
}
