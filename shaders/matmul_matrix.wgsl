//! matmul on matrix units: y[i, j] = act(Σₖ a[i, k] · b[k, j] + bias[j] + residual[i, j]) for each of a batch
//!
//! One workgroup per TALL × WIDE block of y. Needs cols and inner divisible by 4; they are constants, so that most of an index is known.
//! use: epilogue, index, matrix_tile
//! set: COLS, INNER

alias Value = vec4<f32>;
alias Stored = vec4<Elem>;

const WHOLE_SLABS: bool = INNER % (SPLIT * SLAB) == 0u;

struct Params { rows: u32, cols: u32, inner: u32, batch: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<Elem>>;          // [batch, rows, inner]
@group(0) @binding(2) var<storage, read> b: array<vec4<Elem>>;          // [batch, inner, cols]
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;        // [batch, cols] or absent
@group(0) @binding(4) var<storage, read> residual: array<vec4<Elem>>;   // [batch, rows, cols] or absent
@group(0) @binding(5) var<storage, read_write> y: array<vec4<Elem>>;    // [batch, rows, cols]

/// The matrices of the batch that this workgroup multiplies.
var<private> matrix: u32;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let number = linear_group(group, groups);
    let blocks = count_blocks(params.rows, COLS, TALL, WIDE);
    matrix = min(number / blocks, params.batch - 1u);
    bias_start = matrix * (COLS / 4u);
    compute_tile(number - matrix * blocks, thread, params.rows, COLS, INNER);
}

/// Rows of a matrix are where their numbers say.
fn prepare_a(first_row: u32, thread: u32) {
}

fn a_step(k: u32) -> u32 {
    return k / 4u;
}

fn load_a(first_row: u32, row: u32, step: u32) -> vec4<f16> {
    let inside = WHOLE_SLABS || step < INNER / 4u;
    let at = (matrix * params.rows + min(first_row + row, params.rows - 1u)) * (INNER / 4u) + step;
    return select(vec4<f16>(), a[select(0u, at, inside)], inside);
}

fn load_b(k: u32, col: u32) -> vec4<f16> {
    let inside = WHOLE_SLABS || k < INNER;
    let at = (matrix * INNER + k) * (COLS / 4u) + min(col, COLS - 4u) / 4u;
    return select(vec4<f16>(), b[select(0u, at, inside)], inside);
}

fn store_four(row: u32, col: u32, sums: vec4<f32>) {
    if row < params.rows {
        store(matrix * params.rows + row, col / 4u, COLS / 4u, sums);
    }
}
