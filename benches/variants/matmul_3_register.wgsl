//! matmul, variant 3: y[i, j] = Σₖ a[i, k] · b[k, j], with 64 × 64 tiles and 4 × 4 elements in the registers of each thread.
//!
//! Eight reads of workgroup memory now serve sixteen products. The kernel in `shaders/` goes on to 8 × 8 and reads vectors.

struct Params { rows: u32, cols: u32, inner: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Elem>;          // [rows, inner]
@group(0) @binding(2) var<storage, read> b: array<Elem>;          // [inner, cols]
@group(0) @binding(3) var<storage, read> bias: array<f32>;        // absent
@group(0) @binding(4) var<storage, read> residual: array<Elem>;   // absent
@group(0) @binding(5) var<storage, read_write> y: array<Elem>;    // [rows, cols]

var<workgroup> a_tile: array<array<f32, 65>, 16>;   // transposed: [k][row]; one column of padding keeps the stores off one bank
var<workgroup> b_tile: array<array<f32, 64>, 16>;   // [k][col]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let tiles_across = (params.cols + 63u) / 64u;
    let tiles_down = (params.rows + 63u) / 64u;
    let tile = min(group.y * groups.x + group.x, tiles_across * tiles_down - 1u);
    let first_row = tile / tiles_across * 64u;
    let first_col = tile % tiles_across * 64u;
    let across = thread % 16u;
    let down = thread / 16u;
    var sums: array<vec4<f32>, 4>;
    for (var start = 0u; start < params.inner; start += 16u) {
        for (var at = thread; at < 1024u; at += 256u) {
            let row = first_row + at / 16u;
            let a_k = start + at % 16u;
            let a_inside = row < params.rows && a_k < params.inner;
            a_tile[at % 16u][at / 16u] = select(0.0, f32(a[select(0u, row * params.inner + a_k, a_inside)]), a_inside);
            let col = first_col + at % 64u;
            let b_k = start + at / 64u;
            let b_inside = b_k < params.inner && col < params.cols;
            b_tile[at / 64u][at % 64u] = select(0.0, f32(b[select(0u, b_k * params.cols + col, b_inside)]), b_inside);
        }
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
            let right = vec4(b_tile[k][across], b_tile[k][across + 16u], b_tile[k][across + 32u], b_tile[k][across + 48u]);
            for (var r = 0u; r < 4u; r++) {
                sums[r] = fma(vec4(a_tile[k][down + 16u * r]), right, sums[r]);
            }
        }
        workgroupBarrier();
    }
    for (var r = 0u; r < 4u; r++) {
        let row = first_row + down + 16u * r;
        for (var c = 0u; c < 4u; c++) {
            let col = first_col + across + 16u * c;
            if row < params.rows && col < params.cols {
                y[row * params.cols + col] = Elem(sums[r][c]);
            }
        }
    }
}
