//! matmul, variant 2: y[i, j] = Σₖ a[i, k] · b[k, j], with 16 × 16 tiles of both factors shared in workgroup memory.
//!
//! What one thread loads, sixteen use: the traffic to memory falls by 16. Each product still reads both factors from workgroup memory.

struct Params { rows: u32, cols: u32, inner: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Elem>;          // [rows, inner]
@group(0) @binding(2) var<storage, read> b: array<Elem>;          // [inner, cols]
@group(0) @binding(3) var<storage, read> bias: array<f32>;        // absent
@group(0) @binding(4) var<storage, read> residual: array<Elem>;   // absent
@group(0) @binding(5) var<storage, read_write> y: array<Elem>;    // [rows, cols]

var<workgroup> a_tile: array<array<f32, 16>, 16>;
var<workgroup> b_tile: array<array<f32, 16>, 16>;

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_id) thread: vec3<u32>) {
    let tiles_across = (params.cols + 15u) / 16u;
    let tiles_down = (params.rows + 15u) / 16u;
    let tile = min(group.y * groups.x + group.x, tiles_across * tiles_down - 1u);
    let row = tile / tiles_across * 16u + thread.y;
    let col = tile % tiles_across * 16u + thread.x;
    var sum = 0.0;
    for (var start = 0u; start < params.inner; start += 16u) {
        let a_k = start + thread.x;
        let a_inside = row < params.rows && a_k < params.inner;
        a_tile[thread.y][thread.x] = select(0.0, f32(a[select(0u, row * params.inner + a_k, a_inside)]), a_inside);
        let b_k = start + thread.y;
        let b_inside = b_k < params.inner && col < params.cols;
        b_tile[thread.y][thread.x] = select(0.0, f32(b[select(0u, b_k * params.cols + col, b_inside)]), b_inside);
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
            sum = fma(a_tile[thread.y][k], b_tile[k][thread.x], sum);
        }
        workgroupBarrier();
    }
    if row < params.rows && col < params.cols {
        y[row * params.cols + col] = Elem(sum);
    }
}
