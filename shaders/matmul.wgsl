//! matmul: y[i, j] = act(Σₖ pair(a[i, k], b[k, j]) + bias[j] + residual[i, j]) for each of a batch
//!
//! One workgroup per TALL × 64 block of y. Any sizes.
//! use: epilogue, index, tile

alias Value = f32;
alias Stored = Elem;

const WHOLE_SLABS: bool = false;

struct Params { rows: u32, cols: u32, inner: u32, batch: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Elem>;          // [batch, rows, inner]
@group(0) @binding(2) var<storage, read> b: array<Elem>;          // [batch, inner, cols]
@group(0) @binding(3) var<storage, read> bias: array<f32>;        // [batch, cols] or absent
@group(0) @binding(4) var<storage, read> residual: array<Elem>;   // [batch, rows, cols] or absent
@group(0) @binding(5) var<storage, read_write> y: array<Elem>;    // [batch, rows, cols]

/// The matrices of the batch that this workgroup multiplies.
var<private> matrix: u32;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let number = linear_group(group, groups);
    let blocks = count_blocks(params.rows, params.cols, TALL, WIDE);
    matrix = min(number / blocks, params.batch - 1u);
    bias_start = matrix * params.cols;
    compute_tile(number - matrix * blocks, thread, params.rows, params.cols, params.inner);
}

/// First element of the row, of the last row past the edge.
fn a_origin(row: u32) -> u32 {
    return (matrix * params.rows + min(row, params.rows - 1u)) * params.inner;
}

fn a_step(k: u32) -> u32 {
    return k;
}

// Past the inner edge both operands read 0, which adds nothing to a product or to a squared difference.
fn load_a(origin: u32, step: u32) -> vec4<f32> {
    return vec4(a_element(origin, step), a_element(origin, step + 1u), a_element(origin, step + 2u), a_element(origin, step + 3u));
}

fn load_b(k: u32, col: u32) -> vec4<f32> {
    return vec4(b_element(k, col), b_element(k, col + 1u), b_element(k, col + 2u), b_element(k, col + 3u));
}

fn a_element(origin: u32, k: u32) -> f32 {
    let inside = k < params.inner;
    return select(0.0, f32(a[select(0u, origin + k, inside)]), inside);
}

fn b_element(k: u32, col: u32) -> f32 {
    let inside = k < params.inner;
    let at = (matrix * params.inner + k) * params.cols + min(col, params.cols - 1u);
    return select(0.0, f32(b[select(0u, at, inside)]), inside);
}

fn store_four(row: u32, col: u32, sums: vec4<f32>) {
    if row < params.rows {
        let of_batch = matrix * params.rows + row;
        store(of_batch, col, params.cols, sums.x);
        store(of_batch, col + 1u, params.cols, sums.y);
        store(of_batch, col + 2u, params.cols, sums.z);
        store(of_batch, col + 3u, params.cols, sums.w);
    }
}
